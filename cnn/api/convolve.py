"""The lesson's convolution by hand: a filter over any picture, pooling, and the sum of one pixel. Imports no JAX."""

import dataclasses
import importlib.util
import io
import os
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float
from markupsafe import Markup

from cnn.data import decode
from cnn.data.resize import fit_images
from cnn.data.types import DataError
from cnn.layers.base import show
from cnn.report import filter_strip, hand_convolution
from cnn.report.colormap import address
from cnn.report.escape import shortened
from cnn.report.hand_convolution import Kernel

LARGEST_SIDE = 1024
"""A larger picture is reduced first: no screen shows more of it, and windows of 3x3 of its pixels show nothing."""

Numbers = Sequence[Sequence[float]] | Float[np.ndarray, "height width"]


@dataclasses.dataclass(frozen=True, repr=False)
class Filtered:
    """What a filter made of a picture; a notebook shows the strip picture, map, pooled map, and the sum of a pixel."""

    strip: filter_strip.Strip
    title: str

    @property
    def map(self) -> Float[np.ndarray, "rows columns"]:
        """The sums, not clipped."""
        return self.strip.map

    @property
    def pooled(self) -> Float[np.ndarray, "rows/2 columns/2"]:
        """The largest number, or the mean, of each 2x2 block of the map; the map itself where there is no pooling."""
        return self.strip.pooled

    @property
    def formula(self) -> str:
        """The sum of the explained pixel, as the lesson writes it."""
        return hand_convolution.formula(self.strip.pixel)

    @cached_property
    def png(self) -> bytes:
        """The strip as a PNG file."""
        drawn = io.BytesIO()
        filter_strip.draw(self.strip, title=self.title).save(drawn, "PNG")
        return drawn.getvalue()

    def __repr__(self) -> str:
        row, column = self.strip.pixel.row, self.strip.pixel.column
        return f"{self.title}: map {show(self.map.shape)}; row {row}, column {column}: {self.formula}"

    def _repr_html_(self) -> str:
        return Markup('<img style="max-width:100%" alt="{}" src="{}">').format(
            shortened(repr(self), 400), address(self.png)
        )


def convolve(
    picture: Numbers | str | os.PathLike[str] | None = None,
    filter: str | Numbers = "vertical",
    *,
    pool: str | None = None,
    weighted: bool = False,
    pixel: tuple[int, int] | None = None,
) -> Filtered:
    """Slides a filter over a picture, pools the map and explains one pixel; nothing is flipped, clipped or rounded.

    >>> made = convolve([[0, 64, 128], [48, 192, 144], [142, 226, 168]], "lesson")
    >>> made.map
    array([[577.]])
    >>> made.formula[:44]
    '(-1 * 0) + (0 * 64) + (-2 * 128) + (0.5 * 48'

    Args:
      picture: rows of intensities 0..255, a file, or `None` for a photograph that scikit-learn carries.
      filter: a name of `cnn.report.hand_convolution.FILTERS`, or rows of numbers.
      pool: max, average or none, in blocks of 2x2; `None` for max where the map has such a block.
      weighted: divides numbers that do not add up to 0 or 1 by their sum.
      pixel: row and column of the map, from 0; `None` for the strongest.

    Raises:
      FilterError: the filter is wrong or does not fit, or the map has no such pixel.
      DataError: the picture cannot be read.
    """
    kernel = (
        hand_convolution.parse(filter)
        if isinstance(filter, str)
        else hand_convolution.checked(np.asarray(filter).tolist())
    )
    kernel = hand_convolution.weighted(kernel) if weighted else kernel
    if isinstance(picture, (str, os.PathLike)) or picture is None:
        name, (grey, _) = Path(picture or "china.jpg").name, read_picture(Path(picture) if picture else photograph())
    else:
        name, grey = "numbers", intensities(picture)
    return apply(grey, kernel, name, filter if isinstance(filter, str) else "own", pool, pixel)


def apply(
    picture: Float[np.ndarray, "height width"],
    kernel: Kernel,
    shown: str,
    name: str,
    pool: str | None,
    pixel: tuple[int, int] | None,
) -> Filtered:
    """Returns what a filter makes of a picture in grey; see `convolve`."""
    least = min(picture.shape[0] - len(kernel), picture.shape[1] - len(kernel[0])) + 1
    pool = pool or ("max" if least >= filter_strip.POOL else "none")  # the lesson's window has one pixel
    return Filtered(filter_strip.make(picture, kernel, pool, pixel), f"{shown} through the filter {name}")


def intensities(rows: Numbers, written: str = "") -> Float[np.ndarray, "height width"]:
    """Returns a picture that is given as its numbers; `written` is how.

    Raises:
      DataError: they are no rows of numbers from 0 to 255.
    """
    try:
        picture = np.asarray(rows, np.float64)
    except (TypeError, ValueError):
        picture = np.empty(0)
    if picture.ndim == 3 and picture.shape[2] == 1:
        picture = picture[..., 0]
    if picture.ndim != 2 or not picture.size:
        got = f"shape {picture.shape}" if picture.size else "none"
        raise DataError(f"picture: must be rows of numbers, as many in each, got {got}. Give one channel")
    low, high = float(picture.min()), float(picture.max())
    if not (low >= 0 and high <= 255):
        got = repr(written)[:80] if written else f"{low:g} to {high:g}"
        raise DataError(f"picture: must hold numbers from 0 to 255, got {got}. They are intensities")
    return picture


def read_picture(path: Path) -> tuple[Float[np.ndarray, "height width"], str]:
    """Returns a picture in grey, and what was done to it.

    Raises:
      DataError: it cannot be read.
    """
    try:
        with decode.bombs_are_errors():
            colour = decode.read_whole(path, 3)
            grey = decode.read_whole(path, 1)
    except decode.BrokenPicture as error:
        known = ", ".join(decode.FORMATS)
        raise DataError(f"picture {str(path)!r}: cannot be read, got: {error}. Use {known}.") from None
    about = [show(grey.shape[:2])]
    if (colour != colour[..., :1]).any():
        about.append("grey made of its colours")
    if max(grey.shape) > LARGEST_SIDE:
        part = LARGEST_SIDE / max(grey.shape)
        height, width = (max(1, round(side * part)) for side in grey.shape[:2])
        grey = fit_images(grey[None], image_shape=(height, width, 1), resize="bilinear", what="picture")[0]
        about.append(f"reduced to {height}x{width}")
    return grey[..., 0].astype(np.float64), ", ".join(about)


def photograph() -> Path:
    """Returns the file of a photograph that scikit-learn carries.

    Raises:
      DataError: scikit-learn is not installed.
    """
    found = importlib.util.find_spec("sklearn")  # its folder alone: importing it takes a second
    folders = found.submodule_search_locations if found else None
    if not folders:
        raise DataError("picture: none given, and scikit-learn, which carries one, is not installed. Name a picture")
    return Path(folders[0]) / "datasets" / "images" / "china.jpg"
