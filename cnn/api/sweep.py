"""Many runs from one declaration, as `main.py sweep` makes them: run, opened, and let grow."""

import os
import sys
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from cnn.api import notebook_html, run
from cnn.api.run import Run
from cnn.config import files
from cnn.config.config import ConfigError
from cnn.config.files import ConfigLike
from cnn.config.problems import Typed
from cnn.data.sources.arrays import Arrays
from cnn.fields import to_text
from cnn.report import escape, run_page
from cnn.runs import run_dir
from cnn.runs.records import OnRecord
from cnn.runs.sweep_record import RECORD, SEED, SweepJson
from cnn.sweep import declaration, recall, space_parser
from cnn.sweep.plan import Plan, SweepRequest, check, make, seed_of
from cnn.system.text import aligned, four_digits, plain

if TYPE_CHECKING:
    from cnn.api.ensemble import Ensemble
    from cnn.sweep.folds import OutOfFold

COPIES = "--sweep.workers: are copies of a command. Leave it out, or run python main.py sweep"


class Trials(list[dict[str, Any]]):
    """The trials of a sweep, by number: a list of dicts, such as `pandas.DataFrame` takes.

    Each has its `number`, the fields that it sets by their paths, its `seed`, its `status`, its `objective`, `None`
    without one, and its `folder` below the sweep's.
    """

    def _table(self) -> list[tuple[str, ...]]:
        shown = [tuple("" if row[name] is None else to_text(row[name]) for name in row) for row in self]
        return [tuple(self[0]) if self else (), *shown]

    def __repr__(self) -> str:
        return "\n".join(escape.shortened(line, 200) for line in aligned(self._table()))

    def _repr_html_(self) -> str:
        header, *rows = self._table()
        return notebook_html.table(header, rows)


class Sweep:
    """A sweep that is on disk: its ranking, and its trials, each of which is a run."""

    def __init__(self, workdir: Path, record: Mapping[str, Any], data: Arrays | None = None) -> None:
        """Takes what `sweep.json` holds, and the arrays that the trials were trained with, where there were some."""
        self.workdir, self.record = workdir, record
        self._data = data

    def __len__(self) -> int:
        return len(self.record["trials"])

    @property
    def trials(self) -> Trials:
        """All that is known of each trial in a line, by number."""
        rows = self.record["trials"]
        named = dict.fromkeys(path for row in rows for path in row["fields"] if path != SEED)
        seed = self._seed()
        return Trials(
            {
                "number": row["number"],
                **{path: row["fields"].get(path) for path in named},
                "seed": row["fields"].get(SEED, seed),
                "status": row["status"],
                "objective": row["value"],
                "folder": row["folder"],
            }
            for row in rows
        )

    def _seed(self) -> Any:
        """Returns the seed of trials that do not set it."""
        declared = declaration.read(self.workdir)
        return int(seed_of(declared.newest["base"], declaration.overrides(declared.newest))) if declared else 0

    def trial(self, number: int) -> Run:
        """Opens a trial by its number.

        Raises:
          ConfigError: there is none of this number, or it has not begun.
        """
        folders = {row["number"]: row["folder"] for row in self.record["trials"]}
        if number not in folders:
            raise ConfigError([f"trial: must be one of 0 to {len(folders) - 1}, got {number!r}"])
        return Run(self.workdir / folders[number], (), self._data)

    @property
    def best(self) -> Run | None:
        """The best trial of the best configuration; `None` where no trial finished."""
        return self.trial(self.record["best"]["trial"]) if self.record["best"] else None

    def ensemble(self, members: str | int = "seeds", weights: str | None = None) -> "Ensemble":
        """Takes trials together as one classifier; see `cnn.ensemble`.

        Args:
          members: "seeds", the trials of the best configuration; "all" that finished; or a number, so many with the
            best objective.
          weights: last, best or ema; `None` for what the config says.

        Raises:
          ConfigError: there are fewer than two.
        """
        from cnn.api import ensemble

        return ensemble.ensemble(self.workdir, members, weights, data=self._data)

    def out_of_fold(self, data_dir: str | None = None) -> "OutOfFold":
        """Returns what the best configuration of a sweep over folds predicted of each training example, once.

        Each is predicted by a run that did not train with it; `folds.csv` in the sweep's directory is written anew.

        Args:
          data_dir: where the data are, if they have moved.

        Raises:
          ConfigError: the sweep is none over folds, or not all folds of its best configuration have a finished run.
          DataError: the data are missing or not those that the runs were trained with.
          BrokenFile: a run's predictions are missing or damaged.
        """
        from cnn.api import folds

        return folds.out_of_fold(self.workdir, data=self._data, data_dir=data_dir)

    @property
    def page(self) -> Path:
        """The sweep's page, `report.html`; it is written where it is missing, or older than the ranking."""
        from cnn.report.sweep import page
        from cnn.sweep import workers

        written, ranked = self.workdir / run_page.PAGE, self.workdir / RECORD
        if written.is_file() and written.stat().st_mtime_ns >= ranked.stat().st_mtime_ns:
            return written
        return page.write(self.workdir, running=workers.any_alive(self.workdir))

    def grow(
        self,
        seeds: int | str | None = None,
        space: str | Mapping[str, Any] | None = None,
        trials: int | str | None = None,
        *,
        storage: str = "",
        on_record: OnRecord | None = None,
        **options: Any,
    ) -> "Sweep":
        """Adds trials to the sweep, runs all that is missing, and returns it; what is finished stays as it is.

        With nothing to add it runs what is missing. Where the same call was interrupted, nothing is added twice.

        Args:
          seeds: how many to add to each configuration, the next integers; `"20"`: so many in all.
          space: values to add by field, as of `run_sweep`: of a field that is swept, further ones, or a wider range of
            a sampler; of another field, beside what it was for all trials.
          trials: how many configurations a sampler draws more; `"20"`: so many in all.
          storage: of the database, where the study is not in the directory.
          on_record: as of `run_sweep`.
          options: such as may be others, `engine`, `lanes`, `tries`.

        Raises:
          ConfigError: lists everything that is wrong, or does not fit what is there.
          DataError: the data are missing or unlike the config.
          OnRecordError: a `ValueError`: `on_record` failed; the same call continues.
          OSError: the disk is full, or the database does not answer.
          KeyboardInterrupt: a signal asked to stop; the same call continues.
        """
        more = {"seeds": seeds, "trials": trials}
        given = {
            name: f"+{value}" if isinstance(value, int) else value for name, value in more.items() if value is not None
        }
        base, asked = recall.recalled(self.workdir, _typed({**options, **given}))
        if self._data is not None:
            base = files.with_arrays(base, self._data)
        problems = _problems(options)
        if space is not None:
            asked = recall.widened(asked, base, _declared(space, problems))
        asked = recall.extended(asked._replace(problems=problems), base, self.workdir)
        self.record = _run(make(base, asked), self.workdir, storage, on_record)
        return self

    def __repr__(self) -> str:
        lines = ["  ".join(map(str, row)) for row in self._rows()]
        return "\n".join([self._said(), *(escape.shortened(line, 200) for line in lines)])

    def _said(self) -> str:
        counts = ", ".join(f"{count} {status}" for status, count in self.record["counts"].items())
        return f"{self.workdir}: {self.record['size']} trials, {counts}. {self.record['winner']['text']}"

    def _rows(self) -> list[tuple[object, ...]]:
        rows: list[tuple[object, ...]] = []
        for group in self.record["groups"]:
            fields = ", ".join(f"{path}={to_text(value)}" for path, value in group["fields"].items())
            numbers = four_digits(group["mean"]), four_digits(group["sd"])
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
    """Runs what is missing of a sweep and ranks its trials; where it says more than the directory, the sweep grows.

    Args:
      config: what every trial begins with.
      space: as in a sweep's file, `{"optimizer.learning_rate": [1e-3, 1e-2], "seed": [0, 1]}`; or in one line, as
        after `--grid`.
      workdir: the sweep's directory; every trial is a run below it.
      data: arrays in place of the data that the config names, as of `cnn.run`.
      storage: of the database for several machines; SQLite in the directory where there is none.
      on_record: as of `cnn.run`; every record has the name of its trial's folder, too, as `trial`. One call at a
        time, of trials in turns.
      options: `sampler`, `pruner`, `trials`, `seeds`, `objective`, `engine`, ..., as after `--sweep.`.

    Raises:
      ConfigError: lists everything that is wrong with the space, the options and every trial, or in what the sweep in
        the directory is another one.
      DataError: the data are missing or unlike the config.
      OnRecordError: a `ValueError`: `on_record` failed; the same call continues.
      OSError: the disk is full, or the database does not answer.
      KeyboardInterrupt: a signal asked to stop; the same call continues.
    """
    base, folder = _plain(files.sections(config)), Path(workdir)
    if data is not None:
        base = files.with_arrays(base, data)
    named = data is None and isinstance(config, (str, os.PathLike))
    typed = _near(files.path_of(config)) if named else str(folder / recall.BASE)  # type: ignore[arg-type]
    problems = _problems(options)
    asked = SweepRequest(typed, (), _declared(space, problems), _typed(options), problems)
    plan = make(base, recall.extended(asked, base, folder))
    return Sweep(folder, _run(plan, folder, storage, on_record, None if named else base), data)


def open_sweep(workdir: Path, data: Arrays | None = None) -> Sweep:
    """Opens a sweep from its directory, whoever began it, finished or not; no config file is executed.

    Raises:
      ConfigError: nothing was recorded of it yet.
      BrokenFile: `sweep.json` is not what this software wrote.
    """
    record = run_dir.read_json(workdir / RECORD)
    if record is None:
        raise ConfigError(
            [f"workdir: {workdir} holds a sweep of which nothing is recorded yet. Start its command again"]
        )
    return Sweep(workdir, record, data)


def _run(
    plan: Plan, folder: Path, storage: str, on_record: OnRecord | None, base: Mapping[str, Any] | None = None
) -> SweepJson:
    """Runs what is missing; a config that no file holds is written into the folder."""
    check(declaration.joined(plan, folder), folder)
    if plan.request.note:
        print(plain(plan.request.note), file=sys.stderr)
    if base is not None:
        recall.write_base(folder, base)
    with run.interruptible() as interruption:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="IProgress not found")  # Optuna's, for bars that we do not show
            from cnn.sweep import run as sweep_run  # JAX takes seconds to import

        return sweep_run.run(plan, folder, storage, interruption, on_record)


def _problems(options: Mapping[str, Any]) -> list[str]:
    return [COPIES] if options.get("workers", 1) != 1 else []


def _typed(options: Mapping[str, Any]) -> dict[str, Typed]:
    return {name: Typed(to_text(_plain(value))) for name, value in options.items()}


def _declared(space: str | Mapping[str, Any], problems: list[str]) -> Any:
    """Returns a space as its file's JSON has it."""
    return space_parser.read_grid(space, problems) if isinstance(space, str) else _plain(space)


def _plain(value: Any) -> Any:
    """Returns values with NumPy's numbers and arrays, and ranges, as Python's numbers and lists."""
    if isinstance(value, Mapping):
        return {name: _plain(inner) for name, inner in value.items()}
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value))
    return list(value) if isinstance(value, range) else value


def _near(path: str) -> str:
    """Returns a file as a command names it that is typed here."""
    return os.path.relpath(path) if Path(path).is_relative_to(Path.cwd()) else path
