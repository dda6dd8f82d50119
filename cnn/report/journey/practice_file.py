"""The file `practice.npz`: a small network and the pictures with which a page can train it, read without JAX."""

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int32, UInt8

from cnn.report.journey.graph import Stage
from cnn.runs import run_dir

PRACTICE = run_dir.PRACTICE
CHECKED = 8
"""JAX's gradient is kept of the first so many pictures: the more there are, the more a sum of them may round."""
Stages = tuple[Stage, ...]


@dataclasses.dataclass(frozen=True)
class Practice:
    """What a page needs to train a network by itself."""

    networks: dict[str, Stages]
    """By the kernel of the first convolution, `3x3`; one network, by an empty name, where there is no convolution."""
    own: str
    """Whose arrays and gradients are kept."""
    arrays: dict[str, np.ndarray]
    """As JAX draws them before the first step, float32, by `<stage>/<name>`."""
    gradients: dict[str, np.ndarray]
    """JAX's of the mean cross-entropy of the first `CHECKED` training pictures, likewise."""
    table: Float32[np.ndarray, "channels 256"]
    """What the network reads for each intensity."""
    images: UInt8[np.ndarray, "n height width channels"]
    labels: Int32[np.ndarray, " n"]
    train: int
    """So many of the pictures, the first, are trained on; the rest measures the accuracy."""
    classes: tuple[str, ...]
    about: dict[str, Any]
    """`seed`; `whole`, the run's network, where that of the page has fewer features; `of`, the run's pictures."""


def write(path: Path, practice: Practice) -> None:
    """Replaces the file at once; equal contents give equal bytes."""
    meta = {
        "networks": {name: [stage.to_json() for stage in stages] for name, stages in practice.networks.items()},
        **{name: getattr(practice, name) for name in ("own", "train", "classes", "about")},
    }
    stored = {name: getattr(practice, name) for name in ("table", "images", "labels")}
    for kind in ("arrays", "gradients"):
        stored |= {f"{kind}/{name}": array for name, array in getattr(practice, kind).items()}
    buffer = io.BytesIO()
    text = np.frombuffer(json.dumps(meta, allow_nan=False).encode(), np.uint8)
    np.savez_compressed(buffer, meta=text, **stored)
    run_dir.write(path, buffer.getvalue())


def parse(stored: dict[str, np.ndarray]) -> Practice:
    """Returns what `write` wrote, from the arrays of the file."""
    meta = json.loads(stored["meta"].tobytes())

    def kept(kind: str) -> dict[str, np.ndarray]:
        return {name.removeprefix(f"{kind}/"): array for name, array in stored.items() if name.startswith(f"{kind}/")}

    return Practice(
        networks={name: tuple(map(Stage.from_json, stages)) for name, stages in meta["networks"].items()},
        own=meta["own"],
        arrays=kept("arrays"),
        gradients=kept("gradients"),
        table=stored["table"],
        images=stored["images"],
        labels=stored["labels"],
        train=meta["train"],
        classes=tuple(meta["classes"]),
        about=meta["about"],
    )
