"""Pictures of the user, brought to what a run's network was trained on; what was done to each is said.

`find_images` lists the files that are meant, `read_user_image` reads one. Its size is fitted as the run's own pictures
were; one that is light for dark is noticed by the shade of its background, along its border, and turned around.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from cnn.data import decode, resize
from cnn.data.decode import SUFFIXES
from cnn.data.types import Stored, centre, take_images

INVERT = ("auto", "yes", "no")
DARK, LIGHT = 85, 170
"""A background below the first is dark, one above the second light."""
SPREAD = 32
"""How far the shades of one background may lie from their median."""
SAMPLE = 500
"""How many of a run's pictures tell its background."""
SHARE_OF_IMAGES, SHARE_OF_BORDER = 0.75, 0.6
"""How many pictures must have a background for it to be the run's, and how much of a border must be inverted."""


class ImageSpec(NamedTuple):
    """What a run's network expects of a picture.

    Attributes:
      image_shape: height, width and channels (1 or 3).
      resize: how the run's pictures were brought to that size, one of `RESIZES`.
      background: the shade around what they show, 0..255, `None` where there is no such.
      invert: "auto" turns a picture with the opposite background around, unless it has the exact size.
      stored_shape: the shape to which the run's pictures were brought, before their centre was cut out; `None` for
        `image_shape`.
    """

    image_shape: tuple[int, int, int]
    resize: str
    background: int | None = None
    invert: str = "auto"
    stored_shape: tuple[int, int, int] | None = None

    @property
    def fitted_shape(self) -> tuple[int, int, int]:
        """The shape to which a picture is brought, before its centre is cut out."""
        return self.stored_shape or self.image_shape


class UserImage(NamedTuple):
    """A picture as the network gets it, and what was done to it, in words."""

    path: str
    image: UInt8[np.ndarray, "height width channels"]
    notes: tuple[str, ...]


class UnreadableImage(NamedTuple):
    """What was named and is no picture that can be read, and why."""

    path: str
    reason: str


def background_shade(images: UInt8[np.ndarray, "n height width channels"] | Stored) -> int | None:
    """Returns the shade, 0..255, that most pictures have along most of their border; `None` where there is none."""
    rows = np.unique(np.linspace(0, len(images) - 1, min(SAMPLE, len(images))).astype(int))
    borders = np.stack([border(image).mean(axis=-1) for image in take_images(images, rows)])
    shades = np.median(borders, axis=1)
    shade = float(np.median(shades))
    uniform = (np.abs(borders - shades[:, None]) <= SPREAD).mean(axis=1) >= 0.5
    return round(shade) if (uniform & (np.abs(shades - shade) <= SPREAD)).mean() >= SHARE_OF_IMAGES else None


def is_inverted(image: UInt8[np.ndarray, "height width channels"], background: int | None) -> bool:
    """Tells whether a picture is light around where a run's pictures are dark, or dark where they are light.

    Args:
      image: of any size.
      background: that of the run's pictures, as `background_shade` says.
    """
    if background is None or DARK <= background <= LIGHT:
        return False
    shades = border(image).mean(axis=-1)
    opposite = shades > LIGHT if background < DARK else shades < DARK
    return float(opposite.mean()) >= SHARE_OF_BORDER


def border(image: UInt8[np.ndarray, "height width channels"]) -> UInt8[np.ndarray, "pixels channels"]:
    """Returns the outermost pixels."""
    return np.concatenate([image[0], image[-1], image[1:-1, 0], image[1:-1, -1]])


def find_images(words: Iterable[str]) -> Iterator[str | UnreadableImage]:
    """Yields the files that words name; of a folder, the pictures in it and in its folders, in the order of names."""
    for word in words:
        if os.path.isdir(word):
            yield from _within(word)
        else:
            yield word


def _within(root: str) -> Iterator[str | UnreadableImage]:
    failed: list[OSError] = []
    found = False
    entered = {os.path.realpath(root)}
    for folder, folders, names in os.walk(root, onerror=failed.append, followlinks=True):
        folders[:] = _not_entered(folder, folders, entered)
        for name in sorted(name for name in names if not name.startswith(".")):
            path = os.path.join(folder, name)
            kind = decode.file_kind(path)
            found |= kind != "other"
            if kind == "picture":
                yield path
            elif kind == "unread":
                yield UnreadableImage(path, f"{Path(name).suffix.lower()} pictures are not read. Convert it to .png")
    for error in failed:
        yield UnreadableImage(str(error.filename or root), str(error.strerror or error))
    if not found and not failed:
        yield UnreadableImage(root, f"the folder holds no pictures ({', '.join(SUFFIXES)})")


def _not_entered(folder: str, names: Iterable[str], entered: set[str]) -> list[str]:
    """Returns the folders that are not hidden and were not entered before: links may make a circle."""
    fresh = []
    for name in sorted(name for name in names if not name.startswith(".")):
        real = os.path.realpath(os.path.join(folder, name))
        if real not in entered:
            entered.add(real)
            fresh.append(name)
    return fresh


def read_user_image(file: str | UnreadableImage, spec: ImageSpec) -> UserImage | UnreadableImage:
    """Reads a picture as `find_images` lists it, inside `bombs_are_errors`."""
    if isinstance(file, UnreadableImage):
        return file
    try:
        return prepare(file, spec)
    except decode.BrokenPicture as error:
        return UnreadableImage(file, f"cannot be read, got: {error}. Name a PNG, JPEG, BMP or WebP file")


def prepare(path: str | Path, spec: ImageSpec) -> UserImage:
    """Reads a picture, inside `bombs_are_errors`; one of the exact size goes in as it is, any other is made to fit.

    With pictures that were held larger than the network sees them, it is that size, and then the centre is cut out.
    The run's own `resize` is used where it can be. Where it cannot (`exact`, or `pad` of a larger picture) the
    picture keeps its proportions and is padded with the shade of its border.

    Raises:
      BrokenPicture: it cannot be read.
    """
    image, notes = _as_trained(path, spec.image_shape[2])
    exact = image.shape == tuple(spec.fitted_shape)
    inverted = is_inverted(image, spec.background)
    if spec.invert == "yes" or (spec.invert == "auto" and inverted and not exact):
        image = 255 - image
        notes.append("turned light for dark" if spec.invert == "yes" else f"{_opposite(spec)}: turned around")
    elif spec.invert == "auto" and inverted:
        notes.append(f"{_opposite(spec)}, left as it is; --invert=yes turns it around")
    if not exact:
        image, note = _fitted(image, spec)
        notes.append(note)
    if spec.fitted_shape != spec.image_shape:
        image = centre(image[None], spec.image_shape[:2])[0]
        notes.append(f"the centre of {spec.image_shape[0]}x{spec.image_shape[1]} cut out as in evaluation")
    return UserImage(str(path), image, tuple(notes))


def _opposite(spec: ImageSpec) -> str:
    light, dark = ("light", "dark") if (spec.background or 0) < DARK else ("dark", "light")
    return f"{light} around, where the run's pictures are {dark}"


def _as_trained(path: str | Path, channels: int) -> tuple[np.ndarray, list[str]]:
    """Returns the picture at its own size, as training reads it."""
    notes = []
    image = decode.read_whole(path, channels)
    if (decode.read_whole(path, channels, behind=255) != image).any():
        notes.append("transparent, shown on black as in training")
    if channels == 1 and np.ptp(decode.read_whole(path, 3), axis=-1).any():
        notes.append("colours made grey")
    return image, notes


def _fitted(image: np.ndarray, spec: ImageSpec) -> tuple[np.ndarray, str]:
    (height, width), shape = image.shape[:2], spec.fitted_shape
    smaller = height <= shape[0] and width <= shape[1]
    before, after = f"{height}x{width} (height x width)", f"{shape[0]}x{shape[1]}"
    if spec.resize in resize.SCALING or (spec.resize == "pad" and smaller):
        fitted = resize.fit_images(image[None], image_shape=shape, resize=spec.resize, what="picture")[0]
        verb = {"pad": "padded", "cover": "cropped and resized"}.get(spec.resize, "resized")
        return fitted, f"{before} {verb} to {after} as in training"
    scale = min(shape[0] / height, shape[1] / width)
    inner = (max(1, round(height * scale)), max(1, round(width * scale)), shape[2])
    resized = resize.fit_images(image[None], image_shape=inner, resize="bilinear", what="picture")[0]
    padded = np.empty(shape, np.uint8)
    padded[:] = np.median(border(resized), axis=0)
    top, left = (shape[0] - inner[0]) // 2, (shape[1] - inner[1]) // 2
    padded[top : top + inner[0], left : left + inner[1]] = resized
    around = "" if inner == tuple(shape) else f" and padded to {after}"
    return padded, f"{before} resized to {inner[0]}x{inner[1]}{around}"
