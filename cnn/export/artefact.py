"""What an exporter is given, what it makes of it, and what is said beside any export."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from cnn import evaluate
from cnn.config.config import Config, ConfigError
from cnn.model import network, summary
from cnn.model.classifier import Classifier

LARGEST = 2_000_000_000
"""Bytes of weights; what both formats are stored in ends at 2 GiB."""


class Trained(NamedTuple):
    """A run's network at one step; or several networks, whose probabilities are averaged.

    Attributes:
      values: the run's config.
      classifier: its network.
      classes: the names of the classes, in the order of the logits.
      step: the updates behind the variables.
      weights: which they are: last, best or ema.
      intensities: the type of the pictures that go in: uint8, or float32 that holds 0..255 too.
      others: further networks, of the same classes and pictures.
      compared: how many pictures are in each batch with which the export is compared.
    """

    values: Config
    classifier: Classifier
    classes: tuple[str, ...]
    step: int
    weights: str
    intensities: str = "uint8"
    others: tuple["Trained", ...] = ()
    compared: tuple[int, ...] = (1, 7)

    @property
    def members(self) -> tuple["Trained", ...]:
        """All networks, this one first."""
        return (self, *self.others)

    @property
    def variables(self) -> network.Variables:
        """`params` and `batch_stats`."""
        return self.classifier.variables


class Artefact(NamedTuple):
    """What an exporter makes.

    Attributes:
      content: of the file.
      about: what the description beside it says of this format, as JSON.
      said: lines for the user, about this format.
    """

    content: bytes
    about: Mapping[str, Any]
    said: tuple[str, ...] = ()


def pictures(trained: Trained) -> dict[str, Any]:
    """Returns what goes into a network that has its preprocessing inside, and what comes out, as JSON."""
    views = left_out_views(trained)
    return {
        **({"left_out_views": views} if views else {}),
        "input": {
            "name": "images",
            "type": trained.intensities,
            "shape": ["batch", *trained.values.data.image_shape],
            "range": [0, 255],
            "axes": ["batch", "height", "width", "channels"],
        },
        "output": {
            "name": "probabilities",
            "type": "float32",
            "shape": ["batch", trained.values.data.classes],
        },
    }


def unlike_predict(trained: Trained) -> tuple[str, ...]:
    """Returns what is to be said of formats that compute, where `predict` computes something else: a line for each."""
    lines = []
    trained_in = sorted({member.values.train.compute_dtype for member in trained.members} - {"float32"})
    if trained_in:
        types = " and ".join(trained_in)
        lines.append(f"computes in float32; the run, and predict, compute in {types}, whose probabilities are rougher")
    if views := left_out_views(trained):
        lines.append(f"sees each picture as it is, without eval.views={views}, over which predict averages")
    return tuple(lines)


def left_out_views(trained: Trained) -> str:
    """Returns the views over which `predict` averages and an export does not, as the config has them."""
    chains = [evaluate.views_of(member.values).get("views") for member in trained.members]
    return " and ".join(dict.fromkeys(chain for chain in chains if chain))


def check_size(trained: Trained) -> None:
    """Checks that a format with a limit of 2 GiB can hold the networks.

    Raises:
      ConfigError: it cannot.
    """
    collections = ("params", "batch_stats")
    networks = [member.values.rows for member in trained.members]
    size = 4 * sum(summary.count_parameters(rows, name) for rows in networks for name in collections)
    if size > LARGEST:
        raise ConfigError(
            [f"--format: must hold the weights in {LARGEST:,} bytes, got {size:,}. Use a smaller network"]
        )
