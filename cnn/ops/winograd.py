"""3x3 convolutions with fewer products; batch last, (channels, height, width, batch).

Every block of inputs is transformed, and so is the kernel; products over the channels follow for each place of the
block; another transform makes the block of outputs. 36 products make 4x4 outputs, for which plain sums need 144; where
too much of the last blocks would lie outside of the map, 16 make 2x2.

A transform is done along the height, then along the width, each a call of its own: XLA would otherwise compute the
first again for every number of the second, which took three times as long.

Source:
  Lavin and Gray 2016, https://arxiv.org/abs/1509.09308, section 4.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from cnn.ops.im2col import matmul_nn, matmul_nt
from cnn.ops.noinline import noinline
from cnn.ops.winograd_forms import Form, Matrix, form_of

Maps = Float[Array, "channels height width batch"]
Kernel = Float[Array, "3 3 channels features"]
Places = list[list[jax.Array]]
"""One array, (channels, down, right, batch), for each row and column of a block."""


@jax.custom_vjp
def conv(images: Maps, kernel: Kernel) -> Float[Array, "features out_height out_width batch"]:
    """Slides the kernels over the images, whole windows only."""
    return _fwd(images, kernel)[0]


def _fwd(images: Maps, kernel: Kernel) -> tuple[Maps, Any]:
    height, width = (size - 2 for size in images.shape[1:3])
    form = form_of(height, width)
    products = _products(_kernels(form)(jnp.swapaxes(kernel, 2, 3)), _tiles(form, images))
    return _joined(products, form.outputs, form.step)[:, :height, :width], (images, kernel)


def _bwd(residuals: tuple[Maps, Kernel], grads: Maps) -> tuple[Maps, Kernel]:
    images, kernel = residuals
    form = form_of(*grads.shape[1:3])
    spread = _split(grads, _transposed(form.outputs), form.step, 0)
    kernel_grads = [
        [matmul_nt(_flat(tile), _flat(grad)) for tile, grad in zip(*rows, strict=True)]
        for rows in zip(_tiles(form, images), spread, strict=True)
    ]
    image_grads = _joined(_products(_kernels(form)(kernel), spread), _transposed(form.inputs), form.step)
    return image_grads[:, : images.shape[1], : images.shape[2]], _kernel_gradient(form)(kernel_grads)


conv.defvjp(_fwd, _bwd)


def _flat(places: jax.Array) -> Float[Array, "channels places"]:
    return places.reshape(places.shape[0], -1)


def _products(matrices: Places, places: Places) -> Places:
    """Multiplies what stands at each place by a matrix of its own."""
    shape = places[0][0].shape[1:]
    return [
        [matmul_nn(matrix, _flat(place)).reshape(-1, *shape) for matrix, place in zip(*rows, strict=True)]
        for rows in zip(matrices, places, strict=True)
    ]


def _transposed(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix, strict=True))


def _sums(matrix: Matrix, terms: Sequence[jax.Array]) -> list[jax.Array]:
    """Multiplies a matrix by a list of arrays."""

    def total(row: tuple[float, ...]) -> jax.Array:
        parts = [term if weight == 1 else weight * term for weight, term in zip(row, terms, strict=True) if weight]
        return functools.reduce(jnp.add, parts)

    return [total(row) for row in matrix]


def _tiles(form: Form, images: Maps) -> Places:
    return _split(images, form.inputs, form.step, 2)


def _split(maps: Maps, matrix: Matrix, step: int, more: int) -> Places:
    """Transforms the blocks of maps, so many pixels apart, first down, then to the right.

    Args:
      maps: zeros stand where the last blocks leave them.
      matrix: (places, pixels), along either axis.
      step: the distance of two blocks.
      more: how many pixels the last block has beyond its step.
    """
    counts = [-(-(size - more) // step) for size in maps.shape[1:3]]
    beyond = [step * count + more - size for count, size in zip(counts, maps.shape[1:3], strict=True)]
    if any(beyond):
        maps = jnp.pad(maps, ((0, 0), (0, beyond[0]), (0, beyond[1]), (0, 0)))
    return [_along(matrix, step, 2, counts[1])(row) for row in _along(matrix, step, 1, counts[0])(maps)]


@functools.cache
def _along(matrix: Matrix, step: int, axis: int, count: int) -> Callable[[Maps], list[jax.Array]]:
    @noinline
    def along(maps: Maps) -> list[jax.Array]:
        last = (count - 1) * step + 1
        return _sums(matrix, [_slice(maps, axis, pixel, pixel + last, step) for pixel in range(len(matrix[0]))])

    return along


def _slice(maps: Maps, axis: int, first: int, end: int, step: int) -> jax.Array:
    return jax.lax.slice_in_dim(maps, first, end, step, axis)


def _joined(places: Places, matrix: Matrix, step: int) -> Maps:
    """Transforms places into blocks, so many pixels apart, and sums these where they overlap.

    Args:
      places: of each block.
      matrix: (pixels, places), along either axis.
      step: the distance of two blocks.
    """
    rows = [_merged(_woven(matrix, step, 2)(row), 2) for row in places]
    return _merged(_woven(matrix, step, 1)(rows), 1)


def _merged(maps: jax.Array, axis: int) -> jax.Array:
    return maps.reshape(*maps.shape[:axis], -1, *maps.shape[axis + 2 :])


@functools.cache
def _woven(matrix: Matrix, step: int, axis: int) -> Callable[[list[jax.Array]], jax.Array]:
    @noinline
    def woven(places: list[jax.Array]) -> jax.Array:
        pixels = _sums(matrix, places)
        if len(pixels) > step:
            overlapping = [pixels[first::step] for first in range(step)]
            pixels = [
                functools.reduce(jnp.add, [_moved(maps, axis, block) for block, maps in enumerate(pixel)])
                for pixel in overlapping
            ]
        return jnp.stack(pixels, axis + 1)

    return woven


def _moved(maps: jax.Array, axis: int, before: int) -> jax.Array:
    """Returns maps that are longer by one along an axis, with zeros before or after them."""
    return jnp.pad(maps, [(before, 1 - before) if each == axis else (0, 0) for each in range(maps.ndim)])


@functools.cache
def _kernels(form: Form) -> Callable[[Float[Array, "3 3 a b"]], Places]:
    @noinline
    def kernels(kernel: Float[Array, "3 3 a b"]) -> Places:
        rows = _sums(form.kernel, list(kernel))
        return [_sums(form.kernel, list(row)) for row in rows]

    return kernels


@functools.cache
def _kernel_gradient(form: Form) -> Callable[[Places], Kernel]:
    """Transposes `_kernels`."""
    matrix = _transposed(form.kernel)

    @noinline
    def gradient(grads: Places) -> Kernel:
        rows = [jnp.stack(_sums(matrix, row)) for row in grads]
        return jnp.stack(_sums(matrix, rows))

    return gradient
