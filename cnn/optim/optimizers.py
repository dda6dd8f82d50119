"""The optimizers, and the whole transformation of gradients to updates.

An optimizer is a class with `@optimizer`: its fields are its options, and its method `make_tx` builds it with Optax.
Real numbers may be tracers: the transformation is built inside the compiled step, so that another value compiles
nothing. The class attribute `slots` is how many arrays like the parameters it keeps, which the estimate of a run's
memory reads; two where a class does not say.

Where an optimizer takes `weight_decay`, `decayed` says which arrays it shrinks. "kernels", the default, are the arrays
with more than one axis; biases and the scales of normalization keep theirs. "all" shrinks every array, as PyTorch does
unless it is told of groups.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from etils import epy

from cnn.fields import NonNegative, Positive, Rate
from cnn.optim import freeze
from cnn.optim import groups as grouping
from cnn.optim.schedules import Factor, LearningRate, factor_of
from cnn.registry import (
    LIBRARY,
    OPTIMIZERS,
    PACKAGE,
    FunctionForm,
    OfFunction,
    blamed,
    is_array,
    misfit,
    optimizer,
    origin_of,
    shown,
)

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import optax

if TYPE_CHECKING:
    import numpy as np
    from optax import GradientTransformation

Decayed = Literal["kernels", "all"]
"""Kernels are the arrays with more than one axis; PyTorch decays all."""
EpsPlace = Literal["inside", "outside"]
"""Of the root of a mean square."""


def make_tx(
    optimizer: Any,
    schedule: Any,
    clip: Any,
    *,
    total_steps: int,
    steps_per_epoch: int,
    groups: Sequence[Any] = (),
    layers: Sequence[str] = (),
    observed: Any = (),
) -> tuple[GradientTransformation, LearningRate]:
    """Returns clipping followed by the optimizer, and the learning rate that it follows.

    Args:
      optimizer: of a class in `registry.OPTIMIZERS`.
      schedule: of a class in `registry.SCHEDULES`.
      clip: of a class in `registry.CLIPS`.
      total_steps: the updates of the whole run.
      steps_per_epoch: the updates of one epoch.
      groups: of classes in `registry.GROUPS`: what multiplies the options of which parameters.
      layers: the names of the network's layers, for the groups.
      observed: the state of a schedule that follows the evaluations.

    Raises:
      ValueError: the schedule does not fit into the run.
    """
    factor = factor_of(schedule, total_steps, steps_per_epoch)
    if hasattr(schedule, "scale"):
        factor = _scaled(factor, blamed(schedule, "schedule.name", schedule.scale)(observed))
    return _chain(optimizer, clip, factor, groups, layers), LearningRate(optimizer.learning_rate, factor)


def _scaled(factor: Factor, scale: Any) -> Factor:
    return lambda count: scale * factor(count)


def init_opt_state(
    optimizer: Any, clip: Any, params: Any, groups: Sequence[Any] = (), layers: Sequence[str] = ()
) -> Any:
    """Returns the state of `make_tx` before the first update, whatever the schedule and the length of the run."""
    return _chain(optimizer, clip, lambda count: jnp.ones(()), groups, layers).init(params)


def _chain(
    optimizer: Any, clip: Any, factor: Factor, groups: Sequence[Any], layers: Sequence[str]
) -> GradientTransformation:
    def of(optimizer: Any) -> GradientTransformation:
        make = functools.partial(optimizer.make_tx, LearningRate(optimizer.learning_rate, factor))
        return _checked(optimizer, "optimizer.name", make)

    whole = of(optimizer) if not groups else grouping.apart(groups, optimizer, layers, of)
    return optax.chain(_checked(clip, "train.clip", clip.make_tx), whole)


def eval_params(opt_state: Any, params: Any) -> Any:
    """Returns the parameters to evaluate with: those of `params` for which a schedule-free optimizer has others.

    Args:
      opt_state: what `make_tx`'s update has returned.
      params: all of them, also those that are frozen.
    """
    is_one = lambda node: isinstance(node, optax.contrib.ScheduleFreeState)  # noqa: E731
    for state in filter(is_one, jax.tree.leaves(opt_state, is_leaf=is_one)):
        trained = freeze.restricted(params, state.z)
        params = freeze.merged(optax.contrib.schedule_free_eval_params(state, trained), params)
    return params


def eval_arrays(saved: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns, by their paths, what `eval_params` replaces of a state of which only the names of its arrays are known.

    Args:
      saved: every array by its name: `params/conv1/kernel`, `opt_state/1/z/conv1/kernel`.
    """
    found: dict[str, np.ndarray] = {}
    for name, z in saved.items():
        place, of_z, path = name.partition("/z/")
        if of_z and place.startswith("opt_state/") and f"{place}/weight_sum" in saved and f"params/{path}" in saved:
            b1 = saved[f"{place}/b1"]
            found[path] = (saved[f"params/{path}"] - (1.0 - b1) * z) / b1
    return found


def _checked(record: Any, field: str, make_tx: Callable[[], GradientTransformation]) -> GradientTransformation:
    """Returns a transformation that is one, and whose errors name the field of the config, where a user wrote it.

    Raises:
      ExtensionError: it is none, or making it failed.
    """
    tx: Any = blamed(record, field, make_tx)()
    if not isinstance(tx, optax.GradientTransformation):
        raise misfit(record, field, "an optax.GradientTransformation", tx)
    first, following = blamed(record, field, tx.init), blamed(record, field, tx.update)
    if origin_of(record) in (PACKAGE, LIBRARY):
        return optax.GradientTransformation(first, following)

    def init(params: Any) -> Any:
        state = first(params)
        if not all(is_array(leaf) or isinstance(leaf, (int, float)) for leaf in jax.tree.leaves(state)):
            raise misfit(record, field, "a transformation whose init gives arrays", state)
        return state

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        found = following(grads, state, params)
        if not isinstance(found, tuple) or len(found) != 2:
            raise misfit(record, field, "a transformation whose update gives a pair, updates and a state", found)
        if shapes(found[0]) != shapes(grads):
            raise misfit(record, field, "a transformation whose update gives an array like each gradient", found[0])
        if shapes(found[1]) != shapes(state):
            raise misfit(
                record, field, f"a transformation whose update keeps the shape of its state, {shown(state)}", found[1]
            )
        return found

    return optax.GradientTransformation(init, update)


def shapes(tree: Any) -> Any:
    """Returns what two trees share whose arrays have the same names and shapes."""
    return jax.tree.structure(tree), [getattr(leaf, "shape", ()) for leaf in jax.tree.leaves(tree)]


@dataclasses.dataclass(frozen=True)
class OptimizerFunction(OfFunction):
    """An optimizer that a function makes of the learning rate, which is a function of the number of updates made."""

    learning_rate: Positive

    def make_tx(self, learning_rate_fn: LearningRate) -> GradientTransformation:
        return self.call(learning_rate=learning_rate_fn)


OPTIMIZERS.function = FunctionForm(OptimizerFunction, ("learning_rate",))


def decay_mask(decayed: Decayed) -> Callable[[Any], Any] | None:
    """Returns which arrays decay, as Optax's `mask`: kernels, that is all with more than one axis, or all."""
    if decayed == "all":
        return None
    return lambda params: jax.tree.map(lambda array: array.ndim > 1, params)


@optimizer
class Sgd:
    """Plain gradient descent; the weight decay is added to the gradient.

    An update is -learning_rate (g + weight_decay w), of the gradient g and the parameter w.
    """

    learning_rate: Positive
    """The rate at its peak; the schedule multiplies it."""
    weight_decay: NonNegative = 0.0
    """This times a parameter is added to its gradient."""
    decayed: Decayed = "kernels"
    """Which arrays shrink: those with more than one axis (kernels), or every one, as in PyTorch (all)."""

    slots: ClassVar[int] = 0

    def make_tx(self, learning_rate_fn: LearningRate) -> GradientTransformation:
        decay = optax.add_decayed_weights(self.weight_decay, decay_mask(self.decayed))
        return optax.chain(decay, self.undecayed(learning_rate_fn))

    def undecayed(self, learning_rate_fn: LearningRate) -> GradientTransformation:
        """Returns what follows the decay."""
        return optax.sgd(learning_rate_fn)


@optimizer
class Momentum(Sgd):
    """Gradient descent with heavy-ball momentum; the weight decay is added to the gradient.

    With v = momentum v + g an update is -learning_rate v.
    """

    momentum: Rate = 0.9
    """What the running sum of the gradients keeps of itself at each update."""

    slots: ClassVar[int] = 1

    def undecayed(self, learning_rate_fn: LearningRate) -> GradientTransformation:
        return optax.sgd(learning_rate_fn, momentum=self.momentum)


@optimizer
class Nesterov(Momentum):
    """Gradient descent with Nesterov's momentum; the weight decay is added to the gradient.

    With v = momentum v + g an update is -learning_rate (g + momentum v).
    """

    def undecayed(self, learning_rate_fn: LearningRate) -> GradientTransformation:
        return optax.sgd(learning_rate_fn, momentum=self.momentum, nesterov=True)


@optimizer
class Rmsprop(Sgd):
    """Gradients divided by the root of their running mean square; the weight decay is added to the gradient.

    `eps` is added to the mean square inside the root, sqrt(mean + eps), or outside it, sqrt(mean) + eps, as PyTorch
    has it: inside, 1e-8 weighs as much as 1e-4 outside. `decay` is what PyTorch calls alpha, there 0.99 by default.
    """

    decay: Rate = 0.9
    """What the running mean of the squares keeps of itself at each update."""
    eps: Positive = 1e-8
    """Added where the division would be by zero."""
    eps_place: EpsPlace = "inside"
    """Whether `eps` is added inside the root, or outside, as in PyTorch."""

    slots: ClassVar[int] = 1

    def undecayed(self, learning_rate_fn: LearningRate) -> GradientTransformation:
        inside = self.eps_place == "inside"
        return optax.rmsprop(learning_rate_fn, decay=self.decay, eps=self.eps, eps_in_sqrt=inside)


@optimizer
class Adam:
    """The running mean of the gradients over the root of that of their squares; nothing decays.

    With m = b1 m + (1 - b1) g and v = b2 v + (1 - b2) g^2, both divided by what corrects their start at zero, 1 - b1^t
    and 1 - b2^t, update t is -learning_rate m / (sqrt(v) + eps).

    Source:
      Kingma and Ba 2015, https://arxiv.org/abs/1412.6980.
    """

    learning_rate: Positive
    """The rate at its peak; the schedule multiplies it."""
    b1: Rate = 0.9
    """What the running mean of the gradients keeps of itself at each update."""
    b2: Rate = 0.999
    """What the running mean of their squares keeps of itself at each update."""
    eps: Positive = 1e-8
    """Added to the root of the mean square."""

    def make_tx(self, learning_rate_fn: LearningRate) -> GradientTransformation:
        return optax.adam(learning_rate_fn, b1=self.b1, b2=self.b2, eps=self.eps)


@optimizer(name="adamw")
class AdamW(Adam):
    """Adam with decoupled weight decay.

    An update takes off learning_rate * weight_decay of an array. PyTorch's default weight_decay is 1e-2.

    Source:
      Loshchilov and Hutter 2017, https://arxiv.org/abs/1711.05101.
    """

    weight_decay: NonNegative = 1e-4
    """The learning rate times this is the share of a parameter that an update takes off."""
    decayed: Decayed = "kernels"
    """Which arrays shrink: those with more than one axis (kernels), or every one, as in PyTorch (all)."""

    def make_tx(self, learning_rate_fn: LearningRate) -> GradientTransformation:
        return self._decoupled(optax.adamw, learning_rate_fn)

    def _decoupled(
        self, rule: Callable[..., GradientTransformation], learning_rate_fn: LearningRate
    ) -> GradientTransformation:
        return rule(
            learning_rate_fn,
            b1=self.b1,
            b2=self.b2,
            eps=self.eps,
            weight_decay=self.weight_decay,
            mask=decay_mask(self.decayed),
        )


@optimizer
class Nadam(Adam):
    """Adam with Nesterov's momentum, which rises from b1/2 to b1 as in PyTorch and Keras; nothing decays.

    At update t it is b1 (1 - 0.96^(t momentum_decay) / 2).

    Source:
      Dozat 2016, https://openreview.net/pdf?id=OM0jvwB8jIp57ZJjtNEZ.
    """

    momentum_decay: NonNegative = 4e-3
    """How fast the momentum rises."""

    def make_tx(self, learning_rate_fn: LearningRate) -> GradientTransformation:
        rule = scale_by_nadam(b1=self.b1, b2=self.b2, eps=self.eps, momentum_decay=self.momentum_decay)
        return optax.chain(rule, optax.scale_by_learning_rate(learning_rate_fn))


class NadamState(NamedTuple):
    """The updates made, the product of their momenta, and the running means of the gradients and their squares."""

    updates: jax.Array
    product: jax.Array
    mean: Any
    square: Any


NADAM_BASE = 0.96
"""Dozat's: the part of b1 that is missing at update t is half of this to the power of t times the momentum's decay."""


def scale_by_nadam(*, b1: Any, b2: Any, eps: Any, momentum_decay: Any) -> GradientTransformation:
    """Returns what turns gradients into the steps of NAdam, to be scaled by the learning rate.

    Args:
      b1: what the running mean of the gradients keeps of itself, and the momentum that the schedule approaches.
      b2: what the running mean of the squares keeps of itself.
      eps: is added to the root of the mean square, outside the root.
      momentum_decay: how fast the momentum mu(t) = b1 (1 - 0.96^(t momentum_decay) / 2) rises, per update.

    Source:
      Dozat 2016, with the mean square corrected by 1 - b2^t, without the factor b2 of the paper's algorithm 2, as
      PyTorch's `NAdam` and Keras have it.
    """

    def init(params: Any) -> NadamState:
        zeros = optax.tree.zeros_like(params)
        return NadamState(jnp.zeros([], jnp.int32), jnp.ones([]), zeros, optax.tree.zeros_like(params))

    def update(grads: Any, state: NadamState, params: Any = None) -> tuple[Any, NadamState]:
        del params
        count = optax.safe_increment(state.updates)
        kind = state.product.dtype
        now, following = (
            jnp.asarray(b1 * (1 - 0.5 * NADAM_BASE ** (at.astype(kind) * momentum_decay)), kind)
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


@optimizer
class Lamb(AdamW):
    """AdamW scaled by each array's norm, for large batches.

    The norm scales all arrays, also those that do not decay.

    Source:
      You et al. 2019, https://arxiv.org/abs/1904.00962.
    """

    def make_tx(self, learning_rate_fn: LearningRate) -> GradientTransformation:
        return self._decoupled(optax.lamb, learning_rate_fn)


@optimizer
class Lion:
    """The sign of an interpolated momentum.

    An update is -learning_rate sign(b1 m + (1 - b1) g), after which m = b2 m + (1 - b2) g.
    An update takes off learning_rate * weight_decay of an array.

    Source:
      Chen et al. 2023, https://arxiv.org/abs/2302.06675.
    """

    learning_rate: Positive
    """The rate at its peak; the schedule multiplies it."""
    b1: Rate = 0.9
    """What the running mean weighs against the gradient where the sign is taken."""
    b2: Rate = 0.99
    """What the running mean of the gradients keeps of itself at each update."""
    weight_decay: NonNegative = 1e-3
    """The learning rate times this is the share of a parameter that an update takes off."""
    decayed: Decayed = "kernels"
    """Which arrays shrink: those with more than one axis (kernels), or every one, as in PyTorch (all)."""

    slots: ClassVar[int] = 1

    def make_tx(self, learning_rate_fn: LearningRate) -> GradientTransformation:
        mask = decay_mask(self.decayed)
        return optax.lion(learning_rate_fn, b1=self.b1, b2=self.b2, weight_decay=self.weight_decay, mask=mask)
