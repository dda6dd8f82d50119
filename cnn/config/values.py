"""What a config is made of, and what comes out: the checked values, or the list of problems."""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from cnn import settings
from cnn.layers import Layer, Row

SECTIONS: dict[str, type] = {
    "data": settings.Data,
    "train": settings.Train,
    "eval": settings.Eval,
    "checkpoint": settings.Checkpoint,
    "report": settings.Report,
}
NAMED: dict[str, dict[str, type]] = {"optimizer": settings.OPTIMIZERS, "schedule": settings.SCHEDULES}
"""Sections whose `name` chooses the record."""
DEFAULT_NAMES = {"schedule": "constant"}
KNOWN = ("seed", "model", *SECTIONS, *NAMED)


class Override(NamedTuple):
    """A flag `--config.<path>=<text>`."""

    path: str
    text: str


@dataclasses.dataclass(frozen=True)
class Values:
    """A whole config, checked."""

    seed: int
    layers: tuple[Layer, ...]
    rows: tuple[Row, ...]
    data: settings.Data
    optimizer: Any
    schedule: Any
    train: settings.Train
    eval: settings.Eval
    checkpoint: settings.Checkpoint
    report: settings.Report
    json: str
    """Every field with its value, expressions as text: what `config.json` holds."""

    @property
    def order_seed(self) -> int:
        """The seed of the data order."""
        order = self.data.order
        return order.seed if isinstance(order, settings.Shared) else self.seed


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
