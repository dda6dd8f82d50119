"""How training steps are called: one by one, as many as fill a moment, or all up to the next boundary.

On a CPU every call asks the system for the memory of its intermediate results anew, and waits for Python; so one call
makes several steps there. Their number is an argument of the compiled program: where calls end leaves no trace in the
bits, and no number compiles anew. An accelerator is told the number beforehand, and never asks between two steps.
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from cnn.config.config import Config
from cnn.data.loader import Examples
from cnn.data.masking import mask_unusable
from cnn.system import sharding
from cnn.train import step
from cnn.train.state import StepConfig, TrainState
from cnn.train.step import Metrics, train_step

MOST_STEPS = 64
"""Of a loop: with more, nothing is gained, and a signal waits for all of them."""
OPERATIONS = 320e9
"""Of a loop, in floating point: two CPU cores take about a second for them, older ones two."""


class Dispatch(NamedTuple):
    """One way of calling the steps."""

    mode: str
    """`step`, `loop` or `scan`."""
    most: int | None
    """The most steps of a call; `None`: any number."""

    def call(self, rows: Int[np.ndarray, "steps batch"]) -> tuple[Any, tuple[Any, ...]]:
        """Returns the function that makes the steps on these rows, and what it takes of them after state and split."""
        if self.mode == "scan":
            return run_scan, (rows,)
        if self.mode == "step":
            return run_step, (rows[0],)
        assert self.most is not None
        return run_loop, (np.pad(rows, ((0, self.most - len(rows)), (0, 0))), np.int32(len(rows)))


def dispatch_of(values: Config) -> Dispatch:
    """Returns how a config's steps are called on this platform."""
    mode = values.train.dispatch
    if mode == "auto":
        mode = "loop" if jax.default_backend() == "cpu" else "scan"
    if mode != "loop":
        return Dispatch(mode, 1 if mode == "step" else None)
    operations = 6 * values.train.batch_size * sum(row.macs or 0 for row in values.rows)
    return Dispatch(mode, int(max(1, min(MOST_STEPS, OPERATIONS // max(1, operations)))))


def joined(calls: Sequence[Metrics], lengths: Sequence[int]) -> dict[str, np.ndarray]:
    """Returns the metrics of calls of so many steps each, one step after another."""

    def steps(*metrics: np.ndarray) -> np.ndarray:
        return np.concatenate([np.atleast_1d(one)[:length] for one, length in zip(metrics, lengths, strict=True)])

    return jax.tree.map(steps, *jax.device_get(calls))


@functools.partial(jax.jit, static_argnames="step_config", donate_argnames="state")
def run_step(
    state: TrainState, split: Examples, rows: Int[Array, " batch"], *, step_config: StepConfig
) -> tuple[TrainState, Metrics]:
    """Makes the update on these rows of the split; the state is consumed."""
    return train_step(state, taken(split, rows, step_config), step_config)


@functools.partial(jax.jit, static_argnames="step_config", donate_argnames="state")
def run_scan(
    state: TrainState, split: Examples, rows: Int[Array, "steps batch"], *, step_config: StepConfig
) -> tuple[TrainState, Metrics]:
    """Makes an update for each row of `rows` in one call; the state is consumed."""

    def body(state: TrainState, batch_rows: jax.Array) -> tuple[TrainState, Metrics]:
        return train_step(state, taken(split, batch_rows, step_config), step_config)

    return jax.lax.scan(body, state, rows)


@functools.partial(jax.jit, static_argnames="step_config", donate_argnames="state")
def run_loop(
    state: TrainState,
    split: Examples,
    rows: Int[Array, "most batch"],
    count: Int[Array, ""],
    *,
    step_config: StepConfig,
) -> tuple[TrainState, Metrics]:
    """Makes an update for each of the first `count` of `rows` in one call; the state is consumed.

    The metrics have an axis of `most`; those beyond `count` are 0.
    """

    def body(index: jax.Array, carried: tuple[TrainState, Metrics]) -> tuple[TrainState, Metrics]:
        state, metrics = carried
        state, of_step = train_step(state, taken(split, rows[index], step_config), step_config)
        return state, jax.tree.map(functools.partial(_with, index), metrics, of_step)

    shapes = jax.eval_shape(lambda: train_step(state, taken(split, rows[0], step_config), step_config)[1])
    metrics = jax.tree.map(lambda value: jnp.zeros((len(rows), *value.shape), value.dtype), shapes)
    return jax.lax.fori_loop(0, count, body, (state, metrics))


def _with(index: jax.Array, values: jax.Array, value: jax.Array) -> jax.Array:
    return jax.lax.dynamic_update_index_in_dim(values, value, index, 0)


@jax.named_scope(step.DATA)
def taken(split: Examples, rows: Int[Array, " batch"], step_config: StepConfig) -> Examples:
    """Returns the rows of the split, each where the device is that computes it."""
    weights = None
    if step_config.skips:
        taken, weights = mask_unusable(split.labels[rows])
        rows = rows[taken]
    if step_config.devices > 1:
        order = step.device_permutation(len(rows), step_config)
        rows = sharding.constrain(rows[order], step_config.devices)
        weights = None if weights is None else sharding.constrain(weights[order], step_config.devices)
    # Whether the split is the whole one or the batch that was streamed: what follows is compiled alike, to the bit.
    whose = None if split.rows is None else split.rows[rows]
    return Examples(*jax.lax.optimization_barrier((split.images[rows], split.labels[rows], weights, whose)))
