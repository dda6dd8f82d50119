"""Runs one experiment in its directory: train, evaluate, write; the same call again continues or reports."""

import contextlib
from pathlib import Path
from typing import Any, NamedTuple

from cnn import badlist, checkpoint, data, evaluate, faults, layers, lock, look, provenance, rundir, settings, starting
from cnn.compilation import compilations
from cnn.config import ConfigError, Values
from cnn.fingerprint import fingerprint
from cnn.interruption import Interruption
from cnn.trainer import Trainer
from cnn.watch import Watch


class Finished(NamedTuple):
    """A run's result, and whether this call computed it."""

    result: dict[str, Any]
    fresh: bool


def run(
    values: Values,
    workdir: Path,
    *,
    known: data.Dataset | None = None,
    watch: Watch = Watch(),  # noqa: B008
    interruption: Interruption | None = None,
) -> Finished:
    """Trains and evaluates, continuing from the last checkpoint; a finished run is only read.

    Args:
      values: the whole config.
      workdir: the run's directory; made where missing.
      known: the config's data, where they are loaded already.
      watch: looks on while training.
      interruption: of whoever runs this among other things; made where there is none.

    Raises:
      ConfigError: the directory holds a run of another config, or the data are too few for it.
      DataError: the data are missing or unlike the config.
      Held: another process holds the run.
      NoValidCheckpoint: what was saved is damaged.
      Preempted: a signal asked to stop.
    """
    rundir.check_same_config(values, workdir)
    finished = rundir.read_json(workdir / rundir.RESULT)
    if finished is not None:
        return Finished(finished, fresh=False)
    lock.probe(workdir)
    with contextlib.nullcontext(interruption) if interruption else Interruption() as interruption:
        faults.point("load")
        dataset = known or starting.load_data(values.data)
        starting.check_lengths(values, dataset)
        with lock.hold(workdir):
            finished = prepare(values, workdir, dataset)
            if finished is not None:
                return Finished(finished, fresh=False)
            trainer = Trainer(values, workdir, dataset, interruption, watch=watch)
            trainer.train()
            return Finished(finish(values, workdir, trainer, dataset), fresh=True)


def prepare(values: Values, workdir: Path, dataset: data.Dataset) -> dict[str, Any] | None:
    """Writes what a run is made with, before it trains; returns the result of a run that is finished already.

    Whoever calls it holds the run's lock.

    Raises:
      ConfigError: the directory holds a run of another config.
      DataError: the data are not those that the run began with.
    """
    changed = rundir.check_same_config(values, workdir)
    finished = rundir.read_json(workdir / rundir.RESULT)
    if finished is not None:
        return finished
    _check_same_data(workdir, dataset)
    badlist.recall(workdir, dataset.rejects)
    for path, before, now in changed:
        rundir.append(workdir / rundir.HISTORY, {"field": f"config.{path}", "before": before, "now": now})
    rundir.write(workdir / rundir.CONFIG, values.json.encode())
    rundir.write_json(workdir / rundir.RUN, {**provenance.describe(), "data": starting.describe(dataset)})
    return None


def finish(values: Values, workdir: Path, trainer: Trainer, dataset: data.Dataset) -> dict[str, Any]:
    """Evaluates a run whose training ended; writes and returns its result."""
    result, step, variables = _result(values, workdir, trainer, dataset)
    faults.point("before_result")
    rundir.write_json(workdir / rundir.RESULT, result)

    def look_into() -> None:
        if variables:
            look.look(values, workdir, variables, dataset, step=step, judged=trainer.judged)

    trainer.pages.ended(look_into)
    return result


def _check_same_data(workdir: Path, dataset: data.Dataset) -> None:
    """Refuses other data than the run began with, before `run.json` names them as those it was made with."""
    known = (rundir.read_json(workdir / rundir.RUN) or {}).get("data", {}).get("identity", dataset.identity)
    if known != dataset.identity:
        raise data.DataError(
            f"config.data: the data are not those that {workdir} was trained with, got {dataset.identity[:12]}. "
            "Restore them, or choose another --workdir."
        )


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
        "compile_seconds": round(compilations.seconds("run_step", "run_scan"), 3),
        "save_seconds": round(progress.save_seconds, 3),
        "wait_seconds": round(progress.wait_seconds, 3),
        "bad_pictures": len(dataset.rejects),
        "best": {"step": progress.best_step, "valid_accuracy": progress.best_accuracy},
        "weights": values.eval.weights,
    }
    if progress.bad_step is not None:
        return {**summary, "status": "diverged", "bad_step": progress.bad_step}, 0, {}
    weights = values.eval.weights
    step, variables = trainer.step, evaluate.variables_of(trainer.state, averaged=weights == "ema")
    if weights == "best":
        step, variables = chosen_variables(values, workdir, weights)
    for split in ["valid"] * trainer.judged + ["test"] * values.eval.test:
        try:
            evaluation = evaluate.evaluate_split(
                values, workdir, variables, dataset, split, step=step, weights=weights, tell=trainer.keeper.tell
            )
        except FloatingPointError:
            return {**summary, "status": "diverged", "bad_step": step}, 0, {}
        names = ("count", "correct", "accuracy", "interval", "top5_accuracy", "loss", "macro_f1", "ece", "skipped")
        summary[split] = {name: evaluation[name] for name in names}
    return summary, step, variables


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
    like = starting.make_state(values, starting.make_program(values, shortest, 1))
    restored = checkpoint.read(workdir / rundir.CHECKPOINTS, like, best=weights == "best")
    if restored is None:
        raise ConfigError([f"--workdir: {workdir} has no checkpoint yet. Train it first."])
    return restored.step, evaluate.variables_of(restored.state, averaged=weights == "ema")
