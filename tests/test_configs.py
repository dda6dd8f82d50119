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
from cnn.model.summary import count_parameters
from cnn.train.state import create_train_state, make_step_config
from cnn.train.step import train_step

pytestmark = pytest.mark.compiled

FOLDER = DEFAULT_CONFIG.parent
PARAMETERS = {
    "cifar10": 308_650,
    "dense_baseline": 784 * 128 + 128 + 128 * 10 + 10,
    "digits": 243_786,
    "fashion/five_conv": 289_130,
    "fashion/residual": 463_594,
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
    "resnet18": 11_689_512,  # as in torchvision, at 1,000 classes
    "one_filter": (3 * 3 + 1) + (1 + 1) * 2,
    "one_conv": (3 * 3 + 1) * 32 + (13 * 13 * 32 + 1) * 128 + (128 + 1) * 10,
}
SECONDS = {"resnet18": 40}
SLOW = [
    pytest.param(name, marks=pytest.mark.slow(seconds=SECONDS.get(name, 1)))
    for name in sorted(PARAMETERS)
    if name != "dense_baseline"
]
SMALLER = {"resnet18": [Override("data.image_shape", "(64,64,3)"), Override("data.stored_size", "(72,72)")]}
"""Where two steps would take minutes: no parameter depends on the size of the pictures."""


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


@pytest.mark.slow(seconds=2)
@pytest.mark.parametrize("name", ["dense_baseline", *SLOW])
def test_a_config_makes_two_training_steps(name):
    values = load(name, SMALLER.get(name, ()))
    program = make_step_config(values, 1000, 100)
    state = create_train_state(values)
    assert sum(array.size for array in jax.tree.leaves(state.params)) == PARAMETERS[name]
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, *values.data.stored_shape), dtype=np.uint8)
    split = loader.Examples(jnp.asarray(images), jnp.asarray(rng.integers(0, values.data.classes, 4)))
    before = jax.tree.map(np.asarray, state.params)
    make_step = networks.jit(train_step, static_argnames="program")
    for step in range(2):
        batch = loader.Examples(split.images[step::2], split.labels[step::2])
        state, metrics = make_step(state, batch, program=program)
        assert np.isfinite(float(metrics["loss"])) and np.isfinite(float(metrics["grad_norm"]))
        assert float(metrics["count"]) == 2
    assert (int(state.step), int(state.bad_step)) == (2, -1)
    moved = jax.tree.map(lambda old, new: not np.array_equal(old, new), before, state.params)
    assert any(jax.tree.leaves(moved))
