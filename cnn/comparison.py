"""Two runs side by side: config, software, data, metrics, and a paired test on the same examples. Imports no JAX."""

import json
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import scipy.stats

from cnn import config, rundir
from cnn.config import ConfigError

SPLITS = ("valid", "test")
UNLIKE = ("argv", "data", rundir.INIT, "git")
"""What of `run.json` is compared by itself, or not at all."""


def compare(one: Path, other: Path) -> dict[str, Any]:
    """Returns what differs between two runs, as JSON.

    Raises:
      ConfigError: a folder holds no run.
      BrokenFile: a file of a run is not what this software wrote.
    """
    problems = [
        f"diff: {path} holds no run (no {rundir.CONFIG}). Name the directory of a run, or of a trial of a sweep"
        for path in (one, other)
        if not (path / rundir.CONFIG).is_file()
    ]
    if problems:
        raise ConfigError(problems)
    abouts = [rundir.read_json(path / rundir.RUN) or {} for path in (one, other)]
    return {
        "runs": [str(one), str(other)],
        "config": _rows(*(_config(path) for path in (one, other))),
        "software": _rows(*map(_software, abouts)),
        "data": _rows(*(about.get("data", {}) for about in abouts)),
        "start": _rows(*(_start(about) for about in abouts)),
        "metrics": _metrics(one, other),
        "paired": [_paired(one, other, split) for split in SPLITS],
    }


def mcnemar(only_one: int, only_other: int) -> float:
    """Returns the two-sided p of the exact McNemar test: whether two classifiers are wrong equally often.

    Args:
      only_one: examples that only the first got right.
      only_other: examples that only the second got right.

    Source:
      McNemar 1947, https://doi.org/10.1007/BF02295996; the binomial is exact whatever the numbers.
    """
    discordant = only_one + only_other
    return float(scipy.stats.binomtest(only_one, discordant, 0.5).pvalue) if discordant else 1.0


def _rows(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[list[Any]]:
    return [list(row) for row in config.differences(one, other)]


def _config(path: Path) -> dict[str, Any]:
    saved = rundir.read_json(path / rundir.CONFIG) or {}
    try:
        return json.loads(config.resolve(saved).json)
    except ConfigError:
        return saved


def _software(about: Mapping[str, Any]) -> dict[str, Any]:
    git = about.get("git") or {}
    known = {name: value for name, value in about.items() if name not in UNLIKE}
    return {**known, **{name: git[name] for name in ("commit", "dirty") if name in git}}


def _start(about: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value for name, value in about.get(rundir.INIT, {}).items() if name in ("from", "step", "fingerprint")
    }


def _metrics(one: Path, other: Path) -> list[list[Any]]:
    """Returns name and both values of every number of the results; of a run that is not finished, those so far."""
    tables = [dict(_numbers(_result(path))) for path in (one, other)]
    return [[name, *(table.get(name) for table in tables)] for name in dict.fromkeys([*tables[0], *tables[1]])]


def _result(path: Path) -> dict[str, Any]:
    result = rundir.read_json(path / rundir.RESULT)
    if result is not None:
        return result
    lines = (path / rundir.METRICS).read_text().splitlines() if (path / rundir.METRICS).is_file() else []
    records = [json.loads(line) for line in lines if line.endswith("}")]
    last = next((record for record in reversed(records) if record.get("kind") == "epoch"), {"step": 0})
    return {"status": "not finished", **{name: value for name, value in last.items() if name != "kind"}}


def _numbers(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _numbers(value, f"{prefix}{name}.")
        elif isinstance(value, (int, float, str)) and name != "fingerprint":
            yield prefix + name, value


def _paired(one: Path, other: Path, split: str) -> dict[str, Any]:
    """Returns the paired test on a split, or why there is none."""
    records = [rundir.read_json(path / rundir.evaluation(split)) for path in (one, other)]
    arrays = [_predictions(path, split) for path in (one, other)]
    for path, record, found in zip((one, other), records, arrays, strict=True):
        if record is None or found is None:
            reason = f"{path} keeps no predictions of {split}: python main.py eval --workdir={path} --split={split}"
            return {"split": split, "reason": reason}
    first, second = arrays[0] or {}, arrays[1] or {}
    if (records[0] or {}).get("data") != (records[1] or {}).get("data"):
        return {"split": split, "reason": "the data are not the same"}
    if any(not np.array_equal(first[name], second[name]) for name in ("index", "label")):
        return {"split": split, "reason": "the examples are not the same"}
    right = [found["logits"].argmax(axis=1) == found["label"] for found in (first, second)]
    n10, n01 = int((right[0] & ~right[1]).sum()), int((~right[0] & right[1]).sum())
    accuracies = [float(hits.mean()) for hits in right]
    counts = {"n": len(right[0]), "n10": n10, "n01": n01, "p": mcnemar(n10, n01)}
    return {"split": split, "accuracy": accuracies, **counts}


def _predictions(path: Path, split: str) -> dict[str, np.ndarray] | None:
    place = path / rundir.predictions(split)
    try:
        with np.load(place, allow_pickle=False) as archive:
            return {name: archive[name] for name in ("index", "label", "logits")}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise rundir.BrokenFile(f"{place}: cannot be read ({error}). Write it again with eval.") from None
