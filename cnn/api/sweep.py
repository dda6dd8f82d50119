"""Many runs from one declaration, as `main.py sweep` makes them."""

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnn.api import notebook_html, run
from cnn.api.run import Run, load
from cnn.config import files
from cnn.config.files import ConfigLike
from cnn.config.problems import Typed
from cnn.data.arrays import Arrays
from cnn.fields import to_text
from cnn.report import escape
from cnn.runs import run_dir
from cnn.runs.records import OnRecord
from cnn.sweep import space_parser
from cnn.sweep.plan import Asked, check, make

COPIES = "--sweep.workers: are copies of a command. Leave it out, or run python main.py sweep"
BASE = ".config.json"
"""The config that a sweep began with, where no file holds it; hidden, since a sweep declares its folder first."""


class Sweep:
    """A sweep that ran: its ranking, and its trials, each of which is a run."""

    def __init__(self, workdir: Path, record: Mapping[str, Any], data: Arrays | None = None) -> None:
        """Takes what `sweep.json` holds, and the arrays that the trials were trained with, where there were some."""
        self.workdir, self.record = workdir, record
        self._data = data

    def __len__(self) -> int:
        return len(self.record["trials"])

    def trial(self, number: int) -> Run:
        """Opens a trial by its number.

        Raises:
          ConfigError: it has not begun.
        """
        return load(self.workdir / self.record["trials"][number]["folder"], data=self._data)

    @property
    def best(self) -> Run | None:
        """The best trial of the best configuration; `None` where no trial finished."""
        return self.trial(self.record["best"]["trial"]) if self.record["best"] else None

    def __repr__(self) -> str:
        lines = ["  ".join(map(str, row)) for row in self._rows()]
        return "\n".join([self._said(), *(escape.shortened(line, 200) for line in lines)])

    def _said(self) -> str:
        counts = ", ".join(f"{count} {status}" for status, count in self.record["counts"].items())
        return f"{self.workdir}: {self.record['size']} trials, {counts}. {self.record['winner']['text']}"

    def _rows(self) -> list[tuple[object, ...]]:
        rows = []
        for group in self.record["groups"]:
            fields = ", ".join(f"{path}={to_text(value)}" for path, value in group["fields"].items())
            numbers = ["-" if group[name] is None else f"{group[name]:.4f}" for name in ("mean", "sd")]
            rows.append((*numbers, group["n"], fields or "-", " ".join(map(str, group["trials"]))))
        return rows

    def _repr_html_(self) -> str:
        header = (self.record["objective"], "s.d.", "n", "configuration", "trials")
        return notebook_html.table(header, self._rows(), self._said())


def run_sweep(
    config: ConfigLike,
    space: str | Mapping[str, Any],
    workdir: str | os.PathLike[str],
    *,
    data: Arrays | None = None,
    storage: str = "",
    on_record: OnRecord | None = None,
    **options: Any,
) -> Sweep:
    """Runs what is missing of a sweep and ranks its trials.

    Args:
      config: what every trial begins with.
      space: as in a sweep's file, `{"optimizer.learning_rate": [1e-3, 1e-2], "seed": [0, 1]}`; or in one line, as
        after `--grid`.
      workdir: the sweep's directory; every trial is a run below it.
      data: arrays in place of the data that the config names, as of `cnn.run`.
      storage: of the database for several machines; SQLite in the directory where there is none.
      on_record: as of `cnn.run`; every record has the name of its trial's folder, too, as `trial`. One call at a
        time, of trials in turns.
      options: `sampler`, `pruner`, `trials`, `objective`, `engine`, ..., as after `--sweep.`.

    Raises:
      ConfigError: lists everything that is wrong with the space, the options and every trial.
      DataError: the data are missing or unlike the config.
      OnRecordError: a `ValueError`: `on_record` failed; the same call continues.
      OSError: the disk is full, or the database does not answer.
      KeyboardInterrupt: a signal asked to stop; the same call continues.
    """
    base, folder = files.sections(config), Path(workdir)
    if data is not None:
        base = files.with_arrays(base, data)
    named = data is None and isinstance(config, (str, os.PathLike))
    typed = _near(files.path_of(config)) if named else str(folder / BASE)  # type: ignore[arg-type]
    problems = [COPIES] if options.get("workers", 1) != 1 else []
    declared = space_parser.read_grid(space, problems) if isinstance(space, str) else space
    written = {name: Typed(to_text(value)) for name, value in options.items()}
    plan = make(base, Asked(typed, (), declared, written, problems))
    check(plan, folder)
    with run.interruptible() as interruption:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="IProgress not found")  # Optuna's, for bars that we do not show
            from cnn.sweep import run as sweep_run  # JAX takes seconds to import

        if not named:
            folder.mkdir(parents=True, exist_ok=True)
            run_dir.write(folder / BASE, json.dumps(base, indent=2).encode())
        return Sweep(folder, sweep_run.run(plan, folder, storage, interruption, on_record), data)


def _near(path: str) -> str:
    """Returns a file as a command names it that is typed here."""
    return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path
