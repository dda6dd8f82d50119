"""`export`: a run's network as one file that other programs open."""

import hashlib
import importlib
import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from cnn.config.config import Config, ConfigError
from cnn.runs import recorded_data, run_dir
from cnn.system.text import plain

if TYPE_CHECKING:
    from cnn.export import Artefact

EXPORTS = "exports"
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


def run(values: Config, workdir: Path, flags: Mapping[str, str]) -> int:
    """Writes the export and its description, after the export agreed with this software's own forward pass.

    Raises:
      ConfigError: a flag is wrong, a package is missing, or nothing is saved yet.
      BrokenFile: `run.json` is not what this software wrote.
      FloatingPointError: the export differs from the run's network, or the run's logits are not finite.
    """
    chosen_format, path = _checked(values, workdir, flags)
    weights = flags.get("weights", values.eval.weights)
    classes = recorded_data.class_names(workdir, values.data.classes)
    from cnn import export  # JAX takes seconds to import, and the checks above need none
    from cnn.train import checkpointer

    step, classifier = checkpointer.restore_classifier(values, workdir, weights)
    trained = export.Trained(values, classifier, tuple(classes), step, weights, flags.get("input", "uint8"))
    artefact = importlib.import_module(chosen_format.module).write(trained)
    general = {"format": flags["format"], "step": step, "weights": weights, "classes": classes}
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, artefact, {**general, "model": json.loads(values.json)["model"]})
    size = f"{len(artefact.content):,} bytes"
    print(f"{plain(str(path))}: {flags['format']}, {size}, step {step:,}, {weights} weights")
    print(f"{plain(str(_beside(path)))}: what goes in, what comes out, the names of the classes")
    for line in artefact.said:
        print(line)
    return 0


def _checked(values: Config, workdir: Path, flags: Mapping[str, str]) -> tuple[Format, Path]:
    """Returns the format and the file to write; what can be known to be wrong is said before anything is computed."""
    if "format" not in flags:
        written = " or ".join(f"--format={name}" for name in FORMATS)
        raise ConfigError([f"--format: is missing. Write {written}"])
    chosen_format = FORMATS[flags["format"]]
    problems = []
    missing = [name for name in chosen_format.packages if importlib.util.find_spec(name) is None]
    if missing:
        problems.append(
            f"--format: {flags['format']} needs packages that are not installed, got none of the name "
            f"{' and '.join(missing)}. Install: pip install {' '.join(missing)}"
        )
    weights = flags.get("weights", values.eval.weights)
    name = "model" if weights == values.eval.weights else f"model-{weights}"
    path = Path(flags.get("out") or workdir / EXPORTS / f"{name}{chosen_format.suffix}")
    if path.is_dir():
        problems.append(f"--out: {path} is a folder. Name a file, such as {path / name}{chosen_format.suffix}")
    elif path.exists() and not _is_export(path):
        problems.append(f"--out: {path} exists and is no export of this software. Move it away, or use another --out")
    elif not path.exists() and _beside(path).exists() and not _described(_beside(path)):
        problems.append(f"--out: {_beside(path)}, where the description goes, is another file. Use another --out")
    if problems:
        raise ConfigError(problems)
    return chosen_format, path


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.json")


def _write(path: Path, artefact: "Artefact", general: Mapping[str, Any]) -> None:
    about: dict[str, object] = {"made_by": MADE_BY, "sha256": _sum(artefact.content)}
    if path.exists():
        # Killed between the two files, the old export must still be known as one.
        about["replaces"] = _sum(path.read_bytes())
    run_dir.write_json(_beside(path), {**about, **general, **artefact.about})
    run_dir.write(path, artefact.content)


def _is_export(path: Path) -> bool:
    about = _described(_beside(path))
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
