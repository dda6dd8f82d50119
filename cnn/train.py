"""The training step as a pure function of arrays, and how steps are dispatched."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray, UInt8

from cnn import model, ops, optim, plan, settings
from cnn.data.augment import augment
from cnn.hyper import Hyper

Metrics = dict[str, jax.Array]


class Program(NamedTuple):
    """What of a run is compiled in, beside the structure of its hyperparameters."""

    classes: int
    total_steps: int
    steps_per_epoch: int
    accumulate_steps: int
    compute_dtype: str


class Images(NamedTuple):
    """A split on the device."""

    images: UInt8[Array, "examples height width channels"]
    labels: Int[Array, " examples"]


class TrainState(NamedTuple):
    """Everything that changes while training, and the traced hyperparameters; arrays only."""

    step: Int[Array, ""]
    """Optimizer updates made."""
    params: Any
    batch_stats: Any
    opt_state: Any
    average: Any
    """The moving average of the parameters; empty where none is kept."""
    bad_step: Int[Array, ""]
    """The first step whose loss, gradient or result was not finite; it and all after it updated nothing. -1: none."""
    key: Any
    """Raw key data; each step folds in its number."""
    hyper: Hyper


def create_state(hyper: Hyper, image_shape: tuple[int, ...], seed: int, program: Program) -> TrainState:
    """Returns the state before the first update.

    Args:
      hyper: float32 arrays, see `hyper.from_values`.
      image_shape: height, width, channels.
      seed: decides the initial parameters and all that training draws.
      program: what is compiled in.
    """
    return _create(hyper, jax.random.key_data(jax.random.key(seed)), image_shape=image_shape, program=program)


@functools.partial(jax.jit, static_argnames=("image_shape", "program"))
def _create(hyper: Hyper, key: jax.Array, *, image_shape: tuple[int, ...], program: Program) -> TrainState:
    init_key, train_key = jax.random.split(jax.random.wrap_key_data(key))
    variables = model.init(hyper.layers, image_shape, init_key)
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables["batch_stats"],
        opt_state=_make_tx(hyper, program).init(params),
        average=() if isinstance(hyper.average, settings.Off) else jax.tree.map(jnp.copy, params),
        bad_step=jnp.full((), -1, jnp.int32),
        key=jax.random.key_data(train_key),
        hyper=hyper,
    )


def train_step(state: TrainState, batch: Images, program: Program) -> tuple[TrainState, Metrics]:
    """Makes one update, unless the loss, a gradient or what it would make is not finite.

    Args:
      state: after n updates.
      batch: step n's images and labels.
      program: what is compiled in.

    Returns:
      The state after n + 1 updates, and sums over the batch: `loss` (nats), `correct`, `count`; and the gradient's
      global norm and the learning rate of this update.
    """
    hyper = state.hyper
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    images, labels = _prepare(hyper, batch, program, key)
    grads, batch_stats, loss, correct = _gradients(state, images, labels, program, jax.random.fold_in(key, 1))
    norm = optax.tree.norm(grads)
    count = labels.shape[0]
    metrics = {"loss": loss, "correct": correct, "count": jnp.asarray(count, jnp.float32), "grad_norm": norm}
    factor = optim.make_factor(hyper.schedule, total_steps=program.total_steps, steps_per_epoch=program.steps_per_epoch)
    metrics["learning_rate"] = hyper.optimizer.learning_rate * factor(state.step)
    updates, opt_state = _make_tx(hyper, program).update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    fine = jnp.isfinite(loss) & jnp.isfinite(norm) & _finite((params, batch_stats)) & (state.bad_step < 0)
    new = (params, batch_stats, opt_state, _averaged(state, params))
    old = (state.params, state.batch_stats, state.opt_state, state.average)
    params, batch_stats, opt_state, average = jax.tree.map(lambda n, o: jnp.where(fine, n, o), new, old)
    bad_step = jnp.where((state.bad_step < 0) & ~fine, state.step, state.bad_step)
    return TrainState(state.step + 1, params, batch_stats, opt_state, average, bad_step, state.key, hyper), metrics


@functools.partial(jax.jit, static_argnames="program", donate_argnames="state")
def run_step(
    state: TrainState, split: Images, rows: Int[Array, " batch"], *, program: Program
) -> tuple[TrainState, Metrics]:
    """Makes the update on these rows of the split; the state is consumed."""
    return train_step(state, Images(split.images[rows], split.labels[rows]), program)


@functools.partial(jax.jit, static_argnames="program", donate_argnames="state")
def run_scan(
    state: TrainState, split: Images, rows: Int[Array, "steps batch"], *, program: Program
) -> tuple[TrainState, Metrics]:
    """Makes an update for each row of `rows` in one call; the state is consumed."""

    def body(state: TrainState, batch_rows: jax.Array) -> tuple[TrainState, Metrics]:
        return train_step(state, Images(split.images[batch_rows], split.labels[batch_rows]), program)

    return jax.lax.scan(body, state, rows)


def normalised(hyper: Hyper, images: UInt8[Array, "batch height width channels"]) -> model.Images:
    """Returns intensities in [0, 1] less the mean, over the standard deviation."""
    return _standardise(hyper, images.astype(jnp.float32) / 255)


def _standardise(hyper: Hyper, images: model.Images) -> model.Images:
    return (images - jnp.stack(hyper.mean)) / jnp.stack(hyper.std)


def _make_tx(hyper: Hyper, program: Program) -> optax.GradientTransformation:
    return optim.make_tx(
        hyper.optimizer,
        hyper.schedule,
        hyper.clip,
        total_steps=program.total_steps,
        steps_per_epoch=program.steps_per_epoch,
    )


def _prepare(
    hyper: Hyper, batch: Images, program: Program, key: PRNGKeyArray
) -> tuple[model.Images, Float[Array, "batch classes"]]:
    labels = jax.nn.one_hot(batch.labels, program.classes)
    images = batch.images.astype(jnp.float32) / 255
    if hyper.augment:
        images, labels = augment(hyper.augment, images, labels, jax.random.fold_in(key, 0))
    return _standardise(hyper, images), labels


def _gradients(
    state: TrainState, images: jax.Array, labels: jax.Array, program: Program, key: PRNGKeyArray
) -> tuple[Any, Any, jax.Array, jax.Array]:
    """Returns the mean gradient, the new batch statistics, and the sums of the loss and of the correct ones."""
    hyper = state.hyper

    def loss_fn(params: Any, batch_stats: Any, number: jax.Array, images: jax.Array, labels: jax.Array) -> Any:
        logits, batch_stats = model.apply_train(
            hyper.layers,
            {"params": params, "batch_stats": batch_stats},
            images,
            jax.random.fold_in(key, number),
            dtype=jnp.dtype(program.compute_dtype),
            piece=piece,
        )
        smoothed = optax.smooth_labels(labels, hyper.label_smoothing)
        correct = (logits.argmax(-1) == labels.argmax(-1)).sum(dtype=jnp.float32)
        return optax.softmax_cross_entropy(logits, smoothed).sum(), (batch_stats, correct)

    def add_piece(sums: Any, piece: Any) -> tuple[Any, None]:
        batch_stats, totals = sums
        (loss, (batch_stats, correct)), grads = jax.value_and_grad(loss_fn, has_aux=True)(
            state.params, batch_stats, *piece
        )
        return (batch_stats, jax.tree.map(jnp.add, totals, (grads, loss, correct))), None

    size = len(images) // program.accumulate_steps
    piece = ops.piece(size, plan.widest(hyper.layers, images.shape[1:]), jax.default_backend())
    if plan.independent(hyper.layers):
        size = piece
    numbers = jnp.arange(len(images) // size)
    pieces = (numbers, *(array.reshape(len(numbers), size, *array.shape[1:]) for array in (images, labels)))
    sums = state.batch_stats, (jax.tree.map(jnp.zeros_like, state.params), jnp.zeros(()), jnp.zeros(()))
    # A loop of one turn would still be a loop to XLA, in which a CPU computes less in parallel.
    sums = (add_piece(sums, (0, images, labels)) if len(numbers) == 1 else jax.lax.scan(add_piece, sums, pieces))[0]
    batch_stats, (grads, loss, correct) = sums
    return jax.tree.map(lambda grad: grad / len(images), grads), batch_stats, loss, correct


def _finite(tree: Any) -> jax.Array:
    return jax.tree.reduce(lambda fine, array: fine & jnp.isfinite(array).all(), tree, jnp.asarray(True))


def _averaged(state: TrainState, params: Any) -> Any:
    if isinstance(state.hyper.average, settings.Off):
        return ()
    count = state.step + 1
    decay = jnp.minimum(state.hyper.average.decay, (1 + count) / (10 + count))
    return jax.tree.map(lambda mean, new: decay * mean + (1 - decay) * new, state.average, params)
