"""What a notebook shows: tables, pictures and curves as HTML that needs no script; everything in it is escaped."""

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Float, UInt8
from markupsafe import Markup

from cnn.report.colormap import Scale, address, picture, png
from cnn.report.escape import shortened, visible

WIDTH, HEIGHT = 340, 190
"""A chart, in CSS pixels."""
LEFT, TOP, RIGHT, BOTTOM = 56, 10, 10, 26
COLOURS = ("#0072B2", "#C24E00", "#595959")
_SVG = Markup(
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {} {}" font-family="sans-serif" font-size="11">{}</svg>'
)

Line = tuple[Sequence[float] | np.ndarray, Sequence[float] | np.ndarray]


def joined(parts: Sequence[Markup]) -> Markup:
    """Returns parts side by side, in as many rows as they need."""
    return Markup('<div style="display:flex;flex-wrap:wrap;gap:12px;align-items:flex-end">{}</div>').format(
        Markup("").join(parts)
    )


def stacked(parts: Sequence[Markup]) -> Markup:
    """Returns parts one below the other."""
    return Markup("").join(Markup('<div style="margin:6px 0">{}</div>').format(part) for part in parts)


def table(header: Sequence[str], rows: Sequence[Sequence[object]], caption: str = "") -> Markup:
    """Returns a table; cells that are no `Markup` are escaped and cut to a line's length."""
    head = Markup("").join(
        Markup("<th style='text-align:left;padding:1px 10px 1px 0'>{}</th>").format(_cell(name)) for name in header
    )
    body = Markup("").join(
        Markup("<tr>{}</tr>").format(
            Markup("").join(
                Markup("<td style='text-align:left;padding:1px 10px 1px 0'>{}</td>").format(_cell(cell)) for cell in row
            )
        )
        for row in rows
    )
    said = Markup("<div>{}</div>").format(visible(caption)) if caption else ""
    return Markup("{}<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>").format(said, head, body)


def _cell(cell: object) -> object:
    return cell if isinstance(cell, Markup) else shortened(cell, 120) if str(cell) else ""


def titled(image: Markup, *lines: object) -> Markup:
    """Returns a picture with short lines below it."""
    below = Markup("").join(Markup("<div>{}</div>").format(_cell(line)) for line in lines)
    return Markup("<div style='font:11px sans-serif;text-align:center;width:max-content'>{}{}</div>").format(
        _sharp(image), below
    )


def _sharp(image: Markup) -> Markup:
    return Markup("<div style='image-rendering:pixelated'>{}</div>").format(image)


def photograph(pixels: UInt8[np.ndarray, "height width channels"], label: str, side: int = 84) -> Markup:
    """Returns an image as the network gets it, its pixels as squares."""
    zoom = max(1, side // max(pixels.shape[:2]))
    return picture(pixels, pixels.shape[1] * zoom, pixels.shape[0] * zoom, shortened(label, 120))


def maps(numbers: Float[np.ndarray, "height width maps"], label: str, most: int = 16, side: int = 84) -> Markup:
    """Returns the first maps side by side in one signed scale, blue positive, and the scale's end."""
    scale = Scale.over(numbers)
    zoom = max(1, side // max(numbers.shape[:2]))
    tiles = []
    for index in range(min(most, numbers.shape[2])):
        content = png(scale.colours(numbers[..., index], "light"))
        size = numbers.shape[1] * zoom, numbers.shape[0] * zoom
        image = Markup('<img width="{}" height="{}" alt="{}" src="{}" style="image-rendering:pixelated">')
        tiles.append(image.format(*size, f"{label}, map {index}", address(content)))
    left_out = f", {numbers.shape[2] - most} more" if numbers.shape[2] > most else ""
    said = f"{label}: orange {-scale.limit:.3g} to blue {scale.limit:+.3g}{left_out}"
    return Markup("<div><small>{}</small>{}</div>").format(said, joined(tiles))


def chart(lines: Mapping[str, Line], title: str) -> Markup:
    """Returns curves over steps as one picture, with the numbers at the ends of its axes."""
    lines = {name: line for name, line in lines.items() if len(line[0])}
    if not lines:
        return Markup("")
    right = max(max(xs) for xs, _ in lines.values()) or 1
    low = min(0.0, *(min(ys) for _, ys in lines.values()))
    high = max(max(ys) for _, ys in lines.values())
    inner = [
        Markup(
            '<rect width="100%" height="100%" fill="#fff"/><path d="M{0} {1}V{2}H{3}" fill="none" stroke="#999"/>'
        ).format(LEFT, TOP, HEIGHT - BOTTOM, WIDTH - RIGHT),
        _text(LEFT - 5, TOP + 8, f"{high:.2g}", "end"),
        _text(LEFT - 5, HEIGHT - BOTTOM, f"{low:.2g}", "end"),
        _text(LEFT, HEIGHT - 10, "0", "start"),
        _text(WIDTH - RIGHT, HEIGHT - 10, f"step {right:,.0f}", "end"),
    ]
    across, up = (WIDTH - LEFT - RIGHT) / right, (HEIGHT - TOP - BOTTOM) / ((high - low) or 1)
    for number, (name, (xs, ys)) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        points = " ".join(f"{LEFT + x * across:.1f},{TOP + (high - y) * up:.1f}" for x, y in zip(xs, ys, strict=True))
        inner.append(
            Markup('<polyline points="{}" fill="none" stroke="{}" stroke-width="1.5"/>').format(points, colour)
        )
        if name != title:
            inner.append(_text(LEFT + 60 + 70 * number, HEIGHT - 10, name, "start", colour))
    drawn = _SVG.format(WIDTH, HEIGHT, Markup("").join(inner))
    image = Markup('<img width="{}" height="{}" alt="{}" src="{}">')
    shown = image.format(WIDTH, HEIGHT, f"{title}: {', '.join(lines)}", address(drawn.encode(), "image/svg+xml"))
    return Markup("<div><small>{}</small><br>{}</div>").format(title, shown)


def _text(x: float, y: float, words: str, anchor: str, colour: str = "#333") -> Markup:
    return Markup('<text x="{}" y="{}" text-anchor="{}" fill="{}">{}</text>').format(x, y, anchor, colour, words)
