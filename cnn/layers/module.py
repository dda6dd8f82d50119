"""Flax modules as layers: a `flax.linen.Module` or a `flax.nnx.Module`, between other layers or as the whole network.

A module computes and initialises itself. What else a layer says, its output, its arrays, what it costs and whether it
mixes the rows of a batch, is found by tracing the module, once for each shape of its input. Its variables are arrays by
their paths, `Conv_0/kernel`: those of the collection `params` are trained, those of all others lie in `batch_stats`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import math
import sys
import types
import typing
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import numpy as np
from etils import epy

from cnn import fields
from cnn.fields import REQUIRED
from cnn.layers.base import NOT_KNOWN, Arrays, Layer, LayerError, OnnxGraph, Parameter, Shape, Training, show
from cnn.registry import (
    ENTERED,
    LAYERS,
    ExtensionError,
    FunctionForm,
    OfFunction,
    own_frame,
    place,
    refusing_draws,
    said,
    written_as,
)
from cnn.system.text import relative

with epy.lazy_imports():
    import flax.core
    import flax.linen
    import flax.nnx
    import jax
    import jax.numpy as jnp

    from cnn.ops import layout as layouts

Collections = dict[str, Any]
"""The variables of a module by their collection: `params`, `batch_stats` and any others."""
MODES = {
    "train": True,
    "training": True,
    "is_training": True,
    "deterministic": False,
    "use_running_average": False,
}
"""The names by which a module is told whether it trains, and what they are when it does."""
STREAMS = ("params", "dropout", "default")
"""The names of random streams; Flax draws a stream of any other name from one of these."""
_POSSIBLE = "int, float, bool, str, a Literal of texts, or a tuple or Sequence of ints, floats or texts, or None"


class About(NamedTuple):
    """What is known of a module class beside the options of its layer."""

    module: type
    is_nnx: bool
    mode: str
    """The keyword of its `__call__` that says whether it trains; empty where it has none."""
    mode_fields: tuple[str, ...]
    """The fields that say it instead."""
    takes_rngs: bool
    """Whether an NNX module is built with `rngs`."""


def is_module(thing: Any) -> bool:
    """Tells whether something is a class of Linen or NNX modules; imports neither."""
    loaded = [getattr(sys.modules.get(name), "Module", None) for name in ("flax.linen", "flax.nnx")]
    return isinstance(thing, type) and issubclass(thing, tuple(base for base in loaded if base is not None))


def module_layer(module_class: type, name: str) -> type[ModuleLayer]:
    """Returns the kind of layer that computes as a module class does.

    Its options are the fields of a Linen module, or the parameters of an NNX module's `__init__`, whose annotations are
    plain types or those of `cnn.fields`. A `float` is part of the program's structure; with a range, such as `Rate`, it
    is traced. Fields of other types stay at their defaults.

    Args:
      module_class: a subclass of `flax.linen.Module` or `flax.nnx.Module`.
      name: what the layer is called in an expression.

    Raises:
      TypeError: a field without a default cannot be an option, or a field or `__call__` is not what a layer can use.
    """
    is_nnx = not issubclass(module_class, flax.linen.Module)
    mode = _mode_of_call(module_class)
    declared = _declared(module_class, is_nnx)
    takes_rngs = is_nnx and declared.pop("rngs", None) is not None
    # A field that says whether the module trains is no option: the call, or the bridge, says so later and overrules it.
    told_later = is_nnx or bool(mode)
    modes = {field: declared.pop(field)[1] for field in MODES if field in declared}
    mode_fields = [field for field, default in modes.items() if default is fields.REQUIRED or not told_later]
    options: list[tuple[str, Any, Any]] = []
    for field, (hint, default) in declared.items():
        option = _option(hint)
        if option is None and default is fields.REQUIRED:
            raise TypeError(
                f"{module_class.__name__}: its field {field} has no default and cannot be an option, "
                f"got {_shown(hint)}. Give it a default, or annotate it as {_POSSIBLE}"
            )
        if option is not None and (hasattr(ModuleLayer, field) or field in ENTERED):
            raise TypeError(f"{module_class.__name__}: its field {field} has a name that every layer uses. Rename it")
        if option is not None:
            options.append((field, option, default))
    # Python wants the options without a default first.
    required = [(field, option) for field, option, default in options if default is fields.REQUIRED]
    others = [each for each in options if each[2] is not fields.REQUIRED]
    made = dataclasses.make_dataclass(
        module_class.__name__,
        [*required, *others],
        bases=(ModuleLayer,),
        namespace={
            "kind": name,
            "about": About(module_class, is_nnx, mode, tuple(mode_fields), takes_rngs),
            "__doc__": module_class.__doc__,
            "__qualname__": module_class.__qualname__,
        },
        frozen=True,
        repr=False,
    )
    made.__module__ = module_class.__module__
    return made


def _mode_of_call(module_class: type) -> str:
    """Returns the keyword of `__call__` that tells whether the module trains, empty where there is none."""
    call = inspect.signature(module_class.__call__)
    _, *parameters = call.parameters.values()
    positional = [each for each in parameters if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)]
    takes_images = bool(positional) or any(each.kind == each.VAR_POSITIONAL for each in parameters)
    if not takes_images or not inspect.isfunction(inspect.unwrap(module_class.__call__)):
        raise TypeError(f"{module_class.__name__}: its __call__ takes no images, got {call}. Write __call__(self, x)")
    others = [each for each in parameters if each is not (positional[0] if positional else None)]
    named = [each for each in others if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)]
    mode = next((each.name for each in named if each.name in MODES and each.kind != each.POSITIONAL_ONLY), "")
    missing = [each.name for each in named if each.default is each.empty and each.name != mode]
    if missing:
        raise TypeError(
            f"{module_class.__name__}: its __call__ needs {' and '.join(missing)}, which a layer is not given, "
            f"got {call}. Give them defaults; a layer is called with images and one of {', '.join(MODES)}"
        )
    return mode


def _declared(module_class: type, is_nnx: bool) -> dict[str, tuple[Any, Any]]:
    """Returns the annotation and the default of each field that a module is built with."""
    found: dict[str, tuple[Any, Any]] = {}
    if is_nnx:
        init = inspect.unwrap(module_class.__init__)  # type: ignore[misc]
        if not inspect.isfunction(init):
            return found
        _, *parameters = inspect.signature(init).parameters.values()
        for each in parameters:
            if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
                default = fields.REQUIRED if each.default is each.empty else each.default
                found[each.name] = _resolved(each.annotation, init.__globals__), _frozen(default)
        return found
    for field in dataclasses.fields(module_class):
        if field.name in ("parent", "name") or not field.init:
            continue
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        default = fields.REQUIRED if default is dataclasses.MISSING else default
        owner = next(base for base in module_class.__mro__ if field.name in vars(base).get("__annotations__", {}))
        found[field.name] = _resolved(field.type, vars(sys.modules[owner.__module__])), _frozen(default)
    return found


def _resolved(hint: Any, names: Mapping[str, Any]) -> Any:
    """Returns an annotation that may be text as a type; text where its names are not to be found."""
    try:
        holder = types.SimpleNamespace(__annotations__={"field": hint})
        return typing.get_type_hints(holder, dict(names), include_extras=True)["field"]
    except (NameError, TypeError, AttributeError, SyntaxError):
        return hint


def _frozen(default: Any) -> Any:
    return tuple(default) if isinstance(default, list) else default


def _shown(hint: Any) -> str:
    if hint is inspect.Parameter.empty:
        return "no annotation"
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def _option(hint: Any) -> Any:
    """Returns the annotation of `cnn.fields` that a field of a module has, `None` where it can be no option."""
    base, extras = fields.split(hint)
    origin, arguments = typing.get_origin(base), typing.get_args(base)
    if origin in (typing.Union, types.UnionType):
        return _option_of_union([each for each in arguments if each is not type(None)])
    if base is float and not any(isinstance(extra, (fields.Bounds, fields.Structure)) for extra in extras):
        return fields.Static[float]
    if base in (int, float, bool, str):
        return hint
    if origin is Literal and all(isinstance(choice, str) for choice in arguments):
        return hint
    if origin is Sequence and arguments[0] in (int, float, str):
        return tuple[arguments[0], ...]  # type: ignore[valid-type]
    if origin is tuple and arguments and arguments[0] in (int, float, str):
        return hint if all(each in (arguments[0], Ellipsis) for each in arguments) else None
    return None


def _option_of_union(arguments: list[Any]) -> Any:
    if len(arguments) == 1:
        return _option(arguments[0])
    # A size for both axes or for each, as Flax's convolutions take it.
    options = [_option(each) for each in arguments if each is not int]
    return options[0] if int in arguments and options in ([tuple[int, ...]], [tuple[int, int]]) else None


class Traced(NamedTuple):
    """What tracing a module has shown."""

    output: Shape
    parameters: tuple[Parameter, ...]
    structure: Any
    """Of the module's own variables by collection, with the leaves in the order of `parameters`."""
    steady: bool
    """Whether training leaves what is measured as it is."""

    def variables(self, arrays: Arrays) -> Any:
        """Returns the module's own variables."""
        return jax.tree.unflatten(self.structure, [arrays[parameter.name] for parameter in self.parameters])


@dataclasses.dataclass(frozen=True, repr=False)
class ModuleLayer(Layer):
    """A layer that computes as a Flax module does, see `module_layer`."""

    about: ClassVar[About]

    def __repr__(self) -> str:
        # Programs are told apart by it, and two modules may have the same name in two files.
        shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in fields.options(type(self)))
        return f"{self.about.module.__module__}.{self.about.module.__qualname__} as {self.kind}({shown})"

    def output(self, shape: Shape) -> Shape:
        return self._traced(shape).output

    def formula(self, shape: Shape) -> str:
        return "" if self.output(shape) == shape else "as the module computes it"

    def parameters(self, shape: Shape) -> tuple[Parameter, ...]:
        return self._traced(shape).parameters

    def macs(self, shape: Shape) -> int:
        return _macs(self._alone(), shape)

    def reach(self, shape: Shape) -> Literal["not known"]:
        return NOT_KNOWN

    def mixes_rows(self, shape: Shape) -> bool:
        return bool(self.mixed_by(shape))

    def mixed_by(self, shape: Shape) -> str:
        """Returns by what, in training, one example of a batch changes what is made of another; empty where not."""
        mixes = _rows_mix(self._alone(), shape)
        if not self._traced(shape).steady:
            return "batch statistics"
        return "its output for one changes with another" if mixes else ""

    def kept_numbers(self, shape: Shape) -> float:
        return _kept(self._alone(), shape)

    def initialise(self, key: jax.Array, shape: Shape) -> dict[str, jax.Array]:
        traced = self._traced(shape)
        found = dict(_stored(self._init(key, jnp.zeros((1, *shape)))))
        return {parameter.name: found[parameter.name] for parameter in traced.parameters}

    def apply(self, x: jax.Array, arrays: Arrays, layout: str) -> jax.Array:
        traced = self._traced(layouts.example_shape(x, layout))
        out, _ = self._call(traced.variables(arrays), layouts.leave(x, layout), None)
        return layouts.enter(out.astype(x.dtype), layout, x.shape[-1] if x.ndim == 5 else None)

    def apply_train(
        self, x: jax.Array, arrays: Arrays, layout: str, training: Training
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        traced = self._traced(layouts.example_shape(x, layout))
        assert training.shard.rows is not None
        # What a module draws depends on a row's place in what it is given, so another part of a batch gets another key.
        key = jax.random.fold_in(training.make_key(), training.shard.rows[0])
        out, changed = self._call(traced.variables(arrays), layouts.leave(x, layout), key)
        out = layouts.enter(out.astype(x.dtype), layout, training.shard.microbatch)
        if traced.steady:
            return out, {}
        return out, {name: jnp.asarray(value, arrays[name].dtype) for name, value in _stored(changed)}

    def onnx(self, graph: OnnxGraph, x: str, arrays: Arrays, shape: Shape, path: str) -> str:
        if hasattr(type(self), "function"):
            raise LayerError(
                f"onnx has no operators for the function {self.kind}. Write it as a class of cnn.Layer with a method "
                "onnx, as in docs/extensions.md, or use --format=stablehlo"
            )
        if not hasattr(self.about.module, "onnx"):
            raise LayerError(
                f"onnx has no operators for the module {self.kind}. "
                f"Give its class {self.about.module.__name__} a method onnx, or use --format=stablehlo"
            )
        module = self._module(False)
        if self.about.is_nnx:
            rngs = {"rngs": flax.nnx.Rngs(0)} if self.about.takes_rngs else {}
            module = self.about.module(**self._given(False), **rngs)
        return module.onnx(graph, x, arrays, shape, path)

    def _given(self, training: bool) -> dict[str, Any]:
        """Returns the arguments that the module is built with."""
        options = {name: getattr(self, name) for name in fields.options(type(self))}
        return options | {mode: MODES[mode] == training for mode in self.about.mode_fields}

    def _module(self, training: bool) -> Any:
        given = self._given(training)
        # Without a parent, or Flax would make it a part of the module that is computing just now.
        if not self.about.is_nnx:
            return self.about.module(**given, parent=None)
        return flax.nnx.bridge.ToLinen(
            self.about.module,
            kwargs=flax.core.FrozenDict(given),
            skip_rng=not self.about.takes_rngs,
            metadata_fn=None,
            parent=None,
        )

    def _keywords(self, training: bool) -> dict[str, Any]:
        """Returns what the module is called with beside the images."""
        told = {self.about.mode: MODES[self.about.mode] == training} if self.about.mode else {}
        if not self.about.is_nnx:
            return told

        def call(module: Any, x: jax.Array) -> Any:
            # The bridge builds the module anew at each call, in training mode.
            (module.train if training else module.eval)()
            return module(x, **told)

        return {"nnx_method": call}

    def _init(self, key: jax.Array, x: jax.Array) -> Collections:
        """Returns the module's own variables by collection."""
        variables = self._module(False).init(_streams(key), x, **self._keywords(False))
        return flax.core.unfreeze(flax.linen.meta.unbox(variables))

    def _call(self, variables: Mapping[str, Any], x: jax.Array, key: jax.Array | None) -> tuple[Any, Collections]:
        """Returns what the module makes of a batch and the variables it measured; in training where there is a key."""
        if key is None:
            return self._module(False).apply(variables, x, **self._keywords(False)), {}
        mutable = [collection for collection in variables if collection != "params"]
        out, changed = self._module(True).apply(
            variables, x, rngs=_streams(key), mutable=mutable, **self._keywords(True)
        )
        return out, flax.core.unfreeze(flax.linen.meta.unbox(changed))

    def _alone(self) -> _Alone:
        annotations = fields.options(type(self))
        values = {name: getattr(self, name) for name in annotations}
        known = [
            (name, values[name]) for name in values if values[name] is None or not fields.is_real(annotations[name])
        ]
        return _Alone(type(self), tuple(known))

    def _traced(self, shape: Shape) -> Traced:
        return _trace(self._alone(), shape)


def _streams(key: jax.Array) -> dict[str, jax.Array]:
    return dict(zip(STREAMS, jax.random.split(key, len(STREAMS)), strict=True))


def _stored(variables: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yields every variable of a module by the name under which the layer has it.

    Those of other collections than `params` and `batch_stats` begin with `~` and their collection's name.
    """
    for collection, tree in sorted(variables.items()):
        folder = "" if collection in ("params", "batch_stats") else f"~{collection}/"
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
            yield folder + jax.tree_util.keystr(path, simple=True, separator="/"), leaf


class _Alone(NamedTuple):
    """A module by itself, of which all but the traced numbers is known.

    What is found of it is cached, and a record of a config cannot be asked: its numbers may belong to another trace.
    """

    kind: type[ModuleLayer]
    known: tuple[tuple[str, Any], ...]
    """Its other options, and those that are `None`."""

    @property
    def reals(self) -> dict[str, Any]:
        """The annotations of the traced numbers."""
        known = dict(self.known)
        return {name: hint for name, hint in fields.options(self.kind).items() if name not in known}

    def init(self, reals: Mapping[str, Any], key: jax.Array, x: jax.Array) -> Collections:
        return self._layer(reals)._init(key, x)

    def evaluate(self, reals: Mapping[str, Any], variables: Any, x: jax.Array) -> Any:
        return self._layer(reals)._call(variables, x, None)[0]

    def train(self, reals: Mapping[str, Any], variables: Any, x: jax.Array, key: jax.Array) -> Any:
        return self._layer(reals)._call(variables, x, key)

    def shapes(self, shape: Shape, batch: int) -> tuple[Any, Any, Any]:
        """Returns the shapes of the traced numbers, of a batch and of a key."""
        reals = dict.fromkeys(self.reals, jax.ShapeDtypeStruct((), jnp.float32))
        return reals, jax.ShapeDtypeStruct((batch, *shape), jnp.float32), jax.eval_shape(lambda: jax.random.key(0))

    def _layer(self, reals: Mapping[str, Any]) -> ModuleLayer:
        return self.kind(**dict(self.known), **reals)


@functools.lru_cache(maxsize=512)
def _trace(module: _Alone, shape: Shape) -> Traced:
    """Traces a module in evaluation and in training.

    Raises:
      LayerError: it fails, or makes or keeps something that no layer can.
    """
    reals, x, key = module.shapes(shape, 2)
    with _naming_errors(module):
        _, one, _ = module.shapes(shape, 1)
        variables = jax.eval_shape(module.init, reals, key, one)
        out, changed = jax.eval_shape(module.train, reals, variables, x, key)
        evaluated = jax.eval_shape(module.evaluate, reals, variables, x)
    # What a module reports by `sow` grows with every call, and is no part of what it computes.
    variables = {
        name: tree
        for name, tree in variables.items()
        if name == "params" or _like(changed.get(name, tree)) == _like(tree)
    }
    parameters = tuple(
        Parameter(path, leaf.shape, "own", "params" if name == "params" else "batch_stats", str(leaf.dtype))
        for name, tree in sorted(variables.items())
        for path, leaf in _stored({name: tree})
    )
    for parameter in parameters:
        trained = parameter.collection == "params"
        is_float = parameter.dtype.startswith(("float", "bfloat"))
        if parameter.dtype.startswith("key<") or (trained and not is_float):
            cannot, instead = ("trained", "it outside of params") if trained else ("saved", "its data")
            raise LayerError(
                f"keeps {parameter.name}, which is {parameter.dtype} and cannot be {cannot}. Keep {instead}"
            )
    paths = [parameter.name for parameter in parameters]
    if twice := next((path for path in paths if paths.count(path) > 1), None):
        raise LayerError(f"keeps {twice} both among its params and its batch_stats. Rename one")
    output = _output(evaluated)
    if _output(out) != output:
        raise LayerError(f"makes {show(output)} in evaluation, but {show(_output(out))} in training. Make the same")
    steady = _is_steady(module, variables, x, key)
    return Traced(output, parameters, jax.tree.structure(variables), steady)


def _output(found: Any) -> Shape:
    """Returns the shape of one example, given that of a batch of two.

    Raises:
      LayerError: it is no batch of maps or vectors.
    """
    is_array = isinstance(found, jax.ShapeDtypeStruct)
    if not is_array or found.ndim not in (2, 4) or found.shape[0] != 2 or not jnp.issubdtype(found.dtype, jnp.floating):
        got = f"{found.dtype} {show(found.shape)}" if is_array else type(found).__name__
        raise LayerError(
            f"makes of a batch of 2 what no layer can take, got {got}. "
            "Return one array of floats, batch x height x width x channels or batch x features"
        )
    return found.shape[1:]


def _like(tree: Any) -> Any:
    """Returns what is equal where two trees have their arrays at the same places and of the same shapes."""
    return jax.tree.structure(tree), [leaf.shape for leaf in jax.tree.leaves(tree)]


def _is_steady(module: _Alone, variables: Any, x: Any, key: Any) -> bool:
    """Tells whether the compiled training gives back each measured array as it was, whatever the batch."""
    measured = {name: tree for name, tree in variables.items() if name != "params"}
    params = {name: tree for name, tree in variables.items() if name == "params"}

    def train(measured: Any, reals: Any, x: Any, key: Any, params: Any) -> Any:
        changed = module.train(reals, {**params, **measured}, x, key)[1]
        return {name: changed.get(name, tree) for name, tree in measured.items()}

    reals = module.shapes((), 1)[0]
    jaxpr = jax.make_jaxpr(train)(measured, reals, x, key, params).jaxpr
    return all(new is old for new, old in zip(jaxpr.outvars, jaxpr.invars, strict=False))


@functools.lru_cache(maxsize=512)
def _rows_mix(module: _Alone, shape: Shape) -> bool:
    """Tells whether the output for the middle one of three rows changes with the other two, by trying it.

    Not by a derivative: what a module does with its batch behind `stop_gradient`, or by sorting it, has none.

    Raises:
      LayerError: it does so in evaluation, too.
    """
    traced, rng = _trace(module, shape), np.random.default_rng(0)
    reals = {name: _inside(hint) for name, hint in module.reals.items()}

    def middle(arrays: Any, x: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        variables = traced.variables(arrays)
        return module.train(reals, variables, x, key)[0][1], module.evaluate(reals, variables, x)[1]

    # The caller may be tracing a program of its own.
    with jax.ensure_compile_time_eval(), jax.default_device(jax.devices("cpu")[0]), _naming_errors(module):
        # Of a generator that compiles in no time.
        key, arrays = jax.random.key(0, impl="unsafe_rbg"), {}
        if any(parameter.collection != "params" for parameter in traced.parameters):
            arrays = dict(_stored(jax.jit(module.init)(reals, key, jnp.zeros((1, *shape)))))
        for name, size, *_, dtype in (each for each in traced.parameters if each.collection == "params"):
            # Not as they begin: a scale of zero hides what is behind it.
            arrays[name] = jnp.asarray(rng.normal(scale=0.3, size=size), dtype)
        before = rng.normal(size=(3, *shape)).astype(np.float32)
        after = rng.normal(size=(3, *shape)).astype(np.float32)
        after[1] = before[1]
        compiled = jax.jit(middle, compiler_options={"xla_backend_optimization_level": 0})
        pairs = zip(compiled(arrays, before, key), compiled(arrays, after, key), strict=True)
        trains, evaluates = (not np.array_equal(one, other, equal_nan=True) for one, other in pairs)
    if evaluates:
        raise LayerError(
            f"config.model.layers: {module.kind.kind}: in evaluation, too, what it makes of an image changes with the "
            f"others of its batch, so no single picture has an answer ({place(written_as(module.kind))}). "
            "Use running statistics there"
        )
    return trains


def _inside(hint: Any) -> float:
    """Returns a number that the annotation of a traced one allows."""
    bounds = next(extra for extra in fields.split(hint)[1] if isinstance(extra, fields.Bounds))
    low = max(bounds.low, min(bounds.high, 1.0) - 1.0)
    return (low + min(bounds.high, low + 1.0)) / 2


@functools.lru_cache(maxsize=512)
def _kept(module: _Alone, shape: Shape) -> int:
    """Returns how many numbers of one example the gradient is computed from, and those of the output."""

    def count(batch: int) -> int:
        reals, x, key = module.shapes(shape, batch)

        def kept(reals: Any, variables: Any, x: Any, key: Any) -> Any:
            def out(params: Any, x: Any) -> Any:
                return module.train(reals, {**variables, **params}, x, key)[0]

            return jax.vjp(out, {name: tree for name, tree in variables.items() if name == "params"}, x)

        variables = jax.eval_shape(module.init, reals, key, module.shapes(shape, 1)[1])
        return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(jax.eval_shape(kept, reals, variables, x, key)))

    with _naming_errors(module):
        return count(2) - count(1)


@functools.lru_cache(maxsize=512)
def _macs(module: _Alone, shape: Shape) -> int:
    """Returns the multiply-accumulates of one image in evaluation."""

    def count(batch: int) -> int:
        reals, x, key = module.shapes(shape, batch)
        variables = jax.eval_shape(module.init, reals, key, module.shapes(shape, 1)[1])
        return _products(jax.make_jaxpr(module.evaluate)(reals, variables, x).jaxpr)

    with _naming_errors(module):
        return count(2) - count(1)


def _products(jaxpr: Any) -> int:
    """Returns the multiply-accumulates of the matrix products and convolutions in a program.

    Of a branch the larger counts; a loop whose length is not known counts once.
    """
    total = 0
    for step in jaxpr.eqns:
        outputs = math.prod(step.outvars[0].aval.shape) if step.outvars else 0
        if step.primitive.name == "dot_general":
            contracted = step.params["dimension_numbers"][0][0]
            total += outputs * math.prod(step.invars[0].aval.shape[axis] for axis in contracted)
        elif step.primitive.name == "conv_general_dilated":
            kernel, axes = step.invars[1].aval.shape, step.params["dimension_numbers"].rhs_spec
            total += outputs * math.prod(kernel[axis] for axis in axes[1:]) // step.params["batch_group_count"]
        else:
            inner = [_products(program) for program in _programs(step.params.values())]
            times = step.params["length"] if step.primitive.name == "scan" else 1
            total += times * (max(inner, default=0) if step.primitive.name == "cond" else sum(inner))
    return total


def _programs(parts: Collection[Any]) -> Iterator[Any]:
    """Yields the programs among the parameters of a step of a program."""
    for part in parts:
        if isinstance(part, (tuple, list)):
            yield from _programs(part)
        elif hasattr(getattr(part, "jaxpr", part), "eqns"):
            yield getattr(part, "jaxpr", part)


@contextlib.contextmanager
def _naming_errors(module: _Alone) -> Iterator[None]:
    """Turns whatever a module raises into an error of the layer that says where it was raised.

    Raises:
      LayerError: in place of any other exception; or the module draws random numbers that are no JAX's.
    """
    thing = written_as(module.kind)
    try:
        with refusing_draws(lambda reason: LayerError(f"from {place(thing)} {reason}")):
            yield
    except LayerError:
        raise
    except Exception as error:
        frame = own_frame(error)
        where = f"{relative(frame.filename)}:{frame.lineno}, in {frame.name}" if frame else place(thing)
        raise LayerError(f"fails with {said(error)} ({where})") from error


def _registered(thing: type, name: str) -> type | None:
    """Returns the layer of a module class that a user registers, `None` for a class that extends `Layer`.

    Raises:
      ExtensionError: it is neither, or the module cannot be a layer.
    """
    if not is_module(thing):
        if not issubclass(thing, Layer):
            raise ExtensionError(
                f"{place(thing)}: the layer {name} is no Flax module and extends no layer. "
                f"Write {thing.__name__}(cnn.Layer)."
            )
        return None
    try:
        return module_layer(thing, name)
    except TypeError as error:
        raise ExtensionError(f"{place(thing)}: the layer {name}: {error}.") from None


@functools.cache
def _of_linen(name: str) -> type | None:
    """Returns the layer of a public module class of Linen, such as `nn.LayerNorm`; `None` for other names.

    Raises:
      ValueError: there is no such module, or it cannot be a layer.
    """
    if not name.startswith("nn."):
        return None
    if name not in _public():
        raise ValueError(f"unknown name {name!r}. {fields.did_you_mean(name, linen_names())}")
    try:
        return module_layer(getattr(flax.linen, name.removeprefix("nn.")), name)
    except TypeError as error:
        raise ValueError(f"cannot be a layer: {error}.") from None


def _public() -> list[str]:
    return [f"nn.{each}" for each in dir(flax.linen) if is_module(getattr(flax.linen, each))]


def linen_names() -> list[str]:
    """Returns the dotted names of Linen's modules that can be layers, such as `nn.LayerNorm`."""
    return [name for name in _public() if _can_be_a_layer(name)]


def _can_be_a_layer(name: str) -> bool:
    try:
        return _of_linen(name) is not None
    except ValueError:
        return False


class _OfFunctions(FunctionForm):
    """A function of a batch becomes a Linen module without parameters."""

    def has(self, name: str) -> bool:
        of_module = name in ("name", "parent", "scope") or hasattr(flax.linen.Module, name)
        return of_module or hasattr(ModuleLayer, name) or super().has(name)

    def record(self, function: Callable[..., Any]) -> type:
        options = super().record(function)

        def call(module: Any, x: jax.Array, train: bool = False) -> Any:
            given = {"x": x, "train": train}
            if "key" in options.given:  # type: ignore[attr-defined]
                given["key"] = module.make_rng("dropout") if train else jax.random.key(0)
            own = {name: getattr(module, name) for name in options.own}  # type: ignore[attr-defined]
            return function(**{name: given[name] for name in options.given}, **own)  # type: ignore[attr-defined]

        defaults = {name: default for name, default in fields.defaults(options).items() if default is not REQUIRED}
        annotations = {"__annotations__": fields.options(options), "__module__": function.__module__}
        namespace = {**annotations, **defaults, "__call__": call, "__doc__": inspect.getdoc(function)}
        made = module_layer(type(function.__name__, (flax.linen.Module,), namespace), function.__name__)
        made.function = staticmethod(function)  # type: ignore[attr-defined]
        return made


LAYERS.adapter, LAYERS.library = _registered, _of_linen
LAYERS.function = _OfFunctions(OfFunction, ("x",), ("train", "key"))
