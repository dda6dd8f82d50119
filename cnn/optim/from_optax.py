"""Optax's public optimizers, schedules and losses by dotted name: `optax.adabelief`, `optax.contrib.adopt`.

What a function of Optax takes are the options of a record made of it. Which of its real numbers may be traced, and
whether it can serve at all, is found out by tracing it once with abstract arrays, so a new version of Optax needs no
new list. An argument that says nothing of itself or wants an object (a mask, a dtype, a function) keeps its default.

Only functions of the modules in `PLACES` are ever looked up; a name imports nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import numbers
import re
import types
import typing
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from etils import epy

from cnn import fields
from cnn.fields import REQUIRED, Count, Natural, OrNone, Positive, Static
from cnn.optim.schedules import Constant, Factor, LearningRate
from cnn.registry import LOSSES, OPTIMIZERS, SCHEDULES

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import optax

if TYPE_CHECKING:
    from jaxtyping import Array, Float
    from optax import GradientTransformation

PLACES = {
    "optimizer": ("optax", "optax.contrib"),
    "schedule": ("optax", "optax.schedules"),
    "loss": ("optax", "optax.losses"),
}
"""The modules in which each kind is looked for."""
PEAKS = ("peak_value", "init_value", "value")
"""The first of these that a schedule has is the learning rate, of which it gives the factor."""
STEPS_AND_SCALES = "boundaries_and_scales"
TEXTS = {"interpolate_type": Literal["linear", "cosine"]}
"""What the texts may be that Optax requires without an annotation of their values."""
OF_EXAMPLES = ("axis", "where", "weights", "class_weights", "reduction")
"""What losses take of the shape and the weights of the examples, some of it annotated as plain numbers."""
INPUTS = {
    "log_predictions": "takes log-probabilities, and gets logits",
    "predictor_outputs": "takes labels of -1 and 1, and gets probabilities",
    "logit_paddings": "is for sequences",
    "embeddings": "compares embeddings, and gets logits and labels",
    "anchors": "compares embeddings, and gets logits and labels",
    "max_fun": "makes a loss of a function",
}
"""Why a loss with an argument of this name cannot serve."""
DIRECTIONS = "compares the directions of two vectors, which logits of 0 have not"


def optimizer_of(name: str) -> type | None:
    """Returns the record of an optimizer of Optax, the same class at every call; `None` for a name not of Optax.

    Raises:
      ValueError: Optax has no such optimizer, or it cannot serve here; one line with the reason and a remedy, to follow
        the path of the field that holds the name.
    """
    return _find("optimizer", name)


def schedule_of(name: str) -> type | None:
    """Returns the record of a schedule of Optax; see `optimizer_of`."""
    return _find("schedule", name)


def loss_of(name: str) -> type | None:
    """Returns the record of a loss of Optax; see `optimizer_of`."""
    return _find("loss", name)


@functools.cache
def names(kind: str) -> list[str]:
    """Returns every name that can serve as an `optimizer`, a `schedule` or a `loss`, each function by one of them."""
    usable: dict[Any, str] = {}
    for name, function in _functions(kind).items():
        try:
            _made(kind, name)
        except _RefusedError:
            continue
        usable.setdefault(function, name)
    return list(usable.values())


_records: dict[tuple[str, str], type] = {}


def find(name: str) -> dict[str, type]:
    """Returns the record of a name by what it can serve as: an `optimizer`, a `schedule` or a `loss`.

    Raises:
      ValueError: Optax has nothing of this name, or it can serve as none of them; one line, which names the reasons.
    """
    found: dict[str, type] = {}
    reasons: list[str] = []
    for kind in PLACES:
        try:
            found[kind] = _made(kind, name)
        except _RefusedError as error:
            reasons.append(str(error))
    public = {public for kind in PLACES for public in _functions(kind)}
    if name not in public:
        raise ValueError(f"unknown name {name!r}. {fields.suggestion(name, sorted(public))}See fields optax")
    if not found:
        raise ValueError(f"{'; '.join(dict.fromkeys(reasons))}. See fields optax")
    return found


def _find(kind: str, name: str) -> type | None:
    if not name.startswith("optax."):
        return None
    try:
        return _made(kind, name)
    except _RefusedError as error:
        known, word = names(kind), name.rpartition(".")[2]
        # What all begin with makes none of them alike.
        words = {each: each.rpartition(".")[2] for each in known}
        alike = [each for each in known if words[each] in word or fields.suggestion(word, [words[each]])]
        remedy = error.remedy or f"{fields.suggestion(name, alike)}Known: {', '.join(known)}."
        raise ValueError(f"{error}. {remedy}") from None


def _made(kind: str, name: str) -> type:
    if (kind, name) not in _records:
        function = _functions(kind).get(name)
        if function is None:
            raise _RefusedError(f"unknown name {name!r}")
        made = _MAKERS[kind](name, function)
        # Of two threads the second gets the first's class: records of two would be two structures to JAX.
        _records.setdefault((kind, name), made)
    return _records[kind, name]


class _RefusedError(Exception):
    """Why a function cannot serve, and what can, where that is not just any other."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        self.remedy = remedy
        super().__init__(reason)


@functools.cache
def _functions(kind: str) -> dict[str, Callable[..., Any]]:
    """Returns all public functions where the kind is looked for, by dotted name."""
    return {
        f"{place}.{name}": function
        for place in PLACES[kind]
        for name, function in inspect.getmembers(importlib.import_module(place))
        # `optax.nadam` is a partial.
        if not name.startswith("_") and (inspect.isfunction(function) or isinstance(function, functools.partial))
    }


class _FromOptax:
    """What the records of all kinds have: the function, and its arguments by the names of the fields."""

    kind: ClassVar[str]
    function: ClassVar[Callable[..., Any]]

    def arguments(self) -> dict[str, Any]:
        """Returns the value of each option by its name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(typing.cast(Any, self))}


class _Optimizer(_FromOptax):
    def make_tx(self, learning_rate_fn: LearningRate) -> GradientTransformation:
        tx = self.function(**_with_rate(self.arguments(), learning_rate_fn))

        def init(params: Any) -> Any:
            # Some keep the parameters themselves, or one array twice, and the step gives up the arrays of its state.
            # With a type of its own an array compiles the step no second time.
            return jax.tree.map(lambda array: jnp.array(array, dtype=array.dtype, copy=True), tx.init(params))

        return optax.GradientTransformationExtraArgs(init, optax.with_extra_args_support(tx).update)

    @property
    def slots(self) -> int:
        """How many arrays like the parameters it keeps."""
        return _slots(self)


def _with_rate(arguments: Mapping[str, Any], learning_rate_fn: LearningRate) -> dict[str, Any]:
    """Returns the arguments with the learning rate, and others of a part of the parameters, as functions of steps."""
    rates = {
        name: learning_rate_fn._replace(peak=value)
        for name, value in arguments.items()
        if name.endswith("_learning_rate") and value is not None
    }
    return {**arguments, **rates, "learning_rate": learning_rate_fn}


@functools.cache
def _slots(optimizer: Any) -> int:
    params = _params()
    state = jax.eval_shape(optimizer.make_tx(_rate()).init, params)
    return round(sum(leaf.size for leaf in jax.tree.leaves(state)) / sum(leaf.size for leaf in jax.tree.leaves(params)))


def _rate() -> LearningRate:
    return LearningRate(1e-3, lambda count: jnp.ones(()))


def _params() -> dict[str, jax.ShapeDtypeStruct]:
    shapes = {"kernel": (3, 3, 32, 64), "dense": (128, 48), "bias": (48,)}
    return {name: jax.ShapeDtypeStruct(shape, jnp.float32) for name, shape in shapes.items()}


def _make_optimizer(name: str, function: Callable[..., Any]) -> type:
    fixed = function.keywords if isinstance(function, functools.partial) else {}
    parameters = {key: one for key, one in inspect.signature(function).parameters.items() if key not in fixed}
    if "learning_rate" not in parameters or name.split(".")[-1].startswith("scale_by_"):
        raise _RefusedError(f"{name} is no whole optimizer")
    rate = parameters.pop("learning_rate")
    takes_functions = Callable in {typing.get_origin(kind) for kind in _kinds(rate.annotation)}

    def attempt(arguments: Mapping[str, Any], traced: Mapping[str, Any]) -> None:
        def run(traced: Any, params: Any) -> Any:
            tx = function(**_with_rate({**arguments, **traced}, _rate()))
            state = tx.init(params)
            return state, tx.update(params, state, params)

        state, (updates, new_state) = jax.eval_shape(run, traced, _params())
        if _avals(updates) != _avals(_params()) or _avals(new_state) != _avals(state):
            raise _RefusedError(f"{name} changes the shapes of its state or of the gradients")
        if any(jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.extended) for leaf in jax.tree.leaves(state)):
            raise _RefusedError(f"{name} keeps a random key, which no checkpoint holds")

    # Some say that they take a number and pass on whatever they get.
    if not takes_functions and not _works(attempt, {}, {}):
        raise _RefusedError(f"{name} takes a fixed learning rate, and a schedule gives one of each step")
    options = _options(name, parameters.values(), attempt)
    said = _said(function)
    if isinstance(rate.default, float):
        said += f"\n\nOptax has a learning_rate of {rate.default:g} by default."
    if decays := [option for option in options if "weight_decay" in option]:
        said += f"\n\nAs in Optax without a mask, {' and '.join(decays)} shrinks every array, biases and scales too."
    return _record(name, function, (_Optimizer,), {"learning_rate": (Positive, REQUIRED), **options}, said)


def _avals(tree: Any) -> tuple[Any, list[Any]]:
    return jax.tree.structure(tree), [(leaf.shape, leaf.dtype) for leaf in jax.tree.leaves(tree)]


class _Schedule(_FromOptax, Constant):
    peak: ClassVar[str]
    lengths: ClassVar[tuple[str, ...]]
    warms_up: ClassVar[bool]

    @property
    def linear_steps(self) -> int:
        """How many updates our own warmup takes: none where Optax's schedule has one, of the same name."""
        return 0 if self.warms_up else self.warmup_steps

    @property
    def knows_length(self) -> bool:
        """Whether it depends on the run's length, see `Constant.knows_length`."""
        return bool(not self.warms_up and self.cooldown_steps) or any(
            getattr(self, name) is None for name in self.lengths
        )

    def main_factor(self, steps: int, steps_per_epoch: int) -> Factor:
        del steps_per_epoch
        return _factor(self.function, self._complete(steps))

    def refusal(self, total_steps: int) -> str | None:
        """Returns why it does not fit into so many updates, `None` where it does."""
        if message := super().refusal(total_steps):
            return message
        main = total_steps - self.linear_steps - self.cooldown_steps
        try:
            jax.eval_shape(self.main_factor(max(1, main), 1), jax.ShapeDtypeStruct((), jnp.int32))
        except ValueError as error:
            return f"config.schedule.name: {self.kind} refuses its arguments: {_line(error)} Set others."
        return None

    def _complete(self, steps: int) -> dict[str, Any]:
        """Returns the arguments, lengths that are not set as long as the main part of so many updates."""
        arguments = self.arguments()
        for name in ("cooldown_steps",) if self.warms_up else ("warmup_steps", "cooldown_steps"):
            del arguments[name]
        warmup = arguments.get("warmup_steps", 0)
        for name in self.lengths:
            if arguments[name] is None:
                # Optax counts the warmup to the steps of the decay, and not to those of a transition.
                arguments[name] = steps if name == "decay_steps" else max(1, steps - warmup)
        if "boundaries" in arguments:
            arguments[STEPS_AND_SCALES] = _steps_and_scales(arguments.pop("boundaries"), arguments.pop("scales"))
        return {**arguments, self.peak: 1.0}


def _factor(function: Callable[..., Any], arguments: Mapping[str, Any]) -> Factor:
    schedule = function(**arguments)
    return lambda count: jnp.asarray(schedule(count), jnp.float32)


def _steps_and_scales(boundaries: Sequence[int], scales: Sequence[float]) -> dict[int, float]:
    if len(boundaries) != len(scales):
        raise ValueError(f"it takes a scale for each boundary, got {len(boundaries)} and {len(scales)}.")
    if list(boundaries) != sorted(set(boundaries)):
        raise ValueError(f"boundaries must rise, got {boundaries}.")
    return dict(zip(boundaries, scales, strict=True))


def _make_schedule(name: str, function: Callable[..., Any]) -> type:
    parameters = dict(inspect.signature(function).parameters)
    peak = next((peak for peak in PEAKS if peak in parameters), None)
    if inspect.signature(function).return_annotation != optax.Schedule:
        raise _RefusedError(f"{name} is no schedule")
    fixed: dict[str, Any] = {}
    added: dict[str, Any] = {}
    if peak is not None:
        del parameters[peak]
        fixed[peak] = 1.0
    warms_up = parameters.pop("warmup_steps", None) is not None
    if warms_up:
        fixed["warmup_steps"] = 1
        added["warmup_steps"] = (Count, REQUIRED)
    lengths = tuple(
        length
        for length, parameter in parameters.items()
        if length.endswith("_steps") and parameter.default is inspect.Parameter.empty
    )
    for length in lengths:
        del parameters[length]
        fixed[length] = 50
        added[length] = (OrNone[Count], None)
    if parameters.pop(STEPS_AND_SCALES, None) is not None:
        fixed[STEPS_AND_SCALES] = {10: 0.5, 20: 0.1}
        added["boundaries"] = (typing.Annotated[tuple[int, ...], fields.Bounds(1)], REQUIRED)
        added["scales"] = (typing.Annotated[tuple[float, ...], fields.Bounds(0)], REQUIRED)

    def attempt(arguments: Mapping[str, Any], traced: Mapping[str, Any]) -> None:
        def run(traced: Any, count: Any) -> Any:
            return _factor(function, {**fixed, **arguments, **traced})(count)

        jax.eval_shape(run, traced, jax.ShapeDtypeStruct((), jnp.int32))

    options = _options(name, parameters.values(), attempt)
    if peak is None:
        raise _RefusedError(f"{name} has no value that could stand for the learning rate")
    if "init_value" in options and options["init_value"][1] is REQUIRED:
        options["init_value"] = (options["init_value"][0], 0.0)
    said = f"{_said(function)}\n\n`{peak}` is the learning rate, and other values are multiples of it."
    if lengths:
        said += f" Without {' and '.join(lengths)} it fills the steps between warmup and cooldown."
    if warms_up:
        said += " `warmup_steps` is Optax's own warmup, whose first update has the learning rate `init_value`."
    known = {"peak": peak, "lengths": lengths, "warms_up": warms_up}
    return _record(name, function, (_Schedule,), {**added, **options}, said, **known)


class _Loss(_FromOptax):
    def __call__(
        self, logits: Float[Array, "batch classes"], labels: Float[Array, "batch classes"]
    ) -> Float[Array, " batch"]:
        """Returns the loss of each example; see `cnn.losses.SoftmaxCrossEntropy`."""
        losses = self.function(logits, labels, **self.arguments())
        return losses.mean(-1) if losses.ndim > 1 else losses


def _make_loss(name: str, function: Callable[..., Any]) -> type:
    parameters = dict(inspect.signature(function).parameters)
    for argument, reason in INPUTS.items():
        if argument in parameters:
            raise _RefusedError(f"{name} {reason}", "Use optax.softmax_cross_entropy.")
    inputs = tuple(parameters)[:2]
    if inputs not in (("logits", "labels"), ("scores", "labels"), ("predictions", "targets")):
        raise _RefusedError(f"{name} is no loss of logits and labels")
    if name.endswith(".sparsemax_loss"):
        reason = "tells labels of 0 from others alone, and gets probabilities"
        raise _RefusedError(f"{name} {reason}", "Use optax.sigmoid_binary_cross_entropy.")
    if name.split(".")[-1].startswith("cosine_"):
        raise _RefusedError(f"{name} {DIRECTIONS}", "Use optax.squared_error.")
    shape, elementwise = (5, 3), False

    def attempt(arguments: Mapping[str, Any], traced: Mapping[str, Any], labels: Any = jnp.float32) -> None:
        nonlocal elementwise
        examples = jax.ShapeDtypeStruct(shape, jnp.float32)
        of = jax.ShapeDtypeStruct(shape if labels == jnp.float32 else shape[:1], labels)
        run = lambda traced, logits, labels: function(logits, labels, **{**arguments, **traced})  # noqa: E731
        losses = jax.eval_shape(run, traced, examples, of)
        if losses.shape not in (shape, shape[:1]):
            raise _RefusedError(f"{name} gives one number for the whole batch, and each example needs its own")
        elementwise = losses.shape == shape

    if _works(attempt, {}, {}, jnp.int32) and not _works(attempt, {}, {}):
        reason = "takes labels as integers, and gets a probability of each class"
        raise _RefusedError(f"{name} {reason}", "Use optax.softmax_cross_entropy.")
    taken = [one for key, one in parameters.items() if key not in (*inputs, *OF_EXAMPLES)]
    options = _options(name, taken, attempt)
    said = _said(function)
    if elementwise:
        said += "\n\nThe loss of an example is the mean over its classes."
    return _record(name, function, (_Loss,), options, said)


_MAKERS: dict[str, Callable[[str, Callable[..., Any]], type]] = {
    "optimizer": _make_optimizer,
    "schedule": _make_schedule,
    "loss": _make_loss,
}


class _Ladder(NamedTuple):
    """The annotations that an argument may have, the freest first, and its default."""

    rungs: tuple[Any, ...]
    default: Any

    def of(self, annotation: Any) -> Any:
        """Returns the default as the type of an annotation: Optax writes 0 for many a real number."""
        base, _ = fields.split(annotation)
        return float(self.default) if base is float and type(self.default) is int else self.default

    def example(self, annotation: Any) -> Any:
        """Returns a value to try the argument with."""
        base, _ = fields.split(annotation)
        if base is bool:
            return self.default is False
        if self.default is None or self.default is REQUIRED:
            return typing.get_args(base)[0] if typing.get_origin(base) is Literal else base(0.5) or 1
        return base(self.default) if base in (int, float) else self.default


Attempt = Callable[[Mapping[str, Any], Mapping[str, Any]], None]
"""Traces the function with some arguments as they are, and others as tracers; raises where it cannot."""


def _options(name: str, parameters: Any, attempt: Attempt) -> dict[str, tuple[Any, Any]]:
    """Returns annotation and default of each argument that can be an option, as tracing the function tells.

    Raises:
      _RefusedError: it cannot be traced at all, or requires what is no option.
    """
    ladders = {parameter.name: _ladder(parameter) for parameter in parameters}
    for argument, ladder in ladders.items():
        if ladder.default is REQUIRED and not ladder.rungs:
            raise _RefusedError(f"{name} needs {argument}, which no config can write")
    base = {arg: ladder.example(ladder.rungs[0]) for arg, ladder in ladders.items() if ladder.default is REQUIRED}
    try:
        _quietly(attempt, base, {})
    except _RefusedError:
        raise
    except Exception as error:  # Whatever Optax raises.
        raise _RefusedError(f"{name} {_reason(error)}") from None
    flips = [
        flip
        for arg, ladder in ladders.items()
        if ladder.rungs == (bool,) and _works(attempt, {**base, **(flip := {arg: ladder.example(bool)})}, {})
    ]

    def works(chosen: Mapping[str, Any]) -> bool:
        real = [arg for arg, kind in chosen.items() if fields.is_real(kind)]
        given = {arg: ladders[arg].example(kind) for arg, kind in chosen.items() if arg not in real}
        traced = dict.fromkeys(real, jax.ShapeDtypeStruct((), jnp.float32))
        return all(_works(attempt, {**base, **given, **flip}, traced) for flip in ({}, *flips))

    first = {arg: ladder.rungs[0] for arg, ladder in ladders.items() if ladder.rungs and ladder.rungs != (bool,)}
    if not works(first):
        first = {
            arg: kind
            for arg in first
            if (kind := next((kind for kind in ladders[arg].rungs if works({arg: kind})), None)) is not None
        }
    chosen = {**first, **{arg: bool for flip in flips for arg in flip}}
    return {arg: (chosen[arg], ladder.of(chosen[arg])) for arg, ladder in ladders.items() if arg in chosen}


def _quietly(attempt: Callable[..., None], *arguments: Any) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        attempt(*arguments)


def _works(attempt: Callable[..., None], *arguments: Any) -> bool:
    try:
        _quietly(attempt, *arguments)
    except Exception:  # Whatever Optax raises.
        return False
    return True


def _reason(error: Exception) -> str:
    missing = re.search(r"missing \d+ required keyword-only arguments?: (.*)", str(error))
    if missing:
        return f"needs {missing[1]} with each update, and a training step has gradients alone"
    return f"cannot be traced: {_line(error).rstrip('.')}"


def _line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _ladder(parameter: inspect.Parameter) -> _Ladder:
    """Returns what an argument may be, by its annotation, or without one by its default."""
    default = REQUIRED if parameter.default is inspect.Parameter.empty else parameter.default
    kinds = set(_kinds(parameter.annotation))
    if kinds == {inspect.Parameter.empty}:
        kinds = {type(default)}
    optional = types.NoneType in kinds
    kinds -= {types.NoneType}
    rungs: tuple[Any, ...] = ()
    if parameter.name in TEXTS:
        rungs = (TEXTS[parameter.name],)
    elif float in kinds and isinstance(default, (numbers.Real, fields.Required, types.NoneType)):
        rungs = float, Static[float]
        # Numbers that count something, such as turns of a loop, are annotated as any number is.
        rungs += (Natural,) if type(default) is int else ()
    elif kinds == {bool}:
        rungs = (bool,)
    elif kinds == {int}:
        rungs = (Natural,)
    elif kinds == {str} or all(typing.get_origin(kind) is Literal for kind in kinds):
        rungs = tuple(kinds)
    elif isinstance(default, tuple) and default and all(isinstance(item, numbers.Real) for item in default):
        rungs = (tuple[(float,) * len(default)],)  # type: ignore[misc]
    return _Ladder(tuple(typing.Annotated[rung, fields.Omissible()] for rung in rungs) if optional else rungs, default)


def _kinds(annotation: Any) -> Iterator[Any]:
    """Yields the types that an annotation allows."""
    if typing.get_origin(annotation) in (typing.Union, types.UnionType):
        for kind in typing.get_args(annotation):
            yield from _kinds(kind)
    else:
        yield annotation


def _said(function: Callable[..., Any]) -> str:
    """Returns the first sentence of a function's own docstring."""
    fixed = ""
    if isinstance(function, functools.partial):
        fixed = f" With {', '.join(f'{name}={value!r}' for name, value in function.keywords.items())}."
        function = function.func
    sentence, point, _ = " ".join((inspect.getdoc(function) or "").split("\n\n")[0].split()).partition(". ")
    return sentence + point.strip() + fixed


def _record(
    name: str,
    function: Callable[..., Any],
    bases: tuple[type, ...],
    options: Mapping[str, tuple[Any, Any]],
    said: str,
    **known: Any,
) -> type:
    given = [
        (option, annotation, dataclasses.field(kw_only=default is REQUIRED and _Schedule in bases))
        if default is REQUIRED
        else (option, annotation, dataclasses.field(default=default))
        for option, (annotation, default) in options.items()
    ]
    namespace = {"__doc__": said, "__module__": __name__, "kind": name, "function": staticmethod(function), **known}
    return dataclasses.make_dataclass(name.split(".")[-1], given, bases=bases, namespace=namespace, frozen=True)


OPTIMIZERS.library, SCHEDULES.library, LOSSES.library = optimizer_of, schedule_of, loss_of
