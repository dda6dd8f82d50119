"""Learning curves: what a run recorded while it trained, drawn: whether it learned, and whether it over-fits."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from cnn.report import charts, escape
from cnn.report.html import PageSection
from cnn.report.run_files import RunFiles

SIZE = (760, 520)
LEFT, RIGHT = 0.085, 0.91
PANELS = {"loss": (0.565, 0.345), "accuracy": (0.205, 0.32), "rate": (0.085, 0.085)}
"""Bottom and height of each panel, as shares of the figure."""
MOST_ROWS = 200
MOST_POINTS = 1000
"""A longer line keeps the least and the greatest of each stretch."""

Points = list[tuple[int, float]]


@dataclasses.dataclass(frozen=True)
class History:
    """The curves of a run: (step, value), raw.

    Attributes:
      loss: of training and of validation, in nats, by split.
      accuracy: likewise.
      learning_rate: of training.
      further: of validation, of each metric that the config names besides, by name.
      monitor: the name of the metric that says which evaluation was best.
      best: step and value of the best evaluation, the earliest of equal ones.
      bad_step: from where on the loss is not finite.
      last_step: the last that anything is known of.
      steps_per_epoch: as far as known.
    """

    loss: dict[str, Points]
    accuracy: dict[str, Points]
    learning_rate: Points
    further: dict[str, Points]
    monitor: str
    best: tuple[int, float] | None
    bad_step: int | None
    last_step: int
    steps_per_epoch: float | None

    @property
    def monitored(self) -> Points:
        """The monitored metric of validation."""
        curves = {"loss": self.loss["valid"], "accuracy": self.accuracy["valid"], **self.further}
        return curves.get(self.monitor, [])


def read(run: RunFiles) -> History:
    """Returns the curves of a run."""
    trained = [record for record in run.metrics if record.get("kind") == "train"]
    epochs = epoch_records(run)
    by_epoch = [{**record["train"], "step": record["step"]} for record in epochs if "train" in record]
    judged = [{**record["valid"], "step": record["step"]} for record in epochs if "valid" in record]
    # A run shorter than its first record still has the means of its epochs.
    training = trained or by_epoch
    result = run.result or {}
    steps = [record["step"] for record in run.metrics] + [result.get("step", 0), result.get("bad_step") or 0]
    recorded = History(
        loss={"train": _points(training, "loss"), "valid": _points(judged, "loss")},
        accuracy={"train": _points(training, "accuracy"), "valid": _points(judged, "accuracy")},
        learning_rate=_points(trained, "learning_rate"),
        further={name: _points(judged, name) for name in run.config.metrics},
        monitor=run.config.monitor,
        best=None,
        bad_step=result.get("bad_step") if result.get("status") == "diverged" else None,
        last_step=max(steps),
        steps_per_epoch=_steps_per_epoch(epochs, result),
    )
    sign = 1 if run.config.train.monitor.better == "higher" else -1
    best = max(recorded.monitored, key=lambda point: (sign * point[1], -point[0]), default=None)
    return dataclasses.replace(recorded, best=best)


def epoch_records(run: RunFiles) -> list[Mapping[str, Any]]:
    """Returns what each epoch recorded."""
    return [record for record in run.metrics if record.get("kind") == "epoch"]


def thinned(points: Points, most: int = MOST_POINTS) -> Points:
    """Returns what is drawn: all, or of each stretch the first, the least and the greatest, and the last."""
    if len(points) <= most:
        return points
    length = -(-3 * len(points) // most)
    kept: set[tuple[int, float]] = {points[-1]}
    for start in range(0, len(points), length):
        stretch = points[start : start + length]
        kept |= {stretch[0], min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])}
    return sorted(kept)


def _steps_per_epoch(epochs: Sequence[Mapping[str, Any]], result: Mapping[str, Any]) -> float | None:
    """Returns the steps of a whole epoch; the last one that was recorded may be the first part of one."""
    if result.get("epochs"):
        return result["step"] / result["epochs"]
    return epochs[0]["step"] / epochs[0]["epoch"] if epochs else None


def _points(records: Sequence[Mapping[str, Any]], name: str) -> Points:
    return [(record["step"], record[name]) for record in records if record.get(name) is not None]


def build(run: RunFiles) -> PageSection | None:
    """Returns loss, accuracy and learning rate over the steps; `None` before the first record."""
    recorded = read(run)
    if not (recorded.loss["train"] or recorded.loss["valid"] or recorded.bad_step is not None):
        return None
    label = sentence(recorded)
    image, figures = charts.draw("curves", SIZE, label, lambda figure, ink: _paint(figure, ink, recorded))
    rows = epoch_records(run)
    shown = rows if len(rows) <= MOST_ROWS else rows[:: -(-len(rows) // MOST_ROWS)]
    html = escape.render(
        "curves.html.j2",
        image=image,
        label=label,
        rows=shown,
        left_out=len(rows) - len(shown),
        further=list(recorded.further),
    )
    return PageSection(
        "curves",
        "Learning curves",
        html,
        scripts=(escape.source("plot.js"), escape.source("curves.js"), escape.source("curves_drawn.js")),
        data={"curves-data": pointed(recorded) | {"redrawn": redrawn(recorded, run)}},
        figures=figures,
        short="Curves",
    )


def sentence(recorded: History) -> str:
    """Returns what the curves show, for who cannot see them."""
    parts = []
    if recorded.best:
        step, value = recorded.best
        first, *later = recorded.monitored
        what = f"Validation {recorded.monitor}"
        if later:
            parts.append(f"{what} goes from {first[1]:.4f} to its best, {value:.4f}, at step {step:,}.")
        else:
            parts.append(f"{what} is {value:.4f} at its one evaluation, step {step:,}.")
    elif recorded.accuracy["train"]:
        points = recorded.accuracy["train"]
        parts.append(f"Training accuracy goes from {points[0][1]:.4f} to {points[-1][1]:.4f}.")
    if recorded.bad_step is not None:
        parts.append(f"The loss is not finite from step {recorded.bad_step:,} on.")
    return " ".join(parts)


def limits(recorded: History) -> tuple[float, float]:
    """Returns the first and the last step of the axis; room for a band where the loss is not finite."""
    end = max(1, recorded.last_step)
    return -0.01 * end, end * (1.12 if recorded.bad_step is not None else 1.01)


def pointed(recorded: History) -> dict[str, object]:
    """Returns what pointing at the curves reads: where the panels lie, and every recorded step with its numbers."""
    curves = {
        f"{split} {what}": thinned(getattr(recorded, what)[split])
        for what in ("loss", "accuracy")
        for split in ("train", "valid")
    }
    curves["learning rate"] = thinned(recorded.learning_rate)
    curves |= {f"valid {name}": thinned(points) for name, points in recorded.further.items()}
    curves = {name: points for name, points in curves.items() if points}
    steps = sorted({step for points in curves.values() for step, _ in points})
    columns = [dict(points) for points in curves.values()]
    rows = [[step, *(column.get(step) for column in columns)] for step in steps]
    return {"left": LEFT, "right": RIGHT, "limits": limits(recorded), "names": ["step", *curves], "rows": rows}


def redrawn(recorded: History, run: RunFiles) -> dict[str, object]:
    """Returns what drawing the curves in another way needs: how many epochs and seconds a step takes, as far as known.

    Steps are recorded, seconds are not: they follow from the mean pace of the run's training.
    """
    result = run.result or {}
    seconds = result.get("train_seconds")
    return {
        "size": SIZE,
        "panels": PANELS,
        "best": recorded.best,
        "bad": recorded.bad_step,
        "last": recorded.last_step,
        "pace": {
            "epoch": 1 / recorded.steps_per_epoch if recorded.steps_per_epoch else None,
            "seconds": seconds / result["step"] if seconds and result.get("step") else None,
        },
    }


def _paint(figure: Any, ink: charts.Ink, recorded: History) -> None:
    top, middle, strip = (figure.add_axes((LEFT, low, RIGHT - LEFT, high)) for low, high in PANELS.values())
    for panel in (top, middle):
        panel.tick_params(labelbottom=False)
    _lines(top, ink, recorded.loss, "loss")
    top.set_ylabel("loss (nats)")
    _lines(middle, ink, recorded.accuracy, "accuracy")
    middle.set_ylabel("accuracy")
    rates = thinned(recorded.learning_rate)
    strip.plot([x for x, _ in rates], [y for _, y in rates], color=ink.muted, linewidth=1.2, gid="learning_rate")
    strip.set_ylabel("rate", color=ink.muted)
    strip.set_ylim(bottom=0)
    strip.set_yticks([max((y for _, y in rates), default=1.0)])
    strip.yaxis.set_major_formatter("{x:.2g}")
    strip.set_xlabel("step")
    per_epoch = recorded.steps_per_epoch
    if per_epoch and recorded.last_step >= per_epoch:
        epochs = top.secondary_xaxis("top", functions=(lambda x: x / per_epoch, lambda x: x * per_epoch))
        epochs.set_xlabel("epoch")
        epochs.xaxis.get_major_locator().set_params(integer=True)
    for panel in (top, middle, strip):
        panel.set_xlim(*limits(recorded))
        panel.grid(axis="x", visible=False)
    _marks(top, middle, strip, ink, recorded)


def _marks(top: Any, middle: Any, strip: Any, ink: charts.Ink, recorded: History) -> None:
    """Marks the best evaluation, and from where on the loss is not finite."""
    end = limits(recorded)[1]
    for panel in (top, middle, strip):
        if recorded.best:
            panel.axvline(recorded.best[0], color=ink.muted, linewidth=0.9, linestyle=(0, (2, 2)))
        if recorded.bad_step is not None:
            panel.axvspan(recorded.bad_step, end, facecolor="none", hatch="////", edgecolor=ink.grid)
    if recorded.best:
        step, value = recorded.best
        what = "" if recorded.monitor == "accuracy" else f" {recorded.monitor}"
        _beside(middle, ink, step, 0.04, f"best{what} {value:.4f}, step {step:,}", late=step > 0.6 * end)
    if recorded.bad_step is not None:
        words = f"loss not finite from step {recorded.bad_step:,}"
        _beside(top, ink, recorded.bad_step, 0.88, words, late=recorded.bad_step > 0.5 * end)


def _beside(panel: Any, ink: charts.Ink, step: int, height: float, words: str, *, late: bool) -> None:
    """Writes words beside a step, on its left where the step is late."""
    panel.annotate(
        words,
        (step, height),
        xycoords=("data", "axes fraction"),
        xytext=(-5 if late else 5, 0),
        textcoords="offset points",
        ha="right" if late else "left",
        color=ink.text,
        bbox={"facecolor": ink.paper, "edgecolor": "none", "pad": 1},
    )


def _lines(panel: Any, ink: charts.Ink, curves: dict[str, Points], what: str) -> None:
    styles = {
        "train": {"color": ink.blue, "linewidth": 1.3},
        "valid": {"color": ink.orange, "linewidth": 1.5, "linestyle": (0, (4, 2)), "marker": "o", "markersize": 3.5},
    }
    ends = []
    for split, points in curves.items():
        if not points:
            continue
        drawn = thinned(points)
        style = dict(styles[split])
        if len(drawn) == 1:
            style |= {"marker": "o", "markersize": 5}
        if len(drawn) > 60:
            style.pop("marker", None)
        panel.plot([x for x, _ in drawn], [y for _, y in drawn], gid=f"{what}-{split}", **style)
        ends.append((drawn[-1][1], split, styles[split]["color"]))
    # Both labels stand at the right edge, apart from one another also where the lines end together.
    if what == "loss":
        panel.set_ylim(bottom=0)
    low, high = panel.get_ylim()
    spread = 0.085 * (high - low)
    ends.sort()
    for index, (height, split, color) in enumerate(ends):
        if index and height - ends[0][0] < spread:
            height = ends[0][0] + spread
        panel.annotate(
            split,
            (1.008, height),
            xycoords=("axes fraction", "data"),
            va="center",
            color=color,
            annotation_clip=False,
        )
