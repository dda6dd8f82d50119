"""How the learning rate changes over a run.

A schedule is a class with `@schedule`: `make_factor` returns what multiplies the learning rate, as a function of the
number of updates made. A new one extends `Constant`, for its warmup and cooldown. Real numbers may be tracers; the
lengths are integers, and compiled in.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from etils import epy

from cnn import fields
from cnn.fields import Count, Fraction, Natural
from cnn.registry import SCHEDULES, FunctionForm, OfFunction, schedule

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
    cooldown_steps: Natural = 0

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


@schedule
class Cosine(Constant):
    """Half a cosine down to `final` times the learning rate."""

    final: Fraction = 0.0

    def main_factor(self, steps: int, steps_per_epoch: int) -> Factor:
        del steps_per_epoch
        return optax.cosine_decay_schedule(1.0, steps, alpha=self.final)


@schedule
class Linear(Constant):
    """A straight line down to `final` times the learning rate."""

    final: Fraction = 0.0

    def main_factor(self, steps: int, steps_per_epoch: int) -> Factor:
        del steps_per_epoch
        return optax.linear_schedule(1.0, self.final, steps)


@schedule
class Step(Constant):
    """Multiplied by `factor` every so many epochs; the warmup comes first, and the epochs are counted from its end."""

    every_epochs: Count = 10
    factor: Fraction = 0.1

    def main_factor(self, steps: int, steps_per_epoch: int) -> Factor:
        del steps
        # The counter of steps holds no more, so no run reaches it.
        length = min(self.every_epochs * steps_per_epoch, fields.MAX_INTEGER)
        return lambda count: jnp.asarray(self.factor, jnp.float32) ** (count // length)


class ScheduleFunction(OfFunction, Constant):
    """A schedule that a function computes of the step, between warmup and cooldown; `total_steps` are those between."""

    def main_factor(self, steps: int, steps_per_epoch: int) -> Factor:
        lengths = {"total_steps": steps, "steps_per_epoch": steps_per_epoch}
        return lambda count: jnp.asarray(self.call(step=count, **lengths), jnp.float32)


SCHEDULES.function = FunctionForm(ScheduleFunction, ("step", "total_steps"), ("steps_per_epoch",))
