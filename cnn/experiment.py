"""Runs one experiment in its directory: train, evaluate, write; the same call again continues or reports."""

from pathlib import Path
from typing import Any, NamedTuple

import jax

from cnn import (
    badlist,
    checkpoint,
    data,
    evaluate,
    faults,
    layers,
    lock,
    look,
    memory,
    provenance,
    rundir,
    settings,
)
from cnn.compilation import compilations
from cnn.config import ConfigError, Values
from cnn.data import background
from cnn.fields import MAX_INTEGER
from cnn.fingerprint import fingerprint
from cnn.interruption import Interruption
from cnn.trainer import Trainer, make_program, make_state


class Finished(NamedTuple):
    """A run's result, and whether this call computed it."""

    result: dict[str, Any]
    fresh: bool


def run(values: Values, workdir: Path) -> Finished:
    """Trains and evaluates, continuing from the last checkpoint; a finished run is only read.

    Args:
      values: the whole config.
      workdir: the run's directory; made where missing.

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
    with Interruption() as interruption:
        faults.point("load")
        dataset = load_data(values.data)
        check_lengths(values, dataset)
        with lock.hold(workdir):
            return _run(values, workdir, dataset, interruption)


def _run(values: Values, workdir: Path, dataset: data.Dataset, interruption: Interruption) -> Finished:
    """Does what `run` promises, now that the directory is ours."""
    changed = rundir.check_same_config(values, workdir)
    finished = rundir.read_json(workdir / rundir.RESULT)
    if finished is not None:
        return Finished(finished, fresh=False)
    _check_same_data(workdir, dataset)
    badlist.recall(workdir, dataset.rejects)
    for path, before, now in changed:
        rundir.append(workdir / rundir.HISTORY, {"field": f"config.{path}", "before": before, "now": now})
    rundir.write(workdir / rundir.CONFIG, values.json.encode())
    rundir.write_json(workdir / rundir.RUN, {**provenance.describe(), "data": _about(dataset)})
    trainer = Trainer(values, workdir, dataset, interruption)
    trainer.train()
    result, step, variables = _result(values, workdir, trainer, dataset)
    faults.point("before_result")
    rundir.write_json(workdir / rundir.RESULT, result)

    def look_into() -> None:
        if variables:
            look.look(values, workdir, variables, dataset, step=step, judged=trainer.judged)

    trainer.pages.ended(look_into)
    return Finished(result, fresh=True)


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


def load_data(section: settings.Data) -> data.Dataset:
    """Returns the dataset that a config names.

    Raises:
      DataError: it is missing or unlike the config.
    """
    names = ("name", "data_dir", "manual_dir", "image_shape", "classes", "fit", "valid_fraction", "train_on")
    fields = {name: getattr(section, name) for name in (*names, "loading", "on_error")}
    return data.load(**fields, room=section.memory_share * min([memory.host_bytes(), *_device_bytes()]))


def _device_bytes() -> list[int]:
    """Returns the memory of the accelerators at hand; a CPU has the host's."""
    statistics = [device.memory_stats() or {} for device in jax.local_devices()]
    return [entry["bytes_limit"] for entry in statistics if "bytes_limit" in entry]


def check_lengths(values: Values, dataset: data.Dataset) -> None:
    """Checks what only the size of the data can tell.

    Raises:
      ConfigError: a batch is larger than the training split, or warmup and cooldown than the run.
    """
    examples, batch_size = len(dataset.train), values.train.batch_size
    if batch_size > examples:
        raise ConfigError(
            [f"config.train.batch_size: must be at most the {examples} training examples, got {batch_size}."]
        )
    total = values.train.epochs * (examples // batch_size)
    if total > MAX_INTEGER:
        raise ConfigError([f"config.train.epochs: makes {total:,} steps, more than {MAX_INTEGER:,}. Use fewer."])
    schedule = values.schedule
    if schedule.warmup_steps + schedule.cooldown_steps > total:
        raise ConfigError(
            [
                f"config.schedule.warmup_steps: warmup and cooldown are longer than the run's {total} steps, "
                f"got {schedule.warmup_steps} + {schedule.cooldown_steps}. Use shorter ones or more epochs."
            ]
        )


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
