"""The 1,797 handwritten digits that scikit-learn carries: real data without a network."""

import hashlib
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np

from cnn.data.resize import fit_images
from cnn.data.splits import TEST_KEY, stratified_split
from cnn.data.types import Source, Split

TEST_FRACTION = 0.2
BRIGHTEST = 16


def read(*, image_shape: tuple[int, int, int], resize: str) -> Source:
    """Reads the digits; a fixed, stratified fifth of them is `test`.

    Raises:
      DataError: if the 8x8x1 pictures do not fit `image_shape`.

    Source:
      Alpaydin and Kaynak 1998, https://archive.ics.uci.edu/dataset/80.
    """
    stored = _stored()
    images = np.round(stored[:, :-1].reshape(-1, 8, 8, 1) * (255 / BRIGHTEST)).astype(np.uint8)
    labels = stored[:, -1].astype(np.int32)
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    fitted = Split(fit_images(images, image_shape=image_shape, resize=resize, what="digits"), labels)
    train, test = stratified_split(fitted, TEST_FRACTION, TEST_KEY)
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
