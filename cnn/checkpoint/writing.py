"""Writes steps, one at a time and synchronously; opens a run at its newest whole step."""

import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import orbax.checkpoint as ocp

from cnn import faults
from cnn.checkpoint.format import (
    CORRUPT,
    SCHEMA,
    TRASH,
    Damaged,
    NoValidCheckpoint,
    alone,
    folder,
    inspect,
    leaves,
    score,
    seal,
    steps,
    write_sums,
)
from cnn.checkpoint.reading import Restored, load
from cnn.fingerprint import fingerprint

TRIES = 3
"""So many saves in a row may fail before the run ends."""

CLEARINGS = 100
"""How often a folder is removed into which somebody may still write."""


class Writer:
    """The only writer of a run's checkpoints; whoever makes one holds the run's lock."""

    def __init__(self, directory: Path, tell: Callable[..., None]) -> None:
        """Clears what a killed process left behind.

        Args:
          directory: the run's checkpoints; made where missing.
          tell: called with an event's name and details.
        """
        self.directory, self.tell = directory.absolute(), tell
        self._manager: ocp.CheckpointManager | None = None
        self._failed = 0
        directory.mkdir(parents=True, exist_ok=True)
        self._clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._manager is not None:
            self._manager.close()
        self._clear()

    def open(self, like: Any) -> Restored | None:
        """Returns the newest whole step, `None` where nothing was ever saved; moves damaged ones to `_corrupt`.

        Raises:
          NoValidCheckpoint: steps exist and none can be used.
          Foreign: a step belongs to another network.
        """
        found = steps(self.directory)
        restored: Restored | None = None
        for step in reversed(found):
            try:
                if restored is None:
                    restored = load(self.directory, step, like)
                else:
                    inspect(folder(self.directory, step))
            except Damaged as error:
                self._quarantine(step, str(error))
        if restored is None and (found or self._quarantined()):
            raise NoValidCheckpoint(
                f"{self.directory}: steps were saved and none is whole; they are in {CORRUPT}. "
                "Restore one from a copy, or choose another --workdir"
            )
        # Only now: the manager takes any folder named like a step for one, and skips saves below the newest.
        self._manager = ocp.CheckpointManager(self.directory, options=_options())
        return restored

    def save(self, state: Any, meta: dict[str, Any], *, best: float | None, again: bool = False) -> bool:
        """Saves the state under its step, unless that is saved already; tells whether it is saved now.

        Args:
          state: its `step` names it.
          meta: plain JSON, sealed beside it.
          best: the score, if this step is the best so far.
          again: replaces the step if it is saved already.

        Raises:
          OSError: the third failure in a row.
        """
        assert self._manager is not None
        step = int(state.step)
        if step in steps(self.directory):
            if not again:
                return True
            self._manager.delete(step)
        sealed = seal(
            {**meta, "schema": SCHEMA, "score": best, "leaves": leaves(state), "fingerprint": fingerprint(state)}
        )
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(sealed))
        try:
            faults.point("before_save")
            self._manager.save(step, args=items, metrics={"score": best}, force=True)
            faults.point("after_commit")
            write_sums(folder(self.directory, step))
        except Exception as error:  # A full disk shows as many types, according to which library meets it.
            self._failure(step, error)
            return False
        self._failed = 0
        self._clear()
        return True

    def _failure(self, step: int, error: Exception) -> None:
        self._failed += 1
        replaced = self.directory / TRASH / folder(self.directory, step).name
        if replaced.exists() and step not in steps(self.directory):
            replaced.rename(folder(self.directory, step))
        self._clear()  # first of all: what follows needs room on the disk, too
        reason = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
        self.tell("save failed", step=step, reason=reason)
        if self._manager is not None:
            self._manager.reload()
        if self._failed >= TRIES:
            raise OSError(f"{self.directory}: step {step} could not be saved, {TRIES} times in a row: {reason}")

    def _clear(self) -> None:
        """Removes what Orbax moved away to delete, and what a killed or failed save left."""
        shutil.rmtree(self.directory / TRASH, ignore_errors=True)
        for leftover in self.directory.glob("*.orbax-checkpoint-tmp*"):
            # Of a save that failed, TensorStore may still write other arrays.
            for _ in range(CLEARINGS):
                shutil.rmtree(leftover, ignore_errors=True)
                if not leftover.exists():
                    break

    def _quarantine(self, step: int, reason: str) -> None:
        corrupt = self.directory / CORRUPT
        corrupt.mkdir(exist_ok=True)
        target = next(corrupt / f"{step}-{n}" for n in range(1_000_000) if not (corrupt / f"{step}-{n}").exists())
        folder(self.directory, step).rename(target)
        self.tell("step quarantined", step=step, reason=reason, where=str(target))

    def _quarantined(self) -> bool:
        corrupt = self.directory / CORRUPT
        return corrupt.is_dir() and any(corrupt.iterdir())


def _options() -> ocp.CheckpointManagerOptions:
    policies = ocp.checkpoint_managers
    return ocp.CheckpointManagerOptions(
        step_format_fixed_length=8,
        preservation_policy=policies.AnyPreservationPolicy(
            [policies.LatestN(2), policies.BestN(get_metric_fn=score, n=1, keep_checkpoints_without_metrics=False)]
        ),
        # Orbax saves the metrics, by which the best is known, only when it is given this too.
        best_fn=score,
        todelete_subdir=TRASH,
        enable_async_checkpointing=False,
        create=False,
        multiprocessing_options=alone(),
    )
