"""The gradient of a batch: its parts one after another, each in pieces."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from cnn import model, ops, plan
from cnn.data.augment import augment
from cnn.hyper import Hyper


class Program(NamedTuple):
    """What of a run is compiled in, beside the structure of its hyperparameters."""

    classes: int
    total_steps: int
    steps_per_epoch: int
    accumulate_steps: int
    compute_dtype: str
    skips: bool = False
    """Whether examples may be labelled `data.UNUSABLE`: they weigh nothing, and others stand in for their pictures."""


class Sums(NamedTuple):
    """What a batch says: the mean gradient, the new batch statistics, and sums over its examples."""

    grads: Any
    batch_stats: Any
    loss: Float[Array, ""]
    """In nats."""
    correct: Float[Array, ""]


def of_batch(
    hyper: Hyper,
    variables: model.Variables,
    images: UInt8[Array, "batch height width channels"],
    labels: Int[Array, " batch"],
    key: PRNGKeyArray,
    program: Program,
    weights: Float[Array, " batch"] | None = None,
) -> Sums:
    """Returns the gradient of the loss of a batch.

    Args:
      hyper: the hyperparameters.
      variables: `params` and `batch_stats`.
      images: intensities 0..255.
      labels: theirs.
      key: all draws of the step come from it.
      program: what is compiled in.
      weights: 1 or 0 for each example, `None` for all 1.
    """
    images, labels = images.astype(jnp.float32) / 255, jax.nn.one_hot(labels, program.classes)
    if hyper.augment:
        images, labels = augment(hyper.augment, images, labels, jax.random.fold_in(key, 0))
    examples = standardise(hyper, images), labels, weights
    batch_stats, totals = _sums(hyper, variables, examples, jax.random.fold_in(key, 1), program)
    grads, loss, correct = totals
    count = len(images) if weights is None else jnp.maximum(weights.sum(), 1)
    return Sums(jax.tree.map(lambda grad: grad / count, grads), batch_stats, loss, correct)


def standardise(hyper: Hyper, images: model.Images) -> model.Images:
    """Returns intensities in [0, 1] less the mean, over the standard deviation."""
    return (images - jnp.stack(hyper.mean)) / jnp.stack(hyper.std)


def _sums(
    hyper: Hyper, variables: model.Variables, examples: tuple[Any, ...], key: PRNGKeyArray, program: Program
) -> tuple[Any, Any]:
    """Returns the new batch statistics, and the sums of the gradient, the loss and the correct ones."""
    params = variables["params"]

    def loss_fn(params: Any, batch_stats: Any, number: jax.Array, images: Any, labels: Any, weights: Any) -> Any:
        logits, batch_stats = model.apply_train(
            hyper.layers,
            {"params": params, "batch_stats": batch_stats},
            images,
            jax.random.fold_in(key, number),
            dtype=jnp.dtype(program.compute_dtype),
            piece=piece,
        )
        losses = optax.softmax_cross_entropy(logits, optax.smooth_labels(labels, hyper.label_smoothing))
        correct = logits.argmax(-1) == labels.argmax(-1)
        if weights is not None:
            losses, correct = losses * weights, correct * weights
        return losses.sum(), (batch_stats, correct.sum(dtype=jnp.float32))

    def add_piece(sums: Any, piece: Any) -> tuple[Any, None]:
        batch_stats, totals = sums
        (loss, (batch_stats, correct)), grads = jax.value_and_grad(loss_fn, has_aux=True)(params, batch_stats, *piece)
        return (batch_stats, jax.tree.map(jnp.add, totals, (grads, loss, correct))), None

    count = len(examples[0])
    size = count // program.accumulate_steps
    piece = ops.piece(size, plan.widest(hyper.layers, examples[0].shape[1:]), jax.default_backend())
    if plan.independent(hyper.layers):
        size = piece
    sums = variables["batch_stats"], (jax.tree.map(jnp.zeros_like, params), jnp.zeros(()), jnp.zeros(()))
    # A loop of one turn would still be a loop to XLA, in which a CPU computes less in parallel.
    if size == count:
        return add_piece(sums, (0, *examples))[0]
    pieces = jax.tree.map(lambda array: array.reshape(-1, size, *array.shape[1:]), examples)
    return jax.lax.scan(add_piece, sums, (jnp.arange(count // size), *pieces))[0]
