"""Experiment trackers: MLflow and Weights & Biases, for `cnn.run(..., on_record=cnn.trackers.mlflow())`.

Each function returns what follows one run, or the trials of a sweep. The numbers have names such as `loss/train` and
`accuracy/valid` of epochs, `train/loss` of some steps, and `final/accuracy/test` of the final evaluations, each at the
updates behind it. Which of a tracker's runs is a run's stands in its directory, so that a run that continues is
continued there, and no step is recorded twice.
"""

import importlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from cnn.config.config import ConfigError, by_path
from cnn.runs import run_dir
from cnn.runs.records import OnRecord, Record, final_metrics, scalars
from cnn.system import redaction

STATUS = {"finished": "FINISHED", "diverged": "FAILED", "preempted": "KILLED"}
"""How MLflow calls the ways a run ends."""
MOST_PARAMETERS = 100
"""MLflow takes no more at once."""


def mlflow(
    experiment: str = "cnn",
    tracking_uri: str | None = None,
    run_name: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> OnRecord:
    """Returns what records runs in MLflow: the config as parameters, the numbers as metrics, directory and fingerprint.

    Args:
      experiment: its name; made where there is none.
      tracking_uri: of the server or the database; `None` for `MLFLOW_TRACKING_URI`, or MLflow's default.
      run_name: `None` for the name of the run's directory.
      tags: more of them.

    Raises:
      ConfigError: the package is missing.
    """
    package = _package("mlflow")
    validation = importlib.import_module("mlflow.utils.validation")

    def follow(begin: Mapping[str, Any]) -> _Followed:
        client = package.MlflowClient(tracking_uri)
        longest = validation.MAX_PARAM_VAL_LENGTH
        return _MlflowRun(client, package, begin, longest, experiment, run_name, dict(tags or {}))

    return _Tracker("mlflow", follow)


def wandb(
    project: str = "cnn",
    mode: str | None = None,
    run_name: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> OnRecord:
    """Returns what records runs in Weights & Biases: the config, the numbers, and the final evaluations as summary.

    Args:
      project: its name.
      mode: online, offline (needs no account; `wandb sync` uploads it later) or disabled; `None` for `WANDB_MODE`.
      run_name: `None` for the name of the run's directory.
      tags: stand in the run's config there.

    Raises:
      ConfigError: the package is missing.
    """
    package = _package("wandb")

    def follow(begin: Mapping[str, Any]) -> _Followed:
        return _WandbRun(package, begin, project, mode, run_name, dict(tags or {}))

    return _Tracker("wandb", follow)


def by_name(name: str) -> OnRecord:
    """Returns the tracker that a flag names, which the tracker's own environment variables configure.

    Raises:
      ConfigError: its package is missing.
    """
    if name == "mlflow":
        return mlflow(os.environ.get("MLFLOW_EXPERIMENT_NAME") or "cnn")
    return wandb(os.environ.get("WANDB_PROJECT") or "cnn")


def _package(name: str) -> ModuleType:
    """Imports a tracker's package.

    Raises:
      ConfigError: it is not installed.
    """
    try:
        package = importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        package = None
    # A folder of that name, such as W&B leaves behind, is imported as an empty package.
    if package is None or package.__file__ is None:
        raise ConfigError([f"cnn.trackers.{name}: needs the package {name}. Run: pip install {name}"])
    return package


class _Followed(Protocol):
    """One run in a tracker."""

    def log(self, kind: str, step: int, numbers: Mapping[str, float]) -> None:
        """Records numbers, unless this step of this kind is recorded already."""

    def end(self, status: str, result: Mapping[str, Any] | None) -> None:
        """Records how the run ended."""


class _Tracker:
    """Passes the records of each run on to what follows it; of a sweep, several runs at a time."""

    def __init__(self, name: str, follow: Callable[[Mapping[str, Any]], _Followed]) -> None:
        self.__qualname__ = f"cnn.trackers.{name}"
        self._follow = follow
        self._followed: dict[str, _Followed] = {}

    def __call__(self, record: Record) -> None:
        trial = record.pop("trial", "")
        if record["kind"] == "begin":
            self._followed[trial] = self._follow(record)
        elif record["kind"] == "end":
            self._followed.pop(trial).end(record["status"], record["result"])
        else:
            self._followed[trial].log(record["kind"], record["step"], _numbers(record))


def _numbers(record: Mapping[str, Any]) -> dict[str, float]:
    """Returns the numbers of a record by their names in a tracker."""
    if record["kind"] == "evaluation":
        return final_metrics({record["split"]: record})
    return {f"{tag}/{split}" if record["kind"] == "epoch" else tag: number for split, tag, number in scalars(record)}


def _settings(begin: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the config by paths, without passwords."""
    values = by_path(begin["config"])
    return {path: redaction.hide(value) if isinstance(value, str) else value for path, value in values.items()}


class _MlflowRun:
    def __init__(
        self,
        client: Any,
        package: ModuleType,
        begin: Mapping[str, Any],
        longest: int,
        experiment: str,
        run_name: str | None,
        tags: dict[str, str],
    ) -> None:
        self._client, self._entities = client, package.entities
        workdir = Path(begin["workdir"])
        known = (run_dir.read_json(workdir / run_dir.MLFLOW_FILE) or {}).get("run_id")
        run = self._run(known, package) if known else None
        if run is None:
            name = run_name or workdir.resolve().name
            run = client.create_run(self._experiment(experiment, package), run_name=name)
            run_dir.write_json(workdir / run_dir.MLFLOW_FILE, {"run_id": run.info.run_id, "experiment": experiment})
        else:
            client.update_run(run.info.run_id, status="RUNNING")
        self._id = run.info.run_id
        self._logged = {
            (name, metric.step) for name in run.data.metrics for metric in client.get_metric_history(self._id, name)
        }
        # A field that may change between two starts keeps its first value: MLflow refuses another.
        added = {name: value for name, value in _settings(begin).items() if name not in run.data.params}
        texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in added.items()}
        parameters = [self._entities.Param(name, text[:longest]) for name, text in texts.items()]
        for first in range(0, len(parameters), MOST_PARAMETERS):
            client.log_batch(self._id, params=parameters[first : first + MOST_PARAMETERS])
        self._tag({"workdir": str(workdir.absolute()), **tags})

    def _run(self, known: str, package: ModuleType) -> Any:
        """Returns a run of MLflow; `None` where this server does not know it."""
        try:
            return self._client.get_run(known)
        except package.exceptions.MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None

    def _experiment(self, name: str, package: ModuleType) -> str:
        """Returns the identity of an experiment, which another process may be making, too."""
        if found := self._client.get_experiment_by_name(name):
            return found.experiment_id
        try:
            return self._client.create_experiment(name)
        except package.exceptions.MlflowException:
            if found := self._client.get_experiment_by_name(name):
                return found.experiment_id
            raise

    def _tag(self, tags: Mapping[str, str]) -> None:
        self._client.log_batch(self._id, tags=[self._entities.RunTag(name, text) for name, text in tags.items()])

    def log(self, kind: str, step: int, numbers: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        new = [
            self._entities.Metric(name, number, now, step)
            for name, number in numbers.items()
            if (name, step) not in self._logged
        ]
        self._client.log_batch(self._id, metrics=new)
        self._logged |= {(metric.key, step) for metric in new}

    def end(self, status: str, result: Mapping[str, Any] | None) -> None:
        if result is not None:
            self._tag({"fingerprint": result["fingerprint"]})
        self._client.set_terminated(self._id, STATUS[status])


class _WandbRun:
    def __init__(
        self,
        package: ModuleType,
        begin: Mapping[str, Any],
        project: str,
        mode: str | None,
        run_name: str | None,
        tags: dict[str, str],
    ) -> None:
        workdir = Path(begin["workdir"])
        self._file = workdir / run_dir.WANDB_FILE
        self._known = run_dir.read_json(self._file) or {}
        """The run's identity there, and up to which step each kind of record is recorded: W&B cannot tell offline."""
        self._run = package.init(
            project=project,
            name=run_name or workdir.resolve().name,
            id=self._known.get("id"),
            resume="allow" if self._known else None,
            mode=mode,
            config={**_settings(begin), "workdir": str(workdir.absolute()), **tags},
            settings=package.Settings(reinit="create_new", console="off", silent=True),
        )
        self._known["id"] = self._run.id
        run_dir.write_json(self._file, self._known)

    def log(self, kind: str, step: int, numbers: Mapping[str, float]) -> None:
        if kind == "evaluation":
            self._run.summary.update(dict(numbers))
        elif step > self._known.get(kind, 0):
            self._run.log(dict(numbers), step=step)
            self._known[kind] = step
            run_dir.write_json(self._file, self._known)

    def end(self, status: str, result: Mapping[str, Any] | None) -> None:
        if result is not None:
            self._run.summary["fingerprint"] = result["fingerprint"]
        if status == "preempted":
            self._run.mark_preempting()
        self._run.finish(exit_code=0 if status == "finished" else 1)
