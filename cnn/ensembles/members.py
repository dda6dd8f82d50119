"""Which runs are taken together, which of them validation chose, and whether they can be. Imports no JAX."""

import itertools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cnn.config.config import Config, ConfigError
from cnn.config.sections import Data
from cnn.fields import shorten
from cnn.layers.base import show
from cnn.runs import recorded_data, records, run_dir
from cnn.runs.sweep_record import FINISHED, RECORD

SEEDS, ALL = "seeds", "all"
"""Which trials of a sweep: those of its best configuration, or all that finished."""
LEAST = 2
READ = ("name", "data_dir", "file", "manual_dir", "class_names", "test_fraction", "stored_size", "decode")
"""Fields of `config.data` on which the test split depends, beside those that every split does."""


class Member(NamedTuple):
    """One of the runs.

    Attributes:
      workdir: its directory.
      values: its config.
      value: what its validation gave for the objective; `None` where it has none.
    """

    workdir: Path
    values: Config
    value: float | None


class Members(NamedTuple):
    """The runs, and by what one of them would be chosen alone.

    Attributes:
      runs: at least two.
      objective: such as `valid.accuracy`.
      higher: whether more of it is better.
      folder: of the sweep whose trials they are; `None` of runs that were named one by one.
      chosen: which of its trials: `seeds`, `all`, or how many of the best.
    """

    runs: tuple[Member, ...]
    objective: str
    higher: bool
    folder: Path | None
    chosen: str = SEEDS

    @property
    def best(self) -> int | None:
        """The place of the run that validation chooses, of equal ones the first; `None` where none has a value."""
        sign = 1 if self.higher else -1
        valued = [(sign * run.value, -place) for place, run in enumerate(self.runs) if run.value is not None]
        return -max(valued)[1] if valued else None

    @property
    def first(self) -> Member:
        """The run whose config says how data are read: the one that validation chooses, or the first."""
        return self.runs[self.best or 0]

    @property
    def start(self) -> str | None:
        """The fingerprint of the trained arrays that all of the runs started from; `None` where there are no such."""
        origins = {_origin(run.workdir) for run in self.runs}
        return origins.pop() if len(origins) == 1 else None


class Trials(NamedTuple):
    """Trials of a sweep.

    Attributes:
      workdirs: their directories.
      values: their objectives.
      objective: its name.
      higher: whether more of it is better.
    """

    workdirs: list[Path]
    values: list[float]
    objective: str
    higher: bool


def of_sweep(folder: Path, which: str = SEEDS) -> Trials:
    """Returns the finished trials of a sweep that are taken together, each configuration and seed once.

    Args:
      folder: the sweep's directory.
      which: `seeds`, those of the best configuration; `all`; or a number, so many with the best objectives.

    Raises:
      ConfigError: nothing is recorded of the sweep, or there are fewer than two.
      BrokenFile: the record is damaged.
    """
    record = run_dir.read_json(folder / RECORD)
    if record is None:
        raise ConfigError(
            [f"--workdir: {folder} holds a sweep without a record (no {RECORD}). Start its command again"]
        )
    number = check_which(which)
    higher = record["direction"] == "maximize"
    finished: dict[str, Mapping[str, Any]] = {}
    for trial in record["trials"]:
        if trial["status"] == FINISHED and trial["value"] is not None:
            finished.setdefault(json.dumps(trial["fields"], sort_keys=True), trial)
    found = list(finished.values())
    if which == SEEDS:
        best = record["groups"][0]["trials"] if record["groups"] else ()
        found = [trial for trial in found if trial["number"] in best]
    elif number is not None:
        found = sorted(found, key=lambda trial: (-trial["value"] if higher else trial["value"], trial["number"]))
        found = found[:number]
    if len(found) < LEAST:
        of = f"the best configuration of {folder} has" if which == SEEDS else f"{folder} has"
        remedy = "Sweep more seeds, or use --members=all" if which == SEEDS and len(finished) >= LEAST else "Train more"
        raise ConfigError([f"--members: must be at least {LEAST} finished trials; {of} {len(found)}. {remedy}"])
    workdirs = [folder / trial["folder"] for trial in found]
    return Trials(workdirs, [trial["value"] for trial in found], record["objective"], higher)


def check_which(which: str) -> int | None:
    """Returns the number of trials that `--members` names, `None` where it is a word.

    Raises:
      ConfigError: it is neither.
    """
    if which in (SEEDS, ALL):
        return None
    if which.isascii() and which.isdecimal() and len(which) < 10 and int(which) >= LEAST:
        return int(which)
    raise ConfigError([f"--members: must be {SEEDS}, {ALL} or a number from {LEAST} on, got {which!r}"])


def of_runs(runs: Sequence[tuple[Path, Config]]) -> Members:
    """Returns runs that are named one by one, with what validation gave for the metric that the first one monitors.

    Raises:
      ConfigError: there are fewer than two, or they cannot be taken together.
    """
    if len(runs) < LEAST:
        raise ConfigError(
            [f"--workdir: at least {LEAST} runs make an ensemble, got {len(runs)}. Write --workdir=RUN1,RUN2"]
        )
    twice = next((a for (a, _), (b, _) in itertools.combinations(runs, 2) if a.resolve() == b.resolve()), None)
    if twice is not None:
        raise ConfigError([f"--workdir: names {twice} twice. Keep one"])
    monitor = runs[0][1].monitor
    higher = runs[0][1].train.monitor.better == "higher"
    members = [Member(workdir, values, _validated(workdir, monitor)) for workdir, values in runs]
    return checked(Members(tuple(members), f"valid.{monitor}", higher, None))


def checked(members: Members) -> Members:
    """Returns runs that can be taken together: they tell the same classes apart, on pictures of one shape.

    Raises:
      ConfigError: they cannot.
    """
    one = members.first
    names = recorded_data.class_names(one.workdir, one.values.data.classes)
    for other in members.runs:
        found = recorded_data.class_names(other.workdir, other.values.data.classes)
        if found != names:
            raise ConfigError(
                [
                    f"--workdir: the runs must have the same classes in the same order, got {shorten(names)} in "
                    f"{one.workdir} and {shorten(found)} in {other.workdir}. Leave one out"
                ]
            )
        for name in ("image_shape", "resize"):
            mine, theirs = (getattr(each.values.data, name) for each in (one, other))
            if mine != theirs:
                mine, theirs = (show(value) if name == "image_shape" else repr(value) for value in (mine, theirs))
                raise ConfigError(
                    [
                        f"--workdir: the runs must have the same data.{name}, got {mine} in {one.workdir} and {theirs} "
                        f"in {other.workdir}. Leave one out"
                    ]
                )
    return members


def check_split(members: Members, split: str) -> None:
    """Refuses a split of which the runs have other examples each, such as the validation splits of several folds.

    Raises:
      ConfigError: they have.
    """
    one = members.first
    for other in members.runs:
        identities = [recorded_data.recorded(each.workdir).get("identity") for each in (one, other)]
        if None in identities or identities[0] == identities[1]:
            continue
        field = _differing(one.values.data, other.values.data)
        if split != "test" or field:
            named = f"data.{field}" if field else "data.fold, valid or limit"
            remedy = "Leave one out" if split == "test" else "Use --split=test, or leave one out"
            raise ConfigError(
                [
                    f"--split: the runs must have the same {split} split, got {one.workdir} and {other.workdir}, which "
                    f"differ in {named}. {remedy}"
                ]
            )


def _differing(a: Data, b: Data) -> str | None:
    return next((name for name in READ if getattr(a, name) != getattr(b, name)), None)


def _validated(workdir: Path, metric: str) -> float | None:
    result = run_dir.read_json(workdir / run_dir.RESULT) or {}
    return records.measured(result.get("valid", {})).get(metric)


def _origin(workdir: Path) -> str | None:
    origin = (run_dir.read_json(workdir / run_dir.RUN) or {}).get(run_dir.INIT) or {}
    return origin.get("fingerprint")
