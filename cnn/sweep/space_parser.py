"""Reads the space of a sweep from its file's JSON, or from the line of `--grid`; notes all that is wrong with it.

`read_grid` makes JSON of the line, so that both are read, and refused, by `read_space`.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from cnn.config.config import RENAMED
from cnn.fields import did_you_mean, literal, suggestion
from cnn.registry import TABLES
from cnn.runs.sweep_record import FOLD
from cnn.sweep.space import Axis, Chain, Choices, Part, Range, Rows, paths

SCALES = ("log", "linear", "int")
KEYS = ("values", *SCALES, "n", "step", "when")
MOST_POINTS = 100_000
MOST_FOLDS = 10_000
SpaceJson = dict[str, Any]
"""A space as JSON: the values of each field."""
_PLURAL = {"log": "numbers", "linear": "numbers", "int": "integers"}


def read_space(declared: Any, problems: list[str], where: str = "space") -> tuple[Part, ...]:
    """Returns the parts of a space.

    Args:
      declared: nested dicts and lists, as JSON gives them.
      problems: grows by a line for each thing that is wrong.
      where: the name of this space, for those lines.
    """
    if not isinstance(declared, Mapping) or not declared:
        problems.append(f'{where}: must hold fields and their values, got {declared!r}. Write {{"seed": [0, 1]}}')
        return ()
    parts: list[Part] = []
    for name, value in declared.items():
        place = f"{where}.{name}"
        if name == "zip":
            parts += [_zip(one, problems, place) for one in (value if isinstance(value, Sequence) else [value])]
        elif name == "chain":
            parts.append(_chain(value, problems, place))
        elif name == "trials":
            parts.append(_named(value, problems, place))
        else:
            parts.append(_axis(str(name), value, problems, place, tuple(paths(tuple(parts)))))
    _refuse_twice(parts, problems, where)
    return tuple(parts)


def _refuse_twice(parts: Sequence[Part], problems: list[str], where: str) -> None:
    seen: set[str] = set()
    for part in parts:
        for path in paths((part,)):
            now = RENAMED.get(path, path)
            if now in seen:
                problems.append(f"{where}.{path}: is swept twice. Keep one")
            seen.add(now)


def _axis(path: str, value: Any, problems: list[str], where: str, before: tuple[str, ...]) -> Axis:
    if isinstance(value, (list, tuple)):
        return Axis(path, _choices(value, problems, where))
    if not isinstance(value, Mapping):
        problems.append(f"{where}: must be a list of values or a range, got {value!r}. Write [{value!r}]")
        return Axis(path, Choices(()))
    for key in value:
        if key not in KEYS:
            problems.append(f"{where}: unknown word {key!r}. {did_you_mean(str(key), KEYS)}")
    kinds = [key for key in ("values", *SCALES) if key in value]
    when = _when(value.get("when", {}), problems, where, before)
    if len(kinds) != 1:
        problems.append(f"{where}: must have exactly one of {', '.join(('values', *SCALES))}, got {kinds}.")
        return Axis(path, Choices(()), when)
    if kinds[0] == "values":
        return Axis(path, _choices(value["values"], problems, where), when)
    return Axis(path, _range(kinds[0], value, problems, where), when)


def _choices(values: Any, problems: list[str], where: str) -> Choices:
    if not isinstance(values, (list, tuple)) or not values:
        problems.append(f"{where}: must be a list of at least one value, got {values!r}.")
        return Choices(())
    for value in values:
        plain = isinstance(value, (str, int, float, bool, list, tuple))
        if not plain or (isinstance(value, float) and not math.isfinite(value)):
            problems.append(f"{where}: must hold finite numbers, truth values, texts or lists, got {value!r}.")
    values = tuple(tuple(value) if isinstance(value, list) else value for value in values)
    kept = list({(type(value), repr(value)): value for value in values}.values())
    if len(kept) < len(values):
        problems.append(f"{where}: holds a value twice, got {list(values)}. Keep one")
    return Choices(tuple(kept))


def _range(scale: str, value: Mapping[str, Any], problems: list[str], where: str) -> Choices | Range:
    ends, number, step = value[scale], value.get("n"), value.get("step", 1)
    kind = (int,) if scale == "int" else (int, float)
    before = len(problems)
    if not (isinstance(ends, (list, tuple)) and len(ends) == 2 and all(_is(kind, end) for end in ends)):
        problems.append(f"{where}: {scale} must be a pair of {_PLURAL[scale]}, got {ends!r}.")
    elif not ends[0] < ends[1]:
        problems.append(f"{where}: {scale} must go from a smaller to a larger number, got {list(ends)}. Swap them")
    elif scale == "log" and ends[0] <= 0:
        problems.append(f"{where}: log must begin above 0, got {ends[0]!r}. Use linear, or a larger number")
    if number is not None and (scale == "int" or not _is((int,), number) or not 1 <= number <= MOST_POINTS):
        problems.append(f"{where}: n must be a number of points of a log or linear range, got {number!r}.")
    if "step" in value and (scale != "int" or not _is((int,), step) or step < 1):
        problems.append(f"{where}: step must be a positive integer, of an int range, got {step!r}.")
    if len(problems) > before:
        return Choices(())
    if scale != "int":
        ends = [float(end) for end in ends]
    return Range(scale, ends[0], ends[1], number, step)


def _is(kinds: tuple[type, ...], value: Any) -> bool:
    return not isinstance(value, bool) and isinstance(value, kinds) and math.isfinite(value)  # type: ignore[arg-type]


def _when(declared: Any, problems: list[str], where: str, before: tuple[str, ...]) -> tuple[Any, ...]:
    if not isinstance(declared, Mapping):
        problems.append(f"{where}: when must hold fields and their values, got {declared!r}")
        return ()
    conditions = []
    for path, allowed in declared.items():
        if path not in before:
            problems.append(f"{where}: when names {path!r}, which is not swept before it. {did_you_mean(path, before)}")
        listed = allowed if isinstance(allowed, (list, tuple)) else [allowed]
        conditions.append((path, tuple(tuple(value) if isinstance(value, list) else value for value in listed)))
    return tuple(conditions)


def _zip(declared: Any, problems: list[str], where: str) -> Rows:
    if not isinstance(declared, Mapping) or not all(isinstance(value, (list, tuple)) for value in declared.values()):
        problems.append(f"{where}: must hold fields and their lists of values, got {declared!r}.")
        return Rows("zip", (), ())
    lengths = {len(value) for value in declared.values()}
    if len(lengths) != 1 or lengths == {0}:
        sizes = ", ".join(f"{path} {len(value)}" for path, value in declared.items())
        problems.append(f"{where}: must hold lists of equal length, got {sizes or 'none'}. Give each as many values")
        return Rows("zip", (), ())
    for path, values in declared.items():
        _choices(list(dict.fromkeys(map(_hashable, values))), problems, f"{where}.{path}")
    rows = tuple(dict(zip(declared, map(_hashable, row), strict=True)) for row in zip(*declared.values(), strict=True))
    labels = tuple(", ".join(str(value) for value in row.values()) for row in rows)
    if len(set(labels)) < len(labels):
        problems.append(f"{where}: holds the same values twice. Keep one of each")
    return Rows("+".join(declared), labels, rows)


def _hashable(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _named(declared: Any, problems: list[str], where: str) -> Rows:
    if not isinstance(declared, Mapping) or not declared:
        problems.append(f'{where}: must hold names and fields, got {declared!r}. Write {{"small": {{"seed": 1}}}}')
        return Rows("trial", (), ())
    rows = []
    for name, row in declared.items():
        if not isinstance(row, Mapping):
            problems.append(f"{where}.{name}: must hold fields and one value each, got {row!r}.")
            continue
        for path, value in row.items():
            _choices([value], problems, f"{where}.{name}.{path}")
        rows.append({path: _hashable(value) for path, value in row.items()})
    return Rows("trial", tuple(map(str, declared)), tuple(rows))


def _chain(declared: Any, problems: list[str], where: str) -> Chain:
    if not isinstance(declared, (list, tuple)) or not declared:
        problems.append(f"{where}: must be a list of spaces, got {declared!r}.")
        return Chain("chain", ())
    return Chain("chain", tuple(read_space(one, problems, f"{where}.{index}") for index, one in enumerate(declared)))


_OPEN, _CLOSE = "([{", ")]}"
_CALL = re.compile(r"(log|linear|int)\((.*)\)", re.DOTALL)
_FOLDS = re.compile(r"folds\(\s*(.*?)\s*\)", re.DOTALL)
_EXAMPLE = "Write --grid='optimizer.learning_rate=1e-4,1e-3;seed=0,1,2'"


def read_grid(text: str, problems: list[str]) -> SpaceJson:
    """Returns the JSON of a space, and adds to `problems` what is wrong with the text."""
    declared: SpaceJson = {}
    for part in filter(None, (part.strip() for part in split(text, ";"))):
        names, equals, values = _assignment(part)
        if not equals or not names or not values.strip():
            problems.append(f"--grid: {part!r} is no FIELD=VALUES. {_EXAMPLE}")
        elif names.startswith("("):
            declared.setdefault("zip", []).append(_zipped(names, values, problems))
        elif names in declared:
            problems.append(f"--grid: {names} is given twice. Keep one")
        else:
            declared[names] = _grid_axis(names, values, problems)
    if not declared and not problems:
        problems.append(f"--grid: is empty. {_EXAMPLE}")
    return declared


def split(text: str, mark: str) -> list[str]:
    """Splits at a mark outside of brackets and quotes."""
    parts, depth, quote, start = [], 0, "", 0
    for index, letter in enumerate(text):
        if quote:
            quote = "" if letter == quote else quote
        elif letter in "'\"":
            quote = letter
        elif letter in _OPEN:
            depth += 1
        elif letter in _CLOSE:
            depth -= 1
        elif letter == mark and depth <= 0:
            parts.append(text[start:index])
            start = index + 1
    return [*parts, text[start:]]


def _assignment(part: str) -> tuple[str, str, str]:
    names, equals, values = part.partition("=")
    return names.strip().removeprefix("config."), equals, values


def _grid_axis(name: str, values: str, problems: list[str]) -> Any:
    if name == FOLD and (folds := _FOLDS.fullmatch(values.strip())):
        return _every_fold(folds[1], problems)
    call = _CALL.fullmatch(values.strip())
    # A function of numbers only: "int(1, 8)" is a range, while a layer expression in a choice is a text.
    if call is None and (unknown := _no_scale(values.strip())):
        problems.append(f"--grid: {name}: unknown range {unknown!r}. {did_you_mean(unknown, SCALES)}")
        return [0]
    if call is None:
        return [literal(value.strip()) for value in split(values, ",")]  # an empty one is the empty text
    scale, numbers = call[1], [literal(number.strip()) for number in split(call[2], ",")]
    if len(numbers) not in (2, 3) or not all(isinstance(number, (int, float)) for number in numbers):
        problems.append(f"--grid: {name}: {scale} takes low, high and how many, got {call[2]!r}.")
        return [0]
    third = {} if len(numbers) == 2 else {"step" if scale == "int" else "n": numbers[2]}
    return {scale: numbers[:2], **third}


def _no_scale(text: str) -> str:
    """Returns the word that was meant for a range's, empty where it is none: of numbers alone, and like one."""
    call = re.fullmatch(r"(\w+)\((.*)\)", text, re.DOTALL)
    if call is None or not all(isinstance(literal(each.strip()), (int, float)) for each in split(call[2], ",")):
        return ""
    known = any(call[1] in table for table in TABLES.values())
    return call[1] if suggestion(call[1], SCALES) and not known else ""


def _every_fold(text: str, problems: list[str]) -> list[str]:
    """Returns all of so many folds, as if each had been written."""
    number = int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0
    if not 2 <= number <= MOST_FOLDS:
        problems.append(f"--grid: {FOLD}: folds takes how many, from 2 to {MOST_FOLDS:,}, got {text!r}.")
        return ["1/2"]
    return [f"{place}/{number}" for place in range(1, number + 1)]


def _zipped(names: str, values: str, problems: list[str]) -> SpaceJson:
    paths = [path.strip().removeprefix("config.") for path in names.strip("() ").split(",")]
    rows = [split(row.strip()[1:-1], ",") for row in split(values, ",") if row.strip()]
    whole = all(row.strip().startswith("(") for row in split(values, ",") if row.strip())
    if not whole or any(len(row) != len(paths) for row in rows):
        problems.append(f"--grid: {names}: each value must be {len(paths)} in parentheses, got {values.strip()}.")
        return {path: [0] for path in paths}
    columns = zip(*rows, strict=True)
    return {path: [literal(value.strip()) for value in column] for path, column in zip(paths, columns, strict=True)}
