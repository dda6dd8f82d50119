"""How the window of a convolution or a pooling slides over a map: sizes, padding, and what it reads."""

import math
from collections.abc import Iterable
from typing import Literal

import numpy as np

from cnn.layers.base import LayerError, Reach, Shape, show

Padding = Literal["valid", "same"]
Pair = tuple[int, int]


def slide(shape: Shape, reach: Reach, padding: str) -> Pair:
    """Returns the height and width that a sliding window makes of a map.

    Raises:
      LayerError: with valid padding, the window is larger than the map.
    """
    if padding == "valid" and any(k > n for n, k in zip(shape, reach.kernel, strict=False)):
        raise LayerError(
            f"does not fit the {shape[0]}x{shape[1]} map: its window is {show(reach.kernel)}. "
            'Use a smaller window, padding="same", or fewer layers that shrink the map before it'
        )
    height, width = (
        (n - k) // s + 1 if padding == "valid" else -(-n // s)
        for n, k, s in zip(shape, reach.kernel, reach.strides, strict=False)
    )
    return height, width


def slide_formula(shape: Shape, reach: Reach, padding: str) -> str:
    """Returns the arithmetic of `slide`, once where both axes agree: `28-3+1 = 26`."""
    sides = zip(shape, reach.kernel, reach.strides, slide(shape, reach, padding), strict=False)
    return once(f"{_side(n, k, s, padding)} = {out}" for n, k, s, out in sides)


def _side(n: int, k: int, s: int, padding: str) -> str:
    if padding == "same":
        return f"ceil({n}/{s})"
    if s == 1:
        return f"{n}-{k}+1"
    if k == s:
        return f"floor({n}/{s})" if n % s else f"{n}/{s}"
    return f"floor(({n}-{k})/{s})+1"


def once(texts: Iterable[str]) -> str:
    """Returns different texts, each once, with commas between them."""
    return ", ".join(dict.fromkeys(texts))


def pads(shape: Shape, reach: Reach, padding: str) -> tuple[Pair, Pair]:
    """Returns the rows added before and after a map, and the columns, as XLA pads: the odd one at the end."""
    if padding == "valid":
        return (0, 0), (0, 0)
    sizes = zip(shape, reach.kernel, reach.strides, strict=False)
    rows, columns = (max((math.ceil(n / s) - 1) * s + k - n, 0) for n, k, s in sizes)
    return (rows // 2, rows - rows // 2), (columns // 2, columns - columns // 2)


def patches(
    x: np.ndarray, reach: Reach, padding: str, *, dilation: Pair = (1, 1), fill: float = 0.0
) -> list[np.ndarray]:
    """Returns for each pixel of the window, row by row, what all windows of one image read there.

    Args:
      x: height x width x channels.
      reach: of the window, with its dilation.
      padding: valid or same.
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
