"""Labelled pictures that stay encoded until they are asked for, in files of their own or as bytes within others.

A source only says where a row's picture is; that they are decoded, fitted and refused alike is this module's business.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Int32

from cnn.data.decode import BrokenPicture, collect_errors, read_picture
from cnn.data.types import DataError

SHOWN = 10
"""How many names a message lists."""


class EncodedPart:
    """A part of a source, a picture file or its bytes for each row."""

    def __init__(
        self,
        name: str,
        labels: Int32[np.ndarray, " n"],
        picture: Callable[[int], str | bytes],
        title: Callable[[int], str],
        *,
        image_shape: tuple[int, int, int],
        resize: str,
        decode: str = "full",
        field: str = "config.data.data_dir",
    ) -> None:
        """Reads nothing yet.

        Args:
          name: "train", "valid" or "test".
          labels: the class of each row.
          picture: returns the path of a row's picture, or its bytes (PNG, JPEG, BMP or WebP); for any thread. What it
            raises as `DataError` or `OSError` is what is wrong with that row.
          title: says which picture it is, such as "train/cat/a.png" or "picture 7 of train.parquet"; reads nothing.
          image_shape: the height, width and channels wanted, 1 channel for grey and 3 for colour.
          resize: how another size is brought to this one, one of `RESIZES`.
          decode: "full", or "scaled" to decode JPEG files to no more pixels than `resize` needs.
          field: the field of the config that a refusal names.
        """
        self.name, self._labels, self._picture, self._title = name, labels, picture, title
        self._image_shape, self._resize, self._field = image_shape, resize, field
        self._scaled = decode == "scaled"

    def __len__(self) -> int:
        return len(self._labels)

    def labels(self) -> np.ndarray:
        return self._labels

    def read(self, rows: np.ndarray, threads: int) -> tuple[np.ndarray, np.ndarray, dict[int, DataError]]:
        images = np.zeros((len(rows), *self._image_shape), dtype=np.uint8)

        def read_one(index: int) -> None:
            row = int(rows[index])
            try:
                picture = self._picture(row)
            except OSError as error:
                raise BrokenPicture(error.strerror or str(error)) from error
            what = f"picture {picture!r}" if isinstance(picture, str) else self._title(row)
            images[index] = read_picture(picture, self._image_shape, self._resize, what=what, scaled=self._scaled)

        errors = collect_errors(read_one, len(rows), threads)
        return images, self._labels[rows], {int(rows[index]): error for index, error in errors.items()}

    def stored(self, row: int) -> str | bytes:
        return self._picture(row)

    def title(self, row: int) -> str:
        return self._title(row)

    def refusal(self, errors: dict[int, DataError]) -> DataError:
        """Names the broken pictures together; of those that only do not fit, the first."""
        broken = {row: error for row, error in errors.items() if isinstance(error, BrokenPicture)}
        if not broken:
            return next(iter(errors.values()))
        names = [f"{self._where(row)} ({error})" for row, error in list(broken.items())[:SHOWN]]
        return DataError(
            f"{self._field}: {len(broken)} of {len(self)} pictures cannot be read, "
            f"got {shorten(names, SHOWN, len(broken))}. Mend them or take them away, "
            "or go on without them by config.data.on_error=skip."
        )

    def _where(self, row: int) -> str:
        try:
            picture = self._picture(row)
        except (OSError, DataError):
            return self._title(row)
        return repr(picture) if isinstance(picture, str) else self._title(row)


def shorten(names: Sequence[str], most: int = SHOWN, total: int | None = None) -> str:
    """Lists the first of so many names, and says how many more there are."""
    total = len(names) if total is None else total
    more = f" and {total - most} more" if total > most else ""
    return f"{', '.join(names[:most])}{more}"
