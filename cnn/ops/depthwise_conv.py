"""Convolution of each channel by itself: sums of shifted images, times a number for each channel.

Batch last, (channels, height, width, batch). A product for each channel would be as narrow as a kernel: XLA fuses these
sums and computes them in a fiftieth of its time.

The kernel's gradient sums products over all places, for each tap. Those that automatic differentiation writes XLA adds
one by one, or writes all products first; here several rows are added in one pass, and a fraction is left to sum.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, Float32

from cnn.ops.im2col import Slide, read
from cnn.ops.noinline import noinline
from cnn.ops.pooling import Maps, Pair, offsets

Kernel = Float[Array, "kernel_height kernel_width 1 features"]
Split = Float32[Array, "channels multiplier height width batch"]

_TERMS = 8
"""Of so many rows or more, where there are as many, the products are added in one pass."""


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def conv(images: Maps, kernel: Kernel, slide: Slide) -> Float[Array, "features out_height out_width batch"]:
    """Slides over each channel its own kernels; the features of a channel are neighbours.

    Args:
      images: padded already.
      kernel: of one input; sums are in float32.
      slide: how the window moves.
    """
    out = _taps_summed(images[:, None], _by_channel(kernel, images), slide)
    return out.reshape(-1, *out.shape[2:]).astype(images.dtype)


def _fwd(images: Maps, kernel: Kernel, slide: Slide) -> tuple[Maps, Any]:
    return conv(images, kernel, slide), (images, kernel)


def _bwd(slide: Slide, residuals: tuple[Maps, Kernel], grads: Maps) -> tuple[Maps, Kernel]:
    images, kernel = residuals
    split = grads.reshape(len(images), -1, *grads.shape[1:])
    height, width = images.shape[1:3]
    spread = _spread(slide, kernel.shape[:2], (height, width))(split)
    every_pixel = Slide((1, 1), slide.dilation, (height, width))
    image_grads = _taps_summed(spread, _by_channel(kernel, images), every_pixel, flipped=True).sum(1)
    kernel_grads = jnp.stack([_tap_grads(slide, tap)(images, split) for tap in offsets(kernel.shape[:2])])
    return image_grads.astype(images.dtype), kernel_grads.reshape(kernel.shape).astype(kernel.dtype)


conv.defvjp(_fwd, _bwd)


def _by_channel(kernel: Kernel, images: Maps) -> Float32[Array, "kernel_height kernel_width channels multiplier"]:
    return kernel.astype(jnp.float32).reshape(*kernel.shape[:2], len(images), -1)


def _taps_summed(
    maps: Float[Array, "channels some height width batch"],
    numbers: Float32[Array, "kernel_height kernel_width channels multiplier"],
    slide: Slide,
    *,
    flipped: bool = False,
) -> Split:
    window = numbers.shape[:2]
    # Taken in reverse; of an array that is turned round XLA would compile each tap for twice as long.
    taken = reversed(offsets(window)) if flipped else offsets(window)
    terms = []
    for tap, number in zip(offsets(window), taken, strict=True):
        rows, columns = read(slide, *tap)
        terms.append(numbers[number][..., None, None, None] * maps[:, :, rows, columns].astype(jnp.float32))
    return functools.reduce(jnp.add, terms)


@functools.cache
def _spread(slide: Slide, window: Pair, size: Pair) -> Callable[[jax.Array], jax.Array]:
    """Returns a function that spreads gradients to where their windows lie, for the flipped kernel to slide over."""
    pads = [
        (d * (k - 1), n - (o - 1) * s - 1, s - 1)
        for d, k, n, o, s in zip(slide.dilation, window, size, slide.out, slide.strides, strict=True)
    ]

    @noinline
    def spread(grads: Float[Array, "channels multiplier out_height out_width batch"]) -> jax.Array:
        return lax.pad(grads, jnp.zeros((), grads.dtype), ((0, 0, 0), (0, 0, 0), *pads, (0, 0, 0)))

    return spread


@functools.cache
def _tap_grads(slide: Slide, tap: Pair) -> Callable[[Maps, jax.Array], Float32[Array, "channels multiplier"]]:
    """Returns a function of images and gradients that gives those of one tap's numbers."""
    height = slide.out[0]
    size = max(1, height // _TERMS)
    whole = height // size * size
    seen = read(slide, *tap)

    def products(images: Maps, grads: jax.Array, first: int, last: int) -> Split:
        pixels = images[:, *seen][:, None, first:last]
        return pixels.astype(jnp.float32) * grads[:, :, first:last].astype(jnp.float32)

    @noinline
    def rows(images: Maps, grads: jax.Array) -> Split:
        return functools.reduce(jnp.add, (products(images, grads, at, at + size) for at in range(0, whole, size)))

    def tap_grads(images: Maps, grads: jax.Array) -> jax.Array:
        total = rows(images, grads).sum((2, 3, 4))
        return total + products(images, grads, whole, height).sum((2, 3, 4)) if whole < height else total

    return tap_grads
