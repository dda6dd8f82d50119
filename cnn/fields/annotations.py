"""The annotations of a record's fields, and what they and the defaults tell."""

import dataclasses
import math
import typing
from collections.abc import Mapping
from typing import Annotated, Any


@dataclasses.dataclass(frozen=True)
class Bounds:
    """The interval a number must lie in."""

    low: float
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def holds(self, number: float) -> bool:
        above = number > self.low if self.open_low else number >= self.low
        below = number < self.high if self.open_high else number <= self.high
        return above and below

    def __str__(self) -> str:
        if self.high == math.inf:
            return f"{'above' if self.open_low else 'of at least'} {self.low:.15g}"
        low, high = "(" if self.open_low else "[", ")" if self.open_high else "]"
        return f"in {low}{self.low:.15g}, {self.high:.15g}{high}"


Positive = Annotated[float, Bounds(0, open_low=True)]
NonNegative = Annotated[float, Bounds(0)]
Fraction = Annotated[float, Bounds(0, 1)]
Rate = Annotated[float, Bounds(0, 1, open_high=True)]
Count = Annotated[int, Bounds(1)]
Natural = Annotated[int, Bounds(0)]
Pair = Annotated[tuple[int, int], Bounds(1)]
"""Height and width; one integer stands for both."""


@dataclasses.dataclass(frozen=True)
class Nested:
    """Marks a field that holds a chain of the enclosing expression's kinds."""


Chain = Annotated[tuple[Any, ...], Nested()]


@dataclasses.dataclass(frozen=True)
class Language:
    """Marks a field written as an expression: one call of `kinds`, or a chain of them."""

    kinds: Mapping[str, type]
    chain: bool = False

    def __hash__(self) -> int:
        return hash((tuple(self.kinds), self.chain))


class Required:
    """The type of `REQUIRED`, the default of a field that has none."""


REQUIRED = Required()


def options(kind: type) -> dict[str, Any]:
    """Returns the name and the annotation of each field of a dataclass, in order."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def defaults(kind: type) -> dict[str, Any]:
    """Returns the default of each field of a dataclass, `REQUIRED` where it has none."""
    return {
        field.name: REQUIRED if field.default is dataclasses.MISSING else field.default
        for field in dataclasses.fields(kind)
    }


def is_real(annotation: Any) -> bool:
    """Tells whether the field holds a real number, which is traced and never compiled in."""
    return split(annotation)[0] is float


def is_nested(annotation: Any) -> bool:
    """Tells whether the field holds a chain of the enclosing expression's kinds."""
    return any(isinstance(extra, Nested) for extra in split(annotation)[1])


def language(annotation: Any) -> Language | None:
    """Returns the kinds an expression field is written in, `None` for any other field."""
    return next((extra for extra in split(annotation)[1] if isinstance(extra, Language)), None)


def split(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Returns the type, and what `Annotated` adds to it."""
    if typing.get_origin(annotation) is Annotated:
        base, *extras = typing.get_args(annotation)
        return base, tuple(extras)
    return annotation, ()
