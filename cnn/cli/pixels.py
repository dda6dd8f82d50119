"""Pictures, bars and small tables of numbers in the cells of a terminal."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from rich.console import Console
from rich.style import Style
from rich.text import Text

from cnn.report import colormap, hand_convolution
from cnn.report.hand_convolution import Kernel

WIDEST_PICTURE = 32
"""Cells across; a larger picture is reduced to them."""
_EIGHTHS = " ▏▎▍▌▋▊▉"


def has_colours(console: Console) -> bool:
    """Tells whether the user sees colours there and wants them."""
    wanted = console.is_terminal and not console.no_color and not console.is_dumb_terminal
    return wanted and console.color_system in ("256", "truecolor")


def picture(image: UInt8[np.ndarray, "height width channels"], console: Console) -> list[Text]:
    """Returns the lines of a picture, two pixels to a cell, one above the other; none where colours cannot be seen."""
    if not has_colours(console) or console.options.ascii_only or console.width < WIDEST_PICTURE:
        return []
    pixels = np.broadcast_to(image, (*image.shape[:2], 3)) if image.shape[2] == 1 else image
    height, width = image.shape[:2]
    if max(height, width) > WIDEST_PICTURE:
        part = WIDEST_PICTURE / max(height, width)
        size = max(1, round(width * part)), max(1, round(height * part))
        pixels = np.asarray(Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.BOX))
    lines = []
    for row in range(0, len(pixels), 2):
        line = Text()
        for column in range(pixels.shape[1]):
            below = None if row + 1 == len(pixels) else _code(pixels[row + 1, column])
            line.append("▀", Style(color=_code(pixels[row, column]), bgcolor=below))
        lines.append(line)
    return lines


def bar(share: float, width: int, console: Console) -> str:
    """Returns a bar of at most `width` cells for a share in [0, 1], in eighths of a cell where the console has them."""
    if console.options.ascii_only:
        return "#" * round(share * width)
    whole, rest = divmod(round(share * width * 8), 8)
    return "█" * whole + (_EIGHTHS[rest] if rest else "")


def sum_of(pixel: hand_convolution.Pixel, console: Console) -> list[Text]:
    """Returns the lines of window x filter = products, side by side, or one below the other on a narrow terminal."""
    grey = np.repeat(np.clip(np.round(np.asarray(pixel.window)), 0, 255).astype(np.uint8)[..., None], 3, axis=-1)
    blocks = [
        _table(pixel.window, grey, console),
        _table(pixel.kernel, _signed(pixel.kernel), console),
        _table(pixel.products, _signed(pixel.products), console),
    ]
    between = ("   ", " x ", " = ")
    if sum(block[0].cell_len + 3 for block in blocks) > console.width:
        lines = [Text(sign).append_text(line) for sign, block in zip(between, blocks, strict=True) for line in block]
        return _without_blanks(lines, console)
    middle = len(pixel.kernel) // 2
    lines = []
    for row, parts in enumerate(zip(*blocks, strict=True)):
        line = Text()
        for sign, part in zip(between, parts, strict=True):
            line.append(sign if row == middle else "   ").append_text(part)
        lines.append(line)
    return _without_blanks(lines, console)


def _without_blanks(lines: list[Text], console: Console) -> list[Text]:
    """Cuts the blanks at the end of lines, which are seen only where they have a colour."""
    if not has_colours(console):
        for line in lines:
            line.rstrip()
    return lines


def _signed(rows: Kernel) -> np.ndarray:
    numbers = np.asarray(rows, np.float64)
    return colormap.signed(numbers, float(np.abs(numbers).max()))


def _table(rows: Kernel, shades: np.ndarray, console: Console) -> list[Text]:
    written = [[hand_convolution.shown(number) for number in row] for row in rows]
    width = max(len(number) for row in written for number in row) + 2
    lines = []
    for row, numbers in enumerate(written):
        line = Text()
        for column, number in enumerate(numbers):
            style = Style.null()
            if has_colours(console):
                shade = shades[row, column]
                ink = colormap.ink_on(shade)
                style = Style(color=_code(ink), bgcolor=_code(shade))
            line.append(f"{number:>{width - 1}} ", style)
        lines.append(line)
    return lines


def _code(pixel: Iterable[int]) -> str:
    red, green, blue = pixel
    return f"#{red:02x}{green:02x}{blue:02x}"
