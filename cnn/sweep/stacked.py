"""Many states as one: a training step of all of them, vmapped, the trial axis spread over the devices.

Every device computes its own share of the trials and hears nothing of the others: the program has no collectives.
"""

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Int

from cnn.data.loader import Examples
from cnn.ops import layout
from cnn.train import step
from cnn.train.state import StepConfig, TrainState
from cnn.train.step import Metrics

AXIS = "trials"


def mesh() -> Mesh | None:
    """Returns the devices as one axis of trials, `None` where there is one device."""
    devices = jax.local_devices()
    return None if len(devices) == 1 else Mesh(np.array(devices), (AXIS,))


def stack(states: Sequence[TrainState], devices: Mesh | None) -> TrainState:
    """Returns states of equal structure as one, with a leading axis of trials."""
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
    return stacked if devices is None else jax.device_put(stacked, NamedSharding(devices, P(AXIS)))


def take(stacked: TrainState, index: int, devices: Mesh | None) -> TrainState:
    """Returns one of the states, on the first device."""
    state = _take(stacked, index)
    return state if devices is None else jax.device_put(state, devices.devices.flat[0])


@jax.jit
def _take(stacked: TrainState, index: jax.Array) -> TrainState:
    return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, index, keepdims=False), stacked)


def gather(stacked: TrainState, indices: Sequence[int], devices: Mesh | None) -> TrainState:
    """Returns some of the states, stacked."""
    chosen = jnp.asarray(indices, jnp.int32)
    gathered = jax.tree.map(lambda leaf: jnp.take(leaf, chosen, axis=0), stacked)
    return gathered if devices is None else jax.device_put(gathered, NamedSharding(devices, P(AXIS)))


@functools.partial(jax.jit, static_argnames=("program", "devices", "shared"), donate_argnames="state")
def run_step(
    state: TrainState,
    split: Examples,
    rows: Int[Array, "*trials batch"],
    *,
    program: StepConfig,
    devices: Mesh | None,
    shared: bool,
) -> tuple[TrainState, Metrics]:
    """Makes an update of each trial on its rows of the split; the states are consumed.

    Args:
      state: stacked.
      split: the examples, which all trials share.
      rows: of each trial, or of all of them where they are shared.
      program: what is compiled in.
      devices: over which the trials are spread.
      shared: whether all trials see the same batch, so that it is fetched once.
    """
    return _spread(_steps(program, shared), devices, shared)(state, split, rows)


@functools.partial(jax.jit, static_argnames=("program", "devices", "shared"), donate_argnames="state")
def run_scan(
    state: TrainState,
    split: Examples,
    rows: Int[Array, "steps *trials batch"],
    *,
    program: StepConfig,
    devices: Mesh | None,
    shared: bool,
) -> tuple[TrainState, Metrics]:
    """Makes an update of each trial for each of `rows`; the metrics have axes of trials and of steps."""
    one = _steps(program, shared)

    def steps(state: TrainState, split: Examples, rows: jax.Array) -> tuple[TrainState, Metrics]:
        state, metrics = jax.lax.scan(lambda state, batch: one(state, split, batch), state, rows)
        return state, jax.tree.map(lambda values: jnp.swapaxes(values, 0, 1), metrics)

    return _spread(steps, devices, shared, scanned=True)(state, split, rows)


def _steps(program: StepConfig, shared: bool) -> Any:
    def one(state: TrainState, split: Examples, rows: jax.Array) -> tuple[TrainState, Metrics]:
        with layout.as_products():
            return step.train_step(state, Examples(split.images[rows], split.labels[rows]), program)

    return jax.vmap(one, in_axes=(0, None, None if shared else 0))


def _spread(function: Any, devices: Mesh | None, shared: bool, *, scanned: bool = False) -> Any:
    if devices is None:
        return function
    of_trials = P(None, AXIS) if scanned else P(AXIS)
    return jax.shard_map(
        function,
        mesh=devices,
        in_specs=(P(AXIS), P(), P() if shared else of_trials),
        out_specs=P(AXIS),
        check_vma=False,
    )
