"""The checkpoints of a run: written one at a time, read whole and verified, and retained as `retention` says.

`Writer` is of the process that trains: it opens a run at its newest whole step and saves further ones. `read` is of any
other process, also while the writer goes on: a step that is removed meanwhile is looked for anew. What a step's folder
holds, and how it is known to be whole, is in `cnn.runs.checkpoint_format`.
"""

import math
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

import jax
import numpy as np
import orbax.checkpoint as ocp
from etils import epath

from cnn.runs.checkpoint_format import (
    CORRUPT,
    SCHEMA,
    TRASH,
    Damaged,
    Foreign,
    Meta,
    NoValidCheckpoint,
    array_name,
    array_shapes,
    array_types,
    folder,
    inspect,
    leader_alone,
    score,
    seal,
    write_sums,
)
from cnn.runs.checksum import fingerprint
from cnn.runs.run_dir import STEP_DIGITS, steps
from cnn.system import fault_injection
from cnn.system.text import plain

KEEP_LATEST = 2
"""How many of the newest steps are retained, beside the best one."""
TRIES = 3
"""So many saves in a row may fail before the run ends."""
RESCANS = 20
"""How often a reader looks again when the writer removed the step it was about to read."""
CLEARINGS = 1000
"""How often a folder is removed into which TensorStore may still write."""


class Restored(NamedTuple):
    """A state and what was written beside it."""

    step: int
    state: Any
    meta: Meta


def load(directory: Path, step: int, like: Any) -> Restored:
    """Returns a step whose every bit is as it was saved.

    Args:
      directory: the run's checkpoints.
      step: which.
      like: a state of the same structure; `None` for the arrays alone, by name, whatever the network.

    Raises:
      Damaged: it is not what was saved.
      Foreign: it belongs to another network.
    """
    path = folder(directory, step)
    meta = inspect(path)
    named = like is None
    if named:
        like = array_shapes(meta["leaves"])
    else:
        _compare(path, meta["leaves"], array_types(like))
    try:
        state = _arrays(path / "state", like)
    except Exception as error:  # Damaged files make the libraries below raise anything.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Damaged(f"the arrays cannot be read: {reason[:200]}") from None
    # The fingerprint is that of the whole tree; what is read by name, the sums of the files have vouched for.
    if array_types(state) != meta["leaves"] or (not named and fingerprint(state) != meta["fingerprint"]):
        raise Damaged("the arrays are not those that were saved: their fingerprint differs")
    return Restored(step, state, meta)


def _arrays(path: Path, like: Any) -> Any:
    """Returns the arrays of a step by their names alone: in nodes that hold none, versions of this program differ."""
    leaves, structure = jax.tree.flatten(jax.tree.map(ocp.utils.to_shape_dtype_struct, like))
    names = list(array_types(like))
    abstract = dict(zip(names, leaves, strict=True))
    handler = ocp.StandardCheckpointHandler(multiprocessing_options=leader_alone())
    stored = handler.metadata(epath.Path(path)).tree
    wanted = jax.tree_util.tree_map_with_path(lambda place, _: abstract[array_name(place)], stored)
    with ocp.StandardCheckpointer(multiprocessing_options=leader_alone()) as checkpointer:
        restored = checkpointer.restore(path, wanted)
    # Orbax commits each array to its device, and to JAX a program of such arrays is another one than a new run's: a run
    # that continues would compile what it has compiled, and find nothing in a compilation cache.
    found = {
        array_name(place): jax.device_put(np.asarray(array))
        for place, array in jax.tree_util.tree_leaves_with_path(restored)
    }
    return jax.tree.unflatten(structure, [found[name] for name in names])


def read(directory: Path, like: Any, *, best: bool = False) -> Restored | None:
    """Returns the latest or the best step, for a process that writes none; `None` where nothing is saved; see `load`.

    A damaged latest step is passed over with a warning. A damaged best step is an error, as there is no second best;
    so is that no step is marked as the best.

    Raises:
      NoValidCheckpoint: steps exist and none can be used.
      Foreign: the steps belong to another network.
    """
    for _ in range(RESCANS):
        found = {step: _identity(directory, step) for step in steps(directory)}
        if not found:
            return None
        try:
            return _best(directory, found, like) if best else _latest(directory, found, like)
        except _Gone:
            continue
    raise NoValidCheckpoint(f"{directory}: steps vanish while they are read. Try again")


class _Gone(Exception):
    """The writer removed or replaced the step meanwhile."""


Found = dict[int, tuple[int, int] | None]


def _latest(directory: Path, found: Found, like: Any) -> Restored:
    for step in sorted(found, reverse=True):
        try:
            return load(directory, step, like)
        except Damaged as error:
            _still_there(directory, step, found)
            print(plain(f"{folder(directory, step)}: passed over: {error}"), file=sys.stderr)
    raise NoValidCheckpoint(f"{directory}: none of {len(found)} saved steps is whole. Restore one from a copy")


def _best(directory: Path, found: Found, like: Any) -> Restored:
    scores: dict[int, float] = {}
    for step in found:
        try:
            scores[step] = score(inspect(folder(directory, step)))
        except Damaged as error:
            _still_there(directory, step, found)
            raise NoValidCheckpoint(f"{folder(directory, step)}: damaged: {error}. Use --weights=last") from None
    step = max(found, key=lambda step: (scores[step], step))
    if scores[step] == -math.inf:
        raise NoValidCheckpoint(f"{directory}: holds no step that was the best of an evaluation. Use --weights=last")
    try:
        return load(directory, step, like)
    except Damaged as error:
        _still_there(directory, step, found)
        raise NoValidCheckpoint(f"{folder(directory, step)}: damaged: {error}. Use --weights=last") from None


def _identity(directory: Path, step: int) -> tuple[int, int] | None:
    try:
        about = folder(directory, step).stat()
    except FileNotFoundError:
        return None
    return about.st_ino, about.st_ctime_ns


def _still_there(directory: Path, step: int, found: Found) -> None:
    if found[step] is None or _identity(directory, step) != found[step]:
        raise _Gone


def _compare(path: Path, stored: dict[str, str], wanted: dict[str, str]) -> None:
    differing = [
        f"    {name}: {stored.get(name, 'nothing')} there, {wanted.get(name, 'nothing')} here"
        for name in sorted({*stored, *wanted})
        if stored.get(name) != wanted.get(name)
    ]
    if differing:
        more = [f"    and {len(differing) - 10} more"] if len(differing) > 10 else []
        heading = f"{path}: holds another network's state. Choose another --workdir"
        raise Foreign("\n".join([heading, *differing[:10], *more]))


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

    def save(self, state: Any, meta: Meta, *, best: float | None, again: bool = False) -> bool:
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
        meta = {
            **meta,
            "schema": SCHEMA,
            "score": best,
            "leaves": array_types(state),
            "fingerprint": fingerprint(state),
        }
        items = ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(seal(meta)))
        try:
            fault_injection.point("before_save")
            self._manager.save(step, args=items, metrics={"score": best}, force=True)
            fault_injection.point("after_commit")
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


def retention() -> ocp.checkpoint_managers.PreservationPolicy:
    """Returns which steps are kept: the newest `KEEP_LATEST`, and the best of those that were ever the best."""
    policies = ocp.checkpoint_managers
    best = policies.BestN(get_metric_fn=score, n=1, keep_checkpoints_without_metrics=False)
    return policies.AnyPreservationPolicy([policies.LatestN(KEEP_LATEST), best])


def _options() -> ocp.CheckpointManagerOptions:
    return ocp.CheckpointManagerOptions(
        step_format_fixed_length=STEP_DIGITS,
        preservation_policy=retention(),
        # Orbax saves the metrics, by which the best is known, only when it is given this too.
        best_fn=score,
        todelete_subdir=TRASH,
        enable_async_checkpointing=False,
        create=False,
        multiprocessing_options=leader_alone(),
    )
