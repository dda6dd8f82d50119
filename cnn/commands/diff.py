"""`diff`: what differs between two runs, and whether their predictions do by more than chance."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cnn import comparison, terminal
from cnn.config import ConfigError

TITLES = {"config": "config", "software": "software", "data": "data", "start": "start"}


def run(flags: Mapping[str, str], *, words: Sequence[str]) -> int:
    """Prints the comparison of two runs.

    Raises:
      ConfigError: not two runs are named, or a folder holds none.
    """
    if len(words) != 2:
        raise ConfigError([f"diff: takes two runs, got {len(words)}. Write python main.py diff runs/A runs/B"])
    found = comparison.compare(Path(words[0]), Path(words[1]))
    if "json" in flags:
        print(json.dumps(found, allow_nan=False))
        return 0
    names = [terminal.plain(name) for name in found["runs"]]
    for part, title in TITLES.items():
        _part(title, names, found[part])
    _part("metrics", names, found["metrics"])
    for paired in found["paired"]:
        print(terminal.plain(_said(paired)))
    return 0


def _part(title: str, names: list[str], rows: list[list[Any]]) -> None:
    if not rows:
        print(f"{title}: no difference")
        return
    terminal.table((title, *names), [[terminal.plain(_shown(cell)) for cell in row] for row in rows], right=())


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    text = "-" if value is None else value if isinstance(value, str) else json.dumps(value)
    text = " ".join(text.split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _said(paired: Mapping[str, Any]) -> str:
    if "reason" in paired:
        return f"{paired['split']}: no paired test: {paired['reason']}"
    one, other = paired["accuracy"]
    return (
        f"{paired['split']}: accuracy {one:.4f} and {other:.4f} on the same {paired['n']:,} examples; "
        f"only the first is right on {paired['n10']:,} (n10), only the second on {paired['n01']:,} (n01): "
        f"McNemar's exact test p = {paired['p']:.3g}"
    )
