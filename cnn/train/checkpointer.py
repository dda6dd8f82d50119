"""A run's checkpoints: what goes into one beside the arrays, when it is saved, and how a run continues from it."""

import functools
import hashlib
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import jax
import numpy as np

from cnn.config.config import Config, ConfigError
from cnn.data import sources
from cnn.data.decode import versions
from cnn.data.types import DataError
from cnn.model.classifier import Classifier
from cnn.optim import averages
from cnn.runs import checkpoint_format, checkpoints, numerics, provenance, recorded_data, run_dir
from cnn.runs.metric_writer import MetricWriter
from cnn.system import environment, multihost, sharding
from cnn.train import load_init_from
from cnn.train.loop_state import LoopState
from cnn.train.state import TrainState, create_shapes

CHANGED = "not bit-identical from here"
"""The event of a run that goes on with other versions, devices or the like."""
UNKNOWN_COST = 1.0
"""For so many seconds a run's first save is taken, before it was made."""

STEP_VERSION = 3
"""Of what a step computes, to the last digit. With version 2 a CPU joins the checks for what is not finite once, and no
longer beside each update, whose roundings that changed; with version 3 it sums the gradients of depthwise kernels in
another order."""


class _Waiting(NamedTuple):
    """The best state so far, in memory until the next save."""

    state: TrainState
    """Of NumPy's arrays."""
    meta: checkpoint_format.Meta
    score: float | None


class Checkpointer:
    """The checkpoints of one run that is being trained."""

    def __init__(
        self,
        values: Config,
        workdir: Path,
        metric_writer: MetricWriter,
        *,
        data: str,
        dispatch: str,
        devices: int,
        steps_per_epoch: int,
    ) -> None:
        """Opens nothing yet.

        Args:
          values: the run's config.
          workdir: the run's directory, locked by this process.
          metric_writer: the run's records, for which every save waits.
          data: the identity of the dataset.
          dispatch: how steps are called, on which the last digits depend.
          devices: how many share a batch, on which they depend too.
          steps_per_epoch: the updates of one epoch.
        """
        self.values, self.workdir, self.metric_writer, self.data, self.devices = (
            values,
            workdir,
            metric_writer,
            data,
            devices,
        )
        self.numerics: dict[str, str | int | bool | None] = {
            **provenance.numerics(),
            "devices": devices,
            "dispatch": dispatch,
            "on_error": values.data.on_error,
            "step_version": STEP_VERSION,
            **({} if sources.never_changes(values.data.name) else versions(values.data.decode)),
        }
        arithmetic = environment.arithmetic(values.train.compute_dtype, jax.default_backend())
        if arithmetic != values.train.compute_dtype:
            self.numerics[run_dir.ARITHMETIC] = arithmetic
        self.steps: int | None = values.checkpoint.every.steps
        """A save is due after every so many steps, also within an epoch."""
        self._steps_per_epoch = steps_per_epoch
        self._saved_at, self._cost = time.monotonic(), UNKNOWN_COST
        self._waiting: _Waiting | None = None
        folder = workdir / run_dir.CHECKPOINTS
        self.checkpoint_writer = checkpoints.Writer(folder, metric_writer.event) if multihost.leads() else None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.checkpoint_writer is not None:
            self.checkpoint_writer.__exit__(kind, error, trace)

    def open(self, create: Callable[[], TrainState]) -> tuple[TrainState, LoopState]:
        """Returns the newest whole state and its progress, or a new one and none; cuts the metrics back to it.

        Where nothing is saved and `config.init_from` names something, the new state with its arrays is saved as step 0
        and returned: a run that continues never reads them again.

        Args:
          create: makes the state before the first update; called where nothing is saved.

        Raises:
          ConfigError: what `config.init_from` names is missing, is damaged or does not fit.
          DataError: the data are not those that were trained with.
          Foreign: what is saved belongs to another network.
          NoValidCheckpoint: all that is saved is damaged.
          Elsewhere: in the other processes, whatever it was.
        """
        shapes = create_shapes(self.values)
        like = () if multihost.leads() else jax.tree.map(lambda shape: np.zeros(shape.shape, shape.dtype), shapes)
        saved, arrays = multihost.from_leader_with(lambda: self._restored(shapes, create), like)
        self._saved_at = time.monotonic()
        return sharding.replicate(arrays, self.devices), LoopState.from_json(saved)

    def _restored(self, shapes: TrainState, create: Callable[[], TrainState]) -> tuple[dict[str, Any], TrainState]:
        """Restores in the process that has the run's directory; returns the progress as JSON, and the state."""
        assert self.checkpoint_writer is not None
        loop, unended = LoopState(), None
        restored = self.checkpoint_writer.open(shapes)
        if restored is not None:
            if restored.meta["data"] != self.data:
                raise DataError(
                    f"config.data: the data are not those of step {restored.step:,} in {self.workdir}, "
                    f"got {self.data[:12]}. Restore them, or choose another --workdir."
                )
            state, loop = restored.state, LoopState.from_json(restored.meta["progress"])
            if restored.step < self.values.train.total_steps(self._steps_per_epoch):
                unended = _unended(state, loop, create)
                state, loop = unended or (state, loop)
            self._compare(restored.step, restored.meta["numerics"])
        else:
            state = sharding.local(create())
        run_dir.truncate(self.workdir / run_dir.METRICS, loop.metrics_bytes)
        step = int(state.step)
        self.metric_writer.event("resume" if step else "start", step=step)
        if unended is not None:  # made longer: from here on it is the checkpoint of a run that was so from the start
            self.save_or_fail(state, loop, again=True)
        if restored is None and self.values.init_from:
            state, about, said = load_init_from.begin(self.values, state)
            self.metric_writer.show(said)
            run = run_dir.read_json(self.workdir / run_dir.RUN) or {}
            run_dir.write_json(self.workdir / run_dir.RUN, {**run, run_dir.INIT: about})
            self.save_or_fail(state, loop)
            self.metric_writer.event("initialised", **about)
        return loop.to_json(), state

    def _compare(self, step: int, before: Mapping[str, Any]) -> None:
        changed = self.differences(before)
        if changed:
            reason = "; ".join(f"{name} {then} -> {now}" for name, then, now in changed)
            self.metric_writer.event(CHANGED, step=step, reason=reason)

    def differences(self, before: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
        """Returns what the last digits depend on that is not as it was: its name, what a checkpoint says, and now."""
        now = self.numerics
        # Recorded only since there are two decoders of JPEG, and two versions.
        before = {"pillow": now.get("pillow"), "step_version": 1, **before}
        return [(name, before.get(name), now[name]) for name in now if before.get(name) != now[name]]

    def due(self, step: int) -> bool:
        """Tells whether `checkpoint.every` asks for a save after `step` updates."""
        seconds = time.monotonic() - self._saved_at
        return self.values.checkpoint.every.due(step, self._steps_per_epoch, seconds, self._cost)

    def save_best(self, state: TrainState, loop: LoopState) -> None:
        """Saves the best state so far; where none is due, and the best may wait, with the next save.

        A run that is killed before that computes it again, to the bit.

        Raises:
          OSError: it cannot be saved.
        """
        if not self.values.checkpoint.every.best_waits or self.due(int(state.step)):
            self.save_or_fail(state, loop, again=True)
        elif self.checkpoint_writer is not None:
            # The next step takes the memory of these arrays.
            copied = jax.tree.map(functools.partial(np.array, copy=True), sharding.local(state))
            self._waiting = _Waiting(copied, self._meta(loop), self._score(state, loop))

    def save(self, state: TrainState, loop: LoopState, *, again: bool = False) -> bool:
        """Saves under the state's step, and before that the best one if it waits; tells whether both are saved now.

        Args:
          state: after `state.step` updates.
          loop: at the same step; its time spent saving grows.
          again: replaces the step if it is saved already.

        Raises:
          OSError: it failed for the third time in a row.
        """
        if self.checkpoint_writer is None:
            return True
        started = time.monotonic()
        run_dir.sync(self.workdir / run_dir.METRICS)
        self.metric_writer.flush()
        waiting, saved = self._waiting, True
        # A step that was saved when its evaluation was prevented is saved once more, as the best.
        again = again or (waiting is not None and int(waiting.state.step) == int(state.step))
        if waiting is not None and int(waiting.state.step) < int(state.step):
            best = jax.device_put(waiting.state)
            saved = self.checkpoint_writer.save(best, waiting.meta, best=waiting.score, again=True)
        if saved:
            self._waiting = None
            score = self._score(state, loop)
            saved = self.checkpoint_writer.save(sharding.local(state), self._meta(loop), best=score, again=again)
        self._saved_at = time.monotonic()
        self._cost = self._saved_at - started
        loop.save_seconds += self._cost
        return saved

    def _meta(self, loop: LoopState) -> checkpoint_format.Meta:
        return {
            "progress": loop.to_json(),
            "seed": self.values.seed,
            "data": self.data,
            "config": hashlib.sha256(self.values.json.encode()).hexdigest(),
            "numerics": self.numerics,
        }

    def _score(self, state: TrainState, loop: LoopState) -> float | None:
        """Returns what ranks the state among the best, larger is better; `None` unless it is the best so far."""
        best = loop.best_value if loop.best_step == int(state.step) else None
        return -best if best is not None and self.values.train.monitor.better == "lower" else best

    def save_or_fail(self, state: TrainState, loop: LoopState, *, again: bool = False) -> None:
        """Saves as `save` does, trying as often as may fail in a row.

        Raises:
          OSError: it cannot be saved.
        """
        while not self.save(state, loop, again=again):
            pass


def _unended(
    state: TrainState, loop: LoopState, create: Callable[[], TrainState]
) -> tuple[TrainState, LoopState] | None:
    """Returns what a run that has not ended yet has where one has ended; `None` where that is the same."""
    is_renewed = bool(state.renewed) and int(state.renewed.step) >= 0
    if not is_renewed and loop.before_end is None:
        return None
    if is_renewed:
        state = state._replace(renewed=sharding.local(create()).renewed)
    return state, loop if loop.before_end is None else LoopState.from_json(loop.before_end)


def restore_classifier(values: Config, workdir: Path, weights: str) -> tuple[int, Classifier]:
    """Returns the step and the network with the weights that `eval.weights` names, from a run's checkpoints.

    Raises:
      ConfigError: nothing is saved, no average was kept, or nothing chose the best.
    """
    if weights == "ema" and isinstance(values.train.average, averages.NoAverage):
        raise ConfigError(['--weights: "ema" but the run kept no average. Use last or best.'])
    if weights == "best" and not (values.data.train_on == "train" and recorded_data.validates(workdir, values.data)):
        raise ConfigError(['--weights: "best" but the run had no validation split to choose it. Use last or ema.'])
    values = numerics.as_saved(values, workdir)
    restored = checkpoints.read(workdir / run_dir.CHECKPOINTS, create_shapes(values), best=weights == "best")
    if restored is None:
        raise ConfigError([f"--workdir: {workdir} has no checkpoint yet. Train it first."])
    return restored.step, restored.state.classifier(averaged=weights == "ema")
