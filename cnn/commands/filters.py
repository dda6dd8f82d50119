"""`filters`: the lesson's hand convolution and pooling on any picture."""

import importlib.util
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from cnn import filters, rundir, strip, terminal
from cnn.config import ConfigError
from cnn.data import pictures
from cnn.data.fitting import fit_images
from cnn.data.types import DataError
from cnn.filters import FilterError, Kernel
from cnn.layers import show

LARGEST_SIDE = 1024
"""A larger picture is reduced first: no screen shows more of it, and windows of 3x3 of its pixels show nothing."""


class _Asked(NamedTuple):
    kernel: Kernel
    name: str
    pool: str
    place: tuple[int, int] | None
    output: Path


def run(flags: Mapping[str, str], *, words: Sequence[str]) -> int:
    """Writes the strip picture -> map -> pooled, and prints the sum of one pixel; imports no JAX.

    Raises:
      ConfigError: a flag is wrong, or the filter does not fit the picture.
      DataError: the picture cannot be read.
    """
    name = words[0] if words else "china.jpg"
    asked = _asked(flags, words, "numbers" if name.startswith("[") else Path(name).stem)
    picture, about = _picture(words)
    pool = asked.pool
    if pool != "none" and "pool" not in flags and min(_map_size(picture, asked.kernel)) < strip.POOL:
        pool = "none"  # a picture of one window, as the lesson's
    try:
        made = strip.make(picture, asked.kernel, pool, asked.place)
    except FilterError as error:
        raise ConfigError([f"{'--pixel' if asked.place else '--filter'}: {error}"]) from None
    shown = "numbers" if name.startswith("[") else terminal.plain(Path(name).name)
    drawn = io.BytesIO()
    strip.draw(made, title=f"{shown} through the filter {asked.name}").save(drawn, "PNG")
    rundir.write(asked.output, drawn.getvalue())
    does = filters.FILTERS[asked.name].does if asked.name in filters.FILTERS else "numbers of your own"
    print(f"{shown}: {about}")
    print(f"filter {asked.name}, {show(np.shape(asked.kernel))}: {does}")
    terminal.filtered(made, strongest=asked.place is None)
    print(f"the strip is in {terminal.plain(str(asked.output))}")
    return 0


def _asked(flags: Mapping[str, str], words: Sequence[str], stem: str) -> _Asked:
    """Returns what the flags ask for; all that is wrong with them is raised together."""
    problems = []
    if len(words) > 1:
        problems.append(f"{words[1]!r}: filters takes one picture. Leave the others out")
    text = flags.get("filter", "vertical").strip()
    name = text if text in filters.FILTERS else "own"
    kernel: Kernel = ()
    try:
        kernel = filters.parse(text)
        kernel = filters.weighted(kernel) if "weighted" in flags else kernel
    except FilterError as error:
        problems.append(f"--filter: {error}")
    place = None
    if "pixel" in flags:
        parts = [part.strip() for part in flags["pixel"].split(",")]
        if len(parts) == 2 and all(part.isdecimal() and part.isascii() for part in parts):
            place = int(parts[0]), int(parts[1])
        else:
            problems.append(f"--pixel: must be a row and a column from 0, got {flags['pixel']!r}. Write --pixel=4,6")
    output = Path(flags.get("output") or f"{stem}-{name}.png")
    if output.suffix.lower() != ".png":
        problems.append(f"--output: must end in .png, got {str(output)!r}. Write --output=strip.png")
    elif not output.parent.is_dir():
        problems.append(f"--output: no such folder, got {str(output.parent)!r}. Make it, or write elsewhere")
    elif words and output.exists() and Path(words[0]).exists() and output.samefile(words[0]):
        problems.append("--output: is the picture itself. Choose another file")
    if problems:
        raise ConfigError(problems)
    return _Asked(kernel, name, flags.get("pool", "max"), place, output)


def _picture(words: Sequence[str]) -> tuple[Float[np.ndarray, "height width"], str]:
    """Returns the picture in grey, and what was done to it; without a word, a photograph that scikit-learn carries."""
    if words and words[0].startswith("["):
        numbers = _numbers(words[0])
        return numbers, show(numbers.shape)
    path = Path(words[0]) if words else _photograph()
    try:
        with pictures.bombs_are_errors():
            colour = pictures.read_whole(path, 3)
            grey = pictures.read_whole(path, 1)
    except pictures.BrokenPicture as error:
        known = ", ".join(pictures.FORMATS)
        raise DataError(f"picture {str(path)!r}: cannot be read, got: {error}. Use {known}.") from None
    about = [show(grey.shape[:2])]
    if (colour != colour[..., :1]).any():
        about.append("grey made of its colours")
    if max(grey.shape) > LARGEST_SIDE:
        part = LARGEST_SIDE / max(grey.shape)
        height, width = (max(1, round(side * part)) for side in grey.shape[:2])
        grey = fit_images(grey[None], image_shape=(height, width, 1), fit="bilinear", what="picture")[0]
        about.append(f"reduced to {height}x{width}")
    return grey[..., 0].astype(np.float64), ", ".join(about)


def _numbers(text: str) -> Float[np.ndarray, "height width"]:
    try:
        picture = np.asarray(filters.parse(text), np.float64)
    except FilterError as error:
        raise DataError(f"picture: {error}") from None
    if picture.min() < 0 or picture.max() > 255:
        raise DataError(f"picture: must hold numbers from 0 to 255, got {text!r:.80}. They are intensities")
    return picture


def _photograph() -> Path:
    found = importlib.util.find_spec("sklearn")  # its folder alone: importing it takes a second
    folders = found.submodule_search_locations if found else None
    if not folders:
        raise DataError("picture: none given, and scikit-learn, which carries one, is not installed. Name a picture")
    return Path(folders[0]) / "datasets" / "images" / "china.jpg"


def _map_size(picture: np.ndarray, kernel: Kernel) -> tuple[int, int]:
    return picture.shape[0] - len(kernel) + 1, picture.shape[1] - len(kernel[0]) + 1
