"""Which layers are computed together: exact algebra on the layer list, before anything is compiled.

The plan never changes the layers, their parameters or what a checkpoint holds; the plain plan, one layer a group, is
the oracle and what capture uses.

How many examples are computed together; plain Python, so that memory can be reckoned without JAX.
"""

import dataclasses
import math
from collections.abc import Sequence

from cnn.layers import BatchNorm, Conv, Layer, MaxPool, Residual, Shape, named


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


def plain(layers: Sequence[Layer]) -> tuple[FusedOp, ...]:
    """Returns one group for each layer."""
    return tuple(Single(name, layer) for name, layer in named(layers))


def fast(layers: Sequence[Layer]) -> tuple[FusedOp, ...]:
    """Returns the groups that are computed in training and evaluation."""
    waiting = list(plain(layers))
    groups: list[FusedOp] = []
    while waiting:
        length, group = _conv_pool([entry.layer for entry in waiting if isinstance(entry, Single)], waiting[0])
        groups.append(group)
        del waiting[:length]
    return tuple(groups)


def blocks(groups: Sequence[FusedOp], remat: str) -> list[tuple[FusedOp, ...]]:
    """Returns the groups in runs, of which only the first one's input is kept for the gradients.

    Args:
      groups: of one chain.
      remat: `none` is one run, `layers` one for each group, `blocks` about the square root of their number.

    Source:
      Chen et al. 2016, https://arxiv.org/abs/1604.06174, section 4.1.
    """
    length = {"none": len(groups), "layers": 1, "blocks": math.isqrt(max(0, len(groups) - 1)) + 1}[remat]
    return [tuple(groups[start : start + length]) for start in range(0, len(groups), max(1, length))]


def independent(layers: Sequence[Layer]) -> bool:
    """Tells whether each example's logits depend on no other example of the batch, in training too."""
    return not any(
        isinstance(layer, BatchNorm)
        or (isinstance(layer, Residual) and not (independent(layer.body) and independent(layer.shortcut)))
        for layer in layers
    )


def widest(layers: Sequence[Layer], image_shape: Shape) -> int:
    """Returns how many numbers the largest map between two groups has, for one example."""
    shape, largest = image_shape, math.prod(image_shape)
    for group in fast(layers):
        if isinstance(group, ConvPool):
            shape = group.pool.output(group.conv.output(shape))
        else:
            if isinstance(group.layer, Residual):
                largest = max(largest, *(widest(chain, shape) for chain in (group.layer.body, group.layer.shortcut)))
            shape = group.layer.output(shape)
        largest = max(largest, math.prod(shape))
    return largest


def _conv_pool(layers: list[Layer], first: FusedOp) -> tuple[int, FusedOp]:
    """Returns how many layers the first group takes, and the group."""
    if not isinstance(layers[0], Conv):
        return 1, first
    end = 1
    while end < len(layers) and layers[end].monotone:
        end += 1
    pool = layers[end] if end < len(layers) else None
    if not isinstance(pool, MaxPool):
        return 1, first
    return end + 1, ConvPool(first.name, layers[0], tuple(layers[1:end]), pool)


def _read(shape: Shape, pool: MaxPool) -> tuple[int, int]:
    """Returns how many rows and columns of a map the pooling reads."""
    height, width, _ = pool.output(shape)
    return (height - 1) * pool.strides[0] + pool.window[0], (width - 1) * pool.strides[1] + pool.window[1]


_FEWEST, _MOST = 16, 64
"""Examples: fewer make the innermost axis too short; more leave the caches and are not faster."""
_NUMBERS = 2**20
"""The most numbers of a map of a piece: with what is made of it, more do not stay in the caches."""


def piece(examples: int, numbers: int, platform: str, *, devices: int = 1) -> int:
    """Returns how many of so many examples are best computed together, where they do not depend on each other.

    A CPU keeps what a few dozen need between two layers in its caches, and uses the same memory for the next ones; so
    one program that takes them in turn trains twice as fast. An accelerator wants all of them.

    Args:
      examples: in the batch; the piece divides them.
      numbers: of the largest map of one example.
      platform: cpu, gpu or tpu.
      devices: how many of one CPU take turns in training; with two, longer operations are faster than cached ones.
    """
    if platform != "cpu":
        return examples
    most = min(_MOST, max(_FEWEST, min(devices, 2) * _NUMBERS // numbers))
    sizes = [size for size in range(most // 2, most + 1) if examples % size == 0]
    return max(sizes, default=examples)
