"""Batch normalisation in training, with its gradient written out.

On a CPU, what automatic differentiation makes of the mean and the variance is several times slower: XLA fuses the sums
of the gradient with what surrounds them. Here they are two passes of their own, and the gradient by the images is a
third.

Source:
  Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167, section 3.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from cnn.ops.noinline import noinline

Vector = Float[Array, " channels"]


@functools.partial(jax.custom_vjp, nondiff_argnums=(4, 5))
def batch_norm(
    x: Float[Array, "..."], scale: Vector, bias: Vector, epsilon: Any, channel: int, axis: str | None
) -> tuple[jax.Array, Vector, Vector]:
    """Normalises each channel by its mean and variance over everything else, then scales and moves it.

    Args:
      x: this device's share of the batch.
      scale: what each normalised channel is multiplied by.
      bias: what is added to it.
      epsilon: what is added to the variance; nothing is differentiated by it.
      channel: the axis of `x` along which the channels are.
      axis: the name of the mesh axis over which the batch is spread, where it is.

    Returns:
      The normalised batch, in the type of `x`, and mean and variance, in float32. The two are measurements: nothing is
      differentiated by them.
    """
    return _forward(x, scale, bias, epsilon, channel, axis)[0]


def _forward(
    x: jax.Array, scale: Vector, bias: Vector, epsilon: Any, channel: int, axis: str | None
) -> tuple[tuple[jax.Array, Vector, Vector], Any]:
    axes = _all_but(channel, x)

    def squares(x: jax.Array, mean: Vector) -> jax.Array:
        return (_wide(x) - along(mean)) ** 2

    def along(vector: Vector) -> jax.Array:
        return jnp.expand_dims(vector, axes)

    mean = _mean(_sum(_wide, axes, x), x, channel, axis)
    var = _mean(_sum(squares, axes, x, mean), x, channel, axis)
    inverse = lax.rsqrt(var + epsilon)
    out = (_wide(x) - along(mean)) * along(inverse * scale) + along(bias)
    return (out.astype(x.dtype), mean, var), (x, scale, mean, inverse)


def _backward(channel: int, axis: str | None, residuals: Any, grads: Any) -> tuple[jax.Array | None, ...]:
    x, scale, mean, inverse = residuals
    grad, axes = grads[0], _all_but(channel, x)

    def products(grad: jax.Array, x: jax.Array, mean: Vector) -> jax.Array:
        return _wide(grad) * (_wide(x) - along(mean))

    def along(vector: Vector) -> jax.Array:
        return jnp.expand_dims(vector, axes)

    total, product = _sum(_wide, axes, grad), _sum(products, axes, grad, x, mean)
    mean_total, mean_product = _mean(jnp.stack([total, product]), x, channel, axis)
    slope = inverse**2 * mean_product
    by_x = _wide(grad) - along(mean_total) - (_wide(x) - along(mean)) * along(slope)
    return (by_x * along(inverse * scale)).astype(x.dtype), product * inverse, total, None


batch_norm.defvjp(_forward, _backward)


def _all_but(channel: int, x: jax.Array) -> tuple[int, ...]:
    return tuple(each for each in range(x.ndim) if each != channel % x.ndim)


def _sum(terms: Callable[..., jax.Array], axes: tuple[int, ...], *arrays: jax.Array) -> Vector:
    """Sums over axes what `terms` makes of arrays; where the channels are not last, in a no-inline call of its own."""

    def total(*arrays: jax.Array) -> Vector:
        return terms(*arrays).sum(axes)

    return (total if axes[-1] == arrays[0].ndim - 2 else noinline(total))(*arrays)


def _mean(total: Vector, x: jax.Array, channel: int, axis: str | None) -> Vector:
    """Returns the mean of what was summed over all but the channels of `x`, on all devices."""
    mean = total / (x.size // x.shape[channel])
    return mean if axis is None else lax.pmean(mean, axis)


def _wide(x: jax.Array) -> jax.Array:
    return x.astype(jnp.float32)
