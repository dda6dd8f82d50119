"""What every layer kind knows about itself, in plain Python."""

import dataclasses
import math
from typing import Any, ClassVar, Literal, NamedTuple

from cnn import fields

Shape = tuple[int, ...]
"""Height, width and channels of a map, or the length of a vector; never the batch."""

Init = Literal["glorot_uniform", "zeros", "ones"]


class LayerError(ValueError):
    """A layer that does not fit what comes before it."""

    def __init__(self, message: str, position: tuple[int | str, ...] = ()) -> None:
        self.position = position
        super().__init__(message)

    def inside(self, *outer: int | str) -> "LayerError":
        """Returns the same error seen from the enclosing chain."""
        return LayerError(str(self), (*outer, *self.position))


class Parameter(NamedTuple):
    """One array of a layer: trained where the collection is `params`, measured where it is `batch_stats`."""

    name: str
    shape: Shape
    init: Init
    collection: Literal["params", "batch_stats"] = "params"

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def arithmetic(self) -> str:
        return "*".join(map(str, self.shape))


class Reach(NamedTuple):
    """The window of its input that one output reads, and how far the next output's window is shifted."""

    kernel: tuple[int, int]
    strides: tuple[int, int]


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer that changes no shape and has no parameters; the kinds override what differs."""

    kind: ClassVar[str]
    monotone: ClassVar[bool] = False
    """Whether it acts on each number alone and never decreases, so that it commutes with a maximum."""

    def output(self, shape: Shape) -> Shape:
        """Returns the shape that this layer makes of `shape`.

        Raises:
          LayerError: the layer does not fit; the message starts with the reason.
        """
        return shape

    def formula(self, shape: Shape) -> str:
        """Returns how the output's shape follows from `shape`; empty where nothing changes."""
        del shape
        return ""

    def parameters(self, shape: Shape) -> tuple[Parameter, ...]:
        """Returns the arrays this layer owns when it is given `shape`."""
        del shape
        return ()

    def macs(self, shape: Shape) -> int:
        """Returns the multiply-accumulates of one image."""
        del shape
        return 0

    def reach(self, shape: Shape) -> Reach | None:
        """Returns the window that an output reads; `None` is the whole input."""
        del shape
        return Reach((1, 1), (1, 1))


def require_map(layer: Layer, shape: Shape) -> tuple[int, int, int]:
    """Returns the height, width and channels.

    Raises:
      LayerError: the input is a vector.
    """
    if len(shape) != 3:
        raise LayerError(f"needs a map (height x width x channels), got {show(shape)}. Place it before flatten")
    height, width, channels = shape
    return height, width, channels


def show(shape: Shape) -> str:
    """Returns a shape as people write it: `26x26x64`, `1600`."""
    return "x".join(map(str, shape))


def written(layer: Layer) -> str:
    """Returns the layer as it stands in an expression, defaults left out: `conv(64, 3)`."""
    annotations, defaults = fields.options(type(layer)), fields.defaults(type(layer))
    required = {name: getattr(layer, name) for name, default in defaults.items() if default is fields.REQUIRED}
    plain = type(layer)(**required)  # a default may follow from another field: the strides of a pooling
    shown: list[str] = []
    for name, annotation in annotations.items():
        value = getattr(layer, name)
        if fields.is_nested(annotation):
            continue
        if name in required:
            shown.append(_short(value))
        elif value != getattr(plain, name):
            shown.append(f"{name}={_short(value)}")
    return f"{layer.kind}({', '.join(shown)})" if shown else layer.kind


def _short(value: Any) -> str:
    if isinstance(value, tuple) and len(set(value)) == 1:
        return str(value[0])
    return f'"{value}"' if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)
