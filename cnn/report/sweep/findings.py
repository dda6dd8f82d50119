"""What the numbers allow one to say: what mattered, and whether the winner is real."""

from typing import NamedTuple

from cnn.report import escape
from cnn.report.axes import Span
from cnn.report.html import PageSection
from cnn.report.sweep import field_axes
from cnn.report.sweep.sweep_files import SweepFiles
from cnn.runs.sweep_record import GroupRecord

TOP_GROUPS = 5
LEFT, WIDTH, HEIGHT = 80, 480, 26
"""Of the winners' panel: names to the left, and the height of a row, in CSS pixels."""


class WinnerRow(NamedTuple):
    """One of the best configurations: where it is drawn, in CSS pixels, and its line of the table."""

    rank: int
    name: str
    y: float
    mean: float
    ends: tuple[float, float]
    dots: list[float]
    said: str
    spread: str
    n: int


def build_mattered(sweep: SweepFiles) -> PageSection:
    """Returns how much each field went with the objective; in words why not, below ten finished trials."""
    importance = sweep.about["importance"]
    html = escape.render(
        "sweep_mattered.html.j2",
        factors=[
            {**factor, "bar": [100 * min(1.0, max(0.0, factor[key])) for key in ("share", "low", "high")]}
            for factor in importance["factors"]
        ],
        method=importance.get("method", ""),
        caveat=importance.get("caveat", ""),
        hidden=importance.get("text", ""),
        n=importance["n"],
    )
    return PageSection("mattered", "What mattered", html)


def build_winner(sweep: SweepFiles) -> PageSection:
    """Returns the five best configurations with their seeds and what their distances are worth."""
    groups = [group for group in sweep.groups[:TOP_GROUPS] if group["mean"] is not None]
    x = Span.over([number for group in groups for number in (*group["values"], *_ends(sweep, group))], room=0.05)
    html = escape.render(
        "sweep_winner.html.j2",
        sentence=sweep.about["winner"]["text"],
        rows=[_row(sweep, group, rank, x) for rank, group in enumerate(groups)],
        x=[(_x(tick.share), tick.text) for tick in x.ticks()],
        frame={"left": LEFT, "width": WIDTH, "row": HEIGHT, "height": HEIGHT * len(groups)},
        objective=sweep.objective,
        differ=sweep.differ,
        repeated=any(group["n"] > 1 for group in groups),
    )
    return PageSection("winner", "Is the winner real?", html, short="Winner")


def _x(share: float) -> float:
    return round(LEFT + WIDTH * share, 1)


def _row(sweep: SweepFiles, group: GroupRecord, rank: int, x: Span) -> WinnerRow:
    low, high = _ends(sweep, group)
    fields = ", ".join(
        f"{path.rpartition('.')[2]} {field_axes.shown(value)}"
        for path, value in group["fields"].items()
        if path in sweep.paths
    )
    mean = group["mean"]
    assert mean is not None
    return WinnerRow(
        rank + 1,
        fields or "the one configuration",
        HEIGHT * rank + HEIGHT / 2,
        _x(x.share(mean)),
        (_x(x.share(low)), _x(x.share(high))),
        [_x(x.share(value)) for value in group["values"]],
        f"{mean:.4f}",
        "-" if group["sd"] is None else f"{group['sd']:.4f}",
        group["n"],
    )


def _ends(sweep: SweepFiles, group: GroupRecord) -> tuple[float, float]:
    """Returns a deviation on both sides of the mean; of one seed, the interval that so many examples allow."""
    mean = group["mean"]
    assert mean is not None
    if group["sd"] is not None:
        return mean - group["sd"], mean + group["sd"]
    intervals = [sweep.by_number[number]["interval"] for number in group["trials"]]
    return next(((low, high) for low, high in filter(None, intervals)), (mean, mean))
