"""The residual, which holds layers of its own, and dropout."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from etils import epy

from cnn.fields import Chain, Rate
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


@layer
class Residual(Layer):
    """The sum of what `body` and `shortcut` make of the same input; without a shortcut, the input itself.

    `cnn.model.network` computes the two, `add` their sum.

    Source:
      He et al. 2016, https://arxiv.org/abs/1512.03385.
    """

    body: Chain
    shortcut: Chain = ()

    def output(self, shape: Shape) -> Shape:
        ends = [shape, shape]
        for side, chain in enumerate((self.body, self.shortcut)):
            for inner in chain:
                ends[side] = inner.output(ends[side])
        if ends[0] != ends[1]:
            raise LayerError(
                f"its body makes {show(ends[0])} and its shortcut {show(ends[1])}, which cannot be added. "
                f"Give a shortcut that makes {show(ends[0])}, such as shortcut=conv({ends[0][-1]}, 1, strides=...)"
            )
        return ends[0]

    def formula(self, shape: Shape) -> str:
        return "body + shortcut" if self.shortcut else "body + input"

    def mixes_rows(self, shape: Shape) -> bool:
        return any_mixes_rows(self.body, shape) or any_mixes_rows(self.shortcut, shape)

    @staticmethod
    def add(body: jax.Array, shortcut: jax.Array) -> jax.Array:
        return body + shortcut

    @staticmethod
    def add_reference(body: np.ndarray, shortcut: np.ndarray) -> Reference:
        return Reference.rounded(body + shortcut, 1, np.abs(body) + np.abs(shortcut))

    @staticmethod
    def add_onnx(graph: OnnxGraph, body: str, shortcut: str, path: str) -> str:
        return graph.node("Add", [body, shortcut], path)


@layer
class Dropout(Layer):
    """In training sets each number to zero with this probability and scales the others up to keep the mean.

    Source:
      Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html.
    """

    rate: Rate

    def apply(self, x: jax.Array, arrays: Arrays, layout: str) -> jax.Array:
        return x

    def apply_train(
        self, x: jax.Array, arrays: Arrays, layout: str, training: Training
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        # The draws depend on the key and on each example's row alone, so not on devices or microbatches.
        assert training.shard.rows is not None
        keep, shape = 1.0 - self.rate, layouts.example_shape(x, layout)
        row_keys = jax.vmap(jax.random.fold_in, (None, 0))(training.make_key(), training.shard.rows)
        kept = jax.vmap(lambda row_key: jax.random.bernoulli(row_key, keep, shape))(row_keys)
        kept = layouts.enter(kept, layout, x.shape[-1])
        return jnp.where(kept, x / jnp.asarray(keep, x.dtype), jnp.zeros((), x.dtype)), {}

    def reference(self, x: np.ndarray, arrays: Arrays) -> Reference:
        return Reference.exact(x)

    def onnx(self, graph: OnnxGraph, x: str, arrays: Arrays, shape: Shape, path: str) -> str:
        return x
