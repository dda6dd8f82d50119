"""Convolution by im2col: shifted images side by side, then one matrix product.

Batch last, (channels, height, width, batch). A matrix product is general matrix multiplication (GEMM) in BLAS's words,
`nn` of two matrices as they are, `nt` of one and the other's transpose.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from cnn.ops.noinline import noinline
from cnn.ops.pooling import Pair, offsets

Maps = Float[Array, "channels height width batch"]
Kernel = Float[Array, "kernel_height kernel_width channels features"]


class Slide(NamedTuple):
    """How a window moves over images that are padded already."""

    strides: Pair
    dilation: Pair
    out: Pair
    """How many outputs it makes down and to the right."""


def matmul_nn(left: Float[Array, "a b"], right: Float[Array, "b c"]) -> Float[Array, "a c"]:
    """Multiplies two matrices."""
    return lax.dot_general(left, right, (((1,), (0,)), ((), ())))


def matmul_nt(left: Float[Array, "a c"], right: Float[Array, "b c"]) -> Float[Array, "a b"]:
    """Multiplies one matrix by the other's transpose; fastest with the longer one on the left."""
    return lax.dot_general(left, right, (((1,), (1,)), ((), ())))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv(images: Maps, kernel: Kernel, slide: Slide) -> Float[Array, "features out_height out_width batch"]:
    """Slides the kernels over the images."""
    columns = im2col(images, kernel.shape[:2], slide)
    return matmul_nn(_across(kernel.reshape(-1, kernel.shape[3])), columns).reshape(-1, *slide.out, images.shape[3])


def _fwd(images: Maps, kernel: Kernel, slide: Slide) -> tuple[Maps, Any]:
    return conv(images, kernel, slide), (images, kernel)


def _bwd(slide: Slide, residuals: tuple[Maps, Kernel], grads: Maps) -> tuple[Maps, Kernel]:
    images, kernel = residuals
    features = kernel.shape[3]
    flat = grads.reshape(features, -1)
    columns = im2col(images, kernel.shape[:2], slide)
    kernel_grads = matmul_nt(columns, flat) if columns.shape[0] > features else matmul_nt(flat, columns).T
    image_grads = col2im(matmul_nn(kernel.reshape(-1, features), flat), kernel.shape[:2], slide, images.shape)
    return image_grads, kernel_grads.reshape(kernel.shape)


conv.defvjp(_fwd, _bwd)


@noinline
def _across(matrix: Float[Array, "a b"]) -> Float[Array, "b a"]:
    """Transposes a matrix in a call of its own: XLA would run a product that reads it transposed by slower code."""
    return matrix.T


def im2col(images: Maps, window: tuple[int, ...], slide: Slide) -> Float[Array, "taps places"]:
    """Returns what each tap of the window reads, (window height x window width x channels, places)."""
    if window == (1, 1) and slide.strides == (1, 1):
        return images.reshape(images.shape[0], -1)
    return _im2col(slide, window)(images).reshape(window[0] * window[1] * images.shape[0], -1)


def col2im(columns: Float[Array, "taps places"], window: tuple[int, ...], slide: Slide, shape: tuple[int, ...]) -> Maps:
    """Transposes `im2col`: each pixel of images of this shape sums what the taps that read it give it."""
    return _col2im(slide, window, shape[1:3])(columns.reshape(*window, shape[0], *slide.out, shape[3]))


@functools.cache
def _im2col(slide: Slide, window: tuple[int, ...]) -> Callable[[Maps], jax.Array]:
    # XLA does not fuse slices into one concatenation of many, but writes each twice: so stacks of a few.
    @noinline
    def columns_of(images: Maps) -> Float[Array, "kernel_height kernel_width channels out_height out_width batch"]:
        rows = [[read(slide, row, column) for column in range(window[1])] for row in range(window[0])]
        bits = as_bits(images)
        return as_numbers(jnp.stack([jnp.stack([bits[:, down, right] for down, right in taps]) for taps in rows]))

    return columns_of


@functools.cache
def _col2im(slide: Slide, window: tuple[int, ...], size: tuple[int, ...]) -> Callable[[jax.Array], Maps]:
    @noinline
    def images_of(grads: Float[Array, "kernel_height kernel_width channels out_height out_width batch"]) -> Maps:
        zero = jnp.zeros((), grads.dtype)

        def spread(tap: Pair) -> jax.Array:
            pads = [
                (d * k, n - d * k - (o - 1) * s - 1, s - 1)
                for d, k, n, o, s in zip(slide.dilation, tap, size, slide.out, slide.strides, strict=True)
            ]
            return lax.pad(grads[tap], zero, ((0, 0, 0), *pads, (0, 0, 0)))

        return functools.reduce(jnp.add, map(spread, offsets(window)))

    return images_of


def as_bits(x: jax.Array) -> jax.Array:
    """Returns bfloat16 as whole numbers of the same size, which XLA copies twice as fast, others as they are.

    Only within a no-inline call: elsewhere it would be a copy.
    """
    return lax.bitcast_convert_type(x, jnp.uint16) if x.dtype == jnp.bfloat16 else x


def as_numbers(x: jax.Array) -> jax.Array:
    """Undoes `as_bits`."""
    return lax.bitcast_convert_type(x, jnp.bfloat16) if x.dtype == jnp.uint16 else x


def read(slide: Slide, row: int, column: int) -> tuple[slice, slice]:
    """Returns the pixels that one tap of the window reads."""
    rows, columns = (
        slice(d * k, d * k + (o - 1) * s + 1, s)
        for d, k, o, s in zip(slide.dilation, (row, column), slide.out, slide.strides, strict=True)
    )
    return rows, columns
