"""Optuna's samplers, pruners and distributions, by the names of ours."""

import warnings
from collections.abc import Callable
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from cnn.sweep import options
from cnn.sweep.space import Choices, Range

_SAMPLERS: dict[type, Callable[[Any, int], optuna.samplers.BaseSampler]] = {
    options.Grid: lambda _, seed: optuna.samplers.RandomSampler(seed=seed),
    options.Random: lambda _, seed: optuna.samplers.RandomSampler(seed=seed),
    options.Qmc: lambda one, seed: optuna.samplers.QMCSampler(
        scramble=True,
        seed=one.seed,
        warn_asynchronous_seeding=False,
        warn_independent_sampling=False,
        independent_sampler=optuna.samplers.RandomSampler(seed=seed),
    ),
    options.Tpe: lambda one, seed: optuna.samplers.TPESampler(
        seed=seed, n_startup_trials=one.startup, constant_liar=True, multivariate=True, group=True
    ),
    options.CmaEs: lambda one, seed: optuna.samplers.CmaEsSampler(
        seed=seed,
        n_startup_trials=one.startup,
        warn_independent_sampling=False,
        independent_sampler=optuna.samplers.RandomSampler(seed=seed),
    ),
}


def sampler(chosen: Any, known: int) -> optuna.samplers.BaseSampler:
    """Returns the sampler of a record of `options.SAMPLERS`.

    Args:
      chosen: the record.
      known: how many trials there are; mixed into the seed, since a sampler of the same seed would begin again and draw
        what it drew before. QMC counts in the storage and keeps its seed.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls half of what is used here experimental
        return _SAMPLERS[type(chosen)](chosen, (getattr(chosen, "seed", 0) + 1_000_003 * known) % 2**32)


def pruner(chosen: Any, epochs: int) -> optuna.pruners.BasePruner:
    """Returns the pruner of a record of `options.PRUNERS`; its resource is the epoch.

    Args:
      chosen: the record.
      epochs: of the longest trial.
    """
    if isinstance(chosen, options.Off):
        return optuna.pruners.NopPruner()
    if isinstance(chosen, options.Hyperband):
        return optuna.pruners.HyperbandPruner(
            min_resource=chosen.min_epochs, max_resource=epochs, reduction_factor=chosen.reduction
        )
    return optuna.pruners.SuccessiveHalvingPruner(
        min_resource=chosen.min_epochs, reduction_factor=chosen.reduction, min_early_stopping_rate=0
    )


def distribution(values: Choices | Range) -> BaseDistribution:
    """Returns what Optuna draws from."""
    if isinstance(values, Choices):
        return CategoricalDistribution(values.values)
    if values.scale == "int":
        return IntDistribution(int(values.low), int(values.high), step=values.step)
    return FloatDistribution(values.low, values.high, log=values.scale == "log")


def draw(trial: optuna.Trial) -> Callable[[str, Choices | Range], Any]:
    """Returns how parameters are drawn in a trial."""

    def one(name: str, values: Choices | Range) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return trial._suggest(name, distribution(values))

    return one
