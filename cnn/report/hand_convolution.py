"""The lesson's hand convolution: a table of filters, a filter of one's own, the map it makes, pooling, and the sum."""

import ast
import re
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from cnn.fields import did_you_mean

Kernel = tuple[tuple[float, ...], ...]
"""The numbers of a filter, row by row."""

WINDOW: Kernel = ((0, 64, 128), (48, 192, 144), (142, 226, 168))
"""The pixels of the lesson's example; under the filter `lesson` the new pixel is 577."""


class Filter(NamedTuple):
    """A filter with a name: its numbers, which add up to 0 or 1, and what it does."""

    kernel: Kernel
    does: str


FILTERS: dict[str, Filter] = {
    "vertical": Filter(((-1, 0, 1), (-2, 0, 2), (-1, 0, 1)), "vertical lines pop out"),
    "horizontal": Filter(((-1, -2, -1), (0, 0, 0), (1, 2, 1)), "horizontal lines pop out"),
    "diagonal": Filter(((0, 1, 2), (-1, 0, 1), (-2, -1, 0)), "lines that fall to the right pop out"),
    "antidiagonal": Filter(((-2, -1, 0), (-1, 0, 1), (0, 1, 2)), "lines that rise to the right pop out"),
    "outline": Filter(((-1, -1, -1), (-1, 8, -1), (-1, -1, -1)), "edges of every direction pop out"),
    "sharpen": Filter(((0, -1, 0), (-1, 5, -1), (0, -1, 0)), "each pixel differs more from its neighbours"),
    "blur": Filter(
        ((0.0625, 0.125, 0.0625), (0.125, 0.25, 0.125), (0.0625, 0.125, 0.0625)), "each pixel mixes with its neighbours"
    ),
    "identity": Filter(((0, 0, 0), (0, 1, 0), (0, 0, 0)), "nothing changes but the border"),
    "lesson": Filter(((-1, 0, -2), (0.5, 4.5, -1.5), (1.5, 2, -3)), "the lesson's worked example"),
}
POOLS = ("max", "average", "none")
LARGEST_SIDE, LARGEST_NUMBER = 31, 1e6
_ROUNDING = 1e-9
"""A sum this much smaller than its terms is 0, but for rounding."""


class FilterError(ValueError):
    """Says in one line what is wrong with a filter, a picture for it, or a place in its map."""


def parse(text: str) -> Kernel:
    """Returns the filter of that name, or the user's own numbers.

    Args:
      text: a name of `FILTERS`, "[[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]", or the same as "-1 0 1; -2 0 2; -1 0 1".

    Raises:
      FilterError: the name is unknown, or the numbers are no rectangle of finite numbers.
    """
    text = text.strip()
    if text in FILTERS:
        return FILTERS[text].kernel
    if re.fullmatch(r"[A-Za-z_][\w-]*", text):
        own = 'Or give numbers of your own: "[[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]]"'
        raise FilterError(f"unknown name {text!r}. {did_you_mean(text, FILTERS)} {own}")
    return checked(_brackets(text) if text.startswith(("[", "(")) else _rows(text))


def _brackets(text: str) -> object:
    try:
        return ast.literal_eval(text) if len(text) <= 20_000 else None
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        return None


def _rows(text: str) -> object:
    try:
        return [[float(word) for word in re.split(r"[\s,]+", row.strip())] for row in text.split(";")]
    except ValueError:
        return None


def checked(rows: object) -> Kernel:
    """Returns rows of numbers as a filter.

    Raises:
      FilterError: they are no rectangle of finite numbers, or too many, or too large.
    """
    if not isinstance(rows, (list, tuple)) or not rows or not all(isinstance(row, (list, tuple)) for row in rows):
        raise FilterError("must be rows of numbers. Write [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]], or a name")
    widths = [len(row) for row in rows]
    if not widths[0] or len(set(widths)) > 1:
        raise FilterError(f"every row must hold as many numbers, got rows of {', '.join(map(str, widths[:9]))}")
    if len(rows) > LARGEST_SIDE or widths[0] > LARGEST_SIDE:
        raise FilterError(f"must be at most {LARGEST_SIDE}x{LARGEST_SIDE}, got {len(rows)}x{widths[0]}")
    for number in (number for row in rows for number in row):
        # A comparison with NaN is False.
        if type(number) not in (int, float) or not abs(number) <= LARGEST_NUMBER:
            raise FilterError(f"must hold numbers from -{LARGEST_NUMBER:g} to {LARGEST_NUMBER:g}, got {number!r:.40}")
    return tuple(tuple(row) for row in rows)


def weighted(kernel: Kernel) -> Kernel:
    """Returns the filter with numbers that add up to 0 or 1: the course's rule, so that brightness stays what it was.

    Numbers that add up to anything else are divided by their sum; a negative sum thereby turns every sign around.
    """
    numbers = np.asarray(kernel, np.float64)
    total, size = float(numbers.sum()), float(np.abs(numbers).sum())
    if abs(total) <= _ROUNDING * size or abs(total - 1) <= _ROUNDING * size:
        return kernel
    return tuple(tuple(row) for row in (numbers / total).tolist())


def convolve(
    picture: Float[np.ndarray, "height width"], kernel: Kernel
) -> Float[np.ndarray, "height-rows+1 width-columns+1"]:
    """Returns the map of a filter over a picture, in float64 and not clipped.

    Each number is the sum of a window times the filter, which is neither flipped nor transposed; only where the filter
    lies inside the picture is there a window (valid padding).

    Args:
      picture: intensities, usually 0..255.
      kernel: at most as large as the picture.

    Raises:
      FilterError: the picture is smaller than the filter.
    """
    picture, numbers = np.asarray(picture, np.float64), np.asarray(kernel, np.float64)
    height, width = (side - reach + 1 for side, reach in zip(picture.shape, numbers.shape, strict=True))
    if height < 1 or width < 1:
        raise FilterError(
            f"a {picture.shape[0]}x{picture.shape[1]} picture has no window for a filter of "
            f"{numbers.shape[0]}x{numbers.shape[1]}. Use a larger picture or a smaller filter"
        )
    total = np.zeros((height, width))
    for (row, column), number in np.ndenumerate(numbers):
        total += number * picture[row : row + height, column : column + width]
    return total


def pool(
    values: Float[np.ndarray, "height width"], kind: str, size: int = 2
) -> Float[np.ndarray, "height/size width/size"]:
    """Returns the largest number or the mean of each block; rows and columns short of a block are not read.

    Args:
      values: a map.
      kind: "max", "average", or "none" for the map as it is.
      size: the side of a block, in pixels.

    Raises:
      FilterError: the map is smaller than a block, or the kind is unknown.
    """
    if kind not in POOLS:
        raise FilterError(f"must be one of {', '.join(POOLS)}, got {kind!r}")
    if kind == "none":
        return values
    height, width = (side // size for side in values.shape)
    if height < 1 or width < 1:
        raise FilterError(f"a {values.shape[0]}x{values.shape[1]} map has no block of {size}x{size} to pool")
    blocks = values[: height * size, : width * size].reshape(height, size, width, size)
    return blocks.max(axis=(1, 3)) if kind == "max" else blocks.mean(axis=(1, 3))


class Pixel(NamedTuple):
    """How one number of a map came about; rows and columns count from 0, and the windows are as large as the filter."""

    row: int
    column: int
    window: Kernel
    kernel: Kernel
    products: Kernel
    total: float


def explain(picture: Float[np.ndarray, "height width"], kernel: Kernel, row: int, column: int) -> Pixel:
    """Returns the arithmetic behind one number of the map; its window begins at the same row and column of the picture.

    Raises:
      FilterError: the map has no such row and column.
    """
    rows, columns = len(kernel), len(kernel[0])
    height, width = (picture.shape[0] - rows + 1, picture.shape[1] - columns + 1)
    if not (0 <= row < height and 0 <= column < width):
        raise FilterError(f"must lie in rows 0..{height - 1} and columns 0..{width - 1} of the map, got {row},{column}")
    window = np.asarray(picture, np.float64)[row : row + rows, column : column + columns]
    products = window * np.asarray(kernel, np.float64) + 0.0  # no -0
    return Pixel(row, column, _tuples(window), kernel, _tuples(products), float(products.sum()))


def _tuples(values: np.ndarray) -> Kernel:
    return tuple(tuple(row) for row in values.tolist())


def shown(number: float) -> str:
    """Returns a number as people write it: 577, 0.5, -3.14159; six digits where it is no integer."""
    return f"{number:.0f}" if number == int(number) else f"{number:.6g}"


def formula(pixel: Pixel) -> str:
    """Returns a pixel's sum in one line, as the lesson writes it: `(-1 * 0) + (0 * 64) + ... = 577`."""
    pairs = zip(np.ravel(pixel.kernel).tolist(), np.ravel(pixel.window).tolist(), strict=True)
    terms = " + ".join(f"({shown(weight)} * {shown(value)})" for weight, value in pairs)
    return f"{terms} = {shown(pixel.total)}"
