"""What a dataset is to the rest of the code: frozen arrays, and the one error about them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int32, UInt8


class DataError(ValueError):
    """Reports something about the data that a person can put right, in one line."""


@dataclass(frozen=True)
class Split:
    """Holds pictures and their classes, row by row."""

    images: UInt8[np.ndarray, "n height width channels"]
    labels: Int32[np.ndarray, " n"]

    def __len__(self) -> int:
        """Counts the rows."""
        return len(self.labels)

    def take(self, rows: np.ndarray) -> "Split":
        """Copies the named rows, in the order given."""
        return Split(self.images[rows], self.labels[rows])


@dataclass(frozen=True)
class Source:
    """Holds what one source gave, fitted to the image shape, before `valid` is cut from `train`.

    `fingerprint` changes whenever the stored data do.
    """

    train: Split
    test: Split
    class_names: tuple[str, ...]
    fingerprint: str


@dataclass(frozen=True)
class Dataset:
    """Holds the three splits of an experiment.

    `identity` is a hash of all that the arrays depend on: the stored data, how pictures are fitted, how `valid` is cut.
    """

    train: Split
    valid: Split
    test: Split
    class_names: tuple[str, ...]
    identity: str
