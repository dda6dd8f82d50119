"""3x3 convolutions and the pooling of 2x2 after them; batch last, (channels, height, width, batch).

As `cnn.ops.winograd`, with 16 products for each 2x2 block of outputs instead of 36, of which maximum pooling keeps one:
the map between the two is never stored. In float32 the rounding is that of the plain sum.

Source:
  Lavin and Gray 2016, https://arxiv.org/abs/1509.09308, section 4.1, F(2x2, 3x3).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from cnn.ops.im2col import matmul_nn, matmul_nt
from cnn.ops.noinline import noinline
from cnn.ops.pooling import by_place, first_place, shifts

Maps = Float[Array, "channels height width batch"]
Kernel = Float[Array, "3 3 channels features"]
Matrix = Float[Array, "channels places"]
Places = list[jax.Array]
"""One array for each of the 16 places of a 4x4 block, or the 4 of a 2x2 block, row by row."""


@jax.custom_vjp
def conv_max_pool(images: Maps, kernel: Kernel) -> Float[Array, "features down right batch"]:
    """Convolves, then keeps the largest of each 2x2 outputs; the map between them is never stored.

    Args:
      images: of even height and width, so that every output is read.
      kernel: any.
    """
    tiles = _tiles(images)
    return _largest(_products(tiles, kernel)).reshape(-1, *tiles[0].shape[1:])


def _conv_max_pool_fwd(images: Maps, kernel: Kernel) -> tuple[Maps, Any]:
    tiles = _tiles(images)
    largest, place = _largest_and_place(_products(tiles, kernel))
    return largest.reshape(-1, *tiles[0].shape[1:]), (images, kernel, place)


def _conv_max_pool_bwd(residuals: tuple[Maps, Kernel, jax.Array], grads: Maps) -> tuple[Maps, Kernel]:
    images, kernel, place = residuals
    return _backwards(images, kernel, _spread_places(grads.reshape(place.shape), place))


conv_max_pool.defvjp(_conv_max_pool_fwd, _conv_max_pool_bwd)


def _products(tiles: Places, kernel: Kernel) -> list[Matrix]:
    return [matmul_nn(matrix, _flat(tile)) for matrix, tile in zip(_kernels(kernel, True), tiles, strict=True)]


def _backwards(images: Maps, kernel: Kernel, grads: Places) -> tuple[Maps, Kernel]:
    """Returns the gradients by images and kernel, from those by the 16 products."""
    tiles, grads = _tiles(images), [_flat(grad) for grad in grads]
    _, down, right, batch = tiles[0].shape
    kernel_grads = [matmul_nt(_flat(tile), grad) for tile, grad in zip(tiles, grads, strict=True)]
    image_grads = [matmul_nn(matrix, grad) for matrix, grad in zip(_kernels(kernel, False), grads, strict=True)]
    whole = _untiled([grad.reshape(-1, down, right, batch) for grad in image_grads])
    whole = whole.reshape(-1, 2 * down + 2, 2 * right + 2, batch)
    return whole[:, : images.shape[1], : images.shape[2]], _kernel_gradient(kernel_grads)


def _flat(places: jax.Array) -> Matrix:
    return places.reshape(places.shape[0], -1)


def _twice(transform: Any, size: int, places: Places) -> Places:
    """Transforms the columns of a size x size block, then the rows."""
    columns = [transform([places[size * row + column] for row in range(size)]) for column in range(size)]
    return [out for row in range(len(columns[0])) for out in transform([column[row] for column in columns])]


@noinline
def _tiles(images: Maps) -> Places:
    """Returns the transformed 4x4 blocks, two pixels apart; zeros stand where the last ones leave the image."""
    down, right = ((size - 1) // 2 for size in images.shape[1:3])
    beyond = (2 * down + 2 - images.shape[1], 2 * right + 2 - images.shape[2])
    if any(beyond):
        images = jnp.pad(images, ((0, 0), (0, beyond[0]), (0, beyond[1]), (0, 0)))
    return _twice(
        lambda d: [d[0] - d[2], d[1] + d[2], d[2] - d[1], d[1] - d[3]], 4, shifts(images, (4, 4), (2, 2), down, right)
    )


@noinline
def _untiled(grads: Places) -> Float[Array, "channels down 2 right 2 batch"]:
    """Transposes `_tiles`: each pixel sums what the blocks that hold it give it."""
    blocks = _twice(lambda d: [d[0], d[1] - d[2] + d[3], d[1] - d[0] + d[2], -d[3]], 4, grads)

    def pixels(row: int, column: int) -> jax.Array:
        given = [
            jnp.pad(blocks[4 * (row + 2 * i) + column + 2 * j], ((0, 0), (i, 1 - i), (j, 1 - j), (0, 0)))
            for i in (0, 1)
            for j in (0, 1)
        ]
        return functools.reduce(jnp.add, given)

    return jnp.stack([jnp.stack([pixels(row, column) for column in (0, 1)], 3) for row in (0, 1)], 2)


def _kernels(kernel: Kernel, transposed: bool) -> Places:
    """Returns the kernel at each place, (channels, features), or transposed."""
    return _kernel_transform(jnp.swapaxes(kernel, 2, 3) if transposed else kernel)


@noinline
def _kernel_transform(kernel: Kernel) -> Places:
    taps = [kernel[row, column] for row in range(3) for column in range(3)]
    return _twice(lambda g: [g[0], (g[0] + g[1] + g[2]) / 2, (g[0] - g[1] + g[2]) / 2, g[2]], 3, taps)


@noinline
def _kernel_gradient(grads: Places) -> Kernel:
    """Transposes `_kernel_transform`."""
    taps = _twice(lambda g: [g[0] + (g[1] + g[2]) / 2, (g[1] - g[2]) / 2, (g[1] + g[2]) / 2 + g[3]], 4, grads)
    return jnp.stack([jnp.stack(taps[3 * row : 3 * row + 3]) for row in range(3)])


def _block(products: Places) -> Places:
    return _twice(lambda m: [m[0] + m[1] + m[2], m[1] - m[2] - m[3]], 4, products)


def _unblock(block: Places) -> Places:
    """Transposes `_block`."""
    return _twice(lambda y: [y[0], y[0] + y[1], y[0] - y[1], -y[1]], 2, block)


@noinline
def _largest(products: Places) -> Matrix:
    return functools.reduce(jnp.maximum, _block(products))


@noinline
def _largest_and_place(products: Places) -> tuple[Matrix, UInt8[Array, "features places"]]:
    block = _block(products)
    return functools.reduce(jnp.maximum, block), first_place(block)


@noinline
def _spread_places(grads: Matrix, place: UInt8[Array, "features places"]) -> Places:
    return _unblock(by_place(grads, place, 4))
