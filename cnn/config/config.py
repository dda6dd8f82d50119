"""What a config is made of, and what comes out: the checked values, or the list of problems."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from cnn import patterns
from cnn.config import sections
from cnn.layers import Layer, Parameter, Row
from cnn.optim import OPTIMIZERS, SCHEDULES

SECTIONS: dict[str, type] = {
    "data": sections.Data,
    "train": sections.Train,
    "eval": sections.Eval,
    "checkpoint": sections.Checkpoint,
    "report": sections.Report,
}
NAMED: dict[str, dict[str, type]] = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES}
"""Sections whose `name` chooses the record."""
DEFAULT_NAMES = {"schedule": "constant"}
SCALARS: dict[str, tuple[Any, Any]] = {"seed": (sections.Seed, 0), "init_from": (str, ""), "init_layers": (str, "*")}
"""Fields of no section: their annotations and defaults."""
KNOWN = (*SCALARS, "model", *SECTIONS, *NAMED)


class Override(NamedTuple):
    """A flag `--config.<path>=<text>`."""

    path: str
    text: str


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole config, checked."""

    seed: int
    init_from: str
    """What trained parameters to start from: a run, one of its checkpoints, or a `.safetensors` file; empty: none."""
    init_layers: str
    """Which arrays come from there, as patterns over their paths, see `cnn.patterns`; the others are initialised."""
    layers: tuple[Layer, ...]
    rows: tuple[Row, ...]
    data: sections.Data
    optimizer: Any
    schedule: Any
    train: sections.Train
    eval: sections.Eval
    checkpoint: sections.Checkpoint
    report: sections.Report
    json: str
    """Every field with its value, expressions as text: what `config.json` holds."""

    @property
    def frozen(self) -> tuple[str, ...]:
        """The paths of the parameters that training leaves as they are."""
        return patterns.matching(self.train.freeze, array_paths(self.rows, "params"))

    @property
    def order_seed(self) -> int:
        """The seed of the data order."""
        return self.data.order.seed_of(self.seed)


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


class ConfigError(ValueError):
    """Everything that is wrong with a config, one line each."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """Returns path, old and new value of each field in which two resolved configs differ."""
    flat_old, flat_new = dict(_flatten(old)), dict(_flatten(new))
    return [
        (path, flat_old.get(path, "(not set)"), flat_new.get(path, "(not set)"))
        for path in sorted({*flat_old, *flat_new})
        if flat_old.get(path) != flat_new.get(path) or (path in flat_old) != (path in flat_new)
    ]


def _flatten(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
