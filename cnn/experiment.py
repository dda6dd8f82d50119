"""Runs one experiment in its directory: train, evaluate, write; the same call again continues or reports."""

import contextlib
import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

from cnn import (
    arithmetic,
    badlist,
    chosen,
    data,
    devices,
    evaluate,
    faults,
    hosts,
    layers,
    lock,
    look,
    origin,
    provenance,
    rundir,
    starting,
)
from cnn.checks import check_lengths, check_memory, check_share, check_still_same, load_data, tell_remarks
from cnn.compilation import compilations
from cnn.config import Values
from cnn.fingerprint import fingerprint
from cnn.interruption import Interruption
from cnn.reporter import Reporter
from cnn.trainer import Trainer
from cnn.watch import Watch


class Finished(NamedTuple):
    """A run's result, and whether this call computed it."""

    result: dict[str, Any]
    fresh: bool


def run(
    values: Values,
    workdir: Path,
    count: int = 1,
    *,
    known: data.Dataset | None = None,
    watch: Watch | None = None,
    interruption: Interruption | None = None,
) -> Finished:
    """Trains and evaluates, continuing from the last checkpoint; a finished run of the same data is only read.

    Args:
      values: the whole config.
      workdir: the run's directory; made where missing. Of several processes only the first one uses it.
      count: how many devices, of all processes, share each batch.
      known: the config's data, where they are loaded already.
      watch: looks on while training.
      interruption: of whoever runs this among other things; made where there is none.

    Raises:
      ConfigError: the directory holds a run of another config, or the data are too few for it.
      DataError: the data are missing, unlike the config, or others than the run began with.
      Held, NoValidCheckpoint: another process holds the run; what was saved is damaged.
      Preempted: a signal asked to stop.
      Elsewhere, Unlike: of several processes, the first one ended, or they differ in config, data or versions.
    """
    check_share(values, count)
    if (finished := hosts.from_leader(lambda: _finished(values, workdir, known))) is not None:
        return Finished(finished, fresh=False)
    with contextlib.ExitStack() as held:
        interruption = interruption or held.enter_context(Interruption(hosts.agreement()))
        faults.point("load")
        dataset = known or load_data(values.data)
        _check(values, dataset, count)
        if (over := hosts.from_leader(lambda: _open(values, workdir, dataset, held))) is not None:
            return Finished(over, fresh=False)
        if watch is None:
            tell_remarks(values, workdir, dataset)
        seen = watch or Watch(functools.partial(Reporter, quiet=not hosts.leads()))
        trainer = Trainer(values, workdir, dataset, interruption, count=count, watch=seen)
        trainer.train()
        return Finished(finish(values, workdir, trainer, dataset), fresh=True)


def _finished(values: Values, workdir: Path, known: data.Dataset | None) -> dict[str, Any] | None:
    """Returns the result of a finished run of this config and data; checks that an unfinished one may go on."""
    rundir.check_same_config(values, workdir)
    finished = rundir.read_json(workdir / rundir.RESULT)
    if finished is None:
        arithmetic.check(values, workdir)
        arithmetic.tell(values, workdir)
        lock.probe(workdir)
    else:
        check_still_same(values, workdir, known)
    return finished


def _check(values: Values, dataset: data.Dataset, count: int) -> None:
    check_lengths(values, dataset)
    check_memory(values, dataset, count)
    facts = {
        "the configs": values.json,
        "the data": dataset.identity,
        "the ways to load data": str(dataset.streams),
        "the versions": json.dumps(provenance.versions()),
    }
    hosts.check_same(facts)


def _open(values: Values, workdir: Path, dataset: data.Dataset, held: contextlib.ExitStack) -> dict[str, Any] | None:
    """Takes the directory, until `held` closes, and prepares it; returns the result of a run that is over."""
    held.enter_context(lock.hold(workdir))
    return prepare(values, workdir, dataset)


def prepare(values: Values, workdir: Path, dataset: data.Dataset) -> dict[str, Any] | None:
    """Writes what a run is made with, before it trains; returns the result of a run that is finished already.

    Whoever calls it holds the run's lock.

    Raises:
      ConfigError: the directory holds a run of another config, or of a version with other arithmetic.
      DataError: the data are not those that the run began with.
    """
    changed = rundir.check_same_config(values, workdir)
    origin.check_same(workdir, dataset.identity)
    finished = rundir.read_json(workdir / rundir.RESULT)
    if finished is not None:
        return finished
    arithmetic.check(values, workdir)
    badlist.recall(workdir, dataset)
    for path, before, now in changed:
        rundir.append(workdir / rundir.HISTORY, {"field": f"config.{path}", "before": before, "now": now})
    rundir.write(workdir / rundir.CONFIG, values.json.encode())
    before = rundir.read_json(workdir / rundir.RUN) or {}
    kept = {rundir.INIT: before[rundir.INIT]} if rundir.INIT in before else {}
    made = {**provenance.describe(), arithmetic.NUMERICS: arithmetic.VERSIONS, "data": starting.describe(dataset)}
    rundir.write_json(workdir / rundir.RUN, {**made, **kept})
    return None


def finish(values: Values, workdir: Path, trainer: Trainer, dataset: data.Dataset) -> dict[str, Any]:
    """Evaluates a run whose training ended; writes and returns its result."""
    # Whatever the devices do to the numbers, they have to do it to all copies.
    hosts.check_same({"the final states": fingerprint(trainer.state)}, "Check the hardware, and start again")
    result, step, variables = _result(values, workdir, trainer, dataset)
    if not hosts.leads():
        return result
    faults.point("before_result")
    rundir.write_json(workdir / rundir.RESULT, result)

    def look_into() -> None:
        if variables:
            look.look(values, workdir, devices.local(variables), dataset, step=step, judged=trainer.judged)

    with trainer.reporter.stage("writing the page") if trainer.pages.wanted else contextlib.nullcontext():
        trainer.pages.ended(look_into)
    return result


def _result(
    values: Values, workdir: Path, trainer: Trainer, dataset: data.Dataset
) -> tuple[dict[str, Any], int, dict[str, Any]]:
    """Evaluates the chosen weights and returns the summary of the run, their step, and them unless they are no use."""
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
        "compile_seconds": round(compilations.seconds("run_step", "run_loop", "run_scan"), 3),
        "save_seconds": round(progress.save_seconds, 3),
        "wait_seconds": round(progress.wait_seconds, 3),
        "bad_pictures": len(dataset.rejects),
        "best": {"step": progress.best_step, "valid_accuracy": progress.best_accuracy},
        "weights": values.eval.weights,
    }
    if progress.bad_step is not None:
        return {**summary, "status": "diverged", "bad_step": progress.bad_step}, 0, {}
    weights, step = values.eval.weights, trainer.step
    variables = evaluate.variables_of(trainer.state, averaged=weights == "ema")
    if weights == "best":
        like = devices.local(evaluate.variables_of(trainer.state))
        step, variables = hosts.from_leader_with(lambda: chosen.variables(values, workdir, weights), like)
        variables = devices.replicate(variables, trainer.count)
    try:
        for split in ["valid"] * trainer.judged + ["test"] * values.eval.test:
            summary[split] = _evaluation(values, workdir, trainer, variables, split, step)
    except FloatingPointError:
        return {**summary, "status": "diverged", "bad_step": step}, 0, {}
    return summary, step, variables


def _evaluation(
    values: Values, workdir: Path, trainer: Trainer, variables: dict[str, Any], split: str, step: int
) -> dict[str, Any]:
    """Evaluates a split and returns what the summary says of it."""
    how: dict[str, Any] = {"step": step, "weights": values.eval.weights, "devices": trainer.count}
    how |= {"tell": trainer.keeper.tell, "check": trainer.interruption.check}
    with trainer.reporter.stage(f"evaluating {split}"):
        evaluation = evaluate.evaluate_split(values, workdir, variables, trainer.dataset, split, **how)
    names = ("count", "correct", "accuracy", "interval", "top5_accuracy", "loss", "macro_f1", "ece", "skipped")
    return {name: evaluation[name] for name in names}
