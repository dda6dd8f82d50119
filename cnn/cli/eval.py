"""`eval`: a run's checkpoint on every example of a split; or several runs together, and the best of them alone."""

from collections.abc import Mapping
from pathlib import Path

from cnn.api import ensemble, reading
from cnn.cli import printing
from cnn.config.config import Config
from cnn.runs import recorded_data, run_dir
from cnn.system.preemption import Preemption
from cnn.system.text import plain


def run(config: Config | None, workdir: Path, flags: Mapping[str, str]) -> int:
    """Evaluates, writes `evaluation-<split>.json` and `predictions-<split>.npz`, and prints the result.

    Of other data than the run's, the files have the data's identity in their names, and the run's own stay.

    Args:
      config: the run's; `None` for several runs, of which the flags speak.
      workdir: the run's directory.
      flags: see `cnn.cli.commands`.

    Raises:
      ConfigError: the split is empty, nothing is saved yet, or not these weights.
      DataError: the data are missing or unlike the config, or their classes have other names than the run's.
    """
    split, moved = flags.get("split", "test"), (flags.get("data_dir"), flags.get("data_file"))
    if config is None:
        together = ensemble.of_flags(flags)
        printing.together(together.evaluate(split, *moved, flags.get("out")).record)
        return 0
    with Preemption():
        record = reading.evaluate(config, workdir, split, flags.get("weights"), *moved)
    print(f"{plain(str(workdir))} at step {record['step']:,}, {record['weights']} weights")
    if recorded_data.is_other(workdir, record["data"]):
        from cnn import evaluate

        name = evaluate.written_as(config, workdir, split, record["weights"], record["data"])
        print(f"these are other data than the run was trained with; written to {run_dir.evaluation(name)}")
    elif seen := recorded_data.seen_in_training(split, config.data):
        print(seen)
    printing.evaluation(record)
    return 0
