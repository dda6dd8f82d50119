"""Frozen parameters keep their bits, cost no optimizer state and no gradient."""

import jax
import numpy as np
import pytest

import tiny
from cnn.config import config
from cnn.optim import OPTIMIZERS
from cnn.train import memory_estimate, multi_step

pytestmark = pytest.mark.compiled

NETWORK = (
    "conv(2, 3) | batch_norm | relu | residual(conv(2, 1) | batch_norm) | max_pool(2) | flatten | dense(4) | relu | "
    "dense(classes)"
)
SMALL = "conv(2, 3) | relu | flatten | dense(classes)"


def bits(tree):
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.asarray(leaf).tobytes()
        for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }


def changed(values, steps=3):
    """Returns the state after some steps, and the paths of the parameters and statistics that they changed."""
    before, _ = tiny.start(values)
    after, _ = tiny.run(values, steps)
    old, new = bits(before.classifier().variables), bits(after.classifier().variables)
    return after, {path.partition("/")[2] for path in old if old[path] != new[path]}


@pytest.mark.thorough(4)
@pytest.mark.slow
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_frozen_parameters_keep_every_bit_under_every_optimizer(optimizer):
    decay = {} if optimizer in ("adam", "nadam") else {"optimizer__weight_decay": 0.1, "optimizer__decayed": "all"}
    raw = {**tiny.RAW, "model": {"layers": SMALL}, "optimizer": {"name": optimizer, "learning_rate": 0.1}}
    values = tiny.resolve(raw, train__freeze="conv1", train__average="ema(0.9)", train__clip="global_norm(1)", **decay)
    state, moved = changed(values)
    assert moved == {"dense1/kernel", "dense1/bias"}
    assert bits(state.average["conv1"]) == bits(state.params["conv1"])
    assert bits(state.average["dense1"]) != bits(state.params["dense1"])
    assert not [path for path in bits(state.opt_state) if "conv1" in path]


@pytest.mark.slow
def test_a_frozen_batch_normalisation_normalises_as_in_evaluation_and_keeps_its_statistics():
    raw = {**tiny.RAW, "model": {"layers": NETWORK}}
    values = tiny.resolve(raw, train__freeze="batch_norm1, residual1/batch_norm1/bias")
    _, moved = changed(values)
    assert not [path for path in moved if path.startswith("batch_norm1")]
    assert "residual1/batch_norm1/bias" not in moved
    assert {"residual1/batch_norm1/mean", "residual1/batch_norm1/scale", "conv1/kernel"} <= moved
    _, moved = changed(tiny.resolve(raw, train__freeze="*batch_norm1"))
    assert not [path for path in moved if "batch_norm" in path]


def flops(freeze):
    raw = {**tiny.RAW, "model": {"layers": "conv(8, 3) | relu | conv(8, 3) | relu | flatten | dense(classes)"}}
    state, step_config = tiny.start(tiny.resolve(raw, train__freeze=freeze))
    compiled = multi_step.run_step.lower(state, tiny.split(), tiny.rows(0), step_config=step_config).compile()
    return compiled.cost_analysis()["flops"]


@pytest.mark.slow
def test_frozen_leading_layers_cost_no_gradient():
    everything, head, trailing = flops(""), flops("conv*"), flops("dense1")
    assert head < 0.5 * everything, "of three passes over the convolutions one is left"
    assert trailing > 0.8 * everything, "what lies before a frozen layer still needs its gradient"


@pytest.mark.parametrize(
    ("freeze", "message"),
    [
        ("conv2", r"config.train.freeze: matches nothing, got 'conv2'. Known: conv1/kernel, conv1/bias, dense1/kernel"),
        ("conv1 !head", "config.train.freeze: matches nothing, got '!head'"),
        ("*", r"config.train.freeze: leaves nothing to train, got '\*'"),
    ],
)
def test_a_pattern_that_cannot_be_meant_is_refused_with_the_names_that_exist(freeze, message):
    with pytest.raises(config.ConfigError, match=message):
        tiny.resolve(train__freeze=freeze)


def test_what_is_frozen_is_counted_and_takes_no_memory_of_the_optimizer():
    values = tiny.resolve(optimizer__name="adam", train__freeze="conv1")
    assert memory_estimate.split(values) == "57 parameters are trained, 20 frozen: conv1"
    typed = tiny.resolve(optimizer__name="adam", train__freeze="conv*")
    assert memory_estimate.split(typed) == "57 parameters are trained, 20 frozen: conv*"
    assert memory_estimate.need(values, "gpu").optimizer == 4 * 2 * 57
    assert memory_estimate.split(tiny.resolve()) is None
