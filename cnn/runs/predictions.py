"""The predictions that an evaluation left beside a run: which examples of a split, their labels and their logits."""

import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from cnn.runs.run_dir import BrokenFile


class Predictions(NamedTuple):
    """What an evaluation computed of the examples of a split."""

    rows: Int[np.ndarray, " examples"]
    """Of the split, those that were evaluated."""
    labels: Int[np.ndarray, " examples"]
    logits: Float[np.ndarray, "examples classes"]

    @property
    def right(self) -> Bool[np.ndarray, " examples"]:
        """Whether each was taken for what it is."""
        return self.logits.argmax(axis=1) == self.labels


def read(path: Path) -> Predictions | None:
    """Reads the predictions of an evaluation; `None` where there is no file.

    Raises:
      BrokenFile: the file is not what an evaluation writes.
    """
    try:
        with np.load(path) as arrays:
            return Predictions(*(arrays[name] for name in ("index", "label", "logits")))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise BrokenFile(f"{path}: cannot be read ({error}). Write it again with eval") from None
