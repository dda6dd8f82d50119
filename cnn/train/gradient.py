"""The gradient of a batch: its parts one after another, each over all devices, a device's share in microbatches.

Whatever the number of devices, the k-th part holds the same rows of the batch, each row draws the same augmentation and
dropout, and statistics are those of the whole part; so only roundings differ. Devices meet in one sum of gradients a
step, in one sum for each batch normalisation, and for mixup in handing one row to the next device.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from cnn.data.augment import BatchRows, all_rows, augment
from cnn.hyperparams import Hyperparams
from cnn.layers.base import Shard
from cnn.model import fusion, network
from cnn.optim import freeze
from cnn.system import sharding


class StepConfig(NamedTuple):
    """What of a run is compiled in, beside the structure of its hyperparameters."""

    classes: int
    total_steps: int
    steps_per_epoch: int
    accumulate_steps: int
    compute_dtype: str
    skips: bool = False
    """Whether examples may be labelled `data.UNUSABLE`: they weigh nothing, and others stand in for their pictures."""
    devices: int = 1
    remat: str = "none"
    frozen: tuple[str, ...] = ()
    """The paths of the parameters that stay as they are: no gradient is computed of them."""


class Sums(NamedTuple):
    """What a batch says: the mean gradient of what is trained, the new batch statistics, and sums over its examples."""

    grads: Any
    batch_stats: Any
    loss: Float[Array, ""]
    """In nats."""
    correct: Float[Array, ""]


def device_permutation(batch_size: int, program: StepConfig) -> Int[np.ndarray, " batch"]:
    """Returns the rows of a batch in the order in which the devices take them: each its share of every part."""
    return np.arange(batch_size).reshape(program.accumulate_steps, program.devices, -1).swapaxes(0, 1).ravel()


def of_batch(
    hyper: Hyperparams,
    variables: network.Variables,
    images: UInt8[Array, "batch height width channels"],
    labels: Int[Array, " batch"],
    key: PRNGKeyArray,
    program: StepConfig,
    weights: Float[Array, " batch"] | None = None,
) -> Sums:
    """Returns the gradient of the loss of a batch.

    Args:
      hyper: the hyperparameters.
      variables: `params` and `batch_stats`.
      images: intensities 0..255, in the order of `arrangement`.
      labels: theirs.
      key: all draws of the step come from it.
      program: what is compiled in.
      weights: 1 or 0 for each example, `None` for all 1.
    """
    share = functools.partial(_share, program=program)
    if program.devices > 1:
        whole, spread = sharding.WHOLE, sharding.SPREAD
        specs = whole, whole, spread, spread, spread, whole
        share = jax.shard_map(share, mesh=sharding.mesh(program.devices), in_specs=specs, out_specs=whole)
    return share(hyper, variables, images, labels, weights, key)


def standardise(hyper: Hyperparams, images: network.Images) -> network.Images:
    """Returns intensities in [0, 1] less the mean, over the standard deviation."""
    return (images - jnp.stack(hyper.mean)) / jnp.stack(hyper.std)


def _share(
    hyper: Hyperparams,
    variables: network.Variables,
    images: Any,
    labels: Any,
    weights: Any,
    key: PRNGKeyArray,
    *,
    program: StepConfig,
) -> Sums:
    """Does what `of_batch` promises, on one device with its share of the batch."""
    spread = program.devices > 1
    batch_rows = _batch_rows(len(images), program) if spread else all_rows(len(images))
    images, labels = images.astype(jnp.float32) / 255, jax.nn.one_hot(labels, program.classes)
    if hyper.augment:
        images, labels = augment(hyper.augment, images, labels, jax.random.fold_in(key, 0), batch_rows)
    examples = standardise(hyper, images), labels, batch_rows.rows, weights
    # Each device differentiates by its own copy, so that gradients are summed over devices once and not by each part.
    params = _varying(variables["params"]) if spread else variables["params"]
    batch_stats, totals = _sums(hyper, params, variables["batch_stats"], examples, jax.random.fold_in(key, 1), program)
    counted = () if weights is None else (weights.sum(),)
    (grads, loss, correct), counted = jax.lax.psum((totals, counted), sharding.AXIS) if spread else (totals, counted)
    count = jnp.maximum(counted[0], 1) if counted else len(labels) * program.devices
    return Sums(jax.tree.map(lambda grad: grad / count, grads), batch_stats, loss, correct)


def _sums(
    hyper: Hyperparams, params: Any, batch_stats: Any, examples: tuple[Any, ...], key: PRNGKeyArray, program: StepConfig
) -> tuple[Any, Any]:
    """Returns the new batch statistics, and the sums of the gradient, the loss and the correct ones of a share."""
    axis, count = sharding.AXIS if program.devices > 1 else None, len(examples[0])
    size = count // program.accumulate_steps
    widest = fusion.widest(hyper.layers, examples[0].shape[1:])
    microbatch = fusion.microbatch(size, widest, jax.default_backend(), devices=program.devices)
    everything, params = params, freeze.trained(params, program.frozen)

    def loss_fn(params: Any, batch_stats: Any, images: Any, labels: Any, rows: Any, weights: Any) -> Any:
        logits, batch_stats = network.apply_train(
            hyper.layers,
            {"params": freeze.merged(params, everything), "batch_stats": batch_stats},
            images,
            key,
            dtype=jnp.dtype(program.compute_dtype),
            shard=Shard(rows, axis, microbatch),
            remat=program.remat,
            frozen_batch_norm=freeze.layers(everything, program.frozen),
        )
        losses = hyper.loss(logits, labels)
        correct = logits.argmax(-1) == labels.argmax(-1)
        if weights is not None:
            losses, correct = losses * weights, correct * weights
        return losses.sum(), (batch_stats, correct.sum(dtype=jnp.float32))

    def add_microbatch(sums: Any, examples: Any) -> tuple[Any, None]:
        batch_stats, totals = sums
        grad_fn = jax.value_and_grad(loss_fn, has_aux=True)
        (loss, (batch_stats, correct)), grads = grad_fn(params, batch_stats, *examples)
        return (batch_stats, jax.tree.map(jnp.add, totals, (grads, loss, correct))), None

    if fusion.independent(hyper.layers):
        size = microbatch
    zeros = jnp.zeros(()), jnp.zeros(())
    sums = batch_stats, (jax.tree.map(jnp.zeros_like, params), *(_varying(zeros) if axis else zeros))
    # A loop of one turn would still be a loop to XLA, in which a CPU computes less in parallel.
    if size == count:
        return add_microbatch(sums, examples)[0]
    microbatches = jax.tree.map(lambda array: array.reshape(-1, size, *array.shape[1:]), examples)
    return jax.lax.scan(add_microbatch, sums, microbatches)[0]


def _batch_rows(count: int, program: StepConfig) -> BatchRows:
    """Returns which rows of the batch this device's share holds."""
    index, parts = jax.lax.axis_index(sharding.AXIS), program.accumulate_steps
    size = count // parts
    rows = (jnp.arange(parts)[:, None] * program.devices + index) * size + jnp.arange(size)
    ring = [(device, (device + 1) % program.devices) for device in range(program.devices)]

    def row_before(array: jax.Array) -> jax.Array:
        by_part = array.reshape(parts, size, *array.shape[1:])
        last = jax.lax.ppermute(by_part[:, -1], sharding.AXIS, ring)
        # What comes to the first device is the end of a part, before the next part's beginning.
        last = jnp.where(index == 0, jnp.roll(last, 1, axis=0), last)
        return jnp.concatenate([last[:, None], by_part[:, :-1]], axis=1).reshape(array.shape)

    return BatchRows(rows.ravel(), row_before)


def _varying(tree: Any) -> Any:
    return jax.tree.map(lambda array: jax.lax.pcast(array, sharding.AXIS, to="varying"), tree)
