"""Measures the filters that look at the image itself, for the page: their numbers, and how often each is silent."""

import functools
import io
import math
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt8

from cnn.config.config import Config
from cnn.data import types
from cnn.layers.activation import Relu
from cnn.layers.combine import Dropout
from cnn.layers.convolution import Conv
from cnn.layers.normalisation import BatchNorm, GroupNorm
from cnn.model import network
from cnn.model.classifier import Classifier
from cnn.model.summary import Row
from cnn.runs import run_dir

MOST_IMAGES, MOST_NUMBERS = 1000, 2**22
"""At most so many images are looked at, and so many numbers are held at a time."""


def write(
    values: Config,
    workdir: Path,
    classifier: Classifier,
    images: UInt8[np.ndarray, "n height width channels"] | types.Stored,
) -> None:
    """Writes `first_layer.npz` for a network that begins with a convolution.

    It holds `kernel` (height, width, channels, filters), `bias`, `zero_share` (of each filter's numbers after the
    activation, over `images` images), and `names` of the layers that were computed.

    Args:
      values: the run's config.
      workdir: the run's directory.
      classifier: the run's network.
      images: intensities 0..255; the first of them are looked at.
    """
    rows = first(values.rows)
    if not rows:
        return
    arrays = classifier.params[rows[0].path]
    kernel = np.asarray(arrays["kernel"], np.float32)
    most = min(MOST_IMAGES, len(images))
    batches = -(-most // max(1, min(100, MOST_NUMBERS // math.prod(rows[0].output))))
    batch = most // batches  # all of one size, which is compiled once; that may leave a few images out
    count = batch * batches
    silent = sum(
        np.asarray(_zeros(classifier, jnp.asarray(images[start : start + batch]), length=len(rows)))
        for start in range(0, count, batch)
    )
    stream = io.BytesIO()
    np.savez_compressed(
        stream,
        kernel=kernel,
        bias=np.asarray(arrays.get("bias", np.zeros(kernel.shape[-1])), np.float32),
        zero_share=silent / (count * math.prod(rows[0].output[:2])),
        images=count,
        names=[row.path for row in rows],
    )
    run_dir.write(workdir / run_dir.FIRST_LAYER, stream.getvalue())


def first(rows: tuple[Row, ...]) -> list[Row]:
    """Returns the convolution that begins the network, up to its ReLU where one follows; nothing for other networks."""
    if not isinstance(rows[0].layer, Conv) or rows[0].depth:
        return []
    found = [rows[0]]
    for row in rows[1:]:
        if isinstance(row.layer, Relu):
            return [*found, row]
        if not isinstance(row.layer, (BatchNorm, GroupNorm, Dropout)):
            break
        found.append(row)
    return [rows[0]]


@functools.partial(jax.jit, static_argnames="length", compiler_options={"xla_cpu_use_fusion_emitters": False})
def _zeros(classifier: Classifier, images: jax.Array, *, length: int) -> Int[Array, " filters"]:
    outputs = network.capture(classifier.layers[:length], classifier.variables, classifier.preprocess(images))
    *_, last = outputs.values()
    return (last == 0).sum(axis=(0, 1, 2))
