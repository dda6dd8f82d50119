"""Draws a sheet of pictures: a row for each class, as the network sees them, and below each what training makes of it.

Pillow's own font has the letters of English alone; a name with others is drawn in a font of the machine that has them,
or else as the class's number.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont

from cnn.report import colormap
from cnn.report.escape import visible

CELL, LARGEST = 64, 128
"""Pixels across a picture: a smaller one is enlarged to about the first, one larger than the second reduced to that."""
GAP, BLOCK, MARGIN, NAMES = 4, 16, 16, 180
"""Pixels between pictures, between classes, around the sheet, and the most that names take."""
TITLE, TEXT, SMALL = 18, 15, 13
FAINT, FRAME = colormap.rgb("6b6b6b"), colormap.rgb("d0d0d0")
FONTS = (
    "DejaVuSans.ttf",
    "NotoSans-Regular.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSansArabic-Regular.ttf",
    "NotoSansDevanagari-Regular.ttf",
    "Arial Unicode.ttf",
    "arial.ttf",
    "msyh.ttc",
)
"""Of the machine, in the order in which they are tried."""
UNKNOWN = "\U0010ffff"
"""A letter that no font has."""

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class SheetRow:
    """One class.

    Attributes:
      label: its number.
      name: its name.
      count: how many pictures it has, those that are not shown included.
      pictures: some of them.
      draws: what training made of each picture, so many times; `None` to show none.
    """

    label: int
    name: str
    count: int
    pictures: UInt8[np.ndarray, "pictures height width channels"]
    draws: UInt8[np.ndarray, "pictures draws height width channels"] | None = None


def draw(rows: Sequence[SheetRow], image_shape: tuple[int, int, int], title: str) -> Image.Image:
    """Draws the sheet; pixels are squares where they are enlarged, and means of areas where there is no room."""
    height, width = _shown(image_shape[:2])
    columns = max([1, *(len(row.pictures) for row in rows)])
    names = [written(row.name, row.label) for row in rows]
    beside = min(NAMES, max([CELL, *(text_width(*name) for name in names)]))
    left = MARGIN + beside + BLOCK
    blocks = [_height(row, height) for row in rows]
    whole = max(left + columns * (width + GAP), text_width(title, font_of(TITLE)) + MARGIN) + MARGIN
    sheet = Image.new("RGB", (whole, 2 * MARGIN + TITLE + sum(blocks) + BLOCK * len(blocks)), colormap.PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((MARGIN, MARGIN), title, colormap.INK, font_of(TITLE))
    top = MARGIN + TITLE + BLOCK
    for row, (name, font), tall in zip(rows, names, blocks, strict=True):
        pen.text((MARGIN, top), cut(name, font, beside), colormap.INK, font)
        pen.text((MARGIN, top + TEXT + 6), f"{row.count:,}", FAINT, font_of(SMALL))
        for column, picture in enumerate(row.pictures):
            drawn = () if row.draws is None else row.draws[column]
            for line, pixels in enumerate((picture, *drawn)):
                # Draws stand a little apart from the picture that they are made of.
                x, y = left + column * (width + GAP), top + line * (height + GAP) + GAP * bool(line)
                pen.rectangle((x - 1, y - 1, x + width, y + height), outline=FRAME)  # else pale ones have no edge
                sheet.paste(_painted(pixels, (height, width)), (x, y))
        top += tall + BLOCK
    return sheet


def _shown(size: Sequence[int]) -> tuple[int, int]:
    """Returns the height and width in which pictures of a size are drawn."""
    longest = max(size)
    if longest > LARGEST:
        return max(1, size[0] * LARGEST // longest), max(1, size[1] * LARGEST // longest)
    zoom = max(1, CELL // longest)
    return size[0] * zoom, size[1] * zoom


def _painted(pixels: np.ndarray, size: tuple[int, int]) -> Image.Image:
    smaller = size[0] < pixels.shape[0] or size[1] < pixels.shape[1]
    kernel = Image.Resampling.BOX if smaller else Image.Resampling.NEAREST
    return colormap.drawable(pixels).convert("RGB").resize((size[1], size[0]), kernel)


def _height(row: SheetRow, height: int) -> int:
    lines = 1 if row.draws is None else 1 + row.draws.shape[1]
    return max(lines * (height + GAP) + GAP * (lines > 1), TEXT + SMALL + 10)


def written(name: str, label: int) -> tuple[str, Font]:
    """Returns what stands for a class, and the font that has all letters of it: its name, or else its number."""
    shown = visible(name) or str(label)
    fonts = (font for font in (font_of(TEXT), *_of_machine()) if _has(font, shown))
    font = next(fonts, None)
    return (shown, font) if font is not None else (f"class {label}", font_of(TEXT))


@functools.cache
def font_of(size: int) -> Font:
    """Returns Pillow's own font, so many pixels high."""
    return ImageFont.load_default(size)


@functools.cache
def _of_machine() -> tuple[Font, ...]:
    found = []
    for name in FONTS:
        try:
            found.append(ImageFont.truetype(name, TEXT))
        except OSError:
            continue
    return tuple(found)


def _has(font: Font, text: str) -> bool:
    """Tells whether a font can draw each letter of a text."""
    unknown = bytes(font.getmask(UNKNOWN))
    return all(letter == " " or bytes(font.getmask(letter)) != unknown for letter in text)


def text_width(text: str, font: Font) -> int:
    """Returns how many pixels a text takes."""
    return round(font.getlength(text)) + 1


def cut(text: str, font: Font, width: int) -> str:
    """Returns the text, cut with "..." where it is too long."""
    if text_width(text, font) <= width:
        return text
    while text and text_width(f"{text}...", font) > width:
        text = text[:-1]
    return f"{text}..."
