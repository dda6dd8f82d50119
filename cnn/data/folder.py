"""A person's own pictures: `train/<class>/*` and `test/<class>/*`."""

import itertools
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from cnn.data.encoded import collect
from cnn.data.listing import Listing, fingerprint
from cnn.data.pictures import SUFFIXES, UNREAD_SUFFIXES, BrokenPicture, read_picture
from cnn.data.types import DataError, Source

LAYOUT = "Put pictures into <data_dir>/train/<class>/ and <data_dir>/test/<class>/ (png, jpg, jpeg, bmp or webp)."
SHOWN = 10


def read(*, data_dir: str, image_shape: tuple[int, int, int], fit: str) -> Source:
    """Lists a folder of pictures; the classes are the sorted names of the folders in `train`.

    Raises:
      DataError: if the folder is not laid out like that.
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
    listings = [_list(root / part, names) for part in ("train", "test")]
    train, test = (Pictures(listing, image_shape, fit) for listing in listings)
    return Source(train, test, names, f"folder:{fingerprint(listings)}")


class Pictures:
    """The picture files of `train` or `test`."""

    def __init__(self, listing: Listing, image_shape: tuple[int, int, int], fit: str) -> None:
        self.name, self._listing, self._shape, self._fit = listing.folder.name, listing, image_shape, fit

    def __len__(self) -> int:
        return len(self._listing)

    def labels(self) -> np.ndarray:
        return self._listing.labels()

    def read(self, rows: np.ndarray, threads: int) -> tuple[np.ndarray, np.ndarray, dict[int, DataError]]:
        images = np.zeros((len(rows), *self._shape), dtype=np.uint8)

        def attempt(place: int) -> None:
            images[place] = read_picture(self._listing.path(int(rows[place])), self._shape, self._fit)

        errors = collect(attempt, len(rows), threads)
        return images, self._listing.classes(rows), {int(rows[place]): error for place, error in errors.items()}

    def title(self, row: int) -> str:
        return str(Path(self._listing.path(row)).relative_to(self._listing.folder.parent))

    def refusal(self, errors: dict[int, DataError]) -> DataError:
        """Names the broken pictures together; of those that only do not fit, the first."""
        broken = [
            f"{self._listing.path(row)!r} ({error})"
            for row, error in errors.items()
            if isinstance(error, BrokenPicture)
        ]
        if not broken:
            return next(iter(errors.values()))
        more = f" and {len(broken) - SHOWN} more" if len(broken) > SHOWN else ""
        return DataError(
            f"config.data.data_dir: {len(broken)} of {len(self)} pictures cannot be read, "
            f"got {', '.join(broken[:SHOWN])}{more}. Mend them or take them away, "
            "or go on without them by config.data.on_error=skip."
        )


def _folders(part: Path) -> tuple[str, ...]:
    names = tuple(sorted(entry.name for entry in _entries(part) if entry.is_dir()))
    if not names:
        raise DataError(f"config.data.data_dir: holds no class folders, got {str(part)!r}. {LAYOUT}")
    return names


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(
            f"config.data.data_dir: cannot read the folder, got {str(folder)!r} ({error.strerror}). {LAYOUT}"
        ) from error


def _list(part: Path, names: Sequence[str]) -> Listing:
    files = [_files(part / name) if (part / name).is_dir() else [] for name in names]
    starts = np.array([0, *itertools.accumulate(map(len, files))])
    return Listing(part, tuple(names), files, starts)


def _files(folder: Path) -> list[str]:
    names = sorted(entry.name for entry in _entries(folder) if not entry.is_dir())
    unread = [name for name in names if name.lower().endswith(UNREAD_SUFFIXES)]
    if unread:
        raise DataError(
            f"config.data.data_dir: {Path(unread[0]).suffix} pictures are not read, got {str(folder / unread[0])!r} "
            f"({len(unread)} such in its folder). Convert them to {', '.join(SUFFIXES)}, or take them away."
        )
    files = [name for name in names if name.lower().endswith(SUFFIXES)]
    if not files:
        raise DataError(f"config.data.data_dir: the class folder holds no pictures, got {str(folder)!r}. {LAYOUT}")
    return files
