"""The network: what every layer makes of an image, to scale and in a table with its arithmetic."""

import functools
import math
from typing import Any, NamedTuple

from markupsafe import Markup

from cnn.layers.base import Reach, Shape, show, written
from cnn.layers.combine import Branches
from cnn.model.summary import Row, activation_bytes, count_parameters
from cnn.report import charts, escape
from cnn.report.html import Figure, PageSection
from cnn.report.run_files import RunFiles

Boxes = tuple[tuple[tuple[str, ...], Shape], ...]
"""The layers that make each volume, and its shape."""
HEIGHT = 190
TALLEST, WIDEST, THICKEST = 80, 46, 46
"""The most pixels of a box: up, into the page, and across for its channels."""
GAP = 34


class LayerLine(NamedTuple):
    """A layer in the table, as it is written there."""

    path: str
    depth: int
    layer: str
    output: str
    how: str
    arithmetic: str
    share: float
    """Of the network's parameters, in percent."""
    macs: str
    bytes: str
    sees: str


def build(run: RunFiles) -> PageSection:
    """Returns the volumes and the table of layers."""
    rows, image = run.config.rows, run.config.data.image_shape
    boxes = volumes(rows, image)
    total = count_parameters(rows)
    width = max(360, sum(_width(shape, boxes) + GAP for _, shape in boxes) + GAP)
    drawing, figures = _draw(boxes, width)
    html = escape.render(
        "network.html.j2",
        image=show(image),
        values=f"{math.prod(image):,}",
        image_bytes=f"{activation_bytes(image):,}",
        drawing=drawing,
        lines=[_line(row, total) for row in rows],
        parameters=f"{total:,}",
        bytes=f"{4 * total:,}",
        statistics=count_parameters(rows, "batch_stats"),
        macs=f"{sum(row.macs for row in rows):,}",
        nested=any(isinstance(row.layer, Branches) for row in rows),
    )
    data = {"network-data": placed(boxes, width)}
    return PageSection("network", "The network", html, (), (escape.source("network.js"),), data, figures, "Network")


@functools.lru_cache(maxsize=1)
def _draw(boxes: Boxes, width: int) -> tuple[Markup, dict[str, Figure]]:
    """Returns the drawing and its files; a sweep's trials, which mostly have one network, draw it once."""
    label = "Volumes to scale: " + ", ".join(f"{'/'.join(names)} {show(shape)}" for names, shape in boxes)
    return charts.draw("network", (width, HEIGHT), label, lambda figure, ink: _paint(figure, ink, boxes))


def placed(boxes: Boxes, width: int) -> list[tuple[tuple[str, ...], float, float]]:
    """Returns which layers make each volume, and its left edge and width in shares of the drawing."""
    found, left = [], GAP / 2
    for names, shape in boxes:
        room = _width(shape, boxes)
        found.append((names, round(left / width, 5), round(room / width, 5)))
        left += room + GAP
    return found


def volumes(rows: tuple[Row, ...], image: Shape) -> Boxes:
    """Returns the boxes of the drawing: which layers make a volume, and its shape; inside of a layer none."""
    boxes: list[tuple[tuple[str, ...], Shape]] = [(("image",), image)]
    for row in rows:
        if row.depth:
            continue
        if row.output == boxes[-1][1] and len(boxes) > 1:
            boxes[-1] = ((*boxes[-1][0], row.path), row.output)
        else:
            boxes.append(((row.path,), row.output))
    return tuple(boxes)


def how(row: Row) -> str:
    """Returns how a layer's shape follows, and what of its input no window reads."""
    reach, padding = row.layer.reach(row.input), getattr(row.layer, "padding", None)
    if padding != "valid" or not isinstance(reach, Reach) or len(row.input) != 3:
        return row.formula
    names = ("row", "column")
    unread = [(n - k) % s for n, k, s in zip(row.input, reach.kernel, reach.strides, strict=False)]
    if unread[0] == unread[1]:
        rest = f"{unread[0]} row{'s' * (unread[0] > 1)} and column{'s' * (unread[0] > 1)}" if unread[0] else ""
    else:
        rest = ", ".join(
            f"{count} {name}{'s' * (count > 1)}" for count, name in zip(unread, names, strict=True) if count
        )
    return f"{row.formula}; {rest} unread" if rest else row.formula


def _line(row: Row, total: int) -> LayerLine:
    count = row.count()
    return LayerLine(
        row.path,
        row.depth,
        written(row.layer),
        show(row.output),
        how(row),
        f"{row.arithmetic} = {count:,}" if row.arithmetic else "",
        100 * count / total if total else 0,
        f"{row.macs:,}" if row.macs else "",
        f"{activation_bytes(row.output):,}",
        row.field.sees,
    )


def _sizes(shape: Shape, boxes: Boxes) -> tuple[float, float, float]:
    """Returns pixels up, into the page and across."""
    maps = [shape for _, shape in boxes if len(shape) == 3]
    if len(shape) == 1:
        longest = max(math.prod(shape) for _, shape in boxes if len(shape) == 1)
        return max(3.0, TALLEST * math.sqrt(shape[0] / longest)), 0.0, 7.0
    side = max(max(shape[:2]) for shape in maps)
    deepest = max(shape[2] for shape in maps)
    return TALLEST * shape[0] / side, WIDEST * shape[1] / side, max(1.5, THICKEST * shape[2] / deepest)


def _width(shape: Shape, boxes: Boxes) -> int:
    _, into, across = _sizes(shape, boxes)
    return max(64, round(into * 0.7 + across))


def _paint(figure: Any, ink: charts.Ink, boxes: Boxes) -> None:
    width = round(figure.get_figwidth() * charts.INCH)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.set_xlim(0, width)
    axes.set_ylim(0, HEIGHT)
    left, middle = GAP / 2, 125
    for number, (names, shape) in enumerate(boxes):
        up, into, across = _sizes(shape, boxes)
        room = _width(shape, boxes)
        slant_x, slant_y = 0.7 * into, 0.35 * into
        x, y = left + (room - across - slant_x) / 2, middle - (up + slant_y) / 2
        front = [(x, y), (x + across, y), (x + across, y + up), (x, y + up)]
        behind = [(corner_x + slant_x, corner_y + slant_y) for corner_x, corner_y in front]
        top = [front[3], front[2], behind[2], behind[3]]
        side = [front[1], behind[1], behind[2], front[2]]
        for corners, alpha in ((front, 0.35), (top, 0.2), (side, 0.6)):
            axes.fill(*zip(*corners, strict=True), facecolor=(ink.blue, alpha), edgecolor=ink.text, linewidth=0.7)
        axes.text(left + room / 2, 52, show(shape), ha="center", va="top", fontweight="bold")
        shown = names if len(names) <= 2 else [names[0], f"... {names[-1]}"]
        axes.text(left + room / 2, 37, "\n".join(shown), ha="center", va="top", color=ink.muted, fontsize=8)
        left += room + GAP
        if number + 1 < len(boxes):
            arrow = {"arrowstyle": "->", "color": ink.muted}
            axes.annotate("", (left - 5, middle), (left - GAP + 5, middle), arrowprops=arrow)
