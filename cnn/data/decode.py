"""Decodes pictures, one or many, from files or bytes that anybody may have made.

Pillow decodes, restricted to four formats and to `MAX_PIXELS`; whatever it raises on hostile bytes becomes a
`BrokenPicture`. Every picture is turned upright, is brought to 8 bits, and shows a given grey where it is transparent.
Plain PNG pictures of one size are decoded many at a time, see `cnn.data.png`, and JPEG files faster than by Pillow
where that is possible, see `cnn.data.jpeg`.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from etils import epy
from jaxtyping import UInt8

from cnn.data.jpeg import decode_plain, decode_to, decoder
from cnn.data.png import MODES, decode_together
from cnn.data.resize import SCALING, check_fits, fit_images, fit_picture, pixels
from cnn.data.types import DataError

with epy.lazy_imports():
    import PIL
    from PIL import ExifTags, Image, ImageOps

FORMATS = ("PNG", "JPEG", "BMP", "WEBP")
SUFFIXES = (".png", ".apng", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".dib", ".webp")
# Were these passed over in silence, a run would train on less than its user believes.
UNREAD_SUFFIXES = (".gif", ".tif", ".tiff", ".heic", ".heif", ".avif", ".svg", ".jp2", ".jxl", ".ppm", ".pgm", ".ico")
MAX_PIXELS = 50_000_000
MAX_BYTES = 1 << 28
"""What is read of one JPEG file at most; no picture of so many pixels needs it."""
LYING = (5, 6, 7, 8)
"""The orientations by EXIF of a picture that is stored on its side."""
_FIRST_BYTES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM")
READER_VERSION = 2
"""Rises when the same files give other pixels; a run records which version it read with.

Since 2, a transparent shade is black in grey PNG files of 1, 2, 4 and 16 bits and colour ones of 16 bits, and
PNG pictures of a dataset are read the same whatever lies beside them.
"""
# What Pillow multiplies the values of a PNG file by, by how it stores them; the transparent value it leaves as it was.
_SCALES = {"1": 255.0, "L;2": 85.0, "L;4": 17.0, "RGB;16B": 1 / 256}


def versions(decode: str) -> dict[str, str]:
    """Returns the versions that the pixels of picture files depend on, by what has them.

    Args:
      decode: "full", where every decoder of JPEG gives the same pixels, or "scaled", where it is named.
    """
    return {"pillow": PIL.__version__, **({"jpeg": decoder()} if decode == "scaled" else {})}


class BrokenPicture(DataError):
    """Says why a file is no picture that can be used; the caller knows which file."""


def file_kind(path: str) -> Literal["picture", "unread", "other"]:
    """Tells whether a file is a picture that is read, a picture that is not, or something else, by its suffix.

    A file without a suffix is told by its first bytes.
    """
    suffix = os.path.splitext(path)[1].lower()
    if suffix in SUFFIXES:
        return "picture"
    if suffix:
        return "unread" if suffix in UNREAD_SUFFIXES else "other"
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return "other"
        with open(path, "rb") as file:
            first = file.read(12)
    except OSError:
        return "other"
    webp = first[:4] == b"RIFF" and first[8:] == b"WEBP"
    return "picture" if webp or first.startswith(_FIRST_BYTES) else "other"


@contextlib.contextmanager
def bombs_are_errors() -> Iterator[None]:
    """Turns Pillow's warning of a decompression bomb into an error, in this thread and those it starts."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield


def bombs_stay_errors() -> None:
    """Turns that warning into an error for good: threads open streamed pictures as long as the process lives."""
    warnings.simplefilter("error", Image.DecompressionBombWarning)


def open_picture(
    path: str | Path, *, image_shape: tuple[int, int, int], resize: str
) -> UInt8[np.ndarray, "height width channels"]:
    """Reads one picture file as the network wants it: turned upright, grey or colour, and of the right size.

    Args:
      path: a PNG, JPEG, BMP or WebP file; of an animation the first frame is read.
      image_shape: the height, width and channels wanted, 1 channel for grey and 3 for colour.
      resize: how another size is brought to this one, one of `RESIZES`.

    Raises:
      DataError: if the file is missing or no such picture, or is too large, or does not fit.
    """
    try:
        with bombs_are_errors():
            return read_picture(str(path), image_shape, resize, what=f"picture {str(path)!r}")
    except BrokenPicture as error:
        raise DataError(f"picture {str(path)!r}: cannot be read, got: {error}. Use {', '.join(FORMATS)}.") from error


def read_picture(
    picture: str | bytes,
    image_shape: tuple[int, int, int],
    resize: str,
    *,
    what: str,
    scaled: bool = False,
    stored: tuple[int, int] | None = None,
) -> UInt8[np.ndarray, "height width channels"]:
    """Reads one picture as `open_picture` does, inside `bombs_are_errors`; the caller names it where it is broken.

    Args:
      picture: the path of a file, or the bytes of one.
      image_shape: the height, width and channels wanted, 1 channel for grey and 3 for colour.
      resize: how another size is brought to this one, one of `RESIZES`.
      what: which picture it is, for the error of one that does not fit.
      scaled: whether a JPEG file may be decoded to fewer pixels than it has, where `resize` needs no more.
      stored: the height and width that it must have, `None` for any.

    Raises:
      BrokenPicture: if the file is missing, or no picture that can be used, or not of the size `stored`.
      DataError: if the picture does not fit `image_shape`.
    """
    channels = image_shape[2]
    least = (image_shape[1], image_shape[0]) if scaled and resize in SCALING else None
    with contextlib.nullcontext(io.BytesIO(picture)) if isinstance(picture, bytes) else _opened(picture) as file:
        if scaled and resize in ("bilinear", "cover"):
            quickly = _read_quickly(file, image_shape, resize, stored)
            if quickly is not None:
                return quickly
            file.seek(0)
        upright = _upright(file, channels, least=least, stored=stored)
    return fit_picture(upright, image_shape=image_shape, resize=resize, what=what)


def _read_quickly(
    file: io.BytesIO | io.BufferedReader,
    image_shape: tuple[int, int, int],
    resize: str,
    stored: tuple[int, int] | None,
) -> UInt8[np.ndarray, "height width channels"] | None:
    """Reads a JPEG file that lies upright without Pillow; `None` for all others, and for what is wrong with one."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
            fits = stored in (None, image.size[::-1]) and image.width * image.height <= MAX_PIXELS
            if image.format not in ("JPEG", "MPO") or not upright or not fits:
                return None
            return decode_to(_encoded(file), image, image_shape, cover=resize == "cover")
    except Exception:  # Pillow raises nearly anything on hostile bytes, and will once more
        return None


def _encoded(file: io.BytesIO | io.BufferedReader) -> bytes | memoryview:
    file.seek(0)
    return file.getbuffer() if isinstance(file, io.BytesIO) else file.read(MAX_BYTES)


def read_whole(path: str | Path, channels: int, *, behind: int = 0) -> UInt8[np.ndarray, "h w c"]:
    """Reads one picture file at its own size, turned upright, inside `bombs_are_errors`.

    Args:
      path: a PNG, JPEG, BMP or WebP file; of an animation the first frame is read.
      channels: 1 for grey and 3 for colour.
      behind: the grey, 0..255, that shows where the picture is transparent.

    Raises:
      BrokenPicture: if the file is missing or no picture that can be used.
    """
    return pixels(_upright_of(path, channels, behind))


def _upright_of(path: str | Path, *how: Any, **options: Any) -> Image.Image:
    with _opened(path) as file:
        return _upright(file, *how, **options)


@contextlib.contextmanager
def _opened(path: str | Path) -> Iterator[io.BufferedReader]:
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise BrokenPicture("not a regular file")  # opening a pipe would wait for ever
        with open(path, "rb") as file:
            yield file
    except OSError as error:
        raise BrokenPicture(error.strerror or str(error)) from error


def read_content(path: str | Path) -> bytes:
    """Reads the bytes of a picture file.

    Raises:
      BrokenPicture: if the file is missing or no regular one.
    """
    with _opened(path) as file:
        return file.read()


class Header(NamedTuple):
    """What a picture file says of itself before it is decoded."""

    format: str
    height: int
    width: int
    """Turned upright, as `height` is."""
    grey: bool
    """Whether it is stored without colours."""


def read_header(content: bytes) -> Header:
    """Reads what a picture file says of itself, inside `bombs_are_errors`.

    Raises:
      BrokenPicture: if it is no picture of the known formats.
    """
    try:
        with Image.open(io.BytesIO(content), formats=FORMATS) as image:
            # Of a PNG file Pillow would decode all pixels to look for an orientation behind them.
            told = image.format != "PNG" or "exif" in image.info
            width, height = reversed(image.size) if told and _lies(image) else image.size
            return Header(image.format or "", height, width, image.mode[:1] in ("1", "L", "I", "F"))
    except Exception as error:  # Pillow raises nearly anything on hostile bytes
        raise BrokenPicture(_reason(error)) from error


def _upright(
    file: io.BytesIO | io.BufferedReader,
    channels: int,
    behind: int = 0,
    least: tuple[int, int] | None = None,
    stored: tuple[int, int] | None = None,
) -> Image.Image:
    """Decodes one picture, as grey (L, 1 channel) or colour (RGB or RGBX, 3), transparency on the grey `behind` it.

    Grey of 16 bits is scaled to 8 and rounded. Of 16-bit colours, and of 16-bit grey beside alpha, Pillow gives the
    upper 8 bits alone: these are the pixels, and a transparent colour is one that shares them.

    A JPEG file is decoded to no more pixels than are needed for the width and height `least`, if that is given.

    Raises:
      BrokenPicture: if it is no picture of the known formats, is cut short, is not of the height and width `stored`, or
        has more than `MAX_PIXELS` pixels.
    """
    try:
        with Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise BrokenPicture(f"{image.width}x{image.height} pixels, more than {MAX_PIXELS}")
            size = image.size
            upright = _decoded(file, image, least)
            if stored is not None:
                height, width = size if _lies(upright) else size[::-1]
                if (height, width) != stored:
                    raise BrokenPicture(f"{(height, width, channels)} in place of {(*stored, channels)}")
            ImageOps.exif_transpose(upright, in_place=True)
            return _opaque(upright, behind, channels)
    except BrokenPicture:
        raise
    except Exception as error:  # Pillow raises nearly anything on hostile bytes
        raise BrokenPicture(_reason(error)) from error


def _decoded(file: io.BytesIO | io.BufferedReader, image: Image.Image, least: tuple[int, int] | None) -> Image.Image:
    """Returns an opened picture with its pixels, as it is stored, to be turned and made opaque yet."""
    if image.format in ("JPEG", "MPO"):
        if least is not None and _lies(image):
            least = least[::-1]
        picture = decode_plain(_encoded(file), image, least)
        if picture is not None:
            # Its own, not the bytes of it: Pillow passes over broken EXIF as it opens a file, and at no other time.
            picture.getexif()[ExifTags.Base.Orientation] = image.getexif().get(ExifTags.Base.Orientation, 1)
            return picture
        if least is not None:
            image.draft(image.mode, least)
    scale = _transparency_scale(image)
    image.load()
    transparent = image.info.get("transparency")
    if scale != 1 and isinstance(transparent, int | tuple):
        values = transparent if isinstance(transparent, tuple) else (transparent,)
        scaled = tuple(min(255, int(value * scale)) for value in values)  # of 1 bit it may be scaled already
        image.info["transparency"] = scaled if isinstance(transparent, tuple) else scaled[0]
    return image


def _lies(image: Image.Image) -> bool:
    """Tells whether a picture is stored on its side; of a PNG file only once it is loaded."""
    return image.getexif().get(ExifTags.Base.Orientation) in LYING


def _transparency_scale(image: Image.Image) -> float:
    """Returns what the transparent shade of a picture not yet loaded must be multiplied by to be that of its pixels."""
    tiles = getattr(image, "tile", ())
    stored = tiles[0].args if image.format == "PNG" and tiles else ""
    return _SCALES.get(stored if isinstance(stored, str) else str(stored[0] if stored else ""), 1.0)


def _opaque(image: Image.Image, behind: int, channels: int) -> Image.Image:
    """Returns the picture in 8 bits without transparency, grey (1 channel) or coloured (3)."""
    if image.mode.startswith("I"):
        # Pillow's own conversion clips at 255 instead of scaling.
        deep = np.clip(np.asarray(image).astype(np.int64), 0, 65535)
        shades = ((deep * 255 + 32767) // 65535).astype(np.uint8)
        transparent = image.info.get("transparency")
        image = Image.fromarray(
            shades if transparent is None else np.where(deep == transparent, np.uint8(behind), shades)
        )
    elif image.has_transparency_data:
        if image.mode == "1":  # Pillow compares its two shades with nothing but 0 and 1
            info, image = image.info, Image.fromarray(np.asarray(image) * np.uint8(255))
            image.info["transparency"] = info["transparency"]
        colours = image.convert("RGBA")
        ground = Image.new("RGBA", colours.size, (behind, behind, behind, 255))
        image = Image.alpha_composite(ground, colours).convert("RGB")
    wanted = ("L",) if channels == 1 else ("RGB", "RGBX")
    if image.mode in wanted:
        return image  # `convert` would copy it
    if image.mode not in ("1", "L", "RGB", "RGBX"):
        image = image.convert("RGB")  # grey is made of these colours, whatever Pillow would make of others
    return image if image.mode in wanted else image.convert(wanted[0])


def _reason(error: Exception) -> str:
    if isinstance(error, PIL.UnidentifiedImageError):
        return f"not a picture in {', '.join(FORMATS)}"
    return " ".join(str(error).split()) or type(error).__name__


def decode_all(
    pictures: Sequence[bytes],
    *,
    shape: tuple[int | None, int | None, int],
    image_shape: tuple[int, int, int],
    resize: str,
    what: str,
    scaled: bool = False,
    rows: Sequence[int] = (),
    threads: int = 1,
) -> tuple[UInt8[np.ndarray, "n height width channels"], dict[int, DataError]]:
    """Decodes pictures and fits them to `image_shape`.

    Args:
      pictures: the bytes of PNG, JPEG, BMP or WebP files.
      shape: height, width and channels of all of them, `None` where they differ.
      image_shape: the height, width and channels wanted.
      resize: one of `RESIZES`.
      what: whose pictures these are, for the errors.
      scaled: whether JPEG files may be decoded to fewer pixels than they have, where `resize` needs no more.
      rows: their numbers there, for the errors; empty where they are all, in order.
      threads: how many decode at the same time those pictures that are opened one by one.

    Returns:
      The pictures, and what is wrong with those that are broken or do not fit, by their index; these are zeros.

    Raises:
      DataError: if pictures that all have one shape do not fit.
    """
    height, width, channels = shape
    how: Any = {"image_shape": image_shape, "resize": resize}
    stored = None
    if height is not None and width is not None:
        stored = height, width
        check_fits((height, width, channels), what=what, **how)
        # A picture that is no plain PNG, or a broken one, sends all of them the slow way, which names it.
        together = decode_together(pictures, (height, width, channels))
        if together is not None:
            return fit_images(together, what=what, **how), {}
    images = np.zeros((len(pictures), *image_shape), dtype=np.uint8)
    numbers = rows or range(len(pictures))

    def read_one(index: int) -> None:
        name = f"picture {numbers[index]} of {what}"
        images[index] = read_picture(pictures[index], what=name, scaled=scaled, stored=stored, **how)

    return images, collect_errors(read_one, len(pictures), threads)


def check_channels(channels: int, what: str) -> None:
    """Refuses pictures that are neither grey nor coloured.

    Raises:
      DataError: if there are other than 1 or 3 channels.
    """
    if channels not in MODES:
        raise DataError(f"config.data.name: pictures must have 1 or 3 channels, {what} got {channels}. Use other data.")


def collect_errors(read: Callable[[int], None], pictures: int, threads: int) -> dict[int, DataError]:
    """Reads each of so many pictures by its index, in so many threads; returns what went wrong, by index."""
    errors: dict[int, DataError] = {}
    indices = iter(range(pictures))

    def read_some() -> None:
        for index in indices:  # each thread takes the next: a task a picture would cost more than a small picture
            try:
                read(index)
            except DataError as error:
                errors[index] = error

    if threads == 1:
        read_some()
    else:
        with ThreadPoolExecutor(threads) as pool:
            for done in [pool.submit(read_some) for _ in range(threads)]:
                done.result()
    return dict(sorted(errors.items()))
