"""Muon: momentum made orthogonal before it is followed, the iteration done on the small side of each kernel.

Five steps of Newton and Schulz's iteration multiply a matrix X by polynomials of its Gram matrix G, which commute with
each other and with G. So the iteration runs on G, and X is read twice instead of ten times: for G and at the end.

Source:
  Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

STEPS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of s, s^3 and s^5, s a singular value: five steps bring all that are not tiny into 0.7 to 1.2."""
EPSILON = 1e-8


class MuonState(NamedTuple):
    """The updates made, and the running mean of the gradients."""

    updates: jax.Array
    mean: Any


def make_muon(
    learning_rate: Any, *, momentum: Any, weight_decay: Any, mask: Any, others: optax.GradientTransformation
) -> optax.GradientTransformation:
    """Returns Muon for kernels, the arrays of two axes and more, and `others` for the rest.

    Args:
      learning_rate: a number, or a function of the number of updates made.
      momentum: what the running mean of the gradients keeps of itself; Nesterov's rule looks ahead with it.
      weight_decay: the share of a kernel that an update takes off, times the learning rate.
      mask: the arrays that decay, as `optax.add_decayed_weights` takes it.
      others: the optimizer of biases and scales.
    """
    kernels = optax.chain(
        scale_by_muon(momentum),
        optax.add_decayed_weights(weight_decay, mask),
        optax.scale_by_learning_rate(learning_rate),
    )
    return optax.partition(
        {"kernel": kernels, "other": others},
        lambda params: jax.tree.map(lambda array: "kernel" if array.ndim > 1 else "other", params),
    )


def scale_by_muon(momentum: Any) -> optax.GradientTransformation:
    """Returns what makes the momentum of each kernel orthogonal and sets its size by the kernel's shape.

    At update t, with the running mean m of the gradients and momentum b, the direction is that of
    b m / (1 - b^(t+1)) + (1 - b) g / (1 - b^t): both parts are corrected for a mean that starts at zero, as Optax's
    `scale_by_muon` and its NAdam do. Jordan's code follows b m + (1 - b) g without a correction. What is common to both
    parts changes nothing, so the two differ in the ratio of the parts alone: here m weighs (1 - b^t) / (1 - b^(t+1))
    times as much against g, with b = 0.95 half as much at the first update and 0.97 times at the twentieth.
    """

    def init(params: Any) -> MuonState:
        return MuonState(jnp.zeros([], jnp.int32), optax.tree.zeros_like(params))

    def update(grads: Any, state: MuonState, params: Any = None) -> tuple[Any, MuonState]:
        del params
        count = optax.safe_increment(state.updates)
        mean = optax.tree.update_moment(grads, state.mean, momentum, 1)
        ahead = optax.tree.bias_correction(mean, momentum, optax.safe_increment(count))
        now = optax.tree.bias_correction(grads, momentum, count)
        looked = jax.tree.map(lambda mean, grad: momentum * mean + (1 - momentum) * grad, ahead, now)
        return jax.tree.map(_kernel_update, looked), MuonState(count, mean)

    return optax.GradientTransformation(init, update)


def _kernel_update(momentum: jax.Array) -> jax.Array:
    """Returns the update of a kernel, seen as a matrix of all its inputs times its features."""
    matrix = momentum.reshape(-1, momentum.shape[-1])
    inputs, features = matrix.shape
    return max(1.0, features / inputs) ** 0.5 * orthogonalise(matrix).reshape(momentum.shape)


def orthogonalise(matrix: jax.Array) -> jax.Array:
    """Returns a matrix with the singular vectors of another, and singular values near 1.

    Equals what `optax.contrib.scale_by_muon` makes of it, up to the rounding of the Gram matrix: singular values below
    the largest one's 1/3000 are not told from noise of that size.

    Args:
      matrix: float [inputs, features].
    """
    # Less exact products, as accelerators make them by default, would let the noise of G grow a thousandfold.
    dot = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    tall = matrix.shape[0] > matrix.shape[1]
    matrix = matrix / (jnp.linalg.norm(matrix) + EPSILON)
    gram = dot(matrix.T, matrix) if tall else dot(matrix, matrix.T)
    one, three, five = COEFFICIENTS
    product = jnp.eye(len(gram), dtype=gram.dtype)
    for step in range(STEPS):
        polynomial = one * jnp.eye(len(gram), dtype=gram.dtype) + three * gram + five * dot(gram, gram)
        product = dot(product, polynomial) if step else polynomial
        gram = dot(dot(polynomial, gram), polynomial)
    return dot(matrix, product) if tall else dot(product, matrix)
