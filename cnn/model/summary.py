"""From a layer expression to rows: names, shapes, parameters and receptive fields, from the image to the logits."""

import dataclasses
import functools
import math
import types
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any

from cnn import expression
from cnn.layers import own
from cnn.layers.activation import Softmax
from cnn.layers.base import Layer, LayerError, Parameter, RecordedLayer, Shape, show, written
from cnn.layers.combine import Branches
from cnn.layers.initialisers import Whiten
from cnn.registry import LAYERS, snake_case

MOST_ARRAYS = 4
"""Of a layer, whose sizes are written out."""
NOTHING: Mapping[str, Any] = types.MappingProxyType({})


@dataclasses.dataclass(frozen=True)
class Field:
    """The receptive field of one number, in pixels of the image; `None` is the whole image."""

    size: tuple[int, int] | None = (1, 1)
    jump: tuple[int, int] | None = (1, 1)
    """How far apart in the image the centres of two neighbouring fields lie."""
    start: tuple[int, int] = (0, 0)
    """Where the first field begins, below zero where it reaches over the edge."""
    known: bool = True
    """Whether every layer so far could tell its reach; where not, the size and the jump are `None`."""

    def through(self, layer: Layer, shape: Shape) -> "Field":
        reach = layer.reach(shape)
        if not self.known or isinstance(reach, str):
            return Field(None, None, known=False)
        if reach is None or self.size is None or self.jump is None:
            return Field(None, None)
        height, width = (r + (k - 1) * j for r, k, j in zip(self.size, reach.kernel, self.jump, strict=True))
        down, right = (j * s for j, s in zip(self.jump, reach.strides, strict=True))
        top, left = (s - p * j for s, p, j in zip(self.start, reach.before, self.jump, strict=True))
        return Field((height, width), (down, right), (top, left))

    def joined(self, other: "Field") -> "Field":
        """Returns the least field that holds both."""
        if self.size is None or other.size is None:
            return Field(None, None, known=self.known and other.known)
        # Which of the two reaches further up may not be the one that reaches further down.
        (top, bottom), (left, right) = (
            (min(a, b), max(a + n, b + m))
            for a, n, b, m in zip(self.start, self.size, other.start, other.size, strict=True)
        )
        return Field((bottom - top, right - left), self.jump, (top, left))

    @property
    def sees(self) -> str:
        """The size as it is shown: `5x5`, `all`, or `?` where it is not known."""
        return "?" if not self.known else "all" if self.size is None else show(self.size)


@dataclasses.dataclass(frozen=True)
class Row:
    """One layer of a traced network."""

    path: str
    layer: Layer
    input: Shape
    output: Shape
    field: Field

    @property
    def depth(self) -> int:
        return self.path.count("/")

    @property
    def formula(self) -> str:
        return self.layer.formula(self.input)

    @property
    def parameters(self) -> tuple[Parameter, ...]:
        return self.layer.parameters(self.input)

    @property
    def arithmetic(self) -> str:
        """How many numbers are trained, written out: `3*3*1*64 + 64`; of many arrays only how many they are."""
        trained = [parameter for parameter in self.parameters if parameter.collection == "params"]
        if len(trained) > MOST_ARRAYS:
            return f"{len(trained)} arrays"
        return " + ".join("*".join(map(str, parameter.shape)) for parameter in trained)

    @property
    def macs(self) -> int:
        return self.layer.macs(self.input)

    def count(self, collection: str = "params") -> int:
        """Returns how many numbers of a collection the layer owns."""
        return sum(parameter.size for parameter in self.parameters if parameter.collection == collection)


def named(layers: Sequence[Layer]) -> list[tuple[str, Layer]]:
    """Returns each layer with its stable name, its kind and its number among its kind: `conv1`, `relu1`, `conv2`."""
    seen: Counter[str] = Counter()
    pairs = []
    for layer in layers:
        kind = snake_case(layer.kind.rpartition(".")[2])
        seen[kind] += 1
        pairs.append((f"{kind}{'_' if kind[-1].isdigit() else ''}{seen[kind]}", layer))
    return pairs


def trace(layers: Sequence[Layer], image_shape: Shape, recorded: Mapping[str, Any] = NOTHING) -> tuple[Row, ...]:
    """Returns a row for every layer, in order; those inside a layer of several chains stand before it.

    Args:
      layers: the network.
      image_shape: height, width, channels.
      recorded: by path, what a run recorded of the layers that only stand for others.

    Raises:
      LayerError: a layer does not fit; its position tells which.
    """
    return tuple(_walk(_recalled(layers, "", recorded), image_shape, Field(), ""))


def _walk(layers: Sequence[Layer], shape: Shape, field: Field, prefix: str) -> Iterator[Row]:
    previous = "the image"
    for index, (name, layer) in enumerate(named(layers)):
        position = f"position {index + 1}" + (f" of {prefix.rstrip('/')}" if prefix else "")
        try:
            if isinstance(layer, Softmax) and (prefix or index + 1 < len(layers)):
                raise LayerError("may only stand last: training reads the logits before it")
            if isinstance(getattr(layer, "init", None), Whiten) and (prefix or index):
                raise LayerError(
                    "begins with init=whiten, which may only stand first: it whitens patches of the images"
                )
            inner, field = yield from _inside(layer, shape, field, prefix + name)
            output = own.output(layer, shape)
        except LayerError as error:
            if error.position:
                raise error.inside(index) from None
            message = f"{written(layer)} at {position} {error} (after {previous}, {show(shape)})"
            raise LayerError(message, (index,)) from None
        field = field if inner else field.through(layer, shape)
        yield Row(f"{prefix}{name}", layer, shape, output, field)
        previous, shape = f"{written(layer)} at {position}", output


def _recalled(layers: Sequence[Layer], prefix: str, recorded: Mapping[str, Any]) -> tuple[Layer, ...]:
    """Returns layers of which those that only stand for others know what the run recorded, at any depth."""
    found: list[Layer] = []
    for index, (name, layer) in enumerate(named(layers)):
        path = f"{prefix}{name}"
        if isinstance(layer, Branches):
            chains = []
            for branch in layer.chains:
                try:
                    chains.append(_recalled(branch.layers, branch.prefix(path), recorded))
                except LayerError as error:
                    raise error.inside(index, branch.field) from None
            layer = layer.with_chains(chains)
        elif isinstance(layer, RecordedLayer):
            if path not in recorded:
                raise LayerError(f"{layer.name} is no layer of this software, and the run says nothing of it", (index,))
            layer = RecordedLayer(layer.name, layer.text, recorded[path])
        found.append(layer)
    return tuple(found)


def _inside(layer: Layer, shape: Shape, field: Field, path: str) -> Generator[Row, None, tuple[bool, Field]]:
    """Yields the rows inside a layer of several chains; returns whether it is one and the field after it."""
    if not isinstance(layer, Branches):
        return False, field
    ends = []
    for branch in layer.chains:
        end = field
        try:
            for row in _walk(branch.layers, shape, field, branch.prefix(path)):
                end = row.field
                yield row
        except LayerError as error:
            raise error.inside(branch.field) from None
        ends.append(end)
    return True, functools.reduce(Field.joined, ends or [field])


def count_parameters(rows: Iterable[Row], collection: str = "params") -> int:
    """Returns how many numbers of a collection the network owns."""
    return sum(row.count(collection) for row in rows)


def activation_bytes(shape: Shape) -> int:
    """Returns the bytes of one float32 activation of this shape."""
    return 4 * math.prod(shape)


def parse(text: str, names: Mapping[str, Any], kinds: Mapping[str, type] = LAYERS) -> expression.Built:
    """Reads a layer expression; see `cnn.expression.build`."""
    return expression.build(text, kinds, names)


def fit(
    built: expression.Built, text: str, image_shape: Shape, classes: int, recorded: Mapping[str, Any] = NOTHING
) -> tuple[Row, ...]:
    """Traces an expression's layers and checks that they end in one logit a class.

    Raises:
      ExpressionError: a layer does not fit, with a caret under it.
    """
    if not built.items:
        raise expression.ExpressionError("is empty. Write at least flatten | dense(classes)")
    try:
        rows = trace(built.items, image_shape, recorded)
    except LayerError as error:
        raise expression.ExpressionError(str(error), text, built.span(error.position)) from None
    if rows[-1].output != (classes,):
        message = f"ends in {show(rows[-1].output)}, expected {classes} logits. End with dense(classes)"
        raise expression.ExpressionError(message, text, built.spans[-1])
    return rows
