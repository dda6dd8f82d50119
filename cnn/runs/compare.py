"""Two runs side by side, from their files alone: config, software, data, results, and a test on the same examples."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.stats
from jaxtyping import Bool

from cnn.config import config
from cnn.data import sources
from cnn.metrics import DEVIATIONS
from cnn.runs import predictions, recorded_data, run_dir

SOFTWARE = ("python", "platform", "backend", "devices", "cpu_threads")
RESULTS = ("status", "epochs", "step", "parameters", "fingerprint", "train_seconds", "compile_seconds")
MEASURES = ("accuracy", "loss", "macro_f1", "ece")


Facts = dict[str, object]
"""What a run says of itself, by name."""


class Difference(NamedTuple):
    """What one name stands for in either run; `None` where a run says nothing."""

    name: str
    a: Any
    b: Any


class Paired(NamedTuple):
    """How two networks did on the same examples, and McNemar's exact test of whether either is better.

    Only examples that one of them got right say something: were both equally good, each would be a toss of a coin.
    Source: McNemar 1947, https://doi.org/10.1007/BF02295996.

    Attributes:
      examples: how many.
      both: right in both.
      only_a: right in the first one alone.
      only_b: right in the second one alone.
      p: the two-sided probability of a difference at least as large, by the binomial distribution.
      difference: the second one's accuracy minus the first one's.
      interval: where that difference lies with 95 % confidence, by the normal approximation.
      rows: the split's rows that only one of them got right: those of the first, then those of the second.
    """

    examples: int
    both: int
    only_a: int
    only_b: int
    p: float
    difference: float
    interval: tuple[float, float]
    rows: tuple[list[int], list[int]]


class Comparison(NamedTuple):
    """Everything that two runs differ in, and the paired test, or why there is none."""

    config: list[Difference]
    software: list[Difference]
    data: list[Difference]
    results: list[Difference]
    paired: Paired | None
    note: str


def paired(
    a: Bool[np.ndarray, " examples"], b: Bool[np.ndarray, " examples"], rows: np.ndarray | None = None
) -> Paired:
    """Tests whether two networks that saw the same examples are equally good.

    Args:
      a: whether the first one got each example right.
      b: whether the second one did.
      rows: the examples' rows in their split; by default they are counted from 0.
    """
    rows = np.arange(len(a)) if rows is None else rows
    first, second = int((a & ~b).sum()), int((b & ~a).sum())
    only = first + second
    p = float(scipy.stats.binomtest(first, only).pvalue) if only else 1.0
    difference = (second - first) / len(a)
    half = DEVIATIONS * math.sqrt(max(0.0, only - (second - first) ** 2 / len(a))) / len(a)
    alone = (rows[a & ~b].tolist(), rows[b & ~a].tolist())
    return Paired(
        len(a), int((a & b).sum()), first, second, p, difference, (difference - half, difference + half), alone
    )


def runs(a: Path, b: Path, split: str = "test") -> Comparison:
    """Compares two runs, finished or not.

    Args:
      a: the first run's directory.
      b: the second one's.
      split: on whose examples the paired test is made: train, valid or test.

    Raises:
      ConfigError: a directory holds no run.
      BrokenFile: a file cannot be what this software wrote.
    """
    configs = [run_dir.completed(each, run_dir.read_config(each, "diff")) for each in (a, b)]
    records = [run_dir.read_json(each / run_dir.RUN) or {} for each in (a, b)]
    test, note = _paired(a, b, [each["data"] for each in configs], split)
    return Comparison(
        config=[Difference(*each) for each in config.differences(*configs)],
        software=_differences(*map(_software, records)),
        data=_differences(*map(_data, records)),
        results=_side_by_side(_results(a), _results(b)),
        paired=test,
        note=note,
    )


def _software(about: Mapping[str, Any]) -> Facts:
    git = about.get("git") or {}
    code = {"commit": git.get("commit"), "uncommitted changes": git.get("dirty")}
    return {**{name: about.get(name) for name in SOFTWARE}, **about.get("packages", {}), **code}


def _data(about: Mapping[str, Any]) -> Facts:
    data = about.get("data", {})
    counts = {f"{split} examples": count for split, count in data.get("examples", {}).items()}
    start = about.get(run_dir.INIT) or {}
    return {
        "started from": start.get("from"),
        "at its step": start.get("step"),
        "arrays from there": start.get("loaded"),
        "initialised": start.get("initialised"),
        "identity": data.get("identity"),
        "classes": data.get("classes"),
        **counts,
    }


def _side_by_side(a: Facts, b: Facts) -> list[Difference]:
    return [Difference(name, a.get(name), b.get(name)) for name in dict.fromkeys([*a, *b])]


def _differences(a: Facts, b: Facts) -> list[Difference]:
    return [each for each in _side_by_side(a, b) if each.a != each.b]


def _results(workdir: Path) -> Facts:
    """Returns what a run says of itself, by name; of one that has not ended, only that."""
    result = run_dir.read_json(workdir / run_dir.RESULT) or {"status": "not finished"}
    found: Facts = {name: result[name] for name in RESULTS if name in result}
    for split in ("train", "valid", "test"):
        part = result.get(split) or {}
        found |= {f"{split} {name}": part[name] for name in MEASURES if part.get(name) is not None}
        found |= {f"{split} {name}": value for name, value in part.get("metrics", {}).items()}
    return found


def _paired(a: Path, b: Path, data: Sequence[Mapping[str, Any]], split: str) -> tuple[Paired | None, str]:
    """Returns the test and what must be said of it, or why none can be made.

    Args:
      a: the first run's directory.
      b: the second one's.
      data: the sections of their configs.
      split: train, valid or test.
    """
    identities, found = [], []
    for workdir in (a, b):
        if recorded_data.lacks(workdir, split):
            return None, f"no paired test: {workdir} has no {split} split"
        evaluation = run_dir.read_json(workdir / run_dir.evaluation(split))
        of_run = predictions.read(workdir / run_dir.predictions(split))
        if evaluation is None or of_run is None:
            command = f"python main.py eval --workdir={workdir} --split={split}"
            return None, f"{workdir} has no predictions of {split} yet: {command}"
        identities.append(evaluation["data"])
        found.append(of_run)
    same_data, names = identities[0] == identities[1], [each["name"] for each in data]
    # What is in a folder, a file or arrays, a name does not say.
    is_name = sources.kind_of(names[0]) is None or sources.never_changes(names[0])
    if names[0] != names[1] or not (same_data or is_name):
        return None, f"no paired test: the runs read other data ({names[0]} and {names[1]})"
    first, second = found
    # Sorted by classes, two folds have the same labels.
    same_cut = split == "test" or data[0].get("fold") == data[1].get("fold")
    if not same_cut or not np.array_equal(first.rows, second.rows) or not np.array_equal(first.labels, second.labels):
        return None, f"no paired test: the {split} splits hold other examples"
    note = "" if same_data else "the same examples, though the data were prepared or split otherwise"
    return paired(first.right, second.right, first.rows), note
