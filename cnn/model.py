"""The network: a Flax Linen module built from the layer list, computed group by group along a plan.

The only importer of `flax.linen`. Parameters are named by their layers (`conv1/kernel`, `residual1/conv2/bias`),
whatever the plan.
"""

from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from cnn import layers as kinds
from cnn import ops, plan
from cnn.layers import Layer, Parameter, Shape

Variables = dict[str, Any]
"""`params`, and `batch_stats` (empty where no layer measures any)."""

Images = Float[Array, "batch height width channels"]
Logits = Float[Array, "batch classes"]


def init(layers: Sequence[Layer], image_shape: Shape, key: PRNGKeyArray) -> Variables:
    """Returns new variables: glorot-uniform kernels, zero biases, unit scales, as in Keras.

    Source:
      Glorot and Bengio 2010, https://proceedings.mlr.press/v9/glorot10a.html.
    """
    variables = _Chain(tuple(layers)).init({"params": key}, _checked(jnp.zeros((1, *image_shape))), train=False)
    return {"params": variables.get("params", {}), "batch_stats": variables.get("batch_stats", {})}


def apply(layers: Sequence[Layer], variables: Variables, images: Images, *, dtype: Any = jnp.float32) -> Logits:
    """Returns the logits, in float32, as evaluation computes them."""
    logits = _Chain(tuple(layers)).apply(variables, _checked(images).astype(dtype), train=False)
    return jnp.asarray(logits, jnp.float32)


def apply_train(
    layers: Sequence[Layer], variables: Variables, images: Images, key: PRNGKeyArray, *, dtype: Any = jnp.float32
) -> tuple[Logits, Any]:
    """Returns the logits, with dropout and batch statistics as in training, and the new `batch_stats`."""
    logits, updates = _Chain(tuple(layers)).apply(
        variables, _checked(images).astype(dtype), train=True, rngs={"dropout": key}, mutable=["batch_stats"]
    )
    return jnp.asarray(logits, jnp.float32), updates.get("batch_stats", {})


def capture(layers: Sequence[Layer], variables: Variables, images: Images) -> dict[str, jax.Array]:
    """Returns what every layer produced, by its path, in order; the plain plan, in float32, softmax included."""
    outputs: dict[str, jax.Array] = {}
    _Chain(tuple(layers), plain=True).apply(variables, _checked(images), train=False, outputs=outputs)
    return outputs


def _checked(images: jax.Array) -> jax.Array:
    if images.ndim != 4:
        raise ValueError(
            f"images: must be batch x height x width x channels, got {kinds.show(images.shape)}. "
            "Give grey images their channel axis: images[..., None]."
        )
    return images


class _Arrays(nn.Module):
    """Declares the arrays of one layer under the layer's name."""

    parameters: tuple[Parameter, ...]

    @nn.compact
    def __call__(self) -> dict[str, Any]:
        arrays: dict[str, Any] = {}
        for name, shape, init_name, collection in self.parameters:
            make = getattr(nn.initializers, init_name)
            make = make() if init_name == "glorot_uniform" else make
            if collection == "params":
                arrays[name] = self.param(name, make, shape)
            else:
                arrays[name] = self.variable(collection, name, make, None, shape)
        return arrays


class _Chain(nn.Module):
    """Layers one after another; with a shortcut, a residual: what both make of the input is added."""

    layers: tuple[Layer, ...]
    plain: bool = False
    shortcut: tuple[Layer, ...] | None = None

    @nn.compact
    def __call__(
        self, inputs: jax.Array, *, train: bool, outputs: dict[str, jax.Array] | None = None, prefix: str = ""
    ) -> jax.Array:
        outputs = {} if outputs is None else outputs
        x = inputs
        for group in (plan.plain if self.plain else plan.fast)(self.layers):
            if isinstance(group, plan.ConvPool):
                x = self._conv_pool(group, x)
            elif isinstance(group.layer, kinds.Residual):
                inner = _Chain(group.layer.body, self.plain, group.layer.shortcut, name=group.name)
                x = inner(x, train=train, outputs=outputs, prefix=f"{prefix}{group.name}/")
            elif isinstance(group.layer, kinds.Softmax):
                # People see probabilities; what is returned, and trained, are the logits.
                outputs[prefix + group.name] = jax.nn.softmax(x.astype(jnp.float32))
                continue
            else:
                x = self._layer(group.name, group.layer, x, train)
            outputs[prefix + group.name] = x
        if self.shortcut is None:
            return x
        other = _Chain(self.shortcut, self.plain, name="shortcut")
        return x + other(inputs, train=train, outputs=outputs, prefix=f"{prefix}shortcut/")

    def _arrays(self, name: str, layer: Layer, x: jax.Array) -> dict[str, Any]:
        parameters = layer.parameters(x.shape[1:])
        return _Arrays(parameters, name=name)() if parameters else {}

    def _layer(self, name: str, layer: Layer, x: jax.Array, train: bool) -> jax.Array:
        if isinstance(layer, kinds.Dropout):
            return _dropout(layer, x, self.make_rng("dropout")) if train else x
        arrays = self._arrays(name, layer, x)
        if isinstance(layer, kinds.BatchNorm):
            return _batch_norm(layer, arrays, x, train)
        return _COMPUTE[type(layer)](layer, arrays, x)

    def _conv_pool(self, group: plan.ConvPool, x: jax.Array) -> jax.Array:
        arrays = self._arrays(group.name, group.conv, x)
        height, width = group.crop(x.shape[1:])
        x = _convolve(group.conv, arrays, x[:, :height, :width])
        x = _add_bias(arrays, ops.max_pool(x, group.pool.window, group.pool.strides, group.pool.padding))
        for activation in group.activations:
            x = _COMPUTE[type(activation)](activation, {}, x)
        return x


def _convolve(layer: kinds.Conv, arrays: dict[str, Any], x: jax.Array) -> jax.Array:
    return ops.conv(
        x,
        arrays["kernel"].astype(x.dtype),
        strides=layer.strides,
        padding=layer.padding,
        dilation=layer.dilation,
        groups=layer.groups,
    )


def _add_bias(arrays: dict[str, Any], x: jax.Array) -> jax.Array:
    return x + arrays["bias"].astype(x.dtype) if "bias" in arrays else x


def _dropout(layer: kinds.Dropout, x: jax.Array, key: PRNGKeyArray) -> jax.Array:
    keep = 1.0 - layer.rate
    kept = jax.random.bernoulli(key, keep, x.shape)
    return jnp.where(kept, x / jnp.asarray(keep, x.dtype), jnp.zeros((), x.dtype))


def _batch_norm(layer: kinds.BatchNorm, arrays: dict[str, Any], x: jax.Array, train: bool) -> jax.Array:
    mean, var = arrays["mean"].value, arrays["var"].value
    wide = x.astype(jnp.float32)
    if train:
        axes = tuple(range(x.ndim - 1))
        new_mean, new_var = wide.mean(axes), wide.var(axes)
        arrays["mean"].value = layer.momentum * mean + (1 - layer.momentum) * new_mean
        arrays["var"].value = layer.momentum * var + (1 - layer.momentum) * new_var
        mean, var = new_mean, new_var
    scale = arrays["scale"] * jax.lax.rsqrt(var + layer.epsilon)
    return ((wide - mean) * scale + arrays["bias"]).astype(x.dtype)


def _group_norm(layer: kinds.GroupNorm, arrays: dict[str, Any], x: jax.Array) -> jax.Array:
    grouped = x.astype(jnp.float32).reshape(*x.shape[:-1], layer.groups, x.shape[-1] // layer.groups)
    axes = (*range(1, x.ndim - 1), x.ndim)
    mean, var = grouped.mean(axes, keepdims=True), grouped.var(axes, keepdims=True)
    normal = ((grouped - mean) * jax.lax.rsqrt(var + layer.epsilon)).reshape(x.shape)
    return (normal * arrays["scale"] + arrays["bias"]).astype(x.dtype)


_COMPUTE: dict[type[Layer], Callable[[Any, dict[str, Any], jax.Array], jax.Array]] = {
    kinds.Conv: lambda layer, arrays, x: _add_bias(arrays, _convolve(layer, arrays, x)),
    kinds.MaxPool: lambda layer, _, x: ops.max_pool(x, layer.window, layer.strides, layer.padding),
    kinds.AvgPool: lambda layer, _, x: ops.avg_pool(x, layer.window, layer.strides, layer.padding),
    kinds.GlobalAvgPool: lambda _, __, x: x.mean((1, 2)),
    kinds.GlobalMaxPool: lambda _, __, x: x.max((1, 2)),
    kinds.Flatten: lambda _, __, x: x.reshape(x.shape[0], -1),
    kinds.Dense: lambda _, arrays, x: _add_bias(arrays, ops.dense(x, arrays["kernel"].astype(x.dtype))),
    kinds.Relu: lambda _, __, x: jax.nn.relu(x),
    kinds.Gelu: lambda _, __, x: jax.nn.gelu(x, approximate=False),
    kinds.Silu: lambda _, __, x: jax.nn.silu(x),
    kinds.Tanh: lambda _, __, x: jnp.tanh(x),
    kinds.Sigmoid: lambda _, __, x: jax.nn.sigmoid(x),
    kinds.GroupNorm: _group_norm,
}
"""How each kind is computed, but for those that need the module: residual, softmax, dropout, batch_norm."""
