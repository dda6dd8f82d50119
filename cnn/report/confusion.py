"""Which classes get mixed up: counts and shares of each true class, small errors visible beside a full diagonal."""

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from markupsafe import Markup

from cnn.report import charts, escape
from cnn.report.colormap import STEPS, THEMES, Scale, ink_on, table, themed
from cnn.report.html import Figure, PageSection
from cnn.report.run_files import RunFiles

LEVELS = 32
"""Shades of an error; a share's is that of its square root."""
WRITTEN, DRAWN = 30, 200
"""With more classes the matrix is a picture without numbers; with still more there is only the list."""
PIXELS = 6
"""The side of a cell of that picture."""
FREQUENT = 20


@dataclasses.dataclass(frozen=True)
class Cell:
    """One cell: what is written in it, and its class of colour."""

    share: str
    count: str
    shade: str


class Score(NamedTuple):
    """What stands at the ends of a class's row and column."""

    recall: str
    precision: str


@dataclasses.dataclass(frozen=True)
class Pair:
    """How often one class is taken for another."""

    count: int
    true: str
    seen: str
    share: float


def build(run: RunFiles) -> PageSection | None:
    """Returns the confusion matrix of the run's main evaluation; `None` without one."""
    if run.main is None:
        return None
    name, evaluation = run.main
    counts = np.asarray(evaluation["confusion"], np.int64)
    names = run.class_names
    classes = len(counts)
    html = escape.render(
        "confusion.html.j2",
        split=name,
        names=names,
        rows=[[cell(counts, row, column) for column in range(classes)] for row in range(classes)]
        if classes <= WRITTEN
        else None,
        scores=[Score(_score(entry["recall"]), _score(entry["precision"])) for entry in evaluation["classes"]],
        image=_image(counts) if WRITTEN < classes <= DRAWN else None,
        pairs=frequent(counts, names),
        sentence=sentence(counts, names),
        steps=[(share, shade(share)) for share in (0.005, 0.02, 0.1, 0.5, 1.0)],
    )
    written = classes <= WRITTEN
    scripts = (escape.source("confusion.js"), escape.source("confusion_shown.js")) if written else ()
    data = (
        {"confusion-data": {"counts": counts.tolist(), "grouped": grouped(counts), "levels": LEVELS}} if written else {}
    )
    title = "Which classes get mixed up"
    # The page shows it in another way, and drawing it takes as long as all that is above.
    drawn = functools.partial(_figures, counts, names)
    return PageSection("confusion", title, html, (sheet(),), scripts, data, figures=drawn, short="Confusion")


def grouped(counts: np.ndarray) -> list[int]:
    """Returns the classes in an order in which those that get mixed up stand side by side.

    A chain that begins with the pair mixed up most, either way, and grows at whichever end is mixed up most with a
    class outside; classes that nothing is mixed up with come last, as they were.
    """
    mixed = counts + counts.T
    np.fill_diagonal(mixed, 0)
    left = [label for label in range(len(counts)) if mixed[label].any()]
    chain = [int(label) for label in np.unravel_index(np.argmax(mixed), mixed.shape)] if left else []
    left = [label for label in left if label not in chain]
    while left:
        end, label = max(
            ((end, label) for end in (0, -1) for label in left),
            key=lambda pair: (mixed[chain[pair[0]], pair[1]], pair[0], -pair[1]),
        )
        chain.insert(0 if end == 0 else len(chain), label)
        left.remove(label)
    return [*chain, *(label for label in range(len(counts)) if label not in chain)]


def cell(counts: np.ndarray, true: int, seen: int) -> Cell:
    """Returns a cell; a class that does not occur has none but dashes."""
    total, count = int(counts[true].sum()), int(counts[true, seen])
    if not total:
        return Cell("-", "", "none")
    if not count:
        return Cell("0", "", "none")
    share = count / total
    return Cell(f"{percent(share)} %", f"{count:,}", "hit" if true == seen else shade(share))


def percent(share: float) -> str:
    """Returns a share in percent, never rounded to nothing or to all."""
    shown = f"{100 * share:.1f}"
    if share < 1 and shown == "100.0":
        return "> 99.9"
    return "< 0.1" if share > 0 and shown == "0.0" else shown.removesuffix(".0")


def shade(share: float) -> str:
    """Returns the class of an error of this share of its row, in (0, 1]."""
    return f"e{max(1, round(LEVELS * math.sqrt(share)))}"


def frequent(counts: np.ndarray, names: Sequence[str]) -> list[Pair]:
    """Returns the most frequent confusions; equal ones in the order of the classes."""
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:FREQUENT]
    places = [divmod(int(place), len(counts)) for place in order]
    return [
        Pair(int(wrong[true, seen]), names[true], names[seen], float(wrong[true, seen] / counts[true].sum()))
        for true, seen in places
        if wrong[true, seen]
    ]


def sentence(counts: np.ndarray, names: Sequence[str]) -> str:
    """Returns the finding in words."""
    pairs = frequent(counts, names)
    if not pairs:
        return "No image is taken for another class."
    wrong, count = int(counts.sum() - np.trace(counts)), pairs[0].count
    alike = sum(pair.count == count for pair in pairs)
    first = f"{escape.shortened(pairs[0].true)} for {escape.shortened(pairs[0].seen)}"
    times = "once" if count == 1 else f"{count:,} times"
    most = f"most often {first}, {times}" if alike == 1 else f"none more often than {times}, as {first}"
    return f"{wrong:,} of {int(counts.sum()):,} images {'is' if wrong == 1 else 'are'} taken for another class; {most}."


def sheet() -> str:
    """Returns the colours of the cells: the orange arm of the one scale, text black or white, whichever is clearer."""
    rules = []
    for level in range(1, LEVELS + 1):
        row = STEPS - round(STEPS * level / LEVELS)
        colours = [table(theme)[row] for theme in THEMES]
        light, dark = (f"#{r:02x}{g:02x}{b:02x}" for r, g, b in colours)
        inks = ["#{:02x}{:02x}{:02x}".format(*ink_on(colour)) for colour in colours]
        rules.append(
            f".e{level} {{ background: {light}; background: light-dark({light}, {dark}); "
            f"color: {inks[0]}; color: light-dark({inks[0]}, {inks[1]}); }}"
        )
    return "\n".join(rules)


def _score(share: float | None) -> str:
    return "-" if share is None else f"{percent(share)} %"


def signed(counts: np.ndarray) -> np.ndarray:
    """Returns a number in [-1, 1] for each cell: minus the root of the share of an error, a quarter for a hit."""
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    return np.where(np.eye(len(counts), dtype=bool), 0.25 * shares, -np.sqrt(shares))


def _image(counts: np.ndarray) -> Markup:
    side = PIXELS * len(counts)
    pixels = {theme: Scale(1.0).colours(signed(counts), theme) for theme in THEMES}
    return themed(pixels, side, side, "Confusion matrix: rows are true classes, columns predicted ones", "matrix")


def _figures(counts: np.ndarray, names: Sequence[str]) -> dict[str, Figure]:
    if len(counts) > WRITTEN:
        return {}
    side = 140 + 36 * len(counts)
    return charts.files("confusion", (side, side), lambda figure, ink: _paint(figure, ink, counts, names))


def _paint(figure: Any, ink: charts.Ink, counts: np.ndarray, names: Sequence[str]) -> None:
    axes = figure.add_subplot()
    colours = Scale(1.0).colours(signed(counts), ink.theme)
    axes.imshow(colours, interpolation="nearest")
    for (true, seen), count in np.ndenumerate(counts):
        if count:
            ink_of_count = "white" if any(ink_on(colours[true, seen])) else "black"
            axes.text(seen, true, f"{count:,}", ha="center", va="center", color=ink_of_count)
    places = range(len(counts))
    labels = [escape.shortened(name, 16) for name in names]
    axes.set_xticks(places, labels, rotation=90)
    axes.set_yticks(places, labels)
    axes.grid(visible=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    figure.set_layout_engine("tight")
