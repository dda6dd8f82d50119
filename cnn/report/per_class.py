"""How each class fares: a row of metrics for every class of the main evaluation."""

import dataclasses

from cnn.report import escape
from cnn.report.confusion import percent
from cnn.report.html import PageSection
from cnn.report.run_files import RunFiles

OPEN = 30
"""With more classes the table is folded."""


@dataclasses.dataclass(frozen=True)
class ClassMetrics:
    """One class."""

    name: str
    support: int
    """Its examples."""
    shares: list[tuple[str, float | None]]
    """Recall, precision and F1: as they are written, and as numbers."""
    mixed: str | None
    """The class that it is taken for most often."""
    times: int


def build(run: RunFiles) -> PageSection | None:
    """Returns a row for each class: examples, recall, precision, F1, what it is taken for."""
    if run.main is None:
        return None
    name, evaluation = run.main
    names = run.class_names
    rows = []
    for index, (entry, counts) in enumerate(zip(evaluation["classes"], evaluation["confusion"], strict=True)):
        wrong = {seen: count for seen, count in enumerate(counts) if seen != index}
        mixed = max(wrong, key=lambda seen: wrong[seen], default=index)
        times = wrong.get(mixed, 0)
        shares = [entry["recall"], entry["precision"], entry["f1"]]
        rows.append(
            ClassMetrics(
                names[index],
                entry["support"],
                [("-" if share is None else f"{percent(share)} %", share) for share in shares],
                names[mixed] if times else None,
                times,
            )
        )
    html = escape.render("per_class.html.j2", rows=rows, split=name, open=len(rows) <= OPEN)
    return PageSection("classes", "Class by class", html, scripts=(escape.source("per_class.js"),), short="Classes")
