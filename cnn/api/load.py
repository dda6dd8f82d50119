"""Opens from Python what is on disk: a run, or a sweep."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cnn.api.run import Run
from cnn.config.config import ConfigError
from cnn.data.sources.arrays import Arrays
from cnn.runs import sweep_record

if TYPE_CHECKING:
    from cnn.api.sweep import Sweep


def load(
    workdir: str | os.PathLike[str], extensions: str | Sequence[str] = (), data: Arrays | None = None
) -> "Run | Sweep":
    """Opens a run or a sweep, finished or not, from its directory; no config file is executed.

    What needs the network itself (its evaluation, predictions, journeys) imports the run's own extensions.

    Args:
      workdir: the directory of the run, a `cnn.Run`, or of the sweep, a `cnn.Sweep`.
      extensions: files with the run's own code, where they are not what and where they were.
      data: the arrays that it was trained with, or others to evaluate it on.

    Raises:
      ConfigError: the directory holds neither, or the run's config is not valid.
      BrokenFile: the sweep's record is damaged.
    """
    folder = Path(workdir)
    if not sweep_record.is_sweep(folder):
        return Run(folder, extensions, data)
    if extensions:
        raise ConfigError([f"extensions: {folder} holds a sweep. Name them for one of its trials"])
    from cnn.api.sweep import open_sweep

    return open_sweep(folder, data)
