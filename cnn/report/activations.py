"""Activation maps: everything that the layers made of one image, a sheet of maps for each."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from cnn.report import escape
from cnn.report.colormap import SHADES, Scale, enclosed
from cnn.report.html import PageSection
from cnn.report.journey import journey_file
from cnn.report.journey.graph import Stage
from cnn.report.journey.journey_file import Journey
from cnn.report.journey.walkthrough import forward
from cnn.report.run_files import RunFiles
from cnn.runs import run_dir

MOST_MAPS, MOST_STAGES, MOST_PIXELS = 64, 8, 200_000
"""Drawn of each stage (the strongest), of the network (spread over its depth), and of all together."""
WIDTH = 430
"""About as many CSS pixels a sheet is wide."""


class Sheet(NamedTuple):
    """The maps of one stage as one picture."""

    name: str
    shape: str
    image: Markup
    legend: Markup
    shown: int
    maps: int


def build(run: RunFiles) -> PageSection | None:
    """Returns the maps of the journey's first image; `None` where no image was followed or there are no maps."""
    try:
        journey = journey_file.read(run.workdir / journey_file.JOURNEY)
    except run_dir.BrokenFile:
        return None  # the journey's section says what is wrong with it
    if journey is None or not journey.pictures:
        return None
    outputs = forward(journey, journey.pictures[0])
    drawn = [(stage, outputs[stage.name]) for stage in chosen(journey, outputs)]
    if not drawn:
        return None
    figures: dict[str, bytes] = {}
    sheets = []
    for stage, maps in drawn:
        scale = Scale.over(maps)
        numbers = arranged(maps)
        file = scale.indexed(np.kron(numbers, np.ones((3, 3))), "light", SHADES)
        name = f"activations-{stage.name.replace('/', '-')}"
        figures |= {f"{name}.png": file, f"{name}.svg": enclosed(file)}
        sheets.append(_sheet(stage, maps, numbers, scale))
    html = escape.render(
        "activations.html.j2", sheets=sheets, first=journey.pictures[0], left_out=_left_out(journey, drawn)
    )
    return PageSection("activations", "Activation maps", html, figures=figures, short="Maps")


def chosen(journey: Journey, outputs: dict[str, np.ndarray]) -> list[Stage]:
    """Returns the stages that are drawn: maps that a layer changed, spread over the depth where there are many."""
    found = [stage for stage in journey.stages[1:] if len(stage.output) == 3 and stage.name in outputs]
    found = [stage for stage in found if stage.op not in ("dropout", "identity", "opaque")]
    most = MOST_STAGES
    while most:
        picked = found if len(found) <= most else [found[i * (len(found) - 1) // max(1, most - 1)] for i in range(most)]
        if sum(_pixels(stage) for stage in picked) <= MOST_PIXELS:
            return picked
        most -= 1
    return []


def arranged(maps: Float[np.ndarray, "height width channels"]) -> Float[np.ndarray, "rows columns"]:
    """Returns the strongest maps, in their order, as one nearly square sheet; NaN stands between them."""
    height, width, _ = maps.shape
    strongest = np.sort(np.argsort(-np.abs(maps).mean((0, 1)), kind="stable")[:MOST_MAPS])
    columns = math.ceil(math.sqrt(len(strongest)))
    rows = -(-len(strongest) // columns)
    sheet = np.full((rows * (height + 1) - 1, columns * (width + 1) - 1), np.nan)
    for place, channel in enumerate(strongest):
        row, column = divmod(place, columns)
        sheet[row * (height + 1) :, column * (width + 1) :][:height, :width] = maps[..., channel]
    return sheet


def _sheet(stage: Stage, maps: np.ndarray, numbers: np.ndarray, scale: Scale) -> Sheet:
    height, width = numbers.shape
    zoom = max(1, WIDTH // width)
    shown = min(MOST_MAPS, maps.shape[2])
    label = f"{stage.name}: {shown} maps of {maps.shape[0]}x{maps.shape[1]}"
    image = scale.sheet(numbers, zoom * width, zoom * height, label, "sheet")
    shape, legend = "x".join(map(str, maps.shape)), scale.legend(above=bool((maps >= 0).all()))
    return Sheet(stage.name, shape, image, legend, shown, maps.shape[2])


def _pixels(stage: Stage) -> int:
    height, width, channels = stage.output
    return height * width * min(channels, MOST_MAPS)


def _left_out(journey: Journey, drawn: list[tuple[Stage, np.ndarray]]) -> int:
    return sum(len(stage.output) == 3 for stage in journey.stages[1:]) - len(drawn)
