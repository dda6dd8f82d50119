"""Axes of the drawings that a page's script can draw again: where numbers lie, and which are written beside them."""

import dataclasses
import math
from collections.abc import Iterable
from typing import NamedTuple

MOST_TICKS = 6
WIDE = 100
"""From this ratio on, positive numbers lie on a logarithmic axis where nobody says otherwise."""


class Tick(NamedTuple):
    """A number beside an axis: its share of the way from low to high, how it is written, and in full."""

    share: float
    text: str
    full: str


@dataclasses.dataclass(frozen=True)
class Span:
    """Numbers along an axis.

    Attributes:
      low: less than `high`; above 0 on a logarithmic axis.
      high: the other end.
      log: whether equal ways are equal ratios.
    """

    low: float
    high: float
    log: bool = False

    @classmethod
    def over(cls, numbers: Iterable[float], *, log: bool = False, room: float = 0.0) -> "Span":
        """Returns the axis that holds these numbers, with a share of `room` on both sides; 0 to 1 for none."""
        found = [number for number in numbers if math.isfinite(number) and (number > 0 or not log)]
        if not found:
            return cls(0.1 if log else 0.0, 1.0, log)
        low, high = min(found), max(found)
        if log:
            low, high = (low, high) if high > low else (low / 2, high * 2)
            wider = (high / low) ** room
            return cls(low / wider, high * wider, True)
        if high == low:
            low, high = low - 0.5 * (abs(low) or 1), high + 0.5 * (abs(high) or 1)
        return cls(low - room * (high - low), high + room * (high - low))

    def share(self, number: float) -> float:
        """Returns where a number lies: 0 at low, 1 at high."""
        if self.log:
            return math.log(number / self.low) / math.log(self.high / self.low)
        return (number - self.low) / (self.high - self.low)

    def ticks(self) -> list[Tick]:
        """Returns round numbers, at most about six."""
        numbers = self._decades() if self.log else self._even()
        return [Tick(self.share(number), written(number), written(number)) for number in numbers]

    def _even(self) -> list[float]:
        width = (self.high - self.low) / MOST_TICKS
        power = 10.0 ** math.floor(math.log10(width))
        step = next(factor * power for factor in (1, 2, 5, 10, 20) if factor * power >= width * (1 - 1e-9))
        first = math.ceil(self.low / step - 1e-9)
        return [index * step for index in range(first, math.floor(self.high / step + 1e-9) + 1)]

    def _decades(self) -> list[float]:
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        apart = math.ceil((last - first) / MOST_TICKS)
        for factors in ((1,), (1, 2, 5)):
            listed = [factor * 10.0**power for power in range(first, last + 1, apart) for factor in factors]
            inside = [number for number in listed if self.low * (1 - 1e-9) <= number <= self.high * (1 + 1e-9)]
            if len(inside) > 1:
                return inside
        return [self.low, self.high]


def written(number: float) -> str:
    """Returns a number in at most four digits: `0.001`, `1e-4`, `12,500`."""
    if number == 0 or not math.isfinite(number):
        return "0" if number == 0 else str(number)
    if 1e-3 <= abs(number) < 1e7:
        digits = max(0, 3 - math.floor(math.log10(abs(number)) + 1e-12))
        shown = f"{number:,.{digits}f}"
        return shown.rstrip("0").rstrip(".") if "." in shown else shown
    mantissa, _, exponent = f"{number:.3e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
