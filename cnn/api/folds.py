"""What the runs of a sweep over folds predicted of the examples that they did not train with."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cnn.api import reading
from cnn.config.config import ConfigError
from cnn.data.sources.arrays import Arrays
from cnn.runs import recorded_data, run_dir
from cnn.runs.sweep_record import RECORD
from cnn.sweep import folds
from cnn.sweep.folds import OutOfFold


def out_of_fold(
    workdir: str | os.PathLike[str],
    extensions: str | Sequence[str] = (),
    data: Arrays | None = None,
    data_dir: str | None = None,
) -> OutOfFold:
    """Returns, and writes as `folds.csv`, what the best configuration of a sweep predicted out of fold.

    Args:
      workdir: the sweep's directory.
      extensions: files with the runs' own code, where they are not what and where they were.
      data: the arrays that the runs were trained with, where they were handed over.
      data_dir: where the data are, if they have moved.

    Raises:
      ConfigError: the sweep is none over folds, or not all folds of its best configuration have a finished run.
      DataError: the data are missing or not those that the runs were trained with.
      BrokenFile: a run's predictions are missing or damaged.
    """
    folder = Path(workdir)
    record: Any = run_dir.read_json(folder / RECORD)
    if record is None:
        raise ConfigError([f"--workdir: {folder} holds no sweep with a record (no {RECORD}). Start its command first"])
    if not folds.is_over_folds(record) or not record["groups"]:
        raise ConfigError([f"--workdir: {folder} does not sweep data.fold. Write --grid='data.fold=folds(5)'"])
    first = next(trial for trial in record["trials"] if trial["number"] in record["groups"][0]["trials"])
    section = reading.read_run(folder / first["folder"], extensions, data).data
    return folds.write(record, folder, recorded_data.moved(section, data_dir))
