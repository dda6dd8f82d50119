"""The ranking: a row for each configuration, its seeds together, with what of it varies and how it came about."""

import dataclasses
from collections.abc import Callable
from typing import Any

from markupsafe import Markup

from cnn.report import escape
from cnn.report.colormap import PALEST, STEPS, THEMES, table
from cnn.report.headline import duration, spark
from cnn.report.html import PageSection
from cnn.report.sweep import field_axes
from cnn.report.sweep.headline import MARKS, WORDS
from cnn.report.sweep.sweep_files import SHADES, SweepFiles
from cnn.runs.sweep_record import FINISHED, STATES, GroupRecord, TrialRecord

FIRST = 20
"""So many rows are seen at first."""
SPARKS = 100
"""So many rows have a curve."""


@dataclasses.dataclass(frozen=True)
class Entry:
    """A trial in its row."""

    number: int
    status: str
    page: str | None


@dataclasses.dataclass(frozen=True)
class RankingRow:
    """One configuration; a value is how it is written, and by what it is sorted."""

    rank: int
    score: str
    mean: float | None
    spread: str
    sd: float | None
    fields: list[tuple[str, Any]]
    epochs: tuple[str, float | None]
    seconds: tuple[str, float | None]
    parameters: tuple[str, float | None]
    trials: list[Entry]
    state: str
    curve: Markup
    shade: str


def build(sweep: SweepFiles) -> PageSection:
    """Returns the table of all trials."""
    html = escape.render(
        "sweep_ranking.html.j2",
        rows=[row(sweep, rank) for rank in range(len(sweep.groups))],
        paths=sweep.paths,
        objective=sweep.objective,
        differ=sweep.differ,
        first=FIRST,
        marks=MARKS,
        words=WORDS,
        trials=len(sweep.trials),
        pages=any(sweep.page_of(trial) for trial in sweep.trials),
        folder=escape.visible(sweep.folder),
    )
    scripts = tuple(map(escape.source, ("plot.js", "sweep_rows.js", "sweep.js", "sweep_table.js")))
    return PageSection(
        "ranking", "Ranking", html, (escape.source("sweep.css"), shades()), scripts, {"sweep-data": data(sweep)}
    )


def row(sweep: SweepFiles, rank: int) -> RankingRow:
    """Returns the row of the group of this rank, counted from 0."""
    group = sweep.groups[rank]
    members = [sweep.by_number[number] for number in group["trials"]]
    best = next((trial for trial in members if trial["status"] == FINISHED), members[0])
    counts = {state: sum(trial["status"] == state for trial in members) for state in STATES}
    mean = group["mean"]
    return RankingRow(
        rank + 1,
        "-" if mean is None else f"{mean:.4f}",
        mean,
        *_spread(group, best),
        [(field_axes.shown(group["fields"].get(path)), group["fields"].get(path)) for path in sweep.paths],
        _mean([trial["epochs"] for trial in members], lambda number: f"{number:.3g}"),
        _mean([trial["train_seconds"] for trial in members], duration),
        _mean([trial["parameters"] for trial in members], lambda number: f"{number:,.0f}"),
        [Entry(trial["number"], trial["status"], sweep.page_of(trial)) for trial in members],
        ", ".join(
            f"{count} {WORDS.get(state, state)}" if len(members) > 1 else WORDS.get(state, state)
            for state, count in counts.items()
            if count
        ),
        spark([(int(step), value) for step, value in best["curves"].get(sweep.objective, [])])
        if rank < SPARKS
        else Markup(""),
        next((sweep.shades[n] for n in sweep.ranked if n in group["trials"]), "none"),
    )


def _spread(group: GroupRecord, best: TrialRecord) -> tuple[str, float | None]:
    """Returns the seeds' deviation; of one seed, half of the interval that so many examples allow."""
    if group["sd"] is not None:
        return f"{group['sd']:.4f}", group["sd"]
    if group["mean"] is not None and best["interval"]:
        low, high = best["interval"]
        return f"{(high - low) / 2:.4f}", (high - low) / 2
    return "-", None


def _mean(given: list[float | None], show: Callable[[float], str]) -> tuple[str, float | None]:
    found = [number for number in given if number is not None]
    return (show(sum(found) / len(found)), sum(found) / len(found)) if found else ("-", None)


def shades() -> str:
    """Returns the colours of the ranks: the one signed scale, the better half blue, the worse orange."""
    rules, half = [], SHADES // 2
    for level in range(SHADES):
        size = PALEST + (1 - PALEST) * (abs(level - half + 0.5) - 0.5) / (half - 1)
        place = STEPS + round(STEPS * size) * (1 if level >= half else -1)
        light, dark = ("#{:02x}{:02x}{:02x}".format(*table(theme)[place]) for theme in THEMES)
        rules.append(f".s{level} {{ color: {light}; color: light-dark({light}, {dark}); }}")
    return "\n".join(rules)


def data(sweep: SweepFiles) -> dict[str, object]:
    """Returns what the scripts read: the axes, and every trial with its places on them."""
    listed = [*field_axes.axes(sweep), field_axes.objective(sweep)]
    return {
        "objective": sweep.objective,
        "maximize": sweep.maximize,
        "axes": [
            {
                "path": axis.path,
                "label": axis.label,
                "kind": axis.kind,
                "low": axis.span.low if axis.span else 0,
                "high": axis.span.high if axis.span else 1,
                "ticks": axis.ticks(),
                "choices": axis.choices,
            }
            for axis in listed
        ],
        "trials": [_trial(sweep, trial, listed[:-1]) for trial in sweep.trials],
    }


def _trial(sweep: SweepFiles, trial: TrialRecord, listed: list[field_axes.FieldAxis]) -> dict[str, object]:
    given = [trial["fields"].get(axis.path) for axis in listed]
    values = [
        value if value is None or axis.span else axis.choices.index(escape.value(value))
        for axis, value in zip(listed, given, strict=True)
    ]
    keys = {"epochs": trial["epochs"], "seconds": trial["train_seconds"], "step": trial["step"]}
    rest = {"n": trial["number"], "g": sweep.group_of[trial["number"]], "state": trial["status"]}
    return {**rest, "value": trial["value"], "at": values, **keys}
