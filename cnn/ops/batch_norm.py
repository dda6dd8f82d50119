"""Batch normalisation in training, with its gradient written out.

What differentiation makes of the mean and the variance, a CPU computes several times slower: XLA merges the sums of the
gradient with what surrounds them. Here they are two passes of their own, and the gradient by the images is a third.

Source:
  Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167, section 3.
"""

import functools
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
    sums = _Sums(x, channel, axis)
    mean = sums.mean(sums.of(x))
    var = sums.mean(sums.of_squares(x, mean))
    inverse = lax.rsqrt(var + epsilon)
    out = (_wide(x) - sums.along(mean)) * sums.along(inverse * scale) + sums.along(bias)
    return (out.astype(x.dtype), mean, var), (x, scale, mean, inverse)


def _backward(channel: int, axis: str | None, residuals: Any, grads: Any) -> tuple[jax.Array | None, ...]:
    x, scale, mean, inverse = residuals
    grad = grads[0]
    sums = _Sums(x, channel, axis)
    total, product = sums.of(grad), sums.of_products(grad, x, mean)
    slope = inverse**2 * sums.mean(product)
    by_x = _wide(grad) - sums.along(sums.mean(total)) - (_wide(x) - sums.along(mean)) * sums.along(slope)
    return (by_x * sums.along(inverse * scale)).astype(x.dtype), product * inverse, total, None


batch_norm.defvjp(_forward, _backward)


class _Sums:
    """Sums over all but the channels of arrays of one shape."""

    def __init__(self, x: jax.Array, channel: int, axis: str | None) -> None:
        self.axes = tuple(each for each in range(x.ndim) if each != channel % x.ndim)
        self.count = x.size // x.shape[channel]
        self.mesh_axis = axis
        self.call = (lambda function: function) if self.axes[-1] == x.ndim - 2 else noinline

    def along(self, vector: Vector) -> jax.Array:
        """Returns a number for each channel in the shape that meets the arrays'."""
        return jnp.expand_dims(vector, self.axes)

    def mean(self, total: Vector) -> Vector:
        """Returns the mean of what was summed, over all devices."""
        mean = total / self.count
        return mean if self.mesh_axis is None else lax.pmean(mean, self.mesh_axis)

    def of(self, x: jax.Array) -> Vector:
        return self.call(lambda x: _wide(x).sum(self.axes))(x)

    def of_squares(self, x: jax.Array, mean: Vector) -> Vector:
        return self.call(lambda x, mean: ((_wide(x) - self.along(mean)) ** 2).sum(self.axes))(x, mean)

    def of_products(self, grad: jax.Array, x: jax.Array, mean: Vector) -> Vector:
        """Sums the numbers of an array times what another one has beyond its mean."""
        return self.call(lambda grad, x, mean: (_wide(grad) * (_wide(x) - self.along(mean))).sum(self.axes))(
            grad, x, mean
        )


def _wide(x: jax.Array) -> jax.Array:
    return x.astype(jnp.float32)
