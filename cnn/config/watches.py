"""What is watched of the layers while a network trains: classes with `@watch`, see `Layers`.

A watch says in `every` how many steps lie between two looks, `None` for never, and in `measure` which numbers it takes
of a step. They are computed by a program of their own, so that training is the same to the bit with it and without.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from etils import epy

from cnn.fields import Count
from cnn.registry import WATCHES as WATCHES
from cnn.registry import watch

if TYPE_CHECKING:
    from jaxtyping import Array

with epy.lazy_imports():
    import jax.numpy as jnp

QUANTITIES = {
    "weights": "norm of the weights",
    "gradient": "norm of the gradient",
    "update": "norm of the update",
    "ratio": "update over weights",
    "dead": "share of dead units",
}
"""What `Layers` measures, and what each is in words."""


class Seen(NamedTuple):
    """One step as it is watched."""

    params: Mapping[str, Array]
    """Before the update, by path: `conv1/kernel`."""
    grads: Mapping[str, Array]
    """The mean gradient of the batch, before the optimizer; of what is trained alone."""
    updates: Mapping[str, Array]
    """What the step adds to the parameters, clipping, decay and learning rate included; of what is trained alone."""
    outputs: Mapping[str, Array]
    """What each layer makes in training, by its path, examples first and channels or features last. Of the first part
    of the batch, where `train.accumulate_steps` makes several."""
    activations: tuple[str, ...]
    """The paths of the layers that are functions of each number."""


@watch(name="none")
class Unwatched:
    """Watches nothing."""

    every: ClassVar[int | None] = None

    def measure(self, seen: Seen) -> dict[str, Array]:
        """Returns nothing."""
        del seen
        return {}


@watch
class Layers:
    """The norms of each layer's weights, gradient and update, and the share of its units that are dead.

    A unit, a channel or a feature, is dead where the activation gives the same number for every picture of the batch
    and at every place, as a ReLU does that is never above zero: nothing is learned by its weights. The ratio of update
    and weights is about 1e-3 where training goes well; layers orders of magnitude below stand still, above 1e-1 they
    are overwritten.

    Watched are the first step of the run and every so many after it. A look takes about as long as two steps.
    """

    every: Count = 100
    """Steps from one look to the next."""

    def measure(self, seen: Seen) -> dict[str, Array]:
        """Returns the numbers by names such as `ratio/conv1` and `dead/relu1`, see `QUANTITIES`."""
        found: dict[str, Array] = {}
        norms = {"weights": _norms(seen.params), "gradient": _norms(seen.grads), "update": _norms(seen.updates)}
        for quantity, of_layer in norms.items():
            found |= {f"{quantity}/{path}": norm for path, norm in of_layer.items()}
        for path, update in norms["update"].items():
            found[f"ratio/{path}"] = update / jnp.maximum(norms["weights"][path], jnp.finfo(jnp.float32).tiny)
        return found | {f"dead/{path}": dead_share(seen.outputs[path]) for path in seen.activations}


def dead_share(output: Array) -> Array:
    """Returns which part of the units of an activation, its last axis, gives one number for all examples and places."""
    axes = tuple(range(output.ndim - 1))
    return (output.max(axes) == output.min(axes)).mean(dtype=jnp.float32)


def _norms(arrays: Mapping[str, Array]) -> dict[str, Array]:
    squares: dict[str, Array] = {}
    for path, array in arrays.items():
        layer = path.rpartition("/")[0]
        squares[layer] = squares.get(layer, jnp.zeros(())) + jnp.square(array.astype(jnp.float32)).sum()
    return {layer: jnp.sqrt(square) for layer, square in squares.items()}
