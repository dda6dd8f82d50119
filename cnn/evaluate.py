"""Runs a network over every example of a split exactly once."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, UInt8

from cnn import model, train
from cnn.hyper import Hyper


def predict_logits(
    hyper: Hyper,
    variables: model.Variables,
    images: UInt8[Array, "examples height width channels"],
    *,
    batch_size: int,
    compute_dtype: str = "float32",
) -> Float32[np.ndarray, "examples classes"]:
    """Returns the logits of every image, in order.

    Args:
      hyper: its layers, mean and standard deviation are read.
      variables: `params` and `batch_stats`.
      images: intensities 0..255.
      batch_size: the last batch is filled up with repetitions, which are dropped again.
      compute_dtype: the type of the activations.
    """
    examples = len(images)
    size = min(batch_size, examples)
    parts = []
    for start in range(0, examples, size):
        rows = np.minimum(np.arange(start, start + size), examples - 1)
        logits = _forward(hyper, variables, images, jnp.asarray(rows, jnp.int32), compute_dtype=compute_dtype)
        parts.append(logits)
    return np.concatenate([np.asarray(part) for part in parts])[:examples]


@functools.partial(jax.jit, static_argnames="compute_dtype")
def _forward(
    hyper: Hyper, variables: model.Variables, images: jax.Array, rows: Int[Array, " batch"], *, compute_dtype: str
) -> Float[Array, "batch classes"]:
    batch = train.normalised(hyper, images[rows])
    return model.apply(hyper.layers, variables, batch, dtype=jnp.dtype(compute_dtype))


def variables_of(state: train.TrainState, *, averaged: bool = False) -> dict[str, Any]:
    """Returns a state's variables; averaged, the moving average stands for the parameters."""
    return {"params": state.average if averaged else state.params, "batch_stats": state.batch_stats}
