"""Draws what a filter makes of a picture as one strip: picture, map, pooled map, and the sum of one pixel."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

from cnn.report import colormap, hand_convolution
from cnn.report.hand_convolution import Kernel, Pixel
from cnn.report.picture_sheet import cut, font_of, text_width

PANEL, GAP, MARGIN, CELL = 520, 72, 48, 72
TITLE, TEXT, SMALL = 34, 24, 20
MARK = colormap.rgb("CC79A7")
LARGEST_WRITTEN = 7
"""The longest side of a filter whose sum is written out below the panels."""
POOL = 2
POOLED = {"max": "maximum of each 2x2", "average": "mean of each 2x2"}


class Strip(NamedTuple):
    """What a filter made of one grey picture, intensities 0..255."""

    picture: Float[np.ndarray, "height width"]
    kernel: Kernel
    map: Float[np.ndarray, "rows columns"]
    pool: str
    pooled: Float[np.ndarray, "rows/2 columns/2"]
    pixel: Pixel


def make(
    picture: Float[np.ndarray, "height width"], kernel: Kernel, pool: str, place: tuple[int, int] | None = None
) -> Strip:
    """Slides the filter over the picture and pools the map; explains the pixel at `place`, or the strongest.

    Raises:
      FilterError: the picture is too small, or the map has no such place.
    """
    found = hand_convolution.convolve(picture, kernel)
    if place is None:
        row, column = np.unravel_index(int(np.abs(found).argmax()), found.shape)
        place = int(row), int(column)
    pooled = hand_convolution.pool(found, pool, POOL)
    return Strip(picture, kernel, found, pool, pooled, hand_convolution.explain(picture, kernel, *place))


def is_picture(kernel: Kernel) -> bool:
    """Tells whether a filter's map is a picture again: its numbers add up to 1, so that brightness stays."""
    return abs(float(np.sum(kernel)) - 1) < 1e-6


def paint(values: Float[np.ndarray, "rows columns"], kernel: Kernel, bound: float) -> UInt8[np.ndarray, "r c 3"]:
    """Returns a map in the signed colours, or in grey where it is a picture again and within 0..255."""
    signed = colormap.signed(values, bound)
    if not is_picture(kernel):
        return signed
    return np.where(((values < 0) | (values > 255))[..., None], signed, _grey(values))


def _grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(np.round(np.clip(values, 0, 255)).astype(np.uint8)[..., None], 3, axis=-1)


def draw(strip: Strip, *, title: str) -> Image.Image:
    """Draws the strip; pixels are squares, never smoothed, and every colour of the map is in the legend."""
    bound = float(np.abs(strip.map).max())
    zoom = max(1, PANEL // max(strip.picture.shape))
    panels = [
        (f"picture {_size(strip.picture)}", _grey(strip.picture), zoom),
        (f"map {_size(strip.map)}", paint(strip.map, strip.kernel, bound), zoom),
    ]
    if strip.pool != "none":
        name = f"{POOLED[strip.pool]}: {_size(strip.pooled)}"
        panels.append((name, paint(strip.pooled, strip.kernel, bound), zoom * POOL))
    written = max(len(strip.kernel), len(strip.kernel[0])) <= LARGEST_WRITTEN
    widths = [max(pixels.shape[1] * by, text_width(name, font_of(TEXT))) for name, pixels, by in panels]
    width = max(sum(widths) + GAP * (len(widths) - 1), _sum_width(strip.pixel) if written else 0) + 2 * MARGIN
    tallest = max(pixels.shape[0] * by for _, pixels, by in panels)
    top = MARGIN + TITLE + 28
    below = top + TEXT + 20 + tallest + 28 + SMALL + 24
    height = below + (36 + CELL * len(strip.kernel) + TEXT + 24 if written else 0) + MARGIN
    image = Image.new("RGB", (width, height), colormap.PAPER)
    pen = ImageDraw.Draw(image)
    pen.text((MARGIN, MARGIN), cut(title, font_of(TITLE), width - 2 * MARGIN), colormap.INK, font_of(TITLE))
    _panels(image, pen, panels, widths, top, strip)
    _legend(pen, MARGIN + widths[0] + GAP, below - SMALL - 24, max(widths[1], 260), bound, strip.kernel)
    if written:
        _sum(pen, MARGIN, below + 36, strip.pixel)
    return image


def _panels(
    image: Image.Image,
    pen: ImageDraw.ImageDraw,
    panels: Sequence[tuple[str, np.ndarray, int]],
    widths: Sequence[int],
    top: int,
    strip: Strip,
) -> None:
    rows, columns = len(strip.kernel), len(strip.kernel[0])
    row, column = strip.pixel.row, strip.pixel.column
    marks = ((row, column, rows, columns), (row, column, 1, 1), (row // POOL, column // POOL, 1, 1))
    left = MARGIN
    for index, ((name, pixels, zoom), width) in enumerate(zip(panels, widths, strict=True)):
        pen.text((left, top), name, colormap.INK, font_of(TEXT))
        at = (left, top + TEXT + 20)
        shown = Image.fromarray(pixels)
        image.paste(shown.resize((shown.width * zoom, shown.height * zoom), Image.Resampling.NEAREST), at)
        r, c, tall, wide = marks[index]
        if r < pixels.shape[0] and c < pixels.shape[1]:  # a pooling may leave the pixel unread
            _mark(pen, at[0] + c * zoom, at[1] + r * zoom, wide * zoom, tall * zoom)
        if index:
            middle = at[1] + min(panels[0][1].shape[0] * panels[0][2], 200) // 2
            _arrow(pen, left - GAP + 16, left - 16, middle)
        left += width + GAP


def _mark(pen: ImageDraw.ImageDraw, left: int, top: int, width: int, height: int) -> None:
    grow = max(0, (10 - min(width, height) + 1) // 2)  # else nobody finds it
    box = (left - 2 - grow, top - 2 - grow, left + width + 1 + grow, top + height + 1 + grow)
    pen.rectangle((box[0] - 2, box[1] - 2, box[2] + 2, box[3] + 2), outline=(255, 255, 255), width=2)
    pen.rectangle(box, outline=MARK, width=3)


def _arrow(pen: ImageDraw.ImageDraw, start: int, end: int, middle: int) -> None:
    pen.line((start, middle, end - 8, middle), colormap.INK, 3)
    pen.polygon([(end, middle), (end - 12, middle - 7), (end - 12, middle + 7)], colormap.INK)


def _legend(pen: ImageDraw.ImageDraw, left: int, top: int, width: int, bound: float, kernel: Kernel) -> None:
    """Draws the colours of the map from -bound to bound, made by what coloured the map."""
    ends = (f"-{hand_convolution.shown(bound)}", hand_convolution.shown(bound))
    start, stop = (
        left + text_width(ends[0], font_of(SMALL)) + 12,
        left + width - text_width(ends[1], font_of(SMALL)) - 12,
    )
    numbers = np.linspace(-bound, bound, max(2, stop - start))
    for offset, colour in enumerate(paint(numbers[None], kernel, bound)[0].tolist()):
        pen.line((start + offset, top, start + offset, top + SMALL), tuple(colour))
    pen.text((left, top), ends[0], colormap.INK, font_of(SMALL))
    pen.text((stop + 12, top), ends[1], colormap.INK, font_of(SMALL))
    pen.text(((start + stop) // 2, top + SMALL + 4), "0", colormap.INK, font_of(SMALL), anchor="ma")


def _sum(pen: ImageDraw.ImageDraw, left: int, top: int, pixel: Pixel) -> None:
    """Draws window x filter = products, and their sum."""
    bound = max(np.abs(pixel.kernel).max(), 1e-30)
    largest = max(np.abs(pixel.products).max(), 1e-30)
    blocks = (
        (pixel.window, _grey(np.asarray(pixel.window)), "x"),
        (pixel.kernel, colormap.signed(np.asarray(pixel.kernel), bound), "="),
        (pixel.products, colormap.signed(np.asarray(pixel.products), largest), ""),
    )
    names = ("window", "filter", "products")
    height = CELL * len(pixel.kernel)
    for (rows, shades, sign), name in zip(blocks, names, strict=True):
        for (row, column), number in np.ndenumerate(np.asarray(rows)):
            box = (left + column * CELL, top + row * CELL, left + (column + 1) * CELL - 3, top + (row + 1) * CELL - 3)
            colour = tuple(shades[row, column].tolist())
            pen.rectangle(box, fill=colour, outline=(200, 200, 200))
            middle = (box[0] + box[2]) // 2, (box[1] + box[3]) // 2
            pen.text(
                middle, hand_convolution.shown(round(number, 2)), colormap.ink_on(colour), font_of(SMALL), anchor="mm"
            )
        width = CELL * len(rows[0])
        pen.text((left + width // 2, top + height + 10), name, colormap.INK, font_of(SMALL), anchor="ma")
        pen.text((left + width + GAP // 2, top + height // 2), sign, colormap.INK, font_of(TEXT), anchor="mm")
        left += width + GAP
    pen.text(
        (left, top + height // 2),
        f"sum = {hand_convolution.shown(pixel.total)}",
        colormap.INK,
        font_of(TITLE),
        anchor="lm",
    )
    place = f"row {pixel.row}, column {pixel.column} of the map"
    pen.text((left, top + height // 2 + 30), place, colormap.INK, font_of(SMALL), anchor="lt")


def _sum_width(pixel: Pixel) -> int:
    return 3 * (CELL * len(pixel.kernel[0]) + GAP) + 340


def _size(values: np.ndarray) -> str:
    return "x".join(str(side) for side in values.shape[:2])
