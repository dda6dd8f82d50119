"""The training step as a pure function of arrays."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Int, UInt8

from cnn.data.loader import Examples
from cnn.hyperparams import Hyperparams
from cnn.model import network
from cnn.optim import averages, freeze, optimizers
from cnn.system import sharding
from cnn.train import gradient
from cnn.train.gradient import StepConfig

Metrics = dict[str, jax.Array]


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
    hyper: Hyperparams


def create_state(hyper: Hyperparams, image_shape: tuple[int, ...], seed: int, program: StepConfig) -> TrainState:
    """Returns the state before the first update.

    Args:
      hyper: float32 arrays, see `hyper.from_values`.
      image_shape: height, width, channels.
      seed: decides the initial parameters and all that training draws.
      program: what is compiled in.
    """
    # Within another program, such as a vmapped one, JAX takes no options.
    within = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(hyper))
    create = _create if within or jax.default_backend() != "cpu" else _create_on_cpu
    key = jax.random.key_data(jax.random.key(seed))
    state = create(hyper, key, image_shape=image_shape, program=program)
    return state if program.devices == 1 else sharding.replicate(state, program.devices)


def _first(hyper: Hyperparams, key: jax.Array, *, image_shape: tuple[int, ...], program: StepConfig) -> TrainState:
    init_key, train_key = jax.random.split(jax.random.wrap_key_data(key))
    variables = network.init(hyper.layers, image_shape, init_key)
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables["batch_stats"],
        opt_state=optimizers.init_opt_state(hyper.optimizer, hyper.clip, freeze.trained(params, program.frozen)),
        average=hyper.average.init(params),
        bad_step=jnp.full((), -1, jnp.int32),
        key=jax.random.key_data(train_key),
        hyper=hyper,
    )


_create = jax.jit(_first, static_argnames=("image_shape", "program"))
# Run once: XLA's full effort takes a second longer, and computes the same bits no sooner.
_create_on_cpu = jax.jit(
    _first, static_argnames=("image_shape", "program"), compiler_options={"xla_backend_optimization_level": 1}
)


def train_step(state: TrainState, batch: Examples, program: StepConfig) -> tuple[TrainState, Metrics]:
    """Makes one update of what is not frozen, unless the loss, a gradient or what it would make is not finite.

    Args:
      state: after n updates.
      batch: step n's images and labels, in the order of `gradient.arrangement`.
      program: what is compiled in.

    Returns:
      The state after n + 1 updates, and sums over the batch: `loss` (nats), `correct`, `count`; and the gradient's
      global norm and the learning rate of this update.
    """
    hyper = state.hyper
    key = jax.random.fold_in(jax.random.wrap_key_data(state.key), state.step)
    variables = {"params": state.params, "batch_stats": state.batch_stats}
    images, labels, weights = batch
    grads, batch_stats, loss, correct = gradient.of_batch(hyper, variables, images, labels, key, program, weights)
    norm = optax.tree.norm(grads)
    count = jnp.asarray(len(labels), jnp.float32) if weights is None else weights.sum()
    tx, learning_rate_fn = optimizers.make_tx(
        hyper.optimizer,
        hyper.schedule,
        hyper.clip,
        total_steps=program.total_steps,
        steps_per_epoch=program.steps_per_epoch,
    )
    metrics = {"loss": loss, "correct": correct, "count": count, "grad_norm": norm}
    metrics["learning_rate"] = learning_rate_fn(state.step)
    trained = freeze.trained(state.params, program.frozen)
    updates, opt_state = tx.update(grads, state.opt_state, trained)
    trained = optax.apply_updates(trained, updates)
    params = freeze.merged(trained, state.params)
    fine = jnp.isfinite(loss) & jnp.isfinite(norm) & _finite((params, batch_stats)) & (state.bad_step < 0)
    new = (params, batch_stats, opt_state, _averaged(state, trained))
    old = (state.params, state.batch_stats, state.opt_state, state.average)
    params, batch_stats, opt_state, average = jax.tree.map(lambda n, o: jnp.where(fine, n, o), new, old)
    bad_step = jnp.where((state.bad_step < 0) & ~fine, state.step, state.bad_step)
    return TrainState(state.step + 1, params, batch_stats, opt_state, average, bad_step, state.key, hyper), metrics


def normalised(hyper: Hyperparams, images: UInt8[Array, "batch height width channels"]) -> network.Images:
    """Returns intensities in [0, 1] less the mean, over the standard deviation."""
    return gradient.standardise(hyper, images.astype(jnp.float32) / 255)


def _finite(tree: Any) -> jax.Array:
    return jax.tree.reduce(lambda fine, array: fine & jnp.isfinite(array).all(), tree, jnp.asarray(True))


def _averaged(state: TrainState, trained: Any) -> Any:
    if isinstance(state.hyper.average, averages.NoAverage):
        return ()
    means = state.hyper.average.update(freeze.restricted(state.average, trained), trained, state.step + 1)
    return freeze.merged(means, state.average)
