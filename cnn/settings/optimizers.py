"""The optimizers' options."""

import dataclasses
from typing import Literal

from cnn.fields import NonNegative, Positive, Rate

Decayed = Literal["kernels", "all"]


@dataclasses.dataclass(frozen=True)
class Sgd:
    """Plain gradient descent; the weight decay is added to the gradient."""

    learning_rate: Positive
    weight_decay: NonNegative = 0.0
    decayed: Decayed = "kernels"


@dataclasses.dataclass(frozen=True)
class Momentum(Sgd):
    """Gradient descent with heavy-ball momentum."""

    momentum: Rate = 0.9


@dataclasses.dataclass(frozen=True)
class Nesterov(Momentum):
    """Gradient descent with Nesterov's momentum."""


@dataclasses.dataclass(frozen=True)
class Rmsprop(Sgd):
    """Gradients divided by the root of their running mean square."""

    decay: Rate = 0.9
    eps: Positive = 1e-8


@dataclasses.dataclass(frozen=True)
class Adam:
    """Kingma and Ba 2015, https://arxiv.org/abs/1412.6980."""

    learning_rate: Positive
    b1: Rate = 0.9
    b2: Rate = 0.999
    eps: Positive = 1e-8


@dataclasses.dataclass(frozen=True)
class Nadam(Adam):
    """Adam with Nesterov's momentum, which rises from b1/2 to b1 as in PyTorch and Keras; nothing decays.

    At update t it is b1 (1 - 0.96^(t momentum_decay) / 2).

    Source:
      Dozat 2016, https://openreview.net/pdf?id=OM0jvwB8jIp57ZJjtNEZ.
    """

    momentum_decay: NonNegative = 4e-3


@dataclasses.dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay, https://arxiv.org/abs/1711.05101."""

    weight_decay: NonNegative = 1e-4
    decayed: Decayed = "kernels"


@dataclasses.dataclass(frozen=True)
class Lamb(AdamW):
    """AdamW scaled by each array's norm, for large batches, https://arxiv.org/abs/1904.00962."""


@dataclasses.dataclass(frozen=True)
class Lion:
    """The sign of an interpolated momentum, https://arxiv.org/abs/2302.06675."""

    learning_rate: Positive
    b1: Rate = 0.9
    b2: Rate = 0.99
    weight_decay: NonNegative = 1e-3
    decayed: Decayed = "kernels"


@dataclasses.dataclass(frozen=True)
class Muon:
    """Orthogonalised momentum for every kernel, seen as a matrix inputs x features; AdamW for biases and scales.

    Source:
      Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/.
    """

    learning_rate: Positive
    momentum: Rate = 0.95
    adam_learning_rate: Positive = 1e-3
    b1: Rate = 0.9
    b2: Rate = 0.999
    weight_decay: NonNegative = 0.0
    decayed: Decayed = "kernels"


OPTIMIZERS: dict[str, type] = {
    "sgd": Sgd,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "rmsprop": Rmsprop,
    "adam": Adam,
    "adamw": AdamW,
    "nadam": Nadam,
    "lamb": Lamb,
    "lion": Lion,
    "muon": Muon,
}
