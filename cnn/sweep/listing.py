"""The trials of a sweep before it runs: how many, and the command of each."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from cnn.fields import to_text
from cnn.sweep.plan import Plan
from cnn.sweep.space import Axis, Chain, Choices, Part


def lines(plan: Plan, workdir: Path) -> Iterator[str]:
    """Yields what `--sweep.print` shows."""
    if plan.is_grid:
        yield f"{plan.size} trials in {workdir}"
        for trial in plan.trials:
            yield f"{trial.folder}  {shown(trial.fields)}"
            yield f"    {plan.line(trial.fields, workdir / trial.folder)}"
        return
    with_seeds = "" if plan.seeds == (None,) else f", each with {len(plan.seeds)} seeds"
    if line := fewer(plan):
        yield line
    yield f"{plan.configurations} configurations{with_seeds}: {plan.size} trials in {workdir}, drawn from"
    for part in plan.space:
        yield f"  {_part(part)}"
    yield "Each trial's command is in sweep.json and in the ranking as soon as it is drawn"


def fewer(plan: Plan) -> str:
    """Says that the space has fewer configurations than were asked for; empty where it has enough."""
    if plan.is_grid or plan.configurations == plan.options.trials:
        return ""
    asked, there = plan.options.trials, plan.configurations
    return f"--sweep.trials: the space has only {there} different configurations, got {asked}. Each is run once"


def shown(fields: Mapping[str, Any]) -> str:
    """Returns what a trial sets, in a line."""
    return " ".join(f"{path}={to_text(value)}" for path, value in fields.items())


def _part(part: Part) -> str:
    if isinstance(part, Chain):
        return " or ".join("(" + "; ".join(map(_part, inner)) + ")" for inner in part.spaces)
    if not isinstance(part, Axis):
        return f"{part.name}: {' | '.join(part.labels)}"
    if isinstance(part.values, Choices):
        values = " | ".join(to_text(value) for value in part.values.values)
    else:
        values = f"{part.values.scale} from {part.values.low:g} to {part.values.high:g}"
    when = "".join(f", where {path} is {' or '.join(map(to_text, allowed))}" for path, allowed in part.when)
    return f"{part.path}: {values}{when}"
