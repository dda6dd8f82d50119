"""Decodes small PNG pictures by the thousand: opening each alone costs three times as much as decoding it."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from etils import epy
from jaxtyping import UInt8

with epy.lazy_imports():
    from PIL import Image

TALL_BYTES = 1 << 22
SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOUR_TYPES = {1: 0, 3: 2}
MODES = {1: "L", 3: "RGB"}
FIRST_CHUNK = 33
# Bytes of the chunks that change no pixel; text is left out, which may say how a picture is to be turned.
HARMLESS = {b"tIME": 7, b"pHYs": 9, b"gAMA": 4, b"cHRM": 32, b"sRGB": 1}
FILTERS = 5


def decode_together(
    pictures: Sequence[bytes], shape: tuple[int, int, int]
) -> UInt8[np.ndarray, "n height width channels"] | None:
    """Decodes plain 8-bit PNG pictures of one size, or returns `None` where one is anything else, or is broken.

    Plain are those of `IHDR`, `IDAT` and `IEND` and of chunks that change no pixel.

    The rows of many pictures become one tall picture, which Pillow decodes in one call. PNG filters look at the row
    above; an empty row between two pictures is what they would see above a first row.

    Args:
      pictures: the bytes of PNG files.
      shape: the height, width and channels (1 or 3) that all of them have.

    Source:
      W3C, Portable Network Graphics, 3rd edition, https://www.w3.org/TR/png-3, sections 9 (filters) and 11 (chunks).
    """
    height, width, channels = shape
    header = SIGNATURE + struct.pack(">I4sIIBBBBB", 13, b"IHDR", width, height, 8, COLOUR_TYPES[channels], 0, 0, 0)
    header += struct.pack(">I", zlib.crc32(header[12:]))
    gap = bytes(1 + width * channels)
    images = np.empty((len(pictures), *shape), dtype=np.uint8)
    step = max(1, TALL_BYTES // (height * len(gap)))
    for start in range(0, len(pictures), step):
        rows = []
        for picture in pictures[start : start + step]:
            body = _rows(picture, height, len(gap)) if picture.startswith(header) else None
            if body is None:
                return None
            rows += [gap, body]
        size = (width, (height + 1) * (len(rows) // 2))
        stored = zlib.compress(b"".join(rows), level=0)
        tall = Image.frombytes(MODES[channels], size, stored, "zip", MODES[channels])
        images[start : start + step] = np.asarray(tall).reshape(-1, height + 1, width, channels)[:, 1:]
    return images


def _rows(picture: bytes, height: int, width: int) -> bytes | None:
    """Returns the filtered rows of one plain picture, each of `width` bytes; `None` where anything is otherwise."""
    parts: list[bytes] = []
    at, kind = FIRST_CHUNK, b""
    stream = zlib.decompressobj()
    try:
        while kind != b"IEND":
            before = kind
            length, kind = struct.unpack_from(">I4s", picture, at)
            end = at + 8 + length
            if struct.unpack_from(">I", picture, end)[0] != zlib.crc32(picture[at + 4 : end]):
                return None
            if kind == b"IDAT" and (not parts or before == kind):
                parts.append(picture[at + 8 : end])
            elif kind != b"IEND" and HARMLESS.get(kind) != length:
                return None
            at = end + 4
        body = stream.decompress(b"".join(parts), height * width + 1)
    except (struct.error, zlib.error):
        return None
    whole = len(body) == height * width and stream.eof and not stream.unused_data
    return body if whole and max(body[::width]) < FILTERS else None
