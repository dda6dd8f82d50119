"""Decodes many encoded pictures of one source."""

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import UInt8

from cnn.data.fitting import fit_images
from cnn.data.pictures import BrokenPicture, bombs_are_errors, decode
from cnn.data.png import MODES, decode_together
from cnn.data.types import DataError


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
    # A picture that is no plain PNG, or a broken one, sends all of them the slow way, which names it.
    images = decode_together(pictures, (height, width, channels))
    if images is None:
        images = _decode_equal(pictures, (height, width, channels), what)
    return fit_images(images, image_shape=image_shape, fit=fit, what=what)


def _decode_equal(pictures: Sequence[bytes], shape: tuple[int, int, int], what: str) -> np.ndarray:
    images = np.empty((len(pictures), *shape), dtype=np.uint8)

    def read(row: int) -> None:
        image = _decode(pictures[row], shape[2], row, what)
        if image.shape != shape:
            raise _broken(row, what, f"{image.shape} in place of {shape}")
        images[row] = image

    _for_each(len(pictures), read)
    return images


def _decode_mixed(
    pictures: Sequence[bytes], channels: int, image_shape: tuple[int, int, int], fit: str, what: str
) -> np.ndarray:
    images = np.empty((len(pictures), *image_shape), dtype=np.uint8)

    def read(row: int) -> None:
        image = _decode(pictures[row], channels, row, what)
        images[row] = fit_images(image[None], image_shape=image_shape, fit=fit, what=f"picture {row} of {what}")[0]

    _for_each(len(pictures), read)
    return images


def _decode(picture: bytes, channels: int, row: int, what: str) -> np.ndarray:
    try:
        return decode(io.BytesIO(picture), channels)
    except BrokenPicture as error:
        raise _broken(row, what, str(error)) from error


def _for_each(count: int, read: Callable[[int], None]) -> None:
    with bombs_are_errors(), ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(read, range(count)):
            pass


def _broken(row: int, what: str, reason: str) -> DataError:
    return DataError(
        f"config.data.data_dir: picture {row} of {what} cannot be read, got: {reason}. Prepare the dataset again."
    )
