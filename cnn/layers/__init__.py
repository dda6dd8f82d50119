"""The layers, one class each, in modules by subject; importing the package enters them all in `cnn.registry.LAYERS`.

To add one, write its class with the decorator `@layer` in the module it belongs to; see `cnn.layers.base.Layer`.
"""

from cnn.layers import (
    activation,
    base,
    combine,
    convolution,
    dense,
    initialisers,
    module,
    normalisation,
    own,
    pooling,
    resampling,
)

__all__ = [
    "activation",
    "base",
    "combine",
    "convolution",
    "dense",
    "initialisers",
    "module",
    "normalisation",
    "own",
    "pooling",
    "resampling",
]
