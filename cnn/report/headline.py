"""The head of a run's page: its first sentence, how the run ended, and tiles with its main numbers."""

from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from cnn.model.summary import count_parameters
from cnn.report import curves, escape
from cnn.report.run_files import RunFiles
from cnn.report.sweep import sweep_files

SPARK_POINTS = 80


class Tile(NamedTuple):
    """One number with what led to it."""

    label: str
    value: str
    note: str
    spark: Markup


def build(run: RunFiles) -> Markup:
    """Returns what stands above the sections."""
    state, reason = status(run)
    return escape.render(
        "headline.html.j2",
        run=run,
        state=state,
        reason=reason,
        sentence=sentence(run),
        tiles=_tiles(run),
        marks=MARKS,
        sweep=sweep_files.above(run.workdir),
    )


MARKS = {"finished": "✓", "running": "▶", "stopped": "■", "diverged": "✕"}


def status(run: RunFiles) -> tuple[str, str]:
    """Returns finished, running, stopped or diverged, and why or where."""
    recorded = curves.read(run)
    if run.result is None:
        where = f"at step {recorded.last_step:,}" if recorded.last_step else "before the first record"
        return ("running", where) if run.running else ("stopped", f"{where}: the same command continues it")
    if run.result["status"] == "diverged":
        why = run.result.get("cause", {}).get("said", "loss is not finite")
        return "diverged", f"stopped at step {run.result['bad_step']:,}: {why}"
    return "finished", run.result["stopped"] or ""


def sentence(run: RunFiles) -> str:
    """Returns how good, how large, how long and on what, as far as known."""
    parts = []
    if run.main:
        name, evaluation = run.main
        low, high = evaluation["interval"]
        parts.append(
            f"{percent(evaluation['accuracy'], evaluation['count'])} % of {evaluation['count']:,} {name} images right "
            f"(95 % interval {percent(low, evaluation['count'])} to {percent(high, evaluation['count'])} %)"
        )
    else:
        parts.append("No evaluation yet")
    parts.append(f"{count_parameters(run.config.rows):,} parameters")
    if run.result and run.result.get("train_seconds") is not None:
        parts.append(f"{duration(run.result['train_seconds'])} of training")
    devices = run.about.get("devices") or []
    place = f" on {len(devices)} x {devices[0]}" if len(devices) > 1 else f" on {devices[0]}" if devices else ""
    return ", ".join(parts) + place + "."


def percent(share: float, count: int) -> str:
    """Returns a share in percent, with as many digits as so many examples can tell apart."""
    return f"{100 * share:.2f}" if count >= 5000 else f"{100 * share:.1f}"


def duration(seconds: float) -> str:
    """Returns a time as people say it: `0.031 s`, `7.3 s`, `2 min 10 s`, `3 h 5 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds == 0 or seconds >= 0.95 else f"{seconds:.2g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _tiles(run: RunFiles) -> list[Tile]:
    recorded = curves.read(run)
    accuracies = recorded.accuracy["valid"] or recorded.accuracy["train"]
    tiles = []
    if run.main:
        name, evaluation = run.main
        note = "curve: validation" if recorded.accuracy["valid"] else "curve: training"
        tiles.append(Tile(f"{name} accuracy", f"{evaluation['accuracy']:.4f}", note, spark(accuracies)))
        losses = recorded.loss["valid"] or recorded.loss["train"]
        note = "curve: validation" if recorded.loss["valid"] else "curve: training"
        tiles.append(Tile(f"{name} loss", f"{evaluation['loss']:.4f}", note, spark(losses)))
        for metric, value in evaluation.get("metrics", {}).items():
            curve = recorded.further.get(metric, [])
            tiles.append(Tile(f"{name} {metric}", f"{value:.4f}", "curve: validation" if curve else "", spark(curve)))
    elif accuracies:
        note = "validation" if recorded.accuracy["valid"] else "training"
        tiles.append(Tile("accuracy so far", f"{accuracies[-1][1]:.4f}", note, spark(accuracies)))
    if recorded.best:
        step, value = recorded.best
        note = f"validation {recorded.monitor} {value:.4f}"
        tiles.append(Tile("best step", f"{step:,}", note, spark(recorded.monitored, mark=step)))
    speeds = [event["images_per_second"] for event in run.events if "images_per_second" in event]
    if speeds:
        tiles.append(Tile("speed", f"{speeds[-1]:,.0f}", "images/s while training", Markup()))
    return tiles


def spark(points: Sequence[tuple[int, float]], mark: int | None = None) -> Markup:
    """Returns a small line without axes, scaled to its own range, its ends kept; `mark` is a step to dot."""
    shown = list(points)
    if len(points) > SPARK_POINTS:
        shown = [points[round(n * (len(points) - 1) / (SPARK_POINTS - 1))] for n in range(SPARK_POINTS)]
    low, high = min((y for _, y in points), default=0), max((y for _, y in points), default=0)
    first, last = (points[0][0], points[-1][0]) if points else (0, 0)

    def place(point: tuple[int, float]) -> tuple[int, int]:
        x, y = point
        across = (x - first) / (last - first) if last > first else 0.5
        up = (y - low) / (high - low) if high > low else 0.5
        return round(8 + 384 * across), round(88 - 80 * up)

    dots = [point for point in points if point[0] == mark or len(points) == 1]
    line = " ".join("{},{}".format(*place(point)) for point in shown)
    return escape.render("spark.html.j2", line=line, dots=[place(point) for point in dots])
