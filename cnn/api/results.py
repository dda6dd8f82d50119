"""What the functions give back: arrays and numbers with their names, which a notebook shows as tables and pictures."""

import dataclasses
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8

from cnn import losses
from cnn.api import notebook_html
from cnn.layers.base import Shape, show, written
from cnn.model.summary import Row, count_parameters
from cnn.report import escape
from cnn.report.run_files import EvaluationRecord
from cnn.system.text import aligned

SHOWN = 24
"""So many pictures are shown; all are in the arrays."""


@dataclasses.dataclass(frozen=True, repr=False)
class Summary:
    """What every layer makes of one image."""

    image_shape: Shape
    rows: tuple[Row, ...]

    @property
    def parameters(self) -> int:
        """The number of trained parameters."""
        return count_parameters(self.rows)

    @property
    def macs(self) -> int:
        """Multiply-accumulates an image."""
        return sum(row.macs for row in self.rows)

    def _table(self) -> list[tuple[str, ...]]:
        lines: list[tuple[str, ...]] = [("input", "", show(self.image_shape), "", "", "")]
        for row in self.rows:
            count = f"{row.count():,}" if row.parameters else ""
            lines.append((row.path, written(row.layer), show(row.output), row.formula, row.arithmetic, count))
        return lines

    def __repr__(self) -> str:
        return "\n".join([*aligned(self._table()), self._total()])

    def _total(self) -> str:
        return f"{self.parameters:,} parameters, {self.macs:,} multiply-accumulates an image"

    def _repr_html_(self) -> str:
        header = ("layer", "", "output", "how the size follows", "parameters", "=")
        return notebook_html.table(header, self._table(), self._total())


class Curve(NamedTuple):
    """One curve."""

    steps: Int[np.ndarray, " points"]
    values: Float[np.ndarray, " points"]


class Curves(dict[str, Curve]):
    """The learning curves of a run: `train loss` and `valid loss` in nats, accuracies in [0, 1], `learning rate`.

    Further metrics of the validation split are called like `valid macro_f1`.
    """

    def _repr_html_(self) -> str:
        by_kind: dict[str, dict[str, Curve]] = {"loss": {}, "accuracy": {}, "learning rate": {}}
        for name, curve in self.items():
            split, _, what = name.partition(" ")
            of_split = split in ("train", "valid")
            by_kind.setdefault(what if of_split else name, {})[split if of_split else name] = curve
        return notebook_html.joined([notebook_html.chart(lines, what) for what, lines in by_kind.items()])


@dataclasses.dataclass(frozen=True, repr=False)
class SplitEvaluation:
    """A run on every example of a split; `record` is what `evaluation-<split>.json` holds."""

    record: EvaluationRecord

    @property
    def accuracy(self) -> float:
        return self.record["accuracy"]

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the accuracy."""
        low, high = self.record["interval"]
        return low, high

    @property
    def loss(self) -> float:
        """The mean cross-entropy, in nats."""
        return self.record["loss"]

    @property
    def metrics(self) -> dict[str, float]:
        """The monitored metric and those of `eval.metrics`, by name, but for accuracy and loss."""
        return self.record.get("metrics", {})

    @property
    def confusion(self) -> Int[np.ndarray, "classes classes"]:
        """How many examples of the class of the row were taken for that of the column."""
        return np.asarray(self.record["confusion"])

    def __repr__(self) -> str:
        return accuracy_line(self.record)

    def _repr_html_(self) -> str:
        names = [entry["name"] for entry in self.record["classes"]]
        if len(names) > SHOWN:
            return notebook_html.table((repr(self),), ())
        rows = [(name, *counts) for name, counts in zip(names, self.confusion.tolist(), strict=True)]
        return notebook_html.table(("true \\ seen", *map(escape.shortened, names)), rows, repr(self))


@dataclasses.dataclass(frozen=True, repr=False)
class Predictions:
    """What a network takes pictures for.

    Attributes:
      images: what the network got, intensities 0..255.
      logits: one row a picture.
      classes: their names.
      names: of the pictures: their files, or their numbers.
      notes: what was done to each picture, in words.
    """

    images: UInt8[np.ndarray, "n height width channels"]
    logits: Float[np.ndarray, "n classes"]
    classes: tuple[str, ...]
    names: tuple[str, ...]
    notes: tuple[tuple[str, ...], ...]

    @property
    def probabilities(self) -> Float[np.ndarray, "n classes"]:
        """Softmax of the logits, in float64."""
        return losses.softmax(self.logits)

    @property
    def labels(self) -> Int[np.ndarray, " n"]:
        """The likeliest class of each; of equal ones the first."""
        return self.logits.argmax(1)

    def __len__(self) -> int:
        return len(self.names)

    def _said(self) -> list[str]:
        shares = self.probabilities.max(1)
        return [f"{self.classes[label]} {share:.4f}" for label, share in zip(self.labels, shares, strict=True)]

    def __repr__(self) -> str:
        lines = [f"{name}: {said}" for name, said in zip(self.names, self._said(), strict=True)]
        return "\n".join(escape.shortened(line, 200) for line in lines)

    def _repr_html_(self) -> str:
        together = list(zip(self.images, self.names, self._said(), self.notes, strict=True))
        tiles = [
            notebook_html.titled(notebook_html.photograph(image, f"{name}: {said}"), said, name, *notes)
            for image, name, said, notes in together[:SHOWN]
        ]
        return notebook_html.joined(tiles)


@dataclasses.dataclass(frozen=True, repr=False)
class Maps:
    """Filters or feature maps, one behind the other; shown in a signed scale, blue above zero, orange below."""

    numbers: Float[np.ndarray, "height width maps"]
    name: str

    def __repr__(self) -> str:
        return f"{self.name}: {show(self.numbers.shape)}"

    def _repr_html_(self) -> str:
        return notebook_html.maps(self.numbers, self.name)


@dataclasses.dataclass(frozen=True, repr=False)
class ImageJourney:
    """What every layer made of one image, computed on a CPU and checked against float64 sums.

    Attributes:
      pixels: the image, intensities 0..255.
      outputs: by layer, from `input`, which is what the network reads, to the last.
      predicted: the name of the likeliest class.
      checked: how many numbers of the journey were checked.
    """

    pixels: UInt8[np.ndarray, "height width channels"]
    outputs: dict[str, np.ndarray]
    predicted: str
    checked: int

    def __repr__(self) -> str:
        layers = "  ".join(f"{name} {show(output.shape)}" for name, output in self.outputs.items())
        return f"{layers}  {escape.shortened(self.predicted)}; {self.checked:,} numbers checked"

    def _repr_html_(self) -> str:
        maps = [notebook_html.maps(output, name, most=8) for name, output in self.outputs.items() if output.ndim == 3]
        image = notebook_html.titled(
            notebook_html.photograph(self.pixels, "the image"), "the image", f"seen as {self.predicted}"
        )
        rest = notebook_html.table(
            ("layer", "numbers"), [(name, show(o.shape)) for name, o in self.outputs.items() if o.ndim == 1]
        )
        return notebook_html.stacked([image, *maps, rest])


def accuracy_line(record: EvaluationRecord) -> str:
    """Returns the accuracy of an evaluation, its interval, and how many were right."""
    low, high = record["interval"]
    return (
        f"{record['split']} accuracy {record['accuracy']:.4f} (95 % interval {low:.4f} to {high:.4f}), "
        f"{record['correct']:,} of {record['count']:,} right"
    )
