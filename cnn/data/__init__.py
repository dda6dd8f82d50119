"""Datasets as uint8 arrays: digits, folders of pictures, and anything of TFDS."""

from cnn.data.fitting import FITS
from cnn.data.sources import load
from cnn.data.types import DataError, Dataset, Split

__all__ = ["FITS", "DataError", "Dataset", "Split", "load"]
