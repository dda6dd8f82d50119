"""The space of a sweep as frozen parts: axes, rows of values that go together, and spaces one after another.

Each part offers options: the fields it sets, and by which parameters Optuna knows them. The product of the options of
all parts, in order, is the grid; drawing one option of each part is a sample.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from cnn.runs.sweep_record import Fields

Params = dict[str, Any]
"""Values of Optuna's parameters by their names."""
Draw = Callable[[str, "Range | Choices"], Any]
"""Draws the value of a named parameter."""


class Point(NamedTuple):
    """One trial: Optuna's parameters, and the config fields they stand for, in the order declared."""

    params: Params
    fields: Fields


@dataclasses.dataclass(frozen=True)
class Choices:
    """The values of a parameter, as text or numbers."""

    values: tuple[Any, ...]


@dataclasses.dataclass(frozen=True)
class Range:
    """The interval of a parameter, its ends included."""

    scale: str
    """log, linear or int."""
    low: float
    high: float
    number: int | None = None
    """How many values stand for it in a grid."""
    step: int = 1
    """Between two integers."""

    def grid(self) -> list[Any]:
        """Returns the values that stand for it in a grid; the ends are exact, what lies between has six digits."""
        if self.scale == "int":
            return list(range(int(self.low), int(self.high) + 1, self.step))
        assert self.number is not None
        if self.number == 1:
            return [self.low]
        shares = [index / (self.number - 1) for index in range(1, self.number - 1)]
        if self.scale == "log":
            between = [self.low * (self.high / self.low) ** share for share in shares]
        else:
            between = [self.low + (self.high - self.low) * share for share in shares]
        return [self.low, *(float(f"{value:.6g}") for value in between), self.high]


@dataclasses.dataclass(frozen=True)
class Axis:
    """One config field and the values it takes."""

    path: str
    values: Choices | Range
    when: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    """The axis counts only where these fields, swept before it, have one of these values."""

    def active(self, fields: Mapping[str, Any]) -> bool:
        return all(path in fields and fields[path] in allowed for path, allowed in self.when)

    def options(self, fields: Mapping[str, Any]) -> Iterator[Point]:
        if not self.active(fields):
            yield Point({}, {})
            return
        values = self.values.values if isinstance(self.values, Choices) else self.values.grid()
        for value in values:
            yield Point({self.path: _optuna_value(value)}, {self.path: value})

    def draw(self, draw: Draw, fields: Mapping[str, Any], prefix: str) -> Fields:
        if not self.active(fields):
            return {}
        if isinstance(self.values, Range):
            return {self.path: draw(prefix + self.path, self.values)}
        plain = [_optuna_value(value) for value in self.values.values]
        drawn = draw(prefix + self.path, Choices(tuple(plain)))
        return {self.path: self.values.values[plain.index(drawn)]}


@dataclasses.dataclass(frozen=True)
class Rows:
    """Fields that change together: zipped lists, or named trials."""

    name: str
    labels: tuple[str, ...]
    rows: tuple[Fields, ...]

    def options(self, fields: Mapping[str, Any]) -> Iterator[Point]:
        del fields
        for label, row in zip(self.labels, self.rows, strict=True):
            yield Point({self.name: label}, row)

    def draw(self, draw: Draw, fields: Mapping[str, Any], prefix: str) -> Fields:
        del fields
        return self.rows[self.labels.index(draw(prefix + self.name, Choices(self.labels)))]


@dataclasses.dataclass(frozen=True)
class Chain:
    """Spaces one after another: a trial lies in one of them."""

    name: str
    spaces: tuple[tuple["Part", ...], ...]

    def options(self, fields: Mapping[str, Any]) -> Iterator[Point]:
        for index, space in enumerate(self.spaces):
            for params, more in product(space, fields):
                prefixed = {f"{self.name}.{index}/{name}": value for name, value in params.items()}
                yield Point({self.name: index, **prefixed}, more)

    def draw(self, draw: Draw, fields: Mapping[str, Any], prefix: str) -> Fields:
        index = draw(prefix + self.name, Choices(tuple(range(len(self.spaces)))))
        return sample(self.spaces[index], draw, fields, f"{prefix}{self.name}.{index}/")


Part = Axis | Rows | Chain


def product(space: tuple[Part, ...], fields: Mapping[str, Any] | None = None) -> Iterator[Point]:
    """Yields every point of the grid; the last part changes fastest.

    Args:
      space: the parts.
      fields: what is set already, for the conditions; not among what is yielded.
    """
    fields = fields or {}
    if not space:
        yield Point({}, {})
        return
    for params, more in space[0].options(fields):
        for rest in product(space[1:], {**fields, **more}):
            yield Point({**params, **rest.params}, {**more, **rest.fields})


def sample(space: tuple[Part, ...], draw: Draw, fields: Mapping[str, Any] | None = None, prefix: str = "") -> Fields:
    """Returns the fields of one point, each parameter drawn by `draw`."""
    known = dict(fields or {})
    drawn: Fields = {}
    for part in space:
        more = part.draw(draw, known, prefix)
        known |= more
        drawn |= more
    return drawn


def axes(space: tuple[Part, ...]) -> Iterator[Axis]:
    """Yields every axis, those inside chains too."""
    for part in space:
        if isinstance(part, Axis):
            yield part
        elif isinstance(part, Chain):
            for inner in part.spaces:
                yield from axes(inner)


def axis_of(space: tuple[Part, ...], path: str) -> Axis | None:
    """Returns the axis of a field that is swept by itself; `None` where it goes with others, or is not swept."""
    return next((part for part in space if isinstance(part, Axis) and part.path == path), None)


def parameters(space: tuple[Part, ...], prefix: str = "") -> Iterator[tuple[str, Choices | Range]]:
    """Yields the name of every parameter and what it may be."""
    for part in space:
        if isinstance(part, Axis):
            values = part.values
            if isinstance(values, Choices):
                values = Choices(tuple(map(_optuna_value, values.values)))
            yield prefix + part.path, values
        elif isinstance(part, Rows):
            yield prefix + part.name, Choices(part.labels)
        else:
            yield prefix + part.name, Choices(tuple(range(len(part.spaces))))
            for index, inner in enumerate(part.spaces):
                yield from parameters(inner, f"{prefix}{part.name}.{index}/")


def paths(space: tuple[Part, ...]) -> list[str]:
    """Returns every config field that the space may set, in order, each once."""
    found: dict[str, None] = {}
    for part in space:
        if isinstance(part, Axis):
            found[part.path] = None
        elif isinstance(part, Rows):
            found |= dict.fromkeys(path for row in part.rows for path in row)
        else:
            found |= dict.fromkeys(path for inner in part.spaces for path in paths(inner))
    return list(found)


def _optuna_value(value: Any) -> Any:
    """Returns a value as Optuna stores it among choices: a number, a truth value or a text."""
    return value if isinstance(value, (str, int, float, bool)) else repr(value)
