"""`fields`: what a config may hold, and all that it may name, told from the records themselves.

A word stands for everything of that name: a section (`train`), a kind of things (`losses`), a thing (`adam`), a field
(`train.monitor`, or `monitor`), and the things of a library (`optax`, `optax.adabelief`, `nn`, `nn.Dropout`). JAX is
imported for a library's names, and by extensions that import it; for nothing else.
"""

import ast
import dataclasses
import functools
import inspect
import itertools
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cnn import fields, registry
from cnn.cli import tables
from cnn.config import config, extensions, files
from cnn.config.config import DEFAULT_NAMES, KNOWN, RENAMED, ConfigError, Override
from cnn.config.problems import Problems, Typed, parse_field
from cnn.expression import written
from cnn.layers import module
from cnn.optim import from_optax
from cnn.registry import LAYERS, TABLES, Table
from cnn.sweep.options import Options
from cnn.system.text import plain

SUFFIX = ".help"
WIDTH, COLUMN, NARROW = 80, 28, 60
"""Columns of a line, and of what is left of an explanation; in less than `NARROW` that is below it, not beside it."""
MODEL_FIELDS = {
    "layers": "The network, an expression such as conv(32, 3) | relu.",
    "init": "How the kernels begin of layers that do not say so, such as he: see fields initialisers.",
}
NAMES = (
    "Other fields of config.model are names that the expression uses, of numbers or texts: with width = 64 write "
    "conv(width, 3), and with block = 'w, s=1: conv(w, 3, strides=s) | relu' write block(64) or block(64, s=2)."
)
MODEL = " ".join(("The network.", *(f"`{name}`: {said}" for name, said in MODEL_FIELDS.items()), NAMES))
SECTIONS: dict[str, type] = {**config.SECTIONS, "sweep": Options}
KINDS = {spelling: table for what, table in TABLES.items() for spelling in (what, registry.plural(what))}
OVERVIEW = (
    "python main.py fields NAME ... tells all of a section, a kind, a thing or a field, such as "
    "train, losses, adam, train.monitor, optax or nn.Dropout."
)
ALSO = {
    "layer": "Or a module of Linen: see fields nn.",
    "source": "Or a data set of the package: see docs/data.md.",
    **dict.fromkeys(from_optax.PLACES, "Or a function of Optax: see fields optax."),
}
"""Whose things may be named besides."""
LIBRARIES = {"optax": "functions of Optax", "nn": "modules of Linen"}


class Entry(NamedTuple):
    """A field or a name with what is said of it beside it; a paragraph where nothing is left of it."""

    left: str
    right: str


BLANK = Entry("", "")


def run(overrides: Sequence[Override], flags: Mapping[str, str], *, words: Sequence[str]) -> int:
    """Prints what the words stand for, or all in brief where there are none.

    Of a config nothing but its extensions is read, and of the flags these and a section's `name`, which leaves only
    that kind of the section: the rest may be wrong, and this is how to find out what would be right.

    Raises:
      ConfigError: a word stands for nothing, or the config's file cannot be read.
      ExtensionError: an extension cannot be executed.
    """
    _enter(overrides, flags)
    told = text(words, overrides, min(tables.console().width, WIDTH))
    print("\n".join(plain(line) for line in told.split("\n")))
    return 0


def _enter(overrides: Sequence[Override], flags: Mapping[str, str]) -> None:
    """Executes the extensions that the flags name, or else the config's file."""
    given = files.read(files.path_of(flags["config"])).get("extensions", ()) if "config" in flags else ()
    typed = [override.text for override in overrides if override.path == "extensions"]
    problems = Problems()
    paths = parse_field("extensions", config.SCALARS["extensions"][0], Typed(typed[-1]) if typed else given, problems)
    if problems:
        raise ConfigError(problems)
    extensions.use(extensions.read(paths))


def asked(flag: str) -> str | None:
    """Returns the section, empty for all, that a flag `--config.SECTION.help` asks about; `None` for other flags."""
    name = flag.lstrip("-")
    if name == flag or not f"{name}.".startswith("config.") or not name.endswith(SUFFIX):
        return None
    return name.removeprefix("config").removesuffix(SUFFIX).removeprefix(".")


def problem(section: str) -> str:
    """Returns why `--config.SECTION.help` can tell nothing, empty where it can."""
    if section.partition(".")[0] in ("", *KNOWN):
        return ""
    return f"--config.{section}{SUFFIX}: is no section. {fields.did_you_mean(section, KNOWN)}"


def names() -> list[str]:
    """Returns every word that stands for something, but for a library's things."""
    paths = [f"{section}.{name}" for section in KNOWN[len(config.SCALARS) :] for name in _names_in(section)]
    paths += [f"sweep.{name}" for name in _names_in("sweep")]
    things = [name for table in TABLES.values() for name in table]
    return list(dict.fromkeys([*KNOWN, "sweep", *KINDS, *LIBRARIES, *things, *paths]))


def text(words: Sequence[str], overrides: Sequence[Override] = (), width: int = WIDTH) -> str:
    """Returns all that is told of some words, or an overview where there are none.

    Args:
      words: names of sections, kinds, things or fields.
      overrides: where one sets a section's `name`, that kind alone is told of the section.
      width: columns of the lines.

    Raises:
      ConfigError: words stand for nothing; a line for each.
    """
    chosen = {override.path: override.text for override in overrides}
    blocks = [] if words else [list(_overview())]
    problems = []
    for word in words:
        try:
            blocks += _meanings(RENAMED.get(word, word), chosen)
        except ValueError as error:
            problems.append(f"fields: {error}")
    if problems:
        raise ConfigError(problems)
    return "\n\n".join("\n".join(_set(block, width)) for block in blocks)


def _meanings(word: str, chosen: Mapping[str, str]) -> list[list[Entry]]:
    """Returns what is told of each thing that a word stands for.

    Raises:
      ValueError: it stands for nothing.
    """
    library, _, within = word.partition(".")
    if library in LIBRARIES:
        return [list(_of_library(word) if within else _library(word))]
    found: list[Iterator[Entry]] = []
    table = KINDS.get(word)
    if word in (*KNOWN, "sweep"):
        found.append(_section(word, chosen))
    elif table is not None:
        found.append(_section(table.what, chosen) if table.what in config.NAMED else _kind(table))
    found += [_thing(table, word, table[word], whole=True) for table in TABLES.values() if word in table]
    for section in (*KNOWN[len(config.SCALARS) :], "sweep"):
        name = word.removeprefix(f"{section}.")
        # `layers` alone is a kind, and tells it.
        if name in _names_in(section) and (name != word or section != "model"):
            found.append(_path(section, name, chosen))
    if found:
        return [list(each) for each in found]
    section, dot, name = word.partition(".")
    if dot and section in (*SECTIONS, *config.NAMED, "model"):
        raise ValueError(f"unknown field {name!r} of {section}. {fields.did_you_mean(name, _names_in(section))}")
    bare = [path.partition(".")[2] or path for path in names()]
    raise ValueError(
        f"unknown name {word!r}. {fields.suggestion(word, [*names(), *bare])}python main.py fields lists what there is"
    )


def _overview() -> Iterator[Entry]:
    yield Entry("", OVERVIEW)
    yield BLANK
    yield Entry("", "The config: --config.SECTION.FIELD=VALUE sets a field.")
    for name in config.SCALARS:
        yield from _section(name, {})
    for section in KNOWN[len(config.SCALARS) :]:
        yield Entry(f"  {section}", ", ".join(_names_in(section)))
    yield BLANK
    yield Entry("", "A sweep: --sweep.OPTION=VALUE sets an option.")
    yield Entry("  sweep", ", ".join(_names_in("sweep")))
    yield BLANK
    yield Entry("", "What they may name:")
    for what, table in TABLES.items():
        yield Entry(f"  {registry.plural(what)}", "; ".join(_by_file(table)) or "none but your own")
    for library, things in LIBRARIES.items():
        yield Entry(f"  {library}", f"{things}; fields {library} lists them")


def _by_file(table: Table) -> Iterator[str]:
    """Yields the names of the package's things, and behind each file of a user's those that it enters."""
    found: dict[str, list[str]] = {}
    for name, kind in table.items():
        found.setdefault(_file(kind), []).append(name)
    for file, entered in sorted(found.items()):
        yield f"{file}: {', '.join(entered)}" if file else ", ".join(entered)


def _file(kind: type) -> str:
    """Returns the user's file that enters a thing, empty for what is the package's or a library's."""
    if registry.origin_of(kind) in (registry.PACKAGE, registry.LIBRARY, ""):
        return ""
    path, here = Path(registry.describe(kind)), Path.cwd()
    return str(path.relative_to(here)) if here in path.parents else str(path)


def _names_in(section: str) -> list[str]:
    """Returns the names of a section's fields."""
    if section == "model":
        return list(MODEL_FIELDS)
    if section in SECTIONS:
        return list(fields.options(SECTIONS[section]))
    return ["name", *dict.fromkeys(name for kind in config.NAMED[section].values() for name in fields.options(kind))]


def _section(section: str, chosen: Mapping[str, str]) -> Iterator[Entry]:
    if section in config.SCALARS:
        annotation, default = config.SCALARS[section]
        yield _field(section, annotation, default, documented(config.Config).get(section, ""))
    elif section == "model":
        yield Entry("", f"config.model: {MODEL}")
        yield BLANK
        for name, kind in LAYERS.items():
            yield Entry(f"  {call(name, kind)}", first(docstring(kind)) + _mark(kind))
        yield BLANK
        yield Entry("", "fields layers tells their options, and fields nn lists the modules of Linen.")
    elif section in SECTIONS:
        kind = SECTIONS[section]
        yield Entry("", f"{_written_path(section)}: {first(docstring(kind))}")
        yield BLANK
        yield from _fields(kind)
    elif one := _chosen(section, chosen):
        yield from _thing(TABLES[section], chosen[f"{section}.name"], one, whole=True)
    else:
        yield _chooser(section)
        for name, kind in config.NAMED[section].items():
            yield BLANK
            yield from _thing(TABLES[section], name, kind)


def _chooser(section: str) -> Entry:
    """Returns what the field `name` of a section may hold."""
    one_of, default = ", ".join(config.NAMED[section]), DEFAULT_NAMES.get(section)
    by_default = f"; {default} by default" if default else ""
    return Entry("", f"config.{section}: `name` is one of {one_of}{by_default}. {ALSO[section]}")


def _chosen(section: str, chosen: Mapping[str, str]) -> type | None:
    """Returns the kind that a flag chooses, also a library's; `None` where there is none of this name."""
    try:
        return registry.find(config.NAMED[section], chosen.get(f"{section}.name", ""))
    except ValueError:
        return None


def _kind(table: Table) -> Iterator[Entry]:
    yield Entry("", f"{registry.plural(table.what)}, named in {places(table)}. {ALSO.get(table.what, '')}")
    for name, kind in table.items():
        yield BLANK
        yield from _thing(table, name, kind)


def places(table: Table) -> str:
    """Returns the paths of the fields that name a table's things."""
    if table.what in config.NAMED:
        return f"config.{table.what}.name"
    if table is registry.INITIALISERS:
        return "config.model.init, or as init=... of a layer"
    if table in (LAYERS, registry.SOURCES):
        return "config.model.layers" if table is LAYERS else "config.data.name"
    return ", ".join(
        _written_path(f"{section}.{name}")
        for section, kind in SECTIONS.items()
        for name, annotation in fields.options(kind).items()
        if (language := fields.language(annotation)) and language.kinds is table
    )


def _written_path(path: str) -> str:
    return f"--{path}" if path.partition(".")[0] == "sweep" else f"config.{path}"


def _thing(table: Table, name: str, kind: Any, *, whole: bool = False) -> Iterator[Entry]:
    """Yields a thing's docstring, its first sentence or all prose of it, and its options."""
    better = f" {kind.better.capitalize()} is better." if table is registry.METRICS else ""
    if not whole:
        yield Entry("", f"{name}: {first(docstring(kind))}{better}{_mark(kind)}")
    else:
        written = "" if table.what in config.NAMED else f" as {call(name, kind)}"
        yield Entry("", f"{name}, {_article(table.what)}: set{written} in {places(table)}{_mark(kind)}")
        for paragraph in prose(docstring(kind)):
            yield Entry("", f"  {paragraph}")
        if better:
            yield Entry("", f" {better}")
    yield from _fields(kind)


def _article(what: str) -> str:
    return f"{'an' if what[0] in 'aeiou' else 'a'} {what}"


def _mark(kind: type) -> str:
    return f" ({file})" if (file := _file(kind)) else ""


def _path(section: str, name: str, chosen: Mapping[str, str]) -> Iterator[Entry]:
    """Yields a field of a section; of one whose `name` chooses the record, once for all records that have the same."""
    written = _written_path(f"{section}.{name}")
    if section == "model":
        yield from _section(section, chosen)
        return
    if section in config.NAMED and name == "name":
        yield _chooser(section)
        return
    of: dict[Entry, list[str]] = {}
    records = {"": SECTIONS[section]} if section in SECTIONS else config.NAMED[section]
    for record, kind in records.items():
        if name in fields.options(kind):
            said = documented(kind).get(name, "")
            entry = _field(name, fields.options(kind)[name], fields.defaults(kind)[name], said, whole=True)
            of.setdefault(entry, []).append(record)
    for entry, owners in of.items():
        whose = f", of {', '.join(owners)}" if any(owners) else ""
        yield Entry("", f"{written}{whose}:")
        yield entry


def _library(library: str) -> Iterator[Entry]:
    """Yields all usable names of a library, each with the first sentence of its docstring."""
    yield Entry(
        "", f"{LIBRARIES[library]}, by their dotted names; python main.py fields NAME tells the options of one."
    )
    linen = library == "nn"
    usable = {"layer": module.linen_names()} if linen else {each: from_optax.names(each) for each in from_optax.PLACES}
    for what, found in usable.items():
        table = TABLES[what]
        yield BLANK
        yield Entry("", f"{registry.plural(what)}, named in {places(table)}:")
        for name in found:
            kind = table.find(name)
            yield Entry(f"  {name}", first(docstring(kind)))


def _of_library(name: str) -> Iterator[Entry]:
    """Yields what is told of a thing by its dotted name.

    Raises:
      ValueError: there is no such thing, or it cannot serve.
    """
    if name.startswith("nn."):
        found: Mapping[str, type | None] = {"layer": LAYERS.find(name)}
    else:
        found = from_optax.find(name)
    for what, kind in found.items():
        if kind is not None:
            yield from _thing(TABLES[what], name, kind, whole=True)


def _fields(kind: type) -> Iterator[Entry]:
    said, defaults = documented(kind), fields.defaults(kind)
    for name, annotation in fields.options(kind).items():
        yield _field(name, annotation, defaults[name], said.get(name, ""))


def _field(name: str, annotation: Any, default: Any, said: str, *, whole: bool = False) -> Entry:
    """Returns a field with what it may hold, and the first sentence, or all, that is said of it."""
    required = default is fields.REQUIRED
    marks = [allowed(annotation)]
    marks += ["another value compiles anew"] if fields.is_static(annotation) else []
    marks += ["must be set"] if required else []
    said = " ".join(said.split()) if whole else first(said)
    return Entry(f"  {name}" if required else f"  {name} = {shown(default)}", f"{'; '.join(marks)}. {said}".strip())


def shown(default: Any) -> str:
    """Returns a default as a config writes it."""
    if dataclasses.is_dataclass(default):
        return written(default)
    return f'"{default}"' if isinstance(default, str) else str(default)


def allowed(annotation: Any) -> str:
    """Says in words what a field may hold, with every call of an expression."""
    if (mark := fields.nested(annotation)) is not None:
        return "chains, a | b, of the same kind" if mark.many else "a chain, a | b, of the same kind"
    language = fields.language(annotation)
    if language is None:
        return fields.describe(annotation)
    calls = ", ".join(call(name, kind) for name, kind in language.kinds.items())
    return f"a chain, a | b, of {calls}" if language.chain else f"one of {calls}"


def call(name: str, kind: type) -> str:
    """Returns how a kind of an expression is written: `flip(probability=0.5)`."""
    arguments = [
        field if default is fields.REQUIRED or fields.is_nested(annotation) else f"{field}={shown(default)}"
        for (field, annotation), default in zip(
            fields.options(kind).items(), fields.defaults(kind).values(), strict=True
        )
    ]
    return f"{name}({', '.join(arguments)})" if arguments else name


def _set(entries: Sequence[Entry], width: int) -> Iterator[str]:
    """Yields the lines of entries, an explanation beside a short name, else below it."""
    column = COLUMN if width >= NARROW else 4
    for left, right in entries:
        if not left:
            indent = right[: len(right) - len(right.lstrip())]
            yield from _wrapped(right.lstrip(), width, indent, indent or "  ") or [""]
            continue
        beside = len(left) < column
        if not beside:
            yield from _wrapped(left.lstrip(), width, "  ", "    ")
        yield from _wrapped(right, width, left.ljust(column) if beside else " " * column, " " * column) or (
            [left] if beside else []
        )


def _wrapped(text: str, width: int, first: str, others: str) -> list[str]:
    return textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=others, break_long_words=False, break_on_hyphens=False
    )


def docstring(kind: Any) -> str:
    """Returns what is said of a thing, without the marks of reStructuredText; nothing where `dataclass` wrote it."""
    said = inspect.getdoc(kind) or ""
    return "" if said.startswith(f"{kind.__name__}(") else _ROLE.sub(r"`\1`", said).replace("``", "`")


_ROLE = re.compile(r":\w+:`~?([^`]*)`")
_END = re.compile(r"(?<!\bet al)(?<!\be\.g)(?<!\bi\.e)\. ")


def first(said: str) -> str:
    """Returns the first sentence of a docstring."""
    paragraph = " ".join(said.strip().split("\n\n")[0].split())
    end = _END.search(paragraph)
    return paragraph[: end.start() + 1] if end else paragraph


_APPARATUS = re.compile(r"(?:Args|Attributes|Returns|Raises|Examples?|References?|Usage|Note)\b.*:|\.\. |>>>|\* ")


def prose(said: str) -> Iterator[str]:
    """Yields the paragraphs of a docstring before its lists and examples, and its source, wherever that stands."""
    paragraphs = said.split("\n\n")
    before = list(itertools.takewhile(lambda each: not _APPARATUS.match(each), paragraphs))
    for paragraph in (*before, *(each for each in paragraphs[len(before) :] if each.startswith("Source:"))):
        if paragraph:
            yield " ".join(paragraph.split())


_SECTION = re.compile(r"(?:Args|Attributes|Arguments|Parameters):\s*$")
_ITEM = re.compile(r"(\w+)(?: \([^)]*\))?:\s*(.*)")


def _listed(said: str | None) -> dict[str, str]:
    """Returns what a docstring says of each argument in its list of them."""
    found: dict[str, str] = {}
    lines = iter(_ROLE.sub(r"`\1`", inspect.cleandoc(said or "")).replace("``", "`").splitlines())
    for line in lines:
        if _SECTION.match(line):
            break
    inside = list(itertools.takewhile(lambda line: not line or line.startswith(" "), lines))
    name = ""
    for line in textwrap.dedent("\n".join(inside)).splitlines():
        if item := _ITEM.match(line):
            name, found[item[1]] = item[1], item[2]
        elif name:
            found[name] += f"\n{line.strip()}"
    return found


@functools.cache
def documented(kind: Any) -> Mapping[str, str]:
    """Returns what is said of each field of a record: by a docstring behind it, or in its list of arguments."""
    function = getattr(kind, "function", None)
    found = _listed(kind.__doc__) | _listed(getattr(function, "func", function).__doc__ if function else "")
    for one in reversed(kind.__mro__):
        try:
            (record,) = ast.parse(textwrap.dedent(inspect.getsource(one))).body
        except (OSError, TypeError):  # It was made while running, or in C.
            continue
        for field, after in itertools.pairwise(record.body if isinstance(record, ast.ClassDef) else ()):
            if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr) and isinstance(field.target, ast.Name):
                said = after.value
                if isinstance(said, ast.Constant) and isinstance(said.value, str):
                    found[field.target.id] = said.value
    return found
