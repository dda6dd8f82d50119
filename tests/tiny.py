"""A training problem of a second: 8x8 pictures of three classes that a small network tells apart."""

import jax.numpy as jnp
import numpy as np

from cnn import hyperparams
from cnn.config.config import Override
from cnn.config.resolve import resolve as resolve_resolve
from cnn.data import loader
from cnn.train import multi_step
from cnn.train.state import create_state, make_step_config

SHAPE, CLASSES, BATCH = (8, 8, 1), 3, 8
RAW = {
    "model": {"width": 2, "layers": "conv(width, 3) | tanh | max_pool(2) | flatten | dense(classes)"},
    "data": {"name": "tiny", "image_shape": SHAPE, "classes": CLASSES},
    "optimizer": {"name": "sgd", "learning_rate": 0.1},
    "train": {"batch_size": BATCH},
}


def resolve(raw=RAW, **overrides):
    """Returns the values of the tiny config; `optimizer__learning_rate="0.2"` sets a field as a flag does."""
    given = [Override(path.replace("__", "."), str(value)) for path, value in overrides.items()]
    return resolve_resolve(raw, given)


def step_config(values, total_steps=20, steps_per_epoch=4):
    return make_step_config(values, total_steps, steps_per_epoch)


def start(values, seed=0, **lengths):
    """Returns the state before the first update, and the step's configuration."""
    compiled = step_config(values, **lengths)
    state = create_state(hyperparams.from_values(values), values.data.image_shape, seed, values.frozen)
    return state, compiled


def split(count=32, seed=0):
    """Returns pictures whose class is the place of their bright stripe."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    images = rng.integers(0, 100, (count, *SHAPE))
    for image, label in zip(images, labels, strict=True):
        image[:, 1 + 2 * label : 3 + 2 * label] += 150
    return loader.Examples(jnp.asarray(images, jnp.uint8), jnp.asarray(labels, jnp.int32))


def rows(step, count=32):
    """Returns the rows of a step's batch: in order, again and again."""
    return (jnp.arange(BATCH) + step * BATCH) % count


def run(values, steps, seed=0, images=None, **lengths):
    """Returns the state after so many steps, and the metrics of each."""
    state, compiled = start(values, seed, **lengths)
    images = split() if images is None else images
    history = []
    for step in range(steps):
        state, metrics = multi_step.run_step(state, images, rows(step), step_config=compiled)
        history.append(metrics)
    return state, history
