"""Where a network looked: Grad-CAM over its last maps, and integrated gradients of the picture, for a class."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Float32

from cnn.layers.base import Layer
from cnn.model import network
from cnn.model.classifier import Classifier
from cnn.model.summary import Row, named
from cnn.report.journey.journey_file import Attribution
from cnn.system.compile_times import ONCE

TOLERANCE = 0.01
"""By so much of the difference of the logits the integrated gradients may miss it, or there are more steps."""
POINTS, MOST_STEPS = 16, 512
"""Points between the black picture and the picture: the first number of them, also computed at a time, and the last."""
PRODUCTS = 1e11
"""About the most multiplications for all pictures together."""

Maps = Float[np.ndarray, "height width channels"]


class NoGradient(ValueError):
    """Says why a network gives no gradients to look at."""


class Network(NamedTuple):
    """A pytree: a chain of layers, as much of a network as is differentiated."""

    layers: tuple[Layer, ...]
    variables: network.Variables


def last_maps(rows: Sequence[Row]) -> str | None:
    """Returns the last layer, of those that are in no other, that makes maps of more than one pixel."""
    made = [row.path for row in rows if not row.depth and len(row.output) == 3 and row.output[:2] != (1, 1)]
    return made[-1] if made else None


def grad_cam(classifier: Classifier, layer: str, maps: Maps, label: int) -> Float32[np.ndarray, "height width"]:
    """Returns how much each pixel of the maps speaks for a class: their sum, each times its mean gradient, above zero.

    Args:
      classifier: the network.
      layer: that made the maps, one of those that are in no other.
      maps: what it made of one picture.
      label: the class.

    Raises:
      NoGradient: the layers behind it cannot be differentiated.

    Source:
      Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391, equations 1 and 2.
    """
    _, slopes = _slopes(_behind(classifier, layer), maps[None], label)
    return np.maximum(maps.astype(np.float64) @ slopes[0].mean((0, 1)), 0).astype(np.float32)


def integrated_gradients(
    classifier: Classifier, image: Maps, black: Maps, label: int, most: int = MOST_STEPS
) -> tuple[Float32[np.ndarray, "height width"], float, float, int]:
    """Returns what each pixel adds to a logit on the straight way from black to the picture.

    Args:
      classifier: the network.
      image: what it reads of the picture.
      black: what it reads of a black one.
      label: the class.
      most: the most points on the way.

    Returns:
      The parts, summed over the channels; their sum; by how much the picture's logit is above that of black, which the
      sum is to be; and the points: twice as many until the sum misses that by at most `TOLERANCE` of it.

    Raises:
      NoGradient: the network cannot be differentiated.

    Source:
      Sundararajan et al. 2017, https://arxiv.org/abs/1703.01365, equation 1.
    """
    whole, way = Network(classifier.layers, classifier.variables), image - black
    ends, slopes = _slopes(whole, np.stack([image, black] + [black] * (POINTS - 2)), label)
    difference, steps = float(ends[0] - ends[1]), POINTS
    # The trapezoid rule: twice as many steps need only the points between those that are there.
    total = slopes[:2].sum(0) / 2 + _between(whole, black, way, np.arange(1, steps) / steps, label)
    while True:
        parts = total * way / steps
        if abs(parts.sum() - difference) <= TOLERANCE * abs(difference) or 2 * steps > most:
            return parts.sum(-1).astype(np.float32), float(parts.sum()), difference, steps
        total += _between(whole, black, way, (np.arange(steps) + 0.5) / steps, label)
        steps *= 2


def _between(part: Network, black: Maps, way: Maps, shares: Float[np.ndarray, " n"], label: int) -> np.ndarray:
    """Returns the sum of the gradients at so many points of the way, each a share of it."""
    total = np.zeros(way.shape)
    for start in range(0, len(shares), POINTS):
        some = shares[start : start + POINTS]
        points = black + np.resize(some, POINTS)[:, None, None, None] * way
        total += _slopes(part, points, label)[1][: len(some)].sum(0)
    return total


def attribute(
    classifier: Classifier,
    rows: Sequence[Row],
    outputs: Mapping[str, np.ndarray],
    black: Maps,
    labels: Sequence[list[int]],
) -> tuple[list[tuple[Attribution, ...]], dict[str, Any]]:
    """Returns what in each picture spoke for each of its classes, and what the page says of it.

    Args:
      classifier: on the CPU.
      rows: its layers, traced.
      outputs: `input`, and what every layer made of all pictures, by its path.
      black: what the network reads of a black picture.
      labels: the classes of each picture.
    """
    maps = last_maps(rows)
    macs = sum(row.macs for row in rows)
    most = min(MOST_STEPS, int(PRODUCTS / (3 * max(1, macs) * sum(map(len, labels)))))

    def attributed(number: int, label: int) -> Attribution:
        cam = None if maps is None else grad_cam(classifier, maps, outputs[maps][number], label)
        return Attribution(label, cam, *integrated_gradients(classifier, outputs["input"][number], black, label, most))

    try:
        found = [tuple(attributed(number, label) for label in classes) for number, classes in enumerate(labels)]
    except NoGradient as error:
        return [()] * len(labels), {"why": str(error)}
    return found, {"maps": maps, "tolerance": TOLERANCE, "windows": _windows(rows, maps)}


def _windows(rows: Sequence[Row], maps: str | None) -> dict[str, tuple[int, int]] | None:
    """Returns which part of the picture each pixel of the maps sees, on both axes; `None` where it is not known."""
    field = next((row.field for row in rows if row.path == maps), None)
    if field is None or field.size is None or field.jump is None:
        return None
    return {"start": field.start, "size": field.size, "jump": field.jump}


def _behind(classifier: Classifier, layer: str) -> Network:
    """Returns the layers behind one, under the names that they have as a chain of their own."""
    old = [name for name, _ in named(classifier.layers)]
    first = old.index(layer) + 1
    layers = classifier.layers[first:]
    pairs = [(new, known) for (new, _), known in zip(named(layers), old[first:], strict=True)]
    variables = {
        collection: {name: arrays[known] for name, known in pairs if known in arrays}
        for collection, arrays in classifier.variables.items()
    }
    return Network(layers, variables)


def _slopes(
    part: Network, points: np.ndarray, label: int
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, "n height width channels"]]:
    """Returns the logit of a class for each point, and its gradient, in float64."""
    try:
        logits, slopes = _differentiated(part, points.astype(np.float32), label)
    except (NotImplementedError, TypeError, ValueError) as error:  # of a user's own module, by the rules of JAX
        raise NoGradient(f"JAX cannot differentiate it: {' '.join(str(error).split())[:200]}") from None
    logits, slopes = np.asarray(logits, np.float64), np.asarray(slopes, np.float64)
    if not (np.isfinite(logits).all() and np.isfinite(slopes).all()):
        raise NoGradient("its gradient is not finite")
    return logits, slopes


@functools.partial(jax.jit, compiler_options=ONCE)
def _differentiated(part: Network, points: jax.Array, label: int) -> tuple[jax.Array, jax.Array]:
    def logit(points: jax.Array) -> tuple[jax.Array, jax.Array]:
        logits = network.apply(part.layers, part.variables, points, platform="cpu")[:, label]
        return logits.sum(), logits

    slopes, logits = jax.grad(logit, has_aux=True)(points)
    return logits, slopes
