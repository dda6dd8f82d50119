"""Functions of each number, and softmax."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from etils import epy

from cnn.layers.base import Arrays, Layer, LayerError, OnnxGraph, Reference, Shape
from cnn.losses import softmax
from cnn.registry import layer

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp


@layer
class Relu(Layer):
    """max(0, x)."""

    monotone: ClassVar[bool] = True

    def apply(self, x: jax.Array, arrays: Arrays, layout: str) -> jax.Array:
        return jax.nn.relu(x)

    def reference(self, x: np.ndarray, arrays: Arrays) -> Reference:
        return Reference.exact(np.maximum(x, 0.0))

    def onnx(self, graph: OnnxGraph, x: str, arrays: Arrays, shape: Shape, path: str) -> str:
        return graph.node("Relu", [x], path)


@layer
class Gelu(Layer):
    """x times the normal distribution's cumulative probability of x, exact (not the tanh approximation)."""

    kept: ClassVar[float] = 2

    def apply(self, x: jax.Array, arrays: Arrays, layout: str) -> jax.Array:
        return jax.nn.gelu(x, approximate=False)

    def reference(self, x: np.ndarray, arrays: Arrays) -> Reference:
        return Reference.approximated(x * 0.5 * np.vectorize(math.erfc, otypes=[np.float64])(-x * math.sqrt(0.5)))

    def onnx(self, graph: OnnxGraph, x: str, arrays: Arrays, shape: Shape, path: str) -> str:
        # ONNX has the operator since opset 20: x/2 (1 + erf(x / sqrt(2))).
        root, one, half = (
            graph.array(f"{path}/{name}", [number])
            for name, number in (("root", math.sqrt(2)), ("one", 1.0), ("half", 0.5))
        )
        error = graph.node("Erf", [graph.node("Div", [x, root], f"{path}/part")], f"{path}/erf")
        share = graph.node("Mul", [graph.node("Add", [error, one], f"{path}/sum"), half], f"{path}/share")
        return graph.node("Mul", [x, share], path)


@layer
class Silu(Layer):
    """x times its sigmoid."""

    kept: ClassVar[float] = 2

    def apply(self, x: jax.Array, arrays: Arrays, layout: str) -> jax.Array:
        return jax.nn.silu(x)

    def reference(self, x: np.ndarray, arrays: Arrays) -> Reference:
        return Reference.approximated(x * _sigmoid(x))

    def onnx(self, graph: OnnxGraph, x: str, arrays: Arrays, shape: Shape, path: str) -> str:
        return graph.node("Mul", [x, graph.node("Sigmoid", [x], f"{path}/sigmoid")], path)


@layer
class Tanh(Layer):
    """The hyperbolic tangent."""

    monotone: ClassVar[bool] = True

    def apply(self, x: jax.Array, arrays: Arrays, layout: str) -> jax.Array:
        return jnp.tanh(x)

    def reference(self, x: np.ndarray, arrays: Arrays) -> Reference:
        return Reference.approximated(np.tanh(x))

    def onnx(self, graph: OnnxGraph, x: str, arrays: Arrays, shape: Shape, path: str) -> str:
        return graph.node("Tanh", [x], path)


@layer
class Sigmoid(Layer):
    """1 / (1 + exp(-x))."""

    monotone: ClassVar[bool] = True

    def apply(self, x: jax.Array, arrays: Arrays, layout: str) -> jax.Array:
        return jax.nn.sigmoid(x)

    def reference(self, x: np.ndarray, arrays: Arrays) -> Reference:
        return Reference.approximated(_sigmoid(x))

    def onnx(self, graph: OnnxGraph, x: str, arrays: Arrays, shape: Shape, path: str) -> str:
        return graph.node("Sigmoid", [x], path)


@layer
class Softmax(Layer):
    """Probabilities for the reader; training and metrics read the logits before it, which the network returns."""

    kept: ClassVar[float] = 0

    def output(self, shape: Shape) -> Shape:
        if len(shape) != 1:
            raise LayerError("needs a vector of logits. Place flatten and dense(classes) before it")
        return shape

    def apply(self, x: jax.Array, arrays: Arrays, layout: str) -> jax.Array:
        return jax.nn.softmax(x.astype(jnp.float32))

    def reference(self, x: np.ndarray, arrays: Arrays) -> Reference:
        return Reference.approximated(softmax(x))

    def onnx(self, graph: OnnxGraph, x: str, arrays: Arrays, shape: Shape, path: str) -> str:
        return x  # an export ends in a softmax, written or not


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -x))
