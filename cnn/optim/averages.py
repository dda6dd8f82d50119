"""Moving averages of the parameters, for evaluation.

An average is a class with `@average`: `init` makes what is kept of the parameters before the first update, and `update`
what is kept after each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from etils import epy

from cnn.fields import Rate
from cnn.registry import average

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Int


@average(name="none")
class NoAverage:
    """Keeps no average."""

    def init(self, params: Any) -> Any:
        del params
        return ()

    def update(self, means: Any, params: Any, count: Int[Array, ""]) -> Any:
        del params, count
        return means


@average
class Ema:
    """Keeps an exponential moving average of the parameters, for `eval.weights = "ema"`.

    The average after n updates uses the decay min(decay, (1 + n) / (10 + n)), so that the start is forgotten.
    """

    decay: Rate

    def init(self, params: Any) -> Any:
        """Returns a copy of the parameters: the step gives up the arrays of its state, and may not do so twice."""
        return jax.tree.map(lambda array: array.copy(), params)

    def update(self, means: Any, params: Any, count: Int[Array, ""]) -> Any:
        """Returns the means after an update.

        Args:
          means: before it.
          params: after it, in a tree of the same structure.
          count: the updates made, this one included.
        """
        decay = jnp.minimum(self.decay, (1 + count) / (10 + count))
        return jax.tree.map(lambda mean, new: decay * mean + (1 - decay) * new, means, params)
