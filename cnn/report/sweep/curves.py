"""All trials' curves in one picture, and how the best so far rose from trial to trial."""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

from cnn.report import charts, escape
from cnn.report.axes import Span, Tick
from cnn.report.curves import Points, thinned
from cnn.report.html import Figure, PageSection
from cnn.report.sweep.sweep_files import SweepFiles
from cnn.runs.sweep_record import DIVERGED, FINISHED, PRUNED, TrialRecord

LEFT, TOP, WIDTH, HEIGHT = 62, 12, 560, 270
"""Of the panel in CSS pixels; to its right stands who ends where."""
MOST_NUMBERS = 36_000
"""Of all curves together, each as long as this allows."""
LEAST, MOST = 12, 200
"""Points of one curve."""


class CurveLine(NamedTuple):
    """A trial's curve, in CSS pixels."""

    number: int
    path: str
    end: list[float]
    cut: bool
    """Whether it ends before its time."""
    best: bool


class SoFar(NamedTuple):
    """The panel of the best value so far, in CSS pixels."""

    dots: list[tuple[int, float, float, str]]
    """Number, place and class of colour of each trial."""
    steps: str
    x: list[Tick]
    y: list[Tick]


def build(sweep: SweepFiles) -> PageSection | None:
    """Returns the section; `None` before the first epoch of any trial has ended."""
    metrics = list(dict.fromkeys(name for trial in sweep.trials for name, curve in trial["curves"].items() if curve))
    if not metrics:
        return None
    metrics.sort(key=lambda name: name != sweep.objective)
    points = {name: [shortened(trial, name, sweep, len(metrics)) for trial in sweep.trials] for name in metrics}
    shown = points[metrics[0]]
    x = Span(0, max(step for curve in shown for step, _ in curve) if any(shown) else 1)
    y = Span.over((value for curve in shown for _, value in curve), room=0.04)
    html = escape.render(
        "sweep_curves.html.j2",
        frame={"left": LEFT, "top": TOP, "width": WIDTH, "height": HEIGHT},
        x=x.ticks(),
        y=y.ticks(),
        metric=metrics[0],
        metrics=metrics,
        lines=_lines(sweep, shown, x, y),
        label=sentence(sweep),
        so_far=_so_far(sweep),
    )
    data = {
        "metrics": metrics,
        "frame": [LEFT, TOP, WIDTH, HEIGHT],
        "points": {
            name: [[[round(step), float(f"{value:.6g}")] for step, value in curve] for curve in curves]
            for name, curves in points.items()
        },
    }
    scripts = (escape.source("plot.js"), escape.source("sweep_curves.js"))
    return PageSection(
        "curves",
        "All curves",
        html,
        scripts=scripts,
        data={"curves-data": data},
        figures=functools.partial(_figures, sweep),
        short="Curves",
    )


def shortened(trial: TrialRecord, name: str, sweep: SweepFiles, metrics: int) -> Points:
    """Returns a trial's curve, its extremes kept, with as many points as all of the sweep's may have."""
    most = min(MOST, max(LEAST, MOST_NUMBERS // (len(sweep.trials) * metrics)))
    return thinned([(step, value) for step, value in trial["curves"].get(name, [])], most)


def sentence(sweep: SweepFiles) -> str:
    """Returns what the picture shows, in words."""
    if sweep.best is None:
        return f"{len(sweep.trials)} trials, none of which has finished yet."
    worst = next(trial for n in reversed(sweep.ranked) if (trial := sweep.by_number[n])["status"] == FINISHED)
    first = f"trial {sweep.best['number']} reached the best {sweep.objective}, {sweep.best['value']:.4f}"
    if worst is sweep.best:
        return f"Of the trials that finished, {first}."
    return f"Of the trials that finished, {first}, and trial {worst['number']} the worst, {worst['value']:.4f}."


def _lines(sweep: SweepFiles, curves: Sequence[Sequence[tuple[float, float]]], x: Span, y: Span) -> list[CurveLine]:
    """Returns the drawn lines, the best trial's last and marked."""
    best = sweep.best["number"] if sweep.best else None
    lines = []
    for trial, curve in zip(sweep.trials, curves, strict=True):
        if not curve:
            continue
        points = [(LEFT + WIDTH * x.share(step), TOP + HEIGHT * (1 - y.share(value))) for step, value in curve]
        last = [round(number, 1) for number in points[-1]]
        cut = trial["status"] in (PRUNED, DIVERGED)
        lines.append(CurveLine(trial["number"], path(points), last, cut, trial["number"] == best))
    return sorted(lines, key=lambda line: line.best)


def path(points: Sequence[tuple[float, float]]) -> str:
    """Returns the line through points, each in a tenth of a pixel; one alone is a dot."""
    if len(points) == 1:
        return f"M{points[0][0]:.1f} {points[0][1]:.1f}h0"
    return "M" + "L".join(f"{across:.1f} {down:.1f}" for across, down in points)


def _so_far(sweep: SweepFiles) -> SoFar | None:
    """Returns a small panel: each trial's value by its number, and the best up to it as steps."""
    valued = [(trial["number"], trial["value"]) for trial in sweep.trials if trial["value"] is not None]
    if len(valued) < 2:
        return None
    choose = max if sweep.maximize else min
    x, y = Span(-0.5, sweep.trials[-1]["number"] + 0.5), Span.over((value for _, value in valued), room=0.05)

    def at(number: float, value: float) -> tuple[float, float]:
        return LEFT + WIDTH * x.share(number), 8 + 120 * (1 - y.share(value))

    best, steps = valued[0][1], list[str]()
    for number, value in valued:
        best = choose(best, value)
        steps.append(
            f"{'H' if steps else 'M'}{at(number, best)[0]:.1f}{' ' if not steps else 'V'}{at(number, best)[1]:.1f}"
        )
    dots = [
        (number, round(across, 1), round(down, 1), sweep.shades[number])
        for number, (across, down) in ((number, at(number, value)) for number, value in valued)
    ]
    ticks = [tick for tick in x.ticks() if tick.text.isdigit()]
    return SoFar(dots, f"{''.join(steps)}H{LEFT + WIDTH}", ticks, y.ticks()[::2])


def _figures(sweep: SweepFiles) -> dict[str, Figure]:
    """Returns `sweep-curves` as SVG and PNG, where a trial has a curve of the objective."""
    if not any(trial["curves"].get(sweep.objective) for trial in sweep.trials):
        return {}
    return charts.files("sweep-curves", (620, 380), lambda figure, ink: _paint(figure, ink, sweep))


def _paint(figure: Any, ink: charts.Ink, sweep: SweepFiles) -> None:
    panel = figure.add_subplot()
    best = sweep.best["number"] if sweep.best else None
    for trial in sorted(sweep.trials, key=lambda trial: trial["number"] == best):
        points = trial["curves"].get(sweep.objective, [])
        style = {"color": ink.blue, "linewidth": 1.8} if trial["number"] == best else {"color": ink.muted, "alpha": 0.5}
        style["marker"] = "." if len(points) == 1 else ""
        panel.plot([step for step, _ in points], [value for _, value in points], **{"linewidth": 0.8, **style})
    panel.set_xlabel("step")
    panel.set_ylabel(sweep.objective)
    figure.tight_layout()
