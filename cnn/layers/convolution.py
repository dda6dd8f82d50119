"""Convolution."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from etils import epy

from cnn.fields import Count, Pair
from cnn.layers import initialisers, window
from cnn.layers.base import Arrays, Layer, LayerError, OnnxGraph, Parameter, Reach, Reference, Shape, require_map
from cnn.layers.initialisers import DEFAULT, Initial
from cnn.layers.window import Padding
from cnn.registry import layer

if TYPE_CHECKING:
    from jaxtyping import PRNGKeyArray

with epy.lazy_imports():
    import jax

    from cnn.ops import conv
    from cnn.ops import layout as layouts


@layer
class Conv(Layer):
    """Cross-correlation with learned kernels, as in every deep-learning library: the kernel is not flipped.

    Defaults are Keras' (valid padding, a bias); Flax's `nn.Conv` pads SAME.
    """

    features: Count
    """How many kernels there are, each of which makes one output channel."""
    kernel: Pair
    """Height and width of the window."""
    strides: Pair = (1, 1)
    """How many pixels the window moves at a time, down and to the right."""
    padding: Padding = "valid"
    """Zeros around the map: none (valid), as many as keep its size but for the strides (same), or so many pixels."""
    dilation: Pair = (1, 1)
    """How many pixels apart the neighbours of a window are."""
    groups: Count = 1
    """Into how many groups the channels are split, each of which is convolved by itself."""
    use_bias: bool = True
    """Whether a trained number is added to each output channel."""
    init: Initial = DEFAULT
    """How the kernel begins."""

    def output(self, shape: Shape) -> Shape:
        _, _, channels = require_map(shape)
        if channels % self.groups or self.features % self.groups:
            raise LayerError(
                f"groups={self.groups} must divide its {channels} input channels and its {self.features} features"
            )
        self.init.check(self.kernel_shape(channels), self.groups)
        return (*window.slide(shape, self.reach(shape), self.padding), self.features)

    def formula(self, shape: Shape) -> str:
        text = window.slide_formula(shape, self.reach(shape), self.padding)
        if self.dilation == (1, 1):
            return text
        sides = zip(self.kernel, self.dilation, strict=True)
        return f"{text}; kernel {window.once(f'({k}-1)*{d}+1 = {(k - 1) * d + 1}' for k, d in sides)}"

    def parameters(self, shape: Shape) -> tuple[Parameter, ...]:
        kernel = Parameter("kernel", self.kernel_shape(shape[2]), self.init.declared)
        return (kernel, Parameter("bias", (self.features,), "zeros")) if self.use_bias else (kernel,)

    def kernel_shape(self, channels: int) -> Shape:
        """Returns height, width, inputs of each group and features."""
        return (*self.kernel, channels // self.groups, self.features)

    def initialise(self, key: PRNGKeyArray, shape: Shape) -> dict[str, jax.Array]:
        return {"kernel": initialisers.drawn(self.init, key, self.kernel_shape(shape[2]), self.groups)}

    def macs(self, shape: Shape) -> int:
        height, width, features = self.output(shape)
        return height * width * features * math.prod(self.kernel) * (shape[2] // self.groups)

    def reach(self, shape: Shape) -> Reach:
        height, width = ((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))
        return window.reaching(shape, (height, width), self.strides, self.padding)

    def slides(self) -> conv.Window:
        """Returns how the kernels slide, as `cnn.ops.conv` takes it."""
        return conv.Window(self.strides, self.padding, self.dilation, self.groups)

    def apply(self, x: jax.Array, arrays: Arrays, layout: str) -> jax.Array:
        maps = conv.conv(x, arrays["kernel"].astype(x.dtype), self.slides(), layout=layout)
        return layouts.add_bias(maps, arrays.get("bias"), layout)

    def reference(self, x: np.ndarray, arrays: Arrays) -> Reference:
        kernel = np.asarray(arrays["kernel"], np.float64)
        height, width, inputs, features = kernel.shape
        bias = np.asarray(arrays.get("bias", np.zeros(features)), np.float64)
        output = self.output(x.shape)
        total, size = np.zeros(output), np.zeros(output)
        share = features // self.groups
        patches = window.patches(x, self.reach(x.shape), self.padding, dilation=self.dilation)
        for patch, weights in zip(patches, kernel.reshape(-1, inputs, features), strict=True):
            for group in range(self.groups):
                read, made = slice(group * inputs, (group + 1) * inputs), slice(group * share, (group + 1) * share)
                total[..., made] += patch[..., read] @ weights[:, made]
                size[..., made] += np.abs(patch[..., read]) @ np.abs(weights[:, made])
        return Reference.rounded(total + bias, height * width * inputs + 2, size + np.abs(bias))

    def onnx(self, graph: OnnxGraph, x: str, arrays: Arrays, shape: Shape, path: str) -> str:
        kernel = graph.array(f"{path}/kernel", np.transpose(np.asarray(arrays["kernel"]), (3, 2, 0, 1)))
        bias = [graph.array(f"{path}/bias", arrays["bias"])] if self.use_bias else []
        (top, bottom), (left, right) = window.pads(shape, self.reach(shape), self.padding)
        return graph.node(
            "Conv",
            [x, kernel, *bias],
            path,
            kernel_shape=self.kernel,
            strides=self.strides,
            pads=[top, left, bottom, right],
            dilations=self.dilation,
            group=self.groups,
        )


@layer
class Depthwise(Layer):
    """A convolution of each channel by itself, which makes `multiplier` channels of it, side by side.

    What `conv(channels * multiplier, kernel, groups=channels)` computes, without counting the channels.

    Source:
      Howard et al. 2017, https://arxiv.org/abs/1704.04861, section 3.1.
    """

    kernel: Pair
    """Height and width of the window."""
    multiplier: Count = 1
    """How many output channels each channel becomes."""
    strides: Pair = (1, 1)
    """How many pixels the window moves at a time, down and to the right."""
    padding: Padding = "valid"
    """Zeros around the map: none (valid), as many as keep its size but for the strides (same), or so many pixels."""
    dilation: Pair = (1, 1)
    """How many pixels apart the neighbours of a window are."""
    use_bias: bool = True
    """Whether a trained number is added to each output channel."""
    init: Initial = DEFAULT
    """How the kernel begins."""

    def conv(self, channels: int) -> Conv:
        """Returns the convolution that it is of so many channels."""
        return Conv(
            channels * self.multiplier,
            self.kernel,
            self.strides,
            self.padding,
            self.dilation,
            channels,
            self.use_bias,
            self.init,
        )

    def output(self, shape: Shape) -> Shape:
        return self.conv(require_map(shape)[2]).output(shape)

    def formula(self, shape: Shape) -> str:
        return self.conv(shape[2]).formula(shape)

    def parameters(self, shape: Shape) -> tuple[Parameter, ...]:
        return self.conv(shape[2]).parameters(shape)

    def initialise(self, key: PRNGKeyArray, shape: Shape) -> dict[str, jax.Array]:
        return self.conv(shape[2]).initialise(key, shape)

    def macs(self, shape: Shape) -> int:
        return self.conv(shape[2]).macs(shape)

    def reach(self, shape: Shape) -> Reach:
        return self.conv(1).reach(shape)

    def apply(self, x: jax.Array, arrays: Arrays, layout: str) -> jax.Array:
        slides = self.conv(layouts.example_shape(x, layout)[2]).slides()
        maps = conv.depthwise(x, arrays["kernel"].astype(x.dtype), slides, layout=layout)
        return layouts.add_bias(maps, arrays.get("bias"), layout)

    def reference(self, x: np.ndarray, arrays: Arrays) -> Reference:
        return self.conv(x.shape[2]).reference(x, arrays)

    def onnx(self, graph: OnnxGraph, x: str, arrays: Arrays, shape: Shape, path: str) -> str:
        return self.conv(shape[2]).onnx(graph, x, arrays, shape, path)
