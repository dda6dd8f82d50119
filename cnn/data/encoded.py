"""Labelled pictures that stay encoded until they are asked for, in files of their own or as bytes within others.

A source only says where a row's picture is; that they are decoded, fitted and refused alike is this module's business.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Int32

from cnn.data.decode import BrokenPicture, collect_errors, read_picture
from cnn.data.types import DataError, DataSpec, Part
from cnn.fields import LISTED, shorten


class EncodedPart(Part):
    """A part of a source, a picture file or its bytes for each row."""

    def __init__(
        self,
        name: str,
        labels: Int32[np.ndarray, " n"],
        picture: Callable[[int], str | bytes],
        title: Callable[[int], str],
        data: DataSpec,
        *,
        field: str,
    ) -> None:
        """Reads nothing yet.

        Args:
          name: "train", "valid" or "test".
          labels: the class of each row.
          picture: returns the path of a row's picture, or its bytes (PNG, JPEG, BMP or WebP); for any thread. What it
            raises as `DataError` or `OSError` is what is wrong with that row.
          title: says which picture it is, such as "train/cat/a.png" or "picture 7 of train.parquet"; reads nothing.
          data: the shape wanted, 1 channel for grey and 3 for colour, and how pictures are decoded and brought to it.
          field: the field of the config that a refusal names.
        """
        self.name, self._labels, self._picture, self._title = name, labels, picture, title
        self._data, self._field = data, field

    def __len__(self) -> int:
        return len(self._labels)

    def labels(self) -> np.ndarray:
        return self._labels

    def read(self, rows: np.ndarray, threads: int) -> tuple[np.ndarray, np.ndarray, dict[int, DataError]]:
        shape, resize, scaled = self._data.image_shape, self._data.resize, self._data.decode == "scaled"
        images = np.zeros((len(rows), *shape), dtype=np.uint8)
        picture_of = self.fetch(rows)

        def read_one(index: int) -> None:
            row = int(rows[index])
            try:
                picture = picture_of(row)
            except OSError as error:
                raise BrokenPicture(error.strerror or str(error)) from error
            what = f"picture {picture!r}" if isinstance(picture, str) else self._title(row)
            images[index] = read_picture(picture, shape, resize, what=what, scaled=scaled)

        errors = collect_errors(read_one, len(rows), threads)
        return images, self._labels[rows], {int(rows[index]): error for index, error in errors.items()}

    def fetch(self, rows: np.ndarray) -> Callable[[int], str | bytes]:
        """Returns what gives the pictures of these rows, to be decoded now; for a part that reads several at once."""
        del rows
        return self._picture

    def stored(self, row: int) -> str | bytes:
        return self._picture(row)

    def title(self, row: int) -> str:
        return self._title(row)

    def refusal(self, errors: dict[int, DataError]) -> DataError:
        """Names the broken pictures together; of those that only do not fit, the first."""
        broken = {row: error for row, error in errors.items() if isinstance(error, BrokenPicture)}
        if not broken:
            return next(iter(errors.values()))
        names = [f"{self._where(row)} ({error})" for row, error in list(broken.items())[:LISTED]]
        return DataError(
            f"{self._field}: {len(broken)} of {len(self)} pictures cannot be read, "
            f"got {shorten(names, total=len(broken))}. Mend them or take them away, "
            "or go on without them by config.data.on_error=skip."
        )

    def _where(self, row: int) -> str:
        try:
            picture = self._picture(row)
        except (OSError, DataError):
            return self._title(row)
        return repr(picture) if isinstance(picture, str) else self._title(row)
