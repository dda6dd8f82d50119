"""What has to hold on any device: run on the CPU here, and on an accelerator by `benchmarks/accelerator.py`."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import tiny
from cnn.model import network
from cnn.sweep import vmapped
from cnn.train import multi_step
from cnn.train.state import create_train_state

pytestmark = pytest.mark.compiled

EVERYTHING = """
    conv(8, 3, padding="same") | batch_norm | relu | max_pool(2) |
    residual(conv(8, 3, padding="same") | group_norm(2) | tanh, shortcut=conv(8, 1)) |
    avg_pool(2) | flatten | dropout(0.2) | dense(16) | relu | dense(classes)
"""
RAW = {**tiny.RAW, "model": {"layers": EVERYTHING}}
STEPS = 4


def an_epoch(values, seed=0):
    """Returns the state and the metrics after one call of a few steps."""
    state, step_config = tiny.start(values, seed)
    rows = jnp.stack([tiny.rows(step) for step in range(STEPS)])
    return multi_step.run_scan(state, tiny.split(), rows, step_config=step_config)


@pytest.mark.thorough(1)
@pytest.mark.slow(seconds=10)
def test_the_gradients_of_a_network_are_those_that_a_cpu_computes():
    values = tiny.resolve(RAW)
    images, key = tiny.split().images[: tiny.BATCH].astype(jnp.float32) / 255, jax.random.key(1)
    cpu = jax.local_devices(backend="cpu")[0]

    def gradients(platform, device):
        def loss(params):
            given = {**variables, "params": params}
            logits, _ = network.apply_train(values.layers, given, pictures, dropout, platform=platform)
            return (logits**2).sum()

        with jax.default_matmul_precision("highest"):
            variables = network.init(values.layers, tiny.SHAPE, jax.random.key(0))
            variables, pictures, dropout = jax.device_put((variables, images, key), device)
            return jax.device_get(jax.jit(jax.grad(loss))(variables["params"]))

    there = gradients(jax.default_backend(), jax.devices()[0])
    with jax.default_device(cpu):
        here = gradients("cpu", cpu)
    scale = max(float(np.abs(leaf).max()) for leaf in jax.tree.leaves(here))
    for ours, theirs in zip(jax.tree.leaves(there), jax.tree.leaves(here), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4 * scale)


@pytest.mark.thorough(1)
@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_epoch_in_one_call_moves_nothing_between_host_and_device(dtype):
    values = tiny.resolve(RAW, train__compute_dtype=dtype)
    state, step_config = tiny.start(values)
    split, rows = tiny.split(), jnp.stack([tiny.rows(step) for step in range(STEPS)])
    state, _ = multi_step.run_scan(state, split, rows, step_config=step_config)
    with jax.transfer_guard("disallow"):
        state, metrics = multi_step.run_scan(state, split, rows, step_config=step_config)
        jax.block_until_ready((state, metrics))
    assert int(state.step) == 2 * STEPS
    assert np.isfinite(metrics["loss"]).all()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits_twice():
    first, second = (jax.device_get(an_epoch(tiny.resolve(RAW))[0].params) for _ in range(2))
    for ours, theirs in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_half_the_precision_loses_little_of_the_loss():
    losses = [an_epoch(tiny.resolve(RAW, train__compute_dtype=dtype))[1]["loss"] for dtype in ("float32", "bfloat16")]
    np.testing.assert_allclose(*losses, rtol=0.1)


@pytest.mark.thorough
@pytest.mark.slow(seconds=10)
def test_a_seed_among_many_trains_as_it_does_alone():
    values, step_config = tiny.resolve(RAW), tiny.step_config(tiny.resolve(RAW))
    rows = jnp.stack([tiny.rows(step) for step in range(STEPS)])
    with jax.default_matmul_precision("highest"):
        stacked = vmapped.stack([tiny.start(values, seed)[0] for seed in range(3)], None)
        _, together = vmapped.run_scan(stacked, tiny.split(), rows, step_config=step_config, devices=None, shared=True)
        alone = [an_epoch(values, seed)[1]["loss"] for seed in range(3)]
    np.testing.assert_allclose(together["loss"], np.stack(alone), rtol=1e-3)


@pytest.mark.slow(seconds=2)
def test_a_config_starts_on_the_default_device():
    state = create_train_state(tiny.resolve(RAW))
    assert {device.platform for leaf in jax.tree.leaves(state.params) for device in leaf.devices()} == {
        jax.devices()[0].platform
    }
