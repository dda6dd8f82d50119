"""What short trainings at several learning rates say: the loss of each rate and seed, and the rate to begin with."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import numpy as np
from jaxtyping import Float

from cnn.system.text import counted

APART = 2.0
"""Two rates are told apart where their losses differ by more than so many standard errors of the difference."""
A_DECADE = 3
"""Rates in a factor of ten."""
AROUND = 2
"""Factors of ten on either side of the config's rate."""
MOST_RATES = 200


class Suggested(NamedTuple):
    """A learning rate, `None` where none of them is good, and why in plain words."""

    rate: float | None
    reason: str


class RateRow(TypedDict):
    """The trainings of one rate: losses in nats, of the seeds that did not diverge; `loss` is the median."""

    rate: float
    loss: float | None
    lowest: float | None
    highest: float | None
    sd: float | None
    """`None` of fewer than two seeds."""
    diverged: int
    note: str


class RatesJson(TypedDict):
    """What `rates.json` holds."""

    suggestion: float | None
    reason: str
    measured: str
    untrained: float
    steps: int
    steps_of_a_run: int
    seeds: list[int]
    rates: list[float]
    losses: list[list[float | None]]
    """By rate and seed; `None` where a training diverged."""
    table: list[RateRow]


@dataclasses.dataclass(frozen=True)
class RateCurve:
    """The loss at the end of short trainings, by learning rate and seed.

    Attributes:
      rates: ascending.
      seeds: of the trainings at each rate.
      losses: at the end, by rate and seed; NaN where a training diverged.
      untrained: the median over the seeds before the first update.
      measured: what the losses are, such as "validation loss".
      steps: updates of each training.
      whole: updates of a whole run of the config.
      widened: whether rates were added since the best was at an end.
    """

    rates: tuple[float, ...]
    seeds: tuple[int, ...]
    losses: Float[np.ndarray, "rates seeds"]
    untrained: float
    measured: str
    steps: int
    whole: int
    widened: bool = False

    @property
    def diverged(self) -> list[int]:
        """How many of the seeds diverged at each rate."""
        return np.isnan(self.losses).sum(1).tolist()

    @property
    def medians(self) -> Float[np.ndarray, " rates"]:
        """Over the seeds; NaN for a rate at which some seed diverged."""
        return np.median(self.losses, axis=1)

    @property
    def best(self) -> int | None:
        """Which rate has the lowest median, `None` where each diverged with some seed or learned nothing."""
        medians = self.medians
        if np.isnan(medians).all() or np.nanmin(medians) >= self.untrained:
            return None
        return int(np.nanargmin(medians))

    @property
    def failed(self) -> list[int]:
        """How many of the seeds diverged or gained less than half of what the best rate gained, at each rate."""
        if self.best is None:
            return [len(self.seeds)] * len(self.rates)
        half = (self.untrained + self.medians[self.best]) / 2
        return (~(self.losses < half)).sum(1).tolist()  # NaN is not less

    @property
    def noise(self) -> float | None:
        """The standard deviation between seeds around the best rate, `None` of one seed or where there is none.

        Of the best rate and its two neighbours, without what a seed changes at all of them alike. A neighbour at which
        a seed failed is left out: how much it failed by would drown what the seeds change where all of them learn.
        """
        best = self.best
        if best is None or len(self.seeds) < 2:
            return None
        around, failed = range(max(0, best - 1), min(best + 2, len(self.rates))), self.failed
        near = self.losses[[index for index in around if index == best or not failed[index]]]
        if len(near) < 2:
            return float(np.std(near[0], ddof=1))
        rest = near - near.mean(1, keepdims=True) - near.mean(0, keepdims=True) + near.mean()
        return math.sqrt(float(np.square(rest).sum()) / ((len(near) - 1) * (len(self.seeds) - 1)))

    @property
    def as_good(self) -> tuple[int, int] | None:
        """The first and the last of the neighbouring rates that the noise does not tell from the best."""
        best, noise = self.best, self.noise
        if best is None:
            return None
        within = 0.0 if noise is None else APART * noise * math.sqrt(2 / len(self.seeds))
        near = (self.medians <= self.medians[best] + within) & (np.array(self.failed) == 0)
        first = last = best
        while first > 0 and near[first - 1]:
            first -= 1
        while last + 1 < len(near) and near[last + 1]:
            last += 1
        return first, last

    @functools.cached_property
    def suggested(self) -> Suggested:
        """The middle of the rates that the noise does not tell from the best, and why."""
        best, stretch = self.best, self.as_good
        if best is None or stretch is None:
            return Suggested(None, f"no rate learned: {self._nothing()}{self._diverged()}")
        lowest = f"the {self.measured} after {self.steps:,} steps is lowest at {shown(self.rates[best])}"
        lowest += f" ({self.medians[best]:.4g}, the median of {counted(len(self.seeds), 'seed')})"
        first, last = stretch
        rate = self.rates[best]
        if self.noise is None:
            told = "; one seed says nothing of the noise"
        elif first == last:
            told = f", and the noise between seeds (s.d. {self.noise:.2g}) tells all other rates from it"
        else:
            rate = rounded(math.sqrt(self.rates[first] * self.rates[last]))
            told = (
                f", and the noise between seeds (s.d. {self.noise:.2g}) does not tell it from the rates between "
                f"{shown(self.rates[first])} and {shown(self.rates[last])}, of which {shown(rate)} is the middle"
            )
        return Suggested(rate, f"{lowest}{told}{self._at_an_end()}{self._diverged()}")

    @property
    def suggestion(self) -> float | None:
        """The learning rate to begin with, `None` where none of them is good."""
        return self.suggested.rate

    @property
    def table(self) -> list[RateRow]:
        """A row for each rate."""
        return [self._row(index) for index in range(len(self.rates))]

    def to_json(self) -> RatesJson:
        """Returns what `rates.json` holds."""
        losses = [[None if math.isnan(loss) else loss for loss in row] for row in self.losses.tolist()]
        return {
            "suggestion": self.suggestion,
            "reason": self.suggested.reason,
            "measured": self.measured,
            "untrained": self.untrained,
            "steps": self.steps,
            "steps_of_a_run": self.whole,
            "seeds": list(self.seeds),
            "rates": list(self.rates),
            "losses": losses,
            "table": self.table,
        }

    def _row(self, index: int) -> RateRow:
        own = self.losses[index][~np.isnan(self.losses[index])]
        diverged, failed = self.diverged[index], self.failed[index]
        stretch = self.as_good or (len(self.rates), -1)
        if diverged:
            note = self._with("diverged", diverged)
        elif index == self.best:
            note = "lowest"
        elif stretch[0] <= index <= stretch[1]:
            note = "as good, within the noise"
        else:
            note = self._with("learned little", failed) if failed else ""
        return {
            "rate": self.rates[index],
            "loss": float(np.median(own)) if len(own) else None,
            "lowest": float(own.min()) if len(own) else None,
            "highest": float(own.max()) if len(own) else None,
            "sd": float(np.std(own, ddof=1)) if len(own) > 1 else None,
            "diverged": diverged,
            "note": note,
        }

    def _with(self, what: str, seeds: int) -> str:
        return what if seeds == len(self.seeds) else f"{what} with {seeds} of {len(self.seeds)} seeds"

    def _nothing(self) -> str:
        lowest = (
            "each diverged" if np.isnan(self.medians).all() else f"the lowest median is {np.nanmin(self.medians):.4g}"
        )
        between = f"between {shown(self.rates[0])} and {shown(self.rates[-1])}"
        return f"{lowest} {between}, and without training the {self.measured} is {self.untrained:.4g}"

    def _at_an_end(self) -> str:
        end = {0: "lower", len(self.rates) - 1: "higher"}.get(self.best if self.best is not None else -1)
        return f"; that is an end of the rates that were tried: {end} ones may be better" if end else ""

    def _diverged(self) -> str:
        named = [f"{shown(rate)} ({count})" for rate, count in zip(self.rates, self.diverged, strict=True) if count]
        return f"; diverged, with so many of {counted(len(self.seeds), 'seed')}: {', '.join(named)}" if named else ""


def ladder(low: float, high: float, number: int | None = None) -> tuple[float, ...]:
    """Returns so many rates at equal ratios, both ends included; by default three or more in a factor of ten."""
    count = number or max(2, 1 + math.ceil(A_DECADE * math.log10(high / low) - 1e-9))
    if count == 1:
        return (low,)
    between = [rounded(low * (high / low) ** (index / (count - 1)), 3) for index in range(1, count - 1)]
    return (low, *between, high)


def around(rate: float) -> tuple[float, ...]:
    """Returns the rates that are tried where nobody says which: two factors of ten on either side of one of them."""
    reach = AROUND * A_DECADE
    return tuple(rounded(rate * 10 ** (power / A_DECADE), 3) if power else rate for power in range(-reach, reach + 1))


def beyond(rates: Sequence[float], *, above: bool) -> tuple[float, ...]:
    """Returns the rates of one more factor of ten, above the highest or below the lowest."""
    end, sign = (rates[-1], 1) if above else (rates[0], -1)
    return tuple(sorted(rounded(end * 10 ** (sign * power / A_DECADE), 3) for power in range(1, A_DECADE + 1)))


def rounded(number: float, digits: int = 2) -> float:
    """Returns a number with so many digits that count."""
    return float(f"{number:.{digits - 1}e}")


def shown(rate: float) -> str:
    """Returns a rate as a config writes it."""
    return f"{rate:.3g}"
