"""How a trial ended, told by its run directory."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cnn.runs import records, run_dir
from cnn.runs.sweep_record import DIVERGED, FAILED, FINISHED, PRUNED
from cnn.system import redaction

PREEMPTED, DIED = "preempted", "died"
"""How an attempt may end besides what ends a trial."""
PRUNED_BY = "pruned by the sweep"
"""How the reason to stop of a pruned run begins."""


class Outcome(NamedTuple):
    """How a trial ended."""

    status: str
    value: float | None = None
    """The objective, of a finished or pruned trial."""
    error: str = ""
    final: bool = True
    """Whether trying again could not change it."""


def of_result(result: Mapping[str, Any], objective: str) -> Outcome:
    """Returns the outcome of a run that wrote its result."""
    if result["status"] == "diverged":
        return Outcome(DIVERGED, error=f"not finite at step {result['bad_step']}")
    split, _, name = objective.partition(".")
    value = records.measured(result.get(split, {})).get(name)
    if value is None:
        return Outcome(FAILED, error=f"its result has no {objective}")
    pruned = str(result.get("stopped") or "").startswith(PRUNED_BY)
    return Outcome(PRUNED if pruned else FINISHED, float(value))


def of_folder(workdir: Path, objective: str) -> Outcome | None:
    """Returns the outcome of a run directory, `None` where it has not ended."""
    result = run_dir.read_json(workdir / run_dir.RESULT)
    return None if result is None else of_result(result, objective)


def of_error(error: Exception) -> Outcome:
    """Returns the outcome of a run that raised; what the config or the data did wrong, they would do again."""
    said = " ".join((str(error) or type(error).__name__).split())
    return Outcome(
        FAILED, error=f"{type(error).__name__}: {redaction.hide(said)}"[:500], final=isinstance(error, ValueError)
    )


def newest_step(workdir: Path) -> int:
    """Returns the step up to which a run is saved, 0 where nothing is."""
    folder = workdir / run_dir.CHECKPOINTS
    names = [path.name for path in folder.iterdir()] if folder.is_dir() else []
    return max((int(name) for name in names if name.isdigit()), default=0)
