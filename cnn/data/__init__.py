"""Datasets as uint8 pictures, in memory or streamed: digits, folders of pictures, and anything of TFDS."""

from cnn.data.fitting import FITS
from cnn.data.sources import identity, load, never_changes
from cnn.data.types import UNUSABLE, DataError, Dataset, Split, Stored, some

__all__ = ["FITS", "UNUSABLE", "DataError", "Dataset", "Split", "Stored", "identity", "load", "never_changes", "some"]
