"""The network: a Flax Linen module built from the layer list, computed group by group along a plan.

The only importer of `flax.linen`. Parameters are named by their layers (`conv1/kernel`, `residual1/conv2/bias`),
whatever the plan.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from cnn import layers as kinds
from cnn.layers import Layer, Parameter, Shape
from cnn.model import compute, fusion
from cnn.ops.layout import enter, layout_of, leave

Variables = dict[str, Any]
"""`params`, and `batch_stats` (empty where no layer measures any)."""

Images = Float[Array, "batch height width channels"]
Logits = Float[Array, "batch classes"]


def init(layers: Sequence[Layer], image_shape: Shape, key: PRNGKeyArray) -> Variables:
    """Returns new variables: glorot-uniform kernels, zero biases, unit scales, as in Keras.

    Source:
      Glorot and Bengio 2010, https://proceedings.mlr.press/v9/glorot10a.html.
    """
    variables = _Chain(tuple(layers)).init({"params": key}, _checked(jnp.zeros((1, *image_shape))))
    return {"params": variables.get("params", {}), "batch_stats": variables.get("batch_stats", {})}


def apply(
    layers: Sequence[Layer],
    variables: Variables,
    images: Images,
    *,
    dtype: Any = jnp.float32,
    platform: str | None = None,
) -> Logits:
    """Returns the logits, in float32, as evaluation computes them on this platform (default: JAX's)."""
    layout = _layout(platform)
    chain = _Chain(tuple(layers), layout=layout)
    return _leave(chain.apply(variables, enter(_checked(images).astype(dtype), layout)), layout)


def apply_train(
    layers: Sequence[Layer],
    variables: Variables,
    images: Images,
    key: PRNGKeyArray,
    *,
    dtype: Any = jnp.float32,
    share: compute.Shard = compute.Shard(),  # noqa: B008
    remat: str = "none",
    platform: str | None = None,
    still: frozenset[str] = frozenset(),
) -> tuple[Logits, Any]:
    """Returns the logits, with dropout and batch statistics as in training, and the new `batch_stats`.

    Args:
      layers: the network.
      variables: `params` and `batch_stats`.
      images: standardised.
      key: for dropout.
      dtype: that of the activations.
      share: what of the batch the images are.
      remat: what is computed a second time for the gradients, see `settings.Train`.
      platform: computed as is fastest there (default: JAX's).
      still: the paths of batch normalisations that normalise as in evaluation and measure nothing.
    """
    layout = _layout(platform)
    share = share if share.rows is not None else share._replace(rows=jnp.arange(len(images)))
    logits, updates = _Chain(tuple(layers), layout=layout, remat=remat).apply(
        variables,
        enter(_checked(images).astype(dtype), layout, share.piece),
        compute.Call(share, still=still),
        rngs={"dropout": key},
        mutable=["batch_stats"],
    )
    return _leave(logits, layout), updates.get("batch_stats", {})


def capture(layers: Sequence[Layer], variables: Variables, images: Images) -> dict[str, jax.Array]:
    """Returns what every layer produced, by its path, in order; the plain plan, in float32, softmax included."""
    outputs: dict[str, jax.Array] = {}
    _Chain(tuple(layers), plain=True).apply(variables, _checked(images), compute.Call(outputs=outputs))
    return outputs


def _layout(platform: str | None) -> str:
    return layout_of(platform or jax.default_backend())


def _leave(logits: Any, layout: str) -> jax.Array:
    return jnp.asarray(leave(logits, layout), jnp.float32)


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
    layout: str = "NHWC"
    """That of images between the layers; vectors are (batch, features)."""
    remat: str = "none"

    @nn.compact
    def __call__(self, inputs: jax.Array, call: compute.Call = compute.Call()) -> jax.Array:  # noqa: B008
        x = inputs
        for block in fusion.blocks((fusion.plain if self.plain else fusion.fast)(self.layers), self.remat):

            def compute_block(chain: "_Chain", x: jax.Array, block: Sequence[fusion.FusedOp] = block) -> jax.Array:
                for group in block:
                    x = chain.group(group, x, call)
                return x

            x = (compute_block if self.remat == "none" else nn.remat(compute_block))(self, x)
        if self.shortcut is None:
            return x
        other = _Chain(self.shortcut, self.plain, layout=self.layout, remat=self._inner_remat(), name="shortcut")
        return x + other(inputs, call.inside("shortcut"))

    def group(self, group: fusion.FusedOp, x: jax.Array, call: compute.Call) -> jax.Array:
        """Returns what one group of layers makes of `x`."""
        if isinstance(group, fusion.ConvPool):
            x = self._conv_pool(group, x)
        elif isinstance(group.layer, kinds.Residual):
            body, shortcut = group.layer.body, group.layer.shortcut
            inner = _Chain(body, self.plain, shortcut, self.layout, self._inner_remat(), name=group.name)
            x = inner(x, call.inside(group.name))
        elif isinstance(group.layer, kinds.Softmax):
            # People see probabilities; what is returned, and trained, are the logits.
            call.note(group.name, jax.nn.softmax(x.astype(jnp.float32)))
            return x
        else:
            x = self._layer(group.name, group.layer, x, call)
        call.note(group.name, x)
        return x

    def _inner_remat(self) -> str:
        """Returns that of the chains within: what a block computes again, it computes again as a whole."""
        return self.remat if self.remat == "layers" else "none"

    def _arrays(self, name: str, layer: Layer, x: jax.Array) -> dict[str, Any]:
        parameters = layer.parameters(compute.example_shape(x, self.layout))
        return _Arrays(parameters, name=name)() if parameters else {}

    def _layer(self, name: str, layer: Layer, x: jax.Array, call: compute.Call) -> jax.Array:
        if isinstance(layer, kinds.Dropout):
            return compute.dropout(layer, x, self.make_rng("dropout"), call.trained, self.layout) if call.trained else x
        arrays = self._arrays(name, layer, x)
        if not isinstance(layer, kinds.BatchNorm):
            return compute.forward(layer, arrays, x, self.layout)
        mean, var = arrays["mean"], arrays["var"]
        if call.trained is None or call.prefix + name in call.still:
            return compute.normalise(layer, arrays, x, mean.value, var.value, self.layout)
        x, new_mean, new_var = compute.normalise_batch(layer, arrays, x, self.layout, call.trained.axis)
        mean.value = layer.momentum * mean.value + (1 - layer.momentum) * new_mean
        var.value = layer.momentum * var.value + (1 - layer.momentum) * new_var
        return x

    def _conv_pool(self, group: fusion.ConvPool, x: jax.Array) -> jax.Array:
        arrays = self._arrays(group.name, group.conv, x)
        height, width = group.crop(compute.example_shape(x, self.layout))
        return compute.conv_pool(group, arrays, x[..., :height, :width, :], self.layout)
