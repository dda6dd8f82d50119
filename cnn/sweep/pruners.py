"""The pruners that end bad trials of a sweep early: a class each, its fields the options; a resource is an epoch.

`make_pruner` gives Optuna's, which is imported there, as by the samplers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, ClassVar

from cnn.fields import Bounds, Count
from cnn.registry import PRUNERS as PRUNERS
from cnn.registry import pruner

if TYPE_CHECKING:
    from optuna.pruners import BasePruner

Reduction = Annotated[int, Bounds(2)]


@pruner(name="none")
class Off:
    """Every trial runs to its end."""

    learns: ClassVar[bool] = False
    """Whether a trial's end depends on the others."""

    def make_pruner(self, epochs: int | None) -> BasePruner:
        """Returns Optuna's pruner of trials of which the longest has so many epochs, `None` where that is not known."""
        import optuna

        return optuna.pruners.NopPruner()


@pruner
class Halving:
    """Of the trials that reach `min_epochs` times a power of `reduction`, lets the best 1 / `reduction` go on.

    Asynchronous: a trial is compared with those that were there before it.

    Source:
      Li et al. 2018, https://arxiv.org/abs/1810.05934.
    """

    learns: ClassVar[bool] = True
    min_epochs: Count = 1
    """How many epochs every trial has."""
    reduction: Reduction = 4
    """One in so many goes on."""

    def make_pruner(self, epochs: int | None) -> BasePruner:
        import optuna

        return optuna.pruners.SuccessiveHalvingPruner(
            min_resource=self.min_epochs, reduction_factor=self.reduction, min_early_stopping_rate=0
        )


@pruner
class Hyperband(Halving):
    """Several halvings beside each other that begin later and later.

    Source:
      Li et al. 2016, https://arxiv.org/abs/1603.06560.
    """

    def make_pruner(self, epochs: int | None) -> BasePruner:
        import optuna

        return optuna.pruners.HyperbandPruner(
            min_resource=self.min_epochs, max_resource=epochs or "auto", reduction_factor=self.reduction
        )
