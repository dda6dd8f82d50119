"""Writes docs/reference.md from the code: every field, everything a config may name, every command, file and exit code.

    python docs/write_reference.py           # writes the page
    python docs/write_reference.py --check   # exits with 1 if the page says otherwise

Nothing is said here but headings: meanings stand in the docstrings and records of `cnn/`, where changes of them belong.
"""

import ast
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from cnn import expression, fields, registry
from cnn.api import find_rate
from cnn.cli import commands
from cnn.cli import fields as told
from cnn.config import config, files
from cnn.layers.initialisers import DEFAULT
from cnn.registry import TABLES, Table
from cnn.runs import run_dir, sweep_record
from cnn.system.exit_codes import EXIT_CODES

PAGE = ROOT / "docs" / "reference.md"
INTRODUCTION = """\
# Reference

Everything that a config, a command line and a run's directory may hold, in tables. In the terminal
`python main.py fields NAME` tells the same of one name, also of [your own code](extensions.md), of Optax and of Linen.

`python docs/write_reference.py` writes this page from the code, so a correction belongs into a docstring there.
"""
FIELDS = "Fields of a config"
NAMES = "What fields may name"
LAYERS_OF = {
    "convolution": "Convolutions",
    "dense": "Dense layers",
    "activation": "Activations",
    "pooling": "Pooling",
    "normalisation": "Normalisation",
    "combine": "Branches and dropout",
    "resampling": "Resampling",
}
"""The tables of layers, by the module that has them."""
SECTIONS = ("model", "data", "train", "optimizer", "schedule", "eval", "checkpoint", "report", "sweep")


def page() -> str:
    """Returns the whole page."""
    body = [*_commands(), *_config(), *_names(), *_configs(), *_files(), *_exit_codes()]
    blocks = [INTRODUCTION, "\n".join(_contents(body)), *body]
    return "\n\n".join(block.strip("\n") for block in blocks) + "\n"


def _contents(body: Iterable[str]) -> Iterator[str]:
    """Yields a list of links to the headings, those of the second order in a line behind those of the first."""
    line = ""
    for block in body:
        if found := re.fullmatch(r"(##+) (.*)", block):
            link = f"[{found[2].replace('`', '')}](#{_anchor(found[2])})"
            if found[1] == "##":
                yield from [line] if line else []
                line = f"* **{link}**"
            else:
                line += f"{',' if ':' in line else ':'} {link}"
    yield line


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def _commands() -> Iterator[str]:
    yield "## Commands"
    yield "`python main.py COMMAND`, or `cnn COMMAND` once the package is installed; without a command it is `train`."
    rows = []
    for name, command in commands.COMMANDS.items():
        flags = ", ".join(f"`--{flag}`" for flag in commands.flags_of(name))
        rows.append((f"`{name} {command.words}`".replace(" `", "`"), command.help, flags))
    yield _table(("command", "what it does", "flags"), rows)
    yield "## Flags"
    yield _table(("flag", "what it is", "of"), _flags())


def _flags() -> Iterator[tuple[str, ...]]:
    """Yields a row for each flag; a line in it for each command of which it is something else."""
    for flag in sorted({*commands.FLAGS, *commands.SWITCHES}):
        meant: dict[str, list[str]] = {}
        for name in commands.COMMANDS:
            if flag in commands.flags_of(name):
                meant.setdefault(_code(commands.meaning(name, flag)), []).append(f"`{name}`")
        several = len(meant) > 1
        lines = [f"{', '.join(of)}: {said}" if several else said for said, of in meant.items()]
        yield f"`{commands.shown(flag)}`", "<br>".join(lines), ", ".join(of for each in meant.values() for of in each)
    for flag, said in commands.ALWAYS.items():
        yield f"`{flag}`", said, "`sweep`" if flag.startswith("--sweep") else ""


def _code(said: str) -> str:
    """Returns a text of the terminal's help with what is typed set as code."""
    return re.sub(r"(?<![\w`/-])(--[\w.]+(?:=[^\s;,)]+)?)", r"`\1`", _cell(said))


def _config() -> Iterator[str]:
    yield f"## {FIELDS}"
    yield (
        "A flag `--config.train.epochs=5` sets a field, and so does `config.train.epochs = 5` in a config file. "
        "Real numbers are *traced*: another value compiles nothing anew. Integers and names are part of the compiled "
        "program, and so are numbers of which the table says *static*. Sizes are one integer, or a pair: height, width."
    )
    yield "### Fields of no section"
    documented = _documented(config.Config)
    yield _table(
        FIELD_COLUMNS,
        (
            _field(name, annotation, default, documented.get(name, ""))
            for name, (annotation, default) in config.SCALARS.items()
        ),
    )
    for section in SECTIONS:
        yield f"### `{_path(section)}`"
        if section == "model":
            yield from _model()
        elif section in config.NAMED:
            yield _chooser(section)
        else:
            kind = told.SECTIONS[section]
            yield told.first(told.docstring(kind))
            yield _table(FIELD_COLUMNS, _fields(kind))


FIELD_COLUMNS = ("field", "what it may be", "default", "what it is")


def _path(section: str) -> str:
    return "--sweep" if section == "sweep" else f"config.{section}"


def _model() -> Iterator[str]:
    layers, initialisers = _link(registry.LAYERS), _link(registry.INITIALISERS)
    allowed = {
        "layers": (f"a chain of {layers}", "must be set"),
        "init": (f"one of {initialisers}", f"`{DEFAULT.kind}`"),
    }
    rows = [(f"`{name}`", *allowed[name], _cell(_typed(said))) for name, said in told.MODEL_FIELDS.items()]
    yield _table(FIELD_COLUMNS, rows)
    yield told.NAMES


def _typed(said: str) -> str:
    """Returns a text of the terminal with its pointers to the command `fields`, and to a page, as links and code."""
    said = re.sub(r"see fields (\w+)", r"see `python main.py fields \1`", said)
    return re.sub(r"docs/(\w+\.md)", r"[docs/\1](\1)", said)


def _chooser(section: str) -> str:
    table = TABLES[section]
    default = config.DEFAULT_NAMES.get(section)
    by_default = f"; where it is not set, `{default}`" if default else "; it must be set"
    also = _typed(told.ALSO[section])
    return f"`name` is one of {_link(table)}{by_default}. The other fields are that one's options. {also}"


def _documented(kind: type) -> dict[str, str]:
    """Returns what is said of each field, in a line."""
    return {name: " ".join(said.split()) for name, said in told.documented(kind).items()}


def _fields(kind: type) -> Iterator[tuple[str, ...]]:
    documented, defaults = _documented(kind), fields.defaults(kind)
    for name, annotation in fields.options(kind).items():
        yield _field(name, annotation, defaults[name], documented.get(name, ""))


def _field(name: str, annotation: Any, default: Any, said: str) -> tuple[str, ...]:
    shown = "must be set" if default is fields.REQUIRED else f"`{told.shown(default)}`"
    return f"`{name}`", _allowed(annotation), shown, _cell(said)


def _allowed(annotation: Any) -> str:
    language = fields.language(annotation)
    if language is None:
        static = "; *static*" if fields.is_static(annotation) else ""
        return _cell(_choices(told.allowed(annotation)) + static)
    kind = _link(next(table for table in TABLES.values() if table is language.kinds))
    return f"a chain of {kind}" if language.chain else f"one of {kind}"


def _choices(allowed: str) -> str:
    return re.sub(r"'([^']*)'", r"`\1`", allowed)


def _link(table: Table) -> str:
    name = registry.plural(table.what)
    return f"[{name}](#{_anchor(name)})"


def _names() -> Iterator[str]:
    yield f"## {NAMES}"
    yield (
        "Options stand in brackets, with their defaults: `flip(probability=0.5)`. `flip` alone, `flip(0.1)` and "
        "`flip(probability=0.1)` are all right. Where a field takes a chain, a bar joins its links: `flip | erase`."
    )
    for what, table in sorted(TABLES.items()):
        yield f"### {registry.plural(what).capitalize()}"
        also = _typed(told.ALSO.get(what, ""))
        yield _cell(f"Named in {_places(table)}. {also}".strip())
        if table.what in config.NAMED:
            yield from _set_apart(table)
        elif table is not registry.LAYERS:
            yield _things(table, table)
        for module, title in LAYERS_OF.items() if table is registry.LAYERS else ():
            yield f"**{title}**"
            yield _things(table, {name: kind for name, kind in table.items() if _module(kind) == module})


def _module(kind: type) -> str:
    return kind.__module__.rpartition(".")[2]


def _places(table: Table) -> str:
    return re.sub(r"((?:config|--sweep)\.[\w.]+|init=\.\.\.)", r"`\1`", told.places(table))


def _things(table: Table, things: Mapping[str, Any]) -> str:
    """Returns the table of some kinds that are written with their options in brackets."""
    rows = [
        (f"`{_cell(expression.signature(name, kind))}`", _meaning(table, kind), _options(kind))
        for name, kind in things.items()
    ]
    columns = ("written as", "what it is", "options")
    return _table(columns if any(options for *_, options in rows) else columns[:2], rows)


def _set_apart(table: Table) -> Iterator[str]:
    """Yields the tables of kinds whose options are fields of a section: what there is, and every field once."""
    rows = []
    said: dict[tuple[str, str, str], list[str]] = {}
    for name, kind in table.items():
        documented, defaults = _documented(kind), fields.defaults(kind)
        options = []
        for option, annotation in fields.options(kind).items():
            required = defaults[option] is fields.REQUIRED
            options.append(f"`{option}`" if required else f"`{option} = {told.shown(defaults[option])}`")
            meaning = _cell(documented.get(option, ""))
            said.setdefault((option, _allowed(annotation), meaning), []).append(name)
        rows.append((f"`{name}`", _meaning(table, kind), ", ".join(options)))
    yield _table(("name", "what it is", f"fields of `config.{table.what}`, with their defaults"), rows)
    yield f"The fields of `config.{table.what}`:"
    whose = {
        key: "all" if len(names) == len(table) else ", ".join(f"`{name}`" for name in names)
        for key, names in said.items()
    }
    yield _table(
        ("field", "of", "what it may be", "what it is"),
        ((f"`{option}`", whose[option, may, is_], may, _capital(is_)) for option, may, is_ in sorted(said)),
    )


def _meaning(table: Table, kind: Any) -> str:
    said = list(told.prose(told.docstring(kind)))
    if table is registry.METRICS:
        said.append(f"{kind.better.capitalize()} is better.")
    return "<br>".join(map(_cell, said))


def _options(kind: Any) -> str:
    documented = _documented(kind)
    lines = []
    for name, annotation in fields.options(kind).items():
        allowed = "" if fields.is_nested(annotation) else f"{_allowed(annotation)}. "
        lines.append(f"`{name}`: {allowed}{_cell(_capital(documented.get(name, '')))}".strip())
    return "<br>".join(lines)


def _capital(said: str) -> str:
    return said[:1].upper() + said[1:]


def _configs() -> Iterator[str]:
    yield "## Configs"
    yield "Each has its results, and the command that gave them, in its docstring: `--config=NAME`."
    rows = ((f"[`{name}`](../configs/{name}.py)", _said(files.FOLDER / f"{name}.py")) for name in files.names())
    yield _table(("name", "what it trains"), rows)
    yield "### Spaces of sweeps"
    yield "`python main.py sweep --sweep=FILE`."
    found = sorted((files.FOLDER / "sweeps").glob("*.py"))
    yield _table(
        ("file", "what it tries"),
        ((f"[`configs/sweeps/{path.name}`](../configs/sweeps/{path.name})", _said(path)) for path in found),
    )


def _said(path: Path) -> str:
    return _cell((ast.get_docstring(ast.parse(path.read_text())) or "").split("\n\n")[0].replace("\n", " "))


def _files() -> Iterator[str]:
    yield "## Files"
    for title, found in {
        "A run's directory": run_dir.FILES,
        "A sweep's directory": sweep_record.FILES,
        "What find-rate writes": find_rate.FILES,
    }.items():
        yield f"### {title}"
        yield _table(("file", "what it is"), ((f"`{name}`", _cell(said)) for name, said in found.items()))


def _exit_codes() -> Iterator[str]:
    yield "## Exit codes"
    rows = ((str(code), each.short, _code(each.meaning)) for code, each in EXIT_CODES.items())
    yield _table(("code", "in short", "what it says"), rows)


def _cell(text: str) -> str:
    """Returns a text as a table takes it: no bar ends the cell, and nothing in angle brackets is taken for HTML."""
    parts = re.split(r"(`[^`]*`)", text.replace("|", r"\|"))
    return "".join(part if part.startswith("`") else part.replace("<", r"\<") for part in parts)


def _table(header: Iterable[str], rows: Iterable[tuple[str, ...]]) -> str:
    header = tuple(header)
    lines = [header, ("---",) * len(header), *(row[: len(header)] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        same = PAGE.is_file() and PAGE.read_text() == page()
        print(
            f"{PAGE.relative_to(ROOT)} " + ("is as the code says" if same else "differs from the code: write it again")
        )
        sys.exit(0 if same else 1)
    PAGE.write_text(page())
