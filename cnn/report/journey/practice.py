"""Training in the page: a visitor sets the rate and watches the filters, the maps and the loss of a small network."""

import math
from typing import Any

import numpy as np

from cnn.report import escape
from cnn.report.colormap import ANCHORS
from cnn.report.first_layer import NAMED
from cnn.report.hand_convolution import FILTERS
from cnn.report.html import PageSection
from cnn.report.journey.practice_file import CHECKED, PRACTICE, Practice, parse
from cnn.report.run_files import RunFiles

TITLE = "Train it here"
SCRIPTS = ("arithmetic.js", "drawing.js", "plot.js", "training.js", "training_shown.js")
STAGE = ("name", "op", "input", "output", "arrays", "kernel", "strides", "dilation", "pads", "groups")
"""What the scripts read of a stage."""


def build(run: RunFiles) -> PageSection | None:
    """Returns the section, `None` for a run whose network or pictures are too large for it, or were never captured."""
    stored = run.arrays(PRACTICE)
    if stored is None:
        return None
    practice = parse(stored)
    html = escape.render(
        "training.html.j2",
        practice=practice,
        network=_written(practice)[practice.own],
        held_out=len(practice.labels) - practice.train,
    )
    places, content = _numbers(practice)
    data = {
        "training-numbers": content,
        "training-pictures": practice.images.tobytes(),
        "training-meta": _meta(practice) | {"places": places},
    }
    styles, scripts = (escape.source("explorer.css"),), tuple(map(escape.source, SCRIPTS))
    return PageSection("training", TITLE, html, styles, scripts, data, short="Train")


def _written(practice: Practice) -> dict[str, str]:
    return {name: " | ".join(stage.text for stage in stages[1:]) for name, stages in practice.networks.items()}


def _numbers(practice: Practice) -> tuple[list[tuple[str, int, int]], bytes]:
    """Returns name, first number and count of each float32 array, and the bytes."""
    arrays = {"table": practice.table}
    for kind in ("arrays", "gradients"):
        arrays |= {f"{kind}/{name}": array for name, array in getattr(practice, kind).items()}
    ends = np.cumsum([array.size for array in arrays.values()]).tolist()
    places = [(name, end - array.size, array.size) for (name, array), end in zip(arrays.items(), ends, strict=True)]
    return places, b"".join(array.astype("<f4").tobytes() for array in arrays.values())


def _meta(practice: Practice) -> dict[str, Any]:
    networks = {
        name: [{field: getattr(stage, field) for field in STAGE} for stage in stages]
        for name, stages in practice.networks.items()
    }
    named = {name: np.ravel(FILTERS[name].kernel).tolist() for name in NAMED}
    return {
        "networks": networks,
        "written": _written(practice),
        "own": practice.own,
        "labels": practice.labels.tolist(),
        "size": math.prod(practice.images.shape[1:]),
        "train": practice.train,
        "checked": CHECKED,
        "classes": [escape.shortened(name) for name in practice.classes],
        "named": named,
        "anchors": ANCHORS,
    }
