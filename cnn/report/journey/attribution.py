"""Grad-CAM and integrated gradients as they stand on the page: the picture, and over it what spoke for a class."""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8
from markupsafe import Markup

from cnn.report import escape
from cnn.report.colormap import signed
from cnn.report.journey.journey_file import Attribution, Journey, Picture
from cnn.report.mistakes import thumbnail

MOST = 8
"""Pictures that are shown."""
STRONGEST, LEVELS = 0.85, 8
"""How much of the picture the largest number covers; the steps of brightness and of cover, for small files."""


Windows = Mapping[str, Sequence[int]]


class Shown(NamedTuple):
    """A picture, and of each class its name, whether it is the true one, the overlays and what was computed."""

    name: str
    image: Markup
    classes: list[tuple[str, str, Markup | None, Markup, Attribution]]


def tell(journey: Journey) -> Markup:
    """Returns the pictures with their overlays; nothing of a journey of earlier versions."""
    about = journey.about.get("looked")
    if about is None:
        return Markup("")
    shown = [_shown(journey, picture, about.get("windows")) for picture in journey.pictures[:MOST]]
    return escape.render("attribution.html.j2", about=about, shown=shown, rest=len(journey.pictures) - len(shown))


def _shown(journey: Journey, picture: Picture, windows: Windows | None) -> Shown:
    return Shown(picture.name, thumbnail(picture.pixels, picture.name), list(_classes(journey, picture, windows)))


def _classes(
    journey: Journey, picture: Picture, windows: Windows | None
) -> Iterator[tuple[str, str, Markup | None, Markup, Attribution]]:
    for place, each in enumerate(picture.attributions):
        name = journey.classes[each.label]
        words = "true" if place else "predicted and true" if each.label == picture.label else "predicted"
        over = f"for {escape.shortened(name)} over {picture.name}"
        cam = None
        if each.cam is not None:
            spread = laid(each.cam, picture.pixels.shape[:2], windows)
            cam = thumbnail(overlay(picture.pixels, spread), f"Grad-CAM {over}")
        parts = thumbnail(overlay(picture.pixels, each.parts), f"integrated gradients {over}")
        yield name, words, cam, parts, each


def laid(
    numbers: Float[np.ndarray, "rows columns"], size: tuple[int, ...], windows: Windows | None
) -> Float[np.ndarray, "height width"]:
    """Returns for each pixel of a picture the number of the map whose window has its middle nearest; zero outside all.

    Args:
      numbers: of the map.
      size: height and width of the picture.
      windows: what each of them sees, by axis: where the first window begins, how long one is, and how far the next;
        `None` where nobody knows it, for equal parts of the picture.
    """
    places = []
    for axis, (side, of) in enumerate(zip(size, numbers.shape, strict=True)):
        pixels = np.arange(side)
        if windows is None:
            places.append(pixels * of // side)
            continue
        start, length, jump = (windows[name][axis] for name in ("start", "size", "jump"))
        middles = np.ceil((pixels - start - (length - 1) / 2) / jump - 0.5)  # of two as near the first
        nearest = np.clip(middles.astype(int), 0, of - 1)
        first = start + nearest * jump
        places.append(np.where((first <= pixels) & (pixels < first + length), nearest, of))
    return np.pad(numbers, ((0, 1), (0, 1)))[places[0][:, None], places[1][None]]


def overlay(
    pixels: UInt8[np.ndarray, "height width channels"], numbers: Float[np.ndarray, "height width"]
) -> UInt8[np.ndarray, "height width 3"]:
    """Returns a pale grey picture under the colours of numbers: the larger a number, the less of the picture is seen.

    Args:
      pixels: of the picture.
      numbers: one for each of its pixels.
    """
    largest = float(np.abs(numbers).max(initial=0))
    bright, covered = pixels.mean(-1, keepdims=True) / 255, np.abs(numbers[..., None]) / (largest or 1.0)
    bright, share = (np.rint(LEVELS * part) / LEVELS for part in (bright, covered))
    grey, share = 96 + 153 * bright, STRONGEST * share
    return np.rint(grey * (1 - share) + signed(np.sign(numbers), 1.0) * share).astype(np.uint8)
