"""What the trials of a sweep start from, looked for before the first of them begins. Imports no JAX."""

from pathlib import Path

from cnn.config.config import ConfigError
from cnn.sweep.plan import TRIALS, Plan, Trial
from cnn.train import init_from


def check(plan: Plan, folder: Path) -> None:
    """Refuses a sweep of which some trial cannot start from what it names.

    Args:
      plan: the sweep.
      folder: its directory; what has begun there does not read its source again.

    Raises:
      ConfigError: lists each `config.init_from` that is missing or does not fit, once.
    """
    starts = {
        (values.init_from, values.init_layers, values.rows): values
        for values in (trial.values for trial in _left(plan, folder))
        if values.init_from
    }
    problems: dict[str, None] = {}
    for values in starts.values():
        try:
            init_from.fit(values, init_from.find(values.init_from))
        except ConfigError as error:
            problems |= dict.fromkeys(error.problems)
    if problems:
        raise ConfigError(list(problems))


def _left(plan: Plan, folder: Path) -> tuple[Trial, ...]:
    """Returns the trials that have not begun; where a sampler draws these, such as it may draw."""
    if plan.is_grid:
        return tuple(trial for trial in plan.trials if not init_from.has_begun(folder / trial.folder))
    begun = sum(map(init_from.has_begun, (folder / TRIALS).glob("*")))
    return plan.checked if begun < plan.size else ()
