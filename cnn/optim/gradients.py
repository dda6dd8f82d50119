"""At which parameters the gradient of a step is taken.

A place is a class with `@gradient`: its `place` says where, given the gradient at the parameters themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from etils import epy

from cnn.fields import NonNegative, did_you_mean
from cnn.optim import freeze
from cnn.registry import GRADIENTS, PACKAGE, FunctionForm, OfFunction, blamed, gradient, misfit, origin_of, shown

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import optax

WANTED = "None, or arrays by the names and of the shapes of the parameters"


@gradient
class Plain:
    """Takes the gradient at the parameters."""

    def place(self, params: Any, grads: Any) -> Any:
        """Returns the parameters at which the gradient that a step follows is taken; `None` for those that it is at.

        Args:
          params: all of them, also those that are frozen.
          grads: the gradient of the whole batch at these, of what is trained.
        """
        del params, grads


@gradient
class Sam:
    """Sharpness-aware minimisation: takes the gradient where the loss is worst within `radius` of the parameters.

    That place is the parameters plus `radius` times the gradient over its norm, so a step takes two gradients, with the
    same draws. The whole batch decides it, on however many devices. Loss and batch statistics are those at the
    parameters.

    Attributes:
      radius: the paper's rho, in the Euclidean norm over all parameters that are trained; 0 is the plain gradient.

    Source:
      Foret et al. 2021, https://arxiv.org/abs/2010.01412, algorithm 1.
    """

    radius: NonNegative = 0.05

    def place(self, params: Any, grads: Any) -> Any:
        """Returns where the gradient is taken; see `Plain.place`."""
        # The tiniest norm, so that a gradient of zeros moves nothing.
        scale = self.radius / jnp.maximum(optax.tree.norm(grads), jnp.finfo(jnp.float32).tiny)
        trained = freeze.restricted(params, grads)
        worst = jax.tree.map(lambda array, grad: array + scale * grad, trained, grads)
        return freeze.merged(worst, params)


class GradientFunction(OfFunction):
    """Where a function takes the gradient; it sees the parameters that are trained alone."""

    def place(self, params: Any, grads: Any) -> Any:
        """Returns where the gradient is taken; see `Plain.place`."""
        return self.call(params=freeze.restricted(params, grads), grads=grads)


GRADIENTS.function = FunctionForm(GradientFunction, ("params", "grads"))


def place_of(kind: Any, params: Any, grads: Any) -> Any:
    """Returns the parameters at which the gradient is taken, `None` for those that it is at; see `Plain.place`.

    Raises:
      ExtensionError: a user's own class or function failed, or returned no parameters like these.
    """
    place = blamed(kind, "train.gradient", kind.place)(params, grads)
    if place is None or origin_of(kind) == PACKAGE:
        return place
    _check(kind, place, params)
    whole = freeze.merged(place, params)
    return jax.tree.map(lambda there, here: jnp.asarray(there, here.dtype), whole, params)


def _check(kind: Any, place: Any, params: Any, at: tuple[str, ...] = ()) -> None:
    """Checks that what was returned is what is asked for, as far as it goes: what it leaves out stays where it is.

    Raises:
      ExtensionError: it is not.
    """
    path = "/".join(at)
    if not isinstance(params, Mapping):
        if getattr(place, "shape", None) != params.shape:
            raise misfit(kind, "train.gradient", f"for {path} {shown(params)}", place)
        return
    if not isinstance(place, Mapping):
        raise misfit(kind, "train.gradient", f"for {path} a dict" if path else WANTED, place)
    for name, inner in place.items():
        if name not in params:
            remedy = f"{f'{path} has' if path else 'There is'} no {name!r}. {did_you_mean(str(name), params)}"
            raise misfit(kind, "train.gradient", WANTED, place, remedy)
        _check(kind, inner, params[name], (*at, name))
