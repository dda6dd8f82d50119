"""What training needs of memory: exact for the state, within a factor of XLA's analysis for the rest; refusals."""

import functools
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import runs
import tiny
from cnn import hyperparams
from cnn.config import config
from cnn.config.config import ConfigError
from cnn.config.resolve import resolve as resolve_resolve
from cnn.data import loader, types
from cnn.optim import OPTIMIZERS, optimizers
from cnn.system import sharding
from cnn.train import memory_estimate, preflight
from cnn.train.state import _create
from cnn.train.step import train_step
from tests import networks

pytestmark = pytest.mark.compiled

NETWORKS = {
    "lesson": "2 * (conv(16, 3) | relu | max_pool(2)) | flatten | dense(32) | relu | dense(classes)",
    "deep": "6 * (conv(16, 3, padding='same') | relu) | global_avg_pool | dense(classes)",
    "normed": "4 * (conv(16, 3, padding='same') | batch_norm | relu) | max_pool(2) | flatten | dense(classes)",
    "dense": "flatten | dense(512) | relu | dense(512) | relu | dense(classes)",
    "smooth": "conv(16, 3, strides=2) | gelu | conv(32, 3) | group_norm(8) | silu | dropout(0.2) | flatten | dense(10)",
    "residual": "conv(16, 3) | 2 * residual(conv(16, 3, padding='same') | relu) | avg_pool(2) | flatten | dense(10)",
}


def resolve(layers, *overrides):
    sections = {
        **tiny.RAW,
        "model": {"layers": layers},
        "data": {"name": "tiny", "image_shape": (24, 24, 3), "classes": 10},
        "optimizer": {"name": "adam", "learning_rate": 0.1},
        "train": {"batch_size": 64},
    }
    return resolve_resolve(sections, [config.Override(*text.split("=", 1)) for text in overrides])


def compiled_bytes(values):
    """Returns what XLA says that the compiled step takes: its arguments and all between them."""
    step_config, shape = tiny.step_config(values), values.data.image_shape
    create = functools.partial(_create, image_shape=shape, frozen=step_config.frozen)
    state = jax.eval_shape(create, hyperparams.from_values(values), jax.random.key_data(jax.random.key(0)))
    count = values.train.batch_size
    batch = loader.Examples(jax.ShapeDtypeStruct((count, *shape), jnp.uint8), jax.ShapeDtypeStruct((count,), jnp.int32))
    step = jax.jit(functools.partial(train_step, step_config=step_config), donate_argnums=0)
    analysis = step.lower(state, batch).compile().memory_analysis()
    return analysis.argument_size_in_bytes + analysis.temp_size_in_bytes


@pytest.mark.thorough(4)
@pytest.mark.slow
@pytest.mark.parametrize("platform", ["cpu", "gpu"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_estimate_is_within_its_factor_of_what_xla_says(name, platform, monkeypatch):
    values = resolve(NETWORKS[name])
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    found = compiled_bytes(values)
    assert (
        found / memory_estimate.WITHIN <= memory_estimate.need(values, platform).total <= found * memory_estimate.WITHIN
    )


@pytest.mark.thorough(1)
@pytest.mark.slow(seconds=20)
@pytest.mark.parametrize("name", ["lesson", "dense"])
def test_the_second_gradient_of_sam_adds_no_more_than_is_counted(name):
    """Of few parameters and many activations, and of many and few."""
    plain, sam = (resolve(NETWORKS[name], f"train.gradient={text}") for text in ("plain", "sam(0.05)"))
    needs = [memory_estimate.need(values, "cpu") for values in (plain, sam)]
    found = [compiled_bytes(values) for values in (plain, sam)]
    assert needs[1].total - needs[0].total == 64 * 24 * 24 * 3 * memory_estimate.FLOAT
    assert found[1] - found[0] <= needs[1].total - needs[0].total + 0.02 * found[0]
    assert found[1] / memory_estimate.WITHIN <= needs[1].total <= found[1] * memory_estimate.WITHIN


@pytest.mark.few(3)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_memory_of_an_optimizer_is_what_its_state_takes(name):
    values = resolve(NETWORKS["normed"], f"optimizer.name={name}", "train.average=ema(0.9)")
    variables = networks.variables(values.layers, values.data.image_shape)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(variables["params"]))
    init = functools.partial(optimizers.init_opt_state, values.optimizer, values.train.clip)
    shapes = jax.eval_shape(init, variables["params"])
    state = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))
    need = memory_estimate.need(values, "cpu")
    # Muon keeps a second array for biases and scales, and all keep a count or two.
    assert abs(need.optimizer - state - size) < (0.05 * size if name == "muon" else 64)
    assert need.parameters == sum(leaf.nbytes for leaf in jax.tree.leaves(variables))


def test_parts_devices_and_a_second_computation_need_less():
    deep = NETWORKS["deep"]
    whole = memory_estimate.need(resolve(deep), "gpu")
    parts = memory_estimate.need(resolve(deep, "train.accumulate_steps=4"), "gpu")
    assert (whole.examples, parts.examples, memory_estimate.need(resolve(deep), "gpu", devices=4).examples) == (
        64,
        16,
        16,
    )
    assert parts.activations < whole.activations / 2
    layers, blocks = (
        memory_estimate.need(resolve(deep, f"train.remat={remat}"), "gpu").activations for remat in ("layers", "blocks")
    )
    assert blocks < 0.7 * whole.activations
    assert layers <= whole.activations
    halved = memory_estimate.need(resolve(deep, "train.compute_dtype=bfloat16"), "gpu")
    assert halved.activations < 0.6 * whole.activations


def test_what_cannot_fit_is_refused_with_the_remedies_and_what_may_not_is_said():
    values = resolve(NETWORKS["deep"])
    need = memory_estimate.need(values, "gpu")
    assert memory_estimate.refusal(need, values, need.total // 2 + 1) is None
    line = memory_estimate.refusal(need, values, need.total // 3)
    assert line.startswith(f"config.train.batch_size: training needs about {need} on each device, got ")
    assert line.endswith(
        'Use a smaller batch, more devices or config.train.accumulate_steps = 2 or config.train.remat = "blocks".'
    )
    assert memory_estimate.warning(need, need.total) is None
    assert memory_estimate.warning(need, need.total - 1).startswith("this may not fit: training needs about ")
    big = resolve(NETWORKS["dense"])
    assert memory_estimate.refusal(memory_estimate.need(big, "gpu"), big, 10_000).endswith("Use a smaller network.")


def test_a_batch_beyond_the_host_is_refused_before_there_is_a_run(tmp_path):
    layers = "model.layers=12 * (conv(4096, 1) | batch_norm) | global_avg_pool | dense(classes)"
    values = runs.tiny(layers, "train.batch_size=1200", "data.image_shape=(512,512,1)", "data.resize=nearest")
    need = memory_estimate.need(values, "cpu")
    assert need.activations > 2**40, "no host has as much"
    empty = types.Split(*(networks.np.zeros(shape, networks.np.uint8) for shape in ((0, 1, 1, 1), (0,))))
    dataset = types.Dataset(empty, empty, empty, ("a",), "")
    with pytest.raises(ConfigError, match=r"config\.train\.batch_size: training needs about .* on each device, got "):
        preflight.check_memory(values, dataset, 1)
    assert preflight.check_memory is preflight.check_memory


def test_the_limit_is_what_this_machine_has():
    assert 2**20 < sharding.memory_limit() < 2**50


def test_bytes_are_shown_as_people_read_them():
    assert [memory_estimate.show(n) for n in (5, 2048, 3 * 2**20, 5 * 2**30, 2**41)] == [
        "5 B",
        "2 KiB",
        "3 MiB",
        "5 GiB",
        "2,048 GiB",
    ]


@pytest.mark.slow
def test_summary_says_what_training_takes_and_touches_no_device(capsys):
    assert runs.start("summary") == 0
    out = capsys.readouterr().out
    for device, platform in ("an accelerator", "gpu"), ("a CPU", "cpu"):
        need = memory_estimate.need(runs.tiny(), platform)
        assert f"training on {device} needs about {need} of memory, and what the pictures of the data set take" in out
    assert "(parameters 2.54 KiB, optimizer 5.08 KiB, step 7.62 KiB, activations of 100 images " in out
    code = "import sys; from cnn.train import memory_estimate; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], check=True)
