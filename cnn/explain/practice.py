"""Captures what a page needs to train a small network by itself: pictures, first weights, and JAX's gradient."""

import dataclasses
import functools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Float32, Int, Int32, UInt8, UInt32

from cnn.config.config import Config
from cnn.data import types
from cnn.layers.activation import Relu, Softmax
from cnn.layers.base import Layer, LayerError, Shape, written
from cnn.layers.convolution import Conv
from cnn.layers.dense import Dense, Flatten
from cnn.layers.initialisers import Whiten
from cnn.layers.pooling import AvgPool, GlobalAvgPool, GlobalMaxPool, MaxPool
from cnn.model import network
from cnn.model.classifier import by_path, standardise
from cnn.model.summary import trace
from cnn.report.journey import practice_file
from cnn.report.journey.graph import build
from cnn.report.journey.practice_file import CHECKED, PRACTICE, Practice
from cnn.system.compile_times import ONCE

KINDS = (Conv, Relu, MaxPool, AvgPool, GlobalMaxPool, GlobalAvgPool, Flatten, Dense, Softmax)
"""Layers whose gradients `training.js` computes."""
PRODUCTS = 200_000
"""The most multiplications a picture; a larger network is trained with fewer features."""
PIXELS, FEWEST, HELD_OUT = 300_000, 100, 5
"""The most intensities of all pictures, the fewest pictures for which there must be room, and of how many one is for
validation."""
KERNELS = (1, 3, 5, 7)
"""Height and width of the first convolution's kernels, from which a visitor chooses."""


Layers = tuple[Layer, ...]


def write(values: Config, workdir: Path, dataset: types.Dataset) -> None:
    """Writes `practice.npz`, from which a page trains the run's network, or one like it, by itself.

    Nothing is written of a network that is no chain of `KINDS`, or where there are too few or too large pictures.

    Args:
      values: the run's config.
      workdir: the run's directory.
      dataset: the run's.
    """
    practice = capture(values, dataset)
    if practice is not None:
        practice_file.write(workdir / PRACTICE, practice)


def capture(values: Config, dataset: types.Dataset) -> Practice | None:
    """Returns what `write` writes, `None` where that is nothing."""
    shape = values.data.image_shape
    layers, pictures = narrowed(values.layers, shape), _pictures(dataset, shape)
    if layers is None or pictures is None:
        return None
    images, labels, train = pictures
    networks = dict(_variants(layers, shape))
    key = np.asarray(jax.random.key_data(jax.random.key(values.seed)))
    with jax.default_device(jax.devices("cpu")[0]), jax.default_matmul_precision("highest"):
        table = read_for(values.data.mean, values.data.std, shape[2])
        batch = images[: min(CHECKED, train)]
        read = np.stack([table[channel][batch[..., channel]] for channel in range(shape[2])], axis=-1)
        arrays = _init(key, layers=layers, shape=shape)
        found = gradients(arrays, read, labels[: len(batch)], layers=layers)
    whole = {} if layers == values.layers else {"whole": " | ".join(map(written, values.layers))}
    return Practice(
        networks={name: build(variant, shape) for name, variant in networks.items()},
        own=next(name for name, variant in networks.items() if variant == layers),
        arrays=_by_path(arrays),
        gradients=_by_path(found),
        table=table,
        images=images,
        labels=labels,
        train=train,
        classes=dataset.class_names,
        about={"seed": values.seed, "of": len(dataset.train), **whole},
    )


def narrowed(layers: Layers, shape: Shape) -> Layers | None:
    """Returns the network with so few features, halved and halved again, that it makes at most `PRODUCTS` products.

    Args:
      layers: a network that fits.
      shape: of its images.

    Returns:
      `None` for one that is no chain of `KINDS`, convolutions in groups and those that begin with `whiten` left out,
      or that is too large with one feature a layer.
    """
    if not all(map(_trainable, layers)):
        return None
    wide = [place for place, layer in enumerate(layers) if isinstance(layer, (Conv, Dense))][:-1]
    while sum(row.macs for row in trace(layers, shape)) > PRODUCTS:
        smaller = list(layers)
        for place in wide:
            layer: Any = layers[place]
            smaller[place] = dataclasses.replace(layer, features=max(1, layer.features // 2))
        if tuple(smaller) == layers:
            return None
        layers = tuple(smaller)
    return layers


def _trainable(layer: Layer) -> bool:
    if isinstance(layer, Conv):
        return layer.groups == 1 and not isinstance(layer.init, Whiten)
    return type(layer) in KINDS


def _variants(layers: Layers, shape: Shape) -> Iterator[tuple[str, Layers]]:
    """Yields the network with every size of the first convolution's kernel that leaves as many logits, by that size."""
    place = next((place for place, layer in enumerate(layers) if isinstance(layer, Conv)), None)
    if place is None:
        yield "", layers
        return
    first: Any = layers[place]
    logits = trace(layers, shape)[-1].output
    for kernel in sorted({first.kernel, *((side, side) for side in KERNELS)}):
        variant = (*layers[:place], dataclasses.replace(first, kernel=kernel), *layers[place + 1 :])
        try:
            rows = trace(variant, shape)
        except LayerError:
            continue
        if rows[-1].output != logits:
            continue
        yield "x".join(map(str, kernel)), variant


def _pictures(
    dataset: types.Dataset, shape: Shape
) -> tuple[UInt8[np.ndarray, "n height width channels"], Int32[np.ndarray, " n"], int] | None:
    """Returns pictures that are evenly spread over their split, their labels, and how many of them are to train on."""
    most = PIXELS // math.prod(shape)
    if most < FEWEST or not len(dataset.train):
        return None
    held_out = len(dataset.valid) or len(dataset.train) // HELD_OUT
    valid = min(most // HELD_OUT, held_out)
    train = min(most - valid, len(dataset.train) - (0 if len(dataset.valid) else valid))
    if len(dataset.valid):
        parts = [_spread(dataset.train, train), _spread(dataset.valid, valid)]
    else:
        images, labels = _spread(dataset.train, train + valid)
        # Every so many-th is held out: where pictures lie in the order of their classes, some of each.
        last = np.arange(len(labels)) % HELD_OUT == HELD_OUT - 1
        parts = [(images[~last], labels[~last]), (images[last], labels[last])]
    (images, labels), (others, truths) = parts
    return np.concatenate([images, others]), np.concatenate([labels, truths]), len(labels)


def _spread(split: types.Split, count: int) -> tuple[np.ndarray, np.ndarray]:
    rows = np.arange(count) * len(split) // max(1, count)
    images = types.take_images(split.images, rows)
    labels = split.marked(rows)
    return images[labels != types.UNUSABLE], labels[labels != types.UNUSABLE]


def read_for(mean: tuple[Any, ...], std: tuple[Any, ...], channels: int) -> Float32[np.ndarray, "channels 256"]:
    """Returns what a network reads for each intensity; mean and deviation are those of each channel, or one of all."""
    return np.asarray(_standardised(mean, std, channels=channels)).T.copy()


@functools.partial(jax.jit, static_argnames="channels", compiler_options=ONCE)
def _standardised(mean: tuple[Any, ...], std: tuple[Any, ...], *, channels: int) -> Float[Array, "256 channels"]:
    ramp = jnp.arange(256, dtype=jnp.float32)[:, None] / 255
    return standardise(jnp.broadcast_to(ramp, (256, channels)), mean, std)


@functools.partial(jax.jit, static_argnames=("layers", "shape"), compiler_options=ONCE)
def _init(key: UInt32[Array, " words"], *, layers: Layers, shape: Shape) -> Any:
    # As `cnn.train.state` draws them, so that a network of the run's size begins as the run did.
    init_key, _ = jax.random.split(jax.random.wrap_key_data(key))
    return network.init(layers, shape, init_key)["params"]


@functools.partial(jax.jit, static_argnames="layers", compiler_options=ONCE)
def gradients(
    params: Any, images: Float[Array, "n height width channels"], labels: Int[Array, " n"], *, layers: Layers
) -> Any:
    """Returns JAX's gradient of the mean cross-entropy, as a tree like the parameters.

    Args:
      params: of the network, which has nothing else.
      images: what it reads.
      labels: the classes.
      layers: a chain.
    """

    def loss(params: Any) -> jax.Array:
        return optax.softmax_cross_entropy_with_integer_labels(logits(layers, params, images), labels).mean()

    return jax.grad(loss)(params)


def logits(layers: Layers, params: Any, images: Float[Array, "n height width channels"]) -> network.Logits:
    """Returns what a chain makes of images, layer by layer.

    What is fused may compute by transforms, whose roundings are not those of sums of products.
    """
    outputs = network.capture(layers, {"params": params, "batch_stats": {}}, images)
    return [output for name, output in outputs.items() if not name.startswith("softmax")][-1]


def _by_path(params: Any) -> dict[str, np.ndarray]:
    return {path: np.asarray(array) for path, array in by_path(params).items()}
