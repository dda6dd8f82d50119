"""One experiment in its directory: train, evaluate, write; the same call again continues or reports."""

import contextlib
import functools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, NotRequired, TypedDict

import jax

from cnn import evaluate
from cnn.config.config import Config, ConfigError
from cnn.data import decode, types, user_images
from cnn.explain import journey
from cnn.model.classifier import Classifier
from cnn.model.summary import count_parameters
from cnn.runs import lock, numerics, provenance, recorded_code, recorded_data, run_dir
from cnn.runs.checksum import fingerprint
from cnn.runs.records import OnRecord
from cnn.system import environment, fault_injection, multihost, sharding
from cnn.system.compile_times import compilations
from cnn.system.preemption import Preempted, Preemption
from cnn.train import blame, checkpointer, cpu_devices, init_from
from cnn.train.blame import Cause
from cnn.train.callbacks import Callbacks
from cnn.train.loop import Trained, train
from cnn.train.preflight import (
    check_code,
    check_lengths,
    check_memory,
    check_rows,
    check_share,
    check_splits,
    check_still_same,
    load_data,
    tell_remarks,
)
from cnn.train.progress_bar import ProgressBar
from cnn.train.run import Run
from cnn.train.state import TrainState

SUMMARISED = (
    "count",
    "correct",
    "accuracy",
    "interval",
    "top5_accuracy",
    "loss",
    "macro_f1",
    "ece",
    "skipped",
    "metrics",
)
"""What the result says of each evaluation, where it says it."""


class Result(TypedDict):
    """What `result.json` holds of a run that ended."""

    status: Literal["finished", "diverged"]
    step: int
    epochs: float
    stopped: str | None
    """Why training ended before its last epoch."""
    parameters: int
    train: dict[str, float] | None
    """The means of the last whole epoch."""
    fingerprint: str
    train_seconds: float
    compile_seconds: float
    save_seconds: float
    wait_seconds: float
    watch_seconds: NotRequired[float]
    """Only where `train.watch` asks for something."""
    bad_pictures: int
    best: dict[str, float | None]
    """The step of the best validation, and by `valid_<monitor>` its value."""
    weights: str
    views: NotRequired[str]
    """Of each picture, over which its logits are averaged."""
    bad_step: NotRequired[int]
    cause: NotRequired[Cause]
    """Where the first number was that is not finite; of a run that trains alone."""
    valid: NotRequired[dict[str, float]]
    test: NotRequired[dict[str, float]]


class Finished(NamedTuple):
    """A run's result, and whether this call computed it."""

    result: Result
    fresh: bool


def run_on(
    values: Config,
    workdir: Path,
    devices: int | None = None,
    preemption: Preemption | None = None,
    on_record: OnRecord | None = None,
) -> Finished:
    """Runs an experiment on so many devices, or as many as `cpu_devices.count` says; see `run`.

    Raises:
      ConfigError: there are not as many devices, or what `run` says.
    """
    count = device_count(values, devices)
    return run(values, workdir, count, preemption=preemption, on_record=on_record)


def device_count(values: Config, devices: int | None) -> int:
    """Returns on how many devices a config trains: so many, or as many as `cpu_devices.count` says.

    Raises:
      ConfigError: there are not as many.
    """
    if devices != 1:
        cpu_devices.prepare(values)
    available = jax.device_count()
    if devices is not None and not 1 <= devices <= available:
        raise ConfigError([f"--devices: there are {available}, got {devices}. Use at most those"])
    return devices or cpu_devices.count(values)


def run(
    values: Config,
    workdir: Path,
    devices: int = 1,
    *,
    known: types.Dataset | None = None,
    callbacks: Callbacks | None = None,
    preemption: Preemption | None = None,
    on_record: OnRecord | None = None,
) -> Finished:
    """Trains and evaluates, continuing from the last checkpoint; a finished run of the same data is only read.

    Args:
      values: the whole config.
      workdir: the run's directory; made where missing. Of several processes only the first one uses it.
      devices: how many, of all processes, share each batch.
      known: the config's data, where they are loaded already.
      callbacks: of whoever runs this among other things; a progress bar where there are none.
      preemption: of whoever runs this among other things; made where there is none.
      on_record: gets every record, where no callbacks say who does.

    Raises:
      ConfigError: the directory holds a run of another config, or the data are too few for it.
      DataError: the data are missing, unlike the config, or others than the run began with.
      Held, NoValidCheckpoint: another process holds the run; what was saved is damaged.
      OnRecordError: `on_record` failed.
      Preempted: a signal asked to stop.
      Elsewhere, Unlike: of several processes, the first one ended, or they differ in config, data or versions.
    """
    check_share(values, devices)
    check_rows(values, devices)
    if (finished := multihost.from_leader(lambda: _finished(values, workdir, known))) is not None:
        return Finished(finished, fresh=False)
    with contextlib.ExitStack() as held:
        preemption = preemption or held.enter_context(Preemption(multihost.agreement()))
        fault_injection.point("load")
        dataset = known or load_data(values.data)
        check(values, dataset, devices)
        if (over := multihost.from_leader(lambda: _open(values, workdir, dataset, held))) is not None:
            return Finished(over, fresh=False)
        if callbacks is None:
            tell_remarks(values, workdir, dataset)
            callbacks = Callbacks(functools.partial(ProgressBar, quiet=not multihost.leads()), on_record=on_record)
        this = Run(values, workdir, dataset, preemption, devices=devices, callbacks=callbacks)
        with ended_if_preempted(this):
            return Finished(finish(this, train(this)), fresh=True)


def _finished(values: Config, workdir: Path, known: types.Dataset | None) -> Result | None:
    """Returns the result of a finished run of this config and data; checks that an unfinished one may go on."""
    changed = recorded_code.check_same(values, workdir)
    finished: Any = None if run_dir.made_longer(changed) else run_dir.read_json(workdir / run_dir.RESULT)
    if finished is None:
        numerics.check(values, workdir)
        init_from.check(values, workdir)
        numerics.tell(values, workdir)
        lock.probe(workdir)
    else:
        check_still_same(values, workdir, known)
    return finished


def check(values: Config, dataset: types.Dataset, count: int) -> None:
    """Checks that a config, its data and so many devices make a run, in all processes the same one.

    Raises:
      ConfigError: they do not.
      Unlike: of several processes, some have another config, other data or versions.
    """
    check_splits(values, dataset)
    check_lengths(values, dataset)
    check_code(values, dataset, count)
    check_memory(values, dataset, count)
    facts = {
        "the configs": values.json,
        "the extensions": " ".join(each.sha256 for each in values.code),
        "the data": dataset.identity,
        "the ways to load data": str(dataset.streams),
        "the versions": json.dumps({**provenance.versions(), **decode.versions(values.data.decode)}),
    }
    multihost.check_same(facts)


def _open(values: Config, workdir: Path, dataset: types.Dataset, held: contextlib.ExitStack) -> Result | None:
    """Takes the directory, until `held` closes, and prepares it; returns the result of a run that is over."""
    held.enter_context(lock.hold(workdir))
    return prepare(values, workdir, dataset)


def prepare(values: Config, workdir: Path, dataset: types.Dataset) -> Result | None:
    """Writes what a run is made with, before it trains; returns the result of a run that is finished already.

    Whoever calls it holds the run's lock.

    Raises:
      ConfigError: the directory holds a run of another config, or of a version with other arithmetic.
      DataError: the data are not those that the run began with.
    """
    changed = recorded_code.check_same(values, workdir)
    recorded_data.check_same(workdir, dataset.identity)
    finished: Any = run_dir.read_json(workdir / run_dir.RESULT)
    if finished is not None and not run_dir.made_longer(changed):
        return finished
    numerics.check(values, workdir)
    recorded_data.recall_bad_examples(workdir, dataset)
    # First: whoever finds a result takes the run for finished.
    (workdir / run_dir.RESULT).unlink(missing_ok=True)
    for path, before, now in changed:
        run_dir.append(workdir / run_dir.HISTORY, {"field": f"config.{path}", "before": before, "now": now})
    run_dir.write(workdir / run_dir.CONFIG, values.json.encode())
    earlier = run_dir.read_json(workdir / run_dir.RUN) or {}
    init = {run_dir.INIT: earlier[run_dir.INIT]} if run_dir.INIT in earlier else {}
    record: Any = {**provenance.describe(), numerics.NUMERICS: numerics.VERSIONS, "data": describe(dataset)}
    record[run_dir.ARITHMETIC] = environment.arithmetic(values.train.compute_dtype, jax.default_backend())
    if code := recorded_code.record(values, workdir):
        record[run_dir.CODE] = code
    run_dir.write_json(workdir / run_dir.RUN, {**record, **init})
    return None


def describe(dataset: types.Dataset) -> Mapping[str, Any]:
    """Returns what `run.json` says about the data."""
    sizes = {name: len(getattr(dataset, name)) for name in ("train", "valid", "test")}
    return {
        "identity": dataset.identity,
        "classes": list(dataset.class_names),
        "examples": sizes,
        "loading": "stream" if dataset.streams else "memory",
        "background": user_images.background_shade(dataset.train.images),
    }


@contextlib.contextmanager
def ended_if_preempted(run: Run) -> Iterator[None]:
    """Tells whoever gets the run's records where a signal ends it within the block."""
    try:
        yield
    except Preempted:
        run.metric_writer.end("preempted")
        raise


def finish(run: Run, trained: Trained) -> Result:
    """Evaluates a run whose training ended; writes and returns its result."""
    # A device that computes wrong numbers without saying so would leave its copy of the state unlike the others.
    bits = fingerprint(trained.state)
    multihost.check_same({"the final states": bits}, "Check the hardware, and start again")
    result, step, classifier = _evaluated(run, trained, bits)
    if not multihost.leads():
        return result
    # Before the result is there: should this fail, the same command tells it again.
    run.metric_writer.end(result["status"], result)
    fault_injection.point("before_result")
    run_dir.write_json(run.workdir / run_dir.RESULT, result)

    def look_into() -> None:
        if classifier is not None:
            here = sharding.local(classifier)
            journey.capture_for_report(run.config, run.workdir, here, run.dataset, step=step, validates=run.validates)

    with run.progress_bar.stage("writing the report") if run.page.wanted else contextlib.nullcontext():
        run.page.ended(look_into)
    return result


class _Evaluated(NamedTuple):
    """The result of a run, and the network that was evaluated."""

    result: Result
    step: int = 0
    """That of its weights."""
    classifier: Classifier | None = None
    """`None` where it is no use, as a number was not finite."""


def _evaluated(run: Run, trained: Trained, bits: str) -> _Evaluated:
    """Evaluates the chosen weights of a run whose training ended with a state of this fingerprint."""
    config, (state, loop) = run.config, trained
    step, weights = int(state.step), config.eval.weights
    result: Result = {
        "status": "finished",
        "step": step,
        "epochs": step / run.steps_per_epoch,
        "stopped": loop.stopped,
        "parameters": count_parameters(config.rows),
        "train": loop.last_epoch,
        "fingerprint": bits,
        "train_seconds": round(loop.seconds, 3),
        "compile_seconds": round(compilations.seconds("run_step", "run_loop", "run_scan"), 3),
        "save_seconds": round(loop.save_seconds, 3),
        "wait_seconds": round(loop.wait_seconds, 3),
        "bad_pictures": len(run.dataset.bad_examples),
        "best": {"step": loop.best_step, f"valid_{config.monitor}": loop.best_value},
        "weights": weights,
    }
    if config.train.watch.every:
        result["watch_seconds"] = round(loop.watch_seconds, 3)
    if views := evaluate.views_of(config):
        result["views"] = views["views"]
    if loop.bad_step is not None:
        return _Evaluated(_diverged(result, loop.bad_step, _cause(run, state, "valid")))
    classifier = state.classifier(averaged=run.evaluates_average)
    if weights == "best":
        step, classifier = multihost.from_leader_with(
            lambda: checkpointer.restore_classifier(config, run.workdir, weights), sharding.local(classifier)
        )
        classifier = sharding.replicate(classifier, run.devices)
    try:
        for split in ["valid"] * run.validates + ["test"] * config.eval.test:
            with run.progress_bar.stage(f"evaluating {split}"):
                evaluation = evaluate.evaluate_split(
                    config,
                    run.workdir,
                    classifier,
                    run.dataset,
                    split,
                    step=step,
                    weights=weights,
                    devices=run.devices,
                    event=run.metric_writer.event,
                    check=run.preemption.check,
                )
            numbers = {name: evaluation[name] for name in SUMMARISED if name in evaluation}
            result["valid" if split == "valid" else "test"] = numbers
            run.metric_writer.evaluation({"split": split, "weights": weights, "step": step, **numbers})
    except FloatingPointError:
        return _Evaluated(_diverged(result, step, _cause(run, state, split, classifier)))
    return _Evaluated(result, step, classifier)


def _diverged(result: Result, bad_step: int, cause: Cause | None) -> Result:
    """Adds to a result where a number was not finite, and of which layer, if that is known."""
    result["status"], result["bad_step"] = "diverged", bad_step
    if cause is not None:
        result["cause"] = cause
    return result


def _cause(run: Run, state: TrainState, split: str, classifier: Classifier | None = None) -> Cause | None:
    """Returns which layer ended a run that trains alone; `None` where that is not to be found.

    Args:
      run: the run.
      state: as training left it.
      split: the one whose evaluation was not finite, where the steps were.
      classifier: with which it was evaluated; `None` for the state's.
    """
    if not run.callbacks.alone:  # many trials of a sweep diverge
        return None
    with run.progress_bar.stage("looking for the layer that is not finite"):
        if int(state.bad_step) >= 0:
            return blame.find(run, state)
        evaluated = classifier or state.classifier(averaged=run.evaluates_average)
        return blame.of_evaluation(run, sharding.local(evaluated), split)
