"""The fields that a sweep varied, as axes: numbers on a straight or logarithmic one, anything else as choices."""

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from cnn.report import escape
from cnn.report.axes import WIDE, Span, Tick, written
from cnn.report.sweep.sweep_files import SweepFiles

UNSET_PLACE, DIVERGED_PLACE = -0.12, 1.12
"""Places of what has no value: below the axis and above it."""
FEW = 6
"""Up to so many different numbers are written as they are."""
SHORT = 13
GOLDEN = 0.618034
"""Spreads numbers evenly between 0 and 1, whatever their count."""


@dataclasses.dataclass(frozen=True)
class FieldAxis:
    """One field.

    Attributes:
      path: of the field.
      label: its last word, or more where that would not tell it from another.
      span: of numbers; `None` of choices.
      choices: their texts, in the order in which they occur.
      values: different numbers, sorted, where they are few.
      unset: whether some trial does not set the field.
    """

    path: str
    label: str
    span: Span | None
    choices: tuple[str, ...] = ()
    values: tuple[float, ...] = ()
    unset: bool = False

    @property
    def kind(self) -> str:
        return "choice" if self.span is None else "log" if self.span.log else "linear"

    def place(self, value: Any) -> float:
        """Returns where a value lies: from 0 to 1, or at `UNSET_PLACE`."""
        if value is None:
            return UNSET_PLACE
        if self.span is None:
            return (self.choices.index(escape.value(value)) + 0.5) / len(self.choices)
        return self.span.share(value)

    def scattered(self, value: Any, number: int) -> float:
        """Returns `place`, a choice's moved a little by the trial's number, so that equal ones are seen apart."""
        if value is None or self.span is not None:
            return self.place(value)
        return self.place(value) + (number * GOLDEN % 1 - 0.5) * 0.5 / len(self.choices)

    def ticks(self) -> list[Tick]:
        """Returns what is written beside the axis."""
        if self.span is not None:
            few = [Tick(self.span.share(value), written(value), written(value)) for value in self.values]
            apart = [after.share - before.share for before, after in itertools.pairwise(few)]
            return few if few and min(apart, default=1) > 0.07 else self.span.ticks()
        shares = [(index + 0.5) / len(self.choices) for index in range(len(self.choices))]
        return [Tick(*entry) for entry in zip(shares, self.keys(), self.choices, strict=True)]

    def keys(self) -> list[str]:
        """Returns the choices as they are written on an axis: long ones by number, which a list explains."""
        if all(len(choice) <= SHORT for choice in self.choices):
            return [escape.shortened(choice) for choice in self.choices]
        return [escape.shortened(f"{index}: {choice}", SHORT) for index, choice in enumerate(self.choices, 1)]

    def numbered(self) -> bool:
        """Tells whether a list must explain the choices."""
        return any(len(choice) > SHORT for choice in self.choices)


def shown(value: Any) -> str:
    """Returns a value as people read it: numbers short, `-` for none."""
    if value is None:
        return "-"
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return written(value) if number else escape.value(value)


def axes(sweep: SweepFiles) -> list[FieldAxis]:
    """Returns an axis for each field that varies, in the order of `sweep.paths`."""
    return [_axis(sweep, path) for path in sweep.paths]


def objective(sweep: SweepFiles) -> FieldAxis:
    """Returns the axis of what the trials are ranked by."""
    values = [trial["value"] for trial in sweep.trials if trial["value"] is not None]
    log = bool(values) and min(values) > 0 and max(values) / min(values) > WIDE
    return FieldAxis(sweep.objective, sweep.objective, Span.over(values, log=log))


def _axis(sweep: SweepFiles, path: str) -> FieldAxis:
    values = [trial["fields"].get(path) for trial in sweep.trials]
    given = [value for value in values if value is not None]
    label, unset = _label(path, sweep.paths), len(given) < len(values)
    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in given):
        return FieldAxis(path, label, None, tuple(dict.fromkeys(map(escape.value, given))), unset=unset)
    different = tuple(sorted(set(map(float, given))))
    declared = scale(sweep.about.get("space"), path)
    log = different[0] > 0 and (declared == "log" or (declared is None and _apart_by_factors(different)))
    return FieldAxis(
        path, label, Span.over(given, log=log), values=different if len(different) <= FEW else (), unset=unset
    )


def _apart_by_factors(values: Sequence[float]) -> bool:
    """Tells whether positive numbers, in order, are told apart better on a logarithmic axis: 0.01, 0.03, 0.1."""
    if len(values) < 3 or values[-1] / values[0] > WIDE:
        return values[-1] / values[0] > WIDE
    straight, log = (map(Span.over(values, log=log).share, values) for log in (False, True))
    nearest = [min(after - before for before, after in itertools.pairwise(shares)) for shares in (straight, log)]
    return nearest[1] > nearest[0]


def _label(path: str, paths: Sequence[str]) -> str:
    last = path.rpartition(".")[2]
    told = last != "name" and sum(other.rpartition(".")[2] == last for other in paths) == 1
    return last if told else path


def scale(space: Any, path: str) -> str | None:
    """Returns how a space declares a field: log, linear or int; `None` where it lists values or does not name it."""
    if isinstance(space, Mapping):
        found = space.get(path)
        if isinstance(found, Mapping):
            return next((kind for kind in ("log", "linear", "int") if kind in found), None)
        return scale(space.get("chain"), path)
    for inner in space if isinstance(space, (list, tuple)) else ():
        if (found := scale(inner, path)) is not None:
            return found
    return None
