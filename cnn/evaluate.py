"""Runs a network over every example of a split exactly once."""

import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, UInt8

from cnn import data, faults, hyper, metrics, model, ops, plan, rundir, train
from cnn.config import Values
from cnn.examples import most_confused
from cnn.hyper import Hyper


def predict_logits(
    hyperparameters: Hyper,
    variables: model.Variables,
    images: UInt8[Array, "examples height width channels"],
    *,
    batch_size: int,
    compute_dtype: str = "float32",
    check: Callable[[], None] = lambda: None,
) -> Float32[np.ndarray, "examples classes"]:
    """Returns the logits of every image, in order.

    Args:
      hyperparameters: its layers, mean and standard deviation are read.
      variables: `params` and `batch_stats`.
      images: intensities 0..255.
      batch_size: the last batch is filled up with repetitions, which are dropped again.
      compute_dtype: the type of the activations.
      check: called before every batch; whatever it raises ends the evaluation.

    Raises:
      FloatingPointError: a logit is not finite.
    """
    examples = len(images)
    size = min(batch_size, examples)
    parts = []
    for start in range(0, examples, size):
        faults.point("evaluate")
        check()
        rows = np.minimum(np.arange(start, start + size), examples - 1)
        logits = _forward(hyperparameters, variables, images, jnp.asarray(rows, jnp.int32), compute_dtype=compute_dtype)
        parts.append(np.asarray(logits))
    logits = np.concatenate(parts)[:examples]
    if not np.isfinite(logits).all():
        row = int(np.flatnonzero(~np.isfinite(logits).all(axis=1))[0])
        raise FloatingPointError(f"logits: not finite, first for image {row}. The run has diverged; evaluate another.")
    return logits


@functools.partial(jax.jit, static_argnames="compute_dtype")
def _forward(
    hyperparameters: Hyper,
    variables: model.Variables,
    images: jax.Array,
    rows: Int[Array, " batch"],
    *,
    compute_dtype: str,
) -> Float[Array, "batch classes"]:
    def logits_of(rows: jax.Array) -> jax.Array:
        batch = train.normalised(hyperparameters, images[rows])
        return model.apply(hyperparameters.layers, variables, batch, dtype=jnp.dtype(compute_dtype))

    size = ops.piece(len(rows), plan.widest(hyperparameters.layers, images.shape[1:]), jax.default_backend())
    return jax.lax.map(logits_of, rows.reshape(-1, size)).reshape(len(rows), -1)


def variables_of(state: train.TrainState, *, averaged: bool = False) -> dict[str, Any]:
    """Returns a state's variables; averaged, the moving average stands for the parameters."""
    return {"params": state.average if averaged else state.params, "batch_stats": state.batch_stats}


def evaluate_split(
    values: Values,
    workdir: Path,
    variables: model.Variables,
    dataset: data.Dataset,
    split: str,
    *,
    step: int,
    weights: str,
) -> dict[str, Any]:
    """Evaluates every example of a split, once; writes and returns the evaluation, and the predictions beside it.

    Args:
      values: the run's config.
      workdir: where `evaluation-<split>.json` and `predictions-<split>.npz` (index, label, logits) go, and the images
        most worth a look: `confused-<split>.npz` (index, images).
      variables: `params` and `batch_stats`.
      dataset: holds the split.
      split: train, valid or test.
      step: the updates behind the variables.
      weights: their name; other weights than the config's do not replace its files, `<split>` is `<split>-<weights>`.
    """
    examples: data.Split = getattr(dataset, split)
    logits = predict_logits(
        hyper.from_values(values),
        variables,
        jnp.asarray(examples.images),
        batch_size=values.eval.batch_size,
        compute_dtype=values.train.compute_dtype,
    )
    evaluation = metrics.evaluate(logits, examples.labels, class_names=dataset.class_names)
    name = split if weights == values.eval.weights else f"{split}-{weights}"
    record = {"split": split, "weights": weights, "step": step, "data": dataset.identity, **evaluation.to_json()}
    buffer = io.BytesIO()
    np.savez_compressed(buffer, index=np.arange(len(examples)), label=examples.labels, logits=logits)
    rundir.write(workdir / rundir.predictions(name), buffer.getvalue())
    buffer = io.BytesIO()
    rows = most_confused(logits, examples.labels)
    np.savez_compressed(buffer, index=rows, images=examples.images[rows])
    rundir.write(workdir / rundir.confused(name), buffer.getvalue())
    rundir.write_json(workdir / rundir.evaluation(name), record)
    return record
