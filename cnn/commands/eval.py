"""`eval`: a run's checkpoint on every example of a split."""

from collections.abc import Mapping
from pathlib import Path

from cnn import rundir, terminal
from cnn.api import reading
from cnn.config import Values
from cnn.interruption import Interruption


def run(values: Values, workdir: Path, flags: Mapping[str, str]) -> int:
    """Evaluates, writes `evaluation-<split>.json` and `predictions-<split>.npz`, and prints the result.

    Raises:
      ConfigError: the split is empty, nothing is saved yet, or not these weights.
      DataError: the data are missing or unlike the config.
    """
    split = flags.get("split", "test")
    with Interruption():
        record = reading.evaluate(values, workdir, split, flags.get("weights"), flags.get("data_dir"))
    print(f"{terminal.plain(str(workdir))} at step {record['step']:,}, {record['weights']} weights")
    trained_on = rundir.read_json(workdir / rundir.RUN) or {}
    if trained_on.get("data", {}).get("identity") != record["data"]:
        print("these are other data than the run was trained with")
    if split == "train" or (split == "valid" and values.data.train_on == "train+valid"):
        print(f"training saw the {split} split: this is no estimate for new pictures")
    terminal.evaluation(record)
    return 0
