"""Keeps a run's state on disk: what goes into a checkpoint beside the arrays, when, and how a run continues from it.

The weights of a run that are meant: the last, the best, or their moving average.
"""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cnn.config.config import Config, ConfigError
from cnn.data.types import DataError
from cnn.model.classifier import Classifier
from cnn.optim import averages
from cnn.runs import checkpoint_format, checkpoints, metric_writer, numerics, provenance, run_dir
from cnn.system import multihost, sharding
from cnn.system.text import plain
from cnn.train.loop_state import LoopState
from cnn.train.state import TrainState, create_train_state

Start = Callable[[TrainState], tuple[TrainState, dict[str, Any], str]]
"""Makes the state to start from of one that is only initialised; says what `run.json` keeps of it, and it in a line."""


class Checkpointer:
    """The checkpoints of one run that is being trained."""

    def __init__(
        self,
        values: Config,
        workdir: Path,
        *,
        data: str,
        dispatch: str,
        count: int,
        steps_per_epoch: int,
        line: Callable[[str], None],
    ) -> None:
        """Opens nothing yet.

        Args:
          values: the run's config.
          workdir: the run's directory, locked by this process.
          data: the identity of the dataset.
          dispatch: how steps are called, on which the last digits depend.
          count: of devices, on which they depend too.
          steps_per_epoch: the updates of one epoch.
          line: shows a line to the person.
        """
        self.values, self.workdir, self.data, self.line, self.count = values, workdir, data, line, count
        self.numerics: dict[str, str | int | bool | None] = {
            **provenance.numerics(),
            "devices": count,
            "dispatch": dispatch,
            "on_error": values.data.on_error,
        }
        self.steps: int | None = values.checkpoint.every.steps
        """A save is due after every so many steps, also within an epoch."""
        self._steps_per_epoch = steps_per_epoch
        self._saved_at = time.monotonic()
        self.journal: metric_writer.MetricWriter | None = None
        self.writer = checkpoints.Writer(workdir / run_dir.CHECKPOINTS, self.tell) if multihost.leads() else None

    def tell(self, what: str, **details: Any) -> None:
        """Adds an event to the run's, and to the terminal where something went wrong."""
        if not multihost.leads():
            return
        metric_writer.event(self.workdir, what, **details)
        if "reason" in details:
            reason = ", ".join(f"{name} {value}" for name, value in details.items())
            self.line(plain(f"{what}: {reason}"))

    def open(self, state: TrainState, start: Start | None = None) -> tuple[TrainState, LoopState]:
        """Returns the newest whole state and its progress, or the given one and none; cuts the metrics back to it.

        Where nothing is saved and there is a `start`, what that makes of the state is saved as step 0 and returned:
        a run that continues never asks for it again.

        Raises:
          DataError: the data are not those that were trained with.
          Foreign: what is saved belongs to another network.
          NoValidCheckpoint: all that is saved is damaged.
          Elsewhere: in the other processes, whatever it was.
        """
        like = sharding.local(state)
        saved, arrays = multihost.from_leader_with(lambda: self._restored(like, start), like)
        self._saved_at = time.monotonic()
        return sharding.replicate(arrays, self.count), LoopState.from_json(saved)

    def _restored(self, state: TrainState, start: Start | None) -> tuple[dict[str, Any], TrainState]:
        """Does what `open` promises, in the process that has the run's directory."""
        assert self.writer is not None
        progress = LoopState()
        restored = self.writer.open(state)
        if restored is not None:
            if restored.meta["data"] != self.data:
                raise DataError(
                    f"config.data: the data are not those of step {restored.step:,} in {self.workdir}, "
                    f"got {self.data[:12]}. Restore them, or choose another --workdir."
                )
            state, progress = restored.state, LoopState.from_json(restored.meta["progress"])
            self._compare(restored.step, restored.meta["numerics"])
        run_dir.truncate(self.workdir / run_dir.METRICS, progress.metrics_bytes)
        step = int(state.step)
        self.tell("resume" if step else "start", step=step)
        if restored is None and start is not None:
            state, about, said = start(state)
            self.line(plain(said))
            run = run_dir.read_json(self.workdir / run_dir.RUN) or {}
            run_dir.write_json(self.workdir / run_dir.RUN, {**run, run_dir.INIT: about})
            self.save_or_fail(state, progress)
            self.tell("initialised", **about)
        return progress.to_json(), state

    def _compare(self, step: int, before: dict[str, Any]) -> None:
        now = self.numerics
        changed = [f"{name} {before.get(name)} -> {now[name]}" for name in now if before.get(name) != now[name]]
        if changed:
            self.tell("not bit-identical from here", step=step, reason="; ".join(changed))

    def records(self, step: int) -> metric_writer.MetricWriter | None:
        """Opens the run's records from a step on, for which every save waits; one of several processes has them."""
        self.journal = metric_writer.MetricWriter(self.workdir, step=step) if multihost.leads() else None
        return self.journal

    def due(self, step: int) -> bool:
        """Tells whether `checkpoint.every` asks for a save after `step` updates."""
        return self.values.checkpoint.every.due(step, self._steps_per_epoch, time.monotonic() - self._saved_at)

    def save(self, state: TrainState, progress: LoopState, *, again: bool = False) -> bool:
        """Saves under the state's step; tells whether that is saved now.

        Args:
          state: after `state.step` updates.
          progress: at the same step; its time spent saving grows.
          again: replaces the step if it is saved already.

        Raises:
          OSError: it failed for the third time in a row.
        """
        if self.writer is None:
            return True
        started = time.monotonic()
        run_dir.sync(self.workdir / run_dir.METRICS)
        if self.journal is not None:
            self.journal.flush()
        meta: checkpoint_format.Meta = {
            "progress": progress.to_json(),
            "seed": self.values.seed,
            "data": self.data,
            "config": hashlib.sha256(self.values.json.encode()).hexdigest(),
            "numerics": self.numerics,
        }
        best = progress.best_accuracy if progress.best_step == int(state.step) else None
        saved = self.writer.save(sharding.local(state), meta, best=best, again=again)
        self._saved_at = time.monotonic()
        progress.save_seconds += self._saved_at - started
        return saved

    def save_or_fail(self, state: TrainState, progress: LoopState, *, again: bool = False) -> None:
        """Saves as `save` does, trying as often as may fail in a row.

        Raises:
          OSError: it cannot be saved.
        """
        while not self.save(state, progress, again=again):
            pass


def restore_classifier(values: Config, workdir: Path, weights: str) -> tuple[int, Classifier]:
    """Returns the step and the network with the weights that `eval.weights` names, from a run's checkpoints.

    Raises:
      ConfigError: nothing is saved, no average was kept, or nothing chose the best.
    """
    if weights == "ema" and isinstance(values.train.average, averages.NoAverage):
        raise ConfigError(['--weights: "ema" but the run kept no average. Use last or best.'])
    if weights == "best" and not (values.data.valid_fraction and values.data.train_on == "train"):
        raise ConfigError(['--weights: "best" but the run had no validation split to choose it. Use last or ema.'])
    values = numerics.as_saved(values, workdir)
    restored = checkpoints.read(workdir / run_dir.CHECKPOINTS, create_train_state(values), best=weights == "best")
    if restored is None:
        raise ConfigError([f"--workdir: {workdir} has no checkpoint yet. Train it first."])
    return restored.step, restored.state.classifier(averaged=weights == "ema")
