"""Versions of our own arithmetic: an unfinished run goes on only with what it began with.

`run.json` holds them as `numerics`; a run without them is of the first version of everything.
"""

import dataclasses
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnn.config import config
from cnn.data import sources
from cnn.data.decode import READER_VERSION
from cnn.optim import muon, optimizers
from cnn.runs import run_dir
from cnn.system.text import plain

NUMERICS = "numerics"
VERSIONS = {"optimizer": 2, "reader": READER_VERSION}
"""Version 2 of the optimizers: nadam's momentum follows Dozat's schedule, and muon moves biases and scales by AdamW.

Of the reader of picture files see `cnn.data.decode.READER_VERSION`.
"""
CHANGED: dict[str, dict[int, tuple[type, ...]]] = {"optimizer": {2: (optimizers.Nadam, muon.Muon)}}
"""What each version computes otherwise than the one before."""


def _version(run: Mapping[str, Any] | None, of: str) -> int:
    """Returns the version of some arithmetic that a run began with, by its `run.json`."""
    return (run or {}).get(NUMERICS, {}).get(of, 1)


def check(values: config.Config, workdir: Path) -> None:
    """Refuses to go on with an unfinished run that an earlier version began with other arithmetic.

    Raises:
      ConfigError: names the optimizer, the commit that the run was last trained with, and a directory that is free.
    """
    run = run_dir.read_json(workdir / run_dir.RUN)
    if run is None:
        return
    began = _version(run, "optimizer")
    later = {kind for version, kinds in CHANGED["optimizer"].items() if version > began for kind in kinds}
    if began <= VERSIONS["optimizer"] and type(values.optimizer) not in later:
        return
    name = values.optimizer.kind
    commit = (run.get("git") or {}).get("commit")
    source = f"Check out commit {commit}" if commit else "Use the version that began it, whose commit is not recorded,"
    relation = "an earlier" if began <= VERSIONS["optimizer"] else "a later"
    raise config.ConfigError(
        [
            f"--workdir: {workdir} holds an unfinished run of {relation} version, whose {name} computes otherwise. "
            f"{source} to continue it, or start again with --workdir={run_dir.free(workdir)}"
        ]
    )


def tell(values: config.Config, workdir: Path) -> None:
    """Says on stderr where an earlier version computed a run otherwise, or read some picture files of its data so."""
    run = run_dir.read_json(workdir / run_dir.RUN)
    if run is None:
        return
    if not sources.never_changes(values.data.name) and _version(run, "reader") < READER_VERSION:
        print(
            f"{plain(str(workdir))} was begun by a version that read some transparent PNG files otherwise: where "
            "its data have such, what follows is not bit-identical to what that version computed",
            file=sys.stderr,
        )
    on_cpu = values.train.compute_dtype == "bfloat16" and run.get("backend") == "cpu"
    if on_cpu and run_dir.ARITHMETIC not in run:
        print(
            f"{plain(str(workdir))} was begun by a version that on a CPU kept what lies between the layers in "
            "bfloat16, too: what follows is not bit-identical to what that version computed",
            file=sys.stderr,
        )


def as_saved(values: config.Config, workdir: Path) -> config.Config:
    """Returns a run's config with an optimizer whose state has the arrays that the run's checkpoints have.

    Only for reading what was trained: before version 2, nadam kept what adam keeps.
    """
    began = _version(run_dir.read_json(workdir / run_dir.RUN), "optimizer")
    if began > 1 or not isinstance(values.optimizer, optimizers.Nadam):
        return values
    names = [field.name for field in dataclasses.fields(optimizers.Adam)]
    adam = optimizers.Adam(**{name: getattr(values.optimizer, name) for name in names})
    return dataclasses.replace(values, optimizer=adam)
