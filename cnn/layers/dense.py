"""Flatten and dense."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from etils import epy

from cnn.fields import Count
from cnn.layers import initialisers
from cnn.layers.base import Arrays, Layer, LayerError, OnnxGraph, Parameter, Reference, Shape, show
from cnn.layers.initialisers import DEFAULT, Initial
from cnn.registry import layer

if TYPE_CHECKING:
    from jaxtyping import PRNGKeyArray

with epy.lazy_imports():
    import jax

    from cnn.ops import conv
    from cnn.ops import layout as layouts


@layer
class Flatten(Layer):
    """A map as one vector: row by row, pixel by pixel, the channels of a pixel together."""

    kept: ClassVar[float] = 0

    def output(self, shape: Shape) -> Shape:
        return (math.prod(shape),)

    def formula(self, shape: Shape) -> str:
        return f"{'*'.join(map(str, shape))} = {math.prod(shape)}"

    def apply(self, x: jax.Array, arrays: Arrays, layout: str) -> jax.Array:
        x = layouts.leave(x, layout)
        return x.reshape(x.shape[0], -1)

    def reference(self, x: np.ndarray, arrays: Arrays) -> Reference:
        return Reference.exact(x.reshape(-1))

    def onnx(self, graph: OnnxGraph, x: str, arrays: Arrays, shape: Shape, path: str) -> str:
        if len(shape) == 1:
            return x
        last = graph.node("Transpose", [x], f"{path}/channels_last", perm=[0, 2, 3, 1])
        return graph.node("Flatten", [last], path)


@layer
class Dense(Layer):
    """Each output is a weighted sum of all inputs and a bias."""

    features: Count
    """How many outputs there are."""
    use_bias: bool = True
    """Whether a trained number is added to each output."""
    init: Initial = DEFAULT
    """How the kernel begins."""

    def output(self, shape: Shape) -> Shape:
        if len(shape) != 1:
            raise LayerError(f"needs a vector, got {show(shape)}. Place flatten or global_avg_pool before it")
        self.init.check((shape[0], self.features))
        return (self.features,)

    def parameters(self, shape: Shape) -> tuple[Parameter, ...]:
        kernel = Parameter("kernel", (shape[0], self.features), self.init.declared)
        return (kernel, Parameter("bias", (self.features,), "zeros")) if self.use_bias else (kernel,)

    def initialise(self, key: PRNGKeyArray, shape: Shape) -> dict[str, jax.Array]:
        return {"kernel": initialisers.drawn(self.init, key, (shape[0], self.features))}

    def macs(self, shape: Shape) -> int:
        return shape[0] * self.features

    def reach(self, shape: Shape) -> None:
        return None

    def apply(self, x: jax.Array, arrays: Arrays, layout: str) -> jax.Array:
        return layouts.add_bias(conv.dense(x, arrays["kernel"].astype(x.dtype)), arrays.get("bias"), layout)

    def reference(self, x: np.ndarray, arrays: Arrays) -> Reference:
        kernel = np.asarray(arrays["kernel"], np.float64)
        bias = np.asarray(arrays.get("bias", np.zeros(kernel.shape[1])), np.float64)
        size = np.abs(x) @ np.abs(kernel) + np.abs(bias)
        return Reference.rounded(x @ kernel + bias, kernel.shape[0] + 2, size)

    def onnx(self, graph: OnnxGraph, x: str, arrays: Arrays, shape: Shape, path: str) -> str:
        kernel = graph.array(f"{path}/kernel", arrays["kernel"])
        if not self.use_bias:
            return graph.node("MatMul", [x, kernel], path)
        return graph.node("Gemm", [x, kernel, graph.array(f"{path}/bias", arrays["bias"])], path)
