"""3x3 convolutions with fewer products, by Winograd's algorithms; batch last, (channels, height, width, batch).

Along one axis, in the notation of Lavin and Gray: `At ((G g) * (Bt d))`. Every tile d of inputs is transformed by Bt,
and the kernel g by G; products over the channels follow for each place of the tile, and At makes the tile of outputs.
36 products make 4x4 outputs, for which plain sums need 144; where too much of the last tiles would lie outside of the
map, 16 make 2x2. With the maximum pooling of 2x2 after it, 16 make the four outputs of which one is kept.

`conv` does a transform along the height, then along the width, each a call of its own: XLA would otherwise compute the
first again for every number of the second, which took three times as long.

Exact in real numbers. In float32, a tile of 2x2 outputs errs as much as the plain sum, one of 4x4 three times as much:
the points at which the polynomials are evaluated, 0, ±sqrt(1/2), ±sqrt(2) and infinity, lose half of what the usual
0, ±1, ±2 and infinity lose.

Source:
  Lavin and Gray 2016, https://arxiv.org/abs/1509.09308, section 4; the construction is Cook's and Toom's.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from cnn.ops.im2col import matmul_nn, matmul_nt
from cnn.ops.noinline import noinline
from cnn.ops.pooling import argmax, shifts, unpool

Maps = Float[Array, "channels height width batch"]
Kernel = Float[Array, "3 3 channels features"]
Matrix = tuple[tuple[float, ...], ...]
Tiles = list[list[jax.Array]]
"""One array, (channels, down, right, batch), for each row and column of a tile."""
Block = list[jax.Array]
"""The same, row by row."""


class Form(NamedTuple):
    """One of the algorithms, F(step x step, 3x3), by its matrices along one axis.

    Attributes:
      step: outputs of a tile.
      Bt: of what inputs each place of a tile is made.
      G: of what numbers of a kernel each place is made.
      At: of what places each output is made.
    """

    step: int
    Bt: Matrix
    G: Matrix
    At: Matrix


_A, _B = 0.5**0.5, 2**0.5
F2 = Form(
    2,
    ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
    ((1, 0, 0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0, 0, 1)),
    ((1, 1, 1, 0), (0, 1, -1, -1)),
)
F4 = Form(
    4,
    (
        (1, 0, -2.5, 0, 1, 0),
        (0, -2 * _A, -2, _A, 1, 0),
        (0, 2 * _A, -2, -_A, 1, 0),
        (0, -_B / 2, -0.5, _B, 1, 0),
        (0, _B / 2, -0.5, -_B, 1, 0),
        (0, 1, 0, -2.5, 0, 1),
    ),
    (
        (1, 0, 0),
        (-2 / 3, -2 * _A / 3, -1 / 3),
        (-2 / 3, 2 * _A / 3, -1 / 3),
        (1 / 6, _B / 6, 1 / 3),
        (1 / 6, -_B / 6, 1 / 3),
        (0, 0, 1),
    ),
    ((1, 1, 1, 1, 1, 0), (0, _A, -_A, _B, -_B, 0), (0, 0.5, 0.5, 2, 2, 0), (0, _A / 2, -_A / 2, 2 * _B, -2 * _B, 1)),
)


def form_of(height: int, width: int) -> Form:
    """Returns the algorithm that makes a map of this size with the fewer products."""

    def products(form: Form) -> int:
        down, right = (-(-size // form.step) for size in (height, width))
        return down * right * len(form.Bt) ** 2

    return min(F2, F4, key=products)


@jax.custom_vjp
def conv(images: Maps, kernel: Kernel) -> Float[Array, "features out_height out_width batch"]:
    """Slides the kernels over the images, whole windows only."""
    return _conv_fwd(images, kernel)[0]


def _conv_fwd(images: Maps, kernel: Kernel) -> tuple[Maps, Any]:
    height, width = (size - 2 for size in images.shape[1:3])
    form = form_of(height, width)
    products = _products(_kernels(form)(jnp.swapaxes(kernel, 2, 3)), _tiles(form, images))
    return _joined(products, form.At, form.step)[:, :height, :width], (images, kernel)


def _conv_bwd(residuals: tuple[Maps, Kernel], grads: Maps) -> tuple[Maps, Kernel]:
    images, kernel = residuals
    form = form_of(*grads.shape[1:3])
    spread = _split(grads, _transposed(form.At), form.step, 0)
    kernel_grads = [
        [matmul_nt(_flat(tile), _flat(grad)) for tile, grad in zip(*rows, strict=True)]
        for rows in zip(_tiles(form, images), spread, strict=True)
    ]
    image_grads = _joined(_products(_kernels(form)(kernel), spread), _transposed(form.Bt), form.step)
    return image_grads[:, : images.shape[1], : images.shape[2]], _kernel_gradient(form)(kernel_grads)


conv.defvjp(_conv_fwd, _conv_bwd)


@jax.custom_vjp
def conv_max_pool(images: Maps, kernel: Kernel) -> Float[Array, "features down right batch"]:
    """Convolves, then keeps the largest of each 2x2 outputs; the map between them is never stored.

    Args:
      images: of even height and width, so that every output is read.
      kernel: any.
    """
    tiles = _pooled_tiles(images)
    return _largest(_pooled_products(tiles, kernel)).reshape(-1, *tiles[0].shape[1:])


def _conv_max_pool_fwd(images: Maps, kernel: Kernel) -> tuple[Maps, Any]:
    tiles = _pooled_tiles(images)
    largest, index = _largest_and_index(_pooled_products(tiles, kernel))
    return largest.reshape(-1, *tiles[0].shape[1:]), (images, kernel, index)


def _conv_max_pool_bwd(residuals: tuple[Maps, Kernel, jax.Array], grads: Maps) -> tuple[Maps, Kernel]:
    images, kernel, index = residuals
    spread = _unpooled(grads.reshape(index.shape), index)
    tiles, spread = _pooled_tiles(images), [_flat(grad) for grad in spread]
    _, down, right, batch = tiles[0].shape
    kernel_grads = [matmul_nt(_flat(tile), grad) for tile, grad in zip(tiles, spread, strict=True)]
    matrices = _row_by_row(_kernels(F2)(kernel))
    image_grads = [matmul_nn(matrix, grad) for matrix, grad in zip(matrices, spread, strict=True)]
    whole = _untiled([grad.reshape(-1, down, right, batch) for grad in image_grads])
    whole = whole.reshape(-1, 2 * down + 2, 2 * right + 2, batch)
    return whole[:, : images.shape[1], : images.shape[2]], _pooled_kernel_gradient(kernel_grads)


conv_max_pool.defvjp(_conv_max_pool_fwd, _conv_max_pool_bwd)


def _transposed(matrix: Matrix) -> Matrix:
    return tuple(zip(*matrix, strict=True))


def _sums(matrix: Matrix, terms: Sequence[jax.Array]) -> list[jax.Array]:
    """Multiplies a matrix by a list of arrays."""

    def total(row: tuple[float, ...]) -> jax.Array:
        (weight, term), *rest = [(weight, term) for weight, term in zip(row, terms, strict=True) if weight]
        result = term if weight == 1 else -term if weight == -1 else weight * term
        for weight, term in rest:
            result = result - term if weight == -1 else result + (term if weight == 1 else weight * term)
        return result

    return [total(row) for row in matrix]


def _flat(maps: jax.Array) -> Float[Array, "channels places"]:
    return maps.reshape(maps.shape[0], -1)


def _row_by_row(tiles: Tiles) -> Block:
    return [place for row in tiles for place in row]


def _products(matrices: Tiles, tiles: Tiles) -> Tiles:
    """Multiplies what stands at each place of the tiles by a matrix of its own."""
    shape = tiles[0][0].shape[1:]
    return [
        [matmul_nn(matrix, _flat(place)).reshape(-1, *shape) for matrix, place in zip(*rows, strict=True)]
        for rows in zip(matrices, tiles, strict=True)
    ]


def _tiles(form: Form, images: Maps) -> Tiles:
    return _split(images, form.Bt, form.step, 2)


def _split(maps: Maps, matrix: Matrix, step: int, more: int) -> Tiles:
    """Transforms the tiles of maps, so many pixels apart, first down, then to the right.

    Args:
      maps: zeros stand where the last tiles leave them.
      matrix: (places, pixels), along either axis.
      step: the distance of two tiles.
      more: how many pixels the last tile has beyond its step.
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
        pixels = [jax.lax.slice_in_dim(maps, pixel, pixel + last, step, axis) for pixel in range(len(matrix[0]))]
        return _sums(matrix, pixels)

    return along


def _joined(tiles: Tiles, matrix: Matrix, step: int) -> Maps:
    """Transforms places into tiles of pixels, so many pixels apart, and sums these where they overlap.

    Args:
      tiles: what stands at each place.
      matrix: (pixels, places), along either axis.
      step: the distance of two tiles.
    """
    rows = [_merged(_woven(matrix, step, 2)(row), 2) for row in tiles]
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
                functools.reduce(jnp.add, [_moved(maps, axis, tile) for tile, maps in enumerate(pixel)])
                for pixel in overlapping
            ]
        return jnp.stack(pixels, axis + 1)

    return woven


def _moved(maps: jax.Array, axis: int, before: int) -> jax.Array:
    """Returns maps that are longer by one along an axis, with zeros before or after them."""
    return jnp.pad(maps, [(before, 1 - before) if each == axis else (0, 0) for each in range(maps.ndim)])


@functools.cache
def _kernels(form: Form) -> Callable[[Float[Array, "3 3 a b"]], Tiles]:
    @noinline
    def kernels(kernel: Float[Array, "3 3 a b"]) -> Tiles:
        rows = _sums(form.G, list(kernel))
        return [_sums(form.G, list(row)) for row in rows]

    return kernels


@functools.cache
def _kernel_gradient(form: Form) -> Callable[[Tiles], Kernel]:
    """Transposes `_kernels`."""
    matrix = _transposed(form.G)

    @noinline
    def gradient(grads: Tiles) -> Kernel:
        rows = [jnp.stack(_sums(matrix, row)) for row in grads]
        return jnp.stack(_sums(matrix, rows))

    return gradient


def _pooled_products(tiles: Block, kernel: Kernel) -> Block:
    matrices = _row_by_row(_kernels(F2)(jnp.swapaxes(kernel, 2, 3)))
    return [matmul_nn(matrix, _flat(tile)) for matrix, tile in zip(matrices, tiles, strict=True)]


def _on_both_axes(transform: Callable[[list[jax.Array]], list[jax.Array]], size: int, block: Block) -> Block:
    """Transforms the columns of a size x size block, then the rows."""
    columns = [transform(block[column::size]) for column in range(size)]
    return [out for row in zip(*columns, strict=True) for out in transform(list(row))]


def _transform(matrix: Matrix, block: Block) -> Block:
    return _on_both_axes(functools.partial(_sums, matrix), len(matrix[0]), block)


@noinline
def _pooled_tiles(images: Maps) -> Block:
    """Returns the transformed 4x4 tiles, two pixels apart; zeros stand where the last ones leave the image."""
    down, right = ((size - 1) // 2 for size in images.shape[1:3])
    beyond = (2 * down + 2 - images.shape[1], 2 * right + 2 - images.shape[2])
    if any(beyond):
        images = jnp.pad(images, ((0, 0), (0, beyond[0]), (0, beyond[1]), (0, 0)))
    return _transform(F2.Bt, shifts(images, (4, 4), (2, 2), down, right))


@noinline
def _untiled(grads: Block) -> Float[Array, "channels down 2 right 2 batch"]:
    """Transposes `_pooled_tiles`: each pixel sums what the tiles that hold it give it."""
    tiles = _transform(_transposed(F2.Bt), grads)

    def pixels(row: int, column: int) -> jax.Array:
        given = [
            jnp.pad(tiles[4 * (row + 2 * i) + column + 2 * j], ((0, 0), (i, 1 - i), (j, 1 - j), (0, 0)))
            for i in (0, 1)
            for j in (0, 1)
        ]
        return functools.reduce(jnp.add, given)

    return jnp.stack([jnp.stack([pixels(row, column) for column in (0, 1)], 3) for row in (0, 1)], 2)


@noinline
def _pooled_kernel_gradient(grads: Block) -> Kernel:
    """Transposes `_kernels(F2)`: as `_kernel_gradient` does, but the two halves are added first."""

    def transform(g: list[jax.Array]) -> list[jax.Array]:
        return [g[0] + (g[1] + g[2]) / 2, (g[1] - g[2]) / 2, (g[1] + g[2]) / 2 + g[3]]

    taps = _on_both_axes(transform, 4, grads)
    return jnp.stack([jnp.stack(taps[row : row + 3]) for row in (0, 3, 6)])


@noinline
def _largest(products: Block) -> Float[Array, "features places"]:
    return functools.reduce(jnp.maximum, _transform(F2.At, products))


@noinline
def _largest_and_index(products: Block) -> tuple[Float[Array, "features places"], UInt8[Array, "features places"]]:
    outputs = _transform(F2.At, products)
    return functools.reduce(jnp.maximum, outputs), argmax(outputs)


@noinline
def _unpooled(grads: Float[Array, "features places"], index: UInt8[Array, "features places"]) -> Block:
    return _transform(_transposed(F2.At), unpool(grads, index, 4))
