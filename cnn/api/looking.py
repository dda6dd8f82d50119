"""What a config makes, before anything runs: its network, its data."""

from typing import TYPE_CHECKING

from cnn.api import configs
from cnn.api.configs import Config
from cnn.api.records import Summary

if TYPE_CHECKING:
    from cnn.data import Dataset


def summary(config: Config = "digits") -> Summary:
    """Returns the journey table of a config, without its data.

    >>> table = summary("fashion_mnist")
    >>> f"{table.parameters:,} parameters, {table.macs:,} multiply-accumulates"
    '243,786 parameters, 5,056,000 multiply-accumulates'

    Raises:
      ConfigError: lists everything that is wrong with the config.
    """
    values = configs.resolved(config)
    return Summary(values.data.image_shape, values.rows)


def load_data(config: Config = "digits") -> "Dataset":
    """Returns a config's pictures: `train`, `valid` and `test`, each with `images` (uint8) and `labels`.

    Raises:
      ConfigError: lists everything that is wrong with the config.
      DataError: the data are missing or unlike the config.
    """
    from cnn import checks  # JAX takes seconds to import

    return checks.load_data(configs.resolved(config).data)
