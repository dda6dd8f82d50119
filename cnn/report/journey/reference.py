"""What every stage ought to have made of its sources, in float64, and how far float32 may be from it.

Products of two float32 are exact in float64, so that a sum here is *the* sum; float32 may differ from it by at most
gamma_n times the sum of the terms' sizes, whatever the order of the additions. No tolerance is tuned. Only functions
that libraries approximate each in their own way (exp, tanh, erf) have a stated one.

Source:
  Higham 2002, Accuracy and Stability of Numerical Algorithms, chapter 3.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cnn.losses import softmax
from cnn.report.journey.graph import Stage

UNIT = 2.0**-24
"""The unit roundoff of float32."""
TINY = 2.0**-126
"""Smaller numbers may be flushed to zero."""
APPROXIMATED = 1e-5
"""Relative: how far two float32 implementations of exp, tanh or erf may be apart."""

Arrays = Mapping[str, np.ndarray]


class Disagreement(FloatingPointError):
    """A number that the float64 arithmetic does not give."""


class Verdict(NamedTuple):
    """What came of comparing a stage: how many numbers, and the largest part of the allowed difference."""

    numbers: int
    worst: float


def gamma(n: int) -> float:
    """Returns the relative error that n roundings can add up to."""
    return n * UNIT / (1 - n * UNIT)


def expected(stage: Stage, sources: Sequence[np.ndarray], arrays: Arrays) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns a stage's numbers in float64 and the difference allowed to each; `None` for a kind it does not know.

    Args:
      stage: which.
      sources: the float32 numbers of the stages it reads, one image's.
      arrays: its parameters and statistics, float32.
    """
    compute = _OPS.get(stage.op)
    if compute is None:
        return None
    return compute(stage, [np.asarray(source, np.float64) for source in sources], arrays)


def verify(stage: Stage, sources: Sequence[np.ndarray], output: np.ndarray, arrays: Arrays) -> Verdict:
    """Compares every number of a stage with the float64 arithmetic.

    Raises:
      Disagreement: a number is outside the bound; it names the first.
    """
    answer = expected(stage, sources, arrays)
    if answer is None:
        return Verdict(0, 0.0)
    right, allowed = answer
    difference = np.abs(right - np.asarray(output, np.float64))
    bad = np.argwhere(~(difference <= allowed))
    if len(bad):
        place = tuple(bad[0])
        raise Disagreement(
            f"{stage.name}: {len(bad):,} of {output.size:,} numbers do not follow from what they are made of, the "
            f"first at {', '.join(map(str, place))}: float64 gives {right[place]:.9g}, got {output[place]:.9g}, "
            f"{allowed[place]:.2g} may differ. Please report this with your versions of jax and jaxlib"
        )
    share = np.divide(difference, allowed, out=np.zeros_like(difference), where=allowed > 0)
    return Verdict(output.size, float(share.max(initial=0.0)))


Answer = tuple[np.ndarray, np.ndarray]
Sources = Sequence[np.ndarray]


def _bound(n: int, size: np.ndarray) -> np.ndarray:
    return gamma(n) * size + n * TINY


def _exactly(function: Callable[[Stage, np.ndarray], np.ndarray]) -> Callable[[Stage, Sources, Arrays], Answer]:
    def compute(stage: Stage, sources: Sources, _: Arrays) -> Answer:
        right = function(stage, sources[0])
        return right, np.zeros_like(right)

    return compute


def _smoothly(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[Stage, Sources, Arrays], Answer]:
    def compute(_: Stage, sources: Sources, __: Arrays) -> Answer:
        right = function(sources[0])
        return right, APPROXIMATED * np.abs(right) + TINY

    return compute


def _patches(stage: Stage, x: np.ndarray, fill: float) -> list[np.ndarray]:
    """Returns for each place of the window the numbers that all windows have there, row by row."""
    height, width = stage.output[:2]
    padded = np.pad(x, (*stage.pads, (0, 0)), constant_values=fill)
    patches = []
    for i in range(stage.kernel[0]):
        for j in range(stage.kernel[1]):
            top, left = i * stage.dilation[0], j * stage.dilation[1]
            down, right = stage.strides
            patches.append(
                padded[top : top + (height - 1) * down + 1 : down, left : left + (width - 1) * right + 1 : right]
            )
    return patches


def _conv(stage: Stage, sources: Sources, arrays: Arrays) -> Answer:
    kernel = np.asarray(arrays["kernel"], np.float64)
    height, width, inputs, features = kernel.shape
    bias = np.asarray(arrays.get("bias", np.zeros(features)), np.float64)
    total, size = np.zeros(stage.output), np.zeros(stage.output)
    share = features // stage.groups
    for patch, weights in zip(_patches(stage, sources[0], 0.0), kernel.reshape(-1, inputs, features), strict=True):
        for group in range(stage.groups):
            read, made = slice(group * inputs, (group + 1) * inputs), slice(group * share, (group + 1) * share)
            total[..., made] += patch[..., read] @ weights[:, made]
            size[..., made] += np.abs(patch[..., read]) @ np.abs(weights[:, made])
    return total + bias, _bound(height * width * inputs + 2, size + np.abs(bias))


def _dense(_: Stage, sources: Sources, arrays: Arrays) -> Answer:
    kernel = np.asarray(arrays["kernel"], np.float64)
    bias = np.asarray(arrays.get("bias", np.zeros(kernel.shape[1])), np.float64)
    size = np.abs(sources[0]) @ np.abs(kernel) + np.abs(bias)
    return sources[0] @ kernel + bias, _bound(kernel.shape[0] + 2, size)


def _avg_pool(stage: Stage, sources: Sources, _: Arrays) -> Answer:
    patches = np.stack(_patches(stage, sources[0], 0.0))
    counts = np.sum(_patches(stage, np.ones_like(sources[0]), 0.0), axis=0)
    return patches.sum(0) / counts, _bound(len(patches) + 1, np.abs(patches).sum(0) / counts)


def _global_avg_pool(_: Stage, sources: Sources, __: Arrays) -> Answer:
    pixels = math.prod(sources[0].shape[:2])
    return sources[0].mean((0, 1)), _bound(pixels + 1, np.abs(sources[0]).mean((0, 1)))


def _batch_norm(stage: Stage, sources: Sources, arrays: Arrays) -> Answer:
    mean, var, scale, bias = (np.asarray(arrays[name], np.float64) for name in ("mean", "var", "scale", "bias"))
    moved = (sources[0] - mean) * (scale / np.sqrt(var + np.float32(stage.epsilon)))
    # The sum under the root, the root and its inverse (3), two products, the difference, the sum of the bias.
    return moved + bias, _bound(8, np.abs(moved) + np.abs(bias))


def _group_norm(stage: Stage, sources: Sources, arrays: Arrays) -> Answer:
    x = sources[0].reshape(*sources[0].shape[:-1], stage.groups, -1)
    axes = (*range(x.ndim - 2), x.ndim - 1)
    n = x.size // stage.groups + 8
    mean, level = x.mean(axes, keepdims=True), np.abs(x).mean(axes, keepdims=True)
    inverse = 1 / np.sqrt(x.var(axes, keepdims=True) + np.float32(stage.epsilon))
    normal = (x - mean) * inverse
    # The mean is off by gamma * level, which enters each number once, and the variance by its square.
    size = (level * inverse + np.abs(normal) * (1 + gamma(n) * (level * inverse) ** 2)).reshape(sources[0].shape)
    scale, bias = (np.asarray(arrays[name], np.float64) for name in ("scale", "bias"))
    right = normal.reshape(sources[0].shape) * scale + bias
    return right, _bound(n, size * np.abs(scale) + np.abs(bias))


def _add(_: Stage, sources: Sources, __: Arrays) -> Answer:
    return sources[0] + sources[1], _bound(1, np.abs(sources[0]) + np.abs(sources[1]))


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return np.exp(-np.logaddexp(0.0, -x))


def _gelu(x: np.ndarray) -> np.ndarray:
    return x * 0.5 * np.vectorize(math.erfc, otypes=[np.float64])(-x * math.sqrt(0.5))


_OPS: dict[str, Callable[[Stage, Sources, Arrays], Answer]] = {
    "conv": _conv,
    "dense": _dense,
    "max_pool": _exactly(lambda stage, x: np.max(_patches(stage, x, -np.inf), axis=0)),
    "global_max_pool": _exactly(lambda _, x: x.max((0, 1))),
    "relu": _exactly(lambda _, x: np.maximum(x, 0.0)),
    "flatten": _exactly(lambda _, x: x.reshape(-1)),
    "dropout": _exactly(lambda _, x: x),
    "avg_pool": _avg_pool,
    "global_avg_pool": _global_avg_pool,
    "batch_norm": _batch_norm,
    "group_norm": _group_norm,
    "add": _add,
    "softmax": _smoothly(softmax),
    "tanh": _smoothly(np.tanh),
    "sigmoid": _smoothly(_sigmoid),
    "silu": _smoothly(lambda x: x * _sigmoid(x)),
    "gelu": _smoothly(_gelu),
}
