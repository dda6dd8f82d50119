"""`filters`: the lesson's hand convolution and pooling on any picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from cnn.api import convolve
from cnn.cli import printing
from cnn.config.config import ConfigError
from cnn.data.types import DataError
from cnn.layers.base import show
from cnn.report import hand_convolution
from cnn.report.hand_convolution import FilterError, Kernel
from cnn.runs import run_dir
from cnn.system.text import plain


class _Asked(NamedTuple):
    kernel: Kernel
    name: str
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
    shown = "numbers" if name.startswith("[") else plain(Path(name).name)
    try:
        made = convolve.apply(picture, asked.kernel, shown, asked.name, flags.get("pool"), asked.place)
    except FilterError as error:
        raise ConfigError([f"{'--pixel' if asked.place else '--filter'}: {error}"]) from None
    run_dir.write(asked.output, made.png)
    does = (
        hand_convolution.FILTERS[asked.name].does if asked.name in hand_convolution.FILTERS else "numbers of your own"
    )
    print(f"{shown}: {about}")
    print(f"filter {asked.name}, {show(np.shape(asked.kernel))}: {does}")
    printing.filtered(made.strip, strongest=asked.place is None)
    print(f"the strip is in {plain(str(asked.output))}")
    return 0


def _asked(flags: Mapping[str, str], words: Sequence[str], stem: str) -> _Asked:
    """Returns what the flags ask for; all that is wrong with them is raised together."""
    problems = []
    if len(words) > 1:
        problems.append(f"{words[1]!r}: filters takes one picture. Leave the others out")
    text = flags.get("filter", "vertical").strip()
    name = text if text in hand_convolution.FILTERS else "own"
    kernel: Kernel = ()
    try:
        kernel = hand_convolution.parse(text)
        kernel = hand_convolution.weighted(kernel) if "weighted" in flags else kernel
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
    return _Asked(kernel, name, place, output)


def _picture(words: Sequence[str]) -> tuple[Float[np.ndarray, "height width"], str]:
    """Returns the picture in grey, and what was done to it; without a word, a photograph that scikit-learn carries."""
    if words and words[0].startswith("["):
        numbers = _numbers(words[0])
        return numbers, show(numbers.shape)
    return convolve.read_picture(Path(words[0]) if words else convolve.photograph())


def _numbers(text: str) -> Float[np.ndarray, "height width"]:
    try:
        picture = np.asarray(hand_convolution.parse(text), np.float64)
    except FilterError as error:
        raise DataError(f"picture: {error}") from None
    return convolve.intensities(picture, text)
