"""The weights of a run that are meant: the last, the best, or their moving average."""

from pathlib import Path
from typing import Any

from cnn import arithmetic, checkpoint, evaluate, rundir, settings, starting
from cnn.config import ConfigError, Values


def variables(values: Values, workdir: Path, weights: str) -> tuple[int, dict[str, Any]]:
    """Returns the step and the variables that `eval.weights` names, from a run's checkpoints.

    Raises:
      ConfigError: nothing is saved, no average was kept, or nothing chose the best.
    """
    if weights == "ema" and isinstance(values.train.average, settings.Off):
        raise ConfigError(['--weights: "ema" but the run kept no average. Use last or best.'])
    if weights == "best" and not (values.data.valid_fraction and values.data.train_on == "train"):
        raise ConfigError(['--weights: "best" but the run had no validation split to choose it. Use last or ema.'])
    values = arithmetic.as_saved(values, workdir)
    # The lengths of the run are compiled in, but are no part of the state's structure: any that the schedule fits.
    shortest = values.schedule.warmup_steps + values.schedule.cooldown_steps + 1
    like = starting.make_state(values, starting.make_program(values, shortest, 1))
    restored = checkpoint.read(workdir / rundir.CHECKPOINTS, like, best=weights == "best")
    if restored is None:
        raise ConfigError([f"--workdir: {workdir} has no checkpoint yet. Train it first."])
    return restored.step, evaluate.variables_of(restored.state, averaged=weights == "ema")
