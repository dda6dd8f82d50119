"""The tables of what a config may name. One decorator puts a class into its table, and makes it a frozen record.

    @optimizer
    class Sgd:
        learning_rate: Positive

        def make_tx(self, learning_rate_fn): ...

A class is one thing: its annotated fields are the options, with units and ranges; its methods are what it computes.
"""

import dataclasses
import re
import typing
from typing import Any


class Table(dict[str, type]):
    """Classes by the name that a config calls them."""

    def register(self, kind: Any = None, name: str = "") -> Any:
        """Makes a class a frozen record and enters it, as `name` or as its own name in snake case.

        Its attribute `kind` is that name.

        Raises:
          ValueError: the name is taken.
        """
        if kind is None:
            return lambda kind: self._enter(kind, name)
        return self._enter(kind, re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", kind.__name__).lower())

    def _enter(self, kind: type, name: str) -> type:
        if name in self:
            raise ValueError(f"{name}: the name is taken by {self[name].__module__}.{self[name].__qualname__}")
        record: Any = dataclasses.dataclass(frozen=True)(kind)
        record.kind = name
        self[name] = record
        return record


LAYERS, AUGMENTATIONS = Table(), Table()
OPTIMIZERS, SCHEDULES, CLIPS, AVERAGES = Table(), Table(), Table(), Table()
LOSSES, WEIGHTINGS, METRICS = Table(), Table(), Table()
STOPS, CADENCES, ORDERS = Table(), Table(), Table()
SAMPLERS, PRUNERS = Table(), Table()


@typing.dataclass_transform(frozen_default=True)
def layer(kind: Any = None, /, *, name: str = "") -> Any:
    """Enters a class among `LAYERS`."""
    return LAYERS.register(kind, name)


@typing.dataclass_transform(frozen_default=True)
def augmentation(kind: Any = None, /, *, name: str = "") -> Any:
    """Enters a class among `AUGMENTATIONS`."""
    return AUGMENTATIONS.register(kind, name)


@typing.dataclass_transform(frozen_default=True)
def optimizer(kind: Any = None, /, *, name: str = "") -> Any:
    """Enters a class among `OPTIMIZERS`."""
    return OPTIMIZERS.register(kind, name)


@typing.dataclass_transform(frozen_default=True)
def schedule(kind: Any = None, /, *, name: str = "") -> Any:
    """Enters a class among `SCHEDULES`."""
    return SCHEDULES.register(kind, name)


@typing.dataclass_transform(frozen_default=True)
def clip(kind: Any = None, /, *, name: str = "") -> Any:
    """Enters a class among `CLIPS`."""
    return CLIPS.register(kind, name)


@typing.dataclass_transform(frozen_default=True)
def average(kind: Any = None, /, *, name: str = "") -> Any:
    """Enters a class among `AVERAGES`."""
    return AVERAGES.register(kind, name)


@typing.dataclass_transform(frozen_default=True)
def loss(kind: Any = None, /, *, name: str = "") -> Any:
    """Enters a class among `LOSSES`."""
    return LOSSES.register(kind, name)


@typing.dataclass_transform(frozen_default=True)
def weighting(kind: Any = None, /, *, name: str = "") -> Any:
    """Enters a class among `WEIGHTINGS`."""
    return WEIGHTINGS.register(kind, name)


@typing.dataclass_transform(frozen_default=True)
def metric(kind: Any = None, /, *, name: str = "") -> Any:
    """Enters a class among `METRICS`."""
    return METRICS.register(kind, name)


@typing.dataclass_transform(frozen_default=True)
def stop(kind: Any = None, /, *, name: str = "") -> Any:
    """Enters a class among `STOPS`."""
    return STOPS.register(kind, name)


@typing.dataclass_transform(frozen_default=True)
def cadence(kind: Any = None, /, *, name: str = "") -> Any:
    """Enters a class among `CADENCES`."""
    return CADENCES.register(kind, name)


@typing.dataclass_transform(frozen_default=True)
def order(kind: Any = None, /, *, name: str = "") -> Any:
    """Enters a class among `ORDERS`."""
    return ORDERS.register(kind, name)


@typing.dataclass_transform(frozen_default=True)
def sampler(kind: Any = None, /, *, name: str = "") -> Any:
    """Enters a class among `SAMPLERS`."""
    return SAMPLERS.register(kind, name)


@typing.dataclass_transform(frozen_default=True)
def pruner(kind: Any = None, /, *, name: str = "") -> Any:
    """Enters a class among `PRUNERS`."""
    return PRUNERS.register(kind, name)
