"""The traced hyperparameters: every real number that the compiled step reads.

Each record of the config is a pytree whose leaves are its real numbers and whose structure is all the rest. Another
learning rate is another leaf and compiles nothing; another width is another structure. A sweep stacks the leaves.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from cnn import fields, layers
from cnn.config.config import Config
from cnn.data.augment import AUGMENTATIONS
from cnn.optim import optimizer_specs, schedule_specs, update_specs


class Hyperparams(NamedTuple):
    """What of a config the compiled step reads."""

    layers: tuple[layers.Layer, ...]
    augment: tuple[Any, ...]
    optimizer: Any
    schedule: Any
    clip: Any
    average: Any
    label_smoothing: Any
    mean: tuple[Any, ...]
    std: tuple[Any, ...]


def _register(kind: type) -> None:
    # Not `register_dataclass`: in JAX 0.10.2 the tree structures of two such classes compare equal where their fields
    # do, so that a jitted function now and then took tanh for relu, or cosine for linear, and ran the other's program.
    annotations = fields.options(kind)
    traced = [name for name, kind_of in annotations.items() if fields.is_real(kind_of) or fields.is_nested(kind_of)]
    structural = [name for name in annotations if name not in traced]
    keys = [jax.tree_util.GetAttrKey(name) for name in traced]

    def flatten(record: Any) -> tuple[list[Any], tuple[Any, ...]]:
        return [getattr(record, name) for name in traced], tuple(getattr(record, name) for name in structural)

    def flatten_with_keys(record: Any) -> tuple[list[tuple[Any, Any]], tuple[Any, ...]]:
        children, structure = flatten(record)
        return list(zip(keys, children, strict=True)), structure

    def unflatten(structure: tuple[Any, ...], children: Any) -> Any:
        return kind(**dict(zip(structural, structure, strict=True)), **dict(zip(traced, children, strict=True)))

    jax.tree_util.register_pytree_with_keys(kind, flatten_with_keys, unflatten, flatten)


_TABLES = (
    layers.KINDS,
    AUGMENTATIONS,
    optimizer_specs.OPTIMIZERS,
    schedule_specs.SCHEDULES,
    update_specs.CLIPS,
    update_specs.AVERAGES,
)
for _kind in dict.fromkeys(kind for table in _TABLES for kind in table.values()):
    _register(_kind)


def from_values(values: Config) -> Hyperparams:
    """Returns the hyperparameters of a config, every real number as a float32 array."""
    return jax.tree.map(lambda number: jnp.asarray(number, jnp.float32), _plain(values))


def structure(values: Config) -> str:
    """Returns what of a config's hyperparameters is compiled in: equal where the compiled program is."""
    return repr(jax.tree.map(lambda _: 0.0, _plain(values)))


def _plain(values: Config) -> Hyperparams:
    return Hyperparams(
        layers=values.layers,
        augment=values.data.augment,
        optimizer=values.optimizer,
        schedule=values.schedule,
        clip=values.train.clip,
        average=values.train.average,
        label_smoothing=values.train.label_smoothing,
        mean=values.data.mean,
        std=values.data.std,
    )
