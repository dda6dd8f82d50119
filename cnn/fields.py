"""What a field of a config, or an argument of an expression, may hold.

Every option of this codebase is a field of a frozen dataclass, annotated with one of the types below. The same
annotation checks a config file, a flag and an argument inside an expression, and tells which fields are real numbers,
that is, which may change without compiling anything anew.
"""

import ast
import dataclasses
import difflib
import math
import typing
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal


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


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns a suggestion and the list of known names, as two sentences to append to an error."""
    known = list(known)
    close = difflib.get_close_matches(word, known, n=1, cutoff=0.6)
    suggestion = f"Did you mean {close[0]!r}? " if close else ""
    return f"{suggestion}Known: {', '.join(known)}."


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
    return _base(annotation)[0] is float


def is_nested(annotation: Any) -> bool:
    """Tells whether the field holds a chain of the enclosing expression's kinds."""
    return any(isinstance(extra, Nested) for extra in _base(annotation)[1])


def language(annotation: Any) -> Language | None:
    """Returns the kinds an expression field is written in, `None` for any other field."""
    return next((extra for extra in _base(annotation)[1] if isinstance(extra, Language)), None)


def parse(annotation: Any, value: Any) -> Any:
    """Returns `value` as the type that `annotation` names: integers become floats, lists become tuples.

    Raises:
      ValueError: `must be <what is allowed>, got <value>`.
    """
    base, extras = _base(annotation)
    bounds = next((extra for extra in extras if isinstance(extra, Bounds)), None)
    if typing.get_origin(base) is tuple:
        return _parse_tuple(annotation, bounds, value)
    parsed = _parse_scalar(base, value)
    if bounds is not None and parsed is not None and not bounds.holds(parsed):
        parsed = None
    if parsed is None:
        raise ValueError(_must_be(describe(annotation), value))
    return parsed


def from_text(annotation: Any, text: str) -> Any:
    """Reads what a person typed after `=`; text that is no literal is returned as it is, for `parse` to refuse."""
    base, _ = _base(annotation)
    if base is str or typing.get_origin(base) is Literal:
        return text
    return literal({"true": "True", "false": "False"}.get(text, text))


def literal(text: str) -> Any:
    """Reads a Python literal; anything else stays text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return text


def to_json(value: Any) -> Any:
    """Returns a frozen value as plain JSON types: dataclasses as objects, tuples as lists."""
    if dataclasses.is_dataclass(value):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {name: to_json(item) for name, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_json(item) for item in value]
    return value


def describe(annotation: Any) -> str:
    """Says in words what a field may hold."""
    base, extras = _base(annotation)
    bounds = "".join(f" {extra}" for extra in extras if isinstance(extra, Bounds))
    if typing.get_origin(base) is Literal:
        return "one of " + ", ".join(repr(choice) for choice in typing.get_args(base))
    if typing.get_origin(base) is tuple:
        arguments = typing.get_args(base)
        item = _WORDS[arguments[0]]
        if arguments[-1] is Ellipsis:
            return f"a list of {item}s{bounds}"
        shorthand = f"{_ARTICLES[arguments[0]]}{bounds} or " if len(arguments) == 2 else ""
        return f"{shorthand}{len(arguments)} {item}s{bounds}"
    return f"{_ARTICLES[base]}{bounds}"


_WORDS = {int: "integer", float: "number", str: "text"}
_FLOAT32_MAX = 3.4028234e38  # The compiled step computes in float32, where what is larger is infinite.
_ARTICLES = {int: "an integer", float: "a finite number", str: "a text", bool: "True or False"}


def _base(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    if typing.get_origin(annotation) is Annotated:
        base, *extras = typing.get_args(annotation)
        return base, tuple(extras)
    return annotation, ()


def _parse_scalar(base: Any, value: Any) -> Any:
    """Returns the value as the type `base`, or `None` where it is something else."""
    if typing.get_origin(base) is Literal:
        return value if isinstance(value, str) and value in typing.get_args(base) else None
    if base is float:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return float(value) if is_number and abs(value) <= _FLOAT32_MAX else None
    if base is int:
        return value if isinstance(value, int) and not isinstance(value, bool) else None
    return value if isinstance(value, base) else None


def _parse_tuple(annotation: Any, bounds: Bounds | None, value: Any) -> tuple[Any, ...]:
    arguments = typing.get_args(_base(annotation)[0])
    item = arguments[0]
    length = None if arguments[-1] is Ellipsis else len(arguments)
    items = (value, value) if length == 2 and isinstance(value, item) else value
    if not isinstance(items, (tuple, list)) or length not in (None, len(items)):
        raise ValueError(_must_be(describe(annotation), value))
    parsed = tuple(_parse_scalar(item, entry) for entry in items)
    if any(entry is None or (bounds is not None and not bounds.holds(entry)) for entry in parsed):
        raise ValueError(_must_be(describe(annotation), value))
    return parsed


def _must_be(allowed: str, value: Any) -> str:
    return f"must be {allowed}, got {value!r}"
