"""What `sweep.json` holds: the trials of a sweep, ranked. A sweep writes it, its page and the commands read it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any, NotRequired, TypedDict

from cnn.config.config import ConfigError
from cnn.runs import run_dir

RECORD = "sweep.json"
CSV = "sweep.csv"
TRIALS = "trials"
DATABASE = "study.db"
WORKERS = "workers"
CLAIMS = ".claims"
FOLDS_CSV, FOLDS = "folds.csv", "folds.json"
FILES = {
    run_dir.DECLARATION: "what the sweep declares: config, space and options, and how it grew",
    f"{TRIALS}/": "the directory of each trial, `0000`, `0001`, ...: an ordinary run's",
    RECORD: "the ranking: every trial with its values, curve and end, the groups of seeds, what mattered",
    CSV: "a line for each trial, for a table of one's own",
    FOLDS_CSV: "of a sweep over folds: what each picture was predicted as by the run that did not train with it",
    FOLDS: "of a sweep over folds: the evaluation of these predictions, and of each fold",
    "ensemble-<split>.json": "what `eval --ensemble` found of the seeds together",
    "average-<split>.json": "what `eval --average` found of the mean of their weights",
    run_dir.PAGE: "the sweep's report, made of these files and the trials' alone",
    f"{run_dir.FIGURES}/": "its charts as SVG and PNG",
    f"{run_dir.EXPORTS}/": "what `export --ensemble` or `--average` wrote",
    DATABASE: "which trials there are and who runs them, where no `--storage` is given",
    f"{WORKERS}/": "a file for each process that works at the sweep",
    CLAIMS: "whose turn it is to take a trial",
}
"""What a sweep's directory holds, with what each file is; a name that ends in a slash is a folder's."""
SEED = "seed"
FOLD = "data.fold"
REPEATS = {SEED: "seeds", FOLD: "folds"}
"""The config fields in which the trials of a group differ, and what says so."""
FINISHED, PRUNED, DIVERGED, FAILED, RUNNING, WAITING = STATES = (
    "finished",
    "pruned",
    "diverged",
    "failed",
    "running",
    "waiting",
)
ENDED = (FINISHED, PRUNED, DIVERGED, FAILED)
"""The states of trials that need no more work."""

Fields = dict[str, Any]
"""Values of config fields by their paths; of any type that a config holds."""
Curve = list[tuple[int, float]]
"""Steps and values; pairs are lists in JSON."""


def trial_folder(number: int) -> str:
    """Returns the directory of a trial, below the sweep's."""
    return f"{TRIALS}/{number:04}"


def repeats(varying: Iterable[str]) -> str:
    """Returns what the trials of a group differ in, of a sweep in which these fields vary."""
    return " and ".join(REPEATS[path] for path in REPEATS if path in set(varying)) or REPEATS[SEED]


def is_sweep(workdir: Path) -> bool:
    """Tells whether a directory is that of a sweep, and of no run."""
    return not (workdir / run_dir.CONFIG).is_file() and (workdir / run_dir.DECLARATION).is_file()


def best(folder: Path) -> tuple[Path, str]:
    """Returns the directory of a sweep's best trial, and a line that says which it is.

    Raises:
      ConfigError: no trial has finished.
      BrokenFile: `sweep.json` is not what this software wrote.
    """
    record = run_dir.read_json(folder / RECORD) or {}
    if not record.get("best"):
        ends = {status: count for status, count in record.get("counts", {}).items() if status in ENDED}
        said, remedy = "", "Start its command again"
        if ends and sum(ends.values()) == record["size"]:
            said = f", all have ended: {', '.join(f'{count} {status}' for status, count in ends.items())}"
            remedy = f"Why is in {folder / RECORD}; start another sweep, such as with lower rates"
        raise ConfigError([f"--workdir: no trial of the sweep in {folder} has finished{said}. {remedy}"])
    trial = next(row for row in record["trials"] if row["number"] == record["best"]["trial"])
    worth = f"{record['objective']} {trial['value']:.4f}"
    return folder / trial["folder"], f"{folder} is a sweep; its best trial is {folder / trial['folder']}, {worth}"


class TrialRecord(TypedDict):
    """A trial; `None` for what is not known of it."""

    number: int
    folder: str
    """Below the sweep's."""
    status: str
    """One of `STATES`."""
    value: float | None
    """What it is ranked by."""
    interval: tuple[float, float] | None
    """The 95 % interval of the value."""
    fields: Fields
    """The config's fields that it sets."""
    epochs: float | None
    step: int | None
    train_seconds: float | None
    parameters: int | None
    stopped: NotRequired[str | None]
    """Why training ended early; not in the files of earlier versions."""
    error: str | None
    attempts: int
    worker: str | None
    started: str | None
    ended: str | None
    command: str
    """What trains it alone."""
    curves: dict[str, Curve]
    """By metric."""


class GroupRecord(TypedDict):
    """The trials of one configuration, which differ only in `REPEATS`."""

    fields: Fields
    trials: list[int]
    values: list[float]
    """Of those that finished, one a seed."""
    mean: float | None
    sd: float | None
    n: int
    of: int
    """How many seeds there are."""
    diverged: NotRequired[int]
    pruned: NotRequired[int]


class WinnerRecord(TypedDict, total=False):
    """Whether the best group is distinguishable from the second; `text` says it in a sentence."""

    text: str
    difference: float
    sd: float
    """Pooled over all groups."""
    ratio: float
    """The difference in units of `sd`."""
    real: bool
    seeds_needed: int
    """So many a group that this difference at this spread would be found."""
    seeds: int
    """Of each configuration that was left at the last look, where the sweep went on until its winner was real."""
    error: float
    """The rate that was kept over all looks and configurations together."""
    ruled_out: list["RuledOutRecord"]
    """In the order in which they were."""


class RuledOutRecord(TypedDict):
    """A configuration that got no further seeds."""

    fields: Fields
    seeds: int
    """After so many."""
    by: Fields | None
    """The configuration that beat it; `None` where one of these seeds gave no value."""


class FactorRecord(TypedDict):
    """How much one field went with the objective, and the ends of its interval."""

    path: str
    share: float
    low: float
    high: float


class ImportanceRecord(TypedDict):
    """How much each field went with the objective; `text` says why this is hidden."""

    n: int
    factors: list[FactorRecord]
    method: NotRequired[str]
    caveat: NotRequired[str]
    text: NotRequired[str]


class ChangeRecord(TypedDict):
    """A field in which the best config differs from the base."""

    path: str
    base: Any
    best: Any


class BestRecord(TypedDict):
    """The best configuration: its best trial, how its config differs from the base, and the command."""

    trial: int
    fields: Fields
    diff: list[ChangeRecord]
    command: str


class TimeRecord(TypedDict):
    """For how long a worker's process ran, how much of that were training steps, and the share of all else."""

    seconds: float
    steps: float
    other: float


class EngineRecord(TypedDict, total=False):
    """Which engine ran, on what, and how long it took; empty where nothing was left to run."""

    engine: str
    device: str
    lanes: int
    """How many trials trained together."""
    compilations: dict[str, int]
    """Of training programs, by engine."""
    time: TimeRecord


class SweepJson(TypedDict):
    """All of `sweep.json`."""

    schema: int
    name: str
    study: str
    """Optuna's."""
    objective: str
    direction: str
    size: int
    counts: dict[str, int]
    """Trials by state."""
    seconds: float
    """In which trials ran, whichever and however many: pauses between two commands do not count."""
    space: Any
    """As it was declared."""
    options: Any
    varying: list[str]
    """The fields that differ between trials."""
    engine: EngineRecord
    trials: list[TrialRecord]
    groups: list[GroupRecord]
    """Best first."""
    winner: WinnerRecord
    importance: ImportanceRecord
    best: BestRecord | None
