"""What the numbers of a sweep allow one to say: groups over seeds, whether the winner is real, what mattered."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import scipy.special

LEAST = 10
"""Fewer finished trials than this say nothing about what mattered."""
RESAMPLES = 1000
LEVEL = 0.9
"""Of the bootstrap's interval."""
CONFIDENCE = 0.95


def spread(values: Sequence[float]) -> float | None:
    """Returns the standard deviation of a sample, `None` of fewer than two."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def winner(groups: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Says whether the best group is distinguishable from the second by the noise of the seeds.

    Args:
      groups: best first, each with its `values`, one a seed.

    Returns:
      `text`, a sentence; and where they can be told, `difference`, `sd` (pooled over all groups), `ratio`, `real`, and
      `seeds_needed`, so many a group that this difference at this spread would be found.
    """
    groups = [group for group in groups if group["values"]]
    if len(groups) < 2:
        return {"text": "there is nothing to compare the best with"}
    best, second = (np.asarray(group["values"], float) for group in groups[:2])
    difference = abs(float(best.mean() - second.mean()))
    freedom = sum(len(group["values"]) - 1 for group in groups)
    if freedom < 1:
        return {
            "text": f"best and second differ by {difference:.4g}; with one seed each nobody can tell that from noise",
            "difference": difference,
        }
    squares = sum(float(np.square(np.asarray(g["values"]) - np.mean(g["values"])).sum()) for g in groups)
    sd = math.sqrt(squares / freedom)
    error = sd * math.sqrt(1 / len(best) + 1 / len(second))
    limit = float(scipy.special.stdtrit(freedom, (1 + CONFIDENCE) / 2))
    real = difference > limit * error
    said: dict[str, Any] = {"difference": difference, "sd": sd, "real": real}
    if sd == 0:
        return {**said, "text": f"best and second differ by {difference:.4g}, and seeds make no difference at all"}
    said["ratio"] = ratio = difference / sd
    spread = f"{ratio:.2g} times the standard deviation between seeds ({sd:.2g})"
    text = f"the means of best and second differ by {difference:.4g}, which is {spread}"
    if real:
        compared = len(groups)
        choice = f"; it is the best of {compared}, so new seeds will flatter it less" if compared > 2 else ""
        return {**said, "text": f"{text}: distinguishable at {CONFIDENCE:.0%}{choice}"}
    if ratio == 0:
        return {**said, "text": f"{text}: not distinguishable"}
    needed = math.ceil(2 * (1.96 / ratio) ** 2)
    more = max(1, needed - min(len(best), len(second)))
    said["seeds_needed"] = needed
    return {**said, "text": f"{text}: not distinguishable; about {more:,} more seeds each would be needed"}


def importance(rows: Sequence[Mapping[str, Any]], values: Sequence[float], *, grid: bool) -> dict[str, Any]:
    """Returns how much each field went with the objective; descriptive, not causal.

    Args:
      rows: the fields of each finished trial.
      values: its objective.
      grid: whether all combinations were run: then the share of variance of each field alone, eta squared; otherwise
        the absolute rank correlation, of fields that are numbers.

    Returns:
      `method`, `n`, and `factors`: path, share, low and high of the bootstrap's 90 % interval; `text` where hidden.
    """
    if len(values) < LEAST:
        return {
            "text": f"hidden: {len(values)} finished trials are fewer than {LEAST}",
            "n": len(values),
            "factors": [],
        }
    measured = _eta if grid else _spearman
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(values), (RESAMPLES, len(values)))
    numbers = np.asarray(values, float)
    factors: list[dict[str, Any]] = []
    for path in dict.fromkeys(path for row in rows for path in row):
        column = _codes([row.get(path) for row in rows], grid)
        if column is None or len(set(column)) < 2:
            continue
        shares = np.array([measured(column[draw], numbers[draw]) for draw in draws])
        low, high = np.nanquantile(shares, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        factors.append({"path": path, "share": measured(column, numbers), "low": float(low), "high": float(high)})
    factors.sort(key=lambda factor: factor["share"], reverse=True)
    method = "share of variance (eta squared)" if grid else "absolute rank correlation (Spearman)"
    caveat = "descriptive, not causal; 90 % bootstrap intervals"
    return {"method": method, "caveat": caveat, "n": len(values), "factors": factors}


def _codes(column: Sequence[Any], grid: bool) -> np.ndarray | None:
    numeric = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in column)
    if not grid:
        return np.asarray(column, float) if numeric else None
    names = {value: code for code, value in enumerate(dict.fromkeys(map(repr, column)))}
    return np.array([names[repr(value)] for value in column])


def _eta(column: np.ndarray, values: np.ndarray) -> float:
    centred = values - values.mean()
    total = float(np.square(centred).sum())
    if total == 0:
        return 0.0
    counts, sums = np.bincount(column), np.bincount(column, centred)
    return float((np.square(sums) / np.maximum(1, counts)).sum()) / total


def _spearman(column: np.ndarray, values: np.ndarray) -> float:
    if len(set(column)) < 2 or len(set(values)) < 2:
        return 0.0
    return abs(float(np.corrcoef(_ranks(column), _ranks(values))[0, 1]))


def _ranks(values: np.ndarray) -> np.ndarray:
    """Returns the place of each number in ascending order; equal ones share the mean of theirs."""
    _, places, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]
