"""CSV with one row of pixels a picture: a column for each number, or one column with all of them as text.

A file is read through once, for labels and for where its rows begin; the numbers are parsed when pictures are needed.
"""

import csv
import hashlib
import itertools
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cnn.data import csv_table, labels
from cnn.data.csv_table import Columns, Row, Rows, Table
from cnn.data.decode import BrokenPicture
from cnn.data.encoded import shorten
from cnn.data.listed import Listed, source
from cnn.data.resize import fit_images
from cnn.data.types import DataError, DataSpec, Source

FEWEST = 4
"""So many columns called as pixels are make a file one of pixels."""
_PIXEL = re.compile(r"(pixel|pix|px|p)?[ _.]?\d+|\d+x\d+", re.ASCII | re.IGNORECASE)


class Layout(NamedTuple):
    """Where a row's pixels are.

    Attributes:
      first: the first of their columns.
      columns: how many columns they are; 1 where it holds all numbers as a text.
      behind: how many columns come behind them.
    """

    first: int
    columns: int
    behind: int

    def joined(self, place: int) -> int:
        """Returns the place of another column once the pixels are one cell."""
        return place if place < self.first else place - self.columns + 1


class Place(NamedTuple):
    """Where a row is."""

    table: Table
    layout: Layout
    start: int
    size: int


def layout(table: Table) -> Layout | None:
    """Returns where a table has pixels, `None` where it has none.

    Raises:
      DataError: other columns are between them.
    """
    lower = [name.lower() for name in table.columns]
    if "pixels" in lower:
        return Layout(lower.index("pixels"), 1, len(lower) - lower.index("pixels") - 1)
    found = [place for place, name in enumerate(table.columns) if _PIXEL.fullmatch(name)]
    if len(found) < FEWEST:
        return None
    if found[-1] - found[0] >= len(found):
        between = next(place for place in range(found[0], found[-1]) if place not in found)
        raise DataError(
            f"config.data.file: the columns of pixels must stand side by side, got {table.columns[between]!r} between "
            f"them in {table.path.name}. Move it."
        )
    return Layout(found[0], len(found), len(table.columns) - found[-1] - 1)


def read(tables: Mapping[str, Sequence[Table]], columns: Columns, data: DataSpec, notes: Sequence[str]) -> Source:
    """Reads the labels, and where the rows are.

    Raises:
      DataError: the pixels make no picture, or the rows are wrong.
    """
    rows, found = csv_table.sorted_by_split(
        tables, lambda table: _rows(table, columns), named=bool(columns.split), on_error=data.on_error
    )
    numbered = labels.number({split: of_split.labels for split, of_split in rows.items()}, data.class_names)
    place = rows["train"].pictures[0]
    count = place.layout.columns if place.layout.columns > 1 else len(_text(place, _line(place)).split())
    shape = _shape(count, data.image_shape, place.table.path.name)
    listed = {}
    for split, of_split in rows.items():
        part = PixelPart(split, numbered.labels[split], of_split, shape, data)
        listed[split] = Listed(part, part.sizes, part.digests)
    return source("csv", numbered.class_names, listed, (*notes, *found, *labels.lacking(numbered)))


class PixelPart:
    """Train, valid or test, a row of numbers for each picture."""

    def __init__(
        self, name: str, numbers: labels.Numbers, rows: Rows, shape: tuple[int, int, int], data: DataSpec
    ) -> None:
        """Reads nothing yet.

        Args:
          name: "train", "valid" or "test".
          numbers: the class of each row.
          rows: where each row is.
          shape: height, width and channels of the stored pictures.
          data: the shape wanted, and how another is brought to it.

        Raises:
          DataError: this shape does not fit that one.
        """
        self.name, self._labels, self._rows, self._shape = name, numbers, rows, shape
        self._image_shape, self._resize = data.image_shape, data.resize
        self._fitted(np.zeros((1, *shape), np.uint8))

    def __len__(self) -> int:
        return len(self._labels)

    def labels(self) -> np.ndarray:
        return self._labels

    def read(self, rows: np.ndarray, threads: int) -> tuple[np.ndarray, np.ndarray, dict[int, DataError]]:
        del threads
        images = np.zeros((len(rows), *self._shape), np.uint8)
        errors: dict[int, DataError] = {}
        for index, (row, text) in enumerate(self._texts(rows)):
            place = self._rows.pictures[row]
            try:
                images[index] = _numbers(text, place, math.prod(self._shape)).reshape(self._shape)
            except BrokenPicture as error:
                errors[row] = error
        fitted = self._fitted(images)
        return fitted, self._labels[rows], errors

    def stored(self, row: int) -> None:
        del row

    def title(self, row: int) -> str:
        return self._rows.place(row)

    def refusal(self, errors: dict[int, DataError]) -> DataError:
        """Names the rows together."""
        names = shorten([f"{self.title(row)} ({error})" for row, error in errors.items()])
        return DataError(
            f"config.data.file: {len(errors)} of {len(self)} rows are no pictures, got {names}. "
            "Mend them, or go on without them by config.data.on_error=skip."
        )

    def sizes(self) -> Iterator[str]:
        """Yields the bytes of every row."""
        return (str(place.size) for place in self._rows.pictures)

    def digests(self, rows: Sequence[int]) -> Iterator[bytes]:
        """Yields the SHA-256 of the text of each row's pixels."""
        for _, text in self._texts(np.asarray(rows)):
            yield hashlib.sha256(text).digest()

    def _fitted(self, images: np.ndarray) -> np.ndarray:
        what = f"{self.name} of {self._rows.tables[0].path.name}"
        return fit_images(images, image_shape=self._image_shape, resize=self._resize, what=what)

    def _texts(self, rows: np.ndarray) -> Iterator[tuple[int, bytes]]:
        """Yields rows and the text of their pixels; each file is opened once for those that follow one another."""
        places = ((int(row), self._rows.pictures[int(row)]) for row in rows)
        for path, of_file in itertools.groupby(places, key=lambda each: each[1].table.path):
            with open(path, "rb", buffering=0) as file:
                for row, place in of_file:
                    yield row, _text(place, os.pread(file.fileno(), place.size, place.start))


def _rows(table: Table, columns: Columns) -> Iterator[Row]:
    where = layout(table)
    if where is None:
        raise DataError(
            f"config.data.file: no columns of pixels in {table.path.name}, as its other files have, got the columns "
            f"{shorten(table.columns)}. Name files of one kind."
        )
    label = where.joined(table.needed("label", columns.label, csv_table.LABEL))
    split = table.column("split", columns.split, csv_table.SPLIT)
    start, separator = table.start, table.separator.encode()
    with open(table.path, "rb") as file:
        file.seek(start)
        for number, line in enumerate(file, 2):
            here, start = start, start + len(line)
            if not line.strip():
                continue
            try:
                cells = _cells(line, separator, where)
                if not cells:
                    yield Row(number)
                    continue
                own = None if split is None else cells[where.joined(split)].decode().strip()
                yield Row(number, cells[label].decode().strip(), own, Place(table, where, here, len(line)))
            except UnicodeDecodeError as error:
                raise csv_table.not_utf8(table.path) from error
            except csv.Error as error:
                raise csv_table.wrong_quotes(table.place(number), error) from error


def _cells(line: bytes, separator: bytes, where: Layout) -> list[bytes]:
    """Returns the cells of a row, its pixels joined to one of them; none of a row with too few or too many."""
    line, count = line.rstrip(b"\r\n"), where.first + where.columns + where.behind
    if b'"' in line:
        quoted = next(csv.reader([line.decode()], delimiter=separator.decode(), strict=True))
        cells = [cell.encode() for cell in quoted]
        last = where.first + where.columns
        joined = separator.join(cells[where.first : last])
        return [*cells[: where.first], joined, *cells[last:]] if len(cells) == count else []
    if line.count(separator) != count - 1:
        return []
    *before, rest = line.split(separator, where.first)
    return [*before, *rest.rsplit(separator, where.behind)]


def _text(place: Place, line: bytes) -> bytes:
    """Returns the pixels of a row, as they are written."""
    cells = _cells(line, place.table.separator.encode(), place.layout)
    return cells[place.layout.first] if cells else b""


def _line(place: Place) -> bytes:
    with open(place.table.path, "rb") as file:
        return os.pread(file.fileno(), place.size, place.start)


def _numbers(text: bytes, place: Place, count: int) -> np.ndarray:
    separator = place.table.separator if place.layout.columns > 1 else " "
    try:
        values = np.fromstring(text, dtype=np.int64, sep=separator)
    except ValueError:
        values = _of_decimals(text.split(separator.encode()) if place.layout.columns > 1 else text.split())
    if len(values) != count:
        raise BrokenPicture(f"{len(values)} pixels in place of {count}")
    if wrong := values[(values < 0) | (values > 255)].tolist():
        raise BrokenPicture(f"pixels must be from 0 to 255, got {wrong[0]}")
    return values


def _of_decimals(cells: Sequence[bytes]) -> np.ndarray:
    """Returns whole numbers that are written with a point, such as 7.0."""
    values = []
    for cell in cells:
        try:
            value = float(cell)
        except ValueError:
            value = math.nan
        if not value.is_integer():
            raise BrokenPicture(f"pixels must be whole numbers, got {cell.decode(errors='replace')!r}")
        values.append(int(value))
    return np.array(values)


def _shape(count: int, image_shape: tuple[int, int, int], name: str) -> tuple[int, int, int]:
    """Returns the shape of pictures of so many numbers: the one wanted, or a square of its channels, else of 1 or 3.

    Raises:
      DataError: they make none.
    """
    if math.prod(image_shape) == count:
        return image_shape
    for channels in (image_shape[2], 1, 3):
        side = math.isqrt(count // channels)
        if side * side * channels == count and count:
            return side, side, channels
    raise DataError(
        f"config.data.image_shape: {name} has {count} pixels a row, which make neither this shape nor a square, "
        f"got {tuple(image_shape)}. Set it to their height, width and channels."
    )
