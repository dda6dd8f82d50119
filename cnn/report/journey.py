"""The journey of one image: every number of every layer, what it is made of, and the proof that it adds up."""

import zlib
from typing import Any

import numpy as np

from cnn import rundir, stages
from cnn.report import story, text
from cnn.report.colour import ANCHORS
from cnn.report.files import Run
from cnn.report.packing import MEGABYTE, OTHERS, Packer, Plan, plan, said, shuffled
from cnn.report.part import Part
from cnn.stages import Journey

TITLE = "The journey of one image"
SCRIPTS = ("arithmetic.js", "drawing.js", "journey.js", "journey_view.js", "journey_test.js")


def build(run: Run) -> Part | None:
    """Returns the section, `None` for a run whose images nobody has followed yet."""
    try:
        journey = stages.read(run.workdir / stages.JOURNEY)
    except rundir.BrokenFile as error:
        html = text.render("journey.html.j2", problem=text.visible(error), notes=(), story="", about={})
        return Part("journey", TITLE, html, styles=(text.source("explorer.css"),))
    if journey is None or not journey.pictures:
        return None
    cap = float(journey.about.get("max_mb", 3))
    packer = Packer(journey)
    chosen = plan(len(journey.pictures), packer.cost, int(cap * MEGABYTE) - OTHERS)
    notes = said(chosen, journey, cap) if chosen else [f"The numbers take more than {cap:g} MB and are left out."]
    html = text.render("journey.html.j2", problem="", notes=notes, story=story.tell(journey), about=journey.about)
    styles = (text.source("explorer.css"),)
    if chosen is None:
        return Part("journey", TITLE, html, styles)
    scripts = tuple(map(text.source, SCRIPTS))
    return Part("journey", TITLE, html, styles, scripts, _data(journey, packer, chosen), short="Journey")


def _digest(numbers: np.ndarray) -> int:
    """Returns the CRC-32 of float32 numbers, negative zeros as zeros."""
    return zlib.crc32((numbers + np.float32(0)).tobytes())


def _data(journey: Journey, packer: Packer, chosen: Plan) -> dict[str, Any]:
    """Returns what the scripts read, by element."""
    places, weights = packer.weights(chosen)
    data: dict[str, Any] = {"journey-weights": shuffled(weights)}
    images = []
    for number, picture in enumerate(journey.pictures[: chosen.images]):
        outputs, content = packer.image(number, chosen)
        data[f"journey-image-{number}"] = shuffled(content)
        record = {name: getattr(picture, name) for name in ("name", "why", "label", "recorded", "digests")}
        images.append({**record, "name": text.shortened(picture.name, 60), "outputs": outputs})
    data["journey-meta"] = {
        "stages": [stage.to_json() for stage in journey.stages],
        "kept": {s.name: kept for s in journey.stages if (kept := packer.kept(s, chosen)) is not None},
        "arrays": [[name, at, n, _digest(np.frombuffer(weights, "<f4", n, at))] for name, at, n in places],
        "pixels": len(weights) - sum(picture.pixels.size for picture in journey.pictures[: chosen.images]),
        "images": images,
        "classes": [text.shortened(name) for name in journey.classes],
        "about": {name: value for name, value in journey.about.items() if not isinstance(value, np.ndarray)},
        "anchors": ANCHORS,
    }
    return data
