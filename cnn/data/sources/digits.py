"""The 1,797 handwritten digits that scikit-learn carries: real data without a network."""

from __future__ import annotations

import hashlib
import importlib.util
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from cnn.data.parts import NumbersPart
from cnn.data.resize import fit_images
from cnn.data.splits import TEST_KEY, stratified_rows
from cnn.data.types import DataSpec, Source
from cnn.registry import source

TEST_FRACTION = 0.2
BRIGHTEST = 16


@source
class Digits:
    """The 1,797 handwritten digits, 8x8 and grey, that scikit-learn carries; a fixed, stratified fifth is test.

    Source:
      Alpaydin and Kaynak 1998, https://archive.ics.uci.edu/dataset/80.
    """

    of_the_software: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = ()
    validates: ClassVar[bool] = False

    def load(self, data: DataSpec) -> Source:
        stored = _stored()
        images = np.round(stored[:, :-1].reshape(-1, 8, 8, 1) * (255 / BRIGHTEST)).astype(np.uint8)
        labels = stored[:, -1].astype(np.int32)
        digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
        fitted = fit_images(images, image_shape=data.image_shape, resize=data.resize, what="digits")
        is_test = stratified_rows(labels, TEST_FRACTION, TEST_KEY)
        train = NumbersPart("train", fitted[~is_test], labels[~is_test])
        test = NumbersPart("test", fitted[is_test], labels[is_test])
        return Source(train, test, tuple("0123456789"), f"digits:{digest}")


def _stored() -> np.ndarray:
    """Returns a row for each picture: its 64 numbers and its class."""
    package = importlib.util.find_spec("sklearn")
    folders = package.submodule_search_locations if package else None
    file = Path(folders[0] if folders else "") / "datasets" / "data" / "digits.csv.gz"
    if file.is_file():  # read in 0.05 s, where importing scikit-learn takes a second
        return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    return np.column_stack([bunch.data, bunch.target])
