"""Muon: momentum made orthogonal before it is followed, the iteration done on the small side of each kernel.

Five steps of Newton and Schulz's iteration multiply a matrix X by polynomials of its Gram matrix G, which commute with
each other and with G. So the iteration runs on G, and X is read twice instead of ten times: for G and at the end.

Source:
  Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from etils import epy

from cnn.fields import NonNegative, Positive, Rate
from cnn.optim.optimizers import Decayed, decay_mask
from cnn.optim.schedules import LearningRate
from cnn.registry import optimizer

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import optax

if TYPE_CHECKING:
    from optax import GradientTransformation

STEPS = 5
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of s, s^3 and s^5, s a singular value: five steps bring all that are not tiny into 0.7 to 1.2."""
EPSILON = 1e-8


class MuonState(NamedTuple):
    """The updates made, and the running mean of the gradients."""

    updates: jax.Array
    mean: Any


@optimizer
class Muon:
    """Orthogonalised momentum for every kernel, seen as a matrix inputs x features; AdamW for biases and scales.

    An update takes off learning_rate * weight_decay of a kernel, and where biases and scales decay, too, of these
    adam_learning_rate * weight_decay. b1 and b2 are AdamW's, its eps 1e-8.
    The momentum is Nesterov's and corrected for its start at zero.

    Source:
      Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/.
    """

    learning_rate: Positive
    """The rate of the kernels at its peak; the schedule multiplies it."""
    momentum: Rate = 0.95
    """What the running mean of the kernels' gradients keeps of itself at each update."""
    adam_learning_rate: Positive = 1e-3
    """The rate of the biases and scales at its peak; the schedule multiplies it, too."""
    b1: Rate = 0.9
    """For biases and scales, as in AdamW."""
    b2: Rate = 0.999
    """For biases and scales, as in AdamW."""
    weight_decay: NonNegative = 0.0
    """The learning rate times this is the share of a parameter that an update takes off."""
    decayed: Decayed = "kernels"
    """Which arrays shrink: those with more than one axis (kernels), or every one, as in PyTorch (all)."""

    slots: ClassVar[int] = 1

    def make_tx(self, learning_rate_fn: LearningRate) -> GradientTransformation:
        decay = optax.add_decayed_weights(self.weight_decay, decay_mask(self.decayed))
        others_rate = learning_rate_fn._replace(peak=self.adam_learning_rate)
        transforms = {
            "kernel": optax.chain(scale_by_muon(self.momentum), decay, optax.scale_by_learning_rate(learning_rate_fn)),
            "other": optax.chain(self._adamw(decay), optax.scale_by_learning_rate(others_rate)),
        }
        return optax.partition(
            transforms, lambda params: jax.tree.map(lambda array: "kernel" if array.ndim > 1 else "other", params)
        )

    def _adamw(self, decay: GradientTransformation) -> GradientTransformation:
        """Returns AdamW before its learning rate, with Adam's state alone, so that finished runs of old still open."""
        adam = optax.scale_by_adam(b1=self.b1, b2=self.b2)

        def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
            steps, state = adam.update(grads, state, params)
            return decay.update(steps, decay.init(params), params)[0], state

        return optax.GradientTransformation(adam.init, update)


def scale_by_muon(momentum: Any) -> GradientTransformation:
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
