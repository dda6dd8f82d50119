"""Saved states: step N holds the state after N updates; the latest two and the best are kept."""

import json
import math
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import jax
import orbax.checkpoint as ocp

TRASH = "_trash"
STEP_NAMES = ocp.path.step.standard_name_format(step_format_fixed_length=8)


class Restored(NamedTuple):
    """A state and what was written beside it."""

    step: int
    state: Any
    meta: dict[str, Any]


def _score(metrics: dict[str, Any]) -> float:
    score = metrics.get("score")
    return score if isinstance(score, float) and math.isfinite(score) else -math.inf


def open_manager(directory: Path) -> ocp.CheckpointManager:
    """Opens a run's checkpoints for writing."""
    policies = ocp.checkpoint_managers
    options = ocp.CheckpointManagerOptions(
        step_format_fixed_length=8,
        preservation_policy=policies.AnyPreservationPolicy(
            [policies.LatestN(2), policies.BestN(get_metric_fn=_score, n=1, keep_checkpoints_without_metrics=False)]
        ),
        # Orbax saves the metrics, by which the best is known, only when it is given this too.
        best_fn=_score,
        cleanup_tmp_directories=True,
        todelete_subdir=TRASH,
        enable_async_checkpointing=False,
    )
    return ocp.CheckpointManager(directory.absolute(), options=options)


def save(manager: ocp.CheckpointManager, state: Any, meta: dict[str, Any], *, score: float | None) -> None:
    """Saves the state under its step, unless that is saved already.

    Args:
      manager: from `open_manager`.
      state: its `step` names it.
      meta: plain JSON, written beside it.
      score: the larger the better; `None` where nothing chooses.
    """
    step = int(state.step)
    if step in manager.all_steps():
        return
    items = ocp.args.Composite(state=ocp.args.StandardSave(state), meta=ocp.args.JsonSave(meta))
    manager.save(step, args=items, metrics={"score": score}, force=True)
    # Orbax only moves there what it no longer keeps, so that a kill never leaves half a step among the others.
    shutil.rmtree(manager.directory / TRASH, ignore_errors=True)


def restore(directory: Path, like: Any, *, best: bool = False) -> Restored | None:
    """Returns the latest or the best saved state, `None` where nothing is saved.

    Args:
      directory: the run's checkpoints.
      like: a state of the same structure, shapes and dtypes.
      best: by its score instead of its age.
    """
    steps = _steps(directory)
    if not steps:
        return None
    step = max(steps)
    if best:
        step = max(steps, key=lambda step: (_score(_read(directory, step, "metrics/metrics")), step))
    abstract = jax.tree.map(ocp.utils.to_shape_dtype_struct, like)
    with ocp.StandardCheckpointer() as checkpointer:
        state = checkpointer.restore(_folder(directory, step) / "state", abstract)
    return Restored(step, state, _read(directory, step, "meta/metadata"))


def _steps(directory: Path) -> list[int]:
    if not directory.is_dir():
        return []
    return [found.step for found in STEP_NAMES.find_all(directory.absolute())]


def _folder(directory: Path, step: int) -> Path:
    return directory.absolute() / STEP_NAMES.build_name(step)


def _read(directory: Path, step: int, name: str) -> dict[str, Any]:
    return json.loads((_folder(directory, step) / name).read_text())
