"""Every shipped config: resolves, says what it is, has the parameters it always had, and trains."""

import ast
import importlib.util

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import networks
from cnn.config import resolve
from cnn.config.config import Override
from cnn.config.files import DEFAULT as DEFAULT_CONFIG
from cnn.data import loader
from cnn.data.types import Split
from cnn.model.summary import count_parameters
from cnn.train.state import create_train_state, make_step_config
from cnn.train.step import train_step

FOLDER = DEFAULT_CONFIG.parent
PARAMETERS = {
    "cifar10": 308_650,
    "cifar10_94": 1_972_802,  # 1,152 and 10 of them are scales that stay as they are
    "convnext_tiny": 28_589_128,  # this and those below at 1,000 classes: as in torchvision
    "dense_baseline": 784 * 128 + 128 + 128 * 10 + 10,
    "densenet": 7_978_856,
    "digits": 243_786,
    "fashion/densenet": 175_690,
    "fashion/five_conv": 289_130,
    "fashion/residual": 1_866_986,
    "fashion/three_conv_dropout": 241_546,
    "fashion/two_conv": (3 * 3 + 1) * 32 + (3 * 3 * 32 + 1) * 64 + (7 * 7 * 64 + 1) * 30 + (30 + 1) * 10,
    "fashion/two_conv_flips": (3 * 3 + 1) * 64 + (3 * 3 * 64 + 1) * 128 + (7 * 7 * 128 + 1) * 256 + (256 + 1) * 10,
    "fashion/two_conv_small": (3 * 3 + 1) * 32 + (3 * 3 * 32 + 1) * 64 + (7 * 7 * 64 + 1) * 24 + (24 + 1) * 10,
    "fashion_mnist": 243_786,
    "fashion_mnist_fast": 225_034,
    "fashion_mnist_fast_93": 241_546,
    "lenet5": 61_706,
    "lenet5_distorted": 61_706,
    "mnist": 243_786,
    "mnist_small": 14_806,
    "mobilenet": 3_504_872,
    "resnet18": 11_689_512,
    "resnet50": 25_557_032,
    "vgg11": 132_863_336,
    "one_filter": (3 * 3 + 1) + (1 + 1) * 2,
    "one_conv": (3 * 3 + 1) * 32 + (13 * 13 * 32 + 1) * 128 + (128 + 1) * 10,
}
SECONDS = {
    "cifar10_94": 25,
    "convnext_tiny": 35,
    "densenet": 16,
    "fashion/densenet": 15,
    "mobilenet": 15,
    "resnet18": 40,
    "resnet50": 12,
    "vgg11": 12,
}
SLOW = [
    pytest.param(name, marks=pytest.mark.slow(seconds=SECONDS.get(name, 1)))
    for name in sorted(PARAMETERS)
    if name != "dense_baseline"
]
SMALL = [Override("data.image_shape", "(64,64,3)"), Override("data.stored_size", "(72,72)")]
SHORTER = {
    "cifar10_94": "conv(24, 2, init=whiten) | gelu | block(64) | max_pool(15) | flatten | "
    "dense(classes, use_bias=False) | scale(0.1111111) | softmax",
    "convnext_tiny": "conv(96, 4, strides=4) | layer_norm | block(96, 0.1) | down(192) | block(192, 0.1) | "
    "global_avg_pool | layer_norm | dense(classes)",
    "densenet": "conv(64, 7, strides=2, padding=3, use_bias=False) | bn | max_pool(3, 2, padding=1) | grow | "
    "shrink(48) | grow | bn | global_avg_pool | dense(classes)",
    "fashion/densenet": "conv(24, 3, padding=1, use_bias=False) | grow | shrink(18) | grow | bn | global_avg_pool | "
    "dense(classes)",
    "mobilenet": "conv_bn(32, 3, 2) | relu6 | dw(1) | conv_bn(16, 1) | stage(16, 24, 2, 1) | global_avg_pool | "
    "dropout(0.2) | dense(classes)",
    "resnet50": "conv_bn(64, 7, 2) | relu | max_pool(3, 2, padding=1) | stage(64, 1, 1) | global_avg_pool | "
    "dense(classes)",
    "vgg11": "c(64) | max_pool(2) | c(128) | max_pool(8) | global_avg_pool | hidden | dense(classes)",
}
"""Fewer of the same pieces, where two steps of all of them would take minutes."""
CHANGES = {name: [Override("model.layers", text)] for name, text in SHORTER.items()}
for name in ("convnext_tiny", "densenet", "mobilenet", "resnet18", "resnet50", "vgg11"):
    CHANGES[name] = [*CHANGES.get(name, ()), *SMALL]


def load(name, overrides=()):
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return resolve.resolve(module.get_config().to_dict(), overrides)


def test_every_config_is_tested():
    assert {
        path.relative_to(FOLDER).with_suffix("").as_posix()
        for path in FOLDER.rglob("*.py")
        if path.parent.name != "sweeps"
    } == set(PARAMETERS)
    assert DEFAULT_CONFIG == FOLDER / "digits.py"


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_a_config_is_data_with_a_docstring(name):
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    assert len((ast.get_docstring(tree) or "").splitlines()[0]) > 20
    imported = [node for node in ast.walk(tree) if isinstance(node, (ast.Import, ast.ImportFrom))]
    assert [ast.unparse(node) for node in imported] == ["from ml_collections import ConfigDict"]


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_a_config_resolves_to_the_parameters_it_always_had(name):
    values = load(name)
    assert count_parameters(values.rows) == PARAMETERS[name]


@pytest.mark.thorough(8)
@pytest.mark.slow(seconds=2)
@pytest.mark.parametrize("name", ["dense_baseline", *SLOW])
def test_a_config_makes_two_training_steps(name):
    values = load(name, CHANGES.get(name, ()))
    step_config = make_step_config(values, 5000, 100)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, *values.data.stored_shape), dtype=np.uint8)
    labels = rng.integers(0, values.data.classes, 4).astype(np.int32)
    split = loader.Examples(jnp.asarray(images), jnp.asarray(labels))
    state = create_train_state(values, train=Split(images, labels))
    parameters = count_parameters(values.rows)
    assert sum(array.size for array in jax.tree.leaves(state.params)) == parameters
    assert name in SHORTER or parameters == PARAMETERS[name]
    before = jax.tree.map(np.asarray, state.params)
    make_step = networks.jit(train_step, static_argnames="step_config")
    for step in range(2):
        batch = loader.Examples(split.images[step::2], split.labels[step::2])
        state, metrics = make_step(state, batch, step_config=step_config)
        assert np.isfinite(float(metrics["loss"])) and np.isfinite(float(metrics["grad_norm"]))
        assert float(metrics["count"]) == 2
    assert (int(state.step), int(state.bad_step)) == (2, -1)
    moved = jax.tree.map(lambda old, new: not np.array_equal(old, new), before, state.params)
    assert any(jax.tree.leaves(moved))
