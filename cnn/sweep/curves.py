"""The curves of a trial, short enough for a page of a thousand."""

import json
from pathlib import Path

from cnn.runs import run_dir

MOST_POINTS = 200
NAMES = ("train.loss", "valid.loss", "valid.accuracy")
Curve = list[list[float]]


def read(workdir: Path) -> dict[str, Curve]:
    """Returns [step, value] pairs of each metric at the ends of epochs; empty where there are none yet."""
    found: dict[str, Curve] = {}
    try:
        lines = (workdir / run_dir.METRICS).read_text().splitlines()
    except FileNotFoundError:
        return found
    for line in lines:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:  # a line that is being written
            continue
        for name in NAMES:
            split, _, metric = name.partition(".")
            if record["kind"] == "epoch" and split in record:
                found.setdefault(name, []).append([record["step"], record[split][metric]])
    return {name: shortened(curve) for name, curve in found.items()}


def shortened(curve: Curve) -> Curve:
    """Returns at most 200 points: the first, the last, and the lowest and highest of equal parts between."""
    if len(curve) <= MOST_POINTS:
        return curve
    parts = (MOST_POINTS - 2) // 2
    inner = curve[1:-1]
    kept = [curve[0]]
    for part in range(parts):
        piece = inner[part * len(inner) // parts : (part + 1) * len(inner) // parts]
        ends = {id(point): point for point in (min(piece, key=lambda p: p[1]), max(piece, key=lambda p: p[1]))}
        kept += sorted(ends.values())
    return [*kept, curve[-1]]
