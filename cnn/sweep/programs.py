"""Which trials share a compiled program, and the data they share."""

import dataclasses
import threading
from typing import Any

import jax
import jax.numpy as jnp

from cnn import hyperparams
from cnn.config.config import Config
from cnn.data import loader, types
from cnn.sweep.plan import Trial
from cnn.train import preflight

_LOADED = tuple(field.name for field in dataclasses.fields(types.DataSpec))


def program_of(trial: Trial) -> str:
    """Returns a text that is equal for trials which differ only in what is traced: real numbers, and seeds."""
    section = trial.values.train
    names = ("batch_size", "epochs", "steps", "accumulate_steps", "compute_dtype", "dispatch", "freeze", "remat")
    lengths = tuple(getattr(section, name) for name in names)
    return repr((_source(trial.values), lengths, hyperparams.structure(trial.values)))


def _source(values: Config) -> tuple[object, ...]:
    return tuple(getattr(values.data, name) for name in _LOADED)


class Datasets:
    """The data of the trials, each read once while the newest fit in the memory that pictures may take."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], types.Dataset] = {}
        self._lock = threading.Lock()

    def of(self, values: Config) -> types.Dataset:
        """Returns a config's data.

        Raises:
          DataError: they are missing or unlike the config.
        """
        source = _source(values)
        with self._lock:
            if source in self._known:
                self._known[source] = self._known.pop(source)
            else:
                dataset = preflight.load_data(values.data)
                preflight.tell([*dataset.notes, *preflight.few_to_validate(values, len(dataset.valid))])
                # On the device once, not once for each trial.
                training, valid = map(_on_device, (dataset.training, dataset.valid))
                if dataset.stored_train is None:
                    self._known[source] = dataclasses.replace(dataset, train=training, valid=valid)
                else:
                    self._known[source] = dataclasses.replace(dataset, stored_train=training, valid=valid)
            budget = preflight.memory_budget(values.data)
            while len(self._known) > 1 and sum(map(_bytes, self._known.values())) > budget:
                del self._known[next(iter(self._known))]  # the one that was asked for longest ago
            return self._known[source]


def _bytes(dataset: types.Dataset) -> int:
    splits = (dataset.training, dataset.valid, dataset.test)
    return sum(split.images.nbytes for split in splits if not isinstance(split.images, types.Stored))


def _on_device(split: types.Split) -> types.Split:
    if isinstance(split.images, types.Stored):
        return split
    images: Any = jnp.asarray(split.images)
    return dataclasses.replace(split, images=images)


def images(dataset: types.Dataset, values: Config) -> loader.Examples:
    """Returns the training split as the compiled step of a config takes it."""
    place = lambda tree: jax.tree.map(jnp.asarray, tree)  # noqa: E731
    return loader.whole(dataset.training, by_example=values.by_example, place=place)
