"""Layers that slide a window over a map: convolution and pooling."""

import dataclasses
import math
from typing import Any, ClassVar, Literal

from cnn.fields import Count, Pair
from cnn.layers.base import Layer, LayerError, Parameter, Reach, Shape, require_map, show

Padding = Literal["valid", "same"]


@dataclasses.dataclass(frozen=True)
class Conv(Layer):
    """Cross-correlation with learned kernels, as in every deep-learning library: the kernel is not flipped.

    Defaults are Keras' (valid padding, a bias); Flax's `nn.Conv` pads SAME.
    """

    kind: ClassVar[str] = "conv"

    features: Count
    kernel: Pair
    strides: Pair = (1, 1)
    padding: Padding = "valid"
    dilation: Pair = (1, 1)
    groups: Count = 1
    use_bias: bool = True

    def output(self, shape: Shape) -> Shape:
        _, _, channels = require_map(self, shape)
        if channels % self.groups or self.features % self.groups:
            raise LayerError(
                f"groups={self.groups} must divide its {channels} input channels and its {self.features} features"
            )
        return (*slide(shape, self.reach(shape), self.padding), self.features)

    def formula(self, shape: Shape) -> str:
        widened = any(step > 1 for step in self.dilation)
        text = slide_formula(shape, self.reach(shape), self.padding)
        if not widened:
            return text
        kernel = _once(f"({k}-1)*{d}+1 = {(k - 1) * d + 1}" for k, d in zip(self.kernel, self.dilation, strict=True))
        return f"{text}; kernel {kernel}"

    def parameters(self, shape: Shape) -> tuple[Parameter, ...]:
        kernel = Parameter("kernel", (*self.kernel, shape[2] // self.groups, self.features), "glorot_uniform")
        return (kernel, Parameter("bias", (self.features,), "zeros")) if self.use_bias else (kernel,)

    def macs(self, shape: Shape) -> int:
        height, width, features = self.output(shape)
        return height * width * features * math.prod(self.kernel) * (shape[2] // self.groups)

    def reach(self, shape: Shape) -> Reach:
        widths = tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))
        return Reach((widths[0], widths[1]), self.strides)


class _SameAsWindow:
    def __repr__(self) -> str:
        return "window"


SAME_AS_WINDOW: Any = _SameAsWindow()


@dataclasses.dataclass(frozen=True)
class _Pool(Layer):
    window: Pair
    strides: Pair = SAME_AS_WINDOW
    padding: Padding = "valid"

    def __post_init__(self) -> None:
        if self.strides is SAME_AS_WINDOW:
            object.__setattr__(self, "strides", self.window)

    def output(self, shape: Shape) -> Shape:
        require_map(self, shape)
        return (*slide(shape, self.reach(shape), self.padding), shape[2])

    def formula(self, shape: Shape) -> str:
        return slide_formula(shape, self.reach(shape), self.padding)

    def reach(self, shape: Shape) -> Reach:
        return Reach(self.window, self.strides)


@dataclasses.dataclass(frozen=True)
class MaxPool(_Pool):
    """The largest number of each window; a window's padding never wins."""

    kind: ClassVar[str] = "max_pool"


@dataclasses.dataclass(frozen=True)
class AvgPool(_Pool):
    """The mean of each window; padding is not counted, as in Keras and unlike Flax's `nn.avg_pool`."""

    kind: ClassVar[str] = "avg_pool"


def slide(shape: Shape, reach: Reach, padding: str) -> tuple[int, int]:
    """Returns the height and width that a sliding window makes of a map.

    Raises:
      LayerError: with valid padding, the window is larger than the map.
    """
    if padding == "valid" and any(k > n for n, k in zip(shape, reach.kernel, strict=False)):
        raise LayerError(
            f"does not fit the {shape[0]}x{shape[1]} map: its window is {show(reach.kernel)}. "
            'Use a smaller window, padding="same", or fewer layers that shrink the map before it'
        )
    height, width = (
        (n - k) // s + 1 if padding == "valid" else -(-n // s)
        for n, k, s in zip(shape, reach.kernel, reach.strides, strict=False)
    )
    return height, width


def slide_formula(shape: Shape, reach: Reach, padding: str) -> str:
    """Returns the arithmetic of `slide`, once where both axes agree: `28-3+1 = 26`."""
    sides = zip(shape, reach.kernel, reach.strides, slide(shape, reach, padding), strict=False)
    return _once(f"{_side(n, k, s, padding)} = {out}" for n, k, s, out in sides)


def _side(n: int, k: int, s: int, padding: str) -> str:
    if padding == "same":
        return f"ceil({n}/{s})"
    if s == 1:
        return f"{n}-{k}+1"
    if k == s:
        return f"floor({n}/{s})" if n % s else f"{n}/{s}"
    return f"floor(({n}-{k})/{s})+1"


def _once(texts: Any) -> str:
    return ", ".join(dict.fromkeys(texts))
