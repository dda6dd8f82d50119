"""Schedules, clipping, averaging and stopping rules."""

import dataclasses
from typing import Annotated, Literal

from cnn.fields import Bounds, Count, Fraction, Natural, Positive, Rate


@dataclasses.dataclass(frozen=True)
class Constant:
    """The learning rate as it is, after a linear warmup from zero and before a linear cooldown to zero."""

    warmup_steps: Natural = 0
    cooldown_steps: Natural = 0


@dataclasses.dataclass(frozen=True)
class Cosine(Constant):
    """Half a cosine down to `final` times the learning rate."""

    final: Fraction = 0.0


@dataclasses.dataclass(frozen=True)
class Linear(Constant):
    """A straight line down to `final` times the learning rate."""

    final: Fraction = 0.0


@dataclasses.dataclass(frozen=True)
class Step(Constant):
    """Multiplied by `factor` every so many epochs; the warmup comes first, and the epochs are counted from its end."""

    every_epochs: Count = 10
    factor: Fraction = 0.1


SCHEDULES: dict[str, type] = {"constant": Constant, "cosine": Cosine, "linear": Linear, "step": Step}


@dataclasses.dataclass(frozen=True)
class Off:
    """Nothing."""


@dataclasses.dataclass(frozen=True)
class GlobalNorm:
    """Scales all gradients down together where their joint norm is larger."""

    max_norm: Positive


@dataclasses.dataclass(frozen=True)
class Value:
    """Clips every number of the gradients to [-limit, limit]."""

    limit: Positive


@dataclasses.dataclass(frozen=True)
class Ema:
    """Keeps an exponential moving average of the parameters, for `eval.weights = "ema"`.

    The average after n updates uses the decay min(decay, (1 + n) / (10 + n)), so that the start is forgotten.
    """

    decay: Rate


@dataclasses.dataclass(frozen=True)
class Target:
    """Stops after the first epoch whose accuracy is above this."""

    accuracy: Fraction
    split: Literal["train", "valid"] = "train"


@dataclasses.dataclass(frozen=True)
class Patience:
    """Stops after so many evaluations in a row without a better validation accuracy."""

    evaluations: Count


@dataclasses.dataclass(frozen=True)
class Epochs:
    """At the end of every so many epochs."""

    number: Count


@dataclasses.dataclass(frozen=True)
class Steps:
    """After every so many steps."""

    number: Count


@dataclasses.dataclass(frozen=True)
class Minutes:
    """At the first record after so many minutes without a save."""

    number: Positive


@dataclasses.dataclass(frozen=True)
class Shared:
    """The order of this seed, whatever the run's own: runs that share it see the same batches."""

    seed: Annotated[int, Bounds(0, 2**32 - 1)]


ORDERS: dict[str, type] = {"own": Off, "shared": Shared}
CLIPS: dict[str, type] = {"none": Off, "global_norm": GlobalNorm, "value": Value}
AVERAGES: dict[str, type] = {"none": Off, "ema": Ema}
STOPS: dict[str, type] = {"never": Off, "target": Target, "patience": Patience}
CADENCES: dict[str, type] = {"epochs": Epochs, "steps": Steps, "minutes": Minutes}
