"""Whether a layer class of a user's own is and computes what it declares: it is asked, and traced, once for each input.

The package's own layers are tested; Flax modules and functions declare nothing, see `cnn.layers.module`.
"""

from __future__ import annotations

import numbers
import typing
from collections.abc import Mapping
from typing import Any

from etils import epy

from cnn.fields import is_real, options
from cnn.layers.base import NOT_KNOWN, Arrays, Init, Layer, LayerError, Parameter, Reach, Shape, Shard, Training, show
from cnn.layers.combine import Branches
from cnn.layers.module import ModuleLayer
from cnn.registry import PACKAGE, origin_of, place, refusing_draws, said, shown, where_raised

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp

    from cnn.ops import layout as layouts

LAYOUTS = ("NHWC", "CHWN")
COLLECTIONS = ("params", "batch_stats")
_TRACED: set[Any] = set()
"""What was found to compute what it declares: a sweep has many layers that differ in what is traced alone."""


def output(layer: Layer, shape: Shape) -> Shape:
    """Returns what a layer makes of a shape; of a user's own class only what `apply` makes, too.

    Raises:
      LayerError: the layer does not fit; or a user's own class failed, or is not what it declares.
    """
    if origin_of(layer) == PACKAGE or isinstance(layer, ModuleLayer):
        return layer.output(shape)
    try:
        declared = layer.output(shape)
        parameters, macs, reach = layer.parameters(shape), layer.macs(shape), layer.reach(shape)
        _check(layer, "output", declared, _is_shape(declared), "a tuple, (features,) or (height, width, channels)")
        ours = isinstance(parameters, (tuple, list)) and all(map(_is_parameter, parameters))
        _check(layer, "parameters", parameters, ours, 'a tuple of Parameter("kernel", (3, 4), "zeros") and the like')
        _check(layer, "macs", macs, isinstance(macs, numbers.Integral) and macs >= 0, "a whole number of at least 0")
        known = reach is None or isinstance(reach, Reach) or reach == NOT_KNOWN
        _check(layer, "reach", reach, known, "a Reach, NOT_KNOWN, or None for the whole input")
        # What several chains make is what their join says.
        structure = [(name, getattr(layer, name)) for name, hint in options(type(layer)).items() if not is_real(hint)]
        traced = type(layer), tuple(structure), shape, declared, tuple(parameters)
        if not isinstance(layer, Branches) and traced not in _TRACED:
            with refusing_draws(lambda reason: LayerError(f"from {place(type(layer))} {reason}")):
                _check_computed(layer, shape, declared, {parameter.name: parameter for parameter in parameters})
            _TRACED.add(traced)
    except LayerError:
        raise
    except Exception as error:
        where = where_raised(error) or f" from {place(type(layer))}"
        raise LayerError(f"fails with {said(error)}{where}") from error
    return declared


def _check(layer: Layer, method: str, found: Any, fine: bool, wanted: str) -> None:
    if not fine:
        raise LayerError(f"must return in {method} {wanted}, got {shown(found)} from {place(type(layer))}")


def _is_shape(found: Any) -> bool:
    return _are_sizes(found) and len(found) in (1, 3)


def _are_sizes(found: Any) -> bool:
    return isinstance(found, tuple) and all(type(size) is int and size > 0 for size in found)


def _is_parameter(found: Any) -> bool:
    return (
        isinstance(found, Parameter)
        and isinstance(found.name, str)
        and _are_sizes(found.shape)
        and found.init in typing.get_args(Init)
        and found.collection in COLLECTIONS
    )


def _check_computed(layer: Layer, shape: Shape, declared: Shape, parameters: Mapping[str, Parameter]) -> None:
    """Checks by tracing it what a class computes, in evaluation and in training.

    Raises:
      LayerError: it has no `apply`, or one that makes something else than it declares.
    """
    if type(layer).apply is Layer.apply:
        raise LayerError(f"has no method apply, so nothing computes it. Write one in {place(type(layer))}")
    arrays = {name: jax.ShapeDtypeStruct(each.shape, each.dtype) for name, each in parameters.items()}
    own = {name: each.shape for name, each in parameters.items() if each.init == "own"}
    if own:
        first = jax.eval_shape(lambda: layer.initialise(jax.random.key(0), shape))
        fine = isinstance(first, Mapping) and all(getattr(first.get(name), "shape", None) == own[name] for name in own)
        _check(layer, "initialise", first, fine, f"arrays of the shapes {own!r:.200}")
    images = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
    # Vectors are the same in both.
    for layout in LAYOUTS if 3 in (len(shape), len(declared)) else LAYOUTS[:1]:

        def evaluate(images: Any, arrays: Arrays, layout: str = layout) -> Any:
            return layer.apply(layouts.enter(images, layout), arrays, layout)

        def train(images: Any, arrays: Arrays, layout: str = layout) -> Any:
            training = Training(Shard(jnp.arange(2)), lambda: jax.random.key(0))
            return layer.apply_train(layouts.enter(images, layout), arrays, layout, training)

        _check_made(layer, "apply", jax.eval_shape(evaluate, images, arrays), declared, layout)
        if type(layer).apply_train is not Layer.apply_train:
            found = jax.eval_shape(train, images, arrays)
            pair = isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], Mapping)
            _check(layer, "apply_train", found, pair, "a pair, its output and a dict of new statistics")
            measured = {name: found[1][name].shape for name in found[1]}
            stats = {name: each.shape for name, each in parameters.items() if each.collection != "params"}
            fine = measured.items() <= stats.items()
            _check(layer, "apply_train", measured, fine, f"statistics that parameters declares, {stats!r:.200}")
            _check_made(layer, "apply_train", found[0], declared, layout)


def _check_made(layer: Layer, method: str, made: Any, declared: Shape, layout: str) -> None:
    fine = isinstance(made, jax.ShapeDtypeStruct) and jnp.issubdtype(made.dtype, jnp.floating)
    _check(layer, method, made, fine, "one array of floats")
    last = layout == "NHWC" or made.ndim != 4
    shape = made.shape if last else (made.shape[3], made.shape[1], made.shape[2], made.shape[0])
    if shape != (2, *declared):
        makes = show(shape[1:]) if shape[:1] == (2,) and len(shape) > 1 else f"{shape} of a batch of 2"
        raise LayerError(
            f"says in output that it makes {show(declared)}, and {method} makes {makes}"
            f"{'' if made.ndim == 2 else f' (layout {layout})'}. Let both be the same in {place(type(layer))}"
        )
