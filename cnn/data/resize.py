"""Brings pictures of one size to the image shape of the config."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from etils import epy
from jaxtyping import UInt8

from cnn.data.types import DataError

with epy.lazy_imports():
    from PIL import Image

FILTERS = ("nearest", "bilinear", "bicubic", "lanczos")
SCALING = (*FILTERS, "cover")
"""What brings any size to any other. Cover keeps the proportions, and so much of the middle as fills the new size."""
RESIZES = ("exact", "pad", *SCALING)


class DoesNotFit(DataError):
    """Says that a picture cannot be brought to the image shape as the config says; `shape` is its own."""

    def __init__(self, message: str, shape: tuple[int, int, int]) -> None:
        super().__init__(message)
        self.shape = shape


def fit_images(
    images: UInt8[np.ndarray, "n h w c"], *, image_shape: tuple[int, int, int], resize: str, what: str
) -> UInt8[np.ndarray, "n height width channels"]:
    """Pads, resizes or crops pictures to `image_shape`.

    Args:
      images: pictures of one size.
      image_shape: the height, width and channels wanted.
      resize: one of `RESIZES`.
      what: whose pictures these are, for the error.

    Raises:
      DoesNotFit: if the channels differ, or if `resize` cannot bring this size to that one.
    """
    height, width, channels = images.shape[1:]
    check_fits((height, width, channels), image_shape=image_shape, resize=resize, what=what)
    if (height, width) == tuple(image_shape[:2]):
        return images
    if resize == "pad":
        return _pad(images, image_shape)
    resized = np.empty((len(images), *image_shape), dtype=np.uint8)
    for row, image in enumerate(images):
        if channels == 3:
            resized[row] = scale(Image.fromarray(image), image_shape, resize)
            continue
        # One by one: of two or four channels Pillow takes the last one for alpha, and more it does not know.
        for channel in range(channels):
            resized[row, ..., channel] = scale(Image.fromarray(image[..., channel]), image_shape, resize)[..., 0]
    return resized


def fit_picture(
    picture: Image.Image, *, image_shape: tuple[int, int, int], resize: str, what: str
) -> UInt8[np.ndarray, "height width channels"]:
    """Pads, resizes or crops one picture of Pillow's as `fit_images` does.

    Raises:
      DoesNotFit: if `resize` cannot bring its size to that one.
    """
    if picture.size != (image_shape[1], image_shape[0]) and resize in SCALING:
        return scale(picture, image_shape, resize)
    return fit_images(pixels(picture)[None], image_shape=image_shape, resize=resize, what=what)[0]


def check_fits(shape: tuple[int, int, int], *, image_shape: tuple[int, int, int], resize: str, what: str) -> None:
    """Refuses pictures of a shape that cannot be brought to `image_shape`.

    Raises:
      DoesNotFit: if the channels differ, or if `resize` cannot bring this size to that one.
    """
    if shape[2] != image_shape[2]:
        raise DoesNotFit(
            f"config.data.image_shape: {what} is {_size(shape)}, got {tuple(image_shape)}. "
            f"Set its last number to {shape[2]}.",
            shape,
        )
    if resize == "exact" and shape[:2] != tuple(image_shape[:2]):
        raise DoesNotFit(
            f"config.data.image_shape: {what} is {_size(shape)}, got {tuple(image_shape)}. "
            f"Set it to {tuple(int(n) for n in shape)}, or choose config.data.resize={_choices(RESIZES[1:])}.",
            shape,
        )
    if resize == "pad" and (shape[0] > image_shape[0] or shape[1] > image_shape[1]):
        raise DoesNotFit(
            f"config.data.resize: 'pad' cannot shrink, and {what} is {_size(shape)}, "
            f"got image_shape {tuple(image_shape)}. Resize with config.data.resize={_choices(SCALING)}.",
            shape,
        )


def scale(
    picture: Image.Image, image_shape: tuple[int, int, int], resize: str
) -> UInt8[np.ndarray, "height width channels"]:
    """Resizes or crops one picture, whatever its size; Pillow's filters weigh all that a smaller pixel covers."""
    height, width, _ = image_shape
    if resize == "cover":
        middle = _middle(picture.size, (width, height))
        return pixels(picture.resize((width, height), Image.Resampling.BILINEAR, middle))
    return pixels(picture.resize((width, height), Image.Resampling[resize.upper()]))


def pixels(picture: Image.Image) -> UInt8[np.ndarray, "height width channels"]:
    """Returns the pixels of a picture in the mode L, RGB or RGBX."""
    array = np.asarray(picture if picture.mode != "RGBX" else picture.convert("RGB"))
    return array.reshape(*array.shape[:2], -1)


def _middle(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[float, float, float, float]:
    """Returns the largest box around the centre, in pixels, that has the proportions wanted."""
    share = min(size[0] / wanted[0], size[1] / wanted[1])
    width, height = (min(float(full), share * new) for full, new in zip(size, wanted, strict=True))
    left, top = (size[0] - width) / 2, (size[1] - height) / 2
    return left, top, left + width, top + height


def _pad(images: np.ndarray, image_shape: tuple[int, int, int]) -> np.ndarray:
    padded = np.zeros((len(images), *image_shape), dtype=np.uint8)
    top, left = (image_shape[0] - images.shape[1]) // 2, (image_shape[1] - images.shape[2]) // 2
    padded[:, top : top + images.shape[1], left : left + images.shape[2]] = images
    return padded


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(str(n) for n in shape)


def _choices(names: Iterable[str]) -> str:
    return " or ".join(names)
