"""Reads a step, whole and verified, also while somebody else writes others."""

import math
import sys
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp

from cnn.checkpoint.format import Damaged, Foreign, NoValidCheckpoint, alone, folder, inspect, leaves, score, steps
from cnn.fingerprint import fingerprint
from cnn.plaintext import plain

RESCANS = 20
"""How often a reader looks again when the writer removed the step it was about to read."""


class Restored(NamedTuple):
    """A state and what was written beside it."""

    step: int
    state: Any
    meta: dict[str, Any]


def load(directory: Path, step: int, like: Any) -> Restored:
    """Returns a step whose every bit is as it was saved.

    Args:
      directory: the run's checkpoints.
      step: which.
      like: a state of the same structure.

    Raises:
      Damaged: it is not what was saved.
      Foreign: it belongs to another network.
    """
    path = folder(directory, step)
    meta = inspect(path)
    _compare(path, meta["leaves"], leaves(like))
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    try:
        with ocp.StandardCheckpointer(multiprocessing_options=alone()) as checkpointer:
            state = checkpointer.restore(path / "state", abstract)
    except Exception as error:  # Damaged files make the libraries below raise anything.
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise Damaged(f"the arrays cannot be read: {reason[:200]}") from None
    if leaves(state) != meta["leaves"] or fingerprint(state) != meta["fingerprint"]:
        raise Damaged("the arrays are not those that were saved: their fingerprint differs")
    return Restored(step, state, meta)


def read(directory: Path, like: Any, *, best: bool = False) -> Restored | None:
    """Returns the latest or the best step for somebody who does not write; `None` where nothing is saved.

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
