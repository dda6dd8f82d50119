"""The two layouts of images, and microbatches: so many examples at a time, one after another, in each layer.

`NHWC` is (batch, height, width, channels); `CHWN` is (channels, height, width, batch), or with microbatches
(microbatches, channels, height, width, examples). Vectors are (batch, features) always.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

_WRITTEN_OUT = 4
"""The most microbatches that are written out."""
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


def channels_last(x: jax.Array, layout: str) -> bool:
    """Tells whether channels, or features, are the last axis."""
    return x.ndim == 2 or layout == "NHWC"


def channel_axis(x: jax.Array, layout: str) -> int:
    """Returns the axis of channels, or features, counted from the end."""
    return -1 if channels_last(x, layout) else -4


def example_shape(x: jax.Array, layout: str) -> tuple[int, ...]:
    """Returns the shape of one example, as layers count it: height, width, channels, or features."""
    return x.shape[1:] if channels_last(x, layout) else (*x.shape[-3:-1], x.shape[-4])


def per_channel(vector: Float[Array, " channels"], x: jax.Array, layout: str) -> jax.Array:
    """Returns a number for each channel in the shape that broadcasts against `x`."""
    return vector if channels_last(x, layout) else vector[:, None, None, None]


def per_example(vectors: Float[Array, "batch channels"], x: jax.Array, layout: str) -> jax.Array:
    """Returns a number for each channel of each example in the shape that broadcasts against the maps `x`."""
    return enter(vectors[:, None, None, :], layout, x.shape[-1])


def add_bias(x: jax.Array, bias: Float[Array, " channels"] | None, layout: str) -> jax.Array:
    """Adds a number to each channel; nothing where there is no bias."""
    return x if bias is None else x + per_channel(bias.astype(x.dtype), x, layout)


def enter(images: Float[Array, "batch height width channels"], layout: str, microbatch: int | None = None) -> jax.Array:
    """Brings images into a layout; in `CHWN` as microbatches of so many examples, where that is less than all.

    Vectors, (batch, features), stay as they are.
    """
    if layout == "NHWC" or images.ndim == 2:
        return images
    if microbatch in (None, len(images)):
        return jnp.transpose(images, (3, 1, 2, 0))
    return jnp.transpose(images.reshape(-1, microbatch, *images.shape[1:]), (0, 4, 2, 3, 1))


def leave(images: jax.Array, layout: str) -> Float[Array, "batch height width channels"]:
    """Undoes `enter`."""
    if layout == "NHWC" or images.ndim == 2:
        return images
    if images.ndim == 4:
        return jnp.transpose(images, (3, 1, 2, 0))
    images = jnp.transpose(images, (0, 4, 2, 3, 1))
    return images.reshape(-1, *images.shape[2:])


def by_microbatch(function: Callable[[jax.Array], jax.Array], images: jax.Array) -> jax.Array:
    """Applies a function of (outer, height, width, inner) images, to microbatches one after another.

    A few are written out, since XLA's loop copies each into and out of its arrays; compiling many would take long.
    """
    if images.ndim == 4:
        return function(images)
    if len(images) > _WRITTEN_OUT:
        return lax.map(function, images)
    return jnp.stack([function(images[index]) for index in range(len(images))])
