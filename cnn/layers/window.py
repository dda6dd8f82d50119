"""How the window of a convolution or a pooling slides over a map: sizes, padding, and what it reads."""

import math
from collections.abc import Iterable
from typing import Annotated, Any

import numpy as np

from cnn.fields import MAX_INTEGER, Parsed
from cnn.layers.base import LayerError, Reach, Shape, show

Pair = tuple[int, int]
Pads = tuple[Pair, Pair]
"""Rows before and after a map, columns before and after."""


def _read_padding(value: Any) -> str | Pads | None:
    if isinstance(value, str):
        return value if value in ("valid", "same") else None
    axes = value if isinstance(value, (tuple, list)) else (value, value)
    sides = [tuple(axis) if isinstance(axis, (tuple, list)) else (axis, axis) for axis in axes]
    numbers = [number for side in sides for number in side]
    if [len(side) for side in sides] != [2, 2] or not all(type(n) is int and 0 <= n <= MAX_INTEGER for n in numbers):
        return None
    return ((sides[0][0], sides[0][1]), (sides[1][0], sides[1][1])) if any(numbers) else "valid"


Padding = Annotated[
    str | Pads,
    Parsed(
        _read_padding,
        "'valid', 'same', a number of pixels of at least 0, (rows, columns), or ((top, bottom), (left, right))",
    ),
]
"""How far a window may reach over the edge: `valid` not at all, `same` so that ceil(size / stride) windows fit, the odd
pixel at the end; or so many pixels on each side."""


def slide(shape: Shape, reach: Reach, padding: str | Pads) -> Pair:
    """Returns the height and width that a sliding window makes of a map.

    Raises:
      LayerError: the window is larger than the map with its padding.
    """
    around = ((0, 0), (0, 0)) if isinstance(padding, str) else padding
    sizes = [n + sum(added) for n, added in zip(shape, around, strict=False)]
    if padding != "same" and any(k > n for n, k in zip(sizes, reach.kernel, strict=True)):
        padded = "" if isinstance(padding, str) else f", with its padding {sizes[0]}x{sizes[1]}"
        raise LayerError(
            f"does not fit the {shape[0]}x{shape[1]} map{padded}: its window is {show(reach.kernel)}. "
            'Use a smaller window, padding="same", or fewer layers that shrink the map before it'
        )
    height, width = (
        -(-n // s) if padding == "same" else (n - k) // s + 1
        for n, k, s in zip(sizes, reach.kernel, reach.strides, strict=True)
    )
    return height, width


def reaching(shape: Shape, kernel: Pair, strides: Pair, padding: str | Pads) -> Reach:
    """Returns the reach of a window that slides over a map."""
    reach = Reach(kernel, strides)
    (top, _), (left, _) = pads(shape, reach, padding)
    return reach._replace(before=(top, left))


def slide_formula(shape: Shape, reach: Reach, padding: str | Pads) -> str:
    """Returns the arithmetic of `slide`, once where both axes agree: `28-3+1 = 26`, `28+2*1-3+1 = 28`."""
    around: tuple[str | Pair, ...] = (padding, padding) if isinstance(padding, str) else padding
    sides = zip(shape, reach.kernel, reach.strides, around, slide(shape, reach, padding), strict=False)
    return once(f"{_side(n, k, s, added)} = {out}" for n, k, s, added, out in sides)


def _side(n: int, k: int, s: int, padding: str | Pair) -> str:
    if padding == "same":
        return f"ceil({n}/{s})"
    if isinstance(padding, tuple) and any(padding):
        before, after = padding
        size = f"{n}+2*{before}-{k}" if before == after else f"{n}+{before}+{after}-{k}"
        return f"{size}+1" if s == 1 else f"floor(({size})/{s})+1"
    if s == 1:
        return f"{n}-{k}+1"
    if k == s:
        return f"floor({n}/{s})" if n % s else f"{n}/{s}"
    return f"floor(({n}-{k})/{s})+1"


def once(texts: Iterable[str]) -> str:
    """Returns different texts, each once, with commas between them."""
    return ", ".join(dict.fromkeys(texts))


def pads(shape: Shape, reach: Reach, padding: str | Pads) -> Pads:
    """Returns the rows added before and after a map, and the columns, as XLA pads: the odd one at the end."""
    if not isinstance(padding, str):
        return padding
    if padding == "valid":
        return (0, 0), (0, 0)
    sizes = zip(shape, reach.kernel, reach.strides, strict=False)
    rows, columns = (max((math.ceil(n / s) - 1) * s + k - n, 0) for n, k, s in sizes)
    return (rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2)


def patches(
    x: np.ndarray, reach: Reach, padding: str | Pads, *, dilation: Pair = (1, 1), fill: float = 0.0
) -> list[np.ndarray]:
    """Returns for each pixel of the window, row by row, what all windows of one image read there.

    Args:
      x: height x width x channels.
      reach: of the window, with its dilation.
      padding: see `Padding`.
      dilation: the distance of two neighbouring pixels of the window.
      fill: what stands around the image.
    """
    height, width = slide(x.shape, reach, padding)
    padded = np.pad(x, (*pads(x.shape, reach, padding), (0, 0)), constant_values=fill)
    down, right = reach.strides
    return [
        padded[top : top + (height - 1) * down + 1 : down, left : left + (width - 1) * right + 1 : right]
        for top in range(0, reach.kernel[0], dilation[0])
        for left in range(0, reach.kernel[1], dilation[1])
    ]
