"""Batch and group normalisation."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from etils import epy

from cnn.fields import Count, Positive, Rate
from cnn.layers.base import Arrays, Layer, LayerError, OnnxGraph, Parameter, Reference, Shape, Training, gamma
from cnn.registry import layer

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp

    from cnn.ops import batch_norm
    from cnn.ops import layout as layouts


@layer
class BatchNorm(Layer):
    """Normalises each channel over the batch; in evaluation by the running mean and variance.

    Defaults are Keras'. Flax's epsilon is 1e-5.

    Source:
      Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167.
    """

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
        channel = -1 if layouts.channels_last(x, layout) else -4
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

    Source:
      Wu and He 2018, https://arxiv.org/abs/1803.08494.
    """

    kept: ClassVar[float] = 2

    groups: Count = 32
    epsilon: Positive = 1e-3

    def output(self, shape: Shape) -> Shape:
        if shape[-1] % self.groups:
            raise LayerError(f"groups={self.groups} must divide its {shape[-1]} channels")
        return shape

    def parameters(self, shape: Shape) -> tuple[Parameter, ...]:
        return Parameter("scale", (shape[-1],), "ones"), Parameter("bias", (shape[-1],), "zeros")

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
