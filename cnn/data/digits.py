"""The 1,797 handwritten digits that scikit-learn carries: real data without a network."""

import hashlib
from typing import Any

import numpy as np

from cnn.data.fitting import fit_images
from cnn.data.splits import TEST_KEY, cut
from cnn.data.types import Source, Split

TEST_FRACTION = 0.2
BRIGHTEST = 16


def read(*, image_shape: tuple[int, int, int], fit: str) -> Source:
    """Reads the digits; a fixed, stratified fifth of them is `test`.

    Raises:
      DataError: if the 8x8x1 pictures do not fit `image_shape`.

    Source:
      Alpaydin and Kaynak 1998, https://archive.ics.uci.edu/dataset/80.
    """
    from sklearn.datasets import load_digits  # a second to import, and only this source needs it

    bunch: Any = load_digits()
    images = np.round(bunch.images * (255 / BRIGHTEST)).astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.int32)
    digest = hashlib.sha256(images.tobytes() + labels.tobytes()).hexdigest()
    fitted = Split(fit_images(images, image_shape=image_shape, fit=fit, what="digits"), labels)
    train, test = cut(fitted, TEST_FRACTION, TEST_KEY)
    return Source(train, test, tuple(str(name) for name in bunch.target_names), f"digits:{digest}")
