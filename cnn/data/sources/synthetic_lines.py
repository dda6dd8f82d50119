"""Made pictures with or without wide lines of one direction, drawn from raw random words: alike on every machine."""

from __future__ import annotations

import hashlib
from typing import ClassVar

import numpy as np
from jaxtyping import Int32, Int64, UInt8

from cnn.data.parts import NumbersPart
from cnn.data.types import DataError, DataSpec, Source
from cnn.fields import did_you_mean
from cnn.registry import source

DIRECTIONS = ("vertical", "horizontal", "diagonal", "antidiagonal")
"""`diagonal` falls to the right, `antidiagonal` rises."""
SIZES = {"train": 2000, "test": 500}
MOST_LINES, NOISE = 2, 17
_ACROSS = {"vertical": "horizontal", "horizontal": "vertical", "diagonal": "antidiagonal", "antidiagonal": "diagonal"}
_KEY = 0x6C696E65_00000001


@source
class Lines:
    """Made pictures with or without wide lines of one direction: lines/vertical, horizontal, diagonal, antidiagonal.

    They are drawn at the size wanted, all channels equal: class 1 has lines of the direction, class 0 has none. Every
    picture has up to two lines across the direction, and class 1 one or two along it: three to five pixels wide and of
    any shade, on a ground of any shade, with noise. So brightness does not tell the classes apart, and lines alone tell
    little: their direction does.
    """

    direction: str = "vertical"
    """Of the lines of class 1: vertical, horizontal, diagonal or antidiagonal."""

    of_the_software: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = ()
    validates: ClassVar[bool] = False

    def load(self, data: DataSpec) -> Source:
        direction, image_shape = self.direction, data.image_shape
        if direction not in DIRECTIONS:
            raise DataError(
                f"config.data.name: lines have no such direction, got {f'lines/{direction}'!r}. "
                f"{did_you_mean(direction, DIRECTIONS)}"
            )
        if min(image_shape[:2]) < 8:
            raise DataError(
                f"config.data.image_shape: lines need 8x8 pixels or more, got {image_shape}. Make it larger."
            )
        train, test = (_draw(direction, image_shape, count, row) for row, count in enumerate(SIZES.values()))
        digest = hashlib.sha256(train[0].tobytes() + test[0].tobytes()).hexdigest()
        names = (f"no {direction} line", f"{direction} line")
        return Source(NumbersPart("train", *train), NumbersPart("test", *test), names, f"lines:{direction}:{digest}")


def _draw(
    direction: str, image_shape: tuple[int, int, int], count: int, stream: int
) -> tuple[UInt8[np.ndarray, "count height width channels"], Int32[np.ndarray, " count"]]:
    height, width, channels = image_shape
    words = np.random.Philox(key=np.array([_KEY, stream], dtype=np.uint64))
    labels = np.arange(count, dtype=np.int32) % 2
    images = np.broadcast_to(_below(words, 256, (count, 1, 1)), (count, height, width))
    across = _below(words, MOST_LINES + 1, (count,))
    along = np.where(labels == 1, 1 + _below(words, MOST_LINES, (count,)), 0)
    # Those across come last: were they covered by the others, to see them would tell something of the class.
    for lines, towards in ((along, direction), (across, _ACROSS[direction])):
        across_lines = _pixels_across(towards, height, width)
        for number in range(MOST_LINES):
            wide, shade = 3 + _below(words, 3, (count, 1, 1)), _below(words, 256, (count, 1, 1))
            start = 1 + _below(words, int(across_lines.max()) - 3, (count, 1, 1))
            inside = (across_lines >= start) & (across_lines < start + wide) & (number < lines[:, None, None])
            images = np.where(inside, shade, images)
    noise = _below(words, NOISE, images.shape) + _below(words, NOISE, images.shape) - NOISE + 1
    pixels = np.clip(images + noise, 0, 255).astype(np.uint8)[..., None]
    return np.repeat(pixels, channels, axis=-1), labels


def _pixels_across(direction: str, height: int, width: int) -> Int64[np.ndarray, "1 height width"]:
    """Returns how far across the lines of a direction each pixel lies, in pixels from 0."""
    row, column = np.mgrid[0:height, 0:width]
    across = {
        "vertical": column,
        "horizontal": row,
        "diagonal": column - row + height - 1,
        "antidiagonal": column + row,
    }
    # Diagonals are counted along the side, where they are 1.41 times as far apart.
    return (across[direction] if direction in DIRECTIONS[:2] else across[direction] * 5 // 7)[None]


def _below(words: np.random.Philox, bound: int, shape: tuple[int, ...]) -> Int64[np.ndarray, "*shape"]:
    """Returns whole numbers from 0 to bound - 1; NumPy promises that the raw words of a generator never change."""
    raw = words.random_raw(int(np.prod(shape)))
    return ((raw >> np.uint64(16)) % np.uint64(bound)).astype(np.int64).reshape(shape)
