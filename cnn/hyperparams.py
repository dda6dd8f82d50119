"""The traced hyperparameters: every real number that the compiled step reads.

Each record of the config is a pytree whose leaves are its real numbers and whose structure is all the rest, its class
included. Another learning rate is another leaf and compiles nothing; another width is another structure. A sweep stacks
the leaves. A class becomes a pytree when a config first uses it, so one that is registered late is like any other.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Integer

from cnn import fields, registry
from cnn.config.config import Config, records
from cnn.layers.base import Layer


class Hyperparams(NamedTuple):
    """What of a config the compiled step reads."""

    layers: tuple[Layer, ...]
    augment: tuple[Any, ...]
    optimizer: Any
    schedule: Any
    clip: Any
    average: Any
    groups: tuple[Any, ...]
    gradient: Any
    loss: Any
    """Of logits and labels; the labels are smoothed before."""
    class_weights: Any
    """What an example of each class weighs, an array; `()` where all weigh alike."""
    label_smoothing: Any
    mean: tuple[Any, ...]
    std: tuple[Any, ...]


@functools.cache
def make_pytree(kind: type) -> None:
    """Registers the records of a class as pytrees; once, however often it is called."""
    # Not `register_dataclass`: in JAX 0.10.2 the tree structures of two such classes compare equal where their fields
    # do, so that a jitted function now and then took tanh for relu, or cosine for linear, and ran the other's program.
    annotations = fields.options(kind)
    traced = [name for name, kind_of in annotations.items() if fields.is_real(kind_of) or fields.holds_records(kind_of)]
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


def from_values(values: Config, counts: Integer[np.ndarray, " classes"] | None = None) -> Hyperparams:
    """Returns the hyperparameters of a config, every real number as a float32 array.

    Args:
      values: the whole config.
      counts: the examples of each class in the training split; `None` where nothing is trained with what is returned,
        so that what the classes weigh is of no matter.
    """
    return jax.tree.map(lambda number: jnp.asarray(number, jnp.float32), _plain(values, counts))


def structure(values: Config) -> str:
    """Returns what of a config's hyperparameters is compiled in: equal where the compiled program is."""
    return repr(jax.tree.map(lambda _: 0.0, _plain(values))) + "".join(
        sorted(f" {registry.origin_of(kind)}.{kind.__qualname__}" for kind in values.foreign)
    )


def _plain(values: Config, counts: Integer[np.ndarray, " classes"] | None = None) -> Hyperparams:
    weights = values.train.class_weights.of(np.ones(values.data.classes, np.int64) if counts is None else counts)
    plain = Hyperparams(
        layers=values.layers,
        augment=values.data.augment,
        optimizer=values.optimizer,
        schedule=values.schedule,
        clip=values.train.clip,
        average=values.train.average,
        groups=values.train.groups,
        gradient=values.train.gradient,
        loss=values.train.loss,
        class_weights=() if weights is None else weights,
        label_smoothing=values.train.label_smoothing,
        mean=values.data.mean,
        std=values.data.std,
    )
    for kind in map(type, records(plain)):
        make_pytree(kind)
    return plain
