"""The most confused images: those with the greatest loss, with what the network thought of them."""

import dataclasses

import numpy as np
from markupsafe import Markup
from PIL import Image

from cnn.losses import log_softmax
from cnn.report import escape
from cnn.report.colormap import drawable, picture
from cnn.report.html import PageSection
from cnn.report.run_files import RunFiles
from cnn.runs import run_dir

OPEN = 24
"""With fewer mistaken images, so many are shown at first; the rest, all of them right, is folded."""
SIDE, LARGEST = 84, 96
"""About as many CSS pixels a picture is wide; a larger one than the second is embedded smaller."""


@dataclasses.dataclass(frozen=True)
class Mistake:
    """One image of the gallery."""

    index: int
    image: Markup
    label: int
    seen: int
    p_label: float
    p_seen: float
    loss: float


def build(run: RunFiles) -> PageSection | None:
    """Returns the gallery of the run's main evaluation; `None` where its images were not kept."""
    if run.main is None:
        return None
    name, _ = run.main
    predictions, kept = run.arrays(run_dir.predictions(name)), run.arrays(run_dir.confused(name))
    if predictions is None or kept is None or not len(kept["index"]):
        return None
    mistakes = ranked(predictions, kept, run.class_names)
    shape = kept["images"].shape[1:3]
    wrong = [place for place, mistake in enumerate(mistakes) if mistake.label != mistake.seen]
    html = escape.render(
        "mistakes.html.j2",
        mistakes=mistakes,
        names=run.class_names,
        split=name,
        wrong=len(wrong),
        first=max(OPEN, wrong[-1] + 1 if wrong else 0),
        all_wrong=int((predictions["logits"].argmax(1) != predictions["label"]).sum()),
        smaller=max(shape) > LARGEST,
        shape="x".join(map(str, shape)),
    )
    return PageSection(
        "mistakes", "The most confused images", html, scripts=(escape.source("mistakes.js"),), short="Images"
    )


def ranked(predictions: dict[str, np.ndarray], kept: dict[str, np.ndarray], names: list[str]) -> list[Mistake]:
    """Returns the kept images by descending loss, recomputed from the logits in float64."""
    rows = {int(index): row for row, index in enumerate(predictions["index"])}
    chosen = [rows[int(index)] for index in kept["index"]]
    logits = predictions["logits"][chosen]
    labels = predictions["label"][chosen]
    logs = log_softmax(logits)
    losses = -logs[np.arange(len(labels)), labels]
    mistakes = []
    for place in np.argsort(-losses, kind="stable"):
        label, seen = int(labels[place]), int(logits[place].argmax())
        chances = np.exp(logs[place])
        said = f"example {int(kept['index'][place])}, {escape.shortened(names[label])}"
        image = thumbnail(kept["images"][place], said)
        mistakes.append(
            Mistake(
                int(kept["index"][place]),
                image,
                label,
                seen,
                float(chances[label]),
                float(chances[seen]),
                float(losses[place]),
            )
        )
    return mistakes


def thumbnail(pixels: np.ndarray, label: str) -> Markup:
    """Returns a picture enlarged by a whole number, or embedded smaller where it is large."""
    height, width = pixels.shape[:2]
    if max(height, width) > LARGEST:
        share = LARGEST / max(height, width)
        size = max(1, round(width * share)), max(1, round(height * share))
        small = np.asarray(drawable(pixels).resize(size, Image.Resampling.BOX))
        return picture(small, small.shape[1], small.shape[0], label)
    zoom = max(1, SIDE // max(height, width))
    return picture(pixels, zoom * width, zoom * height, label)
