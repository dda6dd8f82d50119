"""The options of a sweep beside its space: a frozen record, read with the same checks as a config."""

import dataclasses
from typing import Annotated, Any, Literal

from cnn.expression import build_one
from cnn.fields import Count, Language, Natural
from cnn.metrics import METRICS
from cnn.sweep.pruners import PRUNERS
from cnn.sweep.samplers import SAMPLERS

VALID = "valid."
"""How every objective begins."""


@dataclasses.dataclass(frozen=True)
class Options:
    """How the space is searched and by what it is ranked."""

    sampler: Annotated[Any, Language(SAMPLERS)] = "grid"
    trials: Natural = 0
    """How many configurations a sampler draws, each with every seed; a grid has its own number."""
    objective: str = ""
    """What the trials are ranked by, such as `valid.loss`; empty: what the config's `train.monitor` says, of the
    validation split; never the test split."""
    pruner: Annotated[Any, Language(PRUNERS)] = "none"
    tries: Count = 3
    """How often a trial that ends with an error is begun."""
    engine: Literal["auto", "vmap", "map"] = "auto"
    lanes: Natural = 0
    """How many trials train together under vmap; 0 is as many as the memory holds."""
    workers: Count = 1
    """How many copies of the command work at the sweep, each with its share of the cores."""

    @property
    def direction(self) -> Literal["maximize", "minimize"]:
        """Whether more of the objective is better."""
        metric = build_one(self.objective.removeprefix(VALID), METRICS)
        return "maximize" if metric.better == "higher" else "minimize"


CHANGEABLE = ("tries", "engine", "lanes", "workers")
"""Options that a sweep may continue with differently, as none changes which trials there are, or what they compute."""
