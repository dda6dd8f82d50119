"""A run's receipt: one line of hashes over its config, data, code and results, that a paper can print.

`config` leaves out the fields that cannot change the numbers, such as where the data lie; `code` is the commit, what
differs from it, and the hashes of the run's extensions; `results` are the metrics of all steps, the fingerprint of the
last state, and the evaluations.
"""

import hashlib
import json
import re
from pathlib import Path
from typing import Any, NamedTuple

from cnn.config.config import ConfigError, by_path
from cnn.runs import run_dir

DIGITS = 16
"""Hexadecimal, of each part."""
_WRITTEN = re.compile(r"cnn-receipt-1((?: [a-z]+=[0-9a-f]{16}){4})")
MEASURED = ("status", "step", "train", "fingerprint", "best", "weights", "bad_step", "valid", "test")
"""What `result.json` says of a run, but for its times."""


class Receipt(NamedTuple):
    """The hashes of a finished run."""

    config: str
    data: str
    code: str
    results: str

    def __str__(self) -> str:
        return "cnn-receipt-1 " + " ".join(f"{name}={value}" for name, value in self._asdict().items())


def of_run(workdir: Path) -> Receipt:
    """Returns the receipt of a finished run, from its files alone.

    Raises:
      ConfigError: there is no run, or it has not finished.
      BrokenFile: a file is not what this software wrote.
    """
    saved = run_dir.read_config(workdir)
    result = run_dir.read_json(workdir / run_dir.RESULT)
    if result is None:
        raise ConfigError([f"--workdir: {workdir} has not finished, so it has no receipt. Train it to its end"])
    run = run_dir.read_json(workdir / run_dir.RUN) or {}
    config = {path: value for path, value in by_path(saved).items() if path not in run_dir.HARMLESS}
    git = run.get("git") or {}
    code = [git.get("commit"), git.get("diff"), run.get(run_dir.CODE)]
    measured = {name: result[name] for name in MEASURED if name in result}
    metrics = (workdir / run_dir.METRICS).read_bytes()
    return Receipt(
        config=_hash(config),
        data=_hash((run.get("data") or {}).get("identity")),
        code=_hash(code),
        results=_hash([measured, hashlib.sha256(metrics).hexdigest()]),
    )


def parse(text: str) -> Receipt:
    """Returns the receipt that a line states.

    Raises:
      ConfigError: it is none.
    """
    found = _WRITTEN.fullmatch(" ".join(text.split()))
    parts = dict(part.split("=") for part in found[1].split()) if found else {}
    if set(parts) != set(Receipt._fields):
        raise ConfigError([f"--receipt: must be a line that verify printed, cnn-receipt-1 config=..., got {text!r}"])
    return Receipt(**parts)


def differing(stated: Receipt, found: Receipt) -> list[str]:
    """Returns the names of the parts in which two receipts differ."""
    return [name for name in Receipt._fields if getattr(stated, name) != getattr(found, name)]


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:DIGITS]
