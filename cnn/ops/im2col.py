"""Convolution as matrix products of shifted images; batch last, (channels, height, width, batch)."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from cnn.ops.noinline import noinline
from cnn.ops.pooling import Pair, places

Maps = Float[Array, "channels height width batch"]
Kernel = Float[Array, "kernel_height kernel_width channels features"]


class Slide(NamedTuple):
    """How a window moves over images that are padded already."""

    strides: Pair
    dilation: Pair
    out: Pair
    """How many places it has down and to the right."""


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
    """Transposes a matrix by itself: a product that were to read it so would be done by slower code."""
    return matrix.T


def im2col(images: Maps, window: tuple[int, ...], slide: Slide) -> Float[Array, "taps places"]:
    """Returns what each tap of the window reads, (window height x window width x channels, places)."""
    if window == (1, 1) and slide.strides == (1, 1):
        return images.reshape(images.shape[0], -1)
    return _shifted(slide, window)(images).reshape(window[0] * window[1] * images.shape[0], -1)


def col2im(columns: Float[Array, "taps places"], window: tuple[int, ...], slide: Slide, shape: tuple[int, ...]) -> Maps:
    """Transposes `shifted`: each pixel of images of this shape sums what the taps that read it give it."""
    return _unshifted(slide, window, shape[1:3])(columns.reshape(*window, shape[0], *slide.out, shape[3]))


@functools.cache
def _shifted(slide: Slide, window: tuple[int, ...]) -> Callable[[Maps], jax.Array]:
    # One stack of many slices is not merged with them, so that each would be written twice.
    @noinline
    def shifted(images: Maps) -> Float[Array, "kernel_height kernel_width channels out_height out_width batch"]:
        rows = [[_read(slide, row, column) for column in range(window[1])] for row in range(window[0])]
        return jnp.stack([jnp.stack([images[:, down, right] for down, right in taps]) for taps in rows])

    return shifted


@functools.cache
def _unshifted(slide: Slide, window: tuple[int, ...], size: tuple[int, ...]) -> Callable[[jax.Array], Maps]:
    @noinline
    def unshifted(grads: Float[Array, "kernel_height kernel_width channels out_height out_width batch"]) -> Maps:
        zero = jnp.zeros((), grads.dtype)

        def spread(tap: Pair) -> jax.Array:
            pads = [
                (d * k, n - d * k - (o - 1) * s - 1, s - 1)
                for d, k, n, o, s in zip(slide.dilation, tap, size, slide.out, slide.strides, strict=True)
            ]
            return lax.pad(grads[tap], zero, ((0, 0, 0), *pads, (0, 0, 0)))

        return functools.reduce(jnp.add, map(spread, places(window)))

    return unshifted


def _read(slide: Slide, row: int, column: int) -> tuple[slice, slice]:
    """Returns the pixels that one tap of the window reads."""
    rows, columns = (
        slice(d * k, d * k + (o - 1) * s + 1, s)
        for d, k, o, s in zip(slide.dilation, (row, column), slide.out, slide.strides, strict=True)
    )
    return rows, columns
