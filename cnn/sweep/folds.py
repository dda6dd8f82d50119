"""Every training example predicted once, out of fold: by a run of a sweep over folds that did not train with it.

The best configuration's runs wrote what they made of their validation splits, and of n folds each example lies in one.
`write` puts these together in `folds.csv`, a line for each example, and what all of them say in `folds.json`.
"""

import csv
import dataclasses
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np
from jaxtyping import Float64, Int64

from cnn import losses, metrics
from cnn.config.config import ConfigError
from cnn.config.sections import Data
from cnn.data import datasets, splits
from cnn.fields import shorten
from cnn.runs import recorded_data, run_dir
from cnn.runs.sweep_record import FINISHED, FOLD, FOLDS, FOLDS_CSV, SEED, Fields, SweepJson, TrialRecord


class PartRecord(TypedDict):
    """How many of the examples of a fold, or of all folds, a seed's runs got right; `seed` where seeds were swept."""

    seed: NotRequired[int]
    fold: NotRequired[str]
    trial: NotRequired[int]
    count: int
    correct: int
    accuracy: float
    interval: tuple[float, float]


class FoldsJson(TypedDict):
    """All of `folds.json`; `pooled` is as an `evaluation-<split>.json`, of the predictions in `folds.csv`."""

    fields: Fields
    """Of the configuration."""
    trials: list[int]
    folds: int
    left_out: int
    """Examples of the folds that are in none, the only ones of their class, or could not be used."""
    pooled: dict[str, Any]
    of_seeds: list[PartRecord]
    """The pooled accuracy of each seed; of several, the predictions are those of their mean probabilities."""
    of_folds: list[PartRecord]
    """Each run on its own fold, as its validation record has it."""


@dataclasses.dataclass(frozen=True, repr=False)
class OutOfFold:
    """What was predicted of every training example by runs that did not train with it.

    Attributes:
      rows: of the source's train, its own validation split behind it, ascending; each once.
      names: which pictures they are.
      labels: the index of each one's class.
      folds: the fold in which each is valid, counted from 1.
      probabilities: a column for each class; of several seeds their mean.
      classes: the names of the classes.
      record: what `folds.json` holds.
      path: of `folds.csv`.
    """

    rows: Int64[np.ndarray, " n"]
    names: tuple[str, ...]
    labels: Int64[np.ndarray, " n"]
    folds: Int64[np.ndarray, " n"]
    probabilities: Float64[np.ndarray, "n classes"]
    classes: tuple[str, ...]
    record: FoldsJson
    path: Path

    @property
    def predictions(self) -> Int64[np.ndarray, " n"]:
        """The index of the likeliest class of each; of equal ones the first."""
        return self.probabilities.argmax(1)

    @property
    def accuracy(self) -> float:
        """The share of all examples that are right, each counted once."""
        return self.record["pooled"]["accuracy"]

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of the accuracy."""
        low, high = self.record["pooled"]["interval"]
        return low, high

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return "\n".join([*said(self.record), str(self.path)])


def said(record: FoldsJson) -> list[str]:
    """Returns the pooled accuracy in lines."""
    pooled, seeds = record["pooled"], record["of_seeds"]
    low, high = pooled["interval"]
    several = f", by the mean probabilities of {len(seeds)} seeds" if len(seeds) > 1 else ""
    lines = [
        f"out of fold, each of {pooled['count']:,} training pictures predicted once, by runs that did not train with "
        f"it{several}: accuracy {pooled['accuracy']:.4f} (95 % interval {low:.4f} to {high:.4f})"
    ]
    if several:
        each = shorten([f"{seed['accuracy']:.4f}" for seed in seeds])
        lines.append(f"out of fold, one seed alone: accuracy {each}")
    if record["left_out"]:
        lines.append(f"in no fold, or of no use: {record['left_out']:,} training pictures")
    return lines


def is_over_folds(record: SweepJson) -> bool:
    """Tells whether a sweep varies the fold."""
    return FOLD in record["varying"]


def write(record: SweepJson, folder: Path, data: Data) -> OutOfFold:
    """Writes and returns what the best configuration's runs predicted out of fold.

    Args:
      record: what `sweep.json` holds.
      folder: the sweep's directory.
      data: of the config of any trial of that configuration.

    Raises:
      ConfigError: the sweep is none over folds, or not all folds of its best configuration have a finished run.
      DataError: the data are missing or not those that the runs were trained with.
      BrokenFile: what a run predicted is not there as this software wrote it.
    """
    number, seeds, runs = _runs(record, folder, data)
    source = datasets.read_source(data)
    classes = tuple(recorded_data.class_names(folder / runs[0]["folder"], data.classes))
    title: Callable[[int], str] = str
    found: list[_Fold] = []
    whole = 0
    for place in range(1, number + 1):
        of_source = datasets.rows(source, dataclasses.replace(data, fold=f"{place}/{number}"))
        title, whole = of_source.title, of_source.total
        of_fold = [run for run in runs if run["fields"].get(FOLD) == f"{place}/{number}"]
        for run in of_fold:
            recorded_data.check_same(folder / run["folder"], of_source.identity)
        found.append(_fold(place, of_source.cut, [_predicted(folder / run["folder"]) for run in of_fold]))
    together = {name: np.concatenate([getattr(fold, name) for fold in found]) for name in ("rows", "labels")}
    folds = np.concatenate([np.full(len(fold.rows), fold.place) for fold in found])
    order = np.argsort(together["rows"], kind="stable")
    logits = np.concatenate([fold.logits for fold in found], axis=1)
    rows, labels = together["rows"][order], together["labels"][order]
    mean = losses.log_mean_softmax(logits)[order]
    about: FoldsJson = {
        "fields": record["groups"][0]["fields"],
        "trials": sorted(run["number"] for run in runs),
        "folds": number,
        "left_out": whole - len(rows),
        "pooled": metrics.evaluate(mean, labels, class_names=classes).to_json(),
        "of_seeds": [_part(each, together["labels"], **_seed(seed)) for seed, each in zip(seeds, logits, strict=True)],
        "of_folds": [
            _part(each, fold.labels, fold=f"{fold.place}/{number}", trial=run["number"], **_seed(seed))
            for fold in found
            for seed, each in zip(seeds, fold.logits, strict=True)
            for run in runs
            if run["fields"].get(FOLD) == f"{fold.place}/{number}" and run["fields"].get(SEED) == seed
        ],
    }
    names = tuple(title(int(row)) for row in rows)
    made = OutOfFold(rows, names, labels, folds[order], losses.softmax(mean), classes, about, folder / FOLDS_CSV)
    run_dir.write(folder / FOLDS_CSV, _csv(made).encode())
    run_dir.write_json(folder / FOLDS, about)
    return made


def _runs(record: SweepJson, folder: Path, data: Data) -> tuple[int, list[Any], list[TrialRecord]]:
    """Returns the number of folds, the seeds (`None` where none are swept), and a finished run for each pair."""
    if data.train_on != "train":
        raise ConfigError(['config.data.train_on: trains with the folds too, got "train+valid". Set it to "train"'])
    best = record["groups"][0]["trials"]
    members = [trial for trial in record["trials"] if trial["number"] in best]
    numbers = sorted({_of(trial) for trial in members})
    if len(numbers) > 1:
        raise ConfigError([f"space.data.fold: must hold folds of one number, got {numbers}. Sweep them one by one"])
    runs: dict[tuple[str, Any], TrialRecord] = {}
    for trial in members:
        if trial["status"] == FINISHED:
            runs.setdefault((trial["fields"].get(FOLD, ""), trial["fields"].get(SEED)), trial)
    seeds = sorted({trial["fields"].get(SEED) for trial in members}, key=lambda seed: (seed is not None, seed))
    wanted = [(f"{place}/{numbers[0]}", seed) for place in range(1, numbers[0] + 1) for seed in seeds]
    lacking = [pair for pair in wanted if pair not in runs]
    missing = [fold if seed is None else f"{fold} with seed {seed}" for fold, seed in lacking]
    if missing:
        drawn = record["options"]["sampler"] != "grid"
        remedy = f"Sweep its folds, --grid='data.fold=folds({numbers[0]})'" if drawn else "Run them"
        raise ConfigError(
            [f"--workdir: the best configuration of {folder} has no finished run of fold {shorten(missing)}. {remedy}"]
        )
    return numbers[0], seeds, [runs[pair] for pair in wanted]


def _of(trial: TrialRecord) -> int:
    fold = splits.parse_fold(trial["fields"].get(FOLD, ""))
    return fold.of if fold else 0


def _seed(seed: Any) -> dict[str, Any]:
    return {} if seed is None else {"seed": seed}


@dataclasses.dataclass(frozen=True)
class _Fold:
    """The examples of one fold that all of its runs could use; the logits have a table for each seed."""

    place: int
    rows: np.ndarray
    labels: np.ndarray
    logits: np.ndarray


def _fold(place: int, cut: splits.Cut, predicted: Sequence[Mapping[str, np.ndarray]]) -> _Fold:
    first = predicted[0]
    for other in predicted:
        # The same pictures cannot be used, whatever the seed.
        if not np.array_equal(first["index"], other["index"]) or not np.array_equal(first["label"], other["label"]):
            file = run_dir.predictions("valid")
            raise run_dir.BrokenFile(f"{file}: the seeds of fold {place} hold other examples. Evaluate them anew")
    return _Fold(place, cut.valid[first["index"]], first["label"], np.stack([each["logits"] for each in predicted]))


def _predicted(workdir: Path) -> dict[str, np.ndarray]:
    path = workdir / run_dir.predictions("valid")
    try:
        with np.load(path) as arrays:
            return {name: arrays[name] for name in ("index", "label", "logits")}
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise run_dir.BrokenFile(
            f"{path}: cannot be read ({error}). Write it again: python main.py eval --workdir={workdir} --split=valid"
        ) from None


def _part(logits: np.ndarray, labels: np.ndarray, **about: Any) -> PartRecord:
    correct, count = int((logits.argmax(axis=1) == labels).sum()), len(labels)
    numbers = {"count": count, "correct": correct, "accuracy": correct / count}
    record: Any = {**about, **numbers, "interval": metrics.wilson(correct, count)}
    return record


def _csv(made: OutOfFold) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["row", "example", "label", "fold", "prediction", *(f"p({name})" for name in made.classes)])
    columns = made.rows, made.names, made.labels, made.folds, made.predictions, made.probabilities
    for row, name, label, fold, prediction, shares in zip(*columns, strict=True):
        which = f"{fold}/{made.record['folds']}"
        named = made.classes[label], which, made.classes[prediction]
        writer.writerow([row, name, *named, *(f"{share:.9g}" for share in shares)])
    return buffer.getvalue()


def known(record: SweepJson, folder: Path) -> FoldsJson | None:
    """Returns what `folds.json` holds, if it is of the trials that are the best now; `None` otherwise."""
    written: Any = run_dir.read_json(folder / FOLDS)
    best = record["groups"][0]["trials"] if record["groups"] else []
    there = written and (folder / FOLDS_CSV).is_file() and set(written["trials"]) <= set(best)
    finished = {row["number"] for row in record["trials"] if row["status"] == FINISHED}
    return written if there and len(written["trials"]) == len(finished & set(best)) else None
