"""Functions of each number, and softmax."""

from __future__ import annotations

import math
from typing import ClassVar

import numpy as np
from etils import epy

from cnn.fields import Fraction, NonNegative
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
class Relu6(Layer):
    """max(0, x), and 6 where that is larger.

    Source:
      Sandler et al. 2018, https://arxiv.org/abs/1801.04381.
    """

    monotone: ClassVar[bool] = True

    def apply(self, x: jax.Array, arrays: Arrays, layout: str) -> jax.Array:
        return jnp.minimum(jax.nn.relu(x), 6)

    def reference(self, x: np.ndarray, arrays: Arrays) -> Reference:
        return Reference.exact(np.clip(x, 0.0, 6.0))

    def onnx(self, graph: OnnxGraph, x: str, arrays: Arrays, shape: Shape, path: str) -> str:
        return graph.node("Min", [graph.node("Relu", [x], f"{path}/relu"), graph.array(f"{path}/six", [6.0])], path)


@layer
class LeakyRelu(Layer):
    """x, or a small part of it below zero.

    Source:
      Maas et al. 2013, https://ai.stanford.edu/~amaas/papers/relu_hybrid_icml2013_final.pdf.
    """

    monotone: ClassVar[bool] = True

    slope: Fraction = 0.01
    """What numbers below zero are multiplied by."""

    def apply(self, x: jax.Array, arrays: Arrays, layout: str) -> jax.Array:
        return jnp.where(x > 0, x, jnp.asarray(self.slope, x.dtype) * x)

    def reference(self, x: np.ndarray, arrays: Arrays) -> Reference:
        return Reference.rounded(np.where(x > 0, x, np.float32(self.slope) * x), 1, np.abs(x))

    def onnx(self, graph: OnnxGraph, x: str, arrays: Arrays, shape: Shape, path: str) -> str:
        return graph.node("LeakyRelu", [x], path, alpha=float(self.slope))


@layer
class Elu(Layer):
    """x, or alpha (exp(x) - 1) below zero.

    Source:
      Clevert et al. 2016, https://arxiv.org/abs/1511.07289.
    """

    monotone: ClassVar[bool] = True

    alpha: NonNegative = 1.0
    """How far below zero its outputs may come."""

    def apply(self, x: jax.Array, arrays: Arrays, layout: str) -> jax.Array:
        # Without the minimum, the exponential of a large number is infinite, and its part of the gradient not a number.
        return jnp.where(x > 0, x, jnp.asarray(self.alpha, x.dtype) * jnp.expm1(jnp.minimum(x, 0)))

    def reference(self, x: np.ndarray, arrays: Arrays) -> Reference:
        return Reference.approximated(np.where(x > 0, x, np.float32(self.alpha) * np.expm1(np.minimum(x, 0.0))))

    def onnx(self, graph: OnnxGraph, x: str, arrays: Arrays, shape: Shape, path: str) -> str:
        return graph.node("Elu", [x], path, alpha=float(self.alpha))


@layer
class HardSigmoid(Layer):
    """(x + 3) / 6 between 0 and 1.

    Source:
      Howard et al. 2019, https://arxiv.org/abs/1905.02244, section 5.2.
    """

    monotone: ClassVar[bool] = True

    def apply(self, x: jax.Array, arrays: Arrays, layout: str) -> jax.Array:
        return jnp.clip(x + 3, 0, 6) / 6

    def reference(self, x: np.ndarray, arrays: Arrays) -> Reference:
        return Reference.rounded(_hard_sigmoid(x), 2, np.abs(x) / 6 + 1)

    def onnx(self, graph: OnnxGraph, x: str, arrays: Arrays, shape: Shape, path: str) -> str:
        return graph.node("HardSigmoid", [x], path, alpha=1 / 6, beta=0.5)


@layer
class HardSwish(Layer):
    """x times its hard sigmoid, (x + 3) / 6 between 0 and 1.

    Source:
      Howard et al. 2019, https://arxiv.org/abs/1905.02244, section 5.2.
    """

    kept: ClassVar[float] = 2

    def apply(self, x: jax.Array, arrays: Arrays, layout: str) -> jax.Array:
        return x * (jnp.clip(x + 3, 0, 6) / 6)

    def reference(self, x: np.ndarray, arrays: Arrays) -> Reference:
        return Reference.rounded(x * _hard_sigmoid(x), 3, np.abs(x) * (np.abs(x) / 6 + 1))

    def onnx(self, graph: OnnxGraph, x: str, arrays: Arrays, shape: Shape, path: str) -> str:
        return graph.node("HardSwish", [x], path)


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
    """Probabilities for the reader, as the last layer; training and metrics read the logits before it."""

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


def _hard_sigmoid(x: np.ndarray) -> np.ndarray:
    return np.clip(x + 3, 0.0, 6.0) / 6
