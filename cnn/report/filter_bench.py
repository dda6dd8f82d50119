"""The filter bench: nine numbers of one's own over any picture, opened with the lesson's window and its sum."""

import math

import numpy as np

from cnn.report import escape, hand_convolution
from cnn.report.colormap import ANCHORS
from cnn.report.html import PageSection
from cnn.report.run_files import RunFiles

TITLE = "Filter bench"
SCRIPTS = ("arithmetic.js", "drawing.js", "bench.js")
SIDE = 12
"""Height and width of the pictures with a line, in pixels."""


def build(run: RunFiles) -> PageSection:
    """Returns the section; it needs nothing of the run."""
    del run
    lesson = hand_convolution.explain(
        np.asarray(hand_convolution.WINDOW, float), hand_convolution.FILTERS["lesson"].kernel, 0, 0
    )
    html = escape.render(
        "bench.html.j2",
        pixel=lesson,
        shown=hand_convolution.shown,
        named=hand_convolution.FILTERS,
        formula=hand_convolution.formula(lesson),
    )
    scripts = tuple(map(escape.source, SCRIPTS))
    meta = {
        "filters": {
            name: {"kernel": np.ravel(each.kernel).tolist(), "does": each.does}
            for name, each in hand_convolution.FILTERS.items()
            if np.shape(each.kernel) == (3, 3)
        },
        "pictures": {"the lesson's window": _picture(np.asarray(hand_convolution.WINDOW, float)), **_lines()},
        "anchors": ANCHORS,
    }
    return PageSection("bench", TITLE, html, (escape.source("explorer.css"),), scripts, {"bench-meta": meta})


def _lines() -> dict[str, dict[str, object]]:
    """Returns pictures with one bright line each, and one with a ring."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    distance = np.hypot(rows - (SIDE - 1) / 2, columns - (SIDE - 1) / 2)
    lines = {
        "a vertical line": columns == SIDE // 2,
        "a horizontal line": rows == SIDE // 2,
        "a diagonal line": rows == columns,
        "a ring": np.abs(distance - SIDE / 3) < math.sqrt(0.5),
    }
    return {name: _picture(255.0 * line) for name, line in lines.items()}


def _picture(pixels: np.ndarray) -> dict[str, object]:
    return {"width": pixels.shape[1], "pixels": pixels.astype(int).ravel().tolist()}
