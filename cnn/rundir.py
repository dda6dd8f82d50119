"""The files of a run: written whole or not at all, always valid JSON."""

import json
import os
from pathlib import Path
from typing import Any

CONFIG = "config.json"
RUN = "run.json"
METRICS = "metrics.jsonl"
EVENTS = "events.jsonl"
CHECKPOINTS = "checkpoints"
TENSORBOARD = "tensorboard"
RESULT = "result.json"


def evaluation(split: str) -> str:
    """Returns the name of the file with a split's evaluation."""
    return f"evaluation-{split}.json"


def predictions(split: str) -> str:
    """Returns the name of the file with a split's logits."""
    return f"predictions-{split}.npz"


def write(path: Path, content: bytes) -> None:
    """Replaces a file at once: whoever reads it sees the old or the new content, never a part."""
    temporary = path.with_name(f".{path.name}.tmp")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def write_json(path: Path, value: Any) -> None:
    """Replaces a file by readable JSON.

    Raises:
      ValueError: `value` holds NaN or an infinity.
    """
    write(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Returns what a JSON file holds, `None` where there is no file.

    Raises:
      ValueError: the file is no JSON; the message names it.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        return None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: is not valid JSON ({error}). Restore it or choose another --workdir.") from None


def append(path: Path, record: dict[str, Any]) -> None:
    """Adds one line of JSON."""
    with path.open("a") as file:
        file.write(json.dumps(record, allow_nan=False) + "\n")


def truncate(path: Path, size: int) -> None:
    """Cuts a file back to its first `size` bytes, on disk before this returns; a missing file becomes empty."""
    path.touch()
    with path.open("r+b") as file:
        file.truncate(size)
        os.fsync(file.fileno())
