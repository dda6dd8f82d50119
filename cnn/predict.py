"""What a run's network takes a person's own pictures for."""

import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, UInt8

from cnn import evaluate, hyper, model
from cnn.config import Values
from cnn.data import own, pictures
from cnn.data.own import Own, Unread, Wanted


class Prediction(NamedTuple):
    """The logits of one picture.

    Attributes:
      path: the file.
      image: what the network got.
      notes: what was done to the picture, in words.
      logits: one a class.
    """

    path: str
    image: UInt8[np.ndarray, "height width channels"]
    notes: tuple[str, ...]
    logits: Float32[np.ndarray, " classes"]

    @property
    def probabilities(self) -> Float[np.ndarray, " classes"]:
        """Softmax of the logits, in float64."""
        exponentials = np.exp(self.logits.astype(np.float64) - float(self.logits.max()))
        return exponentials / exponentials.sum()

    def best(self, count: int) -> list[int]:
        """Returns the classes with the largest logits, largest first; of equal ones the first."""
        return np.argsort(-self.logits, kind="stable")[:count].tolist()


def predict(
    values: Values, variables: model.Variables, files: Iterable[str | Unread], wanted: Wanted
) -> Iterator[Prediction | Unread]:
    """Yields what the network makes of each picture, in order, and why where one cannot be read.

    The logits are computed as evaluation computes them, of the files of a whole split to the bit; at most
    `eval.batch_size` pictures are held at a time.

    Args:
      values: the run's config.
      variables: `params` and `batch_stats`.
      files: pictures, and what is known to be none.
      wanted: what the run's pictures are like.

    Raises:
      FloatingPointError: a logit is not finite.
    """
    waiting = iter(files)
    hyperparameters = hyper.from_values(values)
    size = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while chunk := list(islice(waiting, values.eval.batch_size)):
            with pictures.bombs_are_errors():
                read = list(pool.map(lambda file: _read(file, wanted), chunk))
            # All chunks have the size of the first, so that only that is compiled.
            size = size or len(chunk)
            shape, dtype = wanted.image_shape, values.train.compute_dtype
            logits = _logits(hyperparameters, variables, read, shape, size, dtype)
            for file, outcome, row in zip(chunk, read, logits, strict=True):
                if isinstance(outcome, Unread):
                    yield outcome
                else:
                    yield Prediction(str(file), outcome.image, outcome.notes, row)


def predict_images(
    values: Values, variables: model.Variables, images: UInt8[np.ndarray, "n height width channels"]
) -> Float32[np.ndarray, "n classes"]:
    """Returns the logits of pictures that have the run's own size, as evaluation computes them.

    Raises:
      FloatingPointError: a logit is not finite.
    """
    how: dict[str, Any] = {"batch_size": values.eval.batch_size, "compute_dtype": values.train.compute_dtype}
    return evaluate.predict_logits(hyper.from_values(values), variables, jnp.asarray(images), **how)


def _read(file: str | Unread, wanted: Wanted) -> Own | Unread:
    if isinstance(file, Unread):
        return file
    try:
        return own.prepare(file, wanted)
    except pictures.BrokenPicture as error:
        return Unread(file, f"cannot be read, got: {error}. Name a PNG, JPEG, BMP or WebP file")


def _logits(
    hyperparameters: hyper.Hyper,
    variables: model.Variables,
    read: list[Own | Unread],
    image_shape: tuple[int, int, int],
    size: int,
    compute_dtype: str,
) -> Float32[np.ndarray, "read classes"]:
    """Computes `size` at a time; in the place of what cannot be read lies a black picture, as in evaluation."""
    if not any(isinstance(outcome, Own) for outcome in read):
        return np.empty((len(read), 0), np.float32)
    black = np.zeros(image_shape, np.uint8)
    images = np.stack([outcome.image if isinstance(outcome, Own) else black for outcome in read])
    rows = np.minimum(np.arange(-(-len(images) // size) * size), len(images) - 1)
    how: dict[str, Any] = {"batch_size": size, "compute_dtype": compute_dtype}
    return evaluate.predict_logits(hyperparameters, variables, jnp.asarray(images[rows]), **how)[: len(images)]
