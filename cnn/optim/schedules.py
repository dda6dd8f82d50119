"""How the learning rate changes over a run.

A schedule is a class with `@schedule`: `make_factor` returns what multiplies the learning rate, as a function of the
number of updates made. A new one extends `Constant`, for its warmup and cooldown. Real numbers may be tracers; the
lengths are integers, and compiled in.

One that follows the evaluations, as `Plateau` does, keeps a state of arrays: `init_state` makes it, `observe` changes
it after each evaluation of the validation split, on the host, and `scale` is one more factor of the rate.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
from etils import epy

from cnn import fields
from cnn.fields import Bounds, Count, Fraction, Natural, NonNegative
from cnn.registry import PACKAGE, SCHEDULES, FunctionForm, OfFunction, blamed, is_array, misfit, origin_of, schedule

with epy.lazy_imports():
    import jax.numpy as jnp
    import optax

if TYPE_CHECKING:
    import jax

Factor = Callable[["jax.Array"], "jax.Array"]
"""From the number of updates made to a multiple of the learning rate."""


class LearningRate(NamedTuple):
    """A learning rate as a function of the number of updates made: `peak` times the schedule's factor."""

    peak: Any
    factor: Factor

    def __call__(self, count: jax.Array) -> jax.Array:
        return self.peak * self.factor(count)


@schedule
class Constant:
    """The learning rate as it is, after a linear warmup from zero and before a linear cooldown to zero."""

    warmup_steps: Natural = 0
    """Updates at the start, during which the rate rises from zero in a straight line."""
    cooldown_steps: Natural = 0
    """Updates at the end, during which it falls to zero in a straight line."""

    def make_factor(self, *, total_steps: int, steps_per_epoch: int) -> Factor:
        """Returns the multiple of the learning rate as a function of the number of updates made.

        Args:
          total_steps: the updates of the whole run.
          steps_per_epoch: the updates of one epoch.

        Raises:
          ValueError: warmup and cooldown together are longer than the run.
        """
        if message := self.refusal(total_steps):
            raise ValueError(message)
        warmup, cooldown = self.linear_steps, self.cooldown_steps
        main_steps = total_steps - warmup - cooldown
        main = self.main_factor(max(1, main_steps), steps_per_epoch)

        def factor(count: jax.Array) -> jax.Array:
            value = main(jnp.maximum(count - warmup, 0))
            if warmup:
                value = value * jnp.minimum(1.0, (count + 1) / warmup)
            if cooldown:
                left = (total_steps - count) / (cooldown + 1)
                value = jnp.where(left < 1, main(jnp.asarray(main_steps)) * left, value)
            return value

        return factor

    @property
    def knows_length(self) -> bool:
        """Whether an update's factor depends on how long the run is, so that a run cannot be trained longer."""
        return self.cooldown_steps > 0

    @property
    def linear_steps(self) -> int:
        """How many updates the linear warmup before the main factor takes."""
        return self.warmup_steps

    def main_factor(self, steps: int, steps_per_epoch: int) -> Factor:
        """Returns the factor between warmup and cooldown, of the number of updates made since the warmup.

        Args:
          steps: the updates between them.
          steps_per_epoch: the updates of one epoch.
        """
        del steps, steps_per_epoch
        return lambda count: jnp.ones(())

    def refusal(self, total_steps: int) -> str | None:
        """Returns why a run of so many updates is too short, `None` where it is not."""
        if self.warmup_steps + self.cooldown_steps <= total_steps:
            return None
        return (
            f"config.schedule.warmup_steps: warmup and cooldown are longer than the run's {total_steps} steps, "
            f"got {self.warmup_steps} + {self.cooldown_steps}. Use shorter ones or more epochs."
        )


class _OverTheRun(Constant):
    """Whatever takes the whole run for its way."""

    knows_length: ClassVar[bool] = True


@schedule
class Cosine(_OverTheRun):
    """Half a cosine down to `final` times the learning rate.

    The factor is final + (1 - final) (1 + cos(pi s)) / 2 after the share s of the steps between warmup and cooldown.
    """

    final: Fraction = 0.0
    """What it ends at, as a multiple of the learning rate."""

    def main_factor(self, steps: int, steps_per_epoch: int) -> Factor:
        del steps_per_epoch
        return optax.cosine_decay_schedule(1.0, steps, alpha=self.final)


@schedule
class Linear(_OverTheRun):
    """A straight line down to `final` times the learning rate."""

    final: Fraction = 0.0
    """What it ends at, as a multiple of the learning rate."""

    def main_factor(self, steps: int, steps_per_epoch: int) -> Factor:
        del steps_per_epoch
        return optax.linear_schedule(1.0, self.final, steps)


@schedule
class Step(Constant):
    """Multiplied by `factor` every so many epochs; the warmup comes first, and the epochs are counted from its end."""

    every_epochs: Count = 10
    """Epochs from one fall to the next."""
    factor: Fraction = 0.1
    """What each fall multiplies the rate by."""

    def main_factor(self, steps: int, steps_per_epoch: int) -> Factor:
        del steps
        length = _steps(self.every_epochs, steps_per_epoch)
        return lambda count: jnp.asarray(self.factor, jnp.float32) ** (count // length)


@schedule
class Polynomial(_OverTheRun):
    """Down to `final` times the learning rate as the part of the run that is left, to the power of `power`.

    The factor is final + (1 - final) (1 - s)^power after the share s of the steps between warmup and cooldown. A power
    of 1 is a straight line, above 1 it falls fast at first. PyTorch's `PolynomialLR` has a power of 1.
    """

    power: NonNegative = 2.0
    """What the part of the run that is left is raised to."""
    final: Fraction = 0.0
    """What it ends at, as a multiple of the learning rate."""

    def main_factor(self, steps: int, steps_per_epoch: int) -> Factor:
        del steps_per_epoch
        return lambda count: self.final + (1 - self.final) * jnp.maximum(1 - count / steps, 0.0) ** self.power


@schedule
class Exponential(Constant):
    """Multiplied by `rate` an epoch: a little each step, or if not `smooth` after each epoch, as in PyTorch."""

    rate: Fraction = 0.95
    """What an epoch multiplies the learning rate by."""
    smooth: bool = True
    """Whether it falls a little each step, or after each epoch."""

    def main_factor(self, steps: int, steps_per_epoch: int) -> Factor:
        del steps

        def factor(count: jax.Array) -> jax.Array:
            epochs = count / steps_per_epoch if self.smooth else count // steps_per_epoch
            return jnp.asarray(self.rate, jnp.float32) ** epochs

        return factor


@schedule
class Piecewise(Constant):
    """Multiplied by `factor` after each of some epochs, which are counted from the end of the warmup.

    PyTorch calls it `MultiStepLR`. Steps in updates, with a factor each, are `optax.piecewise_constant_schedule`.
    """

    at_epochs: Annotated[tuple[int, ...], Bounds(1)] = (10, 15)
    """The epochs after which the rate falls."""
    factor: Fraction = 0.1
    """What each fall multiplies it by."""

    def main_factor(self, steps: int, steps_per_epoch: int) -> Factor:
        del steps
        ends = np.asarray([_steps(epoch, steps_per_epoch) for epoch in self.at_epochs])

        def factor(count: jax.Array) -> jax.Array:
            passed = (jnp.asarray(count)[..., None] >= ends).sum(-1)
            return jnp.asarray(self.factor, jnp.float32) ** passed

        return factor


@schedule
class OneCycle(_OverTheRun):
    """Up from `start` times the learning rate, and down to `final` times; the peak is at `peak_at` of the run.

    The defaults are PyTorch's. Both ways are halves of a cosine, or straight lines.

    Source:
      Smith and Topin 2017, https://arxiv.org/abs/1708.07120.
    """

    peak_at: Fraction = 0.3
    """Where the peak is, as a share of the run."""
    start: Fraction = 0.04
    """What it begins at, as a multiple of the learning rate."""
    final: Fraction = 4e-6
    """What it ends at, as a multiple of the learning rate."""
    shape: Literal["cosine", "linear"] = "cosine"
    """Whether both ways are halves of a cosine, or straight lines."""

    def main_factor(self, steps: int, steps_per_epoch: int) -> Factor:
        del steps_per_epoch
        straight = self.shape == "linear"

        def between(first: Any, last: Any, share: jax.Array) -> jax.Array:
            share = jnp.clip(share, 0, 1)
            return first + (last - first) * (share if straight else (1 - jnp.cos(jnp.pi * share)) / 2)

        def factor(count: jax.Array) -> jax.Array:
            up, tiny = self.peak_at * steps, jnp.finfo(jnp.float32).tiny
            rising = between(self.start, 1.0, count / jnp.maximum(up, tiny))
            falling = between(1.0, self.final, (count - up) / jnp.maximum(steps - up, tiny))
            return jnp.where(count < up, rising, falling)

        return factor


@schedule
class Restarts(Constant):
    """Half a cosine down to `final` times the learning rate, again and again.

    A cooldown at the end falls from where the next update would have been: from the top, where a cycle ends before it.

    Attributes:
      cycle_epochs: the length of the first.
      longer: how many times as long as the one before each other is.
      final: what each ends at, as a multiple of the learning rate.

    Source:
      Loshchilov and Hutter 2016, https://arxiv.org/abs/1608.03983.
    """

    cycle_epochs: Count = 10
    longer: Count = 1
    final: Fraction = 0.0

    def main_factor(self, steps: int, steps_per_epoch: int) -> Factor:
        length = _steps(self.cycle_epochs, steps_per_epoch)
        starts, lengths = [0], [length]
        while self.longer > 1 and starts[-1] + lengths[-1] <= steps:
            starts.append(starts[-1] + lengths[-1])
            lengths.append(min(lengths[-1] * self.longer, fields.MAX_INTEGER))

        def factor(count: jax.Array) -> jax.Array:
            cycle = (jnp.asarray(count)[..., None] >= np.asarray(starts)).sum(-1) - 1
            since, whole = count - jnp.asarray(starts)[cycle], jnp.asarray(lengths)[cycle]
            share = (since % whole if self.longer == 1 else since) / whole
            return self.final + (1 - self.final) * (1 + jnp.cos(jnp.pi * share)) / 2

        return factor


class PlateauState(NamedTuple):
    """What `Plateau` has seen: the rate's factor, the best value, and how many evaluations in a row were not better."""

    factor: Any
    best: Any
    stale: Any


@schedule
class Plateau(Constant):
    """Multiplied by `factor` each time that `train.monitor` has not become better in so many evaluations in a row.

    The metric is that of the validation split; after a fall it is counted from 0 again. PyTorch's `ReduceLROnPlateau`
    with a `patience` of one less, `threshold_mode="abs"` and no cooldown.

    Attributes:
      evaluations: in a row without a better value.
      factor: what the rate is multiplied by.
      threshold: by how much a value must be better than the best, to be better.
      final: the least multiple of the learning rate.
    """

    needs_valid: ClassVar[bool] = True

    evaluations: Count = 5
    factor: Fraction = 0.1
    threshold: NonNegative = 0.0
    final: Fraction = 0.0

    def init_state(self) -> PlateauState:
        """Returns the state before the first evaluation."""
        return PlateauState(jnp.ones(()), jnp.full((), jnp.inf, jnp.float32), jnp.zeros((), jnp.int32))

    def observe(self, state: PlateauState, value: float, better: str) -> PlateauState:
        """Returns the state after an evaluation, in NumPy.

        Args:
          state: before it.
          value: of the monitored metric.
          better: "higher" or "lower".
        """
        factor, best, stale = np.float32(state.factor), np.float32(state.best), int(state.stale) + 1
        cost = np.float32(value if better == "lower" else -value)
        if cost < best - np.float32(self.threshold):
            best, stale = cost, 0
        elif stale >= self.evaluations:
            factor, stale = max(factor * np.float32(self.factor), np.float32(self.final)), 0
        return PlateauState(factor, best, np.int32(stale))

    def scale(self, state: PlateauState) -> Any:
        """Returns what the learning rate is multiplied by, besides its factor."""
        return state.factor


def _steps(epochs: int, steps_per_epoch: int) -> int:
    # The counter of steps holds no more, so no run reaches it.
    return min(epochs * steps_per_epoch, fields.MAX_INTEGER)


class ScheduleFunction(OfFunction, _OverTheRun):
    """A schedule that a function computes of the step, between warmup and cooldown; `total_steps` are those between."""

    def main_factor(self, steps: int, steps_per_epoch: int) -> Factor:
        lengths = {"total_steps": steps, "steps_per_epoch": steps_per_epoch}
        return lambda count: jnp.asarray(_checked(self, self.call(step=count, **lengths), count), jnp.float32)


def factor_of(schedule: Any, total_steps: int, steps_per_epoch: int) -> Factor:
    """Returns what multiplies the learning rate, as a function of the number of updates made; see `Constant`.

    Raises:
      ValueError: the schedule does not fit into the run.
      ExtensionError: a user's own class or function failed, or returned something else than a number.
    """
    make_factor = blamed(schedule, "schedule.name", schedule.make_factor)
    factor = blamed(schedule, "schedule.name", make_factor(total_steps=total_steps, steps_per_epoch=steps_per_epoch))
    if origin_of(schedule) == PACKAGE:
        return factor
    return lambda count: _checked(schedule, factor(count), count)


def _checked(schedule: Any, factor: Any, count: Any) -> Any:
    numbers = isinstance(factor, (int, float)) or (is_array(factor) and jnp.isrealobj(factor))
    if not numbers or jnp.shape(factor) not in ((), jnp.shape(count)):
        raise misfit(schedule, "schedule.name", "one number, which multiplies the learning rate", factor)
    return factor


SCHEDULES.function = FunctionForm(ScheduleFunction, ("step", "total_steps"), ("steps_per_epoch",))
