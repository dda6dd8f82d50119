"""The journey of one image: every number of every layer, what it is made of, and the proof that it adds up."""

import zlib
from collections.abc import Callable

import numpy as np

from cnn.report import escape, filter_bench
from cnn.report.colormap import ANCHORS
from cnn.report.html import PageSection, compact_script
from cnn.report.journey import attribution, walkthrough
from cnn.report.journey.journey_file import JOURNEY, Journey, read
from cnn.report.journey.packing import MEGABYTE, Packer, PackingPlan, plan, said, shuffled
from cnn.report.run_files import RunFiles
from cnn.runs import run_dir

TITLE = "The journey of one image"
SCRIPTS = (
    "arithmetic.js",
    "drawing.js",
    "journey.js",
    "journey_parts.js",
    "journey_layout.js",
    "journey_colours.js",
    "journey_sheets.js",
    "journey_sums.js",
    "journey_figures.js",
    "journey_moves.js",
    "journey_hands.js",
    "journey_why.js",
    "journey_address.js",
    "journey_start.js",
    "journey_test.js",
)
MARKUP = 3_000
"""More bytes than the section takes for what is neither data nor script."""


def build(run: RunFiles, others: Callable[[], int] = lambda: 0) -> PageSection | None:
    """Returns the section, `None` for a run whose images nobody has followed yet.

    Args:
      run: its files.
      others: returns the bytes of the page without this section, which is to leave room for them.
    """
    try:
        journey = read(run.workdir / JOURNEY)
    except run_dir.BrokenFile as error:
        html = escape.render(
            "journey.html.j2", problem=escape.visible(error), notes=(), story="", attributions="", about={}
        )
        return PageSection("journey", TITLE, html, styles=(escape.source("explorer.css"),))
    if journey is None or not journey.pictures:
        return None
    cap, told = float(journey.about.get("max_mb", 3)), walkthrough.tell(journey)
    attributions = attribution.tell(journey)
    packer, scripts = Packer(journey), tuple(map(escape.source, SCRIPTS))
    own = (escape.source(script) for script in SCRIPTS if script not in filter_bench.SCRIPTS)
    fixed = (
        others()
        + MARKUP
        + len(told.encode())
        + len(attributions.encode())
        + sum(len(compact_script(script)) for script in own)
    )
    chosen = plan(len(journey.pictures), lambda some: _cost(journey, packer, some), int(cap * MEGABYTE) - fixed)
    notes = said(chosen, journey, cap) if chosen else [f"The numbers take more than {cap:g} MB and are left out."]
    html = escape.render(
        "journey.html.j2",
        problem="",
        notes=notes,
        story=told,
        attributions=attributions,
        about=journey.about,
        unchecked=journey.unchecked,
    )
    styles = (escape.source("explorer.css"),)
    if chosen is None:
        return PageSection("journey", TITLE, html, styles)
    return PageSection("journey", TITLE, html, styles, scripts, _data(journey, packer, chosen), short="Journey")


def _cost(journey: Journey, packer: Packer, chosen: PackingPlan) -> int:
    """Returns the bytes that the data of a plan take in a page."""
    return packer.cost(chosen) + len(escape.island(_meta(journey, packer, chosen)))


def _digest(numbers: np.ndarray) -> int:
    """Returns the CRC-32 of float32 numbers, negative zeros as zeros."""
    return zlib.crc32((numbers + np.float32(0)).tobytes())


def _data(journey: Journey, packer: Packer, chosen: PackingPlan) -> dict[str, object]:
    """Returns what the scripts read, by element."""
    images = {f"journey-image-{n}": shuffled(packer.image(n, chosen)[1]) for n in range(chosen.images)}
    weights = shuffled(packer.weights(chosen)[1])
    return {"journey-weights": weights, **images, "journey-meta": _meta(journey, packer, chosen)}


def _meta(journey: Journey, packer: Packer, chosen: PackingPlan) -> dict[str, object]:
    """Returns what the scripts read as JSON: the stages, the images, and where their numbers are."""
    places, weights = packer.weights(chosen)
    shown = journey.pictures[: chosen.images]
    images = []
    for number, picture in enumerate(shown):
        record = {name: getattr(picture, name) for name in ("name", "why", "label", "recorded", "digests")}
        record |= {"name": escape.shortened(picture.name, 60), "outputs": packer.image(number, chosen)[0]}
        images.append(record)
    return {
        "stages": [stage.to_json() for stage in journey.stages],
        "kept": {s.name: kept for s in journey.stages if (kept := packer.kept(s, chosen)) is not None},
        "arrays": [[name, at, n, _digest(np.frombuffer(weights, "<f4", n, at))] for name, at, n in places],
        "pixels": len(weights) - sum(picture.pixels.size for picture in shown),
        "images": images,
        "classes": [escape.shortened(name) for name in journey.classes],
        "about": {name: value for name, value in journey.about.items() if not isinstance(value, np.ndarray)},
        "anchors": ANCHORS,
    }
