"""Convolution of few channels and the maximum pooling after it, as sums of shifted images times scalars.

Batch last, (channels, height, width, batch). A product of matrices would be as narrow as the kernel here; and the map
between the two, far larger than what goes in and comes out, is never stored.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from cnn.ops import im2col as float32
from cnn.ops import mixed
from cnn.ops.im2col import Slide, as_bits, as_numbers, col2im, im2col
from cnn.ops.noinline import noinline
from cnn.ops.pooling import Pair, argmax, offsets, shifts, unpool

Maps = Float[Array, "channels height width batch"]
Kernel = Float[Array, "kernel_height kernel_width channels features"]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv_max_pool(
    images: Maps, kernel: Kernel, window: Pair, bfloat16: bool
) -> Float[Array, "features down right batch"]:
    """Convolves, then keeps the largest of each window of outputs; windows do not overlap.

    Args:
      images: padded already.
      kernel: any.
      window: how many outputs, down and to the right, of which one is kept.
      bfloat16: whether what is multiplied is rounded to bfloat16, and matrices are multiplied as such.
    """
    return _largest(window)(*_rounded(images, kernel, bfloat16))


def _fwd(images: Maps, kernel: Kernel, window: Pair, bfloat16: bool) -> tuple[Maps, Any]:
    images, kernel = _rounded(images, kernel, bfloat16)
    return _largest(window)(images, kernel), (images, kernel, _argmax(window)(images, kernel))


def _bwd(window: Pair, bfloat16: bool, residuals: tuple[Maps, Kernel, jax.Array], grads: Maps) -> tuple[Maps, Kernel]:
    images, kernel, index = residuals
    taps, outputs = _taps(kernel, window), window[0] * window[1]
    slide = Slide(window, (1, 1), (grads.shape[1], grads.shape[2]))
    matmul_nn, matmul_nt, narrow = float32.matmul_nn, float32.matmul_nt, lambda x: x
    if bfloat16:
        matmul_nn, matmul_nt, narrow = mixed.matmul_nn, mixed.matmul_nt, mixed.narrow
    spread = _unpool(outputs, bfloat16)(grads, index).reshape(outputs * kernel.shape[3], -1)
    products = matmul_nt(spread, im2col(narrow(images), taps, slide)).reshape(outputs, -1, *taps, images.shape[0])
    kernel_grads = sum(
        products[number, :, row : row + kernel.shape[0], column : column + kernel.shape[1]]
        for number, (row, column) in enumerate(offsets(window))
    )
    # The kernel as each output of a window lays it over all that the window reads.
    laid = jnp.stack(
        [
            jnp.pad(kernel, ((row, window[0] - 1 - row), (column, window[1] - 1 - column), (0, 0), (0, 0)))
            for row, column in offsets(window)
        ],
        axis=3,
    )
    columns = matmul_nn(narrow(laid.reshape(-1, spread.shape[0])), spread)
    return col2im(columns, taps, slide, images.shape), jnp.moveaxis(kernel_grads, 0, -1)


conv_max_pool.defvjp(_fwd, _bwd)


def _rounded(images: Maps, kernel: Kernel, bfloat16: bool) -> tuple[Maps, Kernel]:
    return (mixed.round_off(images), mixed.round_off(kernel)) if bfloat16 else (images, kernel)


def _taps(kernel: Kernel, window: Pair) -> Pair:
    """Returns the height and width of what one window of outputs reads."""
    return kernel.shape[0] + window[0] - 1, kernel.shape[1] + window[1] - 1


def _outputs(images: Maps, kernel: Kernel, window: Pair) -> list[jax.Array]:
    """Returns the convolution at each pixel of the pooling windows, summed in float32."""
    images, kernel = images.astype(jnp.float32), kernel.astype(jnp.float32)
    taps = _taps(kernel, window)
    down, right = ((n - t) // w + 1 for n, t, w in zip(images.shape[1:3], taps, window, strict=True))
    read = shifts(images, taps, window, down, right)

    def output(row: int, column: int) -> jax.Array:
        return functools.reduce(
            jnp.add,
            (
                kernel[i, j, channel][:, None, None, None] * read[taps[1] * (row + i) + column + j][channel]
                for i in range(kernel.shape[0])
                for j in range(kernel.shape[1])
                for channel in range(kernel.shape[2])
            ),
        )

    return [output(*offset) for offset in offsets(window)]


@functools.cache
def _largest(window: Pair) -> Callable[[Maps, Kernel], Maps]:
    @noinline
    def largest(images: Maps, kernel: Kernel) -> Maps:
        return functools.reduce(jnp.maximum, _outputs(images, kernel, window)).astype(images.dtype)

    return largest


@functools.cache
def _argmax(window: Pair) -> Callable[[Maps, Kernel], jax.Array]:
    # Summed again: writing all outputs down for both would take longer.
    @noinline
    def index(images: Maps, kernel: Kernel) -> UInt8[Array, "features down right batch"]:
        return argmax(_outputs(images, kernel, window))

    return index


@functools.cache
def _unpool(outputs: int, bfloat16: bool) -> Callable[[Maps, jax.Array], jax.Array]:
    # Written in bfloat16 at once: the largest array of all, in which one number of each window is not zero.
    @noinline
    def spread(grads: Maps, index: jax.Array) -> Float[Array, "outputs features down right batch"]:
        given = as_bits(grads.astype(jnp.bfloat16)) if bfloat16 else grads
        return as_numbers(jnp.stack(unpool(given, index, outputs)))

    return spread
