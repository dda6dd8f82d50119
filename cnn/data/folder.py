"""A person's own pictures: `train/<class>/*` and `test/<class>/*`."""

import hashlib
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from cnn.data.pictures import SUFFIXES, UNREAD_SUFFIXES, BrokenPicture, bombs_are_errors, read_picture
from cnn.data.types import DataError, Source, Split

LAYOUT = "Put pictures into <data_dir>/train/<class>/ and <data_dir>/test/<class>/ (png, jpg, jpeg, bmp or webp)."
SHOWN = 10


def read(*, data_dir: str, image_shape: tuple[int, int, int], fit: str) -> Source:
    """Reads a folder of pictures; the classes are the sorted names of the folders in `train`.

    Raises:
      DataError: if the folder is not laid out like that, or a picture is broken or does not fit.
    """
    if image_shape[2] not in (1, 3):
        raise DataError(
            f"config.data.image_shape: pictures of a folder have 1 channel (grey) or 3 (colour), got {image_shape}. "
            "Set its last number to 1 or 3."
        )
    if not data_dir:
        raise DataError(f"config.data.data_dir: must name the folder of the pictures, got ''. {LAYOUT}")
    root = Path(data_dir).expanduser()
    names = _folders(root / "train")
    unknown = [name for name in _folders(root / "test") if name not in names]
    if unknown:
        raise DataError(
            f"config.data.data_dir: every class of test must also be in train, got {unknown[0]!r} in "
            f"{str(root / 'test')!r}. Classes of train: {', '.join(names)}."
        )
    train, test = (_split(root / part, names, image_shape, fit) for part in ("train", "test"))
    digest = hashlib.sha256(repr((names, train.images.shape, test.images.shape)).encode())
    for split in (train, test):
        digest.update(split.images.tobytes() + split.labels.tobytes())
    return Source(train, test, names, f"folder:{digest.hexdigest()}")


def _folders(part: Path) -> tuple[str, ...]:
    names = tuple(sorted(entry.name for entry in _entries(part) if entry.is_dir()))
    if not names:
        raise DataError(f"config.data.data_dir: holds no class folders, got {str(part)!r}. {LAYOUT}")
    return names


def _entries(folder: Path) -> list[Path]:
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(
            f"config.data.data_dir: cannot read the folder, got {str(folder)!r} ({error.strerror}). {LAYOUT}"
        ) from error
    return [entry for entry in entries if not entry.name.startswith(".")]


def _split(part: Path, names: Sequence[str], image_shape: tuple[int, int, int], fit: str) -> Split:
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        if not (part / name).is_dir():
            continue
        found = _files(part / name)
        files += found
        labels += [label] * len(found)
    return Split(_read_all(files, image_shape, fit), np.array(labels, dtype=np.int32))


def _files(folder: Path) -> list[Path]:
    entries = [entry for entry in _entries(folder) if not entry.is_dir()]
    unread = [entry for entry in entries if entry.suffix.lower() in UNREAD_SUFFIXES]
    if unread:
        raise DataError(
            f"config.data.data_dir: {unread[0].suffix} pictures are not read, got {str(unread[0])!r} "
            f"({len(unread)} such in its folder). Convert them to {', '.join(SUFFIXES)}, or take them away."
        )
    files = [entry for entry in entries if entry.suffix.lower() in SUFFIXES]
    if not files:
        raise DataError(f"config.data.data_dir: the class folder holds no pictures, got {str(folder)!r}. {LAYOUT}")
    return files


def _read_all(files: Sequence[Path], image_shape: tuple[int, int, int], fit: str) -> np.ndarray:
    images = np.empty((len(files), *image_shape), dtype=np.uint8)

    def attempt(row: int) -> DataError | None:
        try:
            images[row] = read_picture(files[row], image_shape, fit)
        except DataError as error:
            return error
        return None

    with bombs_are_errors(), ThreadPoolExecutor(os.cpu_count()) as pool:
        outcomes = list(pool.map(attempt, range(len(files))))
    _report(files, outcomes)
    return images


def _report(files: Sequence[Path], outcomes: Sequence[DataError | None]) -> None:
    """Names the broken pictures together; of those that only do not fit, the first."""
    broken = [
        f"{str(path)!r} ({error})"
        for path, error in zip(files, outcomes, strict=True)
        if isinstance(error, BrokenPicture)
    ]
    if broken:
        more = f" and {len(broken) - SHOWN} more" if len(broken) > SHOWN else ""
        raise DataError(
            f"config.data.data_dir: {len(broken)} of {len(files)} pictures cannot be read, "
            f"got {', '.join(broken[:SHOWN])}{more}. Mend them or take them away."
        )
    for error in outcomes:
        if error is not None:
            raise error
