"""Runs a sweep: declares its folder and has the first program compiled, while all that works at it is imported."""

import dataclasses
import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnn.config import config, resolve
from cnn.config.config import ConfigError
from cnn.runs import run_dir
from cnn.sweep import workers
from cnn.sweep.plan import RECORD, TRIALS, Plan
from cnn.sweep.programs import Datasets
from cnn.sweep.warming import Warming
from cnn.system.preemption import Preemption

DECLARATION = run_dir.DECLARATION


def run(plan: Plan, folder: Path, url: str, interruption: Preemption | None = None) -> dict[str, Any]:
    """Runs what is missing of a sweep; writes and returns the ranking, `sweep.json`, and `sweep.csv` beside it.

    Args:
      plan: the sweep.
      folder: its directory; every worker of it must see the same one.
      url: of the database, empty for SQLite in the folder.
      interruption: of whoever runs this among other things; made where there is none.

    Raises:
      ConfigError: the folder or the study belongs to another sweep.
      Preempted: a signal asked to stop.
      OSError: the disk is full, or the database does not answer.
    """
    token = declare(plan, folder)
    # The study is named after what was declared first, which may say the same in other words.
    declared = run_dir.read_json(folder / DECLARATION) or {}
    plan = dataclasses.replace(plan, json=declared.get("sweep", plan.json))
    warming = Warming(plan, Datasets())
    if plan.options.engine != "process" and not (folder / RECORD).exists():
        warming.begin()
    from cnn.sweep import work  # Optuna and Orbax take a second to import, in which XLA compiles

    return work.run(plan, folder, url, token, warming, interruption)


def declare(plan: Plan, folder: Path) -> str:
    """Returns what names the sweep of this folder, declaring it where there is none.

    Raises:
      ConfigError: the folder holds another sweep, or something else.
    """
    free = next(f"{folder}-{n}" for n in range(2, 1_000_000) if not Path(f"{folder}-{n}").exists())
    known = run_dir.read_json(folder / DECLARATION)
    if known is None:
        # Whoever was killed in its first moment left hidden files only.
        other = folder.exists() and (not folder.is_dir() or any(path.name[0] != "." for path in folder.iterdir()))
        # Another worker may have begun meanwhile; it declares before anything else.
        if other and not (folder / DECLARATION).exists():
            raise ConfigError([f"--workdir: {folder} exists and holds no sweep. Use --workdir={free}"])
        (folder / TRIALS).parent.mkdir(parents=True, exist_ok=True)
        with workers.alone(folder):
            if (known := run_dir.read_json(folder / DECLARATION)) is None:
                known = {"token": secrets.token_hex(8), "sweep": plan.json}
                run_dir.write_json(folder / DECLARATION, known)
    changed = config.differences(*_comparable(known.get("sweep", {}), plan.json))
    if changed:
        table = [f"    {path}: {before!r} there, {now!r} here" for path, before, now in changed]
        heading = f"--workdir: {folder} holds another sweep. Use --workdir={free}"
        raise ConfigError(["\n".join([heading, *table])])
    return known["token"]


def _comparable(*declared: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Returns declarations with their configs resolved, where all of them are configs by themselves."""
    try:
        return [
            {
                **{name: value for name, value in each.items() if name not in ("base", "overrides")},
                "config": json.loads(
                    resolve.resolve(each["base"], [config.Override(*pair) for pair in each["overrides"]]).json
                ),
            }
            for each in declared
        ]
    except (KeyError, ConfigError):
        return list(declared)
