"""The format of a checkpoint: what the folder of a step holds, and how one knows that it is whole.

Orbax writes the arrays (`state/`), our meta data (`meta/`, sealed with their checksum) and the score (`metrics/`); then
`sums.json` is added with the checksums of all files.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypedDict, cast

import jax
import orbax.checkpoint as ocp

from cnn.runs.run_dir import BrokenFile, step_name, write_json

SCHEMA = 1
TRASH, CORRUPT = "_trash", "_corrupt"
FILES = ("commit_success.txt", "state/manifest.ocdbt", "state/commit_success.txt", "meta/commit_success.txt")
SUMS = "sums.json"
JSON_FILES = ("_CHECKPOINT_METADATA", "state/_METADATA", "metrics/metrics")


class Meta(TypedDict, total=False):
    """What is written beside the arrays of a step, as JSON."""

    schema: int
    """Of this format."""
    score: float | None
    """Of a step that was the best when it was saved: what was monitored, such as the validation accuracy; with a minus
    where lower is better, so that the largest score is the best."""
    leaves: dict[str, str]
    """The path of every array, with its type and shape."""
    fingerprint: str
    progress: dict[str, Any]
    """Where the training loop was."""
    seed: int
    data: str
    """The identity of the dataset."""
    config: str
    """A hash of it."""
    numerics: dict[str, Any]
    """What the last digits depend on."""


class SealedMeta(TypedDict):
    """A step's meta data with their own checksum."""

    sha256: str
    content: Meta


class Damaged(Exception):
    """A step that is not what was saved; its text says why."""


class Foreign(BrokenFile):
    """A step of another network, type or program version: whole, but not this run's."""


class NoValidCheckpoint(OSError):
    """Steps exist and none can be used; nothing was deleted, and nothing starts again from zero."""


def leader_alone() -> ocp.options.MultiprocessingOptions:
    """Returns what has Orbax ask nothing of other processes: only the first one of a run touches its checkpoints."""
    if jax.process_count() == 1:
        return ocp.options.MultiprocessingOptions()
    return ocp.options.MultiprocessingOptions(primary_host=0, active_processes={0}, barrier_sync_key_prefix="leader")


def folder(directory: Path, step: int) -> Path:
    """Returns where a step is kept."""
    return directory.absolute() / step_name(step)


def seal(meta: Meta) -> SealedMeta:
    """Returns the meta data with their own checksum."""
    return {"sha256": _digest(meta), "content": meta}


def unseal(path: Path) -> Meta:
    """Returns the meta data of the step at `path`.

    Raises:
      Damaged: they are missing, unreadable, or not what was sealed.
      Foreign: they were written by another version of this program.
    """
    sealed = _json(path / "meta/metadata")
    content = sealed.get("content")
    if not isinstance(content, dict) or not _is_sealed(content, sealed.get("sha256")):
        raise Damaged("meta/metadata is not what was written")
    if content.get("schema") != SCHEMA:
        raise Foreign(f"{path}: has schema {content.get('schema')!r}, expected {SCHEMA}. Use the version that wrote it")
    return cast(Meta, content)


def write_sums(path: Path) -> None:
    """Adds the checksums of its files to a step that is whole.

    What damage they find need not be found by Orbax, which prints dozens of tracebacks over it. A step whose process
    was killed before it had them is still known to be whole, by its fingerprint.
    """
    files = sorted(file for file in path.rglob("*") if file.is_file() and file.name != SUMS)
    write_json(path / SUMS, {str(file.relative_to(path)): _sum(file) for file in files})


def inspect(path: Path) -> Meta:
    """Returns the meta data of a step of which all is there that can be told without reading the arrays.

    Raises:
      Damaged: something is missing or unreadable.
      Foreign: it was written by another version of this program.
    """
    for name in FILES:
        if not (path / name).is_file():
            raise Damaged(f"{name} is missing")
    _check_sums(path)
    found = {name: _json(path / name) for name in JSON_FILES}
    meta = unseal(path)
    if found["metrics/metrics"].get("score") != meta["score"]:
        raise Damaged("metrics/metrics is not what was written")
    return meta


def score(metrics: Mapping[str, Any]) -> float:
    """Returns what chooses the best step: larger is better, and what has no score is never best."""
    value = metrics.get("score")
    return value if isinstance(value, float) and math.isfinite(value) else -math.inf


def array_name(path: Any) -> str:
    """Returns the name of an array of a state, such as `params/conv1/kernel`, from its path in JAX's sense."""
    return jax.tree_util.keystr(path, simple=True, separator="/")


def array_types(tree: Any) -> dict[str, str]:
    """Returns the name of every array of a state with its type and shape: `float32[3,3,1,64]`."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {array_name(path): f"{leaf.dtype}{list(leaf.shape)}" for path, leaf in leaves}


def array_shapes(types: Mapping[str, str]) -> dict[str, jax.ShapeDtypeStruct]:
    """Returns what `array_types` tells of, by name."""
    parts = {name: text.partition("[") for name, text in types.items()}
    return {name: jax.ShapeDtypeStruct(json.loads(f"[{rest}"), dtype) for name, (dtype, _, rest) in parts.items()}


def _is_sealed(content: Mapping[str, Any], digest: Any) -> bool:
    try:
        return _digest(content) == digest
    except ValueError:  # NaN, which we never write
        return False


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_sums(path: Path) -> None:
    if not (path / SUMS).exists():
        return
    for name, expected in _json(path / SUMS).items():
        try:
            found = _sum(path / name)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError, ValueError):
            raise Damaged(f"{name} is missing") from None
        if found != expected:
            raise Damaged(f"{name} is not what was written")


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise Damaged(f"{path.parent.name}/{path.name} is missing") from None
    except (ValueError, RecursionError):
        raise Damaged(f"{path.parent.name}/{path.name} is not JSON") from None
    if not isinstance(content, dict):
        raise Damaged(f"{path.parent.name}/{path.name} is not a JSON object")
    return content
