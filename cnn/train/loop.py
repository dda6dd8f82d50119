"""The training loop: a generator that asks for steps, and the one who makes them for a run that trains alone."""

import contextlib
import copy
import time
from collections.abc import Callable, Generator, Iterator
from typing import NamedTuple

import numpy as np

from cnn.config.sections import reason_to_stop
from cnn.registry import blamed
from cnn.runs.records import Record
from cnn.system import fault_injection, sharding
from cnn.system.preemption import Preempted
from cnn.train import ahead
from cnn.train.loop_state import LoopState, Sums
from cnn.train.multi_step import joined
from cnn.train.renew import renewed
from cnn.train.run import Run
from cnn.train.state import TrainState


class StepsRequest(NamedTuple):
    """What a run asks for: steps up to its next record, save or end of an epoch, where fewer will do."""

    state: TrainState
    """To start from; it may be consumed."""
    first: int
    number: int


class StepsDone(NamedTuple):
    """What came of the steps that were made for a request."""

    state: TrainState
    metrics: dict[str, np.ndarray]
    """Of each step, stacked."""
    seconds: float


class Trained(NamedTuple):
    """Where training ended."""

    state: TrainState
    loop: LoopState


def training(run: Run) -> Generator[StepsRequest, StepsDone | None, Trained]:
    """Trains a run from its last checkpoint to its end; whoever drives it makes the steps that it yields.

    It is sent the steps that were made, or `None` for it to save and end here. Signals wait for such a boundary.

    Raises:
      DataError, Foreign, NoValidCheckpoint, Elsewhere: see `Checkpointer.open`.
      OSError: something could not be written.
    """
    config, loop_config = run.config, run.config.train
    with run.checkpointer:
        state, loop = run.checkpointer.open(run.create_state)
        step = int(state.step)
        deferred = run.preemption.defer(True)
        with contextlib.closing(run.loader), run.metric_writer.open(step), run.progress_bar.running(step):
            fault_injection.point("opened")

            # An epoch that has ended at the beginning is one whose evaluation a signal prevented.
            while (step < run.total_steps or loop.epoch.steps) and _goes_on(run, loop):
                with run.callbacks.turn:
                    state, step = yield from _epoch(run, state, loop, step)
                if not run.ends_epoch(step) or not _goes_on(run, loop):
                    break

                epoch, last = -(-step // run.steps_per_epoch), step == run.total_steps
                record: Record = {"train": loop.epoch.means()}
                unended, evaluates = copy.deepcopy(loop), epoch % config.eval.every_epochs == 0
                # Whoever continues after a failure evaluates again, so what is saved then has not counted it.
                with _saved_where_it_fails(run, state, unended):
                    if run.validates and (evaluates or last):
                        try:
                            record["valid"] = run.validate(state)
                        except Preempted:  # whoever continues ends the epoch
                            break
                        except FloatingPointError:
                            state = _diverge(run, state, loop, step)
                            break
                        loop.validated(record["valid"][config.monitor], step, loop_config.monitor.better)
                        state = _observed(run, state, record["valid"][config.monitor])
                    run.record_bad_examples()
                    loop.stopped = reason_to_stop(
                        loop_config.stop,
                        record["train"]["accuracy"],
                        record["valid"]["accuracy"] if "valid" in record else None,
                        loop.stale_evaluations,
                        config.monitor,
                    )
                if "valid" in record:
                    reason = run.callbacks.validated(epoch, record["valid"])
                    loop.stopped = loop.stopped or (None if last else reason)
                loop.last_epoch, loop.epoch = record["train"], Sums()
                if last and (step % run.steps_per_epoch or (run.validates and not evaluates)):
                    loop.before_end = unended.to_json()
                loop.metrics_bytes = run.metric_writer.metrics("epoch", step, epoch, record)
                run.progress_bar.epoch(epoch, run.epochs, record, loop.stopped, config.monitor)
                if loop.best_step == step:
                    # At the next boundary it would be too late: the weights are others by then.
                    run.checkpointer.save_best(state, loop)
                elif run.checkpointer.due(step):
                    run.checkpointer.save(state, loop, again=True)
                run.page.evaluated(record)

            renews = config.train.renew_statistics and (step == run.total_steps or loop.stopped is not None)
            if renews and loop.bad_step is None and not state.is_renewed(averaged=run.evaluates_average):
                state = renewed(run, state)
                run.checkpointer.save_or_fail(state, loop, again=True)
            run.checkpointer.save_or_fail(state, loop)
            fault_injection.point("after_last_step")
            run.metric_writer.event(
                "preempted" if run.preemption.requested else "end",
                step=step,
                images_per_second=round(run.progress_bar.images_per_second(), 1),
                waiting=round(loop.waiting(), 4),
            )
    run.preemption.defer(deferred)
    return Trained(state, loop)


def _epoch(
    run: Run, state: TrainState, loop: LoopState, step: int
) -> Generator[StepsRequest, StepsDone | None, tuple[TrainState, int]]:
    """Trains to the end of an epoch, or to where something ends training; records the steps, and saves in between."""
    every = run.config.train.log_every_steps
    while not (loop.epoch.steps and run.ends_epoch(step)) and _goes_on(run, loop):
        watching, seen = time.monotonic(), run.watched(state, step)
        loop.watch_seconds += time.monotonic() - watching
        waited = run.loader.waited
        done = yield StepsRequest(state, step, run.steps_to_boundary(step))
        if done is None:
            break
        state = done.state
        loop.wait_seconds += run.loader.waited - waited
        loop.seconds += done.seconds
        run.record_bad_examples()
        bad_step = int(state.bad_step)
        if seen:  # only now: a step that was not made will be watched by whoever makes it
            loop.metrics_bytes = run.metric_writer.metrics("watch", step + 1, step // run.steps_per_epoch + 1, seen)
        for index in range(len(done.metrics["loss"]) if bad_step < 0 else bad_step - step):
            step += 1
            loop.window.add(done.metrics, index)
            loop.epoch.add(done.metrics, index)
            if step % every == 0:
                means = {**loop.window.means(), "learning_rate": float(done.metrics["learning_rate"][index])}
                loop.metrics_bytes = run.metric_writer.metrics("train", step, -(-step // run.steps_per_epoch), means)
                loop.window = Sums()
        if bad_step >= 0:
            state = _diverge(run, state, loop, bad_step)
        elif not run.ends_epoch(step) and run.checkpointer.due(step):
            run.checkpointer.save(state, loop)
    return state, step


@contextlib.contextmanager
def _saved_where_it_fails(run: Run, state: TrainState, loop: LoopState) -> Iterator[None]:
    """Saves what was trained where a metric or a rule of a user's own fails, before that ends the run."""
    try:
        yield
    except ValueError:
        run.checkpointer.save_or_fail(state, loop)
        raise


def _goes_on(run: Run, loop: LoopState) -> bool:
    return not loop.ended and not run.preemption.stop_requested()


def _observed(run: Run, state: TrainState, value: float) -> TrainState:
    """Returns the state after the schedule has seen what a validation gave for the monitored metric."""
    schedule = run.config.schedule
    if not hasattr(schedule, "observe"):
        return state
    observe = blamed(schedule, "schedule.name", schedule.observe)
    observed = observe(sharding.local(state.observed), value, run.config.train.monitor.better)
    return state._replace(observed=sharding.replicate(observed, run.devices))


def _diverge(run: Run, state: TrainState, loop: LoopState, bad_step: int) -> TrainState:
    """Ends training; the state is that before the bad step, under that step's number."""
    loop.bad_step = bad_step
    run.metric_writer.event("diverged", step=bad_step)
    return state._replace(step=sharding.replicate(np.int32(bad_step), run.devices))


def train(run: Run, follow: Callable[[StepsRequest], StepsRequest | None] = lambda request: request) -> Trained:
    """Trains a run alone, making its steps as its config dispatches them.

    Args:
      run: the run.
      follow: is shown what the run asks for before it is made; returns that, or fewer steps, or `None` to end there.

    Raises:
      Preempted: a signal asked to stop; the state is saved.
      OSError: the state could not be saved.
    """
    with contextlib.closing(training(run)) as requests, contextlib.ExitStack() as beside:
        try:
            request: StepsRequest | None = follow(next(requests))
            if run.callbacks.alone and request is not None:  # trials of a sweep share the cores already
                beside.enter_context(ahead.made_ready(run, request.state))
            while request is not None:
                started = time.monotonic()
                state, calls, lengths = request.state, [], []
                for split, rows in run.loader.chunks(request.first, request.number, run.dispatch.most):
                    make_steps, arguments = run.dispatch.call(rows)
                    state, metrics = make_steps(state, split, *arguments, step_config=run.step_config)
                    run.loader.started(metrics["loss"])
                    calls.append(metrics)
                    lengths.append(len(rows))
                    run.progress_bar.advance(len(rows))
                    for _ in rows:
                        fault_injection.point("step")
                    if run.preemption.stop_requested():
                        break
                metrics = joined(calls, lengths)
                seconds = time.monotonic() - started
                run.progress_bar.took(sum(lengths), seconds)
                request = follow(requests.send(StepsDone(state, metrics, seconds)))
            requests.send(None)  # it saves and ends: this raises StopIteration
        except StopIteration as ended:
            trained: Trained = ended.value
    run.preemption.check()
    return trained
