"""Convolution, pooling and dense products on NHWC arrays.

Pooling is written as slices and pairwise maxima: the gradient of `lax.reduce_window` costs a CPU sixteen times more
than that of four slices, and is not deterministic on every accelerator. Ties: each pairwise maximum shares a tied
gradient equally between its two sides, pair with pair, so four equal numbers get a quarter each.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

Pair = tuple[int, int]
Images = Float[Array, "batch height width channels"]


def conv(
    images: Images,
    kernel: Float[Array, "kernel_height kernel_width group_channels features"],
    *,
    strides: Pair = (1, 1),
    padding: str = "valid",
    dilation: Pair = (1, 1),
    groups: int = 1,
) -> Images:
    """Slides the kernels over the images, unflipped, and sums the products of each window.

    Args:
      images: any scale.
      kernel: one filter for each feature.
      strides: how far the window moves, in pixels.
      padding: `valid` reads only whole windows; `same` pads with zeros to ceil(size / stride) outputs, the odd one
        at the end.
      dilation: the distance of two neighbouring numbers of the window, in pixels.
      groups: the channels are split into so many parts, each seen by its own share of the features.
    """
    return lax.conv_general_dilated(
        images,
        kernel,
        window_strides=strides,
        padding=padding.upper(),
        rhs_dilation=dilation,
        feature_group_count=groups,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def max_pool(images: Images, window: Pair, strides: Pair, padding: str = "valid") -> Images:
    """Keeps the largest number of each window of each channel; padding never wins."""
    return _pool(images, window, strides, padding, jnp.maximum, float("-inf"))


def avg_pool(images: Images, window: Pair, strides: Pair, padding: str = "valid") -> Images:
    """Averages each window of each channel; padding is not counted."""
    total = _pool(images, window, strides, padding, jnp.add, 0.0)
    if padding == "valid":
        return total / (window[0] * window[1])
    ones = jnp.ones((1, *images.shape[1:3], 1), images.dtype)
    return total / _pool(ones, window, strides, padding, jnp.add, 0.0)


def dense(
    vectors: Float[Array, "batch inputs"], kernel: Float[Array, "inputs features"]
) -> Float[Array, "batch features"]:
    """Multiplies vectors by a matrix."""
    return vectors @ kernel


def _pool(
    images: Images, window: Pair, strides: Pair, padding: str, combine: Callable[..., jax.Array], fill: float
) -> Images:
    if padding == "same":
        pads = lax.padtype_to_pads(images.shape[1:3], window, strides, "SAME")
        if any(before or after for before, after in pads):
            images = jnp.pad(images, ((0, 0), *pads, (0, 0)), constant_values=fill)
    height, width = ((n - k) // s + 1 for n, k, s in zip(images.shape[1:3], window, strides, strict=True))
    if window == strides:
        return _pairwise(combine, _blocks(images, window, height, width))
    return _pairwise(combine, _shifts(images, window, strides, height, width))


def _pairwise(combine: Callable[..., jax.Array], parts: list[jax.Array]) -> jax.Array:
    while len(parts) > 1:
        parts = [combine(*parts[i : i + 2]) if i + 1 < len(parts) else parts[i] for i in range(0, len(parts), 2)]
    return parts[0]


def _blocks(images: Images, window: Pair, height: int, width: int) -> list[jax.Array]:
    """Returns each place of the window, of windows that do not overlap: slices of a reshape, the fastest on a CPU."""
    batch, channels = images.shape[0], images.shape[3]
    read = images[:, : height * window[0], : width * window[1]]
    blocks = read.reshape(batch, height, window[0], width, window[1], channels)
    return [blocks[:, :, row, :, column] for row in range(window[0]) for column in range(window[1])]


def _shifts(images: Images, window: Pair, strides: Pair, height: int, width: int) -> list[jax.Array]:
    down, right = strides
    return [
        images[:, row : row + (height - 1) * down + 1 : down, column : column + (width - 1) * right + 1 : right]
        for row in range(window[0])
        for column in range(window[1])
    ]
