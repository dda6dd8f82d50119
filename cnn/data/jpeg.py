"""Decodes JPEG files by simplejpeg where it is installed: it has libjpeg-turbo as Pillow has, but copies less.

All pixels of a file are the same by either. Where fewer are asked for, Pillow can but halve their number; and OpenCV,
where that is installed, brings them to size in a fraction of Pillow's time.
"""

from __future__ import annotations

import functools
import importlib.util
from typing import Any

import numpy as np
from etils import epy
from jaxtyping import UInt8

try:
    import simplejpeg
except ImportError:  # there is no wheel for every platform
    simplejpeg = None

with epy.lazy_imports():
    from PIL import Image, features

OPENCV = importlib.util.find_spec("cv2") is not None
"""Whether OpenCV is installed, which is imported where it is used."""
EIGHTHS = (1, 2, 3, 4, 5)
"""The parts of its size that a file is decoded at. 6 and 7 eighths take longer than all of it, and lose something."""
FAST_EIGHTHS = (1, 2, 4)
"""Of these, those for which libjpeg-turbo has vector instructions: all of a picture takes less time than 5 eighths."""
MOST_REDUCED = 2
"""Interpolation between four pixels passes none over in a picture that is at most so many times as wide and high."""
LARGE = 1 << 22
"""Pixels from which a picture is decoded into Pillow's own four bytes a pixel, which need no copy but one more band."""


def decoder() -> str:
    """Names what decodes JPEG files to fewer pixels, with its version."""
    if simplejpeg is None:
        return f"libjpeg-turbo {features.version('libjpeg_turbo')} of Pillow"
    resizer = f", OpenCV {_opencv().__version__}" if OPENCV else ""
    return f"simplejpeg {simplejpeg.__version__}{resizer}"


@functools.cache
def _opencv() -> Any:
    import cv2

    cv2.setNumThreads(1)  # many pictures are read at a time
    return cv2


def decode_plain(encoded: bytes | memoryview, opened: Image.Image, least: tuple[int, int] | None) -> Image.Image | None:
    """Decodes a whole and sound 8-bit JPEG file, grey or of three colours; `None` where Pillow is to decode it.

    Args:
      encoded: the bytes of the file.
      opened: the same as Pillow opened it, whose pixels were not asked for yet.
      least: width and height; the least of the sizes by `EIGHTHS` that is not smaller is decoded, `None` for all of it.

    Returns:
      The picture as it is stored, in the mode L, RGB or RGBX.
    """
    if simplejpeg is None or opened.format not in ("JPEG", "MPO") or opened.mode not in ("L", "RGB"):
        return None
    width, height = reduced(opened.size, least)
    mode = opened.mode
    if mode == "RGB" and width * height >= LARGE:
        mode = "RGBX"
    try:
        pixels = simplejpeg.decode_jpeg(
            encoded, "GRAY" if mode == "L" else mode, min_width=width, min_height=height, strict=True
        )
    except ValueError:  # Pillow forgives some of what is refused here, and says what is wrong with the rest
        return None
    if pixels.shape[:2] != (height, width):
        return None
    return Image.frombuffer(mode, (width, height), pixels, "raw", mode, 0, 1)


def decode_to(
    encoded: bytes | memoryview, opened: Image.Image, image_shape: tuple[int, int, int], *, cover: bool
) -> UInt8[np.ndarray, "height width channels"] | None:
    """Decodes a JPEG file and brings it to a size by OpenCV; `None` where Pillow is to do so.

    Args:
      encoded: the bytes of the file.
      opened: the same as Pillow opened it, whose pixels were not asked for yet; it lies upright.
      image_shape: the height, width and channels wanted.
      cover: whether the proportions are kept, and the middle is cut out.

    Returns:
      The picture; each pixel is between the four that are nearest to it.
    """
    height, width, channels = image_shape
    colours = {1: ("L", "GRAY"), 3: ("RGB", "RGB")}.get(channels, ("", ""))
    if simplejpeg is None or not OPENCV or opened.mode != colours[0]:
        return None
    for eighths in (FAST_EIGHTHS, EIGHTHS):
        size = reduced(opened.size, (width, height), eighths)
        kept = _middle(size, (width, height)) if cover else size
        if kept[0] <= MOST_REDUCED * width and kept[1] <= MOST_REDUCED * height:
            break
    else:
        return None
    try:
        pixels = simplejpeg.decode_jpeg(encoded, colours[1], min_width=size[0], min_height=size[1], strict=True)
    except ValueError:  # as in `decode_plain`
        return None
    if pixels.shape[:2] != size[::-1]:
        return None
    left, top = (size[0] - kept[0]) // 2, (size[1] - kept[1]) // 2
    middle = pixels[top : top + kept[1], left : left + kept[0]]
    if kept == (width, height):
        return middle
    cv2 = _opencv()
    # The exact kind computes with integers: the same pixels on every processor.
    return cv2.resize(middle, (width, height), interpolation=cv2.INTER_LINEAR_EXACT).reshape(image_shape)


def _middle(size: tuple[int, int], wanted: tuple[int, int]) -> tuple[int, int]:
    """Returns how wide and high the part around the centre is that has the proportions wanted, in whole pixels."""
    share = min(size[0] / wanted[0], size[1] / wanted[1])
    # As many to the left as to the right, so that the centre stays one.
    left, top = (round((full - share * part) / 2) for full, part in zip(size, wanted, strict=True))
    return size[0] - 2 * left, size[1] - 2 * top


def reduced(
    size: tuple[int, int], least: tuple[int, int] | None, eighths: tuple[int, ...] = EIGHTHS
) -> tuple[int, int]:
    """Returns the size, width and height, at which a file of this size is decoded where so much is needed."""
    if least is None:
        return size
    of_eighths = [(-(-size[0] * part // 8), -(-size[1] * part // 8)) for part in eighths]
    return next((found for found in of_eighths if found[0] >= least[0] and found[1] >= least[1]), size)
