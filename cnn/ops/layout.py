"""The two layouts of images, and how many examples are computed together."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

_FEWEST, _MOST = 16, 64
"""Examples: fewer make the innermost axis too short; more leave the caches and are not faster."""
_NUMBERS = 2**20
"""The most numbers of a map of a piece: with what is made of it, more do not stay in the caches."""


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


def piece(examples: int, numbers: int, platform: str) -> int:
    """Returns how many of so many examples are best computed together, where they do not depend on each other.

    A CPU keeps what a few dozen need between two layers in its caches, and uses the same memory for the next ones; so
    one program that takes them in turn trains twice as fast. An accelerator wants all of them.

    Args:
      examples: in the batch; the piece divides them.
      numbers: of the largest map of one example.
      platform: cpu, gpu or tpu.
    """
    if platform != "cpu":
        return examples
    most = min(_MOST, max(_FEWEST, _NUMBERS // numbers))
    sizes = [size for size in range(most // 2, most + 1) if examples % size == 0]
    return max(sizes, default=examples)


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
    """Applies a function of (outer, height, width, inner) images, to pieces one after another."""
    return function(images) if images.ndim == 4 else lax.map(function, images)
