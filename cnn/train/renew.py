"""Renews the running statistics of batch normalisation for the weights that are evaluated.

Averaged weights were never trained with, so the running means and variances are not theirs. One pass over the training
pictures, as they are in evaluation, gives those: the plain mean over its batches of what each measures.

Source:
  Izmailov et al. 2018, https://arxiv.org/abs/1803.05407, section 3.2.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from cnn.data.loader import Examples, Loader
from cnn.data.types import centre
from cnn.layers.base import Shard
from cnn.layers.normalisation import BatchNorm
from cnn.model import fusion, network
from cnn.model.classifier import Classifier
from cnn.model.microbatch import microbatch_size
from cnn.optim import freeze
from cnn.system import sharding
from cnn.train.multi_step import taken
from cnn.train.run import Run
from cnn.train.state import Renewed, StepConfig, TrainState
from cnn.train.step import NO_STEP


def renewed(run: Run, state: TrainState) -> TrainState:
    """Returns the state with the statistics of the weights that `eval.weights` names; unchanged if a signal asks."""
    averaged = run.evaluates_average
    classifier = state.classifier(averaged=averaged)._replace(batch_stats=state.batch_stats)
    with run.progress_bar.stage("renewing the statistics of batch normalisation"):
        stats = statistics(classifier, run.loader, run.step_config, state.key, run.preemption.stop_requested)
    if stats is None:
        return state
    marks: Any = sharding.replicate((np.int32(state.step), np.bool_(averaged)), run.devices)
    return state._replace(renewed=Renewed(marks[0], marks[1], stats))


def statistics(
    classifier: Classifier,
    loader: Loader,
    step_config: StepConfig,
    key: Any,
    stop_requested: Callable[[], bool] = lambda: False,
) -> Any | None:
    """Returns the statistics of a network's weights; `None` if `stop_requested` says between two batches to stop.

    It goes through the training pictures in the order of the first epoch, a batch, or a part of one
    (`accumulate_steps`), at a time; on several devices each computes the whole of it, so the bits are those of one.

    Args:
      classifier: the network; its statistics only give the shapes.
      loader: of the training split.
      step_config: of the run that trained it.
      key: raw key data, for the network's noise.
      stop_requested: tells whether to stop.
    """
    key = jax.random.key_data(jax.random.fold_in(jax.random.wrap_key_data(key), NO_STEP))
    alone, number = step_config._replace(devices=1), 0
    for split, rows in loader.chunks(0, loader.steps_per_epoch, 1):
        if stop_requested():
            return None
        for part in np.split(rows[0], alone.accumulate_steps):
            stats = _moved(classifier, split, part, key, np.float32(number), step_config=alone)
            classifier = classifier._replace(batch_stats=stats)
            number += 1
        loader.started(jax.tree.leaves(classifier.batch_stats)[0])
    return classifier.batch_stats


@functools.partial(jax.jit, static_argnames="step_config")
def _moved(
    classifier: Classifier,
    split: Examples,
    rows: Int[Array, " batch"],
    key: Any,
    number: Float[Array, ""],
    *,
    step_config: StepConfig,
) -> Any:
    """Returns the means over `number` batches, with what this one measures as one more."""
    images = taken(split, rows, step_config).images
    if step_config.image_size:
        images = centre(images, step_config.image_size)
    share: Any = number / (number + 1)

    def follow(layer: Any) -> Any:
        return dataclasses.replace(layer, momentum=share) if isinstance(layer, BatchNorm) else layer

    layers = jax.tree.map(follow, classifier.layers, is_leaf=lambda layer: isinstance(layer, BatchNorm))
    widest = fusion.widest(classifier.layers, images.shape[1:])
    _, stats = network.apply_train(
        layers,
        classifier.variables,
        classifier.preprocess(images),
        jax.random.fold_in(jax.random.wrap_key_data(key), number.astype(jnp.uint32)),
        dtype=jnp.dtype(step_config.compute_dtype),
        shard=Shard(microbatch=microbatch_size(len(rows), widest, jax.default_backend())),
        frozen_batch_norm=freeze.layers(classifier.params, step_config.frozen),
    )
    return stats
