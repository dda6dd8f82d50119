"""Layers that act on each number, or on each channel's statistics: activations, normalisation, dropout."""

import dataclasses
from typing import ClassVar

from cnn.fields import Count, Positive, Rate
from cnn.layers.base import Layer, LayerError, Parameter, Shape


@dataclasses.dataclass(frozen=True)
class Relu(Layer):
    """max(0, x)."""

    kind: ClassVar[str] = "relu"
    monotone: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True)
class Gelu(Layer):
    """x times the normal distribution's cumulative probability of x, exact (not the tanh approximation)."""

    kind: ClassVar[str] = "gelu"


@dataclasses.dataclass(frozen=True)
class Silu(Layer):
    """x times its sigmoid."""

    kind: ClassVar[str] = "silu"


@dataclasses.dataclass(frozen=True)
class Tanh(Layer):
    """The hyperbolic tangent."""

    kind: ClassVar[str] = "tanh"
    monotone: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True)
class Sigmoid(Layer):
    """1 / (1 + exp(-x))."""

    kind: ClassVar[str] = "sigmoid"
    monotone: ClassVar[bool] = True


@dataclasses.dataclass(frozen=True)
class Softmax(Layer):
    """Probabilities for people; training and metrics read the logits before it."""

    kind: ClassVar[str] = "softmax"

    def output(self, shape: Shape) -> Shape:
        if len(shape) != 1:
            raise LayerError("needs a vector of logits. Place flatten and dense(classes) before it")
        return shape


@dataclasses.dataclass(frozen=True)
class BatchNorm(Layer):
    """Normalises each channel over the batch; in evaluation by the running mean and variance.

    Defaults are Keras'. Flax's epsilon is 1e-5.

    Source:
      Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167.
    """

    kind: ClassVar[str] = "batch_norm"

    momentum: Rate = 0.99
    epsilon: Positive = 1e-3

    def parameters(self, shape: Shape) -> tuple[Parameter, ...]:
        channels = (shape[-1],)
        return (
            Parameter("scale", channels, "ones"),
            Parameter("bias", channels, "zeros"),
            Parameter("mean", channels, "zeros", "batch_stats"),
            Parameter("var", channels, "ones", "batch_stats"),
        )


@dataclasses.dataclass(frozen=True)
class GroupNorm(Layer):
    """Normalises groups of channels of one image; the same in training and evaluation.

    Source:
      Wu and He 2018, https://arxiv.org/abs/1803.08494.
    """

    kind: ClassVar[str] = "group_norm"

    groups: Count = 32
    epsilon: Positive = 1e-3

    def output(self, shape: Shape) -> Shape:
        if shape[-1] % self.groups:
            raise LayerError(f"groups={self.groups} must divide its {shape[-1]} channels")
        return shape

    def parameters(self, shape: Shape) -> tuple[Parameter, ...]:
        return Parameter("scale", (shape[-1],), "ones"), Parameter("bias", (shape[-1],), "zeros")


@dataclasses.dataclass(frozen=True)
class Dropout(Layer):
    """In training sets each number to zero with this probability and scales the others up to keep the mean.

    Source:
      Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html.
    """

    kind: ClassVar[str] = "dropout"

    rate: Rate
