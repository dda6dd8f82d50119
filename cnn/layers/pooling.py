"""Pooling of windows, and of whole maps."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, ClassVar, Literal

import numpy as np
from etils import epy

from cnn.fields import Pair
from cnn.layers import window
from cnn.layers.base import (
    NOT_KNOWN,
    Arrays,
    Layer,
    LayerError,
    OnnxGraph,
    Reach,
    Reference,
    Shape,
    require_map,
    show,
)
from cnn.layers.resampling import reference_weighted, weighted
from cnn.layers.window import Padding
from cnn.registry import layer

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp

    from cnn.ops import layout as layouts
    from cnn.ops import pooling


class _SameAsWindow:
    def __repr__(self) -> str:
        return "window"


SAME_AS_WINDOW: Any = _SameAsWindow()


@dataclasses.dataclass(frozen=True)
class _Pool(Layer):
    onnx_operator: ClassVar[str]

    window: Pair
    """Height and width of the window."""
    strides: Pair = SAME_AS_WINDOW
    """How many pixels the window moves at a time, down and to the right; the window's own size by default."""
    padding: Padding = "valid"
    """Room around the map: none (valid), as much as keeps its size but for the strides (same), or so many pixels."""

    def __post_init__(self) -> None:
        if self.strides is SAME_AS_WINDOW:
            object.__setattr__(self, "strides", self.window)

    def output(self, shape: Shape) -> Shape:
        _, _, channels = require_map(shape)
        if not isinstance(self.padding, str) and any(
            max(pads) >= side for pads, side in zip(self.padding, self.window, strict=True)
        ):
            raise LayerError(
                f"has windows of nothing but padding, which must be less than the window's {show(self.window)} pixels"
            )
        return (*window.slide(shape, self.reach(shape), self.padding), channels)

    def formula(self, shape: Shape) -> str:
        return window.slide_formula(shape, self.reach(shape), self.padding)

    def reach(self, shape: Shape) -> Reach:
        return window.reaching(shape, self.window, self.strides, self.padding)

    def onnx(self, graph: OnnxGraph, x: str, arrays: Arrays, shape: Shape, path: str) -> str:
        # By default an average does not count what is padded, as ours does not.
        (top, bottom), (left, right) = window.pads(shape, self.reach(shape), self.padding)
        pads = [top, left, bottom, right]
        return graph.node(self.onnx_operator, [x], path, kernel_shape=self.window, strides=self.strides, pads=pads)


@layer
class MaxPool(_Pool):
    """The largest number of each window; a window's padding never wins."""

    onnx_operator: ClassVar[str] = "MaxPool"

    def apply(self, x: jax.Array, arrays: Arrays, layout: str) -> jax.Array:
        return pooling.max_pool(x, self.window, self.strides, self.padding)

    def reference(self, x: np.ndarray, arrays: Arrays) -> Reference:
        return Reference.exact(np.max(window.patches(x, self.reach(x.shape), self.padding, fill=-np.inf), axis=0))


@layer
class AvgPool(_Pool):
    """The mean of each window; padding is not counted, as in Keras and unlike Flax's `nn.avg_pool`."""

    onnx_operator: ClassVar[str] = "AveragePool"

    def apply(self, x: jax.Array, arrays: Arrays, layout: str) -> jax.Array:
        return pooling.avg_pool(x, self.window, self.strides, self.padding)

    def reference(self, x: np.ndarray, arrays: Arrays) -> Reference:
        reach = self.reach(x.shape)
        patches = np.stack(window.patches(x, reach, self.padding))
        counts = np.sum(window.patches(np.ones_like(x), reach, self.padding), axis=0)
        return Reference.rounded(patches.sum(0) / counts, len(patches) + 1, np.abs(patches).sum(0) / counts)


@layer
class AdaptiveAvgPool(Layer):
    """The means of windows that are as many as `size` says, whatever the map's size; a map of that size as it is.

    Of n rows, window i of m is from floor(i n / m) to before ceil((i + 1) n / m): windows may overlap, and where m is
    more than n they repeat numbers. Columns alike. It is PyTorch's layer of the name, by which its VGGs see pictures of
    any size.
    """

    size: Pair
    """Rows and columns of what comes out."""

    def output(self, shape: Shape) -> Shape:
        return (*self.size, require_map(shape)[2])

    def formula(self, shape: Shape) -> str:
        return window.once(f"{n} -> {m}" for n, m in zip(shape, self.size, strict=False))

    def reach(self, shape: Shape) -> Reach | Literal["not known"] | None:
        rows, columns = zip(shape, self.size, strict=False)
        if any(n % m for n, m in (rows, columns)):
            return NOT_KNOWN
        sides = rows[0] // rows[1], columns[0] // columns[1]
        return Reach(sides, sides)

    def apply(self, x: jax.Array, arrays: Arrays, layout: str) -> jax.Array:
        height, width, _ = layouts.example_shape(x, layout)
        return x if (height, width) == self.size else weighted(x, _shares, self.size)

    def reference(self, x: np.ndarray, arrays: Arrays) -> Reference:
        if x.shape[:2] == self.size:
            return Reference.exact(x)
        total, size = reference_weighted(x, _shares, self.size)
        # The two shares are rounded, and each number is multiplied twice; then those of a window are added.
        return Reference.rounded(total, 4 + x.shape[0] + x.shape[1], size)

    def onnx(self, graph: OnnxGraph, x: str, arrays: Arrays, shape: Shape, path: str) -> str:
        down, right = (_shares(n, m) for n, m in zip(shape, self.size, strict=False))
        rows = graph.node("MatMul", [graph.array(f"{path}/down", down), x], f"{path}/rows")
        return graph.node("MatMul", [rows, graph.array(f"{path}/right", right.T)], path)


def _shares(size: int, windows: int) -> np.ndarray:
    """Returns how much the mean of each window takes of each of so many numbers, (windows, size)."""
    shares = np.zeros((windows, size))
    for index in range(windows):
        start, end = index * size // windows, -(-(index + 1) * size // windows)
        shares[index, start:end] = 1 / (end - start)
    return shares


@dataclasses.dataclass(frozen=True)
class _GlobalPool(Layer):
    onnx_operator: ClassVar[str]

    def output(self, shape: Shape) -> Shape:
        return (require_map(shape)[2],)

    def formula(self, shape: Shape) -> str:
        return f"{shape[0]}x{shape[1]} -> 1"

    def reach(self, shape: Shape) -> Reach | None:
        return None

    def onnx(self, graph: OnnxGraph, x: str, arrays: Arrays, shape: Shape, path: str) -> str:
        return graph.node("Flatten", [graph.node(self.onnx_operator, [x], f"{path}/map")], path)


@layer
class GlobalAvgPool(_GlobalPool):
    """The mean of each channel."""

    onnx_operator: ClassVar[str] = "GlobalAveragePool"

    def apply(self, x: jax.Array, arrays: Arrays, layout: str) -> jax.Array:
        return _as_vectors(pooling.global_avg_pool(x), layout)

    def reference(self, x: np.ndarray, arrays: Arrays) -> Reference:
        return Reference.rounded(x.mean((0, 1)), math.prod(x.shape[:2]) + 1, np.abs(x).mean((0, 1)))


@layer
class GlobalMaxPool(_GlobalPool):
    """The largest number of each channel."""

    onnx_operator: ClassVar[str] = "GlobalMaxPool"

    def apply(self, x: jax.Array, arrays: Arrays, layout: str) -> jax.Array:
        return _as_vectors(pooling.global_max_pool(x), layout)

    def reference(self, x: np.ndarray, arrays: Arrays) -> Reference:
        return Reference.exact(x.max((0, 1)))


def _as_vectors(pooled: jax.Array, layout: str) -> jax.Array:
    """Returns (batch, channels) of what is left of images, in `CHWN` (channels, batch), perhaps of microbatches."""
    return pooled if layout == "NHWC" else jnp.moveaxis(pooled, -1, -2).reshape(-1, pooled.shape[-2])
