"""The train state, all that changes while training; and the step's configuration, what of a run is compiled in."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Integer

from cnn import hyperparams
from cnn.config.config import Config
from cnn.data.types import UNUSABLE, Split, take_images
from cnn.hyperparams import Hyperparams
from cnn.layers.convolution import Conv
from cnn.layers.initialisers import Whiten
from cnn.model import network, summary
from cnn.model.classifier import Classifier, standardise
from cnn.model.summary import NOTHING, Row
from cnn.optim import averages, freeze, optimizers
from cnn.system import sharding
from cnn.system.compile_times import ONCE


class StepConfig(NamedTuple):
    """What of a run is compiled in, beside the structure of its hyperparameters."""

    classes: int
    total_steps: int
    steps_per_epoch: int
    accumulate_steps: int
    compute_dtype: str
    skips: bool = False
    """Whether examples may be labelled `data.UNUSABLE`: they weigh nothing, and others stand in for their pictures."""
    devices: int = 1
    remat: str = "none"
    frozen: tuple[str, ...] = ()
    """The paths of the parameters that stay as they are: no gradient is computed of them."""
    image_size: tuple[int, int] | None = None
    """The height and width that the network sees, where the pictures of a batch are larger."""


class Renewed(NamedTuple):
    """Batch statistics that a pass over the training pictures gave, see `cnn.train.renew`."""

    step: Int[Array, ""]
    """The updates behind them; -1: there are none yet."""
    averaged: Bool[Array, ""]
    """Whether they are those of the average."""
    batch_stats: Any


class TrainState(NamedTuple):
    """Everything that changes while training, and the traced hyperparameters; arrays only."""

    step: Int[Array, ""]
    """Optimizer updates made."""
    params: Any
    batch_stats: Any
    opt_state: Any
    average: Any
    """The average of the parameters, see `cnn.optim.averages`; empty where none is kept."""
    bad_step: Int[Array, ""]
    """The first step whose loss, gradient or result was not finite; it and all after it updated nothing. -1: none."""
    key: Any
    """Raw key data; each step folds in its number."""
    hyper: Hyperparams
    observed: Any = ()
    """What the schedule has seen of the evaluations; empty where it follows none."""
    renewed: Any = ()
    """`Renewed`; empty where training does not end with it."""

    def classifier(self, *, averaged: bool = False) -> Classifier:
        """Returns what the state classifies with; averaged, the average stands for the parameters."""
        params = self.average if averaged else optimizers.eval_params(self.opt_state, self.params)
        stats = self.renewed.batch_stats if self.is_renewed(averaged=averaged) else self.batch_stats
        return Classifier(self.hyper.layers, self.hyper.mean, self.hyper.std, params, stats)

    def is_renewed(self, *, averaged: bool) -> bool:
        """Tells whether the statistics were renewed for the parameters of this step, or for their average."""
        if not self.renewed:
            return False
        return int(self.renewed.step) == int(self.step) and bool(self.renewed.averaged) == averaged


def make_step_config(values: Config, total_steps: int, steps_per_epoch: int, devices: int = 1) -> StepConfig:
    """Returns what a config compiles in, given the lengths that follow from the data, and the number of devices."""
    section = values.train
    return StepConfig(
        classes=values.data.classes,
        total_steps=total_steps,
        steps_per_epoch=steps_per_epoch,
        accumulate_steps=section.accumulate_steps,
        compute_dtype=section.compute_dtype,
        skips=values.data.on_error == "skip",
        devices=devices,
        remat=section.remat,
        frozen=values.frozen,
        image_size=values.data.image_shape[:2] if values.data.stored_shape != values.data.image_shape else None,
    )


def create_train_state(
    values: Config,
    devices: int = 1,
    counts: Integer[np.ndarray, " classes"] | None = None,
    train: Split | None = None,
) -> TrainState:
    """Returns a config's state before the first update, whole on each of so many devices.

    Args:
      values: the whole config.
      devices: how many.
      counts: see `hyperparams.from_values`.
      train: the training split, whose images a first layer may whiten; `None` where only the shapes matter.
    """
    hyper = hyperparams.from_values(values, counts)
    given = {} if train is None else whitened(hyper, values.rows, train)
    state = create_state(hyper, values.data.image_shape, values.seed, values.frozen, given)
    if values.train.renew_statistics:
        # A copy: the step gives up the arrays of its state, and may not do so twice.
        stats = jax.tree.map(lambda array: array.copy(), state.batch_stats)
        state = state._replace(renewed=Renewed(jnp.full((), -1, jnp.int32), jnp.zeros((), bool), stats))
    return sharding.replicate(state, devices)


def create_shapes(values: Config) -> TrainState:
    """Returns the shapes and types of a config's state; no parameter is drawn for it."""
    shapes: TrainState = jax.eval_shape(lambda: create_train_state(values))
    return shapes


def create_state(
    hyper: Hyperparams,
    image_shape: tuple[int, ...],
    seed: int,
    frozen: tuple[str, ...] = (),
    given: Mapping[str, Any] = NOTHING,
) -> TrainState:
    """Returns the state before the first update. How long the run is, the state does not know.

    Args:
      hyper: float32 arrays, see `hyperparams.from_values`.
      image_shape: height, width, channels.
      seed: decides the initial parameters and all that training draws.
      frozen: the paths of the parameters for which the optimizer keeps nothing.
      given: parameters, by the name of their layer, that are not drawn.
    """
    # Within another program, such as a vmapped one, JAX takes no options.
    within = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(hyper))
    create = _create if within or jax.default_backend() != "cpu" else _create_on_cpu
    key = jax.random.key_data(jax.random.key(seed))
    return create(hyper, key, dict(given) or None, image_shape=image_shape, frozen=frozen)


def init_opt_state(hyper: Hyperparams, trained: Any) -> Any:
    """Returns the optimizer's state before the first update of the parameters that are trained."""
    return optimizers.init_opt_state(hyper.optimizer, hyper.clip, trained, hyper.groups, layer_names(hyper))


def layer_names(hyper: Hyperparams) -> list[str]:
    """Returns the names of the network's layers, from the image on."""
    return [name for name, _ in summary.named(hyper.layers)]


def whitened(hyper: Hyperparams, rows: Sequence[Row], train: Split) -> dict[str, dict[str, np.ndarray]]:
    """Returns the kernel of a first layer that begins with `whiten`, by the layer's name; nothing for any other.

    The images are so many of the training split, evenly spread over it, without augmentation, standardised.
    """
    layer = hyper.layers[0] if hyper.layers else None
    if not isinstance(layer, Conv) or not isinstance(layer.init, Whiten):
        return {}
    count = min(layer.init.images, len(train))
    chosen = np.arange(count) * len(train) // count
    pictures = take_images(train.images, chosen)
    pictures = pictures[train.marked(chosen) != UNUSABLE]
    images = np.asarray(standardise(pictures.astype(np.float32) / 255, hyper.mean, hyper.std))
    kernel = layer.init.kernel(images, layer.kernel_shape(rows[0].input[2]), layer.dilation)
    return {rows[0].path: {"kernel": kernel}}


def _first(
    hyper: Hyperparams,
    key: jax.Array,
    given: Mapping[str, Mapping[str, np.ndarray]] | None = None,
    *,
    image_shape: tuple[int, ...],
    frozen: tuple[str, ...],
) -> TrainState:
    init_key, train_key = jax.random.split(jax.random.wrap_key_data(key))
    variables = network.init(hyper.layers, image_shape, init_key)
    params = variables["params"]
    for name, arrays in (given or {}).items():
        params = {**params, name: {**params[name], **arrays}}
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        batch_stats=variables["batch_stats"],
        opt_state=init_opt_state(hyper, freeze.trained(params, frozen)),
        average=averages.first(hyper.average, params),
        bad_step=jnp.full((), -1, jnp.int32),
        key=jax.random.key_data(train_key),
        hyper=hyper,
        observed=hyper.schedule.init_state() if hasattr(hyper.schedule, "init_state") else (),
    )


_create = jax.jit(_first, static_argnames=("image_shape", "frozen"))
_create_on_cpu = jax.jit(_first, static_argnames=("image_shape", "frozen"), compiler_options=ONCE)
