"""Whether one of several configurations is really the best: a sequential test of seeds that all of them share.

Every configuration that is left, a contender, is trained with the same seeds, and after each further one there is a
look: a contender that another beats in a paired t-test is ruled out and gets no more seeds. The last one left is the
winner. A look more is a chance more to be wrong, so each may use up only a part of the error rate: with n of at most N
seeds, n / N of it.

A winner is wrong only if a best configuration was ruled out. With K configurations that is one of K - 1 one-sided tests
against it, or, where two are equally good, against either of them. So each one-sided test gets the error rate divided
by 2 (K - 1), whichever truth there is.

The levels of the looks are those of sums of normal numbers, and become limits of Student's t with one degree of freedom
less than a single look would have: with as many as that, the looks of a t-test use up an eighth more than these levels
say, since at few seeds they are less alike (`benchmarks/sequential_sweep.py` measures both).

Source:
  Lan and DeMets 1983, https://doi.org/10.1093/biomet/70.3.659 (spending an error rate over looks); Armitage, McPherson
  and Rowe 1969, https://doi.org/10.2307/2343787 (the levels, by integration from look to look).
"""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import scipy.special
from jaxtyping import Float

FIRST = 4
"""Seeds at the first look."""
NODES = 129
"""Of the integration over a look's sums."""
FAR = 9.0
"""So many standard deviations below zero that sum begins."""
HALVINGS = 60


@dataclasses.dataclass(frozen=True)
class Rule:
    """When a winner counts as real, and when to give up.

    Attributes:
      error: the chance that a winner is declared that is not the one best, at most; above 0 and below 1.
      most_seeds: so many of each contender at most, at least `FIRST`.
    """

    error: float
    most_seeds: int

    @property
    def looks(self) -> range:
        """The numbers of seeds after which there is a look."""
        return range(FIRST, self.most_seeds + 1)


class Out(NamedTuple):
    """That a configuration is no contender any more."""

    seeds: int
    """After so many."""
    by: int | None
    """The contender that beat it; `None` where one of these seeds gave no value."""


class Decision(NamedTuple):
    """What the values say so far."""

    state: Literal["open", "real", "alone", "spent"]
    """More seeds are wanted; the last contender is the best; it is the last only as no other has a value with every
    seed; or several are left after the most seeds."""
    left: tuple[int, ...]
    """The contenders."""
    out: dict[int, Out]
    seeds: int
    """Of each contender, at the last look; 0 before the first."""
    wanted: int
    """So many of each contender does the next look need; 0 where it is over."""


def decide(values: Sequence[Sequence[float | None]], rule: Rule, *, maximize: bool) -> Decision:
    """Returns what values say of their configurations; the same ones say the same, whenever they are asked.

    Args:
      values: of each configuration, with the shared seeds in their order; `None` where there is none yet, NaN where
        there never will be one. What lies behind the first `None` is not looked at.
      rule: when a winner is real.
      maximize: whether more is better.
    """
    left, out, seeds = list(range(len(values))), dict[int, Out](), 0
    limits = critical(rule, len(values)) if len(values) > 1 else np.zeros(len(rule.looks))
    for look, limit in zip(rule.looks, limits, strict=True):
        if any(len(values[one]) < look or None in values[one][:look] for one in left):
            return Decision("open", tuple(left), out, seeds, look)
        seeds = look
        for one in [one for one in left if any(math.isnan(value) for value in values[one][:look])]:  # type: ignore[arg-type]
            out[one] = Out(look, None)
            left.remove(one)
        numbers = np.array([values[one][:look] for one in left], float).reshape(len(left), look)
        found = statistics(numbers if maximize else -numbers, limit)
        beaten = [place for place in range(len(left)) if found[:, place].max(initial=-math.inf) > limit]
        out |= {left[place]: Out(look, left[int(found[:, place].argmax())]) for place in beaten}
        left = [one for one in left if one not in out]
        if len(left) < 2:
            by_test = any(each.by is not None for each in out.values())
            return Decision("real" if left and by_test else "alone", tuple(left), out, seeds, 0)
    return Decision("spent", tuple(left), out, seeds, 0)


def statistics(values: Float[np.ndarray, "contenders seeds"], limit: float) -> Float[np.ndarray, "better worse"]:
    """Returns Student's t of the paired differences, of every contender (rows) over every other.

    Differences that are all the same have no spread, and t says nothing: they count by their signs, that is as beyond
    the limit where so many equal signs are as rare as that.

    Args:
      values: more is better.
      limit: of t, with two degrees of freedom less than there are seeds.
    """
    seeds = values.shape[1]
    differences = values[:, None] - values[None]
    mean, spread = differences.mean(2), differences.std(2, ddof=1)
    rare = 0.5**seeds <= scipy.special.stdtr(seeds - 2, -limit)
    alike = spread <= 1e-12 * np.abs(values).max(initial=1e-300)
    t = mean / np.where(alike, 1.0, spread) * math.sqrt(seeds)
    return np.where(alike, np.where(rare & (mean > 0), math.inf, 0.0), t)


@functools.cache
def critical(rule: Rule, contenders: int) -> Float[np.ndarray, " looks"]:
    """Returns what t of one contender over another must exceed at each look, for the other to be ruled out."""
    nominal = levels(tuple(rule.looks), rule.error / (2 * (contenders - 1)))
    return -scipy.special.stdtrit(np.array(rule.looks) - 2.0, nominal)


def levels(looks: tuple[int, ...], error: float) -> Float[np.ndarray, " looks"]:
    """Returns the level of a one-sided test of normal numbers at each look, such that all looks together have `error`.

    Up to a look at n of N numbers n / N of the error is used up.

    Args:
      looks: how many numbers there are at each, ascending.
      error: of all together.
    """
    nodes, weights = np.polynomial.legendre.leggauss(NODES)
    sums, density, before, spent = np.zeros(1), np.ones(1), 0, 0.0
    found = []
    for look in looks:
        step = math.sqrt(look - before)
        allowed = error * look / looks[-1] - spent

        def above(limit: float, sums: np.ndarray = sums, density: np.ndarray = density, step: float = step) -> float:
            """The chance to be above a limit now and below all limits before."""
            return float(density @ scipy.special.ndtr((sums - limit) / step))

        low, high = 0.0, FAR * math.sqrt(look)
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if above(middle) > allowed else (low, middle)
        spent, before = spent + above(high), look
        found.append(scipy.special.ndtr(-high / math.sqrt(look)))
        start = -FAR * math.sqrt(look)
        following = start + (high - start) * (nodes + 1) / 2
        kernel = np.exp(-0.5 * np.square((following[:, None] - sums) / step)) / (step * math.sqrt(2 * math.pi))
        sums, density = following, (kernel @ density) * weights * (high - start) / 2
    return np.array(found)
