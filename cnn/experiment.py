"""Runs one experiment in its directory: train, evaluate, write; the same call again continues or reports."""

import contextlib
import json
from pathlib import Path
from typing import Any, NamedTuple

from cnn import (
    badlist,
    checkpoint,
    data,
    devices,
    evaluate,
    faults,
    hosts,
    layers,
    lock,
    provenance,
    rundir,
    settings,
)
from cnn.checks import check_lengths, check_memory, check_share, load_data
from cnn.compilation import compilations
from cnn.config import ConfigError, Values
from cnn.data import background
from cnn.fingerprint import fingerprint
from cnn.interruption import Interruption
from cnn.starting import make_program, make_state
from cnn.trainer import Trainer


class Finished(NamedTuple):
    """A run's result, and whether this call computed it."""

    result: dict[str, Any]
    fresh: bool


def run(values: Values, workdir: Path, count: int = 1) -> Finished:
    """Trains and evaluates, continuing from the last checkpoint; a finished run is only read.

    Args:
      values: the whole config.
      workdir: the run's directory; made where missing. Of several processes only the first one uses it.
      count: how many devices, of all processes, share each batch.

    Raises:
      ConfigError: the directory holds a run of another config, or the data are too few for it.
      DataError: the data are missing or unlike the config.
      Held: another process holds the run.
      NoValidCheckpoint: what was saved is damaged.
      Preempted: a signal asked to stop.
      Elsewhere: in the other processes, whatever it was that ended the first one.
      Unlike: the processes have different configs, data or versions.
    """
    check_share(values, count)
    finished = hosts.from_leader(lambda: _finished(values, workdir))
    if finished is not None:
        return Finished(finished, fresh=False)
    with Interruption(hosts.agreement()) as interruption, contextlib.ExitStack() as held:
        faults.point("load")
        dataset = load_data(values.data)
        check_lengths(values, dataset)
        check_memory(values, dataset, count)
        versions = json.dumps(provenance.versions())
        hosts.check_same(
            {
                "the configs": values.json,
                "the data": dataset.identity,
                "the ways to load data": str(dataset.streams),
                "the versions": versions,
            }
        )
        finished = hosts.from_leader(lambda: _open(values, workdir, dataset, held))
        if finished is not None:
            return Finished(finished, fresh=False)
        trainer = Trainer(values, workdir, dataset, interruption, count=count)
        trainer.train()
        # Whatever the devices do to the numbers, they have to do it to all copies.
        hosts.check_same({"the final states": fingerprint(trainer.state)}, "Check the hardware, and start again")
        result = _result(values, workdir, trainer, dataset)
        if hosts.leads():
            faults.point("before_result")
            rundir.write_json(workdir / rundir.RESULT, result)
        return Finished(result, fresh=True)


def _finished(values: Values, workdir: Path) -> dict[str, Any] | None:
    """Returns the result of a finished run of this config; checks that an unfinished one may go on."""
    rundir.check_same_config(values, workdir)
    finished = rundir.read_json(workdir / rundir.RESULT)
    if finished is None:
        lock.probe(workdir)
    return finished


def _open(values: Values, workdir: Path, dataset: data.Dataset, held: contextlib.ExitStack) -> dict[str, Any] | None:
    """Takes the directory, until `held` closes, and writes what the run is; returns the result of one that is over."""
    held.enter_context(lock.hold(workdir))
    changed = rundir.check_same_config(values, workdir)
    finished = rundir.read_json(workdir / rundir.RESULT)
    if finished is not None:
        return finished
    _check_same_data(workdir, dataset)
    badlist.recall(workdir, dataset.rejects)
    for path, before, now in changed:
        rundir.append(workdir / rundir.HISTORY, {"field": f"config.{path}", "before": before, "now": now})
    rundir.write(workdir / rundir.CONFIG, values.json.encode())
    rundir.write_json(workdir / rundir.RUN, {**provenance.describe(), "data": _about(dataset)})
    return None


def _check_same_data(workdir: Path, dataset: data.Dataset) -> None:
    """Refuses other data than the run began with, before `run.json` names them as those it was made with."""
    known = (rundir.read_json(workdir / rundir.RUN) or {}).get("data", {}).get("identity", dataset.identity)
    if known != dataset.identity:
        raise data.DataError(
            f"config.data: the data are not those that {workdir} was trained with, got {dataset.identity[:12]}. "
            "Restore them, or choose another --workdir."
        )


def _result(values: Values, workdir: Path, trainer: Trainer, dataset: data.Dataset) -> dict[str, Any]:
    """Evaluates the chosen weights and returns the summary of the run."""
    progress = trainer.progress
    summary: dict[str, Any] = {
        "status": "finished",
        "step": trainer.step,
        "epochs": trainer.step / trainer.steps_per_epoch,
        "stopped": progress.stopped,
        "parameters": layers.count_parameters(values.rows),
        "train": progress.last_epoch,
        "fingerprint": fingerprint(trainer.state),
        "train_seconds": round(progress.seconds, 3),
        "compile_seconds": round(compilations.seconds("run_step", "run_scan"), 3),
        "save_seconds": round(progress.save_seconds, 3),
        "wait_seconds": round(progress.wait_seconds, 3),
        "bad_pictures": len(dataset.rejects),
        "best": {"step": progress.best_step, "valid_accuracy": progress.best_accuracy},
        "weights": values.eval.weights,
    }
    if progress.bad_step is not None:
        return {**summary, "status": "diverged", "bad_step": progress.bad_step}
    weights = values.eval.weights
    like = devices.local(evaluate.variables_of(trainer.state))
    step, variables = hosts.from_leader_with(lambda: chosen_variables(values, workdir, weights), like)
    variables = devices.replicate(variables, trainer.count)
    for split in ["valid"] * trainer.judged + ["test"] * values.eval.test:
        try:
            evaluation = evaluate.evaluate_split(
                values,
                workdir,
                variables,
                dataset,
                split,
                step=step,
                weights=weights,
                devices=trainer.count,
                tell=trainer.keeper.tell,
            )
        except FloatingPointError:
            return {**summary, "status": "diverged", "bad_step": step}
        names = ("count", "correct", "accuracy", "interval", "top5_accuracy", "loss", "macro_f1", "ece", "skipped")
        summary[split] = {name: evaluation[name] for name in names}
    return summary


def _about(dataset: data.Dataset) -> dict[str, Any]:
    sizes = {name: len(getattr(dataset, name)) for name in ("train", "valid", "test")}
    shade = background.of_pictures(dataset.train.images)
    return {
        "identity": dataset.identity,
        "classes": list(dataset.class_names),
        "examples": sizes,
        "loading": "stream" if dataset.streams else "memory",
        "background": shade,
    }


def chosen_variables(values: Values, workdir: Path, weights: str) -> tuple[int, dict[str, Any]]:
    """Returns the step and the variables that `eval.weights` names, from a run's checkpoints.

    Raises:
      ConfigError: nothing is saved, no average was kept, or nothing chose the best.
    """
    if weights == "ema" and isinstance(values.train.average, settings.Off):
        raise ConfigError(['--weights: "ema" but the run kept no average. Use last or best.'])
    if weights == "best" and not (values.data.valid_fraction and values.data.train_on == "train"):
        raise ConfigError(['--weights: "best" but the run had no validation split to choose it. Use last or ema.'])
    # The lengths of the run are compiled in, but are no part of the state's structure: any that the schedule fits.
    shortest = values.schedule.warmup_steps + values.schedule.cooldown_steps + 1
    like = make_state(values, make_program(values, shortest, 1))
    restored = checkpoint.read(workdir / rundir.CHECKPOINTS, like, best=weights == "best")
    if restored is None:
        raise ConfigError([f"--workdir: {workdir} has no checkpoint yet. Train it first."])
    return restored.step, evaluate.variables_of(restored.state, averaged=weights == "ema")
