"""Convolutional image classifiers in JAX: configs, runs and sweeps, from Python and in a notebook.

>>> import cnn, tempfile
>>> config = cnn.configure("digits", **{"train.epochs": 1, "model.width": 4})
>>> print(cnn.summary(config).parameters)
14406

`run` does what `python main.py` does, `run_sweep` runs many, `load` opens what they wrote; see `cnn.api`. A layer,
loss, optimizer, schedule, augmentation or metric of one's own is a class or a function with the decorator `cnn.layer`,
`cnn.loss` and so on, in a file that `config.extensions` names; see `docs/extensions.md`. `trackers` has what records a
run in MLflow or Weights & Biases.
"""

import importlib
from typing import Any

# By name, so that importing a module of this package imports no other.
_MODULES = {
    "ConfigError": "cnn.config.config",
    "DataError": "cnn.data.types",
    "ExtensionError": "cnn.registry",
    "Run": "cnn.api.run",
    "Sweep": "cnn.api.sweep",
    "configure": "cnn.config.files",
    "ensemble": "cnn.api.ensemble",
    "convolve": "cnn.api.convolve",
    "load": "cnn.api.load",
    "load_data": "cnn.api.data",
    "run": "cnn.api.run",
    "run_sweep": "cnn.api.sweep",
    "summary": "cnn.api.run",
    "trackers": "cnn.api.trackers",
    # The decorators, each from where its things are.
    "augmentation": "cnn.data.augment",
    "average": "cnn.optim.averages",
    "clip": "cnn.optim.clips",
    "gradient": "cnn.optim.gradients",
    "group": "cnn.optim.groups",
    "initialiser": "cnn.layers.initialisers",
    "layer": "cnn.layers.base",
    "loss": "cnn.losses",
    "metric": "cnn.metrics",
    "optimizer": "cnn.optim.optimizers",
    "schedule": "cnn.optim.schedules",
    "source": "cnn.data.sources",
    "stop": "cnn.config.sections",
    "view": "cnn.data.views",
    # What they are written with.
    "Arrays": "cnn.data.sources.arrays",
    "Count": "cnn.fields",
    "Fraction": "cnn.fields",
    "Initialiser": "cnn.layers.initialisers",
    "Layer": "cnn.layers.base",
    "LearningRate": "cnn.optim.schedules",
    "Natural": "cnn.fields",
    "NonNegative": "cnn.fields",
    "Pair": "cnn.fields",
    "Positive": "cnn.fields",
    "Rate": "cnn.fields",
    "Static": "cnn.fields",
}
_WHOLE = ("trackers",)
"""Names that are modules, not something in one."""


def __getattr__(name: str) -> Any:
    """Imports what is asked for; modules of this package are found as everywhere."""
    if name in _MODULES:
        module = importlib.import_module(_MODULES[name])
        return module if name in _WHOLE else getattr(module, name)
    raise AttributeError(f"module 'cnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
