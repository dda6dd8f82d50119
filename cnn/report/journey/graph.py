"""The stages of a network in the order they are computed, and what of each earlier one a number depends on."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cnn import fields
from cnn.layers.base import Layer, Reach, Shape, written
from cnn.layers.combine import Branches
from cnn.layers.convolution import Conv, Depthwise
from cnn.layers.module import ModuleLayer
from cnn.layers.pooling import AvgPool, MaxPool
from cnn.layers.window import pads
from cnn.model.summary import Row, named, trace

Interval = tuple[int, int]
"""The first row or column, and the one after the last."""
Region = tuple[Interval, Interval]
"""Rows and columns of a map."""

EXACT = ("relu", "relu6", "max_pool", "global_max_pool", "flatten", "dropout", "drop_path", "identity", "concat")
"""Kinds that choose or move numbers without rounding: bit for bit the same wherever they are computed."""

_WINDOWED = ("conv", "max_pool", "avg_pool")
_WHOLE = ("dense", "global_avg_pool", "global_max_pool", "group_norm", "softmax", "flatten")
"""Kinds whose numbers may depend on every pixel of what they read."""


@dataclasses.dataclass(frozen=True)
class Stage:
    """The image, or what one layer makes of earlier stages."""

    name: str
    """`input`, or the layer's path: `conv1`, `residual1/shortcut/conv1`."""
    op: str
    """`input`, the layer's kind, `add` for the end of a residual, or `conv` for a depthwise one."""
    sources: tuple[int, ...]
    """The numbers of the stages it reads, counted from the image, 0."""
    input: Shape
    output: Shape
    text: str = ""
    """The layer as it is written in an expression."""
    formula: str = ""
    arrays: tuple[str, ...] = ()
    """Its parameters and statistics, by name."""
    kernel: tuple[int, int] = (1, 1)
    strides: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: tuple[tuple[int, int], tuple[int, int]] = ((0, 0), (0, 0))
    """Rows of zeros before and after, columns before and after."""
    groups: int = 1
    epsilon: float = 0.0
    sees_known: bool = True
    """Whether every layer that leads here tells what it reads."""
    numbers: Mapping[str, Any] = dataclasses.field(default_factory=dict, hash=False)
    """Options of the layer that its arithmetic needs, where the fields above do not hold them."""
    checked: bool = True
    """Whether anything says in float64 what its numbers should be."""

    @property
    def exact(self) -> bool:
        return self.op in EXACT

    def to_json(self) -> dict[str, Any]:
        record = dataclasses.asdict(self)
        return record if self.numbers else {name: value for name, value in record.items() if name != "numbers"}

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> "Stage":
        return cls(**{name: _tuples(value) for name, value in record.items()})


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def build(layers: Sequence[Layer], image_shape: Shape) -> tuple[Stage, ...]:
    """Returns the image and a stage for every layer; those inside a residual stand before its sum.

    Args:
      layers: a network that fits.
      image_shape: height, width, channels.
    """
    rows = {row.path: row for row in trace(layers, image_shape)}
    stages = [Stage("input", "input", (), image_shape, image_shape)]
    _chain(layers, 0, "", rows, stages)
    return tuple(stages)


def _chain(layers: Sequence[Layer], source: int, prefix: str, rows: dict[str, Row], stages: list[Stage]) -> int:
    """Appends the stages of a chain that reads stage `source`; returns the number of its last."""
    for name, layer in named(layers):
        row = rows[prefix + name]
        if isinstance(layer, Branches):
            ends = tuple(
                _chain(branch.layers, source, branch.prefix(row.path), rows, stages) for branch in layer.chains
            )
            shapes, said = (row.output, row.output), (layer.kind, row.formula)
            stages.append(Stage(row.path, layer.op, ends, *shapes, *said, sees_known=row.field.known))
        else:
            stages.append(_stage(row, source))
        source = len(stages) - 1
    return source


def _stage(row: Row, source: int) -> Stage:
    layer = row.layer
    options: dict[str, Any] = {}
    if isinstance(layer, Depthwise):
        layer = layer.conv(row.input[2])
    if isinstance(layer, (Conv, MaxPool, AvgPool)):
        size = layer.kernel if isinstance(layer, Conv) else layer.window
        zeros = pads(row.input, layer.reach(row.input), layer.padding)
        options = {"kernel": size, "strides": layer.strides, "pads": zeros}
    if isinstance(layer, Conv):
        options |= {"dilation": layer.dilation, "groups": layer.groups}
    if layer.kind in ("batch_norm", "group_norm"):
        options = {"epsilon": float(layer.epsilon), "groups": getattr(layer, "groups", 1)}  # type: ignore[attr-defined]
    elif layer.kind not in (*_WINDOWED, *_WHOLE):
        options = _reach(row)
        if layer.kind not in EXACT and not isinstance(layer, ModuleLayer):
            options["numbers"] = _numbers(layer)
    options |= {"sees_known": row.field.known, "checked": not isinstance(layer, ModuleLayer)}
    # The page computes nothing of a module, so it needs none of its arrays.
    arrays = tuple(parameter.name for parameter in row.parameters) if options["checked"] else ()
    shapes = (row.input, row.output)
    return Stage(row.path, layer.kind, (source,), *shapes, written(row.layer), row.formula, arrays, **options)


def _numbers(layer: Layer) -> dict[str, Any]:
    """Returns the options of a layer that are numbers, texts or pairs, as JSON has them."""
    given = {name: getattr(layer, name) for name in fields.options(type(layer))}
    plain = {name: value for name, value in given.items() if isinstance(value, (int, float, str, tuple))}
    return {name: value for name, value in plain.items() if not isinstance(value, tuple) or _is_pair(value)}


def _is_pair(value: tuple[Any, ...]) -> bool:
    return all(isinstance(each, (int, float)) for each in value)


def _reach(row: Row) -> dict[str, Any]:
    """Returns the window of a kind that is not listed above, wide enough for one that may read its whole input."""
    reach, side = row.layer.reach(row.input), max(row.input)
    if not isinstance(reach, Reach):
        return {"kernel": (2 * side + 1, 2 * side + 1), "pads": ((side, side), (side, side))}
    return {"kernel": reach.kernel, "strides": reach.strides}


def reach_back(stages: Sequence[Stage], number: int, row: int, column: int) -> dict[int, Region]:
    """Returns the rows and columns of every earlier stage that one number depends on: its receptive field.

    Args:
      stages: the network.
      number: the stage whose number it is.
      row: of the number; 0 in a vector.
      column: of the number; 0 in a vector.

    Returns:
      By stage; the stage itself included, stages that do not lead to it left out. Vectors have one row and column.
    """
    regions: dict[int, Region] = {number: ((row, row + 1), (column, column + 1))}
    for index in range(number, 0, -1):
        if index not in regions:
            continue
        stage = stages[index]
        for source in stage.sources:
            needed = _needed(stage, regions[index], stages[source].output)
            regions[source] = _joined(regions[source], needed) if source in regions else needed
    return dict(sorted(regions.items()))


def _needed(stage: Stage, region: Region, shape: Shape) -> Region:
    if len(shape) == 1 or shape[:2] == (1, 1):
        return (0, 1), (0, 1)
    if stage.op in _WHOLE:
        return (0, shape[0]), (0, shape[1])
    rows, columns = _windows(stage, region, shape)
    return rows, columns


def _windows(stage: Stage, region: Region, shape: Shape) -> Iterator[Interval]:
    for axis, (first, end) in enumerate(region):
        start = first * stage.strides[axis] - stage.pads[axis][0]
        reach = (stage.kernel[axis] - 1) * stage.dilation[axis] + 1
        stop = (end - 1) * stage.strides[axis] - stage.pads[axis][0] + reach
        yield max(start, 0), min(stop, shape[axis])


def _joined(one: Region, other: Region) -> Region:
    rows, columns = ((min(a[0], b[0]), max(a[1], b[1])) for a, b in zip(one, other, strict=True))
    return rows, columns
