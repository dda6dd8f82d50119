"""At which parameters the gradient of a step is taken.

A place is a class with `@gradient`: `take` is given what computes the gradient of the batch at any parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from etils import epy

from cnn.fields import NonNegative
from cnn.optim import freeze
from cnn.registry import gradient

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import optax

if TYPE_CHECKING:
    from typing import Protocol

    class Taken(Protocol):
        """What a gradient is taken with: `grads`, of what is trained, and more that the step reads."""

        grads: Any

        def _replace(self, **changes: Any) -> Any: ...


@gradient
class Plain:
    """Takes the gradient at the parameters."""

    def take(self, gradient_at: Callable[[Any], Taken], params: Any) -> Any:
        """Returns the gradient that the step follows, with the loss and the batch statistics at the parameters.

        Args:
          gradient_at: computes it of the whole batch, with the same draws at each call.
          params: all of them, also those that are frozen, of which there is no gradient.
        """
        return gradient_at(params)


@gradient
class Sam:
    """Sharpness-aware minimisation: takes the gradient where the loss is worst within `radius` of the parameters.

    That place is the parameters plus `radius` times the gradient over its norm, so a step takes two gradients. The
    whole batch decides it, on however many devices. Loss and batch statistics are those at the parameters.

    Attributes:
      radius: the paper's rho, in the Euclidean norm over all parameters that are trained; 0 is the plain gradient.

    Source:
      Foret et al. 2021, https://arxiv.org/abs/2010.01412, algorithm 1.
    """

    radius: NonNegative = 0.05

    def take(self, gradient_at: Callable[[Any], Taken], params: Any) -> Any:
        """Returns the gradient that the step follows; see `Plain.take`."""
        first = gradient_at(params)
        # The tiniest norm, so that a gradient of zeros moves nothing.
        scale = self.radius / jnp.maximum(optax.tree.norm(first.grads), jnp.finfo(jnp.float32).tiny)
        trained = freeze.restricted(params, first.grads)
        worst = jax.tree.map(lambda array, grad: array + scale * grad, trained, first.grads)
        return first._replace(grads=gradient_at(freeze.merged(worst, params)).grads)
