"""What a config is made of, and what comes out: the checked values, or the list of problems."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from cnn import patterns, registry
from cnn.config.extensions import Extension
from cnn.config.sections import Checkpoint, Data, Eval, Report, Seed, Train
from cnn.data.sources import kind_of
from cnn.expression import written
from cnn.layers.base import Layer, Parameter
from cnn.model.summary import Row
from cnn.optim import OPTIMIZERS, SCHEDULES

SECTIONS: dict[str, type] = {
    "data": Data,
    "train": Train,
    "eval": Eval,
    "checkpoint": Checkpoint,
    "report": Report,
}
NAMED: dict[str, dict[str, type]] = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}
"""Sections whose `name` chooses the record."""
DEFAULT_NAMES = {"schedule": "constant"}
SCALARS: dict[str, tuple[Any, Any]] = {
    "seed": (Seed, 0),
    "init_from": (str, ""),
    "init_layers": (str, "*"),
    "extensions": (tuple[str, ...], ()),
}
"""Fields of no section: their annotations and defaults."""
KNOWN = (*SCALARS, "model", *SECTIONS, *NAMED)
ALWAYS = ("accuracy", "loss")
"""The metrics that are always measured."""
LENGTHS = ("train.epochs", "train.steps")
"""How long a run is: one of them is set, and the other is `None`."""
NOT_SET = "(not set)"
"""What stands for the value of a field that a config does not have."""
RENAMED = {"data.fit": "data.resize"}
"""Fields that had another name, and the one they have: configs of earlier runs, files and flags may say either."""


class Override(NamedTuple):
    """A flag `--config.<path>=<text>`."""

    path: str
    text: str


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole config, checked."""

    seed: int
    """Of first parameters, order, augmentation, dropout."""
    init_from: str
    """What trained parameters to start from: a run, one of its checkpoints, or a `.safetensors` file; empty: none."""
    init_layers: str
    """Which arrays come from there, as patterns over their paths, such as "conv* !conv1/bias"; the others are
    initialised."""
    extensions: tuple[str, ...]
    """Files of your own, or modules, whose classes and functions the config names."""
    layers: tuple[Layer, ...]
    rows: tuple[Row, ...]
    data: Data
    optimizer: Any
    schedule: Any
    train: Train
    eval: Eval
    checkpoint: Checkpoint
    report: Report
    json: str
    """Every field with its value, expressions as text: what `config.json` holds."""
    pieces: tuple[tuple[str, tuple[str, ...]], ...] = ()
    """What of `model.layers` stands for several layers, as it is written there, and the paths of these layers."""
    code: tuple[Extension, ...] = ()
    """The extensions as they were read and executed; none where a run's config was only read."""

    @property
    def frozen(self) -> tuple[str, ...]:
        """The paths of the parameters that training leaves as they are."""
        return patterns.matching(self.train.freeze, array_paths(self.rows, "params"))

    @property
    def by_example(self) -> bool:
        """Whether an augmentation asks which example of the training split it is given."""
        return any(getattr(kind, "by_example", False) for kind in self.data.augment)

    @property
    def monitor(self) -> str:
        """The name of the metric that patience, the best weights and sweeps follow."""
        return written(self.train.monitor)

    @property
    def metrics(self) -> dict[str, Any]:
        """What is measured of a split besides its loss and accuracy, by name: the monitor, and `eval.metrics`."""
        named = {written(metric): metric for metric in (self.train.monitor, *self.eval.metrics)}
        return {name: metric for name, metric in named.items() if name not in ALWAYS}

    @property
    def foreign(self) -> set[type]:
        """The classes of its records that are not this package's: a user's own, or a library's."""
        source = kind_of(self.data.name)
        parts = [part for name, part in vars(self).items() if name != "code"]
        used = {type(each) for each in records(parts)} | ({source} if source is not None else set())
        return {kind for kind in used if registry.origin_of(kind) != registry.PACKAGE}

    @property
    def order_seed(self) -> int:
        """The seed of the data order."""
        return self.data.order.seed_of(self.seed)


def records(parts: Iterable[Any]) -> Iterator[Any]:
    """Yields every record among parts of a config, at any depth."""
    for part in parts:
        if isinstance(part, tuple):
            yield from records(part)
        elif dataclasses.is_dataclass(part):
            yield part
            yield from records(vars(part).values())


def arrays(rows: Sequence[Row], *collections: str) -> dict[str, Parameter]:
    """Returns every array of these collections, or of all where none is named, by its path: `conv1/kernel`."""
    return {
        f"{row.path}/{parameter.name}": parameter
        for row in rows
        for parameter in row.parameters
        if not collections or parameter.collection in collections
    }


def array_paths(rows: Sequence[Row], *collections: str) -> tuple[str, ...]:
    """Returns the paths of `arrays`."""
    return tuple(arrays(rows, *collections))


def renamed(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the sections of a config with the names that fields have today.

    A section that holds a field under both names keeps both; `resolve` refuses it.
    """
    named = dict(raw)
    for old, new in RENAMED.items():
        section, _, before = old.partition(".")
        now = new.partition(".")[2]
        fields = named.get(section)
        if isinstance(fields, Mapping) and before in fields and now not in fields:
            named[section] = {now if name == before else name: value for name, value in fields.items()}
    return named


def old_names(raw: Mapping[str, Any], overrides: Sequence[Override] = ()) -> list[str]:
    """Returns the paths of the fields that a config or its flags give under the name they had before."""
    sections = {name: section for name, section in raw.items() if isinstance(section, Mapping)}
    given = {f"{name}.{field}" for name, section in sections.items() for field in section}
    return [old for old in RENAMED if old in given or any(override.path == old for override in overrides)]


class ConfigError(ValueError):
    """Everything that is wrong with a config, one line each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Returns path, old and new value of each field in which two resolved configs differ."""
    flat_old, flat_new = by_path(old), by_path(new)
    return [
        (path, flat_old.get(path, NOT_SET), flat_new.get(path, NOT_SET))
        for path in sorted({*flat_old, *flat_new})
        if flat_old.get(path) != flat_new.get(path) or (path in flat_old) != (path in flat_new)
    ]


def by_path(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the values of a nested config by their paths, such as `data.name`."""
    return dict(_flatten(tree))


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
