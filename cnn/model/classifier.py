"""A trained network as everything but training needs it: its layers, its arrays, and how pictures become its inputs."""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from cnn.layers.base import Layer
from cnn.model import network


class Classifier(NamedTuple):
    """A pytree: the real numbers of the layers, the mean and the deviation are leaves as the arrays are."""

    layers: tuple[Layer, ...]
    mean: tuple[Any, ...]
    """Of the intensities in [0, 1], one a channel."""
    std: tuple[Any, ...]
    params: Any
    batch_stats: Any

    @property
    def variables(self) -> network.Variables:
        """`params` and `batch_stats`, as Flax takes them."""
        return {"params": self.params, "batch_stats": self.batch_stats}

    def preprocess(self, images: UInt8[Array, "batch height width channels"]) -> network.Images:
        """Returns intensities in [0, 1] less the mean, over the standard deviation."""
        return standardise(images.astype(jnp.float32) / 255, self.mean, self.std)

    def logits(self, images: UInt8[Array, "batch height width channels"], dtype: Any) -> network.Logits:
        """Returns the logits of pictures, in float32, computed in `dtype` as is fastest on this platform."""
        return network.apply(self.layers, self.variables, self.preprocess(images), dtype=dtype)


def standardise(
    intensities: Float[Array, "batch height width channels"], mean: tuple[Any, ...], std: tuple[Any, ...]
) -> network.Images:
    """Returns intensities in [0, 1] less the mean, over the standard deviation."""
    return (intensities - jnp.stack(mean)) / jnp.stack(std)


def flatten(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Returns every array of `params` and `batch_stats` by its path: `conv1/kernel`, `batch_norm1/mean`."""
    return {**by_path(variables["params"]), **by_path(variables["batch_stats"])}


def by_path(tree: Any) -> dict[str, Any]:
    """Returns the arrays of nested dicts by their paths: `conv1/kernel`."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): array for path, array in leaves}
