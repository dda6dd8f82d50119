"""From calls to frozen records: names looked up, arguments bound and checked."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from cnn import fields
from cnn.expression.errors import ExpressionError, Span
from cnn.expression.reader import MAX_NESTING, Call, Reader, Value


class Built(NamedTuple):
    """The records of a chain, where each was written, and the chains inside each by the name of their field."""

    items: tuple[Any, ...]
    spans: tuple[Span, ...]
    inner: tuple[dict[str, "Built"], ...]
    used: frozenset[str]

    def span(self, position: tuple[int | str, ...]) -> Span:
        """Returns where the record at `position` was written; (2, "body", 0) is the first of the third's body."""
        if len(position) == 1:
            return self.spans[int(position[0])]
        return self.inner[int(position[0])][str(position[1])].span(position[2:])


def build(text: str, kinds: Mapping[str, type], names: Mapping[str, Any] | None = None) -> Built:
    """Reads `text` into frozen records.

    Args:
      text: the expression; empty text is an empty chain.
      kinds: the dataclass behind each name that may be called.
      names: what a bare name among the arguments stands for.

    Raises:
      ExpressionError: the text is no such expression; the message says where and what would be right.
    """
    reader = Reader(text, names or {})
    return _build_chain(reader.read(), reader, kinds, depth=0)


def build_one(text: str, kinds: Mapping[str, type], names: Mapping[str, Any] | None = None) -> Any:
    """Reads `text` into exactly one record.

    Raises:
      ExpressionError: as `build`, and when the text is empty or a chain.
    """
    built = build(text, kinds, names)
    if len(built.items) != 1:
        raise ExpressionError(f"expected one of {', '.join(kinds)}, got {len(built.items)} of them")
    return built.items[0]


def _build_chain(chain: tuple[Call, ...], reader: Reader, kinds: Mapping[str, type], depth: int) -> Built:
    reader.count(chain)
    built = [_build_call(call, reader, kinds, depth) for call in chain]
    # Only now is known which names the texts inside used.
    return Built(
        tuple(item for item, _ in built),
        tuple(call.span for call in chain),
        tuple(inner for _, inner in built),
        frozenset(reader.used),
    )


def _build_call(call: Call, reader: Reader, kinds: Mapping[str, type], depth: int) -> tuple[Any, dict[str, Built]]:
    if depth > MAX_NESTING:
        reader.fail(f"nested more than {MAX_NESTING} deep", call.span)
    if call.name not in kinds:
        reader.fail(f"unknown name {call.name!r}. {fields.did_you_mean(call.name, kinds)}", call.span)
    kind = kinds[call.name]
    annotations, defaults = fields.options(kind), fields.defaults(kind)
    arguments = _bind(call, reader, list(annotations))
    values: dict[str, Any] = {}
    inner: dict[str, Built] = {}
    for name, argument in arguments.items():
        if fields.is_nested(annotations[name]):
            inner[name] = _build_chain(reader.chain(argument), reader, kinds, depth + 1)
            values[name] = inner[name].items
            continue
        if not isinstance(argument, Value):
            reader.unknown_value(argument, call.span)
        try:
            values[name] = fields.parse(annotations[name], argument.value)
        except ValueError as error:
            reader.fail(f"{call.name}: {name} {error}", argument.span)
    missing = [name for name, default in defaults.items() if default is fields.REQUIRED and name not in values]
    if missing:
        reader.fail(f"{call.name} needs {' and '.join(missing)}: {signature(call.name, kind)}", call.span)
    return kind(**values), inner


def _bind(call: Call, reader: Reader, names: list[str]) -> dict[str, Value | tuple[Call, ...]]:
    if len(call.args) > len(names):
        reader.fail(f"{call.name} takes at most {len(names)} arguments, got {len(call.args)}", call.span)
    arguments = dict(zip(names, call.args, strict=False))
    for name, argument in call.kwargs:
        if name in arguments:
            reader.fail(f"{call.name} got {name} twice", call.span)
        if name not in names:
            known = fields.did_you_mean(name, names) if names else "It takes none."
            reader.fail(f"{call.name} has no argument {name!r}. {known}", call.span)
        arguments[name] = argument
    return arguments


def signature(name: str, kind: type) -> str:
    """Returns how a kind is called, with its defaults: `max_pool(window, strides=window)`."""
    shown = []
    for field in dataclasses.fields(kind):
        has_default = field.default is not dataclasses.MISSING
        shown.append(f"{field.name}={field.default!r}" if has_default else field.name)
    return f"{name}({', '.join(shown)})" if shown else name
