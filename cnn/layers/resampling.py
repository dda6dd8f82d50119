"""Maps made larger, and sums of weighted rows and columns."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import numpy as np
from etils import epy

from cnn.fields import Pair
from cnn.layers.base import NOT_KNOWN, Arrays, Layer, OnnxGraph, Reach, Reference, Shape, require_map
from cnn.registry import layer

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp

    from cnn.ops import layout as layouts


@layer
class Upsample(Layer):
    """A map with `factor` times as many rows and columns.

    With `nearest`, each number is repeated; with `bilinear`, each is made of the two nearest rows and columns by their
    distance, pixels being squares whose middles lie at 1/2, 3/2, ..., and the edge repeated (PyTorch's
    `align_corners=False`).
    """

    factor: Pair
    """Of rows and columns."""
    method: Literal["nearest", "bilinear"] = "nearest"
    """Whether numbers are repeated or interpolated."""

    def output(self, shape: Shape) -> Shape:
        height, width, channels = require_map(shape)
        return height * self.factor[0], width * self.factor[1], channels

    def formula(self, shape: Shape) -> str:
        sides = zip(shape, self.factor, strict=False)
        return ", ".join(dict.fromkeys(f"{n}*{factor} = {n * factor}" for n, factor in sides))

    def reach(self, shape: Shape) -> Reach | Literal["not known"] | None:
        return Reach((1, 1), (1, 1)) if self.factor == (1, 1) else NOT_KNOWN

    def apply(self, x: jax.Array, arrays: Arrays, layout: str) -> jax.Array:
        if self.method == "nearest":
            return layouts.by_microbatch(
                lambda images: images.repeat(self.factor[0], axis=1).repeat(self.factor[1], axis=2), x
            )

        return weighted(x, weights, self.factor)

    def reference(self, x: np.ndarray, arrays: Arrays) -> Reference:
        if self.method == "nearest":
            return Reference.exact(x.repeat(self.factor[0], axis=0).repeat(self.factor[1], axis=1))
        total, size = reference_weighted(x, weights, self.factor)
        # The two weights are rounded, and the terms that are not 0 are multiplied and added twice.
        return Reference.rounded(total, 8, size)

    def onnx(self, graph: OnnxGraph, x: str, arrays: Arrays, shape: Shape, path: str) -> str:
        scales = graph.array(f"{path}/scales", [1, 1, *self.factor])
        if self.method == "nearest":
            options = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        else:
            options = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        return graph.node("Resize", [x, "", scales], path, **options)


def weights(size: int, factor: int) -> np.ndarray:
    """Returns how much each of the size * factor numbers takes of each of so many, (size * factor, size)."""
    middles = np.clip((np.arange(size * factor) + 0.5) / factor - 0.5, 0, size - 1)
    return np.maximum(0.0, 1 - np.abs(middles[:, None] - np.arange(size)))


Weigh = Callable[[int, int], np.ndarray]
"""Returns how much each number that comes out takes of each of so many; the second argument is the layer's option."""


def weighted(x: jax.Array, weigh: Weigh, options: tuple[int, int]) -> jax.Array:
    """Returns maps whose rows are weighted sums of the rows, and whose columns are of the columns.

    Args:
      x: maps of any layout.
      weigh: the weights along one axis, from its length and its option.
      options: of rows and of columns.
    """

    def of(images: jax.Array) -> jax.Array:
        down, right = (jnp.asarray(weigh(*axis), x.dtype) for axis in zip(images.shape[1:3], options, strict=True))
        return jnp.einsum("Hh,Ww,ahwb->aHWb", down, right, images, precision="highest")

    return layouts.by_microbatch(of, x)


def reference_weighted(x: np.ndarray, weigh: Weigh, options: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Returns what `weighted` makes of one map, height x width x channels, and the same sums of absolute values."""
    down, right = (weigh(*axis) for axis in zip(x.shape[:2], options, strict=True))
    total, size = (np.einsum("Hh,Ww,hwc->HWc", down, right, each) for each in (x, np.abs(x)))
    return total, size
