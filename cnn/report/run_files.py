"""What a run left in its directory, read for its page; whatever is missing or cut off is left out, not an error."""

import dataclasses
import json
import zipfile
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NotRequired, TypedDict

import numpy as np

from cnn.config import resolve
from cnn.config.config import Config
from cnn.runs import run_dir

WEIGHTS = ("last", "best", "ema")


class BinRecord(TypedDict):
    """Predictions of about the same confidence."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None


class ClassRecord(TypedDict):
    """The scores of one class; `None` where it is undefined."""

    name: str
    support: int
    precision: float | None
    recall: float | None
    f1: float | None


class EvaluationRecord(TypedDict):
    """What `evaluation-<split>.json` holds; see `cnn.metrics.Evaluation`."""

    split: str
    weights: str
    step: int
    data: str
    count: int
    correct: int
    accuracy: float
    interval: tuple[float, float]
    top5_accuracy: float | None
    loss: float
    macro_f1: float
    ece: float
    confusion: list[list[int]]
    classes: list[ClassRecord]
    bins: list[BinRecord]
    skipped: NotRequired[int]
    """Pictures that could not be used; not in the files of earlier versions."""
    metrics: NotRequired[dict[str, float]]
    """The monitored metric and those of `eval.metrics`, but for accuracy and loss; only where there are some."""


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """A run's files, as far as they are there.

    Attributes:
      workdir: the run's directory.
      config: its config.
      running: whether a process trains it while the page is written.
    """

    workdir: Path
    config: Config
    running: bool = False

    @property
    def name(self) -> str:
        return self.workdir.resolve().name

    @cached_property
    def about(self) -> Mapping[str, Any]:
        """`run.json`: versions, devices, command, data."""
        return _json(self.workdir / run_dir.RUN) or {}

    @cached_property
    def result(self) -> Mapping[str, Any] | None:
        """`result.json`, of a run that ended."""
        return _json(self.workdir / run_dir.RESULT)

    @cached_property
    def metrics(self) -> list[Mapping[str, Any]]:
        return _lines(self.workdir / run_dir.METRICS)

    @cached_property
    def events(self) -> list[Mapping[str, Any]]:
        return _lines(self.workdir / run_dir.EVENTS)

    @cached_property
    def evaluations(self) -> dict[str, EvaluationRecord]:
        """The evaluations by name, `test` and `valid` first: `test-best` is that of other weights than the config's."""
        names = [f"{split}{end}" for end in ("", *(f"-{w}" for w in WEIGHTS)) for split in ("test", "valid", "train")]
        found = {name: _json(self.workdir / run_dir.evaluation(name)) for name in names}
        return {name: record for name, record in found.items() if record is not None}

    @cached_property
    def main(self) -> tuple[str, EvaluationRecord] | None:
        """The name and the evaluation that the page is about: test where there is one, else valid, and so on."""
        return next(iter(self.evaluations.items()), None)

    @cached_property
    def class_names(self) -> list[str]:
        """One for each logit; numbers where the run does not say."""
        names = self.about.get("data", {}).get("classes")
        if names is None and self.main:
            names = [entry["name"] for entry in self.main[1]["classes"]]
        return list(names or map(str, range(self.config.data.classes)))

    def arrays(self, name: str) -> dict[str, np.ndarray] | None:
        """Returns the arrays of an `.npz` file of the run, `None` where there is none that is whole."""
        try:
            with np.load(self.workdir / name, allow_pickle=False) as stored:
                return {key: stored[key] for key in stored.files}
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            return None


def read(workdir: Path, *, running: bool = False) -> RunFiles:
    """Returns a run from its directory; no code is executed, whatever the run was made with.

    Raises:
      ConfigError: the directory holds no run, or its config is not valid.
    """
    config = resolve.resolve(run_dir.read_config(workdir), recorded=True, code=run_dir.recorded_code(workdir))
    return RunFiles(workdir, config, running)


def _json(path: Path) -> Any:
    try:
        return run_dir.read_json(path)
    except (run_dir.BrokenFile, OSError):
        return None


def _lines(path: Path) -> list[Mapping[str, Any]]:
    """Returns the records of a file with one a line, those left out that a killed process did not finish."""
    records: list[Mapping[str, Any]] = []
    for line in path.read_text(errors="replace").splitlines() if path.is_file() else []:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records
