"""Brings pictures of one size to the image shape of the config."""

from collections.abc import Iterable

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from cnn.data.types import DataError

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
RESIZES = ("exact", "pad", *FILTERS)


class DoesNotFit(DataError):
    """Says that a picture cannot be brought to the image shape as the config says; `shape` is its own."""

    def __init__(self, message: str, shape: tuple[int, int, int]) -> None:
        super().__init__(message)
        self.shape = shape


def fit_images(
    images: UInt8[np.ndarray, "n h w c"], *, image_shape: tuple[int, int, int], resize: str, what: str
) -> UInt8[np.ndarray, "n height width channels"]:
    """Pads or resizes pictures to `image_shape`.

    Args:
      images: pictures of one size.
      image_shape: the height, width and channels wanted.
      resize: one of `RESIZES`.
      what: whose pictures these are, for the error.

    Raises:
      DoesNotFit: if the channels differ, or if `resize` cannot bring this size to that one.
    """
    height, width, channels = images.shape[1:]
    if channels != image_shape[2]:
        raise DoesNotFit(
            f"config.data.image_shape: {what} is {_size(images.shape[1:])}, got {tuple(image_shape)}. "
            f"Set its last number to {channels}.",
            images.shape[1:],
        )
    if (height, width) == tuple(image_shape[:2]):
        return images
    if resize == "exact":
        raise _mismatch(images.shape[1:], image_shape, what)
    if resize == "pad":
        return _pad(images, image_shape, what)
    return _resize(images, image_shape, FILTERS[resize])


def _pad(images: np.ndarray, image_shape: tuple[int, int, int], what: str) -> np.ndarray:
    rows, columns = (wanted - given for wanted, given in zip(image_shape[:2], images.shape[1:3], strict=True))
    if rows < 0 or columns < 0:
        raise DoesNotFit(
            f"config.data.resize: 'pad' cannot shrink, and {what} is {_size(images.shape[1:])}, "
            f"got image_shape {tuple(image_shape)}. Resize with config.data.resize={_choices(FILTERS)}.",
            images.shape[1:],
        )
    padded = np.zeros((len(images), *image_shape), dtype=np.uint8)
    top, left = rows // 2, columns // 2
    padded[:, top : top + images.shape[1], left : left + images.shape[2]] = images
    return padded


def _resize(images: np.ndarray, image_shape: tuple[int, int, int], kernel: Image.Resampling) -> np.ndarray:
    height, width, channels = image_shape
    resized = np.empty((len(images), height, width, channels), dtype=np.uint8)
    for row, image in enumerate(images):
        picture = Image.fromarray(image[..., 0] if channels == 1 else image)
        resized[row] = np.asarray(picture.resize((width, height), kernel)).reshape(height, width, channels)
    return resized


def _mismatch(given: tuple[int, int, int], image_shape: tuple[int, int, int], what: str) -> DoesNotFit:
    return DoesNotFit(
        f"config.data.image_shape: {what} is {_size(given)}, got {tuple(image_shape)}. "
        f"Set it to {tuple(int(n) for n in given)}, or choose config.data.resize={_choices(RESIZES[1:])}.",
        given,
    )


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(str(n) for n in shape)


def _choices(names: Iterable[str]) -> str:
    return " or ".join(names)
