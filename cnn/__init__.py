"""Convolutional image classifiers in JAX: configs, runs and sweeps, from Python and in a notebook.

>>> import cnn, tempfile
>>> config = cnn.configure("digits", **{"train.epochs": 1, "model.width": 4})
>>> print(cnn.summary(config).parameters)
14406

`run` does what `python main.py` does, `load` opens what it wrote, `run_sweep` runs many; see `cnn.api`.
"""

import importlib
from typing import Any

# By name, so that importing a module of this package imports no other.
_API = {
    "Run": "run",
    "Sweep": "sweeping",
    "configure": "configs",
    "convolve": "filtering",
    "load": "run",
    "load_data": "looking",
    "run": "running",
    "run_sweep": "sweeping",
    "summary": "looking",
}
_ERRORS = {"ConfigError": "cnn.config", "DataError": "cnn.data"}


def __getattr__(name: str) -> Any:
    """Imports what is asked for; modules of this package are found as everywhere."""
    if name in _API:
        return getattr(importlib.import_module(f"cnn.api.{_API[name]}"), name)
    if name in _ERRORS:
        return getattr(importlib.import_module(_ERRORS[name]), name)
    raise AttributeError(f"module 'cnn' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_API, *_ERRORS})
