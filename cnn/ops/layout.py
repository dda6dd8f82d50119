"""The two layouts of images, and how many examples are computed together."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

_WRITTEN_OUT = 4
"""The most pieces that are written out."""
_PRODUCTS: ContextVar[bool] = ContextVar("products", default=False)


@contextmanager
def as_products() -> Iterator[None]:
    """Computes what is traced meanwhile by matrix products on every platform.

    Under `vmap` a `lax.conv` becomes a grouped convolution, which accelerators compute slowly; a product becomes a
    batched one.
    """
    token = _PRODUCTS.set(True)
    try:
        yield
    finally:
        _PRODUCTS.reset(token)


def layout_of(platform: str) -> str:
    """Returns the layout in which a platform computes fastest."""
    return "CHWN" if platform == "cpu" or _PRODUCTS.get() else "NHWC"


def enter(images: Float[Array, "batch height width channels"], layout: str, piece: int | None = None) -> jax.Array:
    """Brings images into a layout; in `CHWN` as pieces of so many examples, one after another, where that is less.

    Vectors, (batch, features), stay as they are.
    """
    if layout == "NHWC" or images.ndim == 2:
        return images
    if piece in (None, len(images)):
        return jnp.transpose(images, (3, 1, 2, 0))
    return jnp.transpose(images.reshape(-1, piece, *images.shape[1:]), (0, 4, 2, 3, 1))


def leave(images: jax.Array, layout: str) -> Float[Array, "batch height width channels"]:
    """Undoes `enter`."""
    if layout == "NHWC" or images.ndim == 2:
        return images
    if images.ndim == 4:
        return jnp.transpose(images, (3, 1, 2, 0))
    images = jnp.transpose(images, (0, 4, 2, 3, 1))
    return images.reshape(-1, *images.shape[2:])


def by_piece(function: Callable[[jax.Array], jax.Array], images: jax.Array) -> jax.Array:
    """Applies a function of (outer, height, width, inner) images, to pieces one after another.

    A few pieces are written out, since a loop copies each into and out of its arrays; compiling many would take long.
    """
    if images.ndim == 4:
        return function(images)
    if len(images) > _WRITTEN_OUT:
        return lax.map(function, images)
    return jnp.stack([function(images[index]) for index in range(len(images))])
