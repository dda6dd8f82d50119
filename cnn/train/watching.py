"""Looks into a training step without making it: what the layers do, by programs beside the one that trains."""

import functools
import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cnn.config.config import Config
from cnn.config.watches import Seen
from cnn.data.augment import all_rows
from cnn.data.loader import Examples
from cnn.layers.activation import Softmax
from cnn.layers.base import Reach
from cnn.layers.combine import Branches, Dropout, DropPath, Identity
from cnn.model import network
from cnn.model.classifier import by_path
from cnn.model.summary import NOTHING, Row
from cnn.optim import freeze
from cnn.registry import PACKAGE, blamed, is_array, misfit, origin_of
from cnn.system import sharding
from cnn.train.multi_step import taken
from cnn.train.state import StepConfig, TrainState
from cnn.train.step import StepInternals, draws, losses_of, prepared, train_step

NOT_ACTIVATIONS = (Branches, Dropout, DropPath, Identity, Softmax)


def watched(
    values: Config, state: TrainState, split: Examples, rows: Int[np.ndarray, " batch"], step_config: StepConfig
) -> dict[str, float | None]:
    """Returns what `train.watch` measures of the step that a state makes next; `None` for what is not finite.

    Args:
      values: the run's config.
      state: before the step; it is not consumed.
      split: the examples.
      rows: of the step's batch.
      step_config: the run's.
    """
    found = _measured(
        state, split, rows, watch=values.train.watch, step_config=step_config, activations=activations(values.rows)
    )
    numbers = {name: float(number) for name, number in jax.device_get(found).items()}
    return {name: number if math.isfinite(number) else None for name, number in numbers.items()}


def activations(rows: tuple[Row, ...]) -> tuple[str, ...]:
    """Returns the paths of the layers that are functions of each number, as far as they tell their reach."""
    return tuple(
        row.path
        for row in rows
        if not row.parameters
        and row.input == row.output
        and row.layer.reach(row.input) == Reach((1, 1), (1, 1))
        and not isinstance(row.layer, NOT_ACTIVATIONS)
    )


@functools.partial(jax.jit, static_argnames=("watch", "step_config", "activations"))
def _measured(
    state: TrainState,
    split: Examples,
    rows: Int[Array, " batch"],
    *,
    watch: Any,
    step_config: StepConfig,
    activations: tuple[str, ...],
) -> dict[str, Array]:
    found = blamed(watch, "train.watch", watch.measure)(seen(state, split, rows, step_config, activations)[1])
    if origin_of(watch) == PACKAGE:
        return found
    if not isinstance(found, Mapping) or not all(isinstance(name, str) and _is_number(found[name]) for name in found):
        raise misfit(watch, "train.watch", "numbers by name, such as {'norm': 1.0}", found)
    return dict(found)


def check(values: Config, state: TrainState, examples: Examples, step_config: StepConfig) -> None:
    """Traces what a config watches of a step.

    Args:
      values: the whole config.
      state: shapes will do.
      examples: of a batch; shapes will do.
      step_config: of one device.

    Raises:
      ExtensionError: a user's own watch failed, or returned something else than numbers by name.
    """
    rows = jax.ShapeDtypeStruct(examples.labels.shape, jnp.int32)
    options = {"watch": values.train.watch, "step_config": step_config, "activations": activations(values.rows)}
    jax.eval_shape(functools.partial(_measured, **options), state, examples, rows)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) or (is_array(value) and value.shape == () and jnp.isrealobj(value))


def seen(
    state: TrainState,
    split: Examples,
    rows: Int[Array, " batch"],
    step_config: StepConfig,
    activations: tuple[str, ...],
) -> tuple[Float[Array, ""], Seen]:
    """Returns the sum of the losses, of the first part of the batch, and the step as it is watched; within a program.

    Args:
      state: before the step.
      split: the examples.
      rows: of the step's batch.
      step_config: the run's.
      activations: the paths of the layers that are functions of each number.
    """
    internals: StepInternals = {}
    train_step(state, taken(split, rows, step_config), step_config, internals)
    loss, outputs = forward(state, split, rows, 0, step_config)
    before, after = (freeze.trained(params, step_config.frozen) for params in (state.params, internals["params"]))
    updates = jax.tree.map(jnp.subtract, after, before)
    return loss, Seen(by_path(state.params), by_path(internals["grads"]), by_path(updates), outputs, activations)


def forward(
    state: TrainState,
    split: Examples,
    rows: Int[Array, " batch"],
    part: int | Int[Array, ""],
    step_config: StepConfig,
    offsets: Mapping[str, jax.Array] = NOTHING,
) -> tuple[Float[Array, ""], dict[str, jax.Array]]:
    """Returns the sum of the losses of one part of a batch, and what every layer makes of it in training, by its path.

    Args:
      state: before the step.
      split: the examples.
      rows: of the whole batch.
      part: which of its `train.accumulate_steps` parts, from 0 on.
      step_config: the run's; over several devices the compiler spreads the examples.
      offsets: see `network.Call`.
    """
    hyper, alone = state.hyper, step_config._replace(devices=1)
    batch = taken(split, rows, alone)
    key, passes = draws(state, batch, alone)
    every = all_rows(len(rows))
    images, labels, class_weights = prepared(hyper, batch.images, batch.labels, key, every, passes, alone)
    size = len(rows) // step_config.accumulate_steps

    def of_part(array: Any) -> Any:
        return None if array is None else jax.lax.dynamic_slice_in_dim(array, part * size, size)

    images, labels, mask, class_weights = map(of_part, (images, labels, batch.weights, class_weights))
    if step_config.devices > 1:
        images = sharding.constrain(images, step_config.devices)
    logits, outputs = network.capture_train(
        hyper.layers,
        {"params": state.params, "batch_stats": state.batch_stats},
        images,
        jax.random.fold_in(key, 1),
        dtype=jnp.dtype(step_config.compute_dtype),
        rows=of_part(every.rows),
        frozen_batch_norm=freeze.layers(state.params, step_config.frozen),
        offsets=offsets,
    )
    return losses_of(hyper, logits, labels, mask, class_weights).sum(), outputs
