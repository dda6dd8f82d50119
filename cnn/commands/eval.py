"""`eval`: a run's checkpoint on every example of a split."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from cnn import checks, chosen, evaluate, rundir, terminal
from cnn.config import ConfigError, Values
from cnn.interruption import Interruption


def run(values: Values, workdir: Path, flags: Mapping[str, str]) -> int:
    """Evaluates, writes `evaluation-<split>.json` and `predictions-<split>.npz`, and prints the result.

    Raises:
      ConfigError: the split is empty, nothing is saved yet, or not these weights.
      DataError: the data are missing or unlike the config.
    """
    split, weights = flags.get("split", "test"), flags.get("weights", values.eval.weights)
    with Interruption():
        return _evaluate(values, workdir, split, weights, flags)


def _evaluate(values: Values, workdir: Path, split: str, weights: str, flags: Mapping[str, str]) -> int:
    section = dataclasses.replace(values.data, data_dir=flags.get("data_dir", values.data.data_dir))
    step, variables = chosen.variables(values, workdir, weights)
    dataset = checks.load_data(section)
    if not len(getattr(dataset, split)):
        raise ConfigError([f"--split: {split} is empty, config.data.valid_fraction is 0. Use train or test"])
    record = evaluate.evaluate_split(values, workdir, variables, dataset, split, step=step, weights=weights)
    print(f"{terminal.plain(str(workdir))} at step {step:,}, {weights} weights")
    trained_on = rundir.read_json(workdir / rundir.RUN) or {}
    if trained_on.get("data", {}).get("identity") != dataset.identity:
        print("these are other data than the run was trained with")
    if split == "train" or (split == "valid" and section.train_on == "train+valid"):
        print(f"training saw the {split} split: this is no estimate for new pictures")
    terminal.evaluation(record)
    return 0
