"""Which layers fuse into one operation.

Plain Python on the layer list, before anything is compiled, so that memory can be estimated without JAX. Fusing is
exact algebra; it never changes the layers, their parameters or what a checkpoint holds. `singles`, one operation a
layer, is the oracle of `fuse`, and what capturing each layer's output uses.
"""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from typing import TypeVar

from cnn.layers.base import Layer, Shape
from cnn.layers.combine import Branches, any_mixes_rows
from cnn.layers.convolution import Conv
from cnn.layers.pooling import MaxPool
from cnn.model.summary import named

Op = TypeVar("Op")


@dataclasses.dataclass(frozen=True)
class Single:
    """One layer by itself."""

    name: str
    layer: Layer


@dataclasses.dataclass(frozen=True)
class ConvPool:
    """Convolution, monotone activations, maximum pooling: pooled before bias and activations.

    A maximum commutes with adding a channel's bias and with a function that never decreases, so the pooling comes
    first and the rest touches only what it kept. Rows and columns that the pooling leaves unread are not computed.
    """

    name: str
    conv: Conv
    activations: tuple[Layer, ...]
    pool: MaxPool

    def crop(self, shape: Shape) -> tuple[int, int]:
        """Returns the height and width of the image that is read at all."""
        if self.conv.padding != "valid" or self.pool.padding != "valid":
            return shape[0], shape[1]
        read = _read(self.conv.output(shape), self.pool)
        reach = self.conv.reach(shape)
        height, width = ((n - 1) * s + k for n, s, k in zip(read, reach.strides, reach.kernel, strict=True))
        return height, width


FusedOp = Single | ConvPool


def singles(layers: Sequence[Layer]) -> tuple[FusedOp, ...]:
    """Returns one operation for each layer."""
    return tuple(Single(name, layer) for name, layer in named(layers))


def fuse(layers: Sequence[Layer]) -> tuple[FusedOp, ...]:
    """Returns the operations that are computed in training and evaluation."""
    waiting = named(layers)
    ops: list[FusedOp] = []
    while waiting:
        op = _conv_pool(waiting) or Single(*waiting[0])
        ops.append(op)
        del waiting[: len(op.activations) + 2 if isinstance(op, ConvPool) else 1]
    return tuple(ops)


def _conv_pool(layers: list[tuple[str, Layer]]) -> ConvPool | None:
    """Returns the convolution, activations and pooling that the layers begin with, `None` where they do not."""
    (name, conv), *rest = layers
    activations = tuple(layer for _, layer in itertools.takewhile(lambda named: named[1].monotone, rest))
    pool = rest[len(activations)][1] if len(rest) > len(activations) else None
    return ConvPool(name, conv, activations, pool) if isinstance(conv, Conv) and isinstance(pool, MaxPool) else None


def blocks(ops: Sequence[Op], remat: str) -> list[tuple[Op, ...]]:
    """Returns operations in runs, of which only the first one's input is kept for the gradients.

    Args:
      ops: of one chain.
      remat: `none` is one run, `layers` one for each operation, `blocks` about the square root of their number.

    Source:
      Chen et al. 2016, https://arxiv.org/abs/1604.06174, section 4.1.
    """
    length = {"none": len(ops), "layers": 1, "blocks": math.isqrt(max(0, len(ops) - 1)) + 1}[remat]
    return [tuple(ops[start : start + length]) for start in range(0, len(ops), max(1, length))]


def independent(layers: Sequence[Layer], image_shape: Shape) -> bool:
    """Tells whether each example's logits depend on no other example of the batch, in training too."""
    return not any_mixes_rows(layers, image_shape)


def widest(layers: Sequence[Layer], image_shape: Shape) -> int:
    """Returns how many numbers the largest map between two operations has, for one example."""
    shape, largest = image_shape, math.prod(image_shape)
    for op in fuse(layers):
        if isinstance(op, ConvPool):
            shape = op.pool.output(op.conv.output(shape))
        else:
            if isinstance(op.layer, Branches):
                largest = max(largest, *(widest(branch.layers, shape) for branch in op.layer.chains))
            shape = op.layer.output(shape)
        largest = max(largest, math.prod(shape))
    return largest


def _read(shape: Shape, pool: MaxPool) -> tuple[int, int]:
    """Returns how many rows and columns of a map the pooling reads."""
    height, width, _ = pool.output(shape)
    return (height - 1) * pool.strides[0] + pool.window[0], (width - 1) * pool.strides[1] + pool.window[1]
