"""The layers that hold chains of layers, residual, concat and multiply; and what drops numbers or whole branches."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from typing import ClassVar, Final, NamedTuple

import numpy as np
from etils import epy

from cnn.expression import branch_name
from cnn.fields import Chain, Chains, Rate
from cnn.layers.base import Arrays, Layer, LayerError, OnnxGraph, Reference, Shape, Training, show
from cnn.registry import layer

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp

    from cnn.ops import layout as layouts


def any_mixes_rows(layers: Sequence[Layer], shape: Shape) -> bool:
    """Tells whether one of a chain's layers mixes rows, see `Layer.mixes_rows`."""
    for inner in layers:
        if inner.mixes_rows(shape):
            return True
        shape = inner.output(shape)
    return False


class Branch(NamedTuple):
    """One chain of a layer that computes several of the same input."""

    field: str
    """Its name among the layer's arguments: `body`, `branch2`."""
    scope: str
    """The name of the folder of its arrays within the layer's, empty where they lie in the layer's own."""
    layers: tuple[Layer, ...]

    def prefix(self, path: str) -> str:
        """Returns what the paths of its layers start with, within the layer of this path."""
        return f"{path}/{self.scope}/" if self.scope else f"{path}/"


@dataclasses.dataclass(frozen=True)
class Branches(Layer):
    """A layer that computes chains of layers of the same input, and joins what they make.

    `cnn.model.network` computes the chains, `join` joins them.
    """

    op: ClassVar[str]
    """What joining is called among the stages of a journey."""

    @property
    def chains(self) -> tuple[Branch, ...]:
        """The chains, in order; an empty one makes its input."""
        raise NotImplementedError

    def with_chains(self, chains: Sequence[tuple[Layer, ...]]) -> Branches:
        """Returns the same layer of other chains."""
        return type(self)(tuple(chains))  # type: ignore[call-arg]

    def joined(self, shapes: Sequence[Shape]) -> Shape:
        """Returns the shape of what is joined.

        Raises:
          LayerError: it cannot be joined; the message starts with the reason.
        """
        raise NotImplementedError

    @staticmethod
    def join(parts: Sequence[jax.Array], layout: str) -> jax.Array:
        """Returns what becomes of what the chains make."""
        raise NotImplementedError

    @staticmethod
    def join_reference(parts: Sequence[np.ndarray]) -> Reference:
        """Returns the same of one image, in float64."""
        raise NotImplementedError

    def join_onnx(self, graph: OnnxGraph, parts: Sequence[str], shapes: Sequence[Shape], path: str) -> str:
        """Adds the same to a graph; returns the name of what it makes."""
        raise NotImplementedError

    def output(self, shape: Shape) -> Shape:
        return self.joined(self.outputs(shape))

    def outputs(self, shape: Shape) -> list[Shape]:
        """Returns the shape of what each chain makes."""
        ends = []
        for branch in self.chains:
            end = shape
            for inner in branch.layers:
                end = inner.output(end)
            ends.append(end)
        return ends

    def mixes_rows(self, shape: Shape) -> bool:
        return any(any_mixes_rows(branch.layers, shape) for branch in self.chains)


@layer
class Residual(Branches):
    """The sum of what `body` and `shortcut` make of the same input; without a shortcut, the input itself.

    No projection is added: where the shapes differ, write one as the shortcut.

    Source:
      He et al. 2016, https://arxiv.org/abs/1512.03385.
    """

    op: ClassVar[str] = "add"

    body: Chain
    """Layers, joined by |."""
    shortcut: Chain = ()
    """Layers that the input goes through beside the body; empty: none."""

    @property
    def chains(self) -> tuple[Branch, ...]:
        return Branch("body", "", self.body), Branch("shortcut", "shortcut", self.shortcut)

    def with_chains(self, chains: Sequence[tuple[Layer, ...]]) -> Residual:
        return Residual(*chains)

    def joined(self, shapes: Sequence[Shape]) -> Shape:
        body, shortcut = shapes
        if body != shortcut:
            raise LayerError(
                f"its body makes {show(body)} and its shortcut {show(shortcut)}, which cannot be added. "
                f"Give a shortcut that makes {show(body)}, such as shortcut=conv({body[-1]}, 1, strides=...)"
            )
        return body

    def formula(self, shape: Shape) -> str:
        return "body + shortcut" if self.shortcut else "body + input"

    @staticmethod
    def join(parts: Sequence[jax.Array], layout: str) -> jax.Array:
        body, shortcut = parts
        return body + shortcut

    @staticmethod
    def join_reference(parts: Sequence[np.ndarray]) -> Reference:
        body, shortcut = parts
        return Reference.rounded(body + shortcut, 1, np.abs(body) + np.abs(shortcut))

    def join_onnx(self, graph: OnnxGraph, parts: Sequence[str], shapes: Sequence[Shape], path: str) -> str:
        return graph.node("Add", parts, path)


@layer
class Concat(Branches):
    """What each chain makes of the same input, one behind the other along the channels.

    A chain that keeps the input is `identity`: a DenseNet is made of
    `concat(identity, batch_norm | relu | conv(12, 3, padding=1))`.

    Source:
      Szegedy et al. 2015, https://arxiv.org/abs/1409.4842; Huang et al. 2017, https://arxiv.org/abs/1608.06993.
    """

    op: ClassVar[str] = "concat"

    branches: Chains
    """Chains of layers, separated by commas."""

    @property
    def chains(self) -> tuple[Branch, ...]:
        return numbered(self.branches)

    def joined(self, shapes: Sequence[Shape]) -> Shape:
        if len(shapes) < 2:
            raise LayerError(f"joins at least two chains, got {len(shapes)}. Write concat(a, b)")
        if len({shape[:-1] for shape in shapes}) > 1:
            raise LayerError(
                f"its chains make {' and '.join(map(show, shapes))}, which cannot be joined along the channels. "
                "Give them the same height and width, by strides and padding"
            )
        return (*shapes[0][:-1], sum(shape[-1] for shape in shapes))

    def formula(self, shape: Shape) -> str:
        shapes = self.outputs(shape)
        return f"{'+'.join(str(each[-1]) for each in shapes)} = {sum(each[-1] for each in shapes)} channels"

    @staticmethod
    def join(parts: Sequence[jax.Array], layout: str) -> jax.Array:
        return jnp.concatenate(parts, axis=layouts.channel_axis(parts[0], layout))

    @staticmethod
    def join_reference(parts: Sequence[np.ndarray]) -> Reference:
        return Reference.exact(np.concatenate(parts, axis=-1))

    def join_onnx(self, graph: OnnxGraph, parts: Sequence[str], shapes: Sequence[Shape], path: str) -> str:
        return graph.node("Concat", parts, path, axis=1)


@layer
class Multiply(Branches):
    """The product of what its chains make of the same input; one number a channel stands for all places of the channel.

    Squeeze and excitation is `multiply(identity, global_avg_pool | dense(8) | relu | dense(64) | sigmoid)`.

    Source:
      Hu et al. 2018, https://arxiv.org/abs/1709.01507.
    """

    op: ClassVar[str] = "multiply"
    kept: ClassVar[float] = 2

    branches: Chains
    """Chains of layers, separated by commas."""

    @property
    def chains(self) -> tuple[Branch, ...]:
        return numbered(self.branches)

    def joined(self, shapes: Sequence[Shape]) -> Shape:
        if len(shapes) < 2:
            raise LayerError(f"joins at least two chains, got {len(shapes)}. Write multiply(a, b)")
        largest = max(shapes, key=lambda shape: (len(shape), math.prod(shape)))
        for shape in shapes:
            if shape not in (largest, (1, 1, largest[-1]), (largest[-1],)):
                raise LayerError(
                    f"its chains make {' and '.join(map(show, shapes))}, which cannot be multiplied. "
                    f"Give each the shape {show(largest)}, or one number for each of its {largest[-1]} channels"
                )
        return largest

    def formula(self, shape: Shape) -> str:
        return " * ".join(show(each) for each in self.outputs(shape))

    @staticmethod
    def join(parts: Sequence[jax.Array], layout: str) -> jax.Array:
        maps = [part for part in parts if part.ndim > 2]
        wide = [layouts.per_example(part, maps[0], layout) if maps and part.ndim == 2 else part for part in parts]
        return functools.reduce(jnp.multiply, wide)

    @staticmethod
    def join_reference(parts: Sequence[np.ndarray]) -> Reference:
        # An image's vector broadcasts against its map as it is: the channels are last.
        product = functools.reduce(np.multiply, parts)
        return Reference.rounded(product, len(parts) - 1, np.abs(product))

    def join_onnx(self, graph: OnnxGraph, parts: Sequence[str], shapes: Sequence[Shape], path: str) -> str:
        channels, on_maps = shapes[0][-1], max(map(len, shapes)) == 3
        wide = []
        for number, (part, shape) in enumerate(zip(parts, shapes, strict=True), 1):
            if on_maps and len(shape) == 1:
                axes = graph.array(f"{path}/{number}/shape", [-1, channels, 1, 1], np.int64)
                part = graph.node("Reshape", [part, axes], f"{path}/{number}/map")
            wide.append(part)
        product = wide[0]
        for number, part in enumerate(wide[1:], 2):
            product = graph.node("Mul", [product, part], path if number == len(wide) else f"{path}/{number}/product")
        return product


JOINS: Final[dict[str, type[Branches]]] = {kind.op: kind for kind in (Residual, Concat, Multiply)}
"""The layers of several chains, by what joining is called among the stages of a journey."""


def numbered(chains: Sequence[tuple[Layer, ...]]) -> tuple[Branch, ...]:
    """Returns chains that are called by their number."""
    names = [branch_name(number) for number in range(1, len(chains) + 1)]
    return tuple(Branch(name, name, chain) for name, chain in zip(names, chains, strict=True))


@layer
class Identity(Layer):
    """Its input as it is: a chain of a `concat` or a `multiply` that changes nothing."""

    kept: ClassVar[float] = 0

    def apply(self, x: jax.Array, arrays: Arrays, layout: str) -> jax.Array:
        return x

    def reference(self, x: np.ndarray, arrays: Arrays) -> Reference:
        return Reference.exact(x)

    def onnx(self, graph: OnnxGraph, x: str, arrays: Arrays, shape: Shape, path: str) -> str:
        return x


@layer
class Dropout(Layer):
    """In training sets each number to zero with this probability and scales the others up to keep the mean.

    Source:
      Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html.
    """

    rate: Rate
    """The probability that a number becomes zero."""

    def apply(self, x: jax.Array, arrays: Arrays, layout: str) -> jax.Array:
        return x

    def apply_train(
        self, x: jax.Array, arrays: Arrays, layout: str, training: Training
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        return _drop(x, layouts.example_shape(x, layout), self.rate, layout, training), {}

    def reference(self, x: np.ndarray, arrays: Arrays) -> Reference:
        return Reference.exact(x)

    def onnx(self, graph: OnnxGraph, x: str, arrays: Arrays, shape: Shape, path: str) -> str:
        return x


@layer
class DropPath(Layer):
    """In training sets all numbers of an example to zero with this probability, and scales the others up.

    At the end of a residual's body this is stochastic depth: the example takes the shortcut alone. It draws for each
    example by itself. What grows with the depth, as in the paper, is written out: `drop_path(0.1)`, `drop_path(0.2)`.

    Source:
      Huang et al. 2016, https://arxiv.org/abs/1603.09382.
    """

    rate: Rate
    """The probability that the numbers of an example become zero."""

    def apply(self, x: jax.Array, arrays: Arrays, layout: str) -> jax.Array:
        return x

    def apply_train(
        self, x: jax.Array, arrays: Arrays, layout: str, training: Training
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        ones = (1,) * len(layouts.example_shape(x, layout))
        return _drop(x, ones, self.rate, layout, training), {}

    def reference(self, x: np.ndarray, arrays: Arrays) -> Reference:
        return Reference.exact(x)

    def onnx(self, graph: OnnxGraph, x: str, arrays: Arrays, shape: Shape, path: str) -> str:
        return x


def _drop(x: jax.Array, shape: tuple[int, ...], rate: float, layout: str, training: Training) -> jax.Array:
    """Sets numbers of each example to zero by draws of this shape, and scales the others up to keep the mean."""
    # The draws depend on the key and on each example's row alone, so not on devices or microbatches.
    assert training.shard.rows is not None
    keep = 1.0 - rate
    row_keys = jax.vmap(jax.random.fold_in, (None, 0))(training.make_key(), training.shard.rows)
    kept = jax.vmap(lambda row_key: jax.random.bernoulli(row_key, keep, shape))(row_keys)
    kept = layouts.enter(kept, layout, x.shape[-1])
    return jnp.where(kept, x / jnp.asarray(keep, x.dtype), jnp.zeros((), x.dtype))
