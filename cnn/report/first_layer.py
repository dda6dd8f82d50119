"""What the filters look like: the kernels that read the image itself, and which of them are never used."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from cnn.report import escape
from cnn.report.colormap import ANCHORS, THEMES, Scale, enclosed, picture, png, themed
from cnn.report.hand_convolution import FILTERS
from cnn.report.html import PageSection
from cnn.report.run_files import RunFiles
from cnn.runs import run_dir

ALIKE = 0.80
"""The least absolute cosine that is worth a name."""
DEAD = 0.999
"""The share of zeros from which on a filter counts as unused."""
SIDE = 54
NAMED = ("vertical", "horizontal", "diagonal", "antidiagonal", "outline", "blur")
"""The filters that a kernel is compared with, by their names in `cnn.report.hand_convolution`."""


class FirstLayerFilter(NamedTuple):
    """One kernel as it is shown."""

    number: int
    tiles: list[Markup]
    bias: float
    looks: str
    dead: bool
    likeness: float
    """The largest size of a cosine with a named filter; 0 where none can be compared."""
    strength: float
    """The root of the sum of squares."""


def build(run: RunFiles) -> PageSection | None:
    """Returns the first layer's kernels; `None` where the network begins otherwise, or nothing measured it."""
    stored = run.arrays(run_dir.FIRST_LAYER)
    if stored is None:
        return None
    kernel = stored["kernel"].astype(np.float64)
    scale = Scale.over(kernel)
    filters = [describe(stored, number, scale) for number in range(kernel.shape[-1])]
    html = escape.render(
        "filters.html.j2",
        filters=filters,
        legend=scale.legend(),
        names=[str(name) for name in stored["names"]],
        images=int(stored["images"]),
        kernel=kernel.shape,
        compared=kernel.shape[:2] == (3, 3),
        dead=sum(each.dead for each in filters),
    )
    sheet = atlas(kernel, scale)
    figures = {"filters.png": sheet, "filters.svg": enclosed(sheet)}
    return PageSection(
        "filters",
        "What the filters look like",
        html,
        scripts=tuple(map(escape.source, ("arithmetic.js", "drawing.js", "filters.js"))),
        data={
            "filters-data": {"shape": kernel.shape[:3], "limit": scale.limit, "anchors": ANCHORS},
            # Filter by filter, channel by channel, row by row.
            "filters-kernels": kernel.transpose(3, 2, 0, 1).astype("<f4").tobytes(),
        },
        figures=figures,
        short="Filters",
    )


def describe(stored: dict[str, np.ndarray], number: int, scale: Scale) -> FirstLayerFilter:
    """Returns a filter's pictures, one an input channel and in colours the composite, its bias and its likeness."""
    kernel = stored["kernel"][..., number].astype(np.float64)
    zoom = max(2, SIDE // max(kernel.shape[:2]))
    height, width = (zoom * side for side in kernel.shape[:2])
    tiles = []
    if kernel.shape[-1] == 3:
        reds = np.round(127.5 + 127.5 * kernel / scale.limit).astype(np.uint8)
        tiles.append(picture(reds, width, height, f"filter {number}, red, green and blue together"))
    for channel in range(min(3, kernel.shape[-1])):
        pixels = {theme: scale.colours(kernel[..., channel], theme) for theme in THEMES}
        of = f", channel {channel}" if kernel.shape[-1] > 1 else ""
        tiles.append(themed(pixels, width, height, f"filter {number}{of}", "tile"))
    likeness = looks_like(kernel)
    return FirstLayerFilter(
        number,
        tiles,
        float(stored["bias"][number]),
        f"{likeness[0]} {likeness[1]:.2f}" if likeness else "",
        bool(stored["zero_share"][number] >= DEAD),
        max(map(abs, cosines(kernel).values()), default=0.0),
        float(np.linalg.norm(kernel)),
    )


def looks_like(kernel: Float[np.ndarray, "height width channels"]) -> tuple[str, float] | None:
    """Returns the named filter that a 3x3 kernel resembles most and the cosine, where that says something.

    In several channels the name stands for the same filter in each.
    """
    found = cosines(kernel)
    best = max(found, key=lambda said: abs(found[said]), default="")
    return (best, found[best]) if best and abs(found[best]) >= ALIKE else None


def cosines(kernel: Float[np.ndarray, "height width channels"]) -> dict[str, float]:
    """Returns the cosine of a 3x3 kernel with each filter that has a name; none of another kernel, or of zeros."""
    if kernel.shape[:2] != (3, 3) or not kernel.any():
        return {}
    found = {}
    for name in NAMED:
        pattern = np.repeat(np.asarray(FILTERS[name].kernel, float)[..., None], kernel.shape[-1], axis=-1)
        found[name] = float((kernel * pattern).sum() / (np.linalg.norm(kernel) * np.linalg.norm(pattern)))
    return found


def atlas(kernel: Float[np.ndarray, "height width channels filters"], scale: Scale, columns: int = 16) -> bytes:
    """Returns all kernels as one picture for papers: in rows of 16, their channels side by side."""
    height, width, channels, count = kernel.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    wide = channels * (width + 1)
    numbers = np.full((rows * (height + 1) + 1, columns * (wide + 1)), np.nan)
    for number in range(count):
        row, column = divmod(number, columns)
        for channel in range(channels):
            left = column * (wide + 1) + channel * (width + 1) + 1
            numbers[row * (height + 1) + 1 :, left:][:height, :width] = kernel[..., channel, number]
    return png(np.kron(scale.colours(numbers, "light"), np.ones((8, 8, 1), np.uint8)))
