"""When each trial ran, worker by worker: where time went, and where nothing happened."""

import datetime
from typing import NamedTuple

from cnn.report import escape
from cnn.report.axes import Span
from cnn.report.headline import duration
from cnn.report.html import PageSection
from cnn.report.sweep.sweep_files import SweepFiles
from cnn.runs.sweep_record import TrialRecord

LEFT, WIDTH, ROW = 62, 620, 14
TALLEST = 60
"""So many rows are drawn at full height; more of them are thinner."""


class Bar(NamedTuple):
    """A trial's bar, in CSS pixels."""

    number: int
    state: str
    x: float
    width: float
    y: float
    height: float
    said: str


def build(sweep: SweepFiles) -> PageSection | None:
    """Returns the section; `None` before the first trial began."""
    began = [trial for trial in sweep.trials if trial["started"]]
    if not began:
        return None
    moments = [_moment(trial[key]) for trial in began for key in ("started", "ended") if trial[key]]
    first, last = min(moments), max(moments)
    rows = packed(began, first, last)
    x = Span(0, max(1e-3, last - first))
    height = min(ROW, TALLEST * ROW / max(1, len(rows)))
    names = list(dict.fromkeys(worker for worker, _ in rows))
    bars = [
        _bar(trial, first, last, x, index * height, height)
        for index, (_, trials) in enumerate(rows)
        for trial in trials
    ]
    html = escape.render(
        "sweep_timeline.html.j2",
        bars=bars,
        x=[(round(LEFT + WIDTH * tick.share, 1), tick.text) for tick in x.ticks()],
        workers=[
            (name, number, round(min(i for i, (worker, _) in enumerate(rows) if worker == name) * height, 1))
            for number, name in enumerate(names, 1)
        ],
        frame={"left": LEFT, "width": WIDTH, "height": round(height * len(rows), 1), "bar": round(height - 2, 1)},
        seconds=duration(last - first),
        trials=len(began),
    )
    return PageSection("timeline", "When each trial ran", html, short="Timeline")


def packed(trials: list[TrialRecord], first: float, last: float) -> list[tuple[str, list[TrialRecord]]]:
    """Returns rows of trials that do not overlap, those of one worker together: its name and its trials."""
    workers: dict[str, list[list[TrialRecord]]] = {}
    for trial in sorted(trials, key=lambda trial: (_moment(trial["started"]), trial["number"])):
        rows = workers.setdefault(trial["worker"] or "", [])
        start = _moment(trial["started"])
        free = next((row for row in rows if _end(row[-1], last) <= start), None)
        if free is None:
            rows.append([trial])
        else:
            free.append(trial)
    return [(worker, row) for worker, rows in workers.items() for row in rows]


def _bar(trial: TrialRecord, first: float, last: float, x: Span, top: float, height: float) -> Bar:
    start, end = _moment(trial["started"]) - first, _end(trial, last) - first
    left, right = (LEFT + WIDTH * x.share(second) for second in (start, end))
    return Bar(
        trial["number"],
        trial["status"],
        round(left, 1),
        round(max(1.0, right - left - 0.6), 1),
        round(top + 1, 1),
        round(max(1.0, height - 2), 1),
        f"trial {trial['number']}, {trial['status']}: {start:.1f} to {end:.1f} s",
    )


def _end(trial: TrialRecord, last: float) -> float:
    return max(_moment(trial["started"]), _moment(trial["ended"]) if trial["ended"] else last)


def _moment(written: str | None) -> float:
    assert written
    return datetime.datetime.fromisoformat(written).timestamp()
