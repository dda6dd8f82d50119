"""What a layer is: one class that says its shape and its cost in plain Python, and computes with JAX, NumPy and ONNX.

Importing a layer loads no JAX: what is read from a config, and printed of it, needs none.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NamedTuple, TypedDict

import numpy as np
from numpy.typing import ArrayLike

from cnn.expression import StandIn
from cnn.expression import written as written
from cnn.registry import layer as layer

if TYPE_CHECKING:
    import jax
    from jaxtyping import Array, Int, PRNGKeyArray

Shape = tuple[int, ...]
"""Height, width and channels of a map, or the length of a vector; never the batch."""

Init = Literal["glorot_uniform", "zeros", "ones", "own"]
"""How an array begins; `own` as the layer's `initialise` says."""

Arrays = Mapping[str, Any]
"""The parameters and statistics of a layer, by name."""


class LayerError(ValueError):
    """A layer that does not fit what comes before it, or that lacks what is asked of it."""

    def __init__(self, message: str, position: tuple[int | str, ...] = ()) -> None:
        self.position = position
        super().__init__(message)

    def inside(self, *outer: int | str) -> LayerError:
        """Returns the same error seen from the enclosing chain."""
        return LayerError(str(self), (*outer, *self.position))


class Parameter(NamedTuple):
    """One array of a layer: trained where the collection is `params`, measured where it is `batch_stats`."""

    name: str
    """With slashes where it lies deeper: `Conv_0/kernel`."""
    shape: Shape
    init: Init
    collection: Literal["params", "batch_stats"] = "params"
    dtype: str = "float32"

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class Reach(NamedTuple):
    """The window of its input that one output reads, and how far the next output's window is shifted."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    before: tuple[int, int] = (0, 0)
    """How far the first output's window reaches over the upper and the left edge."""


NOT_KNOWN: Final = "not known"
"""The reach of a layer that cannot tell it."""


class Shard(NamedTuple):
    """What of a batch one device computes, and in which microbatches.

    Attributes:
      rows: the row of each example in the batch, by which dropout draws (default: in order from 0).
      axis: the name of the mesh axis over which the batch is spread, where it is.
      microbatch: how many examples a CPU takes at a time in each layer; it must divide the shard (default: all).
    """

    rows: Int[Array, " batch"] | None = None
    axis: str | None = None
    microbatch: int | None = None


class Training(NamedTuple):
    """What a layer is told in training, beside its input and its arrays.

    Attributes:
      shard: what of the batch its input is.
      make_key: returns a new key at each call; a layer that draws nothing must not call it.
    """

    shard: Shard
    make_key: Callable[[], PRNGKeyArray]


UNIT = 2.0**-24
"""The unit roundoff of float32."""
TINY = 2.0**-126
"""Smaller numbers may be flushed to zero."""
APPROXIMATED = 1e-5
"""Relative: how far two float32 implementations of exp, tanh or erf may be apart."""


def gamma(n: int) -> float:
    """Returns the relative error that n roundings can add up to."""
    return n * UNIT / (1 - n * UNIT)


class Reference(NamedTuple):
    """What a layer should make of one image, in float64, and how far float32 may be from each number.

    Products of two float32 are exact in float64, so that a sum here is *the* sum; float32 may differ from it by at most
    gamma_n times the sum of the terms' sizes, whatever the order of the additions. No tolerance is tuned.

    Source:
      Higham 2002, Accuracy and Stability of Numerical Algorithms, chapter 3.
    """

    right: np.ndarray
    allowed: np.ndarray

    @classmethod
    def exact(cls, right: np.ndarray) -> Reference:
        """Returns numbers that are chosen or moved, never rounded."""
        return cls(right, np.zeros_like(right))

    @classmethod
    def rounded(cls, right: np.ndarray, n: int, size: np.ndarray) -> Reference:
        """Returns numbers that take `n` roundings each; `size` is the sum of the absolute values of their terms."""
        return cls(right, gamma(n) * size + n * TINY)

    @classmethod
    def approximated(cls, right: np.ndarray) -> Reference:
        """Returns numbers of a function (exp, tanh, erf) that each library approximates in its own way."""
        return cls(right, APPROXIMATED * np.abs(right) + TINY)


class OnnxNode(NamedTuple):
    """An operator of ONNX, its inputs by name, the name of its one output, and its attributes."""

    operator: str
    inputs: Sequence[str]
    name: str
    attributes: Mapping[str, Any]


class OnnxGraph:
    """The nodes and arrays of a graph that grows, on maps with the channels first.

    Attributes:
      nodes: in the order of computation.
      arrays: by name; float32, or int64 for shapes.
    """

    def __init__(self) -> None:
        self.nodes: list[OnnxNode] = []
        self.arrays: dict[str, np.ndarray] = {}

    def node(self, operator: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Adds a node and returns the name of its output."""
        self.nodes.append(OnnxNode(operator, inputs, name, attributes))
        return name

    def array(self, name: str, numbers: ArrayLike, dtype: type = np.float32) -> str:
        """Adds an array and returns its name."""
        self.arrays[name] = np.ascontiguousarray(numbers, dtype)
        return name


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer that changes no shape and has no parameters; each kind overrides what differs, and computes in `apply`.

    Its annotated fields are its options: whole numbers, texts and pairs shape the compiled program, a real number
    (`float`, `Positive`, `Rate`, ...) is traced, so that another value compiles nothing.
    """

    kind: ClassVar[str]
    """Its name in an expression; the decorator sets it."""
    monotone: ClassVar[bool] = False
    """Whether it acts on each number alone and never decreases, so that it commutes with a maximum."""
    kept: ClassVar[float] = 1
    """How many arrays like its output are kept for its gradient; the estimate of memory reads it."""

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

    def reach(self, shape: Shape) -> Reach | Literal["not known"] | None:
        """Returns the window that an output reads; `None` is the whole input."""
        del shape
        return Reach((1, 1), (1, 1))

    def mixes_rows(self, shape: Shape) -> bool:
        """Tells whether in training what it makes of one example depends on the others of its batch."""
        del shape
        return False

    def kept_numbers(self, shape: Shape) -> float:
        """Returns how many numbers of one example are kept for its gradient."""
        return self.kept * math.prod(self.output(shape))

    def initialise(self, key: PRNGKeyArray, shape: Shape) -> dict[str, jax.Array]:
        """Returns by name the first values of the arrays whose `init` is `own`, when it is given `shape`."""
        del key, shape
        return {}

    def apply(self, x: jax.Array, arrays: Arrays, layout: str) -> jax.Array:
        """Returns what the layer makes of a batch, in evaluation; also in training, unless `apply_train` differs.

        Args:
          x: images in `layout`, or vectors, (batch, features). In the layout `CHWN` images may be microbatches along
            one more axis, the first.
          arrays: its parameters and statistics.
          layout: `NHWC` or `CHWN`, see `cnn.ops.conv`.

        Raises:
          LayerError: its class does not say how it is computed.
        """
        raise LayerError(
            f"config.model.layers: {self.kind} is a layer that nothing computes. "
            f"Give its class {type(self).__name__} a method apply, see cnn/layers/base.py"
        )

    def apply_train(
        self, x: jax.Array, arrays: Arrays, layout: str, training: Training
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Returns what the layer makes of a batch in training, and its new statistics (`batch_stats`) by name."""
        del training
        return self.apply(x, arrays, layout), {}

    def reference(self, x: np.ndarray, arrays: Arrays) -> Reference | None:
        """Returns what the layer should make of one image, in float64; `None` where the class does not say.

        Args:
          x: one image, height x width x channels, or one vector; float64.
          arrays: its parameters and statistics, float32.
        """
        return None

    def onnx(self, graph: OnnxGraph, x: str, arrays: Arrays, shape: Shape, path: str) -> str:
        """Adds the layer's operators, those of evaluation, to a graph; returns the name of what they make.

        Args:
          graph: grows.
          x: the name of the input; maps have their channels first.
          arrays: its parameters and statistics.
          shape: of one example of the input: height, width, channels, or features.
          path: what the names of nodes and arrays start with; that of the last node.

        Raises:
          LayerError: its class does not say how ONNX computes it.
        """
        raise LayerError(
            f"onnx has no operators yet for the layer {self.kind}. "
            f"Give its class {type(self).__name__} a method onnx, or use --format=stablehlo"
        )


class RecordedLayer(StandIn, Layer):
    """What stands for a layer that is not this package's: it says what the run recorded of it."""

    def __init__(self, name: str, text: str, about: Mapping[str, Any] | None = None) -> None:
        """Takes its name and its text in the config, and the record of `to_record`."""
        vars(self).update(name=name, text=text, about=about)

    @property
    def kind(self) -> str:  # type: ignore[override]
        return self.name

    about: ClassVar[Mapping[str, Any]]

    def output(self, shape: Shape) -> Shape:
        return tuple(self.about["output"])

    def formula(self, shape: Shape) -> str:
        return str(self.about["formula"])

    def parameters(self, shape: Shape) -> tuple[Parameter, ...]:
        return tuple(Parameter(name, tuple(shape), *rest) for name, shape, *rest in self.about["parameters"])

    def macs(self, shape: Shape) -> int:
        return int(self.about["macs"])

    def reach(self, shape: Shape) -> Reach | Literal["not known"] | None:
        reach = self.about["reach"]
        return Reach(*(tuple(pair) for pair in reach)) if isinstance(reach, list) else reach


class LayerRecord(TypedDict):
    """What a run keeps of a layer that is not this package's, as `Layer` says it of its input."""

    output: list[int]
    formula: str
    parameters: list[list[Any]]
    macs: int
    reach: Any


def to_record(layer: Layer, shape: Shape) -> LayerRecord:
    """Returns what a run keeps of a layer that is not this package's, in JSON, so that its page needs no code."""
    return {
        "output": list(layer.output(shape)),
        "formula": layer.formula(shape),
        "parameters": [[*parameter] for parameter in layer.parameters(shape)],
        "macs": layer.macs(shape),
        "reach": layer.reach(shape),
    }


def require_map(shape: Shape) -> tuple[int, int, int]:
    """Returns the height, width and channels.

    Raises:
      LayerError: the input is a vector.
    """
    if len(shape) != 3:
        raise LayerError(f"needs a map (height x width x channels), got {show(shape)}. Place it before flatten")
    height, width, channels = shape
    return height, width, channels


def show(shape: Shape) -> str:
    """Returns a shape as it is usually written: `26x26x64`, `1600`."""
    return "x".join(map(str, shape))
