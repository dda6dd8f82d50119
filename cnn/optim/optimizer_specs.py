"""The optimizers' options.

Where an optimizer takes `weight_decay`, `decayed` says which arrays it shrinks. "kernels", the default, are the arrays
with more than one axis; biases and the scales of normalization keep theirs. "all" shrinks every array, as PyTorch does
unless it is told of groups.
"""

import dataclasses
from typing import Literal

from cnn.fields import NonNegative, Positive, Rate

Decayed = Literal["kernels", "all"]
"""Kernels are the arrays with more than one axis; PyTorch decays all."""
EpsPlace = Literal["inside", "outside"]
"""Of the root of a mean square."""


@dataclasses.dataclass(frozen=True)
class Sgd:
    """Plain gradient descent; the weight decay is added to the gradient.

    decayed="kernels" decays the arrays with more than one axis, "all" every one, as PyTorch does.
    """

    learning_rate: Positive
    weight_decay: NonNegative = 0.0
    decayed: Decayed = "kernels"


@dataclasses.dataclass(frozen=True)
class Momentum(Sgd):
    """Gradient descent with heavy-ball momentum; the weight decay is added to the gradient.

    decayed="kernels" decays the arrays with more than one axis, "all" every one, as PyTorch does.
    """

    momentum: Rate = 0.9


@dataclasses.dataclass(frozen=True)
class Nesterov(Momentum):
    """Gradient descent with Nesterov's momentum; the weight decay is added to the gradient.

    decayed="kernels" decays the arrays with more than one axis, "all" every one, as PyTorch does.
    """


@dataclasses.dataclass(frozen=True)
class Rmsprop(Sgd):
    """Gradients divided by the root of their running mean square; the weight decay is added to the gradient.

    `eps` is added to the mean square inside the root, sqrt(mean + eps), or outside it, sqrt(mean) + eps, as PyTorch
    has it: inside, 1e-8 weighs as much as 1e-4 outside. `decay` is what PyTorch calls alpha, there 0.99 by default.
    decayed="kernels" decays the arrays with more than one axis, "all" every one, as PyTorch does.
    """

    decay: Rate = 0.9
    eps: Positive = 1e-8
    eps_place: EpsPlace = "inside"


@dataclasses.dataclass(frozen=True)
class Adam:
    """Kingma and Ba 2015, https://arxiv.org/abs/1412.6980; nothing decays, and eps is outside the root."""

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
    """Adam with decoupled weight decay, https://arxiv.org/abs/1711.05101.

    An update takes off learning_rate * weight_decay of an array. decayed="kernels" decays the arrays with more than
    one axis, "all" every one, as PyTorch does, whose default weight_decay is 1e-2.
    """

    weight_decay: NonNegative = 1e-4
    decayed: Decayed = "kernels"


@dataclasses.dataclass(frozen=True)
class Lamb(AdamW):
    """AdamW scaled by each array's norm, for large batches, https://arxiv.org/abs/1904.00962.

    decayed="kernels" decays the arrays with more than one axis, "all" every one; the norm scales all either way.
    """


@dataclasses.dataclass(frozen=True)
class Lion:
    """The sign of an interpolated momentum, https://arxiv.org/abs/2302.06675.

    An update takes off learning_rate * weight_decay of an array. decayed="kernels" decays the arrays with more than
    one axis, "all" every one.
    """

    learning_rate: Positive
    b1: Rate = 0.9
    b2: Rate = 0.99
    weight_decay: NonNegative = 1e-3
    decayed: Decayed = "kernels"


@dataclasses.dataclass(frozen=True)
class Muon:
    """Orthogonalised momentum for every kernel, seen as a matrix inputs x features; AdamW for biases and scales.

    An update takes off learning_rate * weight_decay of a kernel. decayed="kernels" decays the arrays with more than one
    axis alone, "all" biases and scales too, by adam_learning_rate * weight_decay. b1 and b2 are AdamW's, its eps 1e-8.
    The momentum is Nesterov's and corrected for its start at zero, see `cnn.optim.muon.scale_by_muon`.

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
