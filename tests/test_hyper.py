"""Another real number compiles nothing; another structure does; many numbers train side by side."""

import dataclasses
import functools
import itertools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn import fields, hyperparams, registry
from cnn.data import loader
from cnn.data.augment import AUGMENTATIONS
from cnn.optim import AVERAGES, CLIPS, GRADIENTS, GROUPS, OPTIMIZERS, SCHEDULES
from cnn.registry import INITIALISERS, LAYERS, LOSSES
from cnn.train import multi_step
from cnn.train.state import _create, _create_on_cpu, create_state
from cnn.train.step import train_step
from tests import networks, tiny

FULL = {
    **tiny.RAW,
    "model": {
        "width": 2,
        "rate": 0.1,
        "layers": "conv(width, 3) | batch_norm(0.9) | relu | max_pool(2) | flatten | dropout(rate) | dense(classes)",
    },
    "data": {**tiny.RAW["data"], "mean": (0.5,), "std": (0.25,), "augment": "flip(0.5) | mixup(0.2)"},
    "optimizer": {"name": "adamw", "learning_rate": 0.1, "weight_decay": 0.01},
    "schedule": {"name": "cosine", "final": 0.1, "warmup_steps": 2},
    "train": {"batch_size": 8, "label_smoothing": 0.1, "clip": "global_norm(1.0)", "average": "ema(0.9)"},
}
TRACED = {
    "optimizer__learning_rate": "0.2",
    "optimizer__weight_decay": "0",
    "optimizer__b2": "0.9",
    "optimizer__eps": "1e-3",
    "schedule__final": "0",
    "train__label_smoothing": "0",
    "train__clip": "global_norm(5)",
    "train__average": "ema(0.1)",
    "data__mean": "(0.1,)",
    "data__std": "(1.5,)",
    "data__augment": "flip(0) | mixup(2.5)",
    "model__rate": "0.6",
    "model__layers": FULL["model"]["layers"].replace("0.9", "0.5, 1e-5"),
}
STRUCTURAL = {
    "model__width": "3",
    "model__layers": "conv(width, 3) | batch_norm(0.9) | tanh | max_pool(2) | flatten | dropout(rate) | dense(classes)",
    "optimizer__decayed": "all",
    "schedule__warmup_steps": "3",
    "schedule__name": "linear",
    "train__clip": "value(1.0)",
    "train__average": "none",
    "data__augment": "flip(0.5)",
}


def structure(values):
    return jax.tree.structure(hyperparams.from_values(values))


def compiled():
    return multi_step.run_step._cache_size(), _create._cache_size() + _create_on_cpu._cache_size()


@functools.cache
def expected():
    """Returns the parameters after four steps of the full config, and compiles them."""
    state, _ = tiny.run(tiny.resolve(FULL), 4)
    return [np.asarray(leaf) for leaf in jax.tree.leaves((state.params, state.batch_stats, state.average))]


@pytest.mark.parametrize("path", TRACED)
@pytest.mark.slow(seconds=4)
def test_another_number_compiles_nothing_and_is_not_ignored(path):
    before = expected()
    counts = compiled()
    values = tiny.resolve(FULL, **{path: TRACED[path]})
    assert structure(values) == structure(tiny.resolve(FULL))
    state, _ = tiny.run(values, 4)
    assert compiled() == counts
    after = jax.tree.leaves((state.params, state.batch_stats, state.average))
    assert any((one != other).any() for one, other in zip(before, after, strict=True))


@pytest.mark.slow(seconds=4)
def test_another_seed_compiles_nothing():
    expected()
    counts = compiled()
    tiny.run(tiny.resolve(FULL), 1, seed=5)
    assert compiled() == counts


@pytest.mark.parametrize("path", STRUCTURAL)
def test_what_shapes_the_program_is_structure(path):
    assert structure(tiny.resolve(FULL, **{path: STRUCTURAL[path]})) != structure(tiny.resolve(FULL))


CHOSEN = {"train__loss": "focal(2)", "train__class_weights": "weights((1, 2, 3))"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("path", "text"), [("train__loss", "focal(gamma=0.5)"), ("train__class_weights", "weights((3, 0, 1))")]
)
def test_another_number_of_the_loss_compiles_nothing_and_is_not_ignored(path, text):
    before, _ = tiny.run(tiny.resolve(**CHOSEN), 2)
    counts = compiled()
    values = tiny.resolve(**{**CHOSEN, path: text})
    assert hyperparams.structure(values) == hyperparams.structure(tiny.resolve(**CHOSEN))
    after, _ = tiny.run(values, 2)
    assert compiled() == counts
    assert any(
        (one != other).any() for one, other in zip(*map(jax.tree.leaves, (before.params, after.params)), strict=True)
    )


@pytest.mark.parametrize(
    "changed",
    [{"train__loss": "sigmoid_cross_entropy"}, {"train__loss": "focal"}, {"train__class_weights": "balanced"}],
)
def test_another_loss_is_another_program(changed):
    assert hyperparams.structure(tiny.resolve(**changed)) != hyperparams.structure(tiny.resolve())
    assert structure(tiny.resolve(**changed)) != structure(tiny.resolve())


def test_by_default_no_number_of_the_loss_is_traced():
    found = hyperparams.from_values(tiny.resolve())
    assert jax.tree.leaves((found.loss, found.class_weights)) == []


@pytest.mark.slow
def test_another_width_compiles():
    expected()
    runs, creations = compiled()
    tiny.run(tiny.resolve(model__width="3"), 1)
    assert compiled() == (runs + 1, creations + 1)


def test_every_number_is_a_float32_array():
    leaves = jax.tree.leaves(hyperparams.from_values(tiny.resolve(FULL)))
    assert all(isinstance(leaf, jax.Array) and leaf.dtype == jnp.float32 and leaf.shape == () for leaf in leaves)
    # batch_norm 2, dropout 1, flip and mixup 2, adamw 5, cosine 1, clip 1, average 1, smoothing 1, mean 1, std 1
    assert len(leaves) == 16


TABLES = {
    **LAYERS,
    **INITIALISERS,
    **AUGMENTATIONS,
    **OPTIMIZERS,
    **SCHEDULES,
    **CLIPS,
    **AVERAGES,
    **GROUPS,
    **GRADIENTS,
    **LOSSES,
}


KINDS = list(dict.fromkeys(TABLES.values()))


def example(kind):
    """Returns a record of a kind, and how many real numbers it holds."""
    arguments = {
        "features": 4,
        "kernel": (3, 3),
        "window": (2, 2),
        "body": (),
        "branches": (),
        "factor": (2, 2),
        "size": (2, 2),
        "pad": 1,
        "pixels": 1,
        "start": 1,
        "parameters": "*",
    }
    real = [name for name, annotation in fields.options(kind).items() if fields.is_real(annotation)]
    missing = [name for name, default in fields.defaults(kind).items() if default is fields.REQUIRED]
    record = kind(**{name: 0.5 if name in real else arguments[name] for name in missing})
    return record, sum(getattr(record, name) is not None for name in real)


for _kind in KINDS:
    hyperparams.make_pytree(_kind)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_record_is_a_tree_that_survives_flattening(kind):
    record, real = example(kind)
    leaves, tree = jax.tree.flatten(record)
    assert len(leaves) == real
    assert jax.tree.unflatten(tree, leaves) == record
    assert jax.tree.map(lambda number: number, record) == record


def test_records_of_different_kinds_are_different_structures():
    # The cache of compiled programs looks structures up by equality: two kinds must never be equal.
    structures = [jax.tree.structure(example(kind)[0]) for kind in KINDS]
    assert all(one != other for one, other in itertools.combinations(structures, 2))


def test_a_class_that_is_registered_late_is_traced_like_any_other():
    class Signs:
        learning_rate: fields.Positive
        decayed: Literal["kernels", "all"] = "kernels"

    table = registry.Table("part")
    table.register(Signs)
    values = dataclasses.replace(tiny.resolve(), optimizer=Signs(0.5))
    found = hyperparams.from_values(values)
    assert found.optimizer == Signs(jnp.float32(0.5))
    assert Signs.kind == "signs"
    assert structure(values) == structure(dataclasses.replace(values, optimizer=Signs(0.1)))
    assert structure(values) != structure(dataclasses.replace(values, optimizer=Signs(0.5, "all")))


def test_a_path_to_a_number_names_its_field():
    paths, _ = jax.tree_util.tree_flatten_with_path(hyperparams.from_values(tiny.resolve()))
    assert ".optimizer.learning_rate" in [jax.tree_util.keystr(path) for path, _ in paths]


@pytest.mark.slow
def test_learning_rates_train_side_by_side_as_they_do_alone():
    rates = (0.01, 0.1, 0.5)
    every = [tiny.resolve(optimizer__learning_rate=rate) for rate in rates]
    hypers = [hyperparams.from_values(values) for values in every]
    stacked = jax.tree.map(lambda *numbers: jnp.stack(numbers), *hypers)
    step_config, images = tiny.step_config(every[0]), tiny.split()
    together = jax.vmap(lambda hypers: create_state(hypers, tiny.SHAPE, 0))(stacked)

    @networks.jit
    def step(states, rows):
        batch = loader.Examples(images.images[rows], images.labels[rows])
        return jax.vmap(train_step, in_axes=(0, None, None))(states, batch, step_config)

    for number in range(4):
        together, metrics = step(together, tiny.rows(number))
    for lane, values in enumerate(every):
        alone, history = tiny.run(values, 4)
        ours = jax.tree.map(lambda array, lane=lane: array[lane], (together.params, metrics))
        networks.agree(ours, (alone.params, history[-1]), 1e-4)
        assert float(metrics["learning_rate"][lane]) == pytest.approx(rates[lane])
