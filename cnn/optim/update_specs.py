"""What is chosen by none.

What is done to gradients before, and to parameters after, an update.
"""

import dataclasses

from cnn.fields import Positive, Rate


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


CLIPS: dict[str, type] = {"none": Off, "global_norm": GlobalNorm, "value": Value}


AVERAGES: dict[str, type] = {"none": Off, "ema": Ema}
