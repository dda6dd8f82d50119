"""The network: a Flax Linen module built from the layer list, computed as `cnn.model.fusion` groups it.

Beside `cnn.layers.module` the only importer of Flax. Parameters are named by their layers (`conv1/kernel`,
`residual1/conv2/bias`), whatever is fused.
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from cnn.layers.activation import Softmax
from cnn.layers.base import Layer, Parameter, Shape, Shard, Training, show
from cnn.layers.combine import Branch, Branches
from cnn.model import fusion
from cnn.model.summary import NOTHING
from cnn.ops import conv, mixed
from cnn.ops.layout import add_bias, enter, example_shape, layout_of, leave
from cnn.registry import blaming
from cnn.system.compile_times import ONCE

Variables = dict[str, Any]
"""`params`, and `batch_stats` (empty where no layer measures any)."""

Images = Float[Array, "batch height width channels"]
Logits = Float[Array, "batch classes"]


class Call(NamedTuple):
    """How a chain of layers is called.

    Attributes:
      shard: in training, what of a batch it is given; `None` in evaluation.
      outputs: where what its layers make is kept.
      apart: whether each layer is compiled by itself, so that it reads the very numbers that are kept.
      prefix: the path of the chain, before the names of its layers.
      frozen_batch_norm: the paths of batch normalisations that normalise as in evaluation and measure nothing.
      offsets: what is added to what the layers of these paths make: their gradients are those of the outputs.
    """

    shard: Shard | None = None
    outputs: dict[str, jax.Array] | None = None
    apart: bool = False
    prefix: str = ""
    frozen_batch_norm: frozenset[str] = frozenset()
    offsets: Mapping[str, jax.Array] = NOTHING

    def inside(self, name: str) -> "Call":
        """Returns the call of the chain within a layer."""
        return self._replace(prefix=f"{self.prefix}{name}/")

    def note(self, name: str, output: jax.Array) -> jax.Array:
        """Keeps what a layer made, where that is asked for; returns it, with what is added to it."""
        path = self.prefix + name
        if path in self.offsets:
            output = output + self.offsets[path]
        if self.outputs is not None:
            self.outputs[path] = output
        return output


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
    """Returns the logits, in float32, as evaluation computes them on this platform (default: JAX's).

    Of `dtype` see `apply_train`.
    """
    platform = platform or jax.default_backend()
    layout = layout_of(platform)
    chain = _Chain(tuple(layers), layout=layout)
    with mixed.products_of(dtype, platform) as between:
        return _leave(chain.apply(variables, enter(_checked(images).astype(between), layout)), layout)


def apply_train(
    layers: Sequence[Layer],
    variables: Variables,
    images: Images,
    key: PRNGKeyArray,
    *,
    dtype: Any = jnp.float32,
    shard: Shard = Shard(),  # noqa: B008
    remat: str = "none",
    platform: str | None = None,
    frozen_batch_norm: frozenset[str] = frozenset(),
) -> tuple[Logits, Any]:
    """Returns the logits, with dropout and batch statistics as in training, and the new `batch_stats`.

    Args:
      layers: the network.
      variables: `params` and `batch_stats`.
      images: standardised.
      key: for dropout.
      dtype: that of the activations; bfloat16 on a CPU is that of what is multiplied, see `cnn.ops.mixed`.
      shard: what of the batch the images are.
      remat: what is computed a second time for the gradients, see `cnn.config.sections.Train`.
      platform: computed as is fastest there (default: JAX's).
      frozen_batch_norm: the paths of batch normalisations that normalise as in evaluation and measure nothing.
    """
    platform = platform or jax.default_backend()
    layout = layout_of(platform)
    shard = shard if shard.rows is not None else shard._replace(rows=jnp.arange(len(images)))
    with mixed.products_of(dtype, platform) as between:
        logits, updates = _Chain(tuple(layers), layout=layout, remat=remat).apply(
            variables,
            enter(_checked(images).astype(between), layout, shard.microbatch),
            Call(shard, frozen_batch_norm=frozen_batch_norm),
            rngs={"dropout": key},
            mutable=["batch_stats"],
        )
    return _leave(logits, layout), updates.get("batch_stats", {})


def capture(
    layers: Sequence[Layer], variables: Variables, images: Images, *, apart: bool = False
) -> dict[str, jax.Array]:
    """Returns what every layer produced, by its path, in order; nothing fused, in float32, softmax included.

    Args:
      layers: the network.
      variables: its arrays.
      images: what it reads.
      apart: whether each layer is compiled by itself, within no other program. Together, XLA may compute an output
        again within the next layer, with another rounding.
    """
    outputs: dict[str, jax.Array] = {}
    _Chain(tuple(layers), fused=False).apply(variables, _checked(images), Call(outputs=outputs, apart=apart))
    return outputs


def capture_train(
    layers: Sequence[Layer],
    variables: Variables,
    images: Images,
    key: PRNGKeyArray,
    *,
    dtype: Any = jnp.float32,
    rows: Int[Array, " batch"],
    frozen_batch_norm: frozenset[str] = frozenset(),
    offsets: Mapping[str, jax.Array] = NOTHING,
) -> tuple[Logits, dict[str, jax.Array]]:
    """Returns the logits as in training, and what every layer made, by its path, in order; nothing fused.

    Args:
      layers: the network.
      variables: its arrays.
      images: standardised.
      key: for dropout.
      dtype: see `apply_train`.
      rows: those of the images in the batch.
      frozen_batch_norm: see `apply_train`.
      offsets: see `Call`.
    """
    outputs: dict[str, jax.Array] = {}
    with mixed.products_of(dtype, jax.default_backend()) as between:
        logits, _ = _Chain(tuple(layers), fused=False).apply(
            variables,
            _checked(images).astype(between),
            Call(Shard(rows), outputs, frozen_batch_norm=frozen_batch_norm, offsets=offsets),
            rngs={"dropout": key},
            mutable=["batch_stats"],
        )
    return jnp.asarray(logits, jnp.float32), outputs


def _leave(logits: Any, layout: str) -> jax.Array:
    return jnp.asarray(leave(logits, layout), jnp.float32)


def _checked(images: jax.Array) -> jax.Array:
    if images.ndim != 4:
        raise ValueError(
            f"images: must be batch x height x width x channels, got {show(images.shape)}. "
            "Give grey images their channel axis: images[..., None]."
        )
    return images


@functools.partial(jax.jit, static_argnames="layout", compiler_options=ONCE)
def _apply_apart(layer: Layer, x: jax.Array, arrays: dict[str, jax.Array], *, layout: str) -> jax.Array:
    return layer.apply(x, arrays, layout)


class _Arrays(nn.Module):
    """Declares the arrays of one layer under the layer's name."""

    layer: Layer
    shape: Shape
    """Of one example of its input."""

    @nn.compact
    def __call__(self) -> tuple[dict[str, jax.Array], Variables]:
        """Returns all arrays, and for those that are measured what their new values are written to."""
        arrays: dict[str, jax.Array] = {}
        variables: Variables = {}
        parameters, own = self.layer.parameters(self.shape), {}
        if self.is_initializing() and any(parameter.init == "own" for parameter in parameters):
            own = self.layer.initialise(self.make_rng("params"), self.shape)
        for parameter in parameters:
            *folders, name = parameter.name.split("/")
            scope: Any = self.scope
            for folder in folders:
                scope = scope.push(folder, reuse=True)
            make = functools.partial(_first, parameter, own)
            if parameter.collection == "params":
                arrays[parameter.name] = scope.param(name, make)
            else:
                variables[parameter.name] = scope.variable(parameter.collection, name, make, None)
                arrays[parameter.name] = variables[parameter.name].value
        return arrays, variables


def _first(parameter: Parameter, own: Mapping[str, jax.Array], key: PRNGKeyArray | None) -> jax.Array:
    """Returns the first value of an array; of one that its layer initialises, `own` holds it."""
    if parameter.init == "own":
        # Flax asks again, for the shape alone, where the array exists already.
        return own.get(parameter.name, jnp.zeros(parameter.shape, parameter.dtype))
    make = getattr(nn.initializers, parameter.init)
    make = make() if parameter.init == "glorot_uniform" else make
    return make(key, parameter.shape)


class _Chain(nn.Module):
    """Layers one after another."""

    layers: tuple[Layer, ...]
    fused: bool = True
    """Whether layers are computed together where that is faster; one by one they are the oracle of the rest."""
    joins: Branches | None = None
    """The layer whose chains are computed, the layers being that of its own scope, and joined."""
    layout: str = "NHWC"
    """That of images between the layers; vectors are (batch, features)."""
    remat: str = "none"

    @nn.compact
    def __call__(self, inputs: jax.Array, call: Call = Call()) -> jax.Array:  # noqa: B008
        x = inputs
        for block in fusion.blocks((fusion.fuse if self.fused else fusion.singles)(self.layers), self.remat):

            def compute_block(chain: "_Chain", x: jax.Array, block: Sequence[fusion.FusedOp] = block) -> jax.Array:
                for op in block:
                    # By this name a profile knows whose the compiled operations are; Flax's own names join with "/".
                    with jax.named_scope(f"{call.prefix}{op.name}".replace("/", ".")):
                        x = chain.compute(op, x, call)
                return x

            x = (compute_block if self.remat == "none" else nn.remat(compute_block))(self, x)
        if self.joins is None:
            return x
        parts = [x if not branch.scope else self._branch(branch, inputs, call) for branch in self.joins.chains]
        return self.joins.join(parts, self.layout)

    def _branch(self, branch: Branch, inputs: jax.Array, call: Call) -> jax.Array:
        chain = _Chain(branch.layers, self.fused, layout=self.layout, remat=self._inner_remat(), name=branch.scope)
        made: jax.Array = chain(inputs, call.inside(branch.scope))
        return made

    def compute(self, op: fusion.FusedOp, x: jax.Array, call: Call) -> jax.Array:
        """Returns what one layer, or several that are computed together, make of `x`."""
        if isinstance(op, fusion.ConvPool):
            x = self._conv_pool(op, x)
        elif isinstance(op.layer, Branches):
            own = next((branch.layers for branch in op.layer.chains if not branch.scope), ())
            inner = _Chain(own, self.fused, op.layer, self.layout, self._inner_remat(), name=op.name)
            x = inner(x, call.inside(op.name))
        elif isinstance(op.layer, Softmax):
            # Probabilities are shown; what is returned, and trained, are the logits.
            call.note(op.name, self._layer(op.name, op.layer, x, call))
            return x
        else:
            x = self._layer(op.name, op.layer, x, call)
        return call.note(op.name, x)

    def _inner_remat(self) -> str:
        """Returns that of the chains within: what a block computes again, it computes again as a whole."""
        return self.remat if self.remat == "layers" else "none"

    def _arrays(self, name: str, layer: Layer, x: jax.Array) -> tuple[dict[str, jax.Array], Variables]:
        shape = example_shape(x, self.layout)
        return _Arrays(layer, shape, name=name)() if layer.parameters(shape) else ({}, {})

    def _layer(self, name: str, layer: Layer, x: jax.Array, call: Call) -> jax.Array:
        arrays, variables = self._arrays(name, layer, x)
        with blaming(layer, "model.layers"):
            if call.apart:
                return _apply_apart(layer, x, arrays, layout=self.layout)
            if call.shard is None or call.prefix + name in call.frozen_batch_norm:
                return layer.apply(x, arrays, self.layout)
            training = Training(call.shard, lambda: self.make_rng("dropout"))
            x, measured = layer.apply_train(x, arrays, self.layout, training)
        for array, value in measured.items():
            variables[array].value = value
        return x

    def _conv_pool(self, op: fusion.ConvPool, x: jax.Array) -> jax.Array:
        arrays, _ = self._arrays(op.name, op.conv, x)
        height, width = op.crop(example_shape(x, self.layout))
        kernel, slides = arrays["kernel"].astype(x.dtype), op.conv.slides()
        pool = conv.Pool(op.pool.window, op.pool.strides, op.pool.padding)
        x = conv.conv_max_pool(x[..., :height, :width, :], kernel, slides, pool, layout=self.layout)
        x = add_bias(x, arrays.get("bias"), self.layout)
        for activation in op.activations:
            x = activation.apply(x, {}, self.layout)
        return x
