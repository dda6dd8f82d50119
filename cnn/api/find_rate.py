"""A learning rate for a config, found by short trainings at many, as `main.py find-rate` does."""

import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float

from cnn.api import notebook_html
from cnn.config import files
from cnn.config.config import Config, ConfigError
from cnn.config.files import ConfigLike
from cnn.data.sources.arrays import Arrays
from cnn.report import rates as rate_plot
from cnn.runs import run_dir
from cnn.sweep.rate_curve import RateCurve, RateRow
from cnn.system import environment
from cnn.system.text import aligned, four_digits

RATES = "rates.json"
"""What was found, in the directory that was asked for; the picture lies beside it."""
FILES = {
    RATES: "the loss of each training, by rate and seed, and what is suggested",
    "rates.svg": "the picture of that",
    "rates.png": "the same for slides",
}
"""What `save` writes, with what each file is."""


class FoundRate:
    """What short trainings at many learning rates gave."""

    def __init__(self, curve: RateCurve) -> None:
        self.curve = curve

    @property
    def suggestion(self) -> float | None:
        """The learning rate to begin with, `None` where none is good."""
        return self.curve.suggestion

    @property
    def reason(self) -> str:
        """Why that one, in plain words; which rates diverged."""
        return self.curve.suggested.reason

    @property
    def rates(self) -> Float[np.ndarray, " rates"]:
        """The rates that were tried, ascending."""
        return np.asarray(self.curve.rates)

    @property
    def losses(self) -> Float[np.ndarray, "rates seeds"]:
        """The loss at the end, in nats, by rate and seed; NaN where a training diverged."""
        return self.curve.losses

    @property
    def table(self) -> list[RateRow]:
        """A row for each rate: `rate`, `loss` (the median), `lowest`, `highest`, `sd`, `diverged` and a `note`."""
        return self.curve.table

    def rows(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Returns the header and the cells of the table as text."""
        header = ("learning rate", f"{self.curve.measured}, median", "lowest", "highest", "s.d.", "")
        return header, [
            (
                f"{row['rate']:.3g}",
                *(four_digits(row[name]) for name in ("loss", "lowest", "highest", "sd")),
                row["note"],
            )
            for row in self.table
        ]

    def said(self) -> str:
        """Returns what is suggested, and why, in a line."""
        if self.suggestion is None:
            return f"no learning rate is suggested: {self.reason}"
        return f"suggested learning rate {self.suggestion:.3g}: {self.reason}"

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Writes `rates.json`, `rates.svg` and `rates.png` into a directory, and returns its path.

        Raises:
          ConfigError: the directory is that of a run or a sweep.
          OSError: something could not be written.
        """
        place = Path(folder)
        check_free(place)
        place.mkdir(parents=True, exist_ok=True)
        drawn = rate_plot.files(
            self.curve.rates,
            self.losses,
            measured=self.curve.measured,
            untrained=self.curve.untrained,
            suggestion=self.suggestion,
        )
        for name, content in drawn.items():
            run_dir.write(place / name, content() if callable(content) else content)
        run_dir.write_json(place / RATES, self.curve.to_json())
        return place

    def __repr__(self) -> str:
        header, rows = self.rows()
        numbers = aligned((row[:-1] for row in (header, *rows)), str.rjust)
        remarks = (row[-1] for row in (header, *rows))
        return "\n".join([*map(str.rstrip, map("  ".join, zip(numbers, remarks, strict=True))), self.said()])

    def _repr_html_(self) -> str:
        header, rows = self.rows()
        return notebook_html.table(header, rows, self.said())


def find_rate(
    config: ConfigLike,
    data: Arrays | None = None,
    *,
    rates: Sequence[float] | None = None,
    steps: int | None = None,
    seeds: int | None = None,
    workdir: str | os.PathLike[str] | None = None,
) -> FoundRate:
    """Trains fresh networks for a few hundred steps at many learning rates, and says which one to begin with.

    Args:
      config: the config; its schedule is gone through whole within these steps.
      data: arrays in place of the data that the config names, as of `cnn.run`.
      rates: those to try; without them two factors of ten on either side of the config's, and more where the best is
        at an end.
      steps: updates of each training, 300; at most those of a whole run.
      seeds: trainings at each rate, 3.
      workdir: a directory for the table and the picture; without one nothing is written.

    Raises:
      ConfigError: lists everything that is wrong with the config, the rates or the numbers.
      DataError: the data are missing or unlike the config.
    """
    environment.prepare()
    if problems := environment.problems():
        raise ConfigError(problems)
    found = find(files.resolved(config, data), rates=rates, steps=steps, seeds=seeds, workdir=workdir)
    if workdir is not None:
        found.save(workdir)
    return found


def find(
    values: Config,
    *,
    rates: Sequence[float] | None = None,
    steps: int | None = None,
    seeds: int | None = None,
    workdir: str | os.PathLike[str] | None = None,
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> FoundRate:
    """Finds a rate for checked values; see `find_rate`. Writes nothing.

    Args:
      values: the config.
      rates: see there, as are the next two.
      steps: updates of each training.
      seeds: trainings at each rate.
      workdir: where the files are to go.
      progress: called with the trainings that ended, and those to be made.

    Raises:
      ConfigError: see there.
      DataError: see there.
    """
    from cnn.sweep import rate_curve, rate_finder  # JAX takes a second to import

    if problems := _problems(rates, steps, seeds, rate_curve.MOST_RATES):
        raise ConfigError(problems)
    if workdir is not None:
        check_free(Path(workdir))
    return FoundRate(
        rate_finder.find(
            values,
            None if rates is None else sorted(map(float, rates)),
            steps=steps or rate_finder.STEPS,
            seeds=seeds or rate_finder.SEEDS,
            progress=progress,
        )
    )


def _problems(rates: Sequence[float] | None, steps: int | None, seeds: int | None, most: int) -> list[str]:
    problems = []
    if rates is not None:
        try:
            numbers = np.asarray(rates, float)
        except (TypeError, ValueError):
            numbers = np.empty(0)
        sound = numbers.ndim == 1 and np.isfinite(numbers).all() and (numbers > 0).all()
        if not (sound and 2 <= len(set(numbers.tolist())) == len(numbers) <= most):
            problems.append(f"rates: must be 2 to {most} different numbers above 0, got {rates!r:.80}")
    for name, given in (("steps", steps), ("seeds", seeds)):
        if given is not None and not (isinstance(given, (int, np.integer)) and 1 <= given <= 1_000_000):
            problems.append(f"{name}: must be a whole number from 1 to 1,000,000, got {given!r}")
    return problems


def check_free(folder: Path) -> None:
    """Refuses the directory of a run or a sweep.

    Raises:
      ConfigError: it is one.
    """
    for name, what in ((run_dir.CONFIG, "run"), (run_dir.DECLARATION, "sweep")):
        if (folder / name).exists():
            raise ConfigError([f"--workdir: {folder} is the directory of a {what}. Use {run_dir.free(folder)}"])
