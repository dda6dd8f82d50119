"""Layers that read their whole input: flatten, dense, global pooling."""

import dataclasses
import math
from typing import ClassVar

from cnn.fields import Count
from cnn.layers.base import Layer, LayerError, Parameter, Reach, Shape, require_map, show


@dataclasses.dataclass(frozen=True)
class Flatten(Layer):
    """A map as one vector: row by row, pixel by pixel, the channels of a pixel together."""

    kind: ClassVar[str] = "flatten"

    def output(self, shape: Shape) -> Shape:
        return (math.prod(shape),)

    def formula(self, shape: Shape) -> str:
        return f"{'*'.join(map(str, shape))} = {math.prod(shape)}"


@dataclasses.dataclass(frozen=True)
class Dense(Layer):
    """Each output is a weighted sum of all inputs and a bias."""

    kind: ClassVar[str] = "dense"

    features: Count
    use_bias: bool = True

    def output(self, shape: Shape) -> Shape:
        if len(shape) != 1:
            raise LayerError(f"needs a vector, got {show(shape)}. Place flatten or global_avg_pool before it")
        return (self.features,)

    def parameters(self, shape: Shape) -> tuple[Parameter, ...]:
        kernel = Parameter("kernel", (shape[0], self.features), "glorot_uniform")
        return (kernel, Parameter("bias", (self.features,), "zeros")) if self.use_bias else (kernel,)

    def macs(self, shape: Shape) -> int:
        return shape[0] * self.features

    def reach(self, shape: Shape) -> None:
        return None


@dataclasses.dataclass(frozen=True)
class _GlobalPool(Layer):
    def output(self, shape: Shape) -> Shape:
        return (require_map(self, shape)[2],)

    def formula(self, shape: Shape) -> str:
        return f"{shape[0]}x{shape[1]} -> 1"

    def reach(self, shape: Shape) -> Reach | None:
        return None


@dataclasses.dataclass(frozen=True)
class GlobalAvgPool(_GlobalPool):
    """The mean of each channel."""

    kind: ClassVar[str] = "global_avg_pool"


@dataclasses.dataclass(frozen=True)
class GlobalMaxPool(_GlobalPool):
    """The largest number of each channel."""

    kind: ClassVar[str] = "global_max_pool"
