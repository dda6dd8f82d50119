"""Decodes JPEG files by simplejpeg where it is installed: it has libjpeg-turbo as Pillow has, but copies less.

All pixels of a file are the same by either. Where fewer are asked for, Pillow can but halve their number.
"""

from __future__ import annotations

from etils import epy

try:
    import simplejpeg
except ImportError:  # there is no wheel for every platform
    simplejpeg = None

with epy.lazy_imports():
    from PIL import Image, features

EIGHTHS = (1, 2, 3, 4, 5)
"""The parts of its size that a file is decoded at. 6 and 7 eighths take longer than all of it, and lose something."""
LARGE = 1 << 22
"""Pixels from which a picture is decoded into Pillow's own four bytes a pixel, which need no copy but one more band."""


def decoder() -> str:
    """Names what decodes JPEG files, with its version."""
    if simplejpeg is not None:
        return f"simplejpeg {simplejpeg.__version__}"
    return f"libjpeg-turbo {features.version('libjpeg_turbo')} of Pillow"


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


def reduced(size: tuple[int, int], least: tuple[int, int] | None) -> tuple[int, int]:
    """Returns the size, width and height, at which a file of this size is decoded where so much is needed."""
    if least is None:
        return size
    of_eighths = [(-(-size[0] * eighths // 8), -(-size[1] * eighths // 8)) for eighths in EIGHTHS]
    return next((found for found in of_eighths if found[0] >= least[0] and found[1] >= least[1]), size)
