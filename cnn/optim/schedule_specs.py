"""How the learning rate changes over a run."""

import dataclasses

from cnn.fields import Count, Fraction, Natural


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
