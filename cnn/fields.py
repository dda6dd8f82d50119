"""The annotations of a record's fields: what they allow, how a value is read by them, and how an error says it.

A record of a config, a layer or an optimizer is a frozen dataclass. The annotation of a field holds its type and its
range, `Positive` or `Count`; everything else follows from it: `parse` turns what a config, a flag or an expression gave
into the value, `to_json` and `to_text` turn it back, and `describe` says in words what is right. A real number is
traced, so it never recompiles; all else is part of a program's structure, and so is what is marked `Static`.
"""

import ast
import dataclasses
import difflib
import math
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

MAX_INTEGER = 2**31 - 1
"""The largest integer of a field without an upper bound: the compiled step counts in 32 bits."""
_MAX_REAL = 3.4028234e38  # It computes in float32, where what is larger is infinite.
_WORDS = {int: "integer", float: "number", str: "text"}
_ARTICLES = {int: "an integer", float: "a finite number", str: "a text", bool: "True or False"}
ALIASES = {
    "lr": ("learning_rate",),
    "wd": ("weight_decay",),
    "l2": ("weight_decay",),
    "bs": ("batch_size",),
    "batch": ("batch_size",),
    "momentum": ("b1", "decay"),
    "beta1": ("b1", "momentum", "decay"),
    "beta2": ("b2",),
    "xavier": ("glorot",),
    "kaiming": ("he",),
    "truncated_normal": ("normal",),
}
"""What other software calls a field, or what is typed in a hurry, and its names here."""
LISTED = 10
"""How many names a message lists."""


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


T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Structure:
    """Marks a field that is part of a program's structure, whatever its type."""


Static = Annotated[T, Structure()]
"""`Static[float]` is a real number that must be known while a program is traced: another value compiles another."""


@dataclasses.dataclass(frozen=True)
class Omissible:
    """Marks a field that may be `None`, which says that there is no such number, and is part of the structure."""


OrNone = Annotated[T, Omissible()]
"""`OrNone[float]` is a traced number where it is given."""


@dataclasses.dataclass(frozen=True)
class Nested:
    """Marks a field that holds a chain of the enclosing expression's kinds; with `many`, any number of chains."""

    many: bool = False


Chain = Annotated[tuple[Any, ...], Nested()]
Chains = Annotated[tuple[tuple[Any, ...], ...], Nested(many=True)]
"""All arguments of a call, each a chain."""


@dataclasses.dataclass(frozen=True)
class Parsed:
    """Marks a field with a rule of its own: `read` returns the value, `None` where it is none; `says` what is right."""

    read: Callable[[Any], Any]
    says: str


@dataclasses.dataclass(frozen=True, eq=False)
class Language:
    """Marks a field written as an expression: one call of `kinds`, or a chain of them.

    Equal only to itself: `typing` keeps one `Annotated` for equal marks, and two tables that are still empty are equal.
    """

    kinds: Mapping[str, type]
    chain: bool = False


class Required:
    """The type of `REQUIRED`, the default of a field that has none."""


REQUIRED = Required()


def options(kind: type) -> dict[str, object]:
    """Returns the name and the annotation of each field of a dataclass, in order."""
    hints = typing.get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


def defaults(kind: type) -> dict[str, object]:
    """Returns the default of each field of a dataclass, `REQUIRED` where it has none."""
    return {
        field.name: REQUIRED if field.default is dataclasses.MISSING else field.default
        for field in dataclasses.fields(kind)
    }


def is_real(annotation: Any) -> bool:
    """Tells whether the field holds a real number that is traced and never compiled in."""
    base, _ = split(annotation)
    return base is float and not is_static(annotation)


def may_be_none(annotation: Any) -> bool:
    """Tells whether the field may be left without a value."""
    return any(isinstance(extra, Omissible) for extra in split(annotation)[1])


def is_static(annotation: Any) -> bool:
    """Tells whether the field is marked `Static`."""
    return any(isinstance(extra, Structure) for extra in split(annotation)[1])


def is_nested(annotation: Any) -> bool:
    """Tells whether the field holds a chain of the enclosing expression's kinds, or several."""
    return nested(annotation) is not None


def nested(annotation: Any) -> Nested | None:
    """Returns the mark of a field that holds chains of the enclosing expression's kinds, `None` for any other field."""
    return next((extra for extra in split(annotation)[1] if isinstance(extra, Nested)), None)


def own_rule(annotation: Any) -> Parsed | None:
    """Returns the rule of its own by which a field is read, `None` for any other field."""
    return next((extra for extra in split(annotation)[1] if isinstance(extra, Parsed)), None)


def holds_records(annotation: Any) -> bool:
    """Tells whether the field holds records of its own, whose fields count as they do."""
    return is_nested(annotation) or language(annotation) is not None


def language(annotation: Any) -> Language | None:
    """Returns the kinds an expression field is written in, `None` for any other field."""
    return next((extra for extra in split(annotation)[1] if isinstance(extra, Language)), None)


def split(annotation: Any) -> tuple[Any, tuple[Any, ...]]:
    """Returns the type, and what `Annotated` adds to it."""
    if typing.get_origin(annotation) is Annotated:
        base, *extras = typing.get_args(annotation)
        return base, tuple(extras)
    return annotation, ()


def parse(annotation: Any, value: Any) -> Any:
    """Returns `value` as the type that `annotation` names.

    Integers become floats, lists become tuples, and one number stands for a pair of it or for a list of one.

    Raises:
      ValueError: `must be <what is allowed>, got <value>`.
    """
    base, extras = split(annotation)
    if value is None and may_be_none(annotation):
        return None
    if (rule := own_rule(annotation)) is not None:
        parsed = rule.read(value)
        if parsed is None:
            raise ValueError(f"must be {rule.says}, got {value!r}")
        return parsed
    bounds = next((extra for extra in extras if isinstance(extra, Bounds)), Bounds(-math.inf))
    if typing.get_origin(base) is not tuple:
        return _parse_scalar(annotation, base, bounds, value, value)
    item, *rest = typing.get_args(base)
    length = None if Ellipsis in rest else 1 + len(rest)
    items = value
    if length in (None, 2) and _typed(item, value) is not None:
        items = [value] * (length or 1)
    if not isinstance(items, (tuple, list)) or length not in (None, len(items)):
        raise ValueError(f"must be {describe(annotation)}, got {value!r}")
    return tuple(_parse_scalar(annotation, item, bounds, entry, value) for entry in items)


def _parse_scalar(annotation: Any, base: Any, bounds: Bounds, value: Any, given: Any) -> Any:
    """Returns one value as the type `base`; `annotation` and `given` are the whole field's, for the error."""
    parsed = _typed(base, value)
    if parsed is None or (base in (int, float) and not bounds.holds(parsed)):
        raise ValueError(f"must be {describe(annotation)}, got {given!r}")
    if base is int and bounds.high == math.inf and parsed > MAX_INTEGER:
        raise ValueError(f"must be at most {MAX_INTEGER}, got {given!r}")
    return parsed


def _typed(base: Any, value: Any) -> Any:
    """Returns the value as the type `base`, or `None` where it is something else."""
    if typing.get_origin(base) is Literal:
        return value if isinstance(value, str) and value in typing.get_args(base) else None
    if base is float:
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        return float(value) if is_number and abs(value) <= _MAX_REAL else None
    if base is int:
        return value if isinstance(value, int) and not isinstance(value, bool) else None
    return value if isinstance(value, base) else None


def from_text(annotation: Any, text: str) -> Any:
    """Reads what was typed after `=`; text that is no literal is returned as it is, for `parse` to refuse."""
    base, _ = split(annotation)
    if base is str or typing.get_origin(base) is Literal:
        return text
    if typing.get_args(base) == (str, ...) and text[:1] not in ("(", "["):
        return tuple(part.strip() for part in text.split(",")) if text else ()
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


def to_text(value: Any) -> str:
    """Returns a value as it is typed after a flag."""
    if isinstance(value, (list, tuple)):
        return repr(tuple(value))
    return value if isinstance(value, str) else repr(value)


def describe(annotation: Any) -> str:
    """Says in words what a field may hold."""
    base, extras = split(annotation)
    if (rule := own_rule(annotation)) is not None:
        return rule.says
    if may_be_none(annotation):
        others = [extra for extra in extras if not isinstance(extra, Omissible)]
        return f"{describe(Annotated[base, *others] if others else base)} or None"
    bounds = "".join(f" {extra}" for extra in extras if isinstance(extra, Bounds))
    if typing.get_origin(base) is Literal:
        return "one of " + ", ".join(repr(choice) for choice in typing.get_args(base))
    if typing.get_origin(base) is not tuple:
        return f"{_ARTICLES[base]}{bounds}"
    item, *rest = typing.get_args(base)
    one, many = f"{_ARTICLES[item]}{bounds}", f"{_WORDS[item]}s{bounds}"
    if Ellipsis in rest:
        return f"{one} or a list of {many}"
    return f"{one} or 2 {many}" if len(rest) == 1 else f"{1 + len(rest)} {many}"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Returns a suggestion and the list of known names, as two sentences to append to an error."""
    known = list(known)
    return f"{suggestion(word, known)}Known: {', '.join(known)}."


def suggestion(word: str, known: Iterable[str]) -> str:
    """Returns `Did you mean 'adam'? `, with the blank behind it, or nothing where no known name is like the word."""
    known = list(known)
    word = next((name for name in ALIASES.get(word, ()) if name in known), word)
    lower = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.6)
    return f"Did you mean {lower[close[0]]!r}? " if close else ""


def shorten(names: Sequence[str], most: int = LISTED, total: int | None = None) -> str:
    """Lists the first of so many names, and says how many more there are: `a, b and 3 more`."""
    total = len(names) if total is None else total
    more = f" and {total - most} more" if total > most else ""
    return f"{', '.join(names[:most])}{more}"
