"""Networks as files that other programs open, with a description beside each; what is no export is not overwritten."""

import hashlib
import importlib
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cnn.api import reading
from cnn.config.config import Config, ConfigError
from cnn.fields import did_you_mean
from cnn.runs import recorded_data, run_dir

if TYPE_CHECKING:
    from cnn.export import Artefact, Trained

MADE_BY = "cnn export"


class Format(NamedTuple):
    """One format: the module whose `write(trained)` makes it, the file's suffix, and packages it cannot do without."""

    module: str
    suffix: str
    packages: tuple[str, ...] = ()


FORMATS = {
    "stablehlo": Format("cnn.export.stablehlo", ".stablehlo"),
    "onnx": Format("cnn.export.onnx_graph", ".onnx", ("onnx", "onnxruntime")),
    "safetensors": Format("cnn.export.safetensors_file", ".safetensors"),
}


class Exported(NamedTuple):
    """What was written: the file, the description beside it, how many bytes the file has, and lines for the user."""

    path: Path
    description: Path
    size: int
    said: tuple[str, ...]


def of_run(
    values: Config, workdir: Path, name: str, out: str = "", weights: str | None = None, intensities: str = "uint8"
) -> "tuple[Exported, Trained]":
    """Writes a run's network; returns the file, and what was exported.

    Args:
      values: the run's config.
      workdir: the run's directory.
      name: of the format.
      out: the file; empty: in the run's `exports`, under the name of the weights where they are not the config's.
      weights: last, best or ema; `None` for what the config says.
      intensities: what pictures are given as to the exported network: uint8 or float32.

    Raises:
      ConfigError: see `check`; or there are no such weights or intensities, or nothing is saved yet.
      FloatingPointError: the export differs from what `predict` computes.
    """
    usual = values.eval.weights
    chosen = reading.check_weights(weights or usual)
    intensities = reading.check_input(intensities)
    path = check(name, workdir, "model" if chosen == usual else f"model-{chosen}", out)
    classes = recorded_data.class_names(workdir, values.data.classes)
    from cnn.export import Trained  # JAX takes seconds to import, and what is checked before needs none

    step, classifier = reading.classifier(values, workdir, chosen)
    trained = Trained(values, classifier, tuple(classes), step, chosen, intensities)
    return write(trained, name, path), trained


def check(name: str, folder: Path, stem: str, out: str = "") -> Path:
    """Returns the file to write; what can be known to be wrong is said before anything is computed.

    Args:
      name: of the format.
      folder: the directory in whose `exports` the file goes unless it is named.
      stem: its name there, without a suffix.
      out: the file, where one is named.

    Raises:
      ConfigError: the format is unknown or lacks a package, or the file is another program's.
    """
    if name not in FORMATS:
        raise ConfigError([f"--format: unknown name {name!r}. {did_you_mean(name, FORMATS)}"])
    chosen, problems = FORMATS[name], []
    missing = [package for package in chosen.packages if importlib.util.find_spec(package) is None]
    if missing:
        problems.append(
            f"--format: {name} needs packages that are not installed, got none of the name "
            f"{' and '.join(missing)}. Install: pip install {' '.join(missing)}"
        )
    path = Path(out or folder / run_dir.EXPORTS / f"{stem}{chosen.suffix}")
    if path.is_dir():
        problems.append(f"--out: {path} is a folder. Name a file, such as {path / stem}{chosen.suffix}")
    elif path.exists() and not _is_export(path):
        problems.append(f"--out: {path} exists and is no export of this software. Move it away, or use another --out")
    elif not path.exists() and beside(path).exists() and not _described(beside(path)):
        problems.append(f"--out: {beside(path)}, where the description goes, is another file. Use another --out")
    if problems:
        raise ConfigError(problems)
    return path


def write(trained: "Trained", name: str, path: Path) -> Exported:
    """Writes the export and its description, after the export agreed with this software's own forward pass.

    Args:
      trained: one network, or several whose probabilities are averaged.
      name: of the format.
      path: as `check` returns it.

    Raises:
      ConfigError: the format cannot hold the network.
      FloatingPointError: the export differs from the network, or its logits are not finite.
      OSError: the file cannot be written.
    """
    artefact: Artefact = importlib.import_module(FORMATS[name].module).write(trained)
    models = [json.loads(member.values.json)["model"] for member in trained.members]
    steps = [member.step for member in trained.members]
    general = {
        "format": name,
        "step": steps if trained.others else trained.step,
        "weights": trained.weights,
        "classes": list(trained.classes),
    }
    described = {"networks": len(models), "models": models} if trained.others else {"model": models[0]}
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, artefact, {**general, **described})
    return Exported(path, beside(path), len(artefact.content), artefact.said)


def beside(path: Path) -> Path:
    """Returns where the description of an export is."""
    return path.with_name(f"{path.name}.json")


def _write(path: Path, artefact: "Artefact", general: Mapping[str, Any]) -> None:
    about: dict[str, object] = {"made_by": MADE_BY, "sha256": _sum(artefact.content)}
    if path.exists():
        # Killed between the two files, the old export must still be known as one.
        about["replaces"] = _sum(path.read_bytes())
    run_dir.write_json(beside(path), {**about, **general, **artefact.about})
    run_dir.write(path, artefact.content)


def _is_export(path: Path) -> bool:
    about = _described(beside(path))
    return bool(about) and path.is_file() and _sum(path.read_bytes()) in (about.get("sha256"), about.get("replaces"))


def _described(path: Path) -> Mapping[str, Any]:
    """Returns the description of an export, nothing where it is none."""
    try:
        about = run_dir.read_json(path) or {}
    except (run_dir.BrokenFile, OSError):
        return {}
    return about if about.get("made_by") == MADE_BY else {}


def _sum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
