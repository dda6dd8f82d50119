"""A person's own pictures, brought to what a run's network was trained on; what was done to each is said.

The shade around what pictures show, by which one is noticed that is inverted.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from cnn.data import decode, resize
from cnn.data.decode import SUFFIXES
from cnn.data.types import Stored, some

DARK, LIGHT = 85, 170
SPREAD = 32
SAMPLE = 500
_PICTURES, _PIXELS = 0.75, 0.6


def of_pictures(images: UInt8[np.ndarray, "n height width channels"] | Stored) -> int | None:
    """Returns the shade, 0..255, that most pictures have along most of their border; `None` where there is none."""
    rows = np.unique(np.linspace(0, len(images) - 1, min(SAMPLE, len(images))).astype(int))
    borders = np.stack([border(image).mean(axis=-1) for image in some(images, rows)])
    shades = np.median(borders, axis=1)
    shade = float(np.median(shades))
    uniform = (np.abs(borders - shades[:, None]) <= SPREAD).mean(axis=1) >= 0.5
    return round(shade) if (uniform & (np.abs(shades - shade) <= SPREAD)).mean() >= _PICTURES else None


def is_inverted(image: UInt8[np.ndarray, "height width channels"], background: int | None) -> bool:
    """Tells whether a picture is light around where a run's pictures are dark, or dark where they are light.

    Args:
      image: of any size.
      background: that of the run's pictures, as `of_pictures` says.
    """
    if background is None or DARK <= background <= LIGHT:
        return False
    shades = border(image).mean(axis=-1)
    opposite = shades > LIGHT if background < DARK else shades < DARK
    return float(opposite.mean()) >= _PIXELS


def border(image: UInt8[np.ndarray, "height width channels"]) -> UInt8[np.ndarray, "pixels channels"]:
    """Returns the outermost pixels."""
    return np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])


INVERT = ("auto", "yes", "no")


class UserImage(NamedTuple):
    """A picture as the network gets it, and what was done to it, in words."""

    image: UInt8[np.ndarray, "height width channels"]
    notes: tuple[str, ...]


class Wanted(NamedTuple):
    """What a run's pictures are like.

    Attributes:
      image_shape: height, width and channels (1 or 3).
      resize: how its pictures were brought to that size, one of `RESIZES`.
      background: the shade around what they show, 0..255, `None` where there is no such.
      invert: "auto" turns a picture with the opposite background around, unless it has the exact size.
    """

    image_shape: tuple[int, int, int]
    resize: str
    background: int | None = None
    invert: str = "auto"


class Unread(NamedTuple):
    """A word that is no picture that can be read, and why."""

    path: str
    reason: str


def listed(words: Iterable[str]) -> Iterator[str | Unread]:
    """Yields the files that words name; of a folder, the pictures in it and in its folders, in the order of names."""
    for word in words:
        if os.path.isdir(word):
            yield from _within(word)
        else:
            yield word


def _within(root: str) -> Iterator[str | Unread]:
    failed: list[OSError] = []
    found = False
    entered = {os.path.realpath(root)}
    for folder, folders, names in os.walk(root, onerror=failed.append, followlinks=True):
        folders[:] = _not_yet(folder, folders, entered)
        for name in sorted(name for name in names if not name.startswith(".")):
            path = os.path.join(folder, name)
            kind = decode.kind(path)
            found |= kind != "other"
            if kind == "picture":
                yield path
            elif kind == "unread":
                yield Unread(path, f"{Path(name).suffix.lower()} pictures are not read. Convert it to .png")
    for error in failed:
        yield Unread(str(error.filename or root), str(error.strerror or error))
    if not found and not failed:
        yield Unread(root, f"the folder holds no pictures ({', '.join(SUFFIXES)})")


def _not_yet(folder: str, names: Iterable[str], entered: set[str]) -> list[str]:
    """Returns the folders that are not hidden and were not entered before: links may make a circle."""
    fresh = []
    for name in sorted(name for name in names if not name.startswith(".")):
        real = os.path.realpath(os.path.join(folder, name))
        if real not in entered:
            entered.add(real)
            fresh.append(name)
    return fresh


def prepare(path: str | Path, wanted: Wanted) -> UserImage:
    """Reads a picture, inside `bombs_are_errors`; one of the exact size goes in as it is, any other is made to fit.

    The run's own `resize` is used where it can be. Where it cannot (`exact`, or `pad` of a larger picture) the
    picture keeps its proportions and is padded with the shade of its border.

    Raises:
      BrokenPicture: it cannot be read.
    """
    image, notes = _seen(path, wanted.image_shape[2])
    exact = image.shape == tuple(wanted.image_shape)
    inverted = is_inverted(image, wanted.background)
    if wanted.invert == "yes" or (wanted.invert == "auto" and inverted and not exact):
        image = 255 - image
        notes.append("turned light for dark" if wanted.invert == "yes" else f"{_opposite(wanted)}: turned around")
    elif wanted.invert == "auto" and inverted:
        notes.append(f"{_opposite(wanted)}, left as it is; --invert=yes turns it around")
    if not exact:
        image, how = _fitted(image, wanted)
        notes.append(how)
    return UserImage(image, tuple(notes))


def _opposite(wanted: Wanted) -> str:
    light, dark = ("light", "dark") if (wanted.background or 0) < DARK else ("dark", "light")
    return f"{light} around, where the run's pictures are {dark}"


def _seen(path: str | Path, channels: int) -> tuple[np.ndarray, list[str]]:
    """Returns the picture at its own size, as training reads it."""
    notes = []
    image = decode.read_whole(path, channels)
    if (decode.read_whole(path, channels, behind=255) != image).any():
        notes.append("transparent, shown on black as in training")
    if channels == 1 and np.ptp(decode.read_whole(path, 3), axis=-1).any():
        notes.append("colours made grey")
    return image, notes


def _fitted(image: np.ndarray, wanted: Wanted) -> tuple[np.ndarray, str]:
    (height, width), shape = image.shape[:2], wanted.image_shape
    smaller = height <= shape[0] and width <= shape[1]
    before, after = f"{height}x{width} (height x width)", f"{shape[0]}x{shape[1]}"
    if wanted.resize in resize.FILTERS or (wanted.resize == "pad" and smaller):
        fitted = resize.fit_images(image[None], image_shape=shape, resize=wanted.resize, what="picture")[0]
        verb = "padded" if wanted.resize == "pad" else "resized"
        return fitted, f"{before} {verb} to {after} as in training"
    part = min(shape[0] / height, shape[1] / width)
    inner = (max(1, round(height * part)), max(1, round(width * part)), shape[2])
    resized = resize.fit_images(image[None], image_shape=inner, resize="bilinear", what="picture")[0]
    padded = np.empty(shape, np.uint8)
    padded[:] = np.median(border(resized), axis=0)
    top, left = (shape[0] - inner[0]) // 2, (shape[1] - inner[1]) // 2
    padded[top : top + inner[0], left : left + inner[1]] = resized
    around = "" if inner == tuple(shape) else f" and padded to {after}"
    return padded, f"{before} resized to {inner[0]}x{inner[1]}{around}"
