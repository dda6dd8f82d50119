"""Learning a few examples by heart, from Python."""

from typing import TYPE_CHECKING

from cnn.api.run import interruptible
from cnn.config import files
from cnn.config.files import ConfigLike
from cnn.data.sources.arrays import Arrays

if TYPE_CHECKING:
    from cnn.train.overfit import Overfit


def overfit(config: ConfigLike = "digits", examples: int = 32, *, data: Arrays | None = None) -> "Overfit":
    """Trains on a few examples until they fit, and says why where they do not; see `main.py train --overfit`.

    Args:
      config: a name, a file or a `ConfigDict`.
      examples: of the training split, as many of each class as there may be.
      data: arrays in place of the data that the config names.

    Raises:
      ConfigError: the config is wrong, or there are not as many examples.
      DataError: the data are missing or unlike the config.
    """
    values = files.resolved(config, data)
    with interruptible():
        from cnn.train import overfit as train_overfit

        return train_overfit.overfit(values, examples)
