"""Decodes many encoded pictures of one source."""

import io
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from jaxtyping import UInt8

from cnn.data.fitting import fit_images
from cnn.data.pictures import BrokenPicture, decode
from cnn.data.png import MODES, decode_together
from cnn.data.types import DataError


def decode_all(
    pictures: Sequence[bytes],
    *,
    shape: tuple[int | None, int | None, int],
    image_shape: tuple[int, int, int],
    fit: str,
    what: str,
    rows: Sequence[int] = (),
    threads: int = 1,
) -> tuple[UInt8[np.ndarray, "n height width channels"], dict[int, DataError]]:
    """Decodes pictures and fits them to `image_shape`.

    Args:
      pictures: the bytes of PNG, JPEG, BMP or WebP files.
      shape: height, width and channels of all of them, `None` where they differ.
      image_shape: the height, width and channels wanted.
      fit: one of `FITS`.
      what: whose pictures these are, for the errors.
      rows: their numbers there, for the errors; empty where they are all, in order.
      threads: how many decode at the same time those pictures that are opened one by one.

    Returns:
      The pictures, and what is wrong with those that are broken or do not fit, by their place; these are zeros.

    Raises:
      DataError: if pictures that all have one shape do not fit.
    """
    height, width, channels = shape
    names = [f"picture {row} of {what}" for row in (rows or range(len(pictures)))]
    if height is None or width is None:
        return _decode_each(pictures, (channels, None), image_shape, fit, names, threads)
    # A picture that is no plain PNG, or a broken one, sends all of them the slow way, which names it.
    errors: dict[int, DataError] = {}
    images = decode_together(pictures, (height, width, channels))
    if images is None:
        stored = height, width, channels
        images, errors = _decode_each(pictures, (channels, stored), stored, "exact", names, threads)
    return fit_images(images, image_shape=image_shape, fit=fit, what=what), errors


def check_channels(channels: int, what: str) -> None:
    """Refuses pictures that are neither grey nor coloured.

    Raises:
      DataError: if there are other than 1 or 3 channels.
    """
    if channels not in MODES:
        raise DataError(f"config.data.name: pictures must have 1 or 3 channels, {what} got {channels}. Use other data.")


def _decode_each(
    pictures: Sequence[bytes],
    stored: tuple[int, tuple[int, int, int] | None],
    image_shape: tuple[int, int, int],
    fit: str,
    names: Sequence[str],
    threads: int,
) -> tuple[np.ndarray, dict[int, DataError]]:
    """Decodes one by one; `stored` holds the channels, and the shape of all pictures where they have the same."""
    images = np.zeros((len(pictures), *image_shape), dtype=np.uint8)
    channels, shape = stored

    def attempt(place: int) -> None:
        image = decode(io.BytesIO(pictures[place]), channels)
        if shape is not None and image.shape != shape:
            raise BrokenPicture(f"{image.shape} in place of {shape}")
        images[place] = fit_images(image[None], image_shape=image_shape, fit=fit, what=names[place])[0]

    return images, collect(attempt, len(pictures), threads)


def collect(attempt: Callable[[int], None], count: int, threads: int) -> dict[int, DataError]:
    """Attempts something with each of so many pictures; returns what went wrong, by place."""

    def tried(place: int) -> DataError | None:
        try:
            attempt(place)
        except DataError as error:
            return error
        return None

    if threads == 1:
        outcomes = list(map(tried, range(count)))
    else:
        with ThreadPoolExecutor(threads) as pool:
            outcomes = list(pool.map(tried, range(count)))
    return {place: error for place, error in enumerate(outcomes) if error is not None}
