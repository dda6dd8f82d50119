"""Where the network looked, as it stands on the page: the picture, and over it what spoke for a class."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from markupsafe import Markup

from cnn.report import escape
from cnn.report.colormap import signed
from cnn.report.journey.journey_file import Journey, Looked, Picture
from cnn.report.mistakes import thumbnail

MOST = 8
"""Pictures that are shown."""
STRONGEST, LEVELS = 0.85, 8
"""How much of the picture the largest number covers; the steps of brightness and of cover, for small files."""


class Shown(NamedTuple):
    """A picture, and of each class its name, whether it is the true one, the overlays and what was computed."""

    name: str
    image: Markup
    classes: list[tuple[str, str, Markup | None, Markup, Looked]]


def tell(journey: Journey) -> Markup:
    """Returns the pictures with their overlays; nothing of a journey of earlier versions."""
    about = journey.about.get("looked")
    if about is None:
        return Markup("")
    shown = [_shown(journey, picture) for picture in journey.pictures[:MOST]]
    return escape.render("looked.html.j2", about=about, shown=shown, rest=len(journey.pictures) - len(shown))


def _shown(journey: Journey, picture: Picture) -> Shown:
    return Shown(picture.name, thumbnail(picture.pixels, picture.name), list(_classes(journey, picture)))


def _classes(journey: Journey, picture: Picture) -> Iterator[tuple[str, str, Markup | None, Markup, Looked]]:
    for place, each in enumerate(picture.looked):
        name = journey.classes[each.label]
        words = "true" if place else "predicted and true" if each.label == picture.label else "predicted"
        cam, parts = (
            None
            if numbers is None
            else thumbnail(overlay(picture.pixels, numbers), f"{kind} for {escape.shortened(name)} over {picture.name}")
            for kind, numbers in (("Grad-CAM", each.cam), ("integrated gradients", each.parts))
        )
        assert parts is not None
        yield name, words, cam, parts, each


def overlay(
    pixels: UInt8[np.ndarray, "height width channels"], numbers: Float[np.ndarray, "rows columns"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Returns a pale grey picture under the colours of numbers: the larger a number, the less of the picture is seen.

    Args:
      pixels: of the picture.
      numbers: one for each of its pixels, or for each of as many equal parts of it.
    """
    height, width = pixels.shape[:2]
    rows, columns = (np.arange(side) * of // side for side, of in zip((height, width), numbers.shape, strict=True))
    spread = numbers[rows[:, None], columns[None]].astype(np.float64)
    largest = float(np.abs(spread).max(initial=0))
    bright, covered = pixels.mean(-1, keepdims=True) / 255, np.abs(spread[..., None]) / (largest or 1.0)
    bright, share = (np.rint(LEVELS * part) / LEVELS for part in (bright, covered))
    grey, share = 96 + 153 * bright, STRONGEST * share
    return np.rint(grey * (1 - share) + signed(np.sign(spread), 1.0) * share).astype(np.uint8)
