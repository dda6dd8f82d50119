"""Adam with Nesterov's momentum, the momentum rising from half of b1 to b1 by Dozat's schedule.

Source:
  Dozat 2016, https://openreview.net/pdf?id=OM0jvwB8jIp57ZJjtNEZ, with the mean square corrected by 1 - b2^t, without
  the factor b2 of the paper's algorithm 2, as PyTorch's `NAdam` and Keras have it.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

BASE = 0.96
"""Dozat's: the part of b1 that is missing at update t is half of this to the power of t times the momentum's decay."""


class NadamState(NamedTuple):
    """The updates made, the product of their momenta, and the running means of the gradients and their squares."""

    updates: jax.Array
    product: jax.Array
    mean: Any
    square: Any


def scale_by_nadam(*, b1: Any, b2: Any, eps: Any, momentum_decay: Any) -> optax.GradientTransformation:
    """Returns what turns gradients into the steps of NAdam, to be scaled by the learning rate.

    Args:
      b1: what the running mean of the gradients keeps of itself, and the momentum that the schedule approaches.
      b2: what the running mean of the squares keeps of itself.
      eps: is added to the root of the mean square, outside the root.
      momentum_decay: how fast the momentum mu(t) = b1 (1 - 0.96^(t momentum_decay) / 2) rises, per update.
    """

    def init(params: Any) -> NadamState:
        zeros = optax.tree.zeros_like(params)
        return NadamState(jnp.zeros([], jnp.int32), jnp.ones([]), zeros, optax.tree.zeros_like(params))

    def update(grads: Any, state: NadamState, params: Any = None) -> tuple[Any, NadamState]:
        del params
        count = optax.safe_increment(state.updates)
        kind = state.product.dtype
        now, following = (
            jnp.asarray(b1 * (1 - 0.5 * BASE ** (at.astype(kind) * momentum_decay)), kind)
            for at in (count, optax.safe_increment(count))
        )
        product = state.product * now
        mean = optax.tree.update_moment(grads, state.mean, b1, 1)
        square = optax.tree.update_moment(grads, state.square, b2, 2)
        of_grad, of_mean = (1 - now) / (1 - product), following / (1 - product * following)

        def step(grad: jax.Array, mean: jax.Array, square: jax.Array) -> jax.Array:
            ahead = of_grad.astype(grad.dtype) * grad + of_mean.astype(grad.dtype) * mean
            return ahead / (jnp.sqrt(square) + eps)

        squares = optax.tree.bias_correction(square, b2, count)
        return jax.tree.map(step, grads, mean, squares), NadamState(count, product, mean, square)

    return optax.GradientTransformation(init, update)
