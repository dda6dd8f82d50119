"""Datasets as uint8 arrays: digits, folders of pictures, and anything of TFDS."""

from cnn.data.fitting import FITS
from cnn.data.sources import TRAIN_ON, load
from cnn.data.types import DataError, Dataset, Split

__all__ = ["FITS", "TRAIN_ON", "DataError", "Dataset", "Split", "load"]
