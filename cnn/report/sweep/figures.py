"""The pictures of a sweep as files for papers and slides: all curves, and one field at a time."""

from typing import Any

import numpy as np

from cnn.report import charts, escape
from cnn.report.axes import Tick
from cnn.report.colormap import PALEST, Scale
from cnn.report.html import Figure
from cnn.report.sweep import axes
from cnn.report.sweep.record import Sweep

COLUMNS, SIDE = 4, 230


def draw(sweep: Sweep) -> dict[str, Figure]:
    """Returns `sweep-curves` and `sweep-fields` as SVG and PNG, as far as there is something to draw."""
    found: dict[str, Figure] = {}
    if any(trial["curves"].get(sweep.objective) for trial in sweep.trials):
        found |= charts.files("sweep-curves", (620, 380), lambda figure, ink: _curves(figure, ink, sweep))
    listed = axes.axes(sweep)
    if listed and sweep.ranked:
        size = (SIDE * min(COLUMNS, len(listed)), SIDE * -(-len(listed) // COLUMNS))
        found |= charts.files("sweep-fields", size, lambda figure, ink: _fields(figure, ink, sweep, listed))
    return found


def _curves(figure: Any, ink: charts.Ink, sweep: Sweep) -> None:
    panel = figure.add_subplot()
    best = sweep.best["number"] if sweep.best else None
    for trial in sorted(sweep.trials, key=lambda trial: trial["number"] == best):
        points = trial["curves"].get(sweep.objective, [])
        style = {"color": ink.blue, "linewidth": 1.8} if trial["number"] == best else {"color": ink.muted, "alpha": 0.5}
        panel.plot([step for step, _ in points], [value for _, value in points], **{"linewidth": 0.8, **style})
    panel.set_xlabel("step")
    panel.set_ylabel(sweep.objective)
    figure.tight_layout()


def _fields(figure: Any, ink: charts.Ink, sweep: Sweep, listed: list[axes.Axis]) -> None:
    trials = [sweep.by_number[number] for number in reversed(sweep.ranked)]  # the best on top
    ranks = np.linspace(-1, 1, len(trials)) if len(trials) > 1 else np.ones(1)
    colours = Scale(1.0).colours(np.where(ranks < 0, -1, 1) * (PALEST + (1 - PALEST) * np.abs(ranks)), ink.theme) / 255
    rows = -(-len(listed) // COLUMNS)
    for place, axis in enumerate(listed, 1):
        panel = figure.add_subplot(rows, min(COLUMNS, len(listed)), place)
        across = [axis.scattered(trial["fields"].get(axis.path), trial["number"]) for trial in trials]
        panel.scatter(across, [trial["value"] for trial in trials], s=14, c=colours, zorder=3)
        ticks = [*axis.ticks(), *([Tick(axes.UNSET, "not set", "")] if axis.unset else [])]
        panel.set_xticks([tick.share for tick in ticks], [tick.text for tick in ticks], rotation=30, ha="right")
        panel.set_xlabel(escape.shortened(axis.label, 30))
        panel.set_ylabel(sweep.objective if place % COLUMNS == 1 or len(listed) == 1 else "")
    figure.tight_layout()
