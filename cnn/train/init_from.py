"""What `config.init_from` names: a run, one of its checkpoints or a `.safetensors` file; and whether its arrays fit.

A file has the names of this project, or those of PyTorch's ResNets and VGGs, see `cnn.train.pytorch_names`. Reads names
and shapes alone, without JAX, so that what does not fit is said before anything is computed.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, TypedDict

from safetensors import SafetensorError, safe_open

from cnn import patterns
from cnn.config import config, resolve
from cnn.config.config import Config, ConfigError
from cnn.layers.base import show
from cnn.runs import run_dir
from cnn.train import pytorch_names

SUFFIX = ".safetensors"
FLOAT32 = "F32"
_TYPES = {"bfloat": "BF", "float": "F", "uint": "U", "int": "I"}
"""How a type's name begins in NumPy, and in a file."""
_SHORT = re.compile("|".join(_TYPES))
SHOWN = 20


class Donor(NamedTuple):
    """Trained arrays of some network.

    Attributes:
      place: the run's directory, or the file.
      shapes: of every array by its path, `conv1/kernel`; with its type where that is not float32.
      values: the run's config; `None` for a file.
      step: which of the run's; `None` for the one that its `eval.weights` names.
      pytorch: of a file in PyTorch's names and layout, the name of each array there by its path; else empty.
    """

    place: Path
    shapes: dict[str, str]
    values: Config | None = None
    step: int | None = None
    pytorch: Mapping[str, str] = MappingProxyType({})


Origin = TypedDict(
    "Origin",
    {
        "from": str,
        "step": int | None,
        "weights": str | None,
        "fingerprint": str,
        "loaded": list[str],
        "initialised": list[str],
        "unused": list[str],
    },
)
"""What `run.json` says of the arrays that a run started from: the place, and the paths of those that were taken."""


class Fit(NamedTuple):
    """The paths of a network's arrays that come from a donor, and of those that are initialised."""

    loaded: tuple[str, ...]
    initialised: tuple[str, ...]
    classes: int | None = None
    """How many classes the donor has, where arrays are initialised because it has others."""


def find(text: str) -> Donor:
    """Returns what `config.init_from` names.

    Raises:
      ConfigError: there is no such thing, it cannot be read, or the run has no checkpoint, or none of that step.
    """
    path, step = Path(text), None
    if path.suffix == SUFFIX and path.is_file():
        return _of_file(path)
    if path.parent.name == run_dir.CHECKPOINTS and path.name.isdecimal() and path.is_dir():
        path, step = path.parent.parent, int(path.name)
    elif not path.exists() and text.rpartition("@")[2].isdecimal():
        path, step = Path(text.rpartition("@")[0]), int(text.rpartition("@")[2])
    saved = run_dir.read_json(path / run_dir.CONFIG)
    if saved is None:
        raise _wrong(f"is no run, checkpoint or {SUFFIX} file, got {text!r}. Name runs/NAME, runs/NAME@STEP or a file.")
    try:
        values = resolve.resolve(saved, recorded=True, code=run_dir.recorded_code(path))
    except ConfigError as error:
        raise _wrong(f"the config of {path} is not valid: {error.problems[0]}") from None
    kept = run_dir.steps(path / run_dir.CHECKPOINTS)
    if not kept:
        raise _wrong(f"{path} has no checkpoint yet. Train it first.")
    if step is not None and step not in kept:
        listed = ", ".join(map(str, kept))
        raise _wrong(f"{path} has no checkpoint of step {step}; kept: {listed}, got {text!r}. Name one of these.")
    return Donor(path, _of_network(values), values, step)


def fit(values: Config, donor: Donor) -> Fit:
    """Returns which arrays of a config's network come from the donor.

    Where `init_layers` names none and the donor has another number of classes, all but the arrays of the classes.

    Raises:
      ConfigError: says of every array that is asked for whether it is not there or has another shape, and what does
        fit; of a file in PyTorch's names, of the first.
    """
    own = _of_network(values)
    wanted = patterns.matching(values.init_layers, list(own))
    wrong = {path: donor.shapes.get(path, "nothing") for path in wanted if donor.shapes.get(path) != own[path]}
    classes = _other_classes(values, own, wrong) if values.init_layers == "*" and len(wrong) < len(wanted) else None
    if not wrong or classes is not None:
        loaded = tuple(path for path in wanted if path not in wrong)
        return Fit(loaded, tuple(path for path in own if path not in loaded), classes)
    if donor.pytorch:
        path, there = next(iter(wrong.items()))
        named = f" of {donor.pytorch[path]}" if path in donor.pytorch else ""
        raise _wrong(
            f"{donor.place} does not fit {len(wrong)} of {len(wanted)} arrays, the first is {path}: {there}{named} "
            f"there, {own[path]} here. {_remedy(_whole_layers(own, donor), own)}"
        )
    lines = [f"    {path}: {there} there, {own[path]} here" for path, there in wrong.items()]
    more = [f"    and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
    remedy = _remedy([path for path in own if donor.shapes.get(path) == own[path]], own)
    heading = f"{donor.place} does not fit {len(wrong)} of {len(wanted)} arrays. {remedy}"
    raise _wrong("\n".join([heading, *lines[:SHOWN], *more]))


def check(values: Config, workdir: Path) -> None:
    """Refuses a start that cannot be, for a run that has not begun; one that has does not read it again.

    Raises:
      ConfigError: what `config.init_from` names is missing or does not fit.
    """
    if values.init_from and not has_begun(workdir):
        fit(values, find(values.init_from))


def has_begun(workdir: Path) -> bool:
    """Tells whether a run has saved what it starts from, so that it needs its source no more."""
    return bool(run_dir.steps(workdir / run_dir.CHECKPOINTS))


def _of_network(values: Config) -> dict[str, str]:
    return {
        path: _described(parameter.shape, _SHORT.sub(lambda word: _TYPES[word[0]], parameter.dtype).upper())
        for path, parameter in config.arrays(values.rows).items()
    }


def _described(shape: tuple[int, ...], dtype: str) -> str:
    return show(shape) + ("" if dtype == FLOAT32 else f" of {dtype}")


def _of_file(path: Path) -> Donor:
    try:
        with safe_open(path, "numpy") as file:
            slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
            types = {name: part.get_dtype() for name, part in slices.items()}
            shapes = {name: tuple(part.get_shape()) for name, part in slices.items()}
    except (SafetensorError, OSError) as error:
        raise _wrong(
            f"{path} cannot be read as safetensors: {' '.join(str(error).split())[:200]}. Use another."
        ) from None
    if not pytorch_names.are_pytorch(list(shapes)):
        return Donor(path, {name: _described(shape, types[name]) for name, shape in shapes.items()})
    try:
        names = pytorch_names.paths(shapes)
    except pytorch_names.Unknown as error:
        raise _wrong(
            f"{path} has the names of PyTorch, and {error} is no array of a ResNet or a VGG of torchvision or timm, "
            f"got {show(shapes[str(error)]) or 'one number'}. Known: {pytorch_names.KNOWN} and their like; or give all "
            "the names that python main.py summary shows."
        ) from None
    here = {each: _described(pytorch_names.shape_here(shapes[name]), types[name]) for each, name in names.items()}
    return Donor(path, here, pytorch=names)


def _other_classes(values: Config, own: Mapping[str, str], wrong: Mapping[str, str]) -> int | None:
    """Returns how many classes a donor has if that is all that is wrong with it, else `None`."""
    counts = set()
    for path, there in wrong.items():
        (rest, _, last), (rest_there, _, last_there) = own[path].rpartition("x"), there.rpartition("x")
        if rest != rest_there or last != str(values.data.classes) or not last_there.isdecimal():
            return None
        counts.add(int(last_there))
    return counts.pop() if len(counts) == 1 else None


def _whole_layers(own: Mapping[str, str], donor: Donor) -> list[str]:
    """Returns the paths of the layers, a residual as a whole, all of which fits."""
    misfits = {path.split("/")[0] for path in own if donor.shapes.get(path) != own[path]}
    return [path for path in own if path.split("/")[0] not in misfits]


def _remedy(fitting: Sequence[str], own: Mapping[str, str]) -> str:
    if not fitting:
        return "None of them does. Start from another network."
    return f"Take what does: config.init_layers = {patterns.naming(fitting, list(own))!r}."


def _wrong(message: str) -> ConfigError:
    return ConfigError([f"config.init_from: {message}"])
