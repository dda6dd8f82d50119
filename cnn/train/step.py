"""The training step as a pure function of arrays: the gradient of a batch, and the update that it makes.

A batch is taken part by part (`accumulate_steps`), each part over all devices, a device's share of a part in
microbatches. Whatever the number of devices, the k-th part holds the same rows of the batch, each row draws the same
augmentation and dropout, and statistics are those of the whole part; so only roundings differ (a Flax module draws its
masks for the part that it is given). Devices meet in one sum of gradients a step, in one sum for each batch
normalisation, and for mixup in handing one row to the next device.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, Int

from cnn.data.augment import BatchRows, Passes, all_rows, augment
from cnn.data.loader import Examples
from cnn.hyperparams import Hyperparams
from cnn.layers.base import Shard
from cnn.model import classifier, fusion, network
from cnn.model.microbatch import microbatch_size
from cnn.ops.noinline import noinline
from cnn.optim import averages, freeze, gradients, optimizers
from cnn.registry import blamed
from cnn.system import compile_times, sharding
from cnn.train.state import StepConfig, TrainState, layer_names

Metrics = dict[str, jax.Array]

DATA, LOSS, OPTIMIZER = "data", "loss", "optimizer"
"""What of a step is no layer's, by the names that its compiled operations bear: see `cnn.train.profile`."""

NO_STEP = 2**32 - 1
"""Folded into the run's key for what every epoch draws alike: no step has this number."""


class Gradient(NamedTuple):
    """What a batch says: the mean gradient of what is trained, the new batch statistics, and sums over its examples."""

    grads: Any
    batch_stats: Any
    loss: Float[Array, ""]
    """In nats, each example times its weight."""
    correct: Float[Array, ""]
    weight_sum: Float[Array, ""] | None
    """What the examples weigh; `None` where their classes weigh alike."""


class StepInternals(TypedDict, total=False):
    """What a step made on its way, finite or not."""

    grads: Any
    params: Any
    """After the update."""


def train_step(
    state: TrainState, batch: Examples, step_config: StepConfig, internals: StepInternals | None = None
) -> tuple[TrainState, Metrics]:
    """Makes one update of what is not frozen, unless the loss, a gradient or what it would make is not finite.

    Args:
      state: after n updates.
      batch: step n's images and labels, in the order of `device_permutation`.
      step_config: what is compiled in.
      internals: where what it makes is kept, by whoever looks into a step.

    Returns:
      The state after n + 1 updates, and sums over the batch: `loss` (nats), `correct`, `count`, and `weight` where the
      classes do not weigh alike; and the gradient's global norm and the learning rate of this update.
    """
    hyper = state.hyper
    key, passes = draws(state, batch, step_config)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    gradient = functools.partial(
        gradient_fn(step_config),
        hyper,
        images=batch.images,
        labels=batch.labels,
        mask=batch.weights,
        key=key,
        passes=passes,
    )
    grads, batch_stats, loss, correct, weight_sum = gradient(variables)
    displaced_params = gradients.place_of(hyper.gradient, state.params, grads)
    if displaced_params is not None:
        grads = gradient({**variables, "params": displaced_params}).grads
    with jax.named_scope(OPTIMIZER):
        norm = optax.tree.norm(_summed(grads))
        count = jnp.asarray(len(batch.labels), jnp.float32) if batch.weights is None else batch.weights.sum()
        tx, learning_rate_fn = optimizers.make_tx(
            hyper.optimizer,
            hyper.schedule,
            hyper.clip,
            total_steps=step_config.total_steps,
            steps_per_epoch=step_config.steps_per_epoch,
            groups=hyper.groups,
            layers=layer_names(hyper),
            observed=state.observed,
        )
        metrics = {"loss": loss, "correct": correct, "count": count, "grad_norm": norm}
        if weight_sum is not None:
            metrics["weight"] = weight_sum
        metrics["learning_rate"] = learning_rate_fn(state.step)
        trained = freeze.trained(state.params, step_config.frozen)
        updates, opt_state = tx.update(grads, state.opt_state, trained)
        trained, average = averages.updated(
            hyper.average,
            state.average,
            optax.apply_updates(trained, updates),
            count=state.step + 1,
            share=(state.step + 1) / step_config.total_steps,
        )
        params = freeze.merged(trained, state.params)
        if internals is not None:
            internals["grads"], internals["params"] = grads, params

        fine = _all([state.bad_step < 0, *_finite((loss, norm)), *_finite(_summed((params, batch_stats)))])
        new = (params, batch_stats, opt_state, average)
        old = (state.params, state.batch_stats, state.opt_state, state.average)
        params, batch_stats, opt_state, average = jax.tree.map(lambda n, o: jnp.where(fine, n, o), new, old)
        bad_step = jnp.where((state.bad_step < 0) & ~fine, state.step, state.bad_step)
    state = state._replace(
        step=state.step + 1,
        params=params,
        batch_stats=batch_stats,
        opt_state=opt_state,
        average=average,
        bad_step=bad_step,
    )
    return state, metrics


def draws(state: TrainState, batch: Examples, step_config: StepConfig) -> tuple[jax.Array, Passes | None]:
    """Returns the key of all that the next step of a state draws, and what augmentations by example are told."""
    run_key = jax.random.wrap_key_data(state.key)
    passes = None
    if batch.rows is not None:
        passes = Passes(state.step // step_config.steps_per_epoch, jax.random.fold_in(run_key, NO_STEP), batch.rows)
    return jax.random.fold_in(run_key, state.step), passes


def gradient_fn(step_config: StepConfig) -> Callable[..., Gradient]:
    """Returns the function that gives the gradient of a batch, computed on all devices.

    Its arguments are the hyperparameters; `params` and `batch_stats`; images with intensities 0..255 and labels, in the
    order of `device_permutation`; a mask, 1 or 0 for each example, or `None` for all 1; the key of all draws; and,
    where an augmentation asks for it, which examples of the training split they are.
    """
    on_device = functools.partial(_device_gradient, step_config=step_config)
    if step_config.devices == 1:
        return on_device
    batch, others = sharding.SPREAD, sharding.WHOLE
    of_passes: Any = Passes(others, others, batch)  # type: ignore[arg-type]

    def on_devices(hyper: Any, variables: Any, images: Any, labels: Any, mask: Any, key: Any, passes: Any) -> Any:
        specs = others, others, batch, batch, batch, others, None if passes is None else of_passes
        compute = jax.shard_map(on_device, mesh=sharding.mesh(step_config.devices), in_specs=specs, out_specs=others)
        return compute(hyper, variables, images, labels, mask, key, passes)

    return on_devices


def device_permutation(batch_size: int, step_config: StepConfig) -> Int[np.ndarray, " batch"]:
    """Returns the rows of a batch in the order in which the devices take them: each its share of every part."""
    return np.arange(batch_size).reshape(step_config.accumulate_steps, step_config.devices, -1).swapaxes(0, 1).ravel()


def _device_gradient(
    hyper: Hyperparams,
    variables: network.Variables,
    images: Any,
    labels: Any,
    mask: Any,
    key: jax.Array,
    passes: Passes | None = None,
    *,
    step_config: StepConfig,
) -> Gradient:
    """Computes on one device, with its share of the batch, what `gradient_fn` returns."""
    axis = sharding.AXIS if step_config.devices > 1 else None
    batch_rows = _batch_rows(len(images), step_config) if axis else all_rows(len(images))
    images, labels, class_weights = prepared(hyper, images, labels, key, batch_rows, passes, step_config)
    examples = images, labels, batch_rows.rows, mask, class_weights
    # Each device differentiates by its own copy, so that gradients are summed over devices once and not by each part.
    everything = _varying(variables["params"]) if axis else variables["params"]
    trained = freeze.trained(everything, step_config.frozen)
    dropout_key = jax.random.fold_in(key, 1)
    count = len(images)
    size = count // step_config.accumulate_steps
    widest = fusion.widest(hyper.layers, images.shape[1:])
    microbatch = microbatch_size(size, widest, jax.default_backend(), devices=step_config.devices)

    def loss_fn(
        trained: Any, batch_stats: Any, images: Any, labels: Any, rows: Any, mask: Any, class_weights: Any
    ) -> Any:
        logits, batch_stats = network.apply_train(
            hyper.layers,
            {"params": freeze.merged(trained, everything), "batch_stats": batch_stats},
            images,
            dropout_key,
            dtype=jnp.dtype(step_config.compute_dtype),
            shard=Shard(rows, axis, microbatch),
            remat=step_config.remat,
            frozen_batch_norm=freeze.layers(everything, step_config.frozen),
        )
        with jax.named_scope(LOSS):
            losses = losses_of(hyper, logits, labels, mask, class_weights)
            correct = logits.argmax(-1) == labels.argmax(-1)
            if mask is not None:
                correct = correct * mask
            loss_sum, correct_sum = losses.sum(), correct.sum(dtype=jnp.float32)
        return loss_sum, (batch_stats, correct_sum)

    grad_fn = jax.value_and_grad(loss_fn, has_aux=True)

    def add_microbatch(sums: Any, examples: Any) -> tuple[Any, None]:
        batch_stats, totals = sums
        (loss, (batch_stats, correct)), grads = grad_fn(trained, batch_stats, *examples)
        return (batch_stats, jax.tree.map(jnp.add, totals, (grads, loss, correct))), None

    if fusion.independent(hyper.layers, images.shape[1:]):
        size = microbatch
    zeros = jnp.zeros(()), jnp.zeros(())
    sums = variables["batch_stats"], (jax.tree.map(jnp.zeros_like, trained), *(_varying(zeros) if axis else zeros))
    # A loop of one turn would still be a loop to XLA, in which a CPU computes less in parallel.
    if size == count:
        sums, _ = add_microbatch(sums, examples)
    else:
        microbatches = jax.tree.map(lambda array: array.reshape(-1, size, *array.shape[1:]), examples)
        sums, _ = jax.lax.scan(add_microbatch, sums, microbatches)

    batch_stats, totals = sums
    counted = None if mask is None else mask.sum()
    weight_sum = None if class_weights is None else (class_weights if mask is None else class_weights * mask).sum()
    if axis:
        totals, counted, weight_sum = jax.lax.psum((totals, counted, weight_sum), axis)
    grads, loss, correct = totals
    divisor = count * step_config.devices if counted is None else jnp.maximum(counted, 1)
    if weight_sum is not None:
        divisor = jnp.where(weight_sum > 0, weight_sum, 1)
    return Gradient(jax.tree.map(lambda grad: grad / divisor, grads), batch_stats, loss, correct, weight_sum)


@jax.named_scope(DATA)
def prepared(
    hyper: Hyperparams,
    images: Any,
    labels: Any,
    key: jax.Array,
    batch_rows: BatchRows,
    passes: Passes | None,
    step_config: StepConfig,
) -> tuple[network.Images, Float[Array, "batch classes"], Float[Array, " batch"] | None]:
    """Returns what the network is given of examples, their labels, and what their classes weigh.

    Of the arguments see `gradient_fn`, and `batch_rows` says which of the batch the examples are.
    """
    images, labels = images.astype(jnp.float32) / 255, jax.nn.one_hot(labels, step_config.classes)
    if hyper.augment or step_config.image_size:
        augment_key = jax.random.fold_in(key, 0)
        images, labels = augment(
            hyper.augment, images, labels, augment_key, batch_rows, size=step_config.image_size, passes=passes
        )
    class_weights = None if isinstance(hyper.class_weights, tuple) else (labels * hyper.class_weights).sum(-1)
    return classifier.standardise(images, hyper.mean, hyper.std), labels, class_weights


def losses_of(hyper: Hyperparams, logits: Any, labels: Any, mask: Any, class_weights: Any) -> Float[Array, " batch"]:
    """Returns the loss of each example, in nats, times what it and its class weigh; `None` weighs nothing else."""
    loss = blamed(hyper.loss, "train.loss", hyper.loss)
    losses = loss(logits, optax.smooth_labels(labels, hyper.label_smoothing))
    if mask is not None:
        losses = losses * mask
    return losses if class_weights is None else losses * class_weights


def _batch_rows(count: int, step_config: StepConfig) -> BatchRows:
    """Returns which rows of the batch this device's share holds."""
    index, parts = jax.lax.axis_index(sharding.AXIS), step_config.accumulate_steps
    size = count // parts
    rows = (jnp.arange(parts)[:, None] * step_config.devices + index) * size + jnp.arange(size)
    ring = [(device, (device + 1) % step_config.devices) for device in range(step_config.devices)]

    def row_before(array: jax.Array) -> jax.Array:
        by_part = array.reshape(parts, size, *array.shape[1:])
        last = jax.lax.ppermute(by_part[:, -1], sharding.AXIS, ring)
        # What comes to the first device is the end of a part, before the next part's beginning.
        last = jnp.where(index == 0, jnp.roll(last, 1, axis=0), last)
        return jnp.concatenate([last[:, None], by_part[:, :-1]], axis=1).reshape(array.shape)

    return BatchRows(rows.ravel(), row_before)


def _varying(tree: Any) -> Any:
    return jax.tree.map(lambda array: jax.lax.pcast(array, sharding.AXIS, to="varying"), tree)


def _summed(tree: Any) -> Any:
    """Returns the tree for sums over all of its numbers; where compiling is what takes the time, as one vector.

    Of the step of ResNet-50, a sum for each of its arrays is half of what XLA compiles.
    """
    if not compile_times.is_quick():
        return tree
    return jnp.concatenate([jnp.zeros(0), *(leaf.ravel() for leaf in jax.tree.leaves(tree))])


def _finite(tree: Any) -> list[Bool[Array, ""]]:
    """Tells of each array whether all of its numbers are finite."""
    return [jnp.isfinite(array).all() for array in jax.tree.leaves(tree)]


def _all(flags: list[Bool[Array, ""]]) -> Bool[Array, ""]:
    def joined(*flags: Bool[Array, ""]) -> Bool[Array, ""]:
        return functools.reduce(jnp.logical_and, flags)

    # A CPU would have the update of every array join them anew: DenseNet-121 took three times as long to compile.
    return (noinline(joined) if jax.default_backend() == "cpu" else joined)(*flags)
