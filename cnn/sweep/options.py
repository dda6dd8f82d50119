"""The options of a sweep beside its space: frozen records, read with the same checks as a config."""

import dataclasses
from typing import Annotated, Any, Literal

from cnn.config.sections import Seed
from cnn.fields import Bounds, Count, Language, Natural
from cnn.metrics import METRICS


@dataclasses.dataclass(frozen=True)
class Grid:
    """Every point of the space, each once."""


@dataclasses.dataclass(frozen=True)
class Random:
    """Independent draws."""

    seed: Seed = 0


@dataclasses.dataclass(frozen=True)
class Qmc(Random):
    """Scrambled Sobol points, which cover a box more evenly than independent draws; choices are independent."""


@dataclasses.dataclass(frozen=True)
class Tpe(Random):
    """Tree-structured Parzen estimator: draws more where good trials were, after `startup` independent draws."""

    startup: Count = 10


@dataclasses.dataclass(frozen=True)
class CmaEs(Random):
    """Covariance matrix adaptation, for numbers only; after `startup` independent draws."""

    startup: Count = 1


SAMPLERS: dict[str, type] = {"grid": Grid, "random": Random, "qmc": Qmc, "tpe": Tpe, "cmaes": CmaEs}

Reduction = Annotated[int, Bounds(2)]


@dataclasses.dataclass(frozen=True)
class Off:
    """Every trial runs to its end."""


@dataclasses.dataclass(frozen=True)
class Halving:
    """Of the trials that reach `min_epochs` times a power of `reduction`, lets the best 1 / `reduction` go on.

    Asynchronous: a trial is compared with those that were there before it.

    Source:
      Li et al. 2018, https://arxiv.org/abs/1810.05934.
    """

    min_epochs: Count = 1
    reduction: Reduction = 4


@dataclasses.dataclass(frozen=True)
class Hyperband(Halving):
    """Several halvings beside each other that begin later and later.

    Source:
      Li et al. 2016, https://arxiv.org/abs/1603.06560.
    """


PRUNERS: dict[str, type] = {"none": Off, "halving": Halving, "hyperband": Hyperband}


@dataclasses.dataclass(frozen=True)
class Options:
    """How the space is searched and by what it is ranked."""

    sampler: Annotated[Any, Language(SAMPLERS)] = "grid"
    trials: Natural = 0
    """How many configurations a sampler draws, each with every seed; a grid has its own number."""
    objective: Literal["valid.accuracy", "valid.loss"] = "valid.accuracy"
    """What the trials are ranked by; never the test split."""
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
        metric: Any = METRICS[self.objective.removeprefix("valid.")]
        return "maximize" if metric.better == "higher" else "minimize"


CHANGEABLE = ("tries", "engine", "lanes", "workers")
"""Options that a sweep may continue with differently: they say how, not what."""
