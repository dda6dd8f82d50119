"""Parallel coordinates: a line for each trial through what it set, to what came of it."""

import dataclasses
from typing import NamedTuple

from cnn.report import escape
from cnn.report.html import PageSection
from cnn.report.sweep import field_axes
from cnn.report.sweep.field_axes import FieldAxis
from cnn.report.sweep.sweep_files import SweepFiles
from cnn.runs.sweep_record import DIVERGED, PRUNED, TrialRecord

SPACING, LEFT, RIGHT = 130, 70, 90
TOP, BOTTOM, HEIGHT = 80, 330, 395
"""Of the places 1 and 0, in CSS pixels."""


@dataclasses.dataclass(frozen=True)
class TrialLine:
    """A trial."""

    number: int
    points: str
    shade: str
    pruned: bool


class DrawnAxis(NamedTuple):
    """A field's axis, in CSS pixels."""

    axis: FieldAxis
    x: int
    ticks: list[tuple[float, str, str]]
    """Heights, and what is written there, short and in full."""
    label: str
    last: bool
    """Whether it is the objective's."""


def build(sweep: SweepFiles) -> PageSection | None:
    """Returns the section; `None` where nothing but the seed varies."""
    if not sweep.paths or not sweep.trials:
        return None
    listed = [*field_axes.axes(sweep), field_axes.objective(sweep)]
    order = [*sweep.ranked[::-1]]
    rest = [trial["number"] for trial in sweep.trials if trial["value"] is None]
    html = escape.render(
        "sweep_axes.html.j2",
        width=width(len(listed)),
        height=HEIGHT,
        top=TOP,
        bottom=BOTTOM,
        axes=[_drawn(axis, place, last=axis is listed[-1]) for place, axis in enumerate(listed)],
        lines=[_line(sweep, sweep.by_number[number], listed) for number in [*rest, *order]],
        unset=y_of(field_axes.UNSET_PLACE),
        diverged=y_of(field_axes.DIVERGED_PLACE),
        explained=[axis for axis in listed if axis.numbered()],
        trials=len(sweep.trials),
        maximize=sweep.maximize,
        objective=sweep.objective,
    )
    data: dict[str, float] = {"spacing": SPACING, "left": LEFT, "top": TOP, "bottom": BOTTOM}
    data |= {"unset": field_axes.UNSET_PLACE, "diverged": field_axes.DIVERGED_PLACE, "golden": field_axes.GOLDEN}
    return PageSection(
        "axes",
        "Every trial across its fields",
        html,
        scripts=(escape.source("plot.js"), escape.source("sweep_axes.js")),
        data={"axes-data": data},
        short="Fields",
    )


def width(count: int) -> int:
    """Returns the width of a drawing with so many axes, which are always as far apart."""
    return LEFT + SPACING * (count - 1) + RIGHT


def x_of(place: int) -> int:
    """Returns where the axis of this place stands."""
    return LEFT + SPACING * place


def y_of(share: float) -> float:
    """Returns the height of a place on an axis."""
    return round(BOTTOM - share * (BOTTOM - TOP), 1)


def _drawn(axis: FieldAxis, place: int, *, last: bool) -> DrawnAxis:
    ticks = [(y_of(tick.share), tick.text, tick.full) for tick in axis.ticks()]
    return DrawnAxis(axis, x_of(place), ticks, escape.shortened(axis.label, 18), last)


def places(trial: TrialRecord, listed: list[FieldAxis]) -> list[float]:
    """Returns where a trial crosses each axis; without a value it ends at the top if it diverged, else below."""
    found = [axis.scattered(trial["fields"].get(axis.path), trial["number"]) for axis in listed[:-1]]
    if trial["value"] is not None:
        return [*found, listed[-1].place(trial["value"])]
    return [*found, field_axes.DIVERGED_PLACE if trial["status"] == DIVERGED else field_axes.UNSET_PLACE]


def _line(sweep: SweepFiles, trial: TrialRecord, listed: list[FieldAxis]) -> TrialLine:
    points = " ".join(f"{x_of(place)},{y_of(share)}" for place, share in enumerate(places(trial, listed)))
    shade = sweep.shades.get(trial["number"], "none")
    return TrialLine(trial["number"], points, shade, trial["status"] == PRUNED)
