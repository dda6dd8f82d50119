"""What the tests of many devices run in a process of its own, where JAX has eight."""

import collections
import functools
import json
import operator
import os
import re

import jax
import jax.numpy as jnp
import numpy as np

import tiny
from cnn import evaluate, hyperparams
from cnn.data import loader
from cnn.data.augment import all_rows, augment
from cnn.ops import conv
from cnn.optim import freeze
from cnn.system import environment, sharding
from cnn.train import multi_step, step
from cnn.train.state import create_state

COUNT, BATCH, STEPS = 8, 32, 3
COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter")
NORMED = (
    "conv(4, 3) | batch_norm(0.9) | relu | max_pool(2) | "
    "residual(conv(4, 3, padding='same') | batch_norm(0.9)) | flatten | dropout(0.3) | dense(classes)"
)
CHANNELS = 4
"""Of each of the two batch normalisations."""
CASES = {
    "plain": {},
    "drawn": {"model__layers": NORMED, "data__augment": "shift(1) | mixup(0.4)"},
    "accumulated": {"model__layers": NORMED, "data__augment": "flip | mixup(0.4)", "train__accumulate_steps": 2},
    "weighted": {
        "train__loss": "focal(1.5)",
        "train__class_weights": "weights((1, 3, 0.2))",
        "train__accumulate_steps": 2,
        "data__on_error": "skip",
        "data__augment": "mixup(0.4)",
    },
    "mixed": {"model__layers": NORMED, "train__compute_dtype": "bfloat16", "data__augment": "shift(1)"},
    "photographs": {
        "data__stored_size": "(11,12)",
        "data__augment": "random_resized_crop(0.3) | vertical_flip | color_jitter(0.4, 0.3) | trivial_augment",
        "train__accumulate_steps": 2,
    },
    "sharp": {
        "train__gradient": "sam(0.1)",
        "train__groups": "group('*/bias', rate=4) | layerwise(0.5)",
        "train__average": "lookahead(2)",
        "data__augment": "alternating_flip | shift(1, 'reflect')",
        "train__accumulate_steps": 2,
    },
    "again": {
        "model__layers": NORMED,
        "train__remat": "blocks",
        "train__average": "ema(0.9)",
        "train__freeze": "conv1 residual1/batch_norm1",
    },
}


def state_of(values, count):
    return sharding.replicate(create_state(hyperparams.from_values(values), tiny.SHAPE, 0, values.frozen), count)


def pictures(values):
    """Returns the tiny pictures, with a border where the config holds larger ones."""
    images, labels, *_ = tiny.split(96)
    border = [(0, 0), *((0, held - seen) for held, seen in zip(values.data.stored_shape, tiny.SHAPE, strict=True))]
    rows = np.arange(96, dtype=np.int32) if values.by_example else None
    return jnp.pad(images, border, constant_values=40), labels, None, rows


def augmented(values, count):
    """Returns the images of a batch as so many devices make them, in the order of its rows."""
    step_config = tiny.step_config(values)._replace(devices=count)
    images, labels, *_ = pictures(values)
    order = step.device_permutation(BATCH, step_config)

    def of_share(images, labels, key):
        rows = step._batch_rows(len(images), step_config) if count > 1 else all_rows(BATCH)
        hyper = hyperparams.from_values(values)
        return augment(hyper.augment, images / 255.0, labels, key, rows, size=tiny.SHAPE[:2])[0]

    spread, whole = sharding.SPREAD, sharding.WHOLE
    if count > 1:
        of_share = jax.shard_map(
            of_share, mesh=sharding.mesh(count), in_specs=(spread, spread, whole), out_specs=spread
        )
    made = jax.jit(of_share)(images[order], jax.nn.one_hot(labels[order], tiny.CLASSES), jax.random.key(0))
    return np.asarray(made)[np.argsort(order)]


def steps(values, count, *, scan=False):
    """Returns the state after some steps on so many devices, and the metrics."""
    step_config = tiny.step_config(values)._replace(devices=count)
    state = state_of(values, count)
    split = loader.Examples(*sharding.replicate(pictures(values), count))
    rows = (np.arange(STEPS * BATCH).reshape(STEPS, BATCH) * 5 % 96).astype(np.int32)
    if scan:
        return *multi_step.run_scan(state, split, rows, step_config=step_config), step_config
    history = []
    for batch in rows:
        state, metrics = multi_step.run_step(state, split, batch, step_config=step_config)
        history.append(metrics)
    return state, jax.tree.map(lambda *numbers: np.stack(numbers), *jax.device_get(history)), step_config


def difference(one, other):
    """Returns the largest difference of two trees, relative to the largest number of each leaf, at least 1e-2."""
    pairs = zip(jax.tree.leaves(jax.device_get(one)), jax.tree.leaves(jax.device_get(other)), strict=True)
    return max(float(np.abs(a - b).max() / max(1e-2, np.abs(b).max())) for a, b in pairs if a.size)


def at(params, path):
    """Returns the array at a path such as `conv1/kernel`."""
    return np.asarray(functools.reduce(operator.getitem, path.split("/"), params))


def compare(name):
    values = tiny.resolve(tiny.RAW, train__batch_size=BATCH, **CASES[name])
    found = {}
    one, metrics, _ = steps(values, 1)
    for scan in (False, True) if name == "accumulated" else (False,):
        many, of_many, _ = steps(values, COUNT, scan=scan)
        learned = [(state.params, state.batch_stats, state.average) for state in (many, one)]
        found["scan" if scan else "step"] = [difference(*learned), difference(of_many, metrics)]
    begun = state_of(values, 1)
    found["kept"] = {path: bool((at(many.params, path) == at(begun.params, path)).all()) for path in values.frozen}
    images = np.asarray(tiny.split(37).images)
    logits = [
        evaluate.predict_logits(
            state.classifier(), sharding.replicate(images, count), evaluate.EvalConfig(20, devices=count)
        )
        for state, count in ((one, 1), (sharding.replicate(jax.device_get(one), COUNT), COUNT))
    ]
    if values.data.augment:
        found["augmented"] = float(np.abs(augmented(values, COUNT) - augmented(values, 1)).max())
    found["logits"] = [difference(*logits), len(logits[1])]
    return found


def collectives(name):
    """Returns, of the compiled step, how many collectives of each kind there are and the numbers in the largest."""
    values = tiny.resolve(tiny.RAW, train__batch_size=BATCH, **CASES[name])
    state, _, step_config = steps(values, COUNT)
    split = loader.Examples(*sharding.replicate(pictures(values), COUNT))
    lowered = multi_step.run_step.lower(state, split, jnp.arange(BATCH), step_config=step_config)
    text = lowered.compile().as_text()
    found = collections.defaultdict(list)
    for line in text.splitlines():
        called = re.search(rf"= (.*) ({'|'.join(COLLECTIVES)})(-start)?\(", line)
        if called:
            sizes = re.findall(r"\[([\d,]*)\]", called[1])
            found[called[2]].append(sum(int(np.prod([int(n) for n in size.split(",") if n])) for size in sizes))
    trained = freeze.trained(state.params, step_config.frozen)
    return {"parameters": sum(leaf.size for leaf in jax.tree.leaves(trained)), **found}


if __name__ == "__main__":
    assert jax.device_count() == COUNT, jax.devices()
    # Only "mixed" asks for bfloat16: as a CPU with units computes products of some size.
    os.environ[environment.UNITS], conv.LEAST = "AMX", 0
    print(json.dumps({name: {**compare(name), "collectives": collectives(name)} for name in CASES}))
