"""A space in one line: `optimizer.learning_rate=log(1e-4,1e-2,8); seed=0,1,2; (model.width,seed)=(8,0),(16,1)`."""

import re
from typing import Any

from cnn.fields import literal

_OPEN, _CLOSE = "([{", ")]}"
_CALL = re.compile(r"(log|linear|int)\((.*)\)", re.DOTALL)
_HOW = "Write --grid='optimizer.learning_rate=1e-4,1e-3;seed=0,1,2'"


def read(text: str, problems: list[str]) -> dict[str, Any]:
    """Returns the JSON of a space, and adds to `problems` what is wrong with the text."""
    declared: dict[str, Any] = {}
    for part in filter(None, (part.strip() for part in split(text, ";"))):
        names, equals, values = _assignment(part)
        if not equals or not names or not values.strip():
            problems.append(f"--grid: {part!r} is no FIELD=VALUES. {_HOW}")
        elif names.startswith("("):
            declared.setdefault("zip", []).append(_zipped(names, values, problems))
        elif names in declared:
            problems.append(f"--grid: {names} is given twice. Keep one")
        else:
            declared[names] = _axis(names, values, problems)
    if not declared and not problems:
        problems.append(f"--grid: is empty. {_HOW}")
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


def _axis(name: str, values: str, problems: list[str]) -> Any:
    call = _CALL.fullmatch(values.strip())
    # A function of numbers only: "int(1, 8)" is a range, while a layer expression in a choice is a text.
    if call is None:
        return [literal(value.strip()) for value in split(values, ",") if value.strip()]
    scale, numbers = call[1], [literal(number.strip()) for number in split(call[2], ",")]
    if len(numbers) not in (2, 3) or not all(isinstance(number, (int, float)) for number in numbers):
        problems.append(f"--grid: {name}: {scale} takes low, high and how many, got {call[2]!r}.")
        return [0]
    third = {} if len(numbers) == 2 else {"step" if scale == "int" else "n": numbers[2]}
    return {scale: numbers[:2], **third}


def _zipped(names: str, values: str, problems: list[str]) -> dict[str, Any]:
    paths = [path.strip().removeprefix("config.") for path in names.strip("() ").split(",")]
    rows = [split(row.strip()[1:-1], ",") for row in split(values, ",") if row.strip()]
    whole = all(row.strip().startswith("(") for row in split(values, ",") if row.strip())
    if not whole or any(len(row) != len(paths) for row in rows):
        problems.append(f"--grid: {names}: each value must be {len(paths)} in parentheses, got {values.strip()}.")
        return {path: [0] for path in paths}
    columns = zip(*rows, strict=True)
    return {path: [literal(value.strip()) for value in column] for path, column in zip(paths, columns, strict=True)}
