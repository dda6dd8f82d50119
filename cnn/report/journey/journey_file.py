"""The file `journey.npz`: all that a page needs to show how a network came to its answers, read without JAX."""

import dataclasses
import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from cnn.report.journey.graph import Stage
from cnn.runs import run_dir

JOURNEY = run_dir.JOURNEY
_FORMAT = 1


@dataclasses.dataclass(frozen=True)
class Attribution:
    """Which parts of a picture spoke for a class, by Grad-CAM and by integrated gradients."""

    label: int
    """The class."""
    cam: Float32[np.ndarray, "rows columns"] | None
    """Grad-CAM of the last maps; `None` where no layer makes any."""
    parts: Float32[np.ndarray, "height width"]
    """Integrated gradients: what each pixel adds to the logit."""
    total: float
    """Their sum."""
    difference: float
    """By how much the logit is above that of a black picture."""
    steps: int
    """The points on the way from there."""


@dataclasses.dataclass(frozen=True)
class Picture:
    """One image and what every stage made of it."""

    name: str
    """Where it is from: `test/115`, or the name of a file."""
    why: str
    """Why it was chosen, in a few words."""
    pixels: UInt8[np.ndarray, "height width channels"]
    label: int | None
    """The true class; `None` for the user's own picture."""
    recorded: int | None
    """The class that the run's evaluation gave it; `None` where it was not evaluated."""
    outputs: dict[str, np.ndarray]
    """Float32, without the batch, by stage: those that rounding enters."""
    digests: dict[str, int]
    """CRC-32 of the numbers of the stages that follow from others bit for bit, negative zeros as zeros."""
    attributions: tuple[Attribution, ...] = ()
    """For the class that was predicted, and for the true one where that is another."""


@dataclasses.dataclass(frozen=True)
class Journey:
    """What `explain` captured."""

    stages: tuple[Stage, ...]
    arrays: dict[str, np.ndarray]
    """Parameters and statistics, float32, by `<stage>/<name>`."""
    table: Float32[np.ndarray, "channels 256"]
    """What the network reads for each intensity."""
    pictures: tuple[Picture, ...]
    classes: tuple[str, ...]
    about: dict[str, Any]
    """`step`, `weights`, `backend`, `precision`, `jax`, `numbers` (checked, each image), `worst`, `max_mb`,
    `looked`: `maps`, the layer of Grad-CAM, and `tolerance`, or `why` nobody knows where the network looked."""

    def of(self, stage: Stage) -> dict[str, np.ndarray]:
        """Returns the arrays of a stage by their own names."""
        return {name: self.arrays[f"{stage.name}/{name}"] for name in stage.arrays}

    @property
    def unchecked(self) -> str:
        """The names of the stages whose arithmetic nobody checks, empty where there are none."""
        return ", ".join(stage.name for stage in self.stages if not stage.checked)


def write(path: Path, journey: Journey) -> None:
    """Replaces the file at once; equal journeys give equal bytes."""
    plain = ("name", "why", "label", "recorded", "digests")
    sums = ("label", "total", "difference", "steps")
    meta = {
        "format": _FORMAT,
        "stages": [stage.to_json() for stage in journey.stages],
        "pictures": [
            {name: getattr(picture, name) for name in plain}
            | {"looked": [{name: getattr(each, name) for name in sums} for each in picture.attributions]}
            for picture in journey.pictures
        ],
        "classes": list(journey.classes),
        "about": journey.about,
    }
    arrays = {f"array/{name}": array for name, array in journey.arrays.items()} | {"table": journey.table}
    for number, picture in enumerate(journey.pictures):
        arrays[f"pixels/{number}"] = picture.pixels
        arrays |= {f"output/{number}/{name}": array for name, array in picture.outputs.items()}
        for place, each in enumerate(picture.attributions):
            drawn = {"cam": each.cam, "parts": each.parts}
            arrays |= {f"looked/{number}/{place}/{kind}": map for kind, map in drawn.items() if map is not None}
    buffer = io.BytesIO()
    text = json.dumps(meta, allow_nan=False).encode()
    np.savez_compressed(buffer, meta=np.frombuffer(text, np.uint8), **arrays)  # type: ignore[arg-type]
    run_dir.write(path, buffer.getvalue())


def read(path: Path) -> Journey | None:
    """Returns what the file holds, `None` where there is none.

    Raises:
      BrokenFile: it is not what `write` wrote.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            return _parsed({name: file[name] for name in file.files})
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        reason = " ".join(str(error).split())[:200]
        raise run_dir.BrokenFile(f"{path}: is not a journey ({reason}). Write it again with explain.") from None


def _parsed(file: dict[str, np.ndarray]) -> Journey:
    meta = json.loads(file["meta"].tobytes())
    if meta["format"] != _FORMAT:
        raise ValueError(f"format {meta['format']}, expected {_FORMAT}")
    pictures = []
    for number, record in enumerate(meta["pictures"]):
        prefix = f"output/{number}/"
        outputs = {name.removeprefix(prefix): array for name, array in file.items() if name.startswith(prefix)}
        attributions = []
        for place, sums in enumerate(record.pop("looked", ())):  # not in the files of earlier versions
            own = f"looked/{number}/{place}"
            attributions.append(Attribution(**sums, cam=file.get(f"{own}/cam"), parts=file[f"{own}/parts"]))
        pictures.append(
            Picture(**record, pixels=file[f"pixels/{number}"], outputs=outputs, attributions=tuple(attributions))
        )
    return Journey(
        stages=tuple(map(Stage.from_json, meta["stages"])),
        arrays={name.removeprefix("array/"): array for name, array in file.items() if name.startswith("array/")},
        table=file["table"],
        pictures=tuple(pictures),
        classes=tuple(meta["classes"]),
        about=meta["about"],
    )
