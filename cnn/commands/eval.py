"""`eval`: a run's checkpoint on every example of a split."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from cnn import evaluate, experiment, terminal
from cnn.config import ConfigError, Values

SPLITS = ("train", "valid", "test")
WEIGHTS = ("last", "best", "ema")


def run(values: Values, workdir: Path, flags: Mapping[str, str]) -> int:
    """Evaluates, writes `evaluation-<split>.json` and `predictions-<split>.npz`, and prints the result.

    Raises:
      ConfigError: an unknown split or weights, or nothing saved yet.
      DataError: the data are missing or unlike the config.
    """
    split, weights = flags.get("split", "test"), flags.get("weights", values.eval.weights)
    problems = [
        f"--{name}: must be one of {', '.join(known)}, got {given!r}"
        for name, given, known in (("split", split, SPLITS), ("weights", weights, WEIGHTS))
        if given not in known
    ]
    if problems:
        raise ConfigError(problems)
    section = dataclasses.replace(values.data, data_dir=flags.get("data_dir", values.data.data_dir))
    step, variables = experiment.chosen_variables(values, workdir, weights)
    dataset = experiment.load_data(section)
    if not len(getattr(dataset, split)):
        raise ConfigError([f"--split: {split} is empty, config.data.valid_fraction is 0. Use train or test"])
    record = evaluate.evaluate_split(values, workdir, variables, dataset, split, step=step)
    print(f"{workdir} at step {step:,}, {weights} weights")
    terminal.evaluation(record)
    return 0
