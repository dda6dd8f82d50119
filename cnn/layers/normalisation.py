"""Batch, group, layer and local response normalisation, and scaling of channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from etils import epy

from cnn.fields import Count, NonNegative, Positive, Rate
from cnn.layers.base import Arrays, Layer, LayerError, OnnxGraph, Parameter, Reference, Shape, Training, gamma
from cnn.registry import layer

if TYPE_CHECKING:
    from jaxtyping import PRNGKeyArray

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp

    from cnn.ops import batch_norm
    from cnn.ops import layout as layouts


FirstScale = Literal["ones", "zeros"]
"""How the scale begins: with zeros, a residual whose body ends in it begins as its shortcut alone."""


@layer
class BatchNorm(Layer):
    """Normalises each channel over the batch; in evaluation by the running mean and variance.

    Defaults are Keras'. Flax's epsilon is 1e-5.

    Source:
      Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167.
    """

    momentum: Rate = 0.99
    """What the running mean and variance keep of themselves at each step."""
    epsilon: Positive = 1e-3
    """Added to the variance."""
    init: FirstScale = "ones"
    """What the scale begins as; a residual whose body ends in zeros begins as its shortcut."""

    def parameters(self, shape: Shape) -> tuple[Parameter, ...]:
        channels = (shape[-1],)
        return (
            Parameter("scale", channels, self.init),
            Parameter("bias", channels, "zeros"),
            Parameter("mean", channels, "zeros", "batch_stats"),
            Parameter("var", channels, "ones", "batch_stats"),
        )

    def mixes_rows(self, shape: Shape) -> bool:
        return True

    def apply(self, x: jax.Array, arrays: Arrays, layout: str) -> jax.Array:
        scale = arrays["scale"] * jax.lax.rsqrt(arrays["var"] + self.epsilon)
        vectors = (arrays["mean"], scale, arrays["bias"])
        mean, scale, bias = (layouts.per_channel(vector, x, layout) for vector in vectors)
        return ((x.astype(jnp.float32) - mean) * scale + bias).astype(x.dtype)

    def apply_train(
        self, x: jax.Array, arrays: Arrays, layout: str, training: Training
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        channel = layouts.channel_axis(x, layout)
        axis = training.shard.axis
        x, mean, var = batch_norm.batch_norm(x, arrays["scale"], arrays["bias"], self.epsilon, channel, axis)
        return x, {
            name: self.momentum * arrays[name] + (1 - self.momentum) * measured
            for name, measured in (("mean", mean), ("var", var))
        }

    def reference(self, x: np.ndarray, arrays: Arrays) -> Reference:
        mean, var, scale, bias = (np.asarray(arrays[name], np.float64) for name in ("mean", "var", "scale", "bias"))
        moved = (x - mean) * (scale / np.sqrt(var + np.float32(self.epsilon)))
        # The sum under the root, the root and its inverse (3), two products, the difference, the sum of the bias.
        return Reference.rounded(moved + bias, 8, np.abs(moved) + np.abs(bias))

    def onnx(self, graph: OnnxGraph, x: str, arrays: Arrays, shape: Shape, path: str) -> str:
        inputs = [graph.array(f"{path}/{name}", arrays[name]) for name in ("scale", "bias", "mean", "var")]
        return graph.node("BatchNormalization", [x, *inputs], path, epsilon=float(self.epsilon))


@layer
class GroupNorm(Layer):
    """Normalises groups of channels of one image; the same in training and evaluation.

    Mean and variance are of the whole map; what a number sees of the image is told without them.

    Source:
      Wu and He 2018, https://arxiv.org/abs/1803.08494.
    """

    kept: ClassVar[float] = 2

    groups: Count = 32
    """How many groups there are, each with as many channels."""
    epsilon: Positive = 1e-3
    """Added to the variance."""
    init: FirstScale = "ones"
    """What the scale begins as."""

    def output(self, shape: Shape) -> Shape:
        if shape[-1] % self.groups:
            raise LayerError(f"groups={self.groups} must divide its {shape[-1]} channels")
        return shape

    def parameters(self, shape: Shape) -> tuple[Parameter, ...]:
        return Parameter("scale", (shape[-1],), self.init), Parameter("bias", (shape[-1],), "zeros")

    def apply(self, x: jax.Array, arrays: Arrays, layout: str) -> jax.Array:
        wide = layouts.leave(x, layout).astype(jnp.float32)
        grouped = wide.reshape(*wide.shape[:-1], self.groups, wide.shape[-1] // self.groups)
        axes = (*range(1, wide.ndim - 1), wide.ndim)
        mean, var = grouped.mean(axes, keepdims=True), grouped.var(axes, keepdims=True)
        normal = ((grouped - mean) * jax.lax.rsqrt(var + self.epsilon)).reshape(wide.shape)
        out = (normal * arrays["scale"] + arrays["bias"]).astype(x.dtype)
        return layouts.enter(out, layout, x.shape[-1])

    def reference(self, x: np.ndarray, arrays: Arrays) -> Reference:
        shape, x = x.shape, x.reshape(*x.shape[:-1], self.groups, -1)
        axes = (*range(x.ndim - 2), x.ndim - 1)
        n = x.size // self.groups + 8
        mean, level = x.mean(axes, keepdims=True), np.abs(x).mean(axes, keepdims=True)
        inverse = 1 / np.sqrt(x.var(axes, keepdims=True) + np.float32(self.epsilon))
        normal = (x - mean) * inverse
        # The mean is off by gamma * level, which enters each number once, and the variance by its square.
        size = (level * inverse + np.abs(normal) * (1 + gamma(n) * (level * inverse) ** 2)).reshape(shape)
        scale, bias = (np.asarray(arrays[name], np.float64) for name in ("scale", "bias"))
        right = normal.reshape(shape) * scale + bias
        return Reference.rounded(right, n, size * np.abs(scale) + np.abs(bias))

    def onnx(self, graph: OnnxGraph, x: str, arrays: Arrays, shape: Shape, path: str) -> str:
        # ONNX has the operator with a scale for each channel only since opset 21: normalise groups, then scale.
        first = [shape[-1], *shape[:-1]]
        grouped = graph.array(f"{path}/groups", [0, self.groups, -1], np.int64)
        whole = graph.array(f"{path}/shape", [0, *first], np.int64)
        split = graph.node("Reshape", [x, grouped], f"{path}/grouped")
        ones, zeros = (graph.array(f"{path}/{n}", np.full(self.groups, n)) for n in (1, 0))
        epsilon = float(self.epsilon)
        normal = graph.node("InstanceNormalization", [split, ones, zeros], f"{path}/normal", epsilon=epsilon)
        together = graph.node("Reshape", [normal, whole], f"{path}/together")
        per_channel = [shape[-1], *[1] * (len(shape) - 1)]
        scale, bias = (
            graph.array(f"{path}/{name}", np.reshape(np.asarray(arrays[name]), per_channel))
            for name in ("scale", "bias")
        )
        return graph.node("Add", [graph.node("Mul", [together, scale], f"{path}/scaled"), bias], path)


@layer
class LayerNorm(Layer):
    """Normalises the channels of each place of an image by themselves, as ConvNeXt does; of a vector, its features.

    What normalises all places of an image together is `group_norm(1)`. The epsilon is Flax's; PyTorch's is 1e-5.

    Source:
      Ba et al. 2016, https://arxiv.org/abs/1607.06450.
    """

    kept: ClassVar[float] = 2

    epsilon: Positive = 1e-6
    """Added to the variance."""
    init: FirstScale = "ones"
    """What the scale begins as."""

    def parameters(self, shape: Shape) -> tuple[Parameter, ...]:
        return Parameter("scale", (shape[-1],), self.init), Parameter("bias", (shape[-1],), "zeros")

    def apply(self, x: jax.Array, arrays: Arrays, layout: str) -> jax.Array:
        axis, wide = layouts.channel_axis(x, layout), x.astype(jnp.float32)
        mean, var = wide.mean(axis, keepdims=True), wide.var(axis, keepdims=True)
        scale, bias = (layouts.per_channel(arrays[name], x, layout) for name in ("scale", "bias"))
        return ((wide - mean) * jax.lax.rsqrt(var + self.epsilon) * scale + bias).astype(x.dtype)

    def reference(self, x: np.ndarray, arrays: Arrays) -> Reference:
        n = x.shape[-1] + 8
        mean, level = x.mean(-1, keepdims=True), np.abs(x).mean(-1, keepdims=True)
        inverse = 1 / np.sqrt(x.var(-1, keepdims=True) + np.float32(self.epsilon))
        normal = (x - mean) * inverse
        # As of group normalisation: the mean is off by gamma * level, and the variance by its square.
        size = level * inverse + np.abs(normal) * (1 + gamma(n) * (level * inverse) ** 2)
        scale, bias = (np.asarray(arrays[name], np.float64) for name in ("scale", "bias"))
        return Reference.rounded(normal * scale + bias, n, size * np.abs(scale) + np.abs(bias))

    def onnx(self, graph: OnnxGraph, x: str, arrays: Arrays, shape: Shape, path: str) -> str:
        inputs = [graph.array(f"{path}/{name}", arrays[name]) for name in ("scale", "bias")]
        epsilon = float(self.epsilon)
        if len(shape) == 1:
            return graph.node("LayerNormalization", [x, *inputs], path, axis=-1, epsilon=epsilon)
        last = graph.node("Transpose", [x], f"{path}/channels_last", perm=[0, 2, 3, 1])
        normal = graph.node("LayerNormalization", [last, *inputs], f"{path}/normal", axis=-1, epsilon=epsilon)
        return graph.node("Transpose", [normal], path, perm=[0, 3, 1, 2])


@layer
class LocalResponseNorm(Layer):
    """Divides each number by (k + alpha * the sum of the squares of `size` neighbouring channels at its place) ** beta.

    Defaults are AlexNet's. PyTorch and ONNX divide their alpha by `size`, so theirs for the same is 5e-4.

    Source:
      Krizhevsky et al. 2012, https://papers.nips.cc/paper/4824, section 3.3.
    """

    kept: ClassVar[float] = 2

    size: Count = 5
    """How many channels a sum takes."""
    k: Positive = 2.0
    """The constant that the sum is added to."""
    alpha: NonNegative = 1e-4
    """What multiplies the sum."""
    beta: NonNegative = 0.75
    """The power."""

    def output(self, shape: Shape) -> Shape:
        if self.size % 2 == 0:
            raise LayerError(f"size={self.size} must be odd: as many channels before as behind")
        return shape

    def apply(self, x: jax.Array, arrays: Arrays, layout: str) -> jax.Array:
        axis, wide, half = layouts.channel_axis(x, layout) % x.ndim, x.astype(jnp.float32), self.size // 2
        squares = jnp.pad(wide * wide, [(half, half) if each == axis else (0, 0) for each in range(x.ndim)])
        channels = x.shape[axis]
        total = sum(jax.lax.slice_in_dim(squares, by, by + channels, axis=axis) for by in range(self.size))
        return (wide * (self.k + self.alpha * total) ** -self.beta).astype(x.dtype)

    def reference(self, x: np.ndarray, arrays: Arrays) -> Reference:
        half = self.size // 2
        squares = np.pad(x * x, (*[(0, 0)] * (x.ndim - 1), (half, half)))
        total = np.sum([squares[..., by : by + x.shape[-1]] for by in range(self.size)], axis=0)
        k, alpha, beta = (np.float64(np.float32(number)) for number in (self.k, self.alpha, self.beta))
        return Reference.approximated(x / (k + alpha * total) ** beta)

    def onnx(self, graph: OnnxGraph, x: str, arrays: Arrays, shape: Shape, path: str) -> str:
        numbers = {"alpha": float(self.alpha) * self.size, "beta": float(self.beta), "bias": float(self.k)}
        if len(shape) == 3:
            return graph.node("LRN", [x], path, size=self.size, **numbers)
        axes = graph.array(f"{path}/axes", [2, 3], np.int64)
        wide = graph.node("Unsqueeze", [x, axes], f"{path}/map")
        return graph.node(
            "Squeeze", [graph.node("LRN", [wide], f"{path}/normal", size=self.size, **numbers), axes], path
        )


@layer
class Scale(Layer):
    """Multiplies each channel by a number of its own, which is trained and begins at `init`.

    At the end of a residual's body this is ConvNeXt's layer scale, whose default it has; frozen, a constant.

    Source:
      Touvron et al. 2021, https://arxiv.org/abs/2103.17239, section 2.
    """

    init: float = 1e-6
    """What each factor begins as."""

    def parameters(self, shape: Shape) -> tuple[Parameter, ...]:
        return (Parameter("scale", (shape[-1],), "own"),)

    def initialise(self, key: PRNGKeyArray, shape: Shape) -> dict[str, jax.Array]:
        return {"scale": jnp.full((shape[-1],), self.init, jnp.float32)}

    def apply(self, x: jax.Array, arrays: Arrays, layout: str) -> jax.Array:
        return x * layouts.per_channel(arrays["scale"].astype(x.dtype), x, layout)

    def reference(self, x: np.ndarray, arrays: Arrays) -> Reference:
        right = x * np.asarray(arrays["scale"], np.float64)
        return Reference.rounded(right, 1, np.abs(right))

    def onnx(self, graph: OnnxGraph, x: str, arrays: Arrays, shape: Shape, path: str) -> str:
        per_channel = [shape[-1], *[1] * (len(shape) - 1)]
        scale = graph.array(f"{path}/scale", np.reshape(np.asarray(arrays["scale"]), per_channel))
        return graph.node("Mul", [x, scale], path)
