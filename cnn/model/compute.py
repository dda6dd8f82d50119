"""How each kind of layer is computed, in either layout of `cnn.ops.conv`, as functions of its arrays and its input.

Images are (batch, height, width, channels) or (channels, height, width, batch), as the layout says; the latter may be
pieces of a batch along one more axis, the first. Vectors are (batch, features) always.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from cnn import layers as kinds
from cnn.config.config import ConfigError
from cnn.layers import Layer
from cnn.model.fusion import ConvPool
from cnn.ops import batch_norm, conv, pooling
from cnn.ops.layout import by_piece, enter, leave

Arrays = dict[str, Any]


class Shard(NamedTuple):
    """What of a batch one device computes, and how.

    Attributes:
      rows: the row of each example in the batch, by which dropout draws (default: in order from 0).
      axis: the name of the mesh axis over which the batch is spread, where it is.
      piece: how many examples a CPU takes at a time in each layer; it must divide the share (default: all).
    """

    rows: Int[Array, " batch"] | None = None
    axis: str | None = None
    piece: int | None = None


class Call(NamedTuple):
    """How a chain is called.

    Attributes:
      trained: in training, what of a batch it is given.
      outputs: where what its layers make is kept.
      prefix: the path of the chain, before the names of its layers.
      still: the paths of batch normalisations that normalise as in evaluation and measure nothing.
    """

    trained: Shard | None = None
    outputs: dict[str, jax.Array] | None = None
    prefix: str = ""
    still: frozenset[str] = frozenset()

    def inside(self, name: str) -> "Call":
        """Returns the call of the chain within a layer."""
        return self._replace(prefix=f"{self.prefix}{name}/")

    def note(self, name: str, output: jax.Array) -> None:
        """Keeps what a layer made, where that is asked for."""
        if self.outputs is not None:
            self.outputs[self.prefix + name] = output


def example_shape(x: jax.Array, layout: str) -> tuple[int, ...]:
    """Returns the shape of one example, as layers count it: height, width, channels, or features."""
    return x.shape[1:] if _channels_last(x, layout) else (*x.shape[-3:-1], x.shape[-4])


def forward(layer: Layer, arrays: Arrays, x: jax.Array, layout: str) -> jax.Array:
    """Returns what a layer makes of `x`: one that neither draws nor measures nor holds other layers.

    Raises:
      ConfigError: no line here says how its kind is computed.
    """
    kind = type(layer)
    if kind in _POINTWISE:
        return _POINTWISE[kind](x)
    if kind in _COMPUTE:
        return _COMPUTE[kind](layer, arrays, x, layout)
    raise ConfigError(
        [
            f"config.model.layers: {layer.kind} is a layer that nothing computes. "
            f"Add a line for {kind.__name__} to _COMPUTE, or to _POINTWISE, in cnn/model/compute.py"
        ]
    )


def conv_pool(group: ConvPool, arrays: Arrays, x: jax.Array, layout: str) -> jax.Array:
    """Returns what a convolution, activations and a pooling make of `x`, pooled first."""
    kernel, pool = arrays["kernel"].astype(x.dtype), conv.Pool(*dataclasses.astuple(group.pool))
    x = by_piece(lambda x: conv.conv_max_pool(x, kernel, _window(group.conv), pool, layout=layout), x)
    x = _add_bias(arrays, x, layout)
    for activation in group.activations:
        x = forward(activation, {}, x, layout)
    return x


def dropout(layer: kinds.Dropout, x: jax.Array, key: PRNGKeyArray, share: Shard, layout: str) -> jax.Array:
    """Zeroes numbers at random and scales the others; the draws depend on the key and each example's row alone."""
    keep = 1.0 - layer.rate
    shape = example_shape(x, layout)
    assert share.rows is not None
    row_keys = jax.vmap(jax.random.fold_in, (None, 0))(key, share.rows)
    kept = jax.vmap(lambda row_key: jax.random.bernoulli(row_key, keep, shape))(row_keys)
    kept = enter(kept, layout, x.shape[-1])
    return jnp.where(kept, x / jnp.asarray(keep, x.dtype), jnp.zeros((), x.dtype))


def normalise_batch(
    layer: kinds.BatchNorm, arrays: Arrays, x: jax.Array, layout: str, axis: str | None = None
) -> tuple[jax.Array, Float[Array, " channels"], Float[Array, " channels"]]:
    """Normalises each channel by its mean and variance over the batch and all pixels; returns these too, in float32.

    Args:
      layer: the normalisation.
      arrays: its scale and bias.
      x: this device's share of the batch.
      layout: its layout.
      axis: the name of the mesh axis over which the batch is spread, where it is.
    """
    channel = -1 if _channels_last(x, layout) else -4
    return batch_norm.batch_norm(x, arrays["scale"], arrays["bias"], layer.epsilon, channel, axis)


def normalise(
    layer: kinds.BatchNorm, arrays: Arrays, x: jax.Array, mean: jax.Array, var: jax.Array, layout: str
) -> jax.Array:
    """Moves and scales each channel: (x - mean) / sqrt(var + epsilon) * scale + bias."""
    scale = arrays["scale"] * jax.lax.rsqrt(var + layer.epsilon)
    mean, scale, bias = (_per_channel(vector, x, layout) for vector in (mean, scale, arrays["bias"]))
    return ((x.astype(jnp.float32) - mean) * scale + bias).astype(x.dtype)


def _channels_last(x: jax.Array, layout: str) -> bool:
    return x.ndim == 2 or layout == "NHWC"


def _per_channel(vector: Float[Array, " channels"], x: jax.Array, layout: str) -> jax.Array:
    return vector if _channels_last(x, layout) else vector[:, None, None, None]


def _add_bias(arrays: Arrays, x: jax.Array, layout: str) -> jax.Array:
    return x + _per_channel(arrays["bias"].astype(x.dtype), x, layout) if "bias" in arrays else x


def _window(layer: kinds.Conv) -> conv.Window:
    return conv.Window(layer.strides, layer.padding, layer.dilation, layer.groups)


def _conv(layer: kinds.Conv, arrays: Arrays, x: jax.Array, layout: str) -> jax.Array:
    kernel = arrays["kernel"].astype(x.dtype)
    return _add_bias(arrays, by_piece(lambda x: conv.conv(x, kernel, _window(layer), layout=layout), x), layout)


def _dense(_: kinds.Dense, arrays: Arrays, x: jax.Array, layout: str) -> jax.Array:
    return _add_bias(arrays, conv.dense(x, arrays["kernel"].astype(x.dtype)), layout)


def _flatten(_: kinds.Flatten, __: Arrays, x: jax.Array, layout: str) -> jax.Array:
    x = leave(x, layout)
    return x.reshape(x.shape[0], -1)


def _global(pool: Callable[[jax.Array], jax.Array]) -> Callable[[Any, Arrays, jax.Array, str], jax.Array]:
    def compute(_: Any, __: Arrays, x: jax.Array, layout: str) -> jax.Array:
        pooled = by_piece(pool, x)
        return pooled if layout == "NHWC" else jnp.moveaxis(pooled, -1, -2).reshape(-1, pooled.shape[-2])

    return compute


def _pool(pool: Callable[..., jax.Array]) -> Callable[[Any, Arrays, jax.Array, str], jax.Array]:
    return lambda layer, _, x, __: by_piece(lambda x: pool(x, layer.window, layer.strides, layer.padding), x)


def _group_norm(layer: kinds.GroupNorm, arrays: Arrays, x: jax.Array, layout: str) -> jax.Array:
    wide = leave(x, layout).astype(jnp.float32)
    grouped = wide.reshape(*wide.shape[:-1], layer.groups, wide.shape[-1] // layer.groups)
    axes = (*range(1, wide.ndim - 1), wide.ndim)
    mean, var = grouped.mean(axes, keepdims=True), grouped.var(axes, keepdims=True)
    normal = ((grouped - mean) * jax.lax.rsqrt(var + layer.epsilon)).reshape(wide.shape)
    out = (normal * arrays["scale"] + arrays["bias"]).astype(x.dtype)
    return enter(out, layout, x.shape[-1])


_COMPUTE: dict[type[Layer], Callable[[Any, Arrays, jax.Array, str], jax.Array]] = {
    kinds.Conv: _conv,
    kinds.MaxPool: _pool(pooling.max_pool),
    kinds.AvgPool: _pool(pooling.avg_pool),
    kinds.GlobalAvgPool: _global(pooling.global_avg_pool),
    kinds.GlobalMaxPool: _global(pooling.global_max_pool),
    kinds.Flatten: _flatten,
    kinds.Dense: _dense,
    kinds.GroupNorm: _group_norm,
}
_POINTWISE: dict[type[Layer], Callable[[jax.Array], jax.Array]] = {
    kinds.Relu: jax.nn.relu,
    kinds.Gelu: lambda x: jax.nn.gelu(x, approximate=False),
    kinds.Silu: jax.nn.silu,
    kinds.Tanh: jnp.tanh,
    kinds.Sigmoid: jax.nn.sigmoid,
}
