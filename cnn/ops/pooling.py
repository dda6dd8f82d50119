"""Pooling as slices and pairwise maxima or sums, for images whose axes 1 and 2 are height and width, or microbatches.

The gradient of `lax.reduce_window` costs a CPU sixteen times more than that of four slices, and is not deterministic
on every accelerator. Slices of a reshape would do for windows that do not overlap, but after batch normalisation and
tanh XLA for CPUs (jax 0.10.2) computes wrong gradients for those. Ties: the first of equal numbers, row by row, gets
the whole gradient.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, UInt8

from cnn.ops.layout import by_microbatch

Pair = tuple[int, int]
Padding = str | tuple[Pair, Pair]
"""`valid`, `same`, or the rows before and after the maps, and the columns."""
Maps = Float[Array, "outer height width inner"]


def max_pool(images: Maps, window: Pair, strides: Pair, padding: Padding = "valid") -> Maps:
    """Keeps the largest number of each window of each channel; padding never wins."""
    return by_microbatch(lambda images: _pool(images, window, strides, padding, larger, float("-inf")), images)


def avg_pool(images: Maps, window: Pair, strides: Pair, padding: Padding = "valid") -> Maps:
    """Averages each window of each channel; padding is not counted."""

    def average(images: Maps) -> Maps:
        total = _pool(images, window, strides, padding, jnp.add, 0.0)
        if padding == "valid":
            return total / (window[0] * window[1])
        ones = jnp.ones((1, *images.shape[1:3], 1), images.dtype)
        return total / _pool(ones, window, strides, padding, jnp.add, 0.0)

    return by_microbatch(average, images)


def global_avg_pool(images: Maps) -> Float[Array, "outer inner"]:
    """Averages all pixels of each channel."""
    return by_microbatch(lambda images: images.mean((1, 2)), images)


def global_max_pool(images: Maps) -> Float[Array, "outer inner"]:
    """Keeps the largest pixel of each channel."""

    def largest(images: Maps) -> Float[Array, "outer inner"]:
        flat = images.reshape(images.shape[0], -1, images.shape[3])
        first = lax.broadcasted_iota(jnp.int32, flat.shape, 1) == jnp.argmax(flat, axis=1, keepdims=True)
        return jnp.where(first, flat, 0).sum(axis=1)

    return by_microbatch(largest, images)


@jax.custom_jvp
def larger(first: jax.Array, second: jax.Array) -> jax.Array:
    """Returns the larger number, NaN where either is; the gradient of a tie goes to the first."""
    return jnp.maximum(first, second)


@larger.defjvp
def _larger_jvp(primals: tuple[jax.Array, ...], tangents: tuple[jax.Array, ...]) -> tuple[jax.Array, jax.Array]:
    return larger(*primals), jnp.where(primals[1] > primals[0], tangents[1], tangents[0])


def pairwise(combine: Callable[..., jax.Array], parts: list[jax.Array]) -> jax.Array:
    """Combines neighbours, then their results, until one is left."""
    while len(parts) > 1:
        parts = [combine(*parts[i : i + 2]) if i + 1 < len(parts) else parts[i] for i in range(0, len(parts), 2)]
    return parts[0]


def argmax(parts: list[jax.Array]) -> UInt8[Array, "..."]:
    """Returns the index of the largest of the parts, of the first of equal ones."""
    # Never by equality with a maximum computed elsewhere: XLA may round parts that are summed again otherwise.
    largest, index = parts[0], jnp.zeros(parts[0].shape, jnp.uint8)
    for number, part in enumerate(parts[1:], 1):
        index = jnp.where(part > largest, jnp.uint8(number), index)
        largest = jnp.maximum(largest, part)
    return index


def unpool(grads: jax.Array, index: UInt8[Array, "..."], parts: int) -> list[jax.Array]:
    """Returns the gradient of each of the parts: all of it where `argmax` named the part, zero elsewhere."""
    return [jnp.where(index == number, grads, 0) for number in range(parts)]


def offsets(window: tuple[int, ...]) -> list[Pair]:
    """Returns the row and column of each pixel of a window, row by row."""
    return [(row, column) for row in range(window[0]) for column in range(window[1])]


def shifts(images: Maps, window: Pair, strides: Pair, height: int, width: int) -> list[jax.Array]:
    """Returns, for each pixel of the window, row by row, the numbers that height x width windows have there."""
    down, right = strides
    return [
        images[:, row : row + (height - 1) * down + 1 : down, column : column + (width - 1) * right + 1 : right]
        for row, column in offsets(window)
    ]


def _pool(
    images: Maps, window: Pair, strides: Pair, padding: Padding, combine: Callable[..., jax.Array], fill: float
) -> Maps:
    if padding != "valid":
        pads: Any = padding
        if padding == "same":
            pads = lax.padtype_to_pads(images.shape[1:3], window, strides, "SAME")
        if any(before or after for before, after in pads):
            images = jnp.pad(images, ((0, 0), *pads, (0, 0)), constant_values=fill)
    height, width = ((n - k) // s + 1 for n, k, s in zip(images.shape[1:3], window, strides, strict=True))
    return pairwise(combine, shifts(images, window, strides, height, width))
