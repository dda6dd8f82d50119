"""One field at a time: what each trial set against what came of it, with the median of equal or near values."""

import functools
import itertools
import statistics
from typing import Any, NamedTuple

import numpy as np

from cnn.report import charts, escape
from cnn.report.axes import Tick
from cnn.report.colormap import PALEST, Scale
from cnn.report.html import Figure, PageSection
from cnn.report.sweep import field_axes
from cnn.report.sweep.field_axes import FieldAxis
from cnn.report.sweep.parallel import places
from cnn.report.sweep.sweep_files import SweepFiles
from cnn.runs.sweep_record import TrialRecord

LEFT, TOP, WIDTH, HEIGHT = 60, 26, 200, 150
"""Of a panel's inside, in CSS pixels; above it is the row of what diverged, below it that of what has no value."""
BINS = 6
LETTER = 6.5
"""About as wide as a letter, in CSS pixels."""
COLUMNS, SIDE = 4, 230
"""Of the figure for papers: panels in a row, and the CSS pixels of one."""


Crossed = list[tuple[TrialRecord, list[float]]]
"""Each trial, and where it crosses each axis."""


class Panel(NamedTuple):
    """One field's drawing, in CSS pixels."""

    axis: FieldAxis
    label: str
    dots: list[tuple[int, float, float, str]]
    """Number, place and class of colour of each trial."""
    medians: list[tuple[float, float, float]]
    """From where to where, and how high."""
    x: list[tuple[float, str, str]]
    """Places of the ticks, and what is written there, short and in full."""
    unset: float


def build(sweep: SweepFiles) -> PageSection | None:
    """Returns the section; `None` where nothing but the seed varies."""
    if not sweep.paths or not sweep.trials:
        return None
    listed = [*field_axes.axes(sweep), field_axes.objective(sweep)]
    crossed = [(trial, places(trial, listed)) for trial in sweep.trials]
    panels = [_panel(sweep, axis, index, crossed) for index, axis in enumerate(listed[:-1])]
    html = escape.render(
        "sweep_single.html.j2",
        panels=panels,
        y=[(round(_y(tick.share), 1), tick.text) for tick in listed[-1].ticks()],
        frame={"left": LEFT, "top": TOP, "width": WIDTH, "height": HEIGHT},
        objective=sweep.objective,
        diverged=_y(field_axes.DIVERGED_PLACE),
        unset=_y(field_axes.UNSET_PLACE),
        any_diverged=any(place[-1] == field_axes.DIVERGED_PLACE for _, place in crossed),
        any_unset=any(place[-1] == field_axes.UNSET_PLACE for _, place in crossed),
    )
    figures = functools.partial(_figures, sweep, listed[:-1])
    return PageSection("single", "One field at a time", html, figures=figures, short="One by one")


def _y(share: float) -> float:
    return round(TOP + HEIGHT * (1 - share), 1)


def _x(share: float) -> float:
    return round(LEFT + WIDTH * (0.1 + 0.85 * share), 1)


def _panel(sweep: SweepFiles, axis: FieldAxis, index: int, crossed: Crossed) -> Panel:
    dots = [
        (trial["number"], _x(place[index]), _y(place[-1]), sweep.shades.get(trial["number"], "none"))
        for trial, place in crossed
    ]
    bars = [(_x(low), _x(high), _y(middle)) for low, high, middle in medians(axis, index, crossed)]
    return Panel(axis, escape.shortened(axis.label, 30), dots, bars, _apart(axis), _x(field_axes.UNSET_PLACE))


def _apart(axis: FieldAxis) -> list[tuple[float, str, str]]:
    """Returns the ticks that have room beside one another."""
    kept: list[tuple[float, str, str]] = []
    end = _x(field_axes.UNSET_PLACE) + 24 if axis.unset else 0.0
    for tick in axis.ticks():
        written = tick.text.partition(":")[0] if axis.numbered() else tick.text
        half = LETTER * len(written) / 2
        if _x(tick.share) - half > end:
            kept.append((_x(tick.share), written, tick.full))
            end = _x(tick.share) + half + LETTER
    return kept


def medians(axis: FieldAxis, index: int, crossed: Crossed) -> list[tuple[float, float, float]]:
    """Returns from where to where on the axis, and the median place of the objective, of each choice or bin.

    A bin is a choice, one of a few different numbers, or else a sixth of the axis; trials without a value do not count.
    """
    bins: dict[float, list[float]] = {}
    few = sorted({axis.span.share(value) for value in axis.values}) if axis.span else []
    count = len(axis.choices) or BINS
    half = 0.3 / count if not axis.span else 0.5 / count
    for trial, place in crossed:
        if trial["value"] is None:
            continue
        own = axis.place(trial["fields"].get(axis.path))
        if own == field_axes.UNSET_PLACE or axis.span is None or few:
            middle = own
        else:
            middle = (min(count - 1, int(own * count)) + 0.5) / count
        bins.setdefault(middle, []).append(place[-1])
    if few:
        half = min(0.08, 0.4 * min((after - before for before, after in itertools.pairwise(few)), default=0.2))
    return [
        (middle - min(half, _room(middle)), middle + min(half, _room(middle)), statistics.median(found))
        for middle, found in sorted(bins.items())
    ]


def _room(middle: float) -> float:
    return 0.04 if middle == field_axes.UNSET_PLACE else 1.0


def _figures(sweep: SweepFiles, listed: list[FieldAxis]) -> dict[str, Figure]:
    """Returns `sweep-fields` as SVG and PNG, where a trial has a value."""
    if not sweep.ranked:
        return {}
    size = (SIDE * min(COLUMNS, len(listed)), SIDE * -(-len(listed) // COLUMNS))
    return charts.files("sweep-fields", size, lambda figure, ink: _paint(figure, ink, sweep, listed))


def _paint(figure: Any, ink: charts.Ink, sweep: SweepFiles, listed: list[FieldAxis]) -> None:
    trials = [sweep.by_number[number] for number in reversed(sweep.ranked)]  # the best on top
    ranks = np.linspace(-1, 1, len(trials)) if len(trials) > 1 else np.ones(1)
    colours = Scale(1.0).colours(np.where(ranks < 0, -1, 1) * (PALEST + (1 - PALEST) * np.abs(ranks)), ink.theme) / 255
    rows = -(-len(listed) // COLUMNS)
    for place, axis in enumerate(listed, 1):
        panel = figure.add_subplot(rows, min(COLUMNS, len(listed)), place)
        across = [axis.scattered(trial["fields"].get(axis.path), trial["number"]) for trial in trials]
        panel.scatter(across, [trial["value"] for trial in trials], s=14, c=colours, zorder=3)
        ticks = [*axis.ticks(), *([Tick(field_axes.UNSET_PLACE, "not set", "")] if axis.unset else [])]
        panel.set_xticks([tick.share for tick in ticks], [tick.text for tick in ticks], rotation=30, ha="right")
        panel.set_xlabel(escape.shortened(axis.label, 30))
        panel.set_ylabel(sweep.objective if place % COLUMNS == 1 or len(listed) == 1 else "")
    figure.tight_layout()
