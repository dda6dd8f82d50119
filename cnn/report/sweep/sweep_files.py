"""What a sweep left in its directory, read for its page: `sweep.json`, and which trials have a page of their own."""

import dataclasses
import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cnn.config import config
from cnn.runs import run_dir
from cnn.runs.sweep_record import FINISHED, RECORD, REPEATS, STATES, TRIALS, GroupRecord, TrialRecord, repeats
from cnn.system import redaction

SHADES = 16
"""Colours from the worst to the best."""


@dataclasses.dataclass(frozen=True)
class SweepFiles:
    """What a sweep left in its directory.

    Attributes:
      folder: the sweep's directory.
      about: what `sweep.json` holds.
      running: whether a process works at it while the page is written.
    """

    folder: Path
    about: Mapping[str, Any]
    running: bool = False

    @property
    def name(self) -> str:
        return self.folder.resolve().name

    @property
    def objective(self) -> str:
        return self.about["objective"]

    @property
    def maximize(self) -> bool:
        return self.about["direction"] == "maximize"

    @cached_property
    def trials(self) -> list[TrialRecord]:
        """By number."""
        return self.about["trials"]

    @cached_property
    def by_number(self) -> dict[int, TrialRecord]:
        return {trial["number"]: trial for trial in self.trials}

    @cached_property
    def groups(self) -> list[GroupRecord]:
        """Trials that differ only in the seed or the fold, best first."""
        return self.about["groups"]

    @cached_property
    def group_of(self) -> dict[int, int]:
        """The place of each trial's group."""
        return {number: place for place, group in enumerate(self.groups) for number in group["trials"]}

    @cached_property
    def paths(self) -> list[str]:
        """The fields that vary, seed and fold left out; what mattered most comes first."""
        mattered = [factor["path"] for factor in self.about["importance"]["factors"]]
        varying = [path for path in self.about["varying"] if path not in REPEATS]
        return sorted(varying, key=lambda path: mattered.index(path) if path in mattered else len(mattered))

    @property
    def differ(self) -> str:
        """In what the trials of a group differ, in the plural."""
        return repeats(self.about["varying"])

    @cached_property
    def ranked(self) -> list[int]:
        """The numbers of the trials that have a value, best first; equal ones by number."""
        sign = -1 if self.maximize else 1
        valued = [(sign * trial["value"], trial["number"]) for trial in self.trials if trial["value"] is not None]
        return [number for _, number in sorted(valued)]

    @cached_property
    def best(self) -> TrialRecord | None:
        """The finished trial with the best value."""
        finished = (self.by_number[n] for n in self.ranked if self.by_number[n]["status"] == FINISHED)
        return next(finished, None)

    @cached_property
    def shades(self) -> dict[int, str]:
        """The class of colour of each trial that has a value."""
        return {number: shade(rank, len(self.ranked)) for rank, number in enumerate(self.ranked)}

    @cached_property
    def counts(self) -> dict[str, int]:
        """How many trials there are in each state; together they are all."""
        return {state: n for state in STATES if (n := sum(trial["status"] == state for trial in self.trials))}

    def page_of(self, trial: TrialRecord) -> str | None:
        """Returns the address of a trial's page from the sweep's, `None` where it has none."""
        place = f"{trial['folder']}/{run_dir.PAGE}"
        return quote(place) if (self.folder / place).is_file() else None


def shade(rank: int, count: int) -> str:
    """Returns the class of the colour of a rank, counted from 0, among so many: equal parts for all shades."""
    worse = rank / (count - 1) if count > 1 else 0.0
    return f"s{SHADES - 1 - min(SHADES - 1, int(worse * SHADES))}"


def read(folder: Path, *, running: bool = False) -> SweepFiles:
    """Returns a sweep from its directory.

    Raises:
      ConfigError: the directory holds no sweep, or one that nothing was recorded of.
      BrokenFile: its record is damaged.
    """
    about = run_dir.read_json(folder / RECORD)
    if about is None:
        if (folder / run_dir.DECLARATION).is_file():
            raise config.ConfigError(
                [f"--workdir: {folder} holds a sweep without a record (no {RECORD}). Start its command again"]
            )
        raise config.ConfigError([f"--workdir: {folder} holds no sweep (no {RECORD}). Start one there first"])
    missing = [key for key in ("trials", "groups", "varying", "importance", "objective") if key not in about]
    if missing:
        remedy = "Start the sweep's command again, which writes it anew"
        raise run_dir.BrokenFile(f"{folder / RECORD}: lacks {', '.join(missing)}. {remedy}")
    return SweepFiles(folder, _hidden(about), running)


def _hidden(value: Any) -> Any:
    """Returns what a record holds with the passwords hidden that stand in URLs, such as earlier versions wrote."""
    if isinstance(value, str):
        return redaction.hide(value) if "://" in value else value
    if isinstance(value, Mapping):
        return {name: _hidden(inner) for name, inner in value.items()}
    return [_hidden(inner) for inner in value] if isinstance(value, list) else value


def above(workdir: Path) -> str | None:
    """Returns the address of the page of the sweep that a run is a trial of, seen from the run's; `None` for others."""
    sweep = workdir.resolve().parents[1:2]
    if sweep and (sweep[0] / RECORD).is_file() and (sweep[0] / TRIALS).is_dir():
        return quote(os.path.relpath(sweep[0] / run_dir.PAGE, workdir.resolve()))
    return None
