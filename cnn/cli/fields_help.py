"""What the fields of a config's sections may hold, told from their records. Imports no JAX."""

import ast
import dataclasses
import inspect
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from cnn import fields
from cnn.config import config
from cnn.config.config import DEFAULT_NAMES, KNOWN
from cnn.registry import LAYERS, find

SUFFIX = ".help"
WIDTH = 118
MODEL = "The network: `layers` is an expression, such as conv(32, 3) | relu; other fields are names that it uses."


def section_of(name: str) -> str | None:
    """Returns the section, empty for all, that a flag `--config.SECTION.help` asks about; `None` for other flags."""
    if name == f"config{SUFFIX}":
        return ""
    if name.startswith("config.") and name.endswith(SUFFIX):
        return name.removeprefix("config.").removesuffix(SUFFIX)
    return None


def problem(section: str) -> str:
    """Returns why nothing can be told of a section, empty where something can."""
    if section in ("", *KNOWN):
        return ""
    return f"--config.{section}{SUFFIX}: is no section. {fields.did_you_mean(section, KNOWN)}"


def text(section: str, given: Mapping[str, str]) -> str:
    """Returns the help of a section, or of all in brief where it is empty.

    Args:
      section: its name, one that has no `problem`.
      given: what was typed after `--config.`; where it holds the section's `name`, that kind alone is told.
    """
    if not section:
        return "\n".join(_overview())
    if section in config.SCALARS:
        return "\n".join(_scalar(section))
    return "\n".join(_told(section, given.get(f"{section}.name", "")))


def _overview() -> Iterator[str]:
    yield "--config.SECTION.FIELD=VALUE sets a field; --config.SECTION.help tells what the fields of a section may hold"
    yield ""
    for name in config.SCALARS:
        yield from _scalar(name)
    names = {name: ["name", *_merged(kinds)] for name, kinds in config.NAMED.items()}
    names |= {name: list(fields.options(kind)) for name, kind in config.SECTIONS.items()} | {"model": ["layers"]}
    for section in KNOWN[len(config.SCALARS) :]:
        yield from _wrapped(f"  {section}", ", ".join(names[section]))


def _merged(kinds: Mapping[str, type]) -> list[str]:
    return list(dict.fromkeys(field for kind in kinds.values() for field in fields.options(kind)))


def _scalar(name: str) -> Iterator[str]:
    annotation, default = config.SCALARS[name]
    yield from _field(name, annotation, default, _documented(config.Config).get(name, ""))


def _told(section: str, chosen: str) -> Iterator[str]:
    if section == "model":
        yield f"config.model: {MODEL}"
        yield ""
        for name, kind in LAYERS.items():
            yield from _wrapped(f"  {_call(name, kind)}", _first(kind.__doc__))
    elif section in config.SECTIONS:
        kind = config.SECTIONS[section]
        yield f"config.{section}: {_first(kind.__doc__)}"
        yield ""
        yield from _fields(kind)
    else:
        kinds = config.NAMED[section]
        default = DEFAULT_NAMES.get(section)
        yield f"config.{section}: `name` is one of {', '.join(kinds)}{f'; {default} by default' if default else ''}."
        for name, kind in _shown_of(kinds, chosen).items():
            yield ""
            yield from textwrap.wrap(f"{name}: {_first(kind.__doc__)}", WIDTH, subsequent_indent="  ")
            yield from _fields(kind)


def _shown_of(kinds: Mapping[str, type], chosen: str) -> Mapping[str, type]:
    """Returns the kind that was chosen, also a library's, or all where there is none of this name."""
    try:
        kind = find(kinds, chosen)
    except ValueError:
        kind = None
    return kinds if kind is None else {chosen: kind}


def _fields(kind: type) -> Iterator[str]:
    documented, defaults = _documented(kind), fields.defaults(kind)
    for name, annotation in fields.options(kind).items():
        yield from _field(name, annotation, defaults[name], documented.get(name, ""))


def _field(name: str, annotation: Any, default: Any, said: str) -> Iterator[str]:
    required = default is fields.REQUIRED
    shown = f"  {name}" if required else f"  {name} = {_shown(default)}"
    yield from _wrapped(shown, f"{_allowed(annotation)}{'; must be set' if required else ''}. {_first(said)}".strip())


def _shown(default: Any) -> str:
    return f'"{default}"' if isinstance(default, str) else str(default)


def _allowed(annotation: Any) -> str:
    language = fields.language(annotation)
    if language is None:
        return fields.describe(annotation)
    calls = ", ".join(_call(name, kind) for name, kind in language.kinds.items())
    return f"a chain, a | b, of {calls}" if language.chain else f"one of {calls}"


def _call(name: str, kind: type) -> str:
    """Returns how a kind of an expression is written: `flip(probability=0.5)`."""
    arguments = [
        field if default is fields.REQUIRED or fields.is_nested(annotation) else f"{field}={_shown(default)}"
        for (field, annotation), default in zip(
            fields.options(kind).items(), fields.defaults(kind).values(), strict=True
        )
    ]
    return f"{name}({', '.join(arguments)})" if arguments else name


def _wrapped(left: str, right: str) -> Iterator[str]:
    """Yields a field and what is said of it, beside it where it is short, in lines of the terminal's usual width."""
    indent = " " * 30
    if len(left) >= len(indent):
        yield left
        left = ""
    lines = textwrap.wrap(right, WIDTH, initial_indent=left.ljust(len(indent)), subsequent_indent=indent)
    yield from lines or [left]


def _first(said: str | None) -> str:
    """Returns the first sentence of a docstring."""
    paragraph = " ".join((said or "").strip().split("\n\n")[0].split())
    sentence, point, _ = paragraph.partition(". ")
    return f"{sentence}." if point else paragraph


def _documented(kind: type) -> dict[str, str]:
    """Returns the docstring that follows each field of a record, or of one that it extends."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        if not dataclasses.is_dataclass(one):
            continue
        try:
            source = inspect.getsource(one)
        except OSError:  # It was made while running.
            continue
        (record,) = ast.parse(textwrap.dedent(source)).body
        assert isinstance(record, ast.ClassDef)
        for field, after in zip(record.body, record.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(field.target, ast.Name):
                said = after.value
                if isinstance(said, ast.Constant) and isinstance(said.value, str):
                    found[field.target.id] = said.value
    return found
