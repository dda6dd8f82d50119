"""What was watched of the layers while they trained: for each quantity a heat map, a row a layer, a column a record."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from cnn.config.watches import QUANTITIES
from cnn.report import escape
from cnn.report.colormap import SHADES, Scale, enclosed
from cnn.report.html import Figure, PageSection
from cnn.report.run_files import RunFiles

MOST_COLUMNS = 240
"""Of more records every so many are drawn, the first and the last always."""
ROW, WIDTH = 16, 480
"""The CSS pixels of a row's height, as in the page's styles, and about as many of the whole picture's width."""
HEALTHY = {"ratio": 1e-3}
"""The number that has the colour of the paper, where it is not the median of all."""


class Map(NamedTuple):
    """One quantity of all layers over the steps."""

    name: str
    title: str
    layers: list[str]
    image: Markup
    legend: Markup
    told: str
    """What the colours mean."""
    last: list[str]
    """The last number of each layer."""


def build(run: RunFiles) -> PageSection | None:
    """Returns the heat maps, of which a reader chooses one; `None` where nothing was watched."""
    records = [record for record in run.metrics if record.get("kind") == "watch"]
    if not records:
        return None
    shown = _thinned(records)
    order = {row.path: place for place, row in enumerate(run.config.rows)}
    figures: dict[str, Figure] = {}
    maps = []
    for quantity, layers in _names(records, order).items():
        numbers = np.array(
            [[_number(record.get(f"{quantity}/{layer}")) for record in shown] for layer in layers], np.float64
        )
        scale, painted, centre = coloured(quantity, numbers)
        maps.append(_drawn(quantity, layers, numbers, shown, scale, painted, centre))
        file = scale.indexed(np.kron(painted, np.ones((4, 4))), "light", SHADES)
        figures |= {f"watched-{quantity}.png": file, f"watched-{quantity}.svg": enclosed(file)}
    steps = [record["step"] for record in shown]
    html = escape.render(
        "watched.html.j2", maps=maps, first=steps[0], last=steps[-1], left_out=len(records) - len(shown)
    )
    return PageSection(
        "watched",
        "What the layers did",
        html,
        styles=(escape.source("watched.css"),),
        scripts=(escape.source("watched.js"),),
        figures=figures,
        short="Layers",
    )


def _names(records: Sequence[Mapping[str, Any]], order: Mapping[str, int]) -> dict[str, list[str]]:
    """Returns the layers of each quantity, in the order of the network, and the quantities in that of `QUANTITIES`."""
    pairs = {name: name.partition("/") for record in records for name in record if "/" in name}
    found: dict[str, list[str]] = {}
    for quantity, _, layer in pairs.values():
        found.setdefault(quantity, []).append(layer)
    known = [name for name in QUANTITIES if name in found]
    return {
        name: sorted(found[name], key=lambda layer: (order.get(layer, len(order)), layer))
        for name in [*known, *(name for name in found if name not in known)]
    }


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _thinned(records: list[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    if len(records) <= MOST_COLUMNS:
        return records
    return [records[round(place)] for place in np.linspace(0, len(records) - 1, MOST_COLUMNS)]


def coloured(
    quantity: str, numbers: Float[np.ndarray, "layers steps"]
) -> tuple[Scale, Float[np.ndarray, "layers steps"], float | None]:
    """Returns the scale, what has its colours, and the number at its zero; `None` where that is 0."""
    if quantity == "dead" or (numbers < 0).any():
        return Scale(1.0) if quantity == "dead" else Scale.over(numbers), numbers, None
    positive = numbers[np.isfinite(numbers) & (numbers > 0)]
    centre = HEALTHY.get(quantity, float(np.median(positive)) if len(positive) else 1.0)
    with np.errstate(divide="ignore"):
        powers = np.log10(numbers / centre)
    # One power of ten at least, so that what hardly changes looks so; a zero has the last colour.
    scale = Scale(max(1.0, Scale.over(powers).limit if len(positive) else 1.0))
    return scale, np.where(np.isneginf(powers), -scale.limit, powers), centre


def _drawn(
    quantity: str,
    layers: list[str],
    numbers: np.ndarray,
    records: Sequence[Mapping[str, Any]],
    scale: Scale,
    painted: np.ndarray,
    centre: float | None,
) -> Map:
    title = QUANTITIES.get(quantity, quantity)
    label = f"{title} of {len(layers)} layers from step {records[0]['step']:,} to {records[-1]['step']:,}"
    image = scale.sheet(painted, max(WIDTH, len(records)), ROW * len(layers), label, "sheet")
    told = "" if centre is None else f"powers of ten below and above {centre:.3g}"
    last = [f"{row[-1]:.3g}" if np.isfinite(row[-1]) else "not finite" for row in numbers]
    return Map(quantity, title, layers, image, scale.legend(above=quantity == "dead"), told, last)
