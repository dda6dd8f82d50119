"""What a person may give as pictures: files, or arrays as the network reads them."""

import os
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from cnn.config.config import ConfigError
from cnn.layers.base import Shape, show

Pictures = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | np.ndarray
"""Files and folders of pictures, or intensities 0..255 as uint8: one image, or many along the first axis."""


def paths_of(pictures: Pictures) -> list[str] | None:
    """Returns the files that are meant; `None` for arrays."""
    given = [pictures] if isinstance(pictures, (str, os.PathLike)) else pictures
    if isinstance(given, (list, tuple)) and given and all(isinstance(each, (str, os.PathLike)) for each in given):
        return [os.fspath(each) for each in given]
    return None


def checked(images: np.ndarray, shape: Shape) -> UInt8[np.ndarray, "n height width channels"]:
    """Returns one image or many as many.

    Raises:
      ConfigError: they are no intensities, or not of this shape.
    """
    shape = tuple(shape)
    if images.dtype != np.uint8:
        raise ConfigError([f"images: must be uint8, intensities 0 to 255, got {images.dtype}. Convert them"])
    images = images[None] if images.shape == shape else images
    if images.shape[1:] != shape or not len(images):
        remedy = "Add the channel axis, images[..., None]" if images.shape[-2:] == shape[:2] else "Resize them"
        got = show(images.shape) if images.ndim else "a number"
        raise ConfigError([f"images: must be {show(shape)}, one or many along a first axis, got {got}. {remedy}"])
    return images
