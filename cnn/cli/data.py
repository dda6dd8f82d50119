"""`data`: what there is to know of a config's data before anything is trained with them."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from cnn.api import data as api_data
from cnn.cli import parser, tables
from cnn.config.config import ConfigError
from cnn.config.resolve import DataAlone
from cnn.data import inspection
from cnn.fields import shorten
from cnn.registry import ExtensionError
from cnn.report import picture_sheet
from cnn.runs import run_dir
from cnn.system.exit_codes import DONE, WRONG
from cnn.system.text import plain

SHOWN = 20
"""So many unusable pictures, and groups of equal ones, are named; --json names all."""
MOST_COLUMNS = 100


class _Asked(NamedTuple):
    sheet: Path | None
    columns: int


def run(config: DataAlone, flags: Mapping[str, str]) -> int:
    """Prints what there is, and draws the sheet; writes no run.

    Returns:
      0, or 2 where training would be refused with this config; what would be right is said.

    Raises:
      ConfigError: a flag is wrong.
      DataError: the data are missing, or cannot be read whatever the config says of them.
    """
    asked = _asked(config, flags)
    found = api_data.inspect(config.data, whole="check" in flags)
    if asked.sheet is not None:
        augment = config.data.augment if "augmented" in flags else ()
        run_dir.write(asked.sheet, api_data.png(_sheet(found, asked.columns, augment, config.seed)))
    problems = [*config.problems, *_unlike_data(config, found)]
    if "json" in flags:
        print(json.dumps({**found.to_json(), "problems": problems}))
    else:
        _show(found, [*found.facts.refusals, *problems])
        if asked.sheet is not None:
            _show_sheet(found, asked.sheet)
    return WRONG if found.facts.refusals or problems else DONE


def _sheet(found: api_data.DataSummary, columns: int, augment: Sequence[Any], seed: int) -> Image.Image:
    try:
        return api_data.sheet(found.dataset, columns=columns, augment=augment, seed=seed)
    except ExtensionError:
        raise
    except ValueError as error:  # the shape is another than the config's, for which the augmentations were checked
        raise ConfigError([f"--augmented: {error}"]) from None


def _unlike_data(config: DataAlone, found: api_data.DataSummary) -> list[str]:
    """Returns what of a config that is right by itself these data refuse: a batch larger than train, say."""
    uncut = tuple(f"config.data.{field}:" for field in inspection.SPLITTING)
    if config.whole is None or any(refusal.startswith(uncut) for refusal in found.facts.refusals):
        return []
    from cnn.train import preflight  # JAX takes seconds to import

    problems: list[str] = []
    for check in (preflight.check_splits, preflight.check_lengths):
        try:
            check(config.whole, found.dataset)
        except ConfigError as error:
            problems += error.problems
    return problems


def _asked(config: DataAlone, flags: Mapping[str, str]) -> _Asked:
    """Returns what the flags ask for; all that is wrong with them is raised together."""
    problems = []
    sheet = Path(flags["sheet"]) if "sheet" in flags else None
    if sheet is None:
        problems += [
            f"--{name}: is for a sheet. Add --sheet=FILE" for name in ("columns", "augmented") if name in flags
        ]
    elif sheet.suffix.lower() != ".png":
        problems.append(f"--sheet: must end in .png, got {str(sheet)!r}. Write --sheet=sheet.png")
    elif not sheet.parent.is_dir():
        problems.append(f"--sheet: no such folder, got {str(sheet.parent)!r}. Make it, or write elsewhere")
    if "augmented" in flags:
        problems += [problem for problem in config.problems if problem.startswith("config.data.augment:")]
    if "augmented" in flags and not config.data.augment:
        problems.append("--augmented: config.data.augment is empty. Name augmentations there")
    text = flags.get("columns", str(api_data.COLUMNS))
    if not (parser.is_number(text) and int(text) <= MOST_COLUMNS):
        problems.append(f"--columns: must be a whole number from 1 to {MOST_COLUMNS}, got {text!r}")
    if problems:
        raise ConfigError(problems)
    return _Asked(sheet, int(text))


def _show(found: api_data.DataSummary, refused: list[str]) -> None:
    facts = found.facts
    _say(found.lines())
    if facts.examined < facts.pictures:
        print("--check reads all")
    print()
    header, lines = found.splits()
    tables.table(header, lines, right=header[1:2], title=1)
    header, lines = found.classes()
    tables.table(header, [[plain(cell) for cell in line] for line in lines], right=header[1:], title=1)
    _say(found.numbers())
    if facts.unusable:
        _title(f"{len(facts.unusable):,} cannot be used:")
        _say([f"  {each.picture}: {each.reason}" for each in facts.unusable[:SHOWN]], len(facts.unusable))
    if facts.copies:
        are = "picture is" if len(facts.copies) == 1 else "pictures are"
        _title(f"{len(facts.copies):,} {are} there more than once:")
        _say(["  " + " = ".join(copy.picture for copy in group) for group in facts.copies[:SHOWN]], len(facts.copies))
    for title, said in (
        ("what may surprise you:", facts.remarks),
        ("what a run will say of them:", facts.notes),
        ("why training would be refused:", refused),
    ):
        if said:
            _title(title)
            _say([f"  {line}" for line in "\n".join(said).split("\n")])


def _title(text: str) -> None:
    print()
    tables.console().print(text, style="bold")


def _say(lines: list[str], total: int = 0) -> None:
    for line in lines:
        print(plain(line))
    if total > len(lines):
        print(f"  and {total - len(lines):,} more; --json names all")


def _show_sheet(found: api_data.DataSummary, sheet: Path) -> None:
    names = found.facts.class_names
    print(f"\nthe sheet is in {plain(str(sheet))}")
    if len(names) > api_data.CLASSES:
        print(f"it shows the first {api_data.CLASSES} of {len(names):,} classes")
    numbered = [
        f"{label} {name}"
        for label, name in enumerate(names[: api_data.CLASSES])
        if picture_sheet.written(name, label)[0] == f"class {label}" != name
    ]
    if numbered:
        print(plain(f"no font on this machine can write {len(numbered)} of the names there: {shorten(numbered)}"))
