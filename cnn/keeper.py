"""Keeps a run's state on disk: what goes into a checkpoint beside the arrays, when, and how a run continues from it."""

import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cnn import checkpoint, devices, hosts, journal, provenance, rundir, settings
from cnn.config import Values
from cnn.data import DataError
from cnn.plaintext import plain
from cnn.progress import Progress
from cnn.train import TrainState

Start = Callable[[TrainState], tuple[TrainState, dict[str, Any], str]]
"""Makes the state to start from of one that is only initialised; says what `run.json` keeps of it, and it in a line."""


class Keeper:
    """The checkpoints of one run that is being trained."""

    def __init__(
        self,
        values: Values,
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
        self.numerics = {
            **provenance.numerics(),
            "devices": count,
            "dispatch": dispatch,
            "on_error": values.data.on_error,
        }
        every = values.checkpoint.every
        self.steps = every.number if isinstance(every, settings.Steps) else None
        """A save is due after every so many steps, also within an epoch."""
        self._length = self.steps or (every.number * steps_per_epoch if isinstance(every, settings.Epochs) else None)
        self._saved_at = time.monotonic()
        self.journal: journal.Journal | None = None
        self.writer = checkpoint.Writer(workdir / rundir.CHECKPOINTS, self.tell) if hosts.leads() else None

    def tell(self, what: str, **details: Any) -> None:
        """Adds an event to the run's, and to the terminal where something went wrong."""
        if not hosts.leads():
            return
        journal.event(self.workdir, what, **details)
        if "reason" in details:
            reason = ", ".join(f"{name} {value}" for name, value in details.items())
            self.line(plain(f"{what}: {reason}"))

    def open(self, state: TrainState, start: Start | None = None) -> tuple[TrainState, Progress]:
        """Returns the newest whole state and its progress, or the given one and none; cuts the metrics back to it.

        Where nothing is saved and there is a `start`, what that makes of the state is saved as step 0 and returned:
        a run that continues never asks for it again.

        Raises:
          DataError: the data are not those that were trained with.
          Foreign: what is saved belongs to another network.
          NoValidCheckpoint: all that is saved is damaged.
          Elsewhere: in the other processes, whatever it was.
        """
        like = devices.local(state)
        saved, arrays = hosts.from_leader_with(lambda: self._restored(like, start), like)
        self._saved_at = time.monotonic()
        return devices.replicate(arrays, self.count), Progress.from_json(saved)

    def _restored(self, state: TrainState, start: Start | None) -> tuple[dict[str, Any], TrainState]:
        """Does what `open` promises, in the process that has the run's directory."""
        assert self.writer is not None
        progress = Progress()
        restored = self.writer.open(state)
        if restored is not None:
            if restored.meta["data"] != self.data:
                raise DataError(
                    f"config.data: the data are not those of step {restored.step:,} in {self.workdir}, "
                    f"got {self.data[:12]}. Restore them, or choose another --workdir."
                )
            state, progress = restored.state, Progress.from_json(restored.meta["progress"])
            self._compare(restored.step, restored.meta["numerics"])
        rundir.truncate(self.workdir / rundir.METRICS, progress.metrics_bytes)
        step = int(state.step)
        self.tell("resume" if step else "start", step=step)
        if restored is None and start is not None:
            state, about, said = start(state)
            self.line(plain(said))
            run = rundir.read_json(self.workdir / rundir.RUN) or {}
            rundir.write_json(self.workdir / rundir.RUN, {**run, rundir.INIT: about})
            self.save_or_fail(state, progress)
            self.tell("initialised", **about)
        return progress.to_json(), state

    def _compare(self, step: int, before: dict[str, Any]) -> None:
        now = self.numerics
        changed = [f"{name} {before.get(name)} -> {now[name]}" for name in now if before.get(name) != now[name]]
        if changed:
            self.tell("not bit-identical from here", step=step, reason="; ".join(changed))

    def records(self, step: int) -> journal.Journal | None:
        """Opens the run's records from a step on, for which every save waits; one of several processes has them."""
        self.journal = journal.Journal(self.workdir, step=step) if hosts.leads() else None
        return self.journal

    def due(self, step: int) -> bool:
        """Tells whether `checkpoint.every` asks for a save after `step` updates."""
        if self._length is not None:
            return step % self._length == 0
        return time.monotonic() - self._saved_at >= 60 * self.values.checkpoint.every.number

    def save(self, state: TrainState, progress: Progress, *, again: bool = False) -> bool:
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
        rundir.sync(self.workdir / rundir.METRICS)
        if self.journal is not None:
            self.journal.flush()
        meta = {
            "progress": progress.to_json(),
            "seed": self.values.seed,
            "data": self.data,
            "config": hashlib.sha256(self.values.json.encode()).hexdigest(),
            "numerics": self.numerics,
        }
        best = progress.best_accuracy if progress.best_step == int(state.step) else None
        saved = self.writer.save(devices.local(state), meta, best=best, again=again)
        self._saved_at = time.monotonic()
        progress.save_seconds += self._saved_at - started
        return saved

    def save_or_fail(self, state: TrainState, progress: Progress, *, again: bool = False) -> None:
        """Saves as `save` does, trying as often as may fail in a row.

        Raises:
          OSError: it cannot be saved.
        """
        while not self.save(state, progress, again=again):
            pass
