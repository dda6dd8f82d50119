"""Runs a network over every example of a split exactly once."""

import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, Int64, UInt8

from cnn import badlist, data, faults, feed, hosts, hyper, metrics, model, ops, origin, plan, rundir, train
from cnn import devices as over
from cnn.config import Values
from cnn.examples import most_confused
from cnn.hyper import Hyper


def predict_logits(
    hyperparameters: Hyper,
    variables: model.Variables,
    images: UInt8[Array, "examples height width channels"] | data.Stored,
    *,
    batch_size: int,
    compute_dtype: str = "float32",
    workers: int = 0,
    check: Callable[[], None] = lambda: None,
    devices: int = 1,
) -> Float32[np.ndarray, "examples classes"]:
    """Returns the logits of every image, in order.

    Args:
      hyperparameters: its layers, mean and standard deviation are read.
      variables: `params` and `batch_stats`.
      images: intensities 0..255, on the device or stored.
      batch_size: the last batch is filled up with repetitions, which are dropped again.
      compute_dtype: the type of the activations.
      workers: threads that decode stored images ahead.
      check: called before every batch; whatever it raises ends the evaluation.
      devices: each computes its share of every batch, which is made longer where they do not divide it.

    Raises:
      FloatingPointError: a logit is not finite.
    """
    examples = len(images)
    size = -(-min(batch_size, examples) // devices) * devices
    parts = []
    for pictures, rows in feed.in_order(images, size, workers, functools.partial(over.replicate, count=devices)):
        faults.point("evaluate")
        check()
        logits = _forward(hyperparameters, variables, pictures, rows, compute_dtype=compute_dtype, devices=devices)
        parts.append(np.asarray(logits))
    logits = np.concatenate(parts)[:examples]
    if not np.isfinite(logits).all():
        row = int(np.flatnonzero(~np.isfinite(logits).all(axis=1))[0])
        raise FloatingPointError(f"logits: not finite, first for image {row}. The run has diverged; evaluate another.")
    return logits


@functools.partial(jax.jit, static_argnames=("compute_dtype", "devices"))
def _forward(
    hyperparameters: Hyper,
    variables: model.Variables,
    images: jax.Array,
    rows: Int[Array, " batch"],
    *,
    compute_dtype: str,
    devices: int,
) -> Float[Array, "batch classes"]:
    def logits_of(
        hyperparameters: Hyper, variables: model.Variables, images: jax.Array, rows: jax.Array
    ) -> Float[Array, "batch classes"]:
        def logits_of_piece(rows: jax.Array) -> jax.Array:
            # As in training: the same bits, whether the images are a whole split or a batch that was streamed.
            batch = train.normalised(hyperparameters, jax.lax.optimization_barrier(images[rows]))
            return model.apply(hyperparameters.layers, variables, batch, dtype=jnp.dtype(compute_dtype))

        size = ops.piece(len(rows), plan.widest(hyperparameters.layers, images.shape[1:]), jax.default_backend())
        return jax.lax.map(logits_of_piece, rows.reshape(-1, size)).reshape(len(rows), -1)

    if devices == 1:
        return logits_of(hyperparameters, variables, images, rows)
    return over.each_share(logits_of, devices)(hyperparameters, variables, images, rows)


def variables_of(state: train.TrainState, *, averaged: bool = False) -> dict[str, Any]:
    """Returns a state's variables; averaged, the moving average stands for the parameters."""
    return {"params": state.average if averaged else state.params, "batch_stats": state.batch_stats}


def options(values: Values, devices: int) -> dict[str, Any]:
    """Returns how a config evaluates on so many devices, as `predict_logits` takes it."""
    how = {"batch_size": values.eval.batch_size, "compute_dtype": values.train.compute_dtype}
    return {**how, "workers": values.data.workers, "devices": devices}


def placed(split: data.Split, devices: int = 1) -> jax.Array | data.Stored:
    """Returns a split's pictures, whole on each of so many devices, or stored if they stream."""
    return split.images if isinstance(split.images, data.Stored) else over.replicate(split.images, devices)


def judge(
    logits: Float32[np.ndarray, "examples classes"], split: data.Split, dataset: data.Dataset
) -> tuple[Int64[np.ndarray, " usable"], metrics.Evaluation]:
    """Compares logits with the labels, now that the pictures were read; returns the rows that count, too.

    Raises:
      DataError: no picture could be used.
    """
    labels = split.marked()
    index = np.flatnonzero(labels != data.UNUSABLE)
    if not len(index):
        raise data.DataError(
            f"config.data.on_error: none of {len(labels)} pictures can be used, got 'skip'. Use other data."
        )
    return index, metrics.evaluate(logits[index], labels[index], class_names=dataset.class_names)


def evaluate_split(
    values: Values,
    workdir: Path,
    variables: model.Variables,
    dataset: data.Dataset,
    split: str,
    *,
    step: int,
    weights: str,
    devices: int = 1,
    tell: Callable[..., None] | None = None,
    check: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Evaluates every example of a split, once; writes and returns the evaluation, and the predictions beside it.

    Args:
      values: the run's config.
      workdir: where `evaluation-<split>.json`, `predictions-<split>.npz` (index, label, logits) and
        `confused-<split>.npz` (index, images: those most worth a look) go.
      variables: `params` and `batch_stats`.
      dataset: holds the split; others than the run's do not replace its files, see `written_as`.
      split: train, valid or test.
      step: the updates behind the variables.
      weights: their name; others than the config's do not replace its files either.
      devices: how many share each batch; of several processes only the first one writes.
      tell: takes an event and its details: pictures that cannot be used and were not listed before.
      check: called before every batch; whatever it raises ends the evaluation.
    """
    examples: data.Split = getattr(dataset, split)
    how = options(values, devices)
    logits = predict_logits(hyper.from_values(values), variables, placed(examples, devices), check=check, **how)
    index, evaluation = judge(logits, examples, dataset)
    name = written_as(values, workdir, split, weights, dataset.identity)
    record = {"split": split, "weights": weights, "step": step, "data": dataset.identity, **evaluation.to_json()}
    record |= {"skipped": len(examples) - len(index)}
    if hosts.leads():
        badlist.keep(workdir, dataset, tell)
        _keep(workdir, name, index, logits[index], examples)
        rundir.write_json(workdir / rundir.evaluation(name), record)
    return record


def written_as(values: Values, workdir: Path, split: str, weights: str, identity: str) -> str:
    """Returns what stands for `<split>` in the names of an evaluation's files.

    `<split>-<weights>` with other weights than the config's; of other data than the run's, their identity follows.
    """
    name = split if weights == values.eval.weights else f"{split}-{weights}"
    return origin.file_name(workdir, name, identity)


def _keep(workdir: Path, name: str, index: np.ndarray, logits: np.ndarray, examples: data.Split) -> None:
    """Writes what every example that counts was taken for, and the images most worth a look."""
    labels = examples.labels[index]
    rows = index[most_confused(logits, labels)]
    files = {
        rundir.predictions(name): {"index": index, "label": labels, "logits": logits},
        rundir.confused(name): {"index": rows, "images": data.some(examples.images, rows)},
    }
    for file, arrays in files.items():
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        rundir.write(workdir / file, buffer.getvalue())
