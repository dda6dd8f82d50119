"""Convolution, pooling and dense products, as the hardware at hand runs them fastest.

Two layouts. `NHWC` (batch, height, width, channels) is plain: `lax.conv`, what accelerators want, and the oracle of the
rest. `CHWN` (channels, height, width, batch) is for CPUs: whatever the number of channels, the innermost axis is long,
every step of a window is a contiguous copy, and all products of a convolution are matrix products that need no
transposing. `choose` says which convolution is computed how. Height and width are axes 1 and 2 in both.

A CPU that is asked for bfloat16 multiplies numbers that are rounded to it and sums in float32, see `cnn.ops.mixed`. One
with units for bfloat16 computes products of some size by them, all else by the functions of float32.
"""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from cnn.ops import depthwise_conv, direct_conv, im2col, mixed, winograd
from cnn.ops.layout import by_microbatch
from cnn.ops.pooling import Maps, Padding, Pair, max_pool
from cnn.system import compile_times, environment

Kernel = Float[Array, "kernel_height kernel_width group_channels features"]

_FEW = 128
"""The most products of a sum that is written out."""
LEAST = 2**18
"""The fewest multiply-accumulates of an example that are computed by units for bfloat16.

The 389,376 of the lesson's first layer gained by them, the 240,000 of LeNet-5's second, its largest, did not: what lies
between small products takes the time, and rounding them in passes of their own would add to it.
"""


class Window(NamedTuple):
    """How the kernels of a convolution slide.

    Attributes:
      strides: how far the window moves, in pixels.
      padding: `valid` reads only whole windows; `same` pads with zeros to ceil(size / stride) outputs, the odd one
        at the end; or zeros before and after the rows, and the columns.
      dilation: the distance of two neighbouring numbers of the window, in pixels.
      groups: the channels are split into so many parts, each seen by its own share of the features.
    """

    strides: Pair = (1, 1)
    padding: Padding = "valid"
    dilation: Pair = (1, 1)
    groups: int = 1

    @property
    def plain(self) -> bool:
        """Whether it moves by single pixels and sees neighbouring pixels of all channels."""
        return self.strides == self.dilation == (1, 1) and self.groups == 1


class Pool(NamedTuple):
    """How maximum pooling slides, as `max_pool` takes it."""

    window: Pair
    strides: Pair
    padding: Padding = "valid"


def choose(kernel: Kernel, window: Window, pool: Pair | None, layout: str, *, units: bool = False) -> str:
    """Returns how a convolution is computed, and with it the maximum pooling by `pool` pixels that may follow.

    Args:
      kernel: one filter for each feature.
      window: how they slide.
      pool: what is pooled together, if anything.
      layout: that of the images.
      units: whether units for bfloat16 compute the products.

    Returns:
      `lax`, `winograd`, `direct`, `im2col` or, with units alone, `columns`; `direct` only with pooling.
    """
    height, width, channels, features = kernel.shape
    if layout == "NHWC":
        return "lax"
    if window.plain and pool is not None and height * width * channels * pool[0] * pool[1] <= _FEW:
        return "direct"
    if units:
        # Fewer numbers than eight times the width of the window would be too narrow a product.
        return "columns" if window.strides == (1, 1) and height > 1 and channels >= 8 else "im2col"
    # In bfloat16 the transforms would lose what the products keep; with few channels they cost more than they save.
    transforms = min(channels, features) >= 8 and kernel.dtype == jnp.float32
    # Of a step of the cifar10 config they are two thirds of what XLA compiles.
    if window.plain and (height, width) == (3, 3) and transforms and not compile_times.is_quick():
        return "winograd"
    return "im2col"


def conv(images: Maps, kernel: Kernel, window: Window = Window(), *, layout: str = "NHWC") -> Maps:  # noqa: B008
    """Slides the kernels over the images, unflipped, and sums the products of each window.

    Args:
      images: any scale; in the layout `CHWN` they may be microbatches along one more axis, the first.
      kernel: one filter for each feature.
      window: how they slide.
      layout: that of the images, and of what is returned.
    """
    return by_microbatch(lambda images: _conv(images, kernel, window, layout), images)


def _conv(images: Maps, kernel: Kernel, window: Window, layout: str) -> Maps:
    if _by_units(images, kernel, window, layout):
        if choose(kernel, window, None, layout, units=True) == "columns":
            return mixed.conv(images, kernel, _pads(images, kernel, window), window.dilation)
        images = _padded(images, kernel, window)
        return mixed.im2col_conv(images, kernel, _slide(images, kernel, window))
    compute = functools.partial(_in_float32, window=window, layout=layout)
    return _rounded_if_asked(compute)(images, kernel)


def _in_float32(images: Maps, kernel: Kernel, window: Window, layout: str) -> Maps:
    method = choose(kernel, window, None, layout)
    if method == "lax":
        return _lax_conv(images, kernel, window, layout)
    images = _padded(images, kernel, window)
    if method == "winograd":
        return winograd.conv(images, kernel)
    slide = _slide(images, kernel, window)
    if window.groups == 1:
        return im2col.conv(images, kernel, slide)
    parts = images.reshape(window.groups, -1, *images.shape[1:])
    kernels = kernel.reshape(*kernel.shape[:3], window.groups, -1)
    out = jax.vmap(lambda part, kernel: im2col.conv(part, kernel, slide), (0, 3))(parts, kernels)
    return out.reshape(-1, *out.shape[2:])


def depthwise(images: Maps, kernel: Kernel, window: Window, *, layout: str = "NHWC") -> Maps:
    """Slides over each channel the kernels of that channel alone, as `conv` does with as many groups as channels.

    Args:
      images: as `conv` takes them.
      kernel: of one input; the features of a channel are neighbours.
      window: how they slide.
      layout: that of the images, and of what is returned.
    """

    def compute(images: Maps, kernel: Kernel) -> Maps:
        # A sum for each of 49 taps compiles four times as long as a `lax.conv`, which computes slower.
        if layout == "NHWC" or compile_times.is_quick():
            return _lax_conv(images, kernel, window, layout)
        images = _padded(images, kernel, window)
        return depthwise_conv.conv(images, kernel, _slide(images, kernel, window))

    return by_microbatch(lambda images: _rounded_if_asked(compute)(images, kernel), images)


def conv_max_pool(
    images: Maps,
    kernel: Kernel,
    window: Window,
    pool: Pool,
    *,
    layout: str = "NHWC",
) -> Maps:
    """Convolves and keeps the largest number of each window of outputs of each feature.

    Args:
      images: as `conv` takes them.
      kernel: one filter for each feature.
      window: how they slide.
      pool: how the maximum is taken.
      layout: that of the images, and of what is returned.
    """
    return by_microbatch(lambda images: _conv_max_pool(images, kernel, window, pool, layout), images)


def _conv_max_pool(images: Maps, kernel: Kernel, window: Window, pool: Pool, layout: str) -> Maps:
    together = pool.window == pool.strides and pool.padding == "valid"
    units = _by_units(images, kernel, window, layout)
    method = choose(kernel, window, pool.window if together else None, layout, units=units)
    if method == "direct":
        images = _padded(images, kernel, window)
        compute = functools.partial(direct_conv.conv_max_pool, window=pool.window, bfloat16=units)
        return (compute if units else _rounded_if_asked(compute))(images, kernel)
    if method == "winograd" and together and pool.window == (2, 2):
        images = _padded(images, kernel, window)
        images = images[:, : images.shape[1] // 2 * 2, : images.shape[2] // 2 * 2]
        return _rounded_if_asked(winograd.conv_max_pool)(images, kernel)
    return max_pool(_conv(images, kernel, window, layout), *pool)


def dense(
    vectors: Float[Array, "batch inputs"], kernel: Float[Array, "inputs features"]
) -> Float[Array, "batch features"]:
    """Multiplies vectors by a matrix."""
    if mixed.rounds() and environment.bfloat16_units() and kernel.size >= LEAST:
        return mixed.dense(vectors, kernel)
    return _rounded_if_asked(jnp.matmul)(vectors, kernel)


def _rounded_if_asked(function: Callable[[jax.Array, jax.Array], jax.Array]) -> Callable[..., jax.Array]:
    return mixed.rounded(function) if mixed.rounds() else function


def _by_units(images: Maps, kernel: Kernel, window: Window, layout: str) -> bool:
    """Tells whether units for bfloat16 compute the products of a convolution."""
    if not mixed.rounds() or layout == "NHWC" or window.groups > 1 or not environment.bfloat16_units():
        return False
    places = zip(images.shape[1:3], _pads(images, kernel, window), _reach(kernel, window), window.strides, strict=True)
    return kernel.size * math.prod((n + sum(pads) - k) // s + 1 for n, pads, k, s in places) >= LEAST


def _lax_conv(images: Maps, kernel: Kernel, window: Window, layout: str) -> Maps:
    return lax.conv_general_dilated(
        images,
        kernel,
        window_strides=window.strides,
        padding=window.padding.upper() if isinstance(window.padding, str) else window.padding,
        rhs_dilation=window.dilation,
        feature_group_count=window.groups,
        dimension_numbers=(layout, "HWIO", layout),
    )


def _reach(kernel: Kernel, window: Window) -> Pair:
    height, width = ((k - 1) * d + 1 for k, d in zip(kernel.shape[:2], window.dilation, strict=True))
    return height, width


def _pads(images: Maps, kernel: Kernel, window: Window) -> mixed.Pads:
    if not isinstance(window.padding, str):
        return window.padding
    if window.padding == "valid":
        return (0, 0), (0, 0)
    rows, columns = lax.padtype_to_pads(images.shape[1:3], _reach(kernel, window), window.strides, "SAME")
    return rows, columns


def _padded(images: Maps, kernel: Kernel, window: Window) -> Maps:
    if window.padding == "valid":
        return images
    return jnp.pad(images, ((0, 0), *_pads(images, kernel, window), (0, 0)))


def _slide(images: Maps, kernel: Kernel, window: Window) -> im2col.Slide:
    height, width = (
        (n - k) // s + 1 for n, k, s in zip(images.shape[1:3], _reach(kernel, window), window.strides, strict=True)
    )
    return im2col.Slide(window.strides, window.dilation, (height, width))
