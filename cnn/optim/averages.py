"""Averages of the parameters, for evaluation.

An average is a class with `@average`: `init` makes what is kept of the parameters before the first update, and `update`
what is kept after each. Where training itself goes on from the average now and then, `sync` says from what; one that
changes over the run says in `at` what it is when a share of the run is done.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from etils import epy

from cnn.fields import Count, Fraction, Natural, OrNone, Positive, Rate
from cnn.optim import freeze
from cnn.optim.optimizers import shapes
from cnn.registry import PACKAGE, average, blamed, is_array, misfit, origin_of, shown

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float, Int


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
    """What the average keeps of itself at each update, once the run is long enough."""

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


@average
class Swa:
    """Stochastic weight averaging: the plain mean of the parameters after update `start`, and every `every` from there.

    Before that it is the parameters themselves. Batch normalisation wants `train.renew_statistics` with it.

    Attributes:
      start: the updates before the first parameters that count; mostly three quarters of the run's.
      every: updates from one to the next; the paper takes an epoch's.

    Source:
      Izmailov et al. 2018, https://arxiv.org/abs/1803.05407.
    """

    start: Natural
    every: Count = 1

    def init(self, params: Any) -> Any:
        """Returns a copy of the parameters; see `Ema.init`."""
        return jax.tree.map(lambda array: array.copy(), params)

    def update(self, means: Any, params: Any, count: Int[Array, ""]) -> Any:
        """Returns the means after an update; see `Ema.update`."""
        since = count - self.start
        number = jnp.maximum(since, 0) // self.every + 1
        taken = (since < 0) | (since % self.every == 0)
        return jax.tree.map(lambda mean, new: jnp.where(taken, mean + (new - mean) / number, mean), means, params)


@average
class Lookahead:
    """Slow parameters, to which training goes back: k steps forward, one step back.

    After every `every` updates the slow parameters go `rate` of the way to those that training has reached, and it goes
    on from there; the optimizer's state stays.

    Attributes:
      every: updates between two steps of the slow parameters, the paper's k.
      rate: of the way, the paper's alpha; with `final`, that at the start of the run.
      final: that at the end of the run; `None` for the same all along.
      power: what the share of the run that is done is raised to between the two: 1 is a straight line, with 3 the rate
        stays near the first for long.

    Source:
      Zhang et al. 2019, https://arxiv.org/abs/1907.08610, algorithm 1; the change over the run, Jordan 2024,
      https://arxiv.org/abs/2404.00498, section 3.4.
    """

    every: Count = 5
    rate: Fraction = 0.5
    final: OrNone[Fraction] = None  # type: ignore[assignment]
    power: Positive = 1.0

    def refusal(self, total_steps: int) -> str | None:
        """Returns why a run of so many updates is too short, `None` where it is not."""
        if self.every <= total_steps:
            return None
        return (
            f"config.train.average: lookahead's slow parameters take no step in the run's {total_steps:,} steps, "
            f"got every={self.every}. Use fewer."
        )

    @property
    def knows_length(self) -> bool:
        """Whether it depends on how long the run is, so that a run cannot be trained longer."""
        return self.final is not None

    def at(self, share: Float[Array, ""]) -> Lookahead:
        """Returns it with the rate of an update after which so much of the run is done, from 0 to 1."""
        if self.final is None:
            return self
        rate: Any = self.rate + (self.final - self.rate) * share**self.power
        return dataclasses.replace(self, rate=rate)

    def init(self, params: Any) -> Any:
        """Returns a copy of the parameters; see `Ema.init`."""
        return jax.tree.map(lambda array: array.copy(), params)

    def update(self, means: Any, params: Any, count: Int[Array, ""]) -> Any:
        """Returns the slow parameters after an update; see `Ema.update`."""
        step = count % self.every == 0
        return jax.tree.map(lambda slow, fast: jnp.where(step, slow + self.rate * (fast - slow), slow), means, params)

    def sync(self, means: Any, params: Any, count: Int[Array, ""]) -> Any:
        """Returns the parameters from which training goes on.

        Args:
          means: what `update` has made.
          params: what it was given.
          count: the updates made, this one included.
        """
        step = count % self.every == 0
        return jax.tree.map(lambda slow, fast: jnp.where(step, slow, fast), means, params)


def first(kind: Any, params: Any) -> Any:
    """Returns what an average keeps before the first update.

    Raises:
      ExtensionError: a user's own class failed, or returned something else than arrays like the parameters.
    """
    return _checked(kind, "init", params, params)


def updated(kind: Any, means: Any, trained: Any, count: Int[Array, ""], share: Float[Array, ""]) -> tuple[Any, Any]:
    """Returns from which of the trained parameters training goes on, and the average, after an update.

    Args:
      kind: the average.
      means: what it kept before.
      trained: the parameters that are trained, after the update.
      count: the updates made, this one included.
      share: of the run's updates, from 0 to 1.

    Raises:
      ExtensionError: see `first`.
    """
    if isinstance(kind, NoAverage):
        return trained, means
    if hasattr(kind, "at"):
        now = blamed(kind, "train.average", kind.at)(share)
        if type(now) is not type(kind):
            raise misfit(kind, "train.average", "from at an average of its own class", now)
        kind = now
    new = _checked(kind, "update", trained, freeze.restricted(means, trained), trained, count)
    if hasattr(kind, "sync"):
        trained = _checked(kind, "sync", trained, new, trained, count)
    return trained, freeze.merged(new, means)


def _checked(kind: Any, method: str, params: Any, *given: Any) -> Any:
    """Returns what a method returns, in the types of the parameters; a user's own must return arrays like these."""
    found = blamed(kind, "train.average", getattr(kind, method))(*given)
    if origin_of(kind) == PACKAGE:
        return found
    if shapes(found) != shapes(params) or not all(map(is_array, jax.tree.leaves(found))):
        raise misfit(kind, "train.average", f"from {method} arrays like the parameters, {shown(params)}", found)
    return jax.tree.map(lambda array, param: jnp.asarray(array, param.dtype), found, params)
