"""From a ConfigDict, or a run's `config.json`, to frozen values and the list of all that is wrong with it.

The only reader of a config. Everything downstream gets `Values` and trusts them. Imports no JAX.
"""

from cnn.config.resolver import resolve
from cnn.config.sections import Problems, Section, Typed
from cnn.config.values import NAMED, SCALARS, SECTIONS, ConfigError, Override, Values, array_paths, differences

__all__ = [
    "NAMED",
    "SCALARS",
    "SECTIONS",
    "ConfigError",
    "Override",
    "Problems",
    "Section",
    "Typed",
    "Values",
    "array_paths",
    "differences",
    "resolve",
]
