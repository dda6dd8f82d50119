"""The shade around what pictures show, by which one is noticed that is inverted."""

import numpy as np
from jaxtyping import UInt8

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
