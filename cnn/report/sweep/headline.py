"""The head of a sweep's page: how good the best is, how the trials ended, what was searched."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from markupsafe import Markup

from cnn.report import escape
from cnn.report.headline import duration
from cnn.report.sweep.sweep_files import SweepFiles
from cnn.runs.sweep_record import DIVERGED, ENDED, FAILED, FINISHED, PRUNED, RUNNING, WAITING

MARKS = {
    FINISHED: "✓",
    PRUNED: "◐",
    DIVERGED: "✕",
    FAILED: "!",
    RUNNING: "▶",
    WAITING: "…",
    "stopped": "■",
}
WORDS = {PRUNED: "stopped early", WAITING: "waiting"}


class SpaceField(NamedTuple):
    """A field of the search space."""

    path: str
    how: str
    values: str


def build(sweep: SweepFiles) -> Markup:
    """Returns what stands above the sections."""
    state, reason = status(sweep)
    return escape.render(
        "sweep_head.html.j2",
        name_of=sweep.name,
        state=state,
        reason=reason,
        marks=MARKS,
        words=WORDS,
        sentence=sentence(sweep),
        winner=sweep.about["winner"]["text"],
        counts=sweep.counts,
        configurations=len(sweep.groups),
        differ=sweep.differ,
        seconds=duration(sweep.about["seconds"]),
        options=options(sweep),
        space=list(rows(sweep.about.get("space") or {})),
    )


def status(sweep: SweepFiles) -> tuple[str, str]:
    """Returns finished, running or stopped, and how far it is."""
    ended = sum(sweep.counts.get(state, 0) for state in ENDED)
    size = sweep.about.get("size", len(sweep.trials))
    if sweep.running:
        return RUNNING, f"{ended:,} of {size:,} trials have ended"
    if ended < size:
        return "stopped", f"{ended:,} of {size:,} trials have ended; the same command continues"
    return FINISHED, ""


def sentence(sweep: SweepFiles) -> str:
    """Returns how good the best configuration is."""
    if not sweep.groups or sweep.groups[0]["mean"] is None:
        return f"No trial has finished yet; they are ranked by {sweep.objective}."
    best = sweep.groups[0]
    n = best["n"]
    worth = f"the mean of {n} {sweep.differ}" if n > 1 else "one seed"
    spread = f" (s.d. {best['sd']:.2g})" if best["sd"] is not None else ""
    among = f"The best of {len(sweep.groups):,} configurations" if len(sweep.groups) > 1 else "The one configuration"
    return f"{among} has {sweep.objective} {best['mean']:.4f}{spread}, {worth}."


def options(sweep: SweepFiles) -> list[tuple[str, str]]:
    """Returns how the space was searched."""
    given = dict(sweep.about.get("options") or {})
    engine = (sweep.about.get("engine") or {}).get("engine")
    shown = [("ranked by", f"{sweep.objective}, {'more' if sweep.maximize else 'less'} is better")]
    shown += [(name, escape.visible(given[name])) for name in ("sampler", "pruner") if given.get(name)]
    return [*shown, ("engine", escape.visible(engine))] if engine else shown


def rows(space: Mapping[str, Any], where: str = "") -> Iterator[SpaceField]:
    """Yields the fields of a search space as it was declared."""
    for name, value in space.items():
        if name == "chain":
            for index, inner in enumerate(value, 1):
                yield from rows(inner, f"{where}space {index} of {len(value)}: ")
        elif name == "zip":
            for one in value if isinstance(value, list) else [value]:
                for path, values in one.items():
                    yield SpaceField(path, f"{where}together with {_others(one, path)}", _listed(values))
        elif name == "trials":
            yield from (SpaceField(title, f"{where}named", _fields(fields)) for title, fields in value.items())
        else:
            yield _row(name, value, where)


def _others(declared: Mapping[str, Any], path: str) -> str:
    return ", ".join(other for other in declared if other != path)


def _row(path: str, value: Any, where: str) -> SpaceField:
    if not isinstance(value, Mapping):
        return SpaceField(path, f"{where}choice", _listed(value))
    kind = next((kind for kind in ("log", "linear", "int", "values") if kind in value), "")
    when = f", where {_fields(value['when'])}" if value.get("when") else ""
    if kind == "values":
        return SpaceField(path, f"{where}choice{when}", _listed(value["values"]))
    low, high = value.get(kind) or ("?", "?")
    points = f", {value['n']} points" if value.get("n") else f", step {value['step']}" if value.get("step") else ""
    return SpaceField(path, f"{where}{kind}{when}", f"{low} to {high}{points}")


def _listed(values: Any) -> str:
    return escape.shortened(
        "; ".join(map(escape.value, values)) if isinstance(values, list) else escape.value(values), 600
    )


def _fields(declared: Mapping[str, Any]) -> str:
    return escape.shortened(", ".join(f"{path} = {escape.value(value)}" for path, value in declared.items()), 600)
