"""The trials of a sweep by configuration, each seed once: copies are no evidence."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cnn.runs import run_dir
from cnn.sweep import distinct, outcome, stats
from cnn.sweep.plan import RECORD, SEED


def groups(found: Sequence[dict[str, Any]], direction: str) -> list[dict[str, Any]]:
    """Returns the trials that differ only in the seed, together; best first.

    Whole groups come before those of which a seed diverged or was pruned, and those before groups without a value.

    Args:
      found: the trials, as `sweep.json` holds them.
      direction: maximize or minimize.
    """
    together: dict[str, list[dict[str, Any]]] = {}
    for row in found:
        fields = {path: value for path, value in row["fields"].items() if path != SEED}
        together.setdefault(json.dumps(fields), []).append(row)
    listed = []
    for text, members in together.items():
        apart = once(members)
        values = [row["value"] for row in apart if row["status"] == outcome.FINISHED]
        listed.append(
            {
                "fields": json.loads(text),
                "trials": [row["number"] for row in members],
                "values": values,
                "mean": sum(values) / len(values) if values else None,
                "sd": stats.spread(values),
                "n": len(values),
                "of": len(apart),
                "diverged": sum(row["status"] == outcome.DIVERGED for row in apart),
                "pruned": sum(row["status"] == outcome.PRUNED for row in apart),
            }
        )
    sign = -1 if direction == "maximize" else 1
    listed.sort(key=lambda group: (group["n"] == 0, group["n"] < group["of"], sign * (group["mean"] or 0)))
    return listed


def once(found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns one trial for each configuration and seed, a finished one if there is: copies are no evidence."""
    chosen: dict[str, dict[str, Any]] = {}
    for row in sorted(found, key=lambda row: row["status"] != outcome.FINISHED):
        chosen.setdefault(distinct.key(row["fields"]), row)
    return sorted(chosen.values(), key=lambda row: row["number"])


def recount(folder: Path) -> None:
    """Counts the trials of a sweep again where an earlier version counted copies of one as further seeds.

    Raises:
      BrokenFile: `sweep.json` is not what this software wrote.
    """
    record = run_dir.read_json(folder / RECORD)
    if record is None or not {"trials", "groups", "direction", "importance"} <= set(record):
        return
    counted = {group["n"] for group in record["groups"]}
    found = record["trials"]
    ranked = groups(found, record["direction"])
    if len(once(found)) == len(found) or counted == {group["n"] for group in ranked}:
        return
    finished = [row for row in once(found) if row["status"] == outcome.FINISHED]
    fields, values = [row["fields"] for row in finished], [row["value"] for row in finished]
    again = {
        "groups": ranked,
        "winner": stats.winner(ranked),
        "importance": stats.importance(fields, values, grid=False),
    }
    run_dir.write_json(folder / RECORD, {**record, **again})
