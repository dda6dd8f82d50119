"""The options of a sweep beside its space: a frozen record, read with the same checks as a config."""

import dataclasses
import re
from typing import Annotated, Any, Literal

from cnn.config.config import ConfigError
from cnn.expression import build_one
from cnn.fields import Bounds, Count, Language, Natural, Parsed
from cnn.metrics import METRICS
from cnn.sweep.contest import FIRST, Rule
from cnn.sweep.pruners import PRUNERS
from cnn.sweep.samplers import SAMPLERS

VALID = "valid."
"""How every objective begins."""


def _seeds(value: Any) -> str | None:
    text = value if isinstance(value, str) else str(value)
    return text if re.fullmatch(r"(\+?[1-9][0-9]{0,4})?", text) else None


@dataclasses.dataclass(frozen=True)
class Options:
    """How the space is searched and by what it is ranked."""

    sampler: Annotated[Any, Language(SAMPLERS)] = "grid"
    """What chooses the trials."""
    trials: Natural = 0
    """How many configurations a sampler draws, each with every seed; a grid has its own number."""
    seeds: Annotated[str, Parsed(_seeds, "a number of seeds, or + and how many to add")] = ""
    """How many seeds each configuration has, `20`, or how many are added to a sweep that is there, `+5`: the integers
    after the largest one; empty: those of the space."""
    until: Literal["planned", "real"] = "planned"
    """When a grid ends: with the trials that are planned, or, adding seeds to the configurations that are not ruled out
    yet, when its winner is real."""
    most_seeds: Annotated[int, Bounds(FIRST)] = 24
    """How many seeds a configuration has at most, until the winner is real."""
    error: Annotated[float, Bounds(0, 0.5, open_low=True, open_high=True)] = 0.05
    """The chance that a wrong winner is called real, at most, over all looks and all configurations together."""
    objective: str = ""
    """What the trials are ranked by, such as `valid.loss`; empty: what the config's `train.monitor` says, of the
    validation split; never the test split."""
    pruner: Annotated[Any, Language(PRUNERS)] = "none"
    """What ends trials early that are behind."""
    tries: Count = 3
    """How often a trial that ends with an error is begun."""
    engine: Literal["auto", "vmap", "map"] = "auto"
    """Whether trials that differ in numbers alone train together in one program (vmap), or one after another (map);
    auto is vmap on an accelerator."""
    lanes: Natural = 0
    """How many trials train together under vmap; 0 is as many as the memory holds."""
    workers: Count = 1
    """How many copies of the command work at the sweep, each with its share of the cores."""

    @property
    def rule(self) -> Rule:
        """When a winner is real."""
        return Rule(self.error, self.most_seeds)

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """Whether more of the objective is better."""
        metric = build_one(self.objective.removeprefix(VALID), METRICS)
        return "maximize" if metric.better == "higher" else "minimize"


CHANGEABLE = ("seeds", "tries", "engine", "lanes", "workers")
"""Options that a sweep may continue with differently, as none changes which trials there are, or what they compute; the
seeds are in its space."""
OF_REAL = ("until", "most_seeds", "error")
"""Options that say when a winner is real, and are declared of sweeps that ask for it alone."""


def choose_engine(asked: str, platform: str, *, streams: bool, name: str = "--sweep.engine") -> str:
    """Returns the engine: the one asked for, or that of the platform; data that are not in memory leave only `map`.

    Args:
      asked: auto, vmap or map.
      platform: JAX's, such as cpu.
      streams: whether the data stream.
      name: of the option that asks, for the message.

    Raises:
      ConfigError: `vmap` was asked for, and the data stream.
    """
    if asked == "vmap" and streams:
        raise ConfigError([f"{name}: vmap needs data in memory, got data that stream. Use map"])
    if asked != "auto":
        return asked
    return "map" if platform == "cpu" or streams else "vmap"
