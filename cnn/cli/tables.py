"""Tables on stdout: whole, whatever the width; on a terminal too narrow for one, its rows as a few lines each."""

from collections.abc import Iterable, Sequence

from rich import box
from rich.measure import Measurement
from rich.table import Table

from cnn.system.console import Console

UNLIMITED = 10_000
"""The width of what is not a terminal."""


def console() -> Console:
    """Returns one for stdout, as wide as it needs where that is no terminal."""
    width = None if Console().is_terminal else UNLIMITED
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=True, width=width)


def tabulated(console: Console, header: Sequence[str], lines: Iterable[Sequence[str]], *, right: Sequence[str]) -> bool:
    """Prints a table and returns True, where the console is wide enough for it."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in header:
        table.add_column(name, justify="right" if name in right else "left", no_wrap=True)
    for line in lines:
        table.add_row(*line)
    # Measured within the console's own width, every table would fit: by cutting its cells.
    if Measurement.get(console, console.options.update(max_width=UNLIMITED), table).maximum > console.width:
        return False
    with console.capture() as captured:
        console.print(table)
    # The last column is filled up with blanks.
    console.out("\n".join(line.rstrip() for line in captured.get().splitlines()), highlight=False)
    console.print()
    return True


def stacked(
    console: Console,
    header: Sequence[str],
    lines: Iterable[Sequence[str]],
    *,
    title: int,
    hidden: Sequence[str] = ("",),
) -> None:
    """Prints each row as a few short lines, the first `title` cells in one, for a terminal too narrow for a table."""
    for line in lines:
        console.print("  ".join(line[:title]).rstrip(), style="bold")
        for name, value in zip(header[title:], line[title:], strict=True):
            if value not in hidden:
                console.print(f"  {name} {value}")


def table(header: Sequence[str], lines: Sequence[Sequence[str]], *, right: Sequence[str], title: int) -> None:
    """Prints a table; on a terminal too narrow for it, each row as a few lines, its first `title` cells in one."""
    paper = console()
    if not tabulated(paper, header, lines, right=right):
        paper.print(" ".join(header[:title]), style="underline")
        stacked(paper, header, lines, title=title)
        paper.print()
