"""Text for a terminal."""

import os
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path


def plain(text: str) -> str:
    """Returns text that came from a file or a name, without what could steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def counted(count: int, one: str, many: str = "") -> str:
    """Returns a number and what it counts; `many` where the plural is more than an s.

    >>> counted(1, "class", "classes"), counted(1293, "picture")
    ('1 class', '1,293 pictures')
    """
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"


def four_digits(value: float | None) -> str:
    """Returns a number as tables have it, four digits behind the point; a dash where there is none."""
    return "-" if value is None else f"{value:.4f}"


def aligned(rows: Iterable[Sequence[str]], adjust: Callable[[str, int], str] = str.ljust) -> list[str]:
    """Returns a line for each row of cells, its columns under each other.

    Args:
      rows: as many cells each.
      adjust: makes a cell as wide as its column.
    """
    rows = list(rows)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(adjust, row, widths)).rstrip() for row in rows]


def relative(file: str) -> str:
    """Returns the path of a file, from the working directory where it lies below that."""
    path, here = Path(file), Path.cwd()
    return str(path.relative_to(here)) if here in path.parents else file


def output_is_lost() -> bool:
    """Tells whether standard output takes no more, as where a disk is full, which only an empty line tells.

    From then on it takes all: Python would try once more on its way out, and end with a traceback.
    """
    try:
        print(flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False
