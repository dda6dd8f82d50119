"""Products of bfloat16 with sums of float32, for CPUs; batch last, (channels, height, width, batch).

What is multiplied is rounded to bfloat16 just before, in both directions; what is summed, and all else, is float32. A
product of two bfloat16 is exact in float32, so that every way to compute it differs from every other by the order of
the sums alone: `rounded` takes a function of float32, and the rest are products for CPUs with units for bfloat16.

`conv` stacks the taps of a window along the width only, as columns, in bfloat16. Along the height each tap makes
outputs of its own, which are added in float32 after the product: a 3x3 window is copied three times instead of nine.
Its gradients need one stack of the incoming gradient, along the height, for the images and for the kernel. All products
are of two matrices as they are, or of one and the other's transpose: XLA computes the third kind by slower code.
"""

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, BFloat16, Float

from cnn.ops.im2col import Slide, as_bits, as_numbers, col2im, im2col
from cnn.ops.noinline import noinline
from cnn.ops.pooling import Pair

Maps = Float[Array, "channels height width batch"]
Kernel = Float[Array, "kernel_height kernel_width channels features"]
Pads = tuple[Pair, Pair]
"""Rows above and below, columns to the left and to the right."""

_ROUNDS: ContextVar[bool] = ContextVar("rounds", default=False)


@contextmanager
def products_of(dtype: Any, platform: str) -> Iterator[Any]:
    """Rounds what is multiplied to bfloat16 in what is traced meanwhile, on a CPU that is asked for bfloat16.

    Yields:
      The type of what lies between the products: float32 there, else `dtype`.
    """
    here = platform == "cpu" and dtype == jnp.bfloat16
    token = _ROUNDS.set(here)
    try:
        yield jnp.float32 if here else dtype
    finally:
        _ROUNDS.reset(token)


def rounds() -> bool:
    """Tells whether what is traced now rounds what it multiplies."""
    return _ROUNDS.get()


def rounded(function: Callable[[jax.Array, jax.Array], jax.Array]) -> Callable[[jax.Array, jax.Array], jax.Array]:
    """Returns the function of rounded numbers, whose gradients are made of a rounded gradient.

    Args:
      function: linear in both of its arguments, but for choosing a maximum.
    """

    @jax.custom_vjp
    def compute(images: jax.Array, kernel: jax.Array) -> jax.Array:
        return function(round_off(images), round_off(kernel))

    def forward(images: jax.Array, kernel: jax.Array) -> tuple[jax.Array, Any]:
        return jax.vjp(function, round_off(images), round_off(kernel))

    def backward(function_vjp: Any, grads: jax.Array) -> tuple[jax.Array, jax.Array]:
        return function_vjp(round_off(grads))

    compute.defvjp(forward, backward)
    return compute


def round_off(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns float32 with the eight bits of bfloat16; XLA would drop a cast to bfloat16 and back."""
    return lax.reduce_precision(x, exponent_bits=8, mantissa_bits=7)


def narrow(x: Float[Array, "..."]) -> BFloat16[Array, "..."]:
    """Rounds, in the pass that makes `x`. Stacks are no-inline calls, so that no copy is rounded anew."""
    return x.astype(jnp.bfloat16)


def matmul_nn(left: Float[Array, "a b"], right: Float[Array, "b c"]) -> Float[Array, "a c"]:
    """Multiplies two matrices of bfloat16."""
    return lax.dot_general(left, right, (((1,), (0,)), ((), ())), preferred_element_type=jnp.float32)


def matmul_nt(left: Float[Array, "a c"], right: Float[Array, "b c"]) -> Float[Array, "a b"]:
    """Multiplies one matrix of bfloat16 by the other's transpose."""
    return lax.dot_general(left, right, (((1,), (1,)), ((), ())), preferred_element_type=jnp.float32)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv(
    images: Maps, kernel: Kernel, pads: Pads, dilation: Pair
) -> Float[Array, "features out_height out_width batch"]:
    """Slides the kernels over the images, pixel by pixel; zeros stand around them."""
    return _conv_fwd(images, kernel, pads, dilation)[0]


def _conv_fwd(images: Maps, kernel: Kernel, pads: Pads, dilation: Pair) -> tuple[Maps, Any]:
    taps, features, (_, height, width, batch) = kernel.shape[:2], kernel.shape[3], images.shape
    out_height, out_width = (
        n + before + after - (k - 1) * d
        for n, (before, after), k, d in zip((height, width), pads, taps, dilation, strict=True)
    )
    images = narrow(images)
    columns = _columns(images, taps, pads, dilation, out_width)
    matrix = _transposed((0, 3, 1, 2))(kernel).reshape(taps[0] * features, -1)
    products = matmul_nn(matrix, columns).reshape(taps[0], features, height, out_width, batch)
    return _sum(1, pads[0][0], -dilation[0], out_height)(products), (images, kernel)


def _conv_bwd(pads: Pads, dilation: Pair, residuals: tuple[Maps, Kernel], grads: Maps) -> tuple[Maps, Kernel]:
    images, kernel = residuals
    taps, channels, features = kernel.shape[:2], *kernel.shape[2:]
    height, width, (out_width, batch) = *images.shape[1:3], grads.shape[2:]
    columns = _columns(images, taps, pads, dilation, out_width)
    rows = _stack(taps[0], 1, -pads[0][0], dilation[0], height)(narrow(grads)).reshape(taps[0] * features, -1)
    kernel_grads = matmul_nt(rows, columns).reshape(taps[0], features, taps[1], channels)
    matrix = _transposed((1, 2, 0, 3))(kernel).reshape(taps[1] * channels, -1)
    products = matmul_nn(matrix, rows).reshape(taps[1], channels, height, out_width, batch)
    image_grads = _sum(2, -pads[1][0], dilation[1], width)(products)
    return image_grads, jnp.transpose(kernel_grads, (0, 2, 3, 1))


conv.defvjp(_conv_fwd, _conv_bwd)


def _columns(
    images: Maps, taps: tuple[int, ...], pads: Pads, dilation: Pair, out_width: int
) -> BFloat16[Array, "taps places"]:
    """Returns what each tap along the width reads, in all rows: (window width x channels, places)."""
    columns = _stack(taps[1], 2, pads[1][0], -dilation[1], out_width)(images)
    return columns.reshape(taps[1] * images.shape[0], -1)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def im2col_conv(images: Maps, kernel: Kernel, slide: Slide) -> Float[Array, "features out_height out_width batch"]:
    """Slides the kernels over images that are padded already, as `cnn.ops.im2col.conv` does."""
    return _im2col_fwd(images, kernel, slide)[0]


def _im2col_fwd(images: Maps, kernel: Kernel, slide: Slide) -> tuple[Maps, Any]:
    features, images = kernel.shape[3], narrow(images)
    matrix = _transposed((3, 0, 1, 2))(kernel).reshape(features, -1)
    products = matmul_nn(matrix, im2col(images, kernel.shape[:2], slide))
    return products.reshape(features, *slide.out, images.shape[3]), (images, kernel)


def _im2col_bwd(slide: Slide, residuals: tuple[Maps, Kernel], grads: Maps) -> tuple[Maps, Kernel]:
    images, kernel = residuals
    features = kernel.shape[3]
    flat, columns = narrow(grads).reshape(features, -1), im2col(images, kernel.shape[:2], slide)
    kernel_grads = matmul_nt(columns, flat) if columns.shape[0] > features else matmul_nt(flat, columns).T
    products = matmul_nn(narrow(kernel).reshape(-1, features), flat)
    return col2im(products, kernel.shape[:2], slide, images.shape), kernel_grads.reshape(kernel.shape)


im2col_conv.defvjp(_im2col_fwd, _im2col_bwd)


@jax.custom_vjp
def dense(
    vectors: Float[Array, "batch inputs"], kernel: Float[Array, "inputs features"]
) -> Float[Array, "batch features"]:
    """Multiplies vectors by a matrix."""
    return _dense_fwd(vectors, kernel)[0]


def _dense_fwd(vectors: jax.Array, kernel: jax.Array) -> tuple[jax.Array, Any]:
    vectors, kernel = narrow(vectors), narrow(kernel)
    return matmul_nn(vectors, kernel), (vectors, kernel)


def _dense_bwd(residuals: tuple[jax.Array, jax.Array], grads: jax.Array) -> tuple[jax.Array, jax.Array]:
    vectors, kernel = residuals
    grads = narrow(grads)
    return matmul_nt(grads, kernel), matmul_nn(_transposed((1, 0))(vectors), grads)


dense.defvjp(_dense_fwd, _dense_bwd)


@functools.cache
def _transposed(axes: tuple[int, ...]) -> Callable[[jax.Array], BFloat16[Array, "..."]]:
    # In a call of its own, so that no product reads it transposed.
    return noinline(lambda x: jnp.transpose(x, axes).astype(jnp.bfloat16))


@functools.cache
def _stack(
    taps: int, axis: int, first: int, step: int, size: int
) -> Callable[[Maps], BFloat16[Array, "taps channels height width batch"]]:
    """Returns a function that stacks maps moved along an axis, by `first`, `first + step`, ... pixels.

    Each is cut, or filled up with zeros, to `size` pixels.
    """

    @noinline
    def stack(maps: Maps) -> jax.Array:
        bits = as_bits(maps)
        return as_numbers(jnp.stack([_moved(bits, axis, first + step * tap, size) for tap in range(taps)]))

    return stack


@functools.cache
def _sum(axis: int, first: int, step: int, size: int) -> Callable[[jax.Array], Maps]:
    """Returns a function that adds maps, each moved as in `_stack`."""

    @noinline
    def total(maps: Float[Array, "taps channels height width batch"]) -> Maps:
        moved = [_moved(maps[tap], axis, first + step * tap, size) for tap in range(len(maps))]
        return functools.reduce(jnp.add, moved)

    return total


def _moved(maps: Maps, axis: int, before: int, size: int) -> Maps:
    """Moves maps by so many pixels along an axis, cut or filled up with zeros to `size`."""
    pads = [(0, 0, 0)] * maps.ndim
    pads[axis] = (before, size - maps.shape[axis] - before, 0)
    return lax.pad(maps, jnp.zeros((), maps.dtype), pads)
