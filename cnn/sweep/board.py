"""A sweep's trials as the database holds them: every attempt, and what each stands for."""

import json
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from cnn.sweep import samplers
from cnn.sweep.plan import SEED, Plan, Trial
from cnn.sweep.space import parameters


class Board:
    """The attempts of one sweep."""

    def __init__(self, plan: Plan, folder: Path, study: optuna.Study) -> None:
        self.plan, self.folder, self.study = plan, folder, study
        self._distributions = {name: samplers.distribution(values) for name, values in parameters(plan.space)}

    def trials(self) -> list[FrozenTrial]:
        """Returns every attempt, in the order in which they were added."""
        return self.study.get_trials(deepcopy=False)

    def add(self, params: dict[str, Any], about: dict[str, Any]) -> None:
        """Lets a trial wait for a worker."""
        distributions = {name: self._distributions[name] for name in params}
        self.study.add_trial(
            create_trial(state=TrialState.WAITING, params=params, distributions=distributions, user_attrs=about)
        )

    def trial(self, frozen: FrozenTrial) -> Trial:
        """Returns what an attempt stands for."""
        number = frozen.user_attrs["number"]
        if self.plan.is_grid:
            return self.plan.trials[number]
        return self.plan.trial(number, json.loads(frozen.user_attrs["fields"]), frozen.params)

    def attributes(self, configuration: int, seed: int, fields: dict[str, Any]) -> dict[str, Any]:
        """Returns what is stored of a drawn configuration with its nth seed."""
        number = configuration * len(self.plan.seeds) + seed
        seeded = {} if self.plan.seeds == (None,) else {SEED: self.plan.seeds[seed]}
        return {"fields": to_text({**fields, **seeded}), "config": configuration, "number": number}


def to_text(fields: Any) -> str:
    """Returns a trial's fields as they are stored."""
    return json.dumps(dict(fields))
