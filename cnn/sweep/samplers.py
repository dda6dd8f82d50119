"""The samplers that draw configurations from the space of a sweep: a class each, its fields the options.

`make_sampler` gives Optuna's; Optuna takes a while to import, so it is imported where a trial is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from cnn.config.sections import Seed
from cnn.fields import Count
from cnn.registry import SAMPLERS as SAMPLERS
from cnn.registry import sampler

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler


def mixed(seed: int, number: int) -> int:
    """Returns a seed of its own for each configuration: with the same one, what was drawn would be drawn again."""
    return (seed + 1_000_003 * number) % 2**32


@sampler
class Grid:
    """Every point of the space, each once; the plan lists them, and nothing is drawn."""

    learns: ClassVar[bool] = False


@sampler
class Random:
    """Independent draws."""

    learns: ClassVar[bool] = False
    """Whether what is drawn depends on the trials that ended."""
    widens: ClassVar[bool] = True
    """Whether it goes on in a space that has grown."""
    seed: Seed = 0
    """Of the draws."""

    def make_sampler(self, number: int) -> BaseSampler:
        """Returns Optuna's sampler for the configuration of this number."""
        import optuna

        return optuna.samplers.RandomSampler(seed=mixed(self.seed, number))


@sampler
class Qmc(Random):
    """Scrambled Sobol points, which cover a box more evenly than independent draws; choices are independent."""

    widens: ClassVar[bool] = False

    def make_sampler(self, number: int) -> BaseSampler:
        import optuna

        return optuna.samplers.QMCSampler(
            scramble=True,
            seed=self.seed,  # the same always: the sampler counts in the storage how many points were taken
            warn_asynchronous_seeding=False,
            warn_independent_sampling=False,
            independent_sampler=optuna.samplers.RandomSampler(seed=mixed(self.seed, number)),
        )


@sampler
class Tpe(Random):
    """Tree-structured Parzen estimator: draws more where good trials were, after `startup` independent draws."""

    learns: ClassVar[bool] = True
    startup: Count = 10
    """How many draws are independent, at the start."""

    def make_sampler(self, number: int) -> BaseSampler:
        import optuna

        return optuna.samplers.TPESampler(
            seed=mixed(self.seed, number),
            n_startup_trials=self.startup,
            constant_liar=True,
            multivariate=True,
            group=True,
        )


@sampler(name="cmaes")
class CmaEs(Random):
    """Covariance matrix adaptation, for numbers only; after `startup` independent draws."""

    learns: ClassVar[bool] = True
    widens: ClassVar[bool] = False
    startup: Count = 1
    """How many draws are independent, at the start."""

    def make_sampler(self, number: int) -> BaseSampler:
        import optuna

        return optuna.samplers.CmaEsSampler(
            seed=mixed(self.seed, number),
            n_startup_trials=self.startup,
            warn_independent_sampling=False,
            independent_sampler=optuna.samplers.RandomSampler(seed=mixed(self.seed, number)),
        )
