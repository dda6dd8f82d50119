"""Decodes many encoded pictures of one source."""

import io
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cnn.data.fitting import fit_images
from cnn.data.pictures import BrokenPicture, bombs_are_errors, decode
from cnn.data.types import DataError

MODES = {1: "L", 3: "RGB"}


def decode_all(
    pictures: Sequence[bytes],
    *,
    shape: tuple[int | None, int | None, int],
    image_shape: tuple[int, int, int],
    fit: str,
    what: str,
) -> UInt8[np.ndarray, "n height width channels"]:
    """Decodes pictures and fits them to `image_shape`.

    Args:
      pictures: the bytes of PNG, JPEG, BMP or WebP files.
      shape: height, width and channels of all of them, `None` where they differ.
      image_shape: the height, width and channels wanted.
      fit: one of `FITS`.
      what: whose pictures these are, for the error.

    Raises:
      DataError: if a picture is broken or does not fit.
    """
    height, width, channels = shape
    if channels not in MODES:
        raise DataError(f"config.data.name: pictures must have 1 or 3 channels, {what} got {channels}. Use other data.")
    if height is None or width is None:
        return _decode_mixed(pictures, channels, image_shape, fit, what)
    images = _decode_equal(pictures, (height, width, channels), what)
    return fit_images(images, image_shape=image_shape, fit=fit, what=what)


def _decode_equal(pictures: Sequence[bytes], shape: tuple[int, int, int], what: str) -> np.ndarray:
    # One thread: on small pictures the hand-over of the interpreter's lock costs more than decoding does.
    images = np.empty((len(pictures), *shape), dtype=np.uint8)
    size, mode = (shape[1], shape[0]), MODES[shape[2]]
    for row, encoded in enumerate(pictures):
        try:
            picture = Image.open(io.BytesIO(encoded), formats=("PNG", "JPEG"))
            plain = picture.size == size and picture.mode == mode
            images[row] = np.frombuffer(picture.tobytes() if plain else b"", np.uint8).reshape(shape)
        except Exception as error:  # Pillow raises nearly anything on damaged bytes
            raise DataError(
                f"config.data.data_dir: picture {row} of {what} cannot be read as {shape}, got {error}. "
                "Prepare the dataset again."
            ) from error
    return images


def _decode_mixed(
    pictures: Sequence[bytes], channels: int, image_shape: tuple[int, int, int], fit: str, what: str
) -> np.ndarray:
    images = np.empty((len(pictures), *image_shape), dtype=np.uint8)

    def read(row: int) -> None:
        try:
            image = decode(io.BytesIO(pictures[row]), channels)
        except BrokenPicture as error:
            raise DataError(
                f"config.data.data_dir: picture {row} of {what} cannot be read, got: {error}. "
                "Prepare the dataset again."
            ) from error
        images[row] = fit_images(image[None], image_shape=image_shape, fit=fit, what=f"picture {row} of {what}")[0]

    with bombs_are_errors(), ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(read, range(len(pictures))):
            pass
    return images
