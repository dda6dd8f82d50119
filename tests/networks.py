"""Tiny networks without the cost of drawing and compiling them: variables from NumPy, unoptimised programs."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from cnn import hyperparams
from cnn.model import summary
from cnn.model.classifier import Classifier

jit = functools.partial(
    jax.jit, compiler_options={"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}
)
"""Compiles in half the time; what it computes is the same within rounding."""


def chain(text, **names):
    return summary.parse(text, names).items


def network_output(network, image_shape):
    """Returns the shape of what the last layer makes of one image."""
    rows = summary.trace(network, image_shape)
    return rows[-1].output if rows else image_shape


def variables(network, image_shape, seed=0):
    """Returns random variables in the tree that `cnn.model.network` reads: no zero biases, no unit scales."""
    rng = np.random.default_rng(seed)
    tree = {"params": {}, "batch_stats": {}}
    for row in summary.trace(network, image_shape):
        for parameter in row.parameters:
            place = tree[parameter.collection]
            *folders, name = f"{row.path}/{parameter.name}".split("/")
            for folder in folders:
                place = place.setdefault(folder, {})
            numbers = rng.normal(size=parameter.shape) / np.sqrt(parameter.size / parameter.shape[-1])
            if name in ("scale", "var"):
                numbers = 1 + 0.3 * np.tanh(numbers)
            place[name] = jnp.asarray(numbers, jnp.float32)
    return tree


def pictures(image_shape, count=3, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(count, *image_shape)), jnp.float32)


def agree(found, expected, tolerance):
    """Compares two trees leaf by leaf, relative to the largest number of each leaf."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        one, other = np.asarray(one, np.float32), np.asarray(other, np.float32)
        np.testing.assert_allclose(one, other, rtol=0, atol=tolerance * (np.abs(other).max(initial=0) + 1e-6))


def make_classifier(config, variables):
    """Returns a config's network with these `params` and `batch_stats`."""
    hyper = hyperparams.from_values(config)
    return Classifier(hyper.layers, hyper.mean, hyper.std, variables["params"], variables["batch_stats"])
