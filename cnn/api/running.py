"""Runs a config."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

from cnn.api import configs, signals
from cnn.api.configs import Config
from cnn.config import ConfigError, Values

if TYPE_CHECKING:
    from cnn.api.run import Run
    from cnn.experiment import Finished
    from cnn.interruption import Interruption


def run(
    config: Config = "digits", workdir: str | os.PathLike[str] | None = None, *, devices: int | None = None
) -> "Run":
    """Trains, evaluates and writes a run, as `python main.py` does; continues one that was interrupted.

    A finished run of the same config is only read. An interruption (`KeyboardInterrupt`) leaves a run that the same
    call continues, to the same bits. A run that diverged is returned, too: its `result` says so.

    Args:
      config: a name, a file or a `ConfigDict`.
      workdir: the run's directory; `runs/<name>` for a config that has one.
      devices: how many share each batch; `None` for as many as `main.py` takes.

    Raises:
      ConfigError: lists everything that is wrong, or says what other run the directory holds.
      DataError: the data are missing or unlike the config.
      Held: another process holds the run.
      NoValidCheckpoint: what was saved is damaged.
      OSError: the disk is full, or the directory cannot be written.
      KeyboardInterrupt: a signal asked to stop, and what was done is saved.
    """
    from cnn.api.run import load

    values, folder = configs.resolved(config), _folder(config, workdir)
    with signals.interruptible() as interruption:
        train(values, folder, devices, interruption)
    return load(folder)


def train(
    values: Values, workdir: Path, devices: int | None = None, interruption: "Interruption | None" = None
) -> "Finished":
    """Runs an experiment on so many devices, or as many as `cores.count` says; see `experiment.run`.

    Raises:
      ConfigError: there are not as many devices, or what `experiment.run` says.
    """
    import jax

    from cnn import cores, experiment

    if devices != 1:
        cores.prepare(values)
    available = jax.device_count()
    if devices is not None and not 1 <= devices <= available:
        raise ConfigError([f"--devices: there are {available}, got {devices}. Use at most those"])
    return experiment.run(values, workdir, devices or cores.count(values), interruption=interruption)


def _folder(config: Config, workdir: str | os.PathLike[str] | None) -> Path:
    if workdir is not None:
        return Path(workdir)
    if isinstance(config, (str, os.PathLike)):
        return Path("runs") / Path(configs.path_of(config)).stem
    raise ConfigError(["workdir: a config without a name needs a directory, got None. Name one, such as 'runs/a'"])
