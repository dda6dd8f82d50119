"""The tables of what a config may name. One decorator puts a class or a function into its table.

    @optimizer
    class Sgd:
        learning_rate: Positive

        def make_tx(self, learning_rate_fn): ...

    @loss
    def focal(logits, labels, gamma: NonNegative = 2.0): ...

A thing is one class: its annotated fields are the options, with units and ranges; its methods are what it computes. The
decorator makes it a frozen record. A function is the same in short: the parameters that it is not given by whoever
calls it are its options. What the package has itself and what a user's own file has are entered alike; a file's entries
are there for the configs that name the file in `config.extensions`, and for no others.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import keyword
import os
import pickle
import random
import re
import sys
import sysconfig
import traceback
import typing
from collections.abc import Callable, Collection, Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import numpy as np

from cnn import fields

PACKAGE, LIBRARY = "cnn", "library"
"""The origins of what the package has itself, and of what a dotted name finds. That of a file is its
`Extension.origin`, and that of Python code, such as a cell of a notebook, is empty."""
_FOLDERS = (
    *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
    str(Path(__file__).parent),
)
ENTERED = ("kind", "origin")
"""What every record is told when it is entered, so that no option may be called so."""
FROZEN = (
    "draws random numbers of NumPy's or Python's, which stay the same once the program is compiled. "
    "Draw by jax.random, from the key that layers and augmentations may ask for"
)
"""Why code that is traced may not do so."""
_SHOWN = 100
"""The most characters of a value that are shown."""
_LIBRARIES = tuple(f"{folder}{os.sep}" for folder in _FOLDERS)
_entering: ContextVar[str] = ContextVar("entering", default="")
_traced: ContextVar[bool] = ContextVar("traced", default=False)


class ExtensionError(ValueError):
    """A user's own class or function that is wrong, or that failed; the message says where."""


class _Wrong(Exception):
    """What is wrong with a class or a function, to follow what it is and where it lies."""


class Table(dict[str, type]):
    """Classes by the name that a config calls them.

    Attributes:
      what: what an entry is, in words.
      needs: what a class must define to be such a thing.
      function: how a function becomes such a class; `None` where it cannot.
      adapter: makes such a class of a library's class; `None` where it cannot.
      library: finds the class behind a dotted name, such as `optax.adam`; `None` where there is none of this name.
      recorded: makes what stands for a user's own entry among the arguments of another in a config that is only read.
    """

    def __init__(self, what: str, *needs: str) -> None:
        super().__init__()
        self.what, self.needs = what, needs
        self.function: FunctionForm | None = None
        self.adapter: Callable[[type, str], type | None] = lambda thing, name: None
        self.library: Callable[[str], type | None] = lambda name: None
        self.recorded: Callable[[str, str], Any] | None = None
        self.taken: frozenset[str] = frozenset()
        """What an expression of these things calls something else."""
        self._entries: dict[tuple[str, str], type] = {}
        """Of every file that was loaded and of Python code, by origin and name; `self` has those in use."""

    def register(self, thing: Any = None, name: str = "") -> Any:
        """Enters a class or a function as `name`, or as its own name in snake case.

        Returns:
          What the decorated name stands for: the record of a class, whose attribute `kind` is its name in configs; a
          function, or a class of a library, as it is.

        Raises:
          ExtensionError: the name is taken, or it is no such thing; the message says what is missing.
        """
        if thing is None:
            return lambda thing: self.register(thing, name)
        given, thing = thing, _plain_function(thing)
        if not isinstance(thing, type) and not inspect.isfunction(thing):
            raise ExtensionError(f"{self.what}: must be a class or a function, got {shown(thing)}.")
        name = name or snake_case(thing.__name__)
        try:
            if not all(part.isidentifier() and not keyword.iskeyword(part) for part in name.split(".")):
                raise _Wrong(f' has a name that no config can write. Give it one: @cnn.{self.what}(name="my_name").')
            if name in self.taken:
                raise _Wrong(
                    f' has a name that is used for something else. Give it another: @cnn.{self.what}(name="my_{name}").'
                )
            record = self._record(thing, name)
        except _Wrong as error:
            # Only now, as finding the line takes a while.
            raise ExtensionError(f"{place(thing)}: the {self.what} {name}{error}") from None
        record.kind, record.origin = name, _origin(thing)
        before = self._entries.get((record.origin, name)) if record.origin else None
        if before is not None and before.__module__ == record.__module__:
            raise ExtensionError(
                f"{place(thing)}: the {self.what} {name} is there twice in this file. Rename one of them."
            )
        if name in self and not _same(self[name], record):
            raise ExtensionError(
                f"{place(thing)}: the {self.what} {name} has a name that is taken by {describe(self[name])}. "
                f'Give it another: @cnn.{self.what}(name="my_{name}")'
            )
        self[name] = record
        if record.origin != PACKAGE:
            self._entries[record.origin, name] = record
        return record if isinstance(thing, type) and issubclass(record, thing) else given

    def _record(self, thing: Any, name: str) -> Any:
        if not isinstance(thing, type):
            if self.function is None:
                raise _Wrong(f" is a function. Write a class with {' and '.join(self.needs)}.")
            return self.function.record(thing)
        if (adapted := self.adapter(thing, name)) is not None:
            return adapted
        has = {name for base in thing.__mro__[:-1] for name in (*vars(base), *vars(base).get("__annotations__", ()))}
        if missing := [need for need in self.needs if need not in has]:
            raise _Wrong(f" has no {missing[0]}. See the documentation of cnn.{self.what}.")
        record: Any = dataclasses.dataclass(frozen=True)(thing)
        if _origin(thing) == PACKAGE:
            return record
        try:
            options, defaults = fields.options(record), fields.defaults(record)
        except (TypeError, ValueError, NameError) as error:
            raise _Wrong(f": {error}.") from None
        for option, annotation in options.items():
            _check_option(option, annotation, defaults[option])
        return record

    def find(self, name: str) -> type | None:
        """Returns the class of a name, `None` where there is none.

        Raises:
          ValueError: a library has something of this name that cannot serve; the message says why.
        """
        if name in self:
            return self[name]
        found: Any = self.library(name) if "." in name else None
        if found is not None:
            found.origin = LIBRARY
        return found

    def use(self, origins: Collection[str]) -> None:
        """Leaves among the entries those of the package, of Python code, and of the files of these origins.

        Raises:
          ExtensionError: two of them have one name.
        """
        for name in [name for name, kind in self.items() if origin_of(kind) not in (PACKAGE, "", *origins)]:
            del self[name]
        for (origin, name), kind in sorted(self._entries.items(), key=lambda entry: entry[0][0]):
            if origin not in ("", *origins):
                continue
            if name in self and self[name] is not kind and not _same(self[name], kind):
                raise ExtensionError(
                    f"config.extensions: the {self.what} {name} is both in {describe(self[name])} and in "
                    f"{describe(kind)}. Rename one of them."
                )
            self[name] = kind

    def forget(self, origin: str) -> None:
        """Removes the entries of a file."""
        for key in [key for key in self._entries if key[0] == origin]:
            del self._entries[key]
            self.pop(key[1], None)


LAYERS = Table("layer", "output", "apply")
LAYERS.taken = frozenset({"classes"})
INITIALISERS = Table("initialiser", "make")
AUGMENTATIONS = Table("augmentation", "apply")
OPTIMIZERS = Table("optimizer", "learning_rate", "make_tx")
SCHEDULES = Table("schedule", "make_factor")
CLIPS, AVERAGES = Table("clip", "make_tx"), Table("average", "init", "update")
GROUPS, GRADIENTS = Table("group", "powers", "problem", "rate", "decay"), Table("gradient", "place")
LOSSES, METRICS = Table("loss", "__call__"), Table("metric", "__call__", "better")
VIEWS = Table("view", "seen")
WEIGHTINGS = Table("weighting", "of", "refusal")
STOPS, CADENCES, ORDERS = Table("stop", "reason", "needs_valid"), Table("cadence", "due"), Table("order", "seed_of")
WATCHES = Table("watch", "every", "measure")
SAMPLERS, PRUNERS = Table("sampler"), Table("pruner")
SOURCES = Table("source", "load")
TABLES = {
    table.what: table
    for table in (
        LAYERS,
        INITIALISERS,
        AUGMENTATIONS,
        OPTIMIZERS,
        SCHEDULES,
        CLIPS,
        AVERAGES,
        GROUPS,
        GRADIENTS,
        LOSSES,
        METRICS,
        VIEWS,
        WEIGHTINGS,
        STOPS,
        CADENCES,
        ORDERS,
        WATCHES,
        SAMPLERS,
        PRUNERS,
        SOURCES,
    )
}
"""Every table by what its entries are called, which is also the name of its decorator."""


@typing.dataclass_transform(frozen_default=True)
def layer(thing: Any = None, /, *, name: str = "") -> Any:
    """Enters a layer: a `flax.linen.Module`, a `flax.nnx.Module`, a function of a batch, or a class of `cnn.Layer`."""
    return LAYERS.register(thing, name)


@typing.dataclass_transform(frozen_default=True)
def initialiser(thing: Any = None, /, *, name: str = "") -> Any:
    """Enters how a kernel begins: a function of `key` and `shape`, or a class of `cnn.Initialiser`."""
    return INITIALISERS.register(thing, name)


@typing.dataclass_transform(frozen_default=True)
def augmentation(thing: Any = None, /, *, name: str = "") -> Any:
    """Enters an augmentation: a function of `image` and `key`, or a class whose `apply` is given the batch."""
    return AUGMENTATIONS.register(thing, name)


@typing.dataclass_transform(frozen_default=True)
def optimizer(thing: Any = None, /, *, name: str = "") -> Any:
    """Enters an optimizer: a function of `learning_rate` that returns Optax's, or a class with `make_tx`."""
    return OPTIMIZERS.register(thing, name)


@typing.dataclass_transform(frozen_default=True)
def schedule(thing: Any = None, /, *, name: str = "") -> Any:
    """Enters a schedule: a function of `step` and `total_steps`, or a class with `make_factor`."""
    return SCHEDULES.register(thing, name)


@typing.dataclass_transform(frozen_default=True)
def clip(thing: Any = None, /, *, name: str = "") -> Any:
    """Enters a class that changes gradients before the optimizer sees them, by its method `make_tx`."""
    return CLIPS.register(thing, name)


@typing.dataclass_transform(frozen_default=True)
def average(thing: Any = None, /, *, name: str = "") -> Any:
    """Enters a class that keeps an average of the parameters, by its methods `init` and `update`."""
    return AVERAGES.register(thing, name)


@typing.dataclass_transform(frozen_default=True)
def group(thing: Any = None, /, *, name: str = "") -> Any:
    """Enters which parameters have multiples of the learning rate and the decay.

    A function of `arrays` returns their paths; a class says in `powers` how often the multiples are theirs.
    """
    return GROUPS.register(thing, name)


@typing.dataclass_transform(frozen_default=True)
def gradient(thing: Any = None, /, *, name: str = "") -> Any:
    """Enters where the gradient of a step is taken: a function of `params` and `grads`, or a class with `place`."""
    return GRADIENTS.register(thing, name)


@typing.dataclass_transform(frozen_default=True)
def loss(thing: Any = None, /, *, name: str = "") -> Any:
    """Enters a loss: called with logits and labels, both [batch, classes], it returns one number an example."""
    return LOSSES.register(thing, name)


@typing.dataclass_transform(frozen_default=True)
def metric(thing: Any = None, /, *, name: str = "", better: str = "higher") -> Any:
    """Enters a metric: called with the logits and labels of a whole split, in NumPy, it returns one number.

    Args:
      thing: a function of `logits` and `labels`, or a class that is called with them and says which way is `better`.
      name: in configs (default: its own, in snake case).
      better: of a function: `higher` or `lower`.
    """
    if thing is None:
        return lambda thing: metric(thing, name=name, better=better)
    thing = _plain_function(thing)
    if inspect.isfunction(thing):
        thing.better = better  # type: ignore[attr-defined]
    if (found := getattr(thing, "better", "higher")) not in ("higher", "lower"):
        raise ExtensionError(
            f"{place(thing)}: the metric {name or snake_case(thing.__name__)}: better must be 'higher' or 'lower', "
            f"got {found!r:.40}."
        )
    return METRICS.register(thing, name)


@typing.dataclass_transform(frozen_default=True)
def view(thing: Any = None, /, *, name: str = "") -> Any:
    """Enters what the network sees of pictures at test time: a function of `pictures`, or a class with `seen`."""
    return VIEWS.register(thing, name)


@typing.dataclass_transform(frozen_default=True)
def weighting(thing: Any = None, /, *, name: str = "") -> Any:
    """Enters a class that says in `of` what an example of each class weighs."""
    return WEIGHTINGS.register(thing, name)


@typing.dataclass_transform(frozen_default=True)
def stop(thing: Any = None, /, *, name: str = "") -> Any:
    """Enters a class that says in `reason` why training ends after an epoch."""
    return STOPS.register(thing, name)


@typing.dataclass_transform(frozen_default=True)
def cadence(thing: Any = None, /, *, name: str = "") -> Any:
    """Enters a class that says in `due` whether a checkpoint is due."""
    return CADENCES.register(thing, name)


@typing.dataclass_transform(frozen_default=True)
def order(thing: Any = None, /, *, name: str = "") -> Any:
    """Enters a class that says in `seed_of` which seed shuffles the epochs."""
    return ORDERS.register(thing, name)


@typing.dataclass_transform(frozen_default=True)
def watch(thing: Any = None, /, *, name: str = "") -> Any:
    """Enters a class that says in `measure` what is watched of a step, and in `every` how often."""
    return WATCHES.register(thing, name)


@typing.dataclass_transform(frozen_default=True)
def sampler(thing: Any = None, /, *, name: str = "") -> Any:
    """Enters a class that chooses a sweep's trials."""
    return SAMPLERS.register(thing, name)


@typing.dataclass_transform(frozen_default=True)
def pruner(thing: Any = None, /, *, name: str = "") -> Any:
    """Enters a class that ends a sweep's trials early."""
    return PRUNERS.register(thing, name)


@typing.dataclass_transform(frozen_default=True)
def source(thing: Any = None, /, *, name: str = "") -> Any:
    """Enters a source of data: a function that returns `cnn.Arrays`, or a class whose `load(data)` does."""
    return SOURCES.register(thing, name)


def find(kinds: Mapping[str, type], name: str) -> type | None:
    """Returns the class of a name, also of a library's where the kinds are a table; see `Table.find`."""
    return kinds.find(name) if isinstance(kinds, Table) else kinds.get(name)


def of_package(kinds: Mapping[str, type]) -> dict[str, type]:
    """Returns the classes that are the package's own."""
    return {name: kind for name, kind in kinds.items() if origin_of(kind) == PACKAGE}


@contextlib.contextmanager
def entering(origin: str) -> Iterator[None]:
    """Enters what is registered within the block as that of a file."""
    token = _entering.set(origin)
    try:
        yield
    finally:
        _entering.reset(token)


def origin_of(kind: Any) -> str:
    """Returns whose a registered class, or an instance of it, is; the package's where it was never registered."""
    return getattr(kind, "origin", PACKAGE)


def _plain_function(thing: Any) -> Any:
    """Returns a function that calls what wraps one and is no function itself, such as `jax.jit`; others as they are."""
    if isinstance(thing, type) or inspect.isfunction(thing) or not inspect.isfunction(inspect.unwrap(thing)):
        return thing

    @functools.wraps(thing)
    def called(*arguments: Any, **options: Any) -> Any:
        return thing(*arguments, **options)

    return called


def _origin(thing: Any) -> str:
    of_package = thing.__module__.partition(".")[0] == PACKAGE
    return PACKAGE if of_package and not _entering.get() else _entering.get()


def _same(before: type, now: type) -> bool:
    """Tells whether a thing is defined again: by a cell of a notebook, or a file that is imported in two ways."""
    if PACKAGE in (origin_of(before), origin_of(now)) or before.__qualname__ != now.__qualname__:
        return False
    files = [getattr(sys.modules.get(kind.__module__), "__file__", None) for kind in (before, now)]
    return before.__module__ == now.__module__ or (files[0] is not None and files[0] == files[1])


class OfFunction:
    """What a record of a function extends: `call` calls it, with the record's fields beside what it is given."""

    function: typing.ClassVar[Callable[..., Any]]
    given: typing.ClassVar[tuple[str, ...]]
    """The parameters that it is given, of those that it may ask for."""
    own: typing.ClassVar[tuple[str, ...]]
    """Its other parameters: the options."""

    def call(self, **values: Any) -> Any:
        """Returns what the function makes of those of the values that it asks for."""
        given = {name: values[name] for name in self.given}
        return type(self).function(**given, **{name: getattr(self, name) for name in self.own})


@dataclasses.dataclass(frozen=True)
class FunctionForm:
    """How functions become records of a table.

    Attributes:
      base: the class that the record extends, whose methods call the function.
      given: the parameters that the function is given, all of which it must have.
      optional: those that it may have besides.
    """

    base: type[OfFunction]
    given: tuple[str, ...]
    optional: tuple[str, ...] = ()

    def has(self, name: str) -> bool:
        """Tells whether what a function becomes has something of a name that is none of its options."""
        return name == "self" or hasattr(self.base, name)

    def record(self, function: Callable[..., Any]) -> type:
        """Returns a frozen record whose fields are the other parameters of a function.

        Raises:
          _Wrong: a parameter is missing, or an option has no annotation, or one that no config can write.
        """
        annotations: dict[str, Any] = {}
        defaults: dict[str, Any] = {}
        parameters = inspect.signature(function).parameters
        if missing := [name for name in self.given if name not in parameters]:
            raise _Wrong(f" has no parameter {missing[0]}. It is called with {', '.join(self.given)}.")
        declared = OfFunction.__annotations__
        asked = tuple(name for name in parameters if name in (*self.given, *self.optional))
        for name, parameter in parameters.items():
            if name in asked:
                continue
            if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
                raise _Wrong(f" takes {parameter}, which no config can name. Name each option.")
            if parameter.annotation is parameter.empty:
                raise _Wrong(f": {name} has no annotation. Write its type, as in {name}: cnn.Positive.")
            if self.has(name) or name in (*vars(self.base).get("__dataclass_fields__", ()), *declared):
                raise _Wrong(f": the option {name} has a name that is used for something else. Rename it.")
            annotations[name] = _evaluated(name, parameter.annotation, function)
            if parameter.default is not parameter.empty:
                defaults[name] = dataclasses.field(default=parameter.default)
            _check_option(name, annotations[name], getattr(defaults.get(name), "default", fields.REQUIRED))
        options: list[Any] = [
            (name, annotation, defaults[name]) if name in defaults else (name, annotation)
            for name, annotation in annotations.items()
        ]
        namespace = {"function": staticmethod(function), "given": asked, "own": tuple(annotations)}
        record = dataclasses.make_dataclass(
            function.__name__, options, bases=(self.base,), namespace=namespace, frozen=True, kw_only=True
        )
        record.__doc__ = inspect.getdoc(function) or ""
        record.__module__, record.__qualname__ = function.__module__, function.__qualname__
        return record


@contextlib.contextmanager
def blaming(record: Any, field: str) -> Iterator[None]:
    """Turns what a user's own code raises within the block into one line; of the package's own, nothing is touched.

    Raises:
      ExtensionError: names the field of the config, the entry, and file, line and function.
    """
    watching: contextlib.AbstractContextManager[None] = contextlib.nullcontext()
    if _traced.get() and origin_of(record) != PACKAGE:
        watching = refusing_draws(
            lambda reason: ExtensionError(f"config.{field}: {record.kind}{_from(record)} {reason}.")
        )
    try:
        with watching:
            yield
    except ExtensionError:
        raise
    except Exception as error:
        if origin_of(record) == PACKAGE:
            raise
        raise ExtensionError(f"config.{field}: {record.kind} failed{where_raised(error)}: {said(error)}") from error


def blamed(record: Any, field: str, function: Callable[..., Any]) -> Callable[..., Any]:
    """Returns a function whose errors are told as `blaming` does; itself where the record is the package's."""
    if origin_of(record) == PACKAGE:
        return function

    @functools.wraps(function)
    def called(*arguments: Any, **options: Any) -> Any:
        with blaming(record, field):
            return function(*arguments, **options)

    return called


@contextlib.contextmanager
def traced() -> Iterator[None]:
    """Refuses within the block a user's own code that draws from NumPy's or Python's generators.

    It is only traced there: what it draws becomes a constant of the compiled program.
    """
    token = _traced.set(True)
    try:
        yield
    finally:
        _traced.reset(token)


def _generators() -> bytes:
    """Returns the state of the generators that NumPy and Python share among all code, to compare."""
    return pickle.dumps((np.random.get_state(legacy=False), random.getstate()))


@contextlib.contextmanager
def refusing_draws(refuse: Callable[[str], Exception]) -> Iterator[None]:
    """Raises what `refuse` makes of the reason if code within the block, which is traced, draws as `traced` says."""
    before = _generators()
    yield
    if _generators() != before:
        raise refuse(FROZEN)


def misfit(record: Any, field: str, wanted: str, found: Any, remedy: str = "") -> ExtensionError:
    """Returns the refusal of what a user's own class or function returned: what it must return, and where it lies."""
    message = f"config.{field}: {record.kind} must return {wanted}, got {shown(found)}{_from(record)}."
    return ExtensionError(f"{message} {remedy}".rstrip())


def _from(record: Any) -> str:
    if origin_of(record) in (PACKAGE, LIBRARY):
        return ""
    return f" from {place(written_as(type(record)))}"


def written_as(kind: type) -> Any:
    """Returns the class or the function that a registered class was made of, as its author wrote it."""
    return getattr(kind, "function", None) or getattr(getattr(kind, "about", None), "module", kind)


def shown(value: Any) -> str:
    """Returns the beginning of a value in one line, of arrays, at any depth, their types and shapes."""
    if is_array(value):
        text = f"{value.dtype} of {tuple(value.shape)}"
    elif isinstance(value, Mapping):
        text = f"{{{', '.join(f'{key!r}: {shown(inner)}' for key, inner in value.items())}}}"
    elif type(value) in (list, tuple):
        inside = ", ".join(map(shown, value))
        text = f"[{inside}]" if isinstance(value, list) else f"({inside}{',' if len(value) == 1 else ''})"
    else:
        text = " ".join(repr(value).split())
    return text if len(text) <= _SHOWN else f"{text[: _SHOWN - 3]}..."


def is_array(value: Any) -> bool:
    """Tells whether a value is an array, or the shape and type of one."""
    return hasattr(value, "shape") and hasattr(value, "dtype")


def where_raised(error: BaseException) -> str:
    """Returns the last place of an error in a user's code, in words; empty where it never came there."""
    frame = own_frame(error)
    return "" if frame is None else f" in {frame.filename}, line {frame.lineno}, in {frame.name}"


def own_frame(error: BaseException) -> traceback.FrameSummary | None:
    """Returns the last frame of an error in code that is neither a library's nor this package's."""
    frames = traceback.extract_tb(error.__traceback__)
    # Dataclasses, and so Flax's modules, have methods of a file "<string>".
    others = (*_LIBRARIES, "<frozen", "<string>")
    own = (frame for frame in reversed(frames) if not frame.filename.startswith(others))
    return next(own, None)


def message_of(error: BaseException) -> str:
    """Returns what an error says; of a mistake of syntax without its place, which whoever reports it says."""
    return str(error.msg if isinstance(error, SyntaxError) else error)


def said(error: BaseException) -> str:
    """Returns the kind and the beginning of the message of an error, in one line."""
    lines = message_of(error).strip().splitlines()
    message = " ".join(lines[0].split())[:300] if lines else ""
    return f"{type(error).__name__}{': ' if message else ''}{message}"


def place(thing: Any) -> str:
    """Returns the file and the line of a class or a function, as far as they are known."""
    try:
        file, (_, line) = inspect.getsourcefile(thing), inspect.getsourcelines(thing)
    except (TypeError, OSError):
        return str(thing.__module__)
    return f"{file}, line {line}"


def describe(kind: type) -> str:
    """Returns where an entry comes from: its file, or its module."""
    module = sys.modules.get(kind.__module__)
    if origin_of(kind) in (PACKAGE, "") or module is None:
        return f"{kind.__module__}.{kind.__qualname__}"
    return str(getattr(module, "__file__", kind.__module__))


def plural(what: str) -> str:
    """Returns `losses` for `loss`."""
    return f"{what}{'es' if what.endswith(('s', 'ch')) else 's'}"


def snake_case(name: str) -> str:
    """Returns `squeeze_excite` for `SqueezeExcite`, and `res_net20` for `ResNet20`."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _evaluated(name: str, annotation: Any, function: Callable[..., Any]) -> Any:
    """Returns an annotation that may be text, as all are under `from __future__ import annotations`."""
    if not isinstance(annotation, str):
        return annotation
    try:
        return eval(annotation, inspect.unwrap(function).__globals__)
    except Exception as error:
        raise _Wrong(f": {name}: the annotation {annotation!r} is not known: {said(error)}.") from None


def _check_option(name: str, annotation: Any, default: Any) -> None:
    if name in ENTERED:
        raise _Wrong(f": the option {name} has a name that is used for something else. Rename it.")
    if fields.language(annotation) or fields.is_nested(annotation):
        return
    try:
        fields.describe(annotation)
    except (KeyError, TypeError, ValueError):
        raise _Wrong(
            f": {name} has a type that no config can write, got {annotation!r:.80}. "
            "Use float, int, bool, str, a Literal, a tuple of them, or cnn.Positive and its like."
        ) from None
    if default is fields.REQUIRED:
        return
    try:
        fields.parse(annotation, default)
    except ValueError as error:
        raise _Wrong(f": the default of {name} {error}.") from None
