"""A ResNet or VGG as torchvision and timm name and lay it out, in the names and the layout of this project.

    layer1.0.conv2.weight             features x inputs x height x width    residual1/conv2/kernel
    layer2.0.downsample.1.running_var                                       residual3/shortcut/batch_norm1/var
    classifier.0.weight               features x inputs                     dense1/kernel

A kernel has its features last here. Of a flattened map PyTorch has all of one channel before the next, this project all
of one pixel. What a module is, the shape of its weight tells; its number among its kind is that in the order of names.
"""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cnn.layers.base import Shape
from cnn.layers.dense import Dense, Flatten
from cnn.model.summary import Row

KNOWN = "conv1, bn1, fc, layer1.0.conv1, layer1.0.bn1, layer1.0.downsample.0, features.0, classifier.0"
"""The modules that are read, as an error lists them."""
_TOP = re.compile(r"conv1|bn1|fc|features\.\d+|classifier\.\d+")
_IN_BLOCK = re.compile(r"(layer\d+\.\d+)\.(?:(?:conv|bn)\d|(downsample)\.[01])")
_IGNORED = "num_batches_tracked"
_KINDS = {4: "conv", 2: "dense", 1: "batch_norm"}
"""The layer whose weight has so many axes."""
_NAMES = {
    "conv": {"weight": "kernel", "bias": "bias"},
    "dense": {"weight": "kernel", "bias": "bias"},
    "batch_norm": {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "var"},
}


class Unknown(ValueError):
    """An array that belongs to no layer which is read, its name first."""


class FlatMap(NamedTuple):
    """An array whose first axis is a map that was flattened, and that map's height, width and channels."""

    path: str
    shape: Shape


def are_pytorch(names: Sequence[str]) -> bool:
    """Tells whether a file's arrays are named as a PyTorch module's are."""
    return any(name.endswith(".weight") for name in names) and not any("/" in name for name in names)


def paths(shapes: Mapping[str, Shape]) -> dict[str, str]:
    """Returns the name of each array of a PyTorch file by its path here, `residual1/conv2/kernel`.

    Args:
      shapes: of the file's arrays by their names.

    Raises:
      Unknown: an array is not one of a ResNet or a VGG.
    """
    modules: dict[str, list[str]] = {}
    for name in shapes:
        module, _, array = name.rpartition(".")
        if array != _IGNORED:
            modules.setdefault(module, []).append(name)
    ordered = sorted(modules, key=_in_order)
    blocks: dict[str, str] = {}
    for module in ordered:
        if match := _IN_BLOCK.fullmatch(module):
            blocks.setdefault(match[1], f"residual{len(blocks) + 1}/")
    seen: Counter[str] = Counter()
    found = {}
    for module in ordered:
        match = _IN_BLOCK.fullmatch(module)
        kind = _KINDS.get(len(shapes.get(f"{module}.weight", ())), "")
        if not kind or not (match or _TOP.fullmatch(module)):
            raise Unknown(modules[module][0])
        layer = f"{blocks[match[1]]}{'shortcut/' if match[2] else ''}{kind}" if match else kind
        seen[layer] += 1
        for name in modules[module]:
            here = _NAMES[kind].get(name.rpartition(".")[2])
            if here is None:
                raise Unknown(name)
            found[f"{layer}{seen[layer]}/{here}"] = name
    return found


def shape_here(shape: Shape) -> Shape:
    """Returns the shape that an array of PyTorch's has in this project's layout."""
    return tuple(shape[axis] for axis in _axes(len(shape)))


def array_here(array: np.ndarray) -> np.ndarray:
    """Returns an array of PyTorch's in this project's layout."""
    return array.transpose(_axes(array.ndim))


def flat_maps(rows: Sequence[Row]) -> list[FlatMap]:
    """Returns the arrays of a network that read the numbers of a flattened map: up to the next dense layer, all."""
    found, chains = [], {}
    for row in rows:
        chain = row.path.rpartition("/")[0]
        if isinstance(row.layer, Flatten) and len(row.input) == 3:
            chains[chain] = row.input
        elif chain in chains:
            found += [FlatMap(f"{row.path}/{parameter.name}", chains[chain]) for parameter in row.parameters]
            if isinstance(row.layer, Dense):
                found = [flat for flat in found if flat.path != f"{row.path}/bias"]
                del chains[chain]
    return found


def channels_last(array: np.ndarray, shape: Shape) -> np.ndarray:
    """Returns an array whose first axis is a flattened map, channel by channel, with it pixel by pixel.

    Args:
      array: of one or more axes.
      shape: height, width and channels of the map.
    """
    height, width, channels = shape
    rest = array.shape[1:]
    return np.moveaxis(array.reshape(channels, height, width, *rest), 0, 2).reshape(-1, *rest)


def _axes(count: int) -> tuple[int, ...]:
    return {4: (2, 3, 1, 0), 2: (1, 0)}.get(count, tuple(range(count)))


def _in_order(module: str) -> list[tuple[bool, int | str]]:
    """Returns what sorts names with the numbers in them as numbers: `features.4` before `features.11`."""
    return [(not part.isdecimal(), int(part) if part.isdecimal() else part) for part in re.split(r"(\d+)", module)]
