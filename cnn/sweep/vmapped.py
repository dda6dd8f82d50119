"""The engine `vmap`: trials of one program train together, as one vmapped program over their stacked states.

A group takes as many trials as the memory holds. Each goes on alone at its boundaries, where it evaluates, saves and
may end; between them, all make the same number of steps. When half of a group has ended, the rest is gathered into half
the places. Several devices share the axis of trials and do not communicate.
"""

import contextlib
import dataclasses
import functools
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Int

from cnn import hyperparams
from cnn.config.config import Config
from cnn.config.sections import Checkpoint, Share
from cnn.data.loader import Examples
from cnn.ops import layout
from cnn.runs import lock
from cnn.runs.records import OnRecordError
from cnn.sweep import outcome, programs
from cnn.sweep.outcome import Outcome
from cnn.sweep.sequential import POLL_SECONDS
from cnn.sweep.session import Session
from cnn.sweep.study import Away, Claimed
from cnn.system import fault_injection
from cnn.system.preemption import Preempted
from cnn.system.sharding import memory_limit
from cnn.train import experiment, loop, multi_step, preflight, step
from cnn.train.loop import StepsDone, StepsRequest
from cnn.train.run import Run
from cnn.train.state import StepConfig, TrainState, create_state
from cnn.train.step import Metrics

OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"
"""In the message of an error that less memory would avoid."""
MOST_TOGETHER_CPU, MOST_TOGETHER = 8, 512
"""So many trials train together at most for each device: of a CPU, and of an accelerator."""
SHARE_OF_MEMORY = 0.6
"""Of each device, which the trials that train together may fill by estimate."""
ROUNDS = 4
"""A sampler that learns is asked in at least so many rounds."""
AXIS = "trials"
"""The axis of a mesh of several devices, over which the trials are spread."""


def run(session: Session) -> None:
    """Runs trials, groups of them together, until none is left.

    Raises:
      Preempted: a signal asked to stop; the trials under way are saved and wait again.
      OnRecordError: see there; the trials wait again.
      OSError: the database was away for too long.
    """
    counts = Counter(programs.program_of(trial) for trial in session.plan.trials)
    counted, devices = len(session.plan.trials), jax.local_device_count()
    most = session.about["lanes"] = group_size(session, counts)

    def places(program: str) -> int:
        nonlocal counted
        if session.plan.options.until == "real":
            return most  # whatever is left: each round of seeds would be another program
        counts.update(programs.program_of(trial) for trial in session.plan.trials[counted:])  # the sweep may grow
        counted = len(session.plan.trials)
        # Of what the plan holds, not of what is left: a sweep that continues must not compute another program.
        return equal_parts(counts.get(program, most), most, devices)

    while (claimed := session.claim(places)) is not None:
        if not claimed:
            session.wait(POLL_SECONDS)
            continue
        session.interruption.defer(True)
        group = Group(session, claimed, places(programs.program_of(claimed[0].trial)))
        try:
            group.train()
        except OnRecordError:
            group.abandon()
            raise
        except jax.errors.JaxRuntimeError as error:
            group.fail(error)
            if OUT_OF_MEMORY in str(error) and group.can_halve():
                most = max(1, group.size // 2)
                session.progress_bar.line(f"out of memory: {most} trials together from here on")
        session.interruption.defer(False)


class Group:
    """Trials that train together."""

    def __init__(self, session: Session, claimed: list[Claimed], size: int) -> None:
        self.session, self.devices = session, mesh()
        scan = " scan" if jax.default_backend() != "cpu" else ""
        opened = [VmappedTrial(session, one, f"vmap {size}{scan}", len(claimed)) for one in claimed]
        self.trials = [trial for trial in opened if trial.open()]
        """Those that are open, and then those that go on, in the order of their places."""
        self.size = size

    def train(self) -> None:
        """Trains all of them to their ends, or to where a signal asks to stop.

        Raises:
          Preempted: a signal asked to stop; all are saved.
        """
        orders = [(trial.run.config.order_seed, trial.run.config.data.balance) for trial in self.trials]
        # Not asked of the rows alone: of a last trial left over they are all equal, and another program.
        self.shared = len(orders) > 1 and len(set(orders)) == 1
        self.trials = [trial for trial in self.trials if trial.begin()]
        if self.trials:
            run = self.trials[0].run
            self.step_config, self.scan = run.step_config, run.dispatch.mode == "scan"
            self.split = programs.images(run.dataset, run.config)
            self.places = list(range(len(self.trials)))
            # Idle places compute the first trial again, unread: equal sizes are one program.
            states = [trial.steps.state for trial in self.trials]
            self.state = stack([*states, *[states[0]] * (self.size - len(states))], self.devices)
        while self.trials and not self.session.interruption.requested:
            self._shrink()
            self._advance()
        for trial in self.trials:
            trial.send(None)
        self.session.interruption.check()

    def can_halve(self) -> bool:
        """Tells whether half of the trials could be spread over the devices."""
        least = 1 if self.devices is None else self.devices.size
        return self.size % 2 == 0 and (self.size // 2) % least == 0

    def fail(self, error: Exception) -> None:
        """Lets the trials wait again where smaller groups may do, and otherwise stores that they failed."""
        for trial in self.trials:
            trial.fail(error, again=OUT_OF_MEMORY in str(error) and self.can_halve())

    def abandon(self) -> None:
        """Lets the trials wait again, from what is saved, through no fault of theirs."""
        for trial in self.trials:
            trial.abandon()

    def _keep(self, going: list[bool]) -> None:
        kept = [(trial, place) for trial, place, goes in zip(self.trials, self.places, going, strict=True) if goes]
        self.trials, self.places = [trial for trial, _ in kept], [place for _, place in kept]

    def _shrink(self) -> None:
        """Gathers the survivors where half of the places would do."""
        least = 1 if self.devices is None else self.devices.size
        size = self.size
        while size % 2 == 0 and size // 2 >= len(self.trials) and (size // 2) % least == 0:
            size //= 2
        if size < self.size:
            places = [*self.places, *[self.places[0]] * (size - len(self.places))]
            self.state = gather(self.state, places, self.devices)
            self.places, self.size = list(range(len(self.trials))), size

    def _advance(self) -> None:
        """Makes the steps up to the next boundary of any of the trials."""
        started = time.monotonic()
        own = [trial.rows() for trial in self.trials]
        count = min(len(rows) for rows in own)
        rows = np.stack([rows[:count] for rows in own])
        shared = self.shared and all(np.array_equal(rows[0], other) for other in rows[1:])
        metrics = self._dispatch(rows, shared)
        seconds = (time.monotonic() - started) / len(self.trials)
        going = []
        for index, (trial, place) in enumerate(zip(self.trials, self.places, strict=True)):
            state = take(self.state, place, self.devices)
            own_metrics = {name: values[index] for name, values in metrics.items()}
            going.append(trial.send(StepsDone(state, own_metrics, seconds)))
            if going[-1] and trial.steps.state.observed is not state.observed:
                self.state = observe(self.state, place, trial.steps.state, self.devices)
        self._keep(going)

    def _dispatch(self, rows: np.ndarray, shared: bool) -> dict[str, np.ndarray]:
        """Runs the steps; returns their metrics, (trials, steps), of those that are read.

        Args:
          rows: (trials, steps, batch) of those that are read.
          shared: whether they are equal.
        """
        placed = rows[0]
        if not shared:
            of_place = dict(zip(self.places, range(len(rows)), strict=True))
            placed = np.stack([rows[of_place.get(place, 0)] for place in range(self.size)], axis=1)
        if self.scan:
            self.state, metrics = run_scan(
                self.state, self.split, placed, step_config=self.step_config, devices=self.devices, shared=shared
            )
            self._show(len(placed))
            return {name: values[np.array(self.places)] for name, values in jax.device_get(metrics).items()}
        collected = []
        for batch in placed:
            self.state, of_step = run_step(
                self.state, self.split, batch, step_config=self.step_config, devices=self.devices, shared=shared
            )
            collected.append(of_step)
            self._show(1)
            fault_injection.point("step")
            if self.session.interruption.requested:
                break
        steps = jax.tree.map(lambda *values: np.stack(values, axis=1), *jax.device_get(collected))
        return {name: values[np.array(self.places)] for name, values in steps.items()}

    def _show(self, steps: int) -> None:
        for trial in self.trials:
            trial.run.progress_bar.advance(steps)


class VmappedTrial:
    """A claimed trial from its last checkpoint to its end."""

    def __init__(self, session: Session, claimed: Claimed, dispatched: str, together: int) -> None:
        """Opens nothing yet; `dispatched` names the program that makes the steps of so many trials together."""
        self.session, self.claimed, self.dispatched, self.together = session, claimed, dispatched, together
        self.run: Run
        self.steps: StepsRequest
        """Those that the trial waits for, while it goes on."""
        self._held = contextlib.ExitStack()
        self._over = False

    def open(self) -> bool:
        """Takes the run's directory; tells whether there may be anything to train."""
        session, workdir = self.session, self.claimed.workdir
        values = _share_time(self.claimed.trial.values, self.together)
        try:
            dataset = session.datasets.of(values)
            preflight.check_splits(values, dataset)
            preflight.check_lengths(values, dataset)
            preflight.check_code(values, dataset, 1)
            self._held.enter_context(lock.hold(workdir))
            finished = experiment.prepare(values, workdir, dataset)
            if finished is not None:
                self._settle(outcome.of_result(finished, session.plan.options.objective))
                return False
            callbacks = session.callbacks(self.claimed)
            self.run = Run(
                values, workdir, dataset, session.interruption, callbacks=callbacks, dispatched=self.dispatched
            )
            self._training = self._held.enter_context(contextlib.closing(loop.training(self.run)))
        except lock.Held as error:
            self._settle(Outcome(outcome.FAILED, error=str(error), final=False))
            return False
        except Exception as error:  # Whatever one trial meets must not hurt the others.
            return self._fail(error)
        return True

    def begin(self) -> bool:
        """Continues from the newest whole step; tells whether there are steps to make."""
        return self._advance(lambda: next(self._training))

    def send(self, made: StepsDone | None) -> bool:
        """Hands over the steps that were made, none to save and end here; tells whether there are more to make."""
        return self._advance(lambda: self._training.send(made))

    def rows(self) -> np.ndarray:
        """Returns the rows of the following steps, (steps, batch), up to this trial's next boundary."""
        return self.run.loader.order.rows(self.steps.first, self.steps.number)

    def fail(self, error: Exception, *, again: bool) -> None:
        """Stores that the program which makes the steps failed; `again`: no fault of the trial."""
        self._settle(
            Outcome(outcome.PREEMPTED, error="out of memory", final=False) if again else outcome.of_error(error)
        )

    def abandon(self) -> None:
        """Lets the trial wait again, unless it has ended."""
        if not self._over:
            self._settle(Outcome(outcome.PREEMPTED, final=False))

    def _advance(self, train: Callable[[], StepsRequest]) -> bool:
        """Trains up to the next steps; where training has ended, evaluates and stores the outcome."""
        try:
            self.steps = train()
            return True
        except StopIteration as ended:
            trained = ended.value
        except OnRecordError:
            raise
        except Exception as error:
            return self._fail(error)
        try:
            with experiment.ended_if_preempted(self.run):
                self.session.interruption.check()
                result = experiment.finish(self.run, trained)
        except Preempted:  # all is saved, and the next worker finishes
            with contextlib.suppress(Away):
                self._settle(Outcome(outcome.PREEMPTED, final=False))
            return False
        except OnRecordError:
            raise
        except Exception as error:
            return self._fail(error)
        self._settle(outcome.of_result(result, self.session.plan.options.objective))
        return False

    def _fail(self, error: Exception) -> bool:
        if isinstance(error, Away):
            self._held.close()
            raise error
        self._settle(outcome.of_error(error))
        return False

    def _settle(self, ended: Outcome) -> None:
        self._over = True
        self._held.close()
        self.session.settle(self.claimed, ended)


def group_size(session: Session, counts: Mapping[str, int]) -> int:
    """Returns how many trials train together at most, a multiple of the devices.

    Args:
      session: of the sweep.
      counts: the trials of a grid by their program; empty where a sampler draws them.
    """
    plan, options, devices = session.plan, session.plan.options, jax.local_device_count()
    if options.lanes:
        return -(-options.lanes // devices) * devices
    example, trials = plan.example, plan.size
    if counts:
        program, trials = max(counts.items(), key=lambda item: item[1])
        example = next(trial for trial in plan.trials if programs.program_of(trial) == program)
    elif options.sampler.learns:
        trials = max(1, options.trials // ROUNDS) * len(plan.seeds)
    # Of several workers here each has its share.
    needed = options.workers * trial_bytes(example.values)
    return trials_together(needed, math.ceil(trials / options.workers), devices)


def trials_together(bytes_each: float, trials: int, devices: int) -> int:
    """Returns how many trials train together: as many as fit the memory, in equal groups, a multiple of the devices."""
    limit = memory_limit() * SHARE_OF_MEMORY * devices
    most = MOST_TOGETHER_CPU if jax.default_backend() == "cpu" else MOST_TOGETHER
    fitting = max(1, min(int(limit // max(1.0, bytes_each)), most * devices, trials))
    return equal_parts(trials, fitting, devices)


def equal_parts(trials: int, most: int, devices: int) -> int:
    """Returns how many trials each of the fewest equal groups has, a multiple of the devices."""
    groups = math.ceil(trials / most)
    return math.ceil(trials / groups / devices) * devices


def trial_bytes(values: Config) -> float:
    """Returns about how many bytes of memory a trial takes: its state, gradients and updates, and its activations."""
    traced = hyperparams.from_values(values)
    state = jax.eval_shape(lambda traced: create_state(traced, values.data.image_shape, 0, values.frozen), traced)
    numbers = sum(int(np.prod(row.output)) for row in values.rows)
    own = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    return 3.0 * own + 4.0 * 3 * numbers * values.train.batch_size


def mesh() -> Mesh | None:
    """Returns the devices as one axis of trials, `None` where there is one device."""
    devices = jax.local_devices()
    return None if len(devices) == 1 else Mesh(np.array(devices), (AXIS,))


def stack(states: Sequence[TrainState], devices: Mesh | None) -> TrainState:
    """Returns states of equal structure as one, with a leading axis of trials."""
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    return stacked if devices is None else jax.device_put(stacked, NamedSharding(devices, P(AXIS)))


def take(stacked: TrainState, index: int, devices: Mesh | None) -> TrainState:
    """Returns one of the states, on the first device."""
    state = _take(stacked, index)
    return state if devices is None else jax.device_put(state, devices.devices.flat[0])


@jax.jit
def _take(stacked: TrainState, index: jax.Array) -> TrainState:
    return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, index, keepdims=False), stacked)


def observe(stacked: TrainState, index: int, state: TrainState, devices: Mesh | None) -> TrainState:
    """Returns the states with what the schedule of one of them has seen of its evaluations."""
    put = lambda every, one: every.at[index].set(jnp.asarray(one))  # noqa: E731
    here = jax.tree.map(np.asarray, state.observed)
    observed = jax.tree.map(put, stacked.observed, here)
    if devices is not None:
        observed = jax.device_put(observed, NamedSharding(devices, P(AXIS)))
    return stacked._replace(observed=observed)


def gather(stacked: TrainState, indices: Sequence[int], devices: Mesh | None) -> TrainState:
    """Returns some of the states, stacked."""
    chosen = jnp.asarray(indices, jnp.int32)
    gathered = jax.tree.map(lambda leaf: jnp.take(leaf, chosen, axis=0), stacked)
    return gathered if devices is None else jax.device_put(gathered, NamedSharding(devices, P(AXIS)))


@functools.partial(jax.jit, static_argnames=("step_config", "devices", "shared"), donate_argnames="state")
def run_step(
    state: TrainState,
    split: Examples,
    rows: Int[Array, "*trials batch"],
    *,
    step_config: StepConfig,
    devices: Mesh | None,
    shared: bool,
) -> tuple[TrainState, Metrics]:
    """Makes an update of each trial on its rows of the split; the states are consumed.

    Args:
      state: stacked.
      split: the examples, which all trials share.
      rows: of each trial, or of all of them where they are shared.
      step_config: what is compiled in.
      devices: over which the trials are spread.
      shared: whether all trials see the same batch, so that it is fetched once.
    """
    return _spread(_steps(step_config, shared), devices, shared)(state, split, rows)


@functools.partial(jax.jit, static_argnames=("step_config", "devices", "shared"), donate_argnames="state")
def run_scan(
    state: TrainState,
    split: Examples,
    rows: Int[Array, "steps *trials batch"],
    *,
    step_config: StepConfig,
    devices: Mesh | None,
    shared: bool,
) -> tuple[TrainState, Metrics]:
    """Makes an update of each trial for each of `rows`; the metrics have axes of trials and of steps."""
    one = _steps(step_config, shared)

    def steps(state: TrainState, split: Examples, rows: jax.Array) -> tuple[TrainState, Metrics]:
        state, metrics = jax.lax.scan(lambda state, batch: one(state, split, batch), state, rows)
        return state, jax.tree.map(lambda values: jnp.swapaxes(values, 0, 1), metrics)

    return _spread(steps, devices, shared, scanned=True)(state, split, rows)


def _share_time(values: Config, trials: int) -> Config:
    """Returns the config of one of so many trials whose time is the same: each has its part of the share for saving."""
    every = values.checkpoint.every
    return (
        dataclasses.replace(values, checkpoint=Checkpoint(Share(every.most / trials)))
        if isinstance(every, Share)
        else values
    )


def _steps(step_config: StepConfig, shared: bool) -> Any:
    def one(state: TrainState, split: Examples, rows: jax.Array) -> tuple[TrainState, Metrics]:
        with layout.as_products():
            return step.train_step(state, multi_step.taken(split, rows, step_config), step_config)

    return jax.vmap(one, in_axes=(0, None, None if shared else 0))


def _spread(function: Any, devices: Mesh | None, shared: bool, *, scanned: bool = False) -> Any:
    if devices is None:
        return function
    of_trials = P(None, AXIS) if scanned else P(AXIS)
    return jax.shard_map(
        function,
        mesh=devices,
        in_specs=(P(AXIS), P(), P() if shared else of_trials),
        out_specs=P(AXIS),
        check_vma=False,
    )
