"""CSV files: each row names a picture file and its label, or holds a label and the pixels themselves.

Which of the two it is, and which column is which, the header tells, or the user does. Of pixels there is a column for
each number, or one column with all of them as text; such a file is read through once, for labels and for where its rows
begin, and the numbers are parsed when pictures are needed.
"""

from __future__ import annotations

import csv
import hashlib
import itertools
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, NamedTuple

import numpy as np

from cnn.data.decode import SUFFIXES, BrokenPicture, check_channels
from cnn.data.encoded import EncodedPart
from cnn.data.resize import fit_images
from cnn.data.sources import csv_table, hashing, labels, split_files
from cnn.data.sources.csv_table import Row, Rows, Table
from cnn.data.sources.hashing import Listed, file_digest, file_size, listed_source
from cnn.data.types import DataError, DataSpec, Part, Source
from cnn.fields import shorten
from cnn.registry import source

FILES = (".csv", ".tsv")
FEWEST = 4
"""So many columns called as pixels are make a file one of pixels."""
_PIXEL = re.compile(r"(pixel|pix|px|p)?[ _.]?\d+|\d+x\d+", re.ASCII | re.IGNORECASE)


@source
class Csv(split_files.OfFiles):
    """Tables of picture files and their labels, or of a row of pixels a picture: `config.data.file`."""

    image: str = ""
    """The column of file names; empty: one called image, file, filename, filepath, path, image_id, id or alike."""
    label: str = ""
    """The column of labels; empty: one called label, class, target, category, y or emotion."""
    split: str = ""
    """The column of splits; empty: one called split, subset, usage or fold, if there is any."""
    suffix: str = ""
    """What is added to names that do not end so, such as .jpg."""
    folder: str = ""
    """The folder of the pictures, within that of the table, or `data_dir`; {split} in it is the table's own word."""

    reads: ClassVar[tuple[str, ...]] = ("file", "data_dir")

    def load(self, data: DataSpec) -> Source:
        found = split_files.find(data.file, FILES)
        tables = {split: [csv_table.open_table(path) for path in paths] for split, paths in found.splits.items()}
        notes = [*found.notes, *_without_labels(tables, self)]
        labelled = {
            split: [table for table in of_split if split == "train" or _has_labels(table, self)]
            for split, of_split in tables.items()
        }
        labelled = {split: of_split for split, of_split in labelled.items() if of_split}
        of_pixels = not self.image and layout(tables["train"][0]) is not None
        return (_read_pixels if of_pixels else _read_files)(labelled, self, data, notes)


def _has_labels(table: Table, columns: Csv) -> bool:
    return (
        (columns.label.lower() in map(str.lower, table.columns))
        if columns.label
        else (table.column("label", "", csv_table.LABEL) is not None)
    )


def _without_labels(tables: Mapping[str, Sequence[Table]], columns: Csv) -> Iterator[str]:
    for split in ("valid", "test"):
        for table in tables.get(split, ()):
            if not _has_labels(table, columns):
                yield (
                    f"config.data.file: {table.path.name} is not used, as it has no column of labels, like the "
                    "test set of a competition."
                )


def _read_files(tables: Mapping[str, Sequence[Table]], columns: Csv, data: DataSpec, notes: Sequence[str]) -> Source:
    """Lists the pictures that tables name.

    Raises:
      DataError: a column or a picture is missing, or the rows are wrong.
    """
    check_channels(data.image_shape[2], "csv")
    rows, found = csv_table.sorted_by_split(
        tables,
        lambda table: _rows_of_files(table, columns, data.data_dir),
        named=bool(columns.split),
        on_error=data.on_error,
    )
    numbered = labels.number({split: of_split.labels for split, of_split in rows.items()}, data.class_names)
    root = os.path.abspath(_base(tables["train"][0], data.data_dir))
    listed = {
        split: _listed_files(split, of_split, numbered.labels[split], root, data) for split, of_split in rows.items()
    }
    more = (*_missing(rows, columns, data), *_repeated(rows, root), *_unlisted(rows, root))
    return listed_source("csv", numbered.class_names, listed, (*notes, *found, *labels.lacking(numbered), *more))


def _base(table: Table, data_dir: str) -> str:
    """Returns the folder that the names of pictures start from."""
    return os.path.expanduser(data_dir) if data_dir else str(table.path.parent)


def _rows_of_files(table: Table, columns: Csv, data_dir: str) -> Iterator[Row]:
    image = table.needed("image", columns.image, csv_table.IMAGE)
    label = table.needed("label", columns.label, csv_table.LABEL)
    split = table.column("split", columns.split, csv_table.SPLIT)
    within = columns.folder.replace("{split}", split_files.word_of(table.path.name) or "train")
    folder = os.path.join(os.path.abspath(_base(table, data_dir)), within)
    for line, cells in table.rows():
        name = cells[image].strip() if len(cells) == len(table.columns) else ""
        if not name:
            yield Row(line)
            continue
        if not name.lower().endswith(columns.suffix.lower()):
            name += columns.suffix
        own = None if split is None else cells[split].strip()
        yield Row(line, cells[label].strip(), own, os.path.normpath(os.path.join(folder, name)))


def _listed_files(split: str, rows: Rows, numbers: labels.Numbers, root: str, data: DataSpec) -> Listed:
    def title(row: int) -> str:
        return os.path.relpath(rows.pictures[row], root)

    part = EncodedPart(split, numbers, rows.pictures.__getitem__, title, data, field="config.data.file")
    return Listed(
        part,
        lambda: (f"{file_size(path)} {title(row)}" for row, path in enumerate(rows.pictures)),
        lambda chosen: (file_digest(rows.pictures[row]) for row in chosen),
    )


def _missing(rows: Mapping[str, Rows], columns: Csv, data: DataSpec) -> tuple[str, ...]:
    """Refuses pictures that are not there, unless they may be skipped: they are then listed as they are read."""
    every = [(of_split, row) for of_split in rows.values() for row in range(len(of_split.pictures))]
    missing = [(of_split, row) for of_split, row in every if not os.path.exists(of_split.pictures[row])]
    if not missing or (data.on_error == "skip" and len(missing) < len(every)):
        return ()
    names = shorten([f"{of_split.pictures[row]!r} ({of_split.place(row)})" for of_split, row in missing], 3)
    of_split, row = missing[0]
    raise DataError(
        f"config.data.file: {len(missing)} of {len(every)} pictures are not there, got {names}. "
        f"{_remedy(of_split.pictures[row], of_split.tables[row], columns)}"
    )


def _remedy(path: str, table: Table, columns: Csv) -> str:
    """Returns where a picture that is not there may lie: with a suffix, or in a folder beside."""
    folder, name = os.path.split(path)
    inner = sorted(entry.name for entry in os.scandir(folder) if entry.is_dir()) if os.path.isdir(folder) else []
    word = split_files.word_of(table.path.name) or "train"
    for within in ("", *sorted(inner, key=lambda each: word not in each)):
        for suffix in ("", *SUFFIXES):
            if os.path.exists(os.path.join(folder, within, name + suffix)):
                # Where the folder bears the word of the table's split, those of the other splits have their own.
                called = within.replace(word, "{split}", 1)
                given = {"folder": os.path.join(columns.folder, called), "suffix": suffix or columns.suffix}
                written = ", ".join(f"{option}={value!r}" for option, value in given.items() if value)
                return f'Say where they are by config.data.name="csv({written})".'
    return "Set config.data.data_dir to the folder that the names start from, or take the rows away."


def _repeated(rows: Mapping[str, Rows], root: str) -> tuple[str, ...]:
    """Notes pictures that are listed twice, and refuses two labels of one.

    Those that are in two splits are found by their bytes, where all are hashed.
    """
    hashed = sum(len(of_split.pictures) for of_split in rows.values()) <= hashing.HASHED_WHOLE
    first: dict[str, tuple[str, int]] = {}
    repeated: dict[str, str] = {}
    for split, of_split in rows.items():
        for row, path in enumerate(of_split.pictures):
            before = first.setdefault(path, (split, row))
            if before == (split, row):
                continue
            earlier = rows[before[0]]
            if of_split.labels[row] != earlier.labels[before[1]]:
                raise DataError(
                    f"config.data.file: a picture has two labels, got {os.path.relpath(path, root)!r} as "
                    f"{earlier.labels[before[1]]!r} in {earlier.place(before[1])} and as {of_split.labels[row]!r} in "
                    f"{of_split.place(row)}. Leave one of the rows."
                )
            if split != before[0] and hashed:
                continue
            repeated[path] = f"{os.path.relpath(path, root)} ({before[0]}, {split})"
    if not repeated:
        return ()
    return (
        f"config.data.file: {len(repeated)} {'picture is' if len(repeated) == 1 else 'pictures are'} listed more than "
        f"once, and counted each time: {shorten(list(repeated.values()))}.",
    )


def _unlisted(rows: Mapping[str, Rows], root: str) -> tuple[str, ...]:
    """Notes the pictures beside those listed that no row names."""
    paths = {path for of_split in rows.values() for path in of_split.pictures}
    unlisted = []
    for folder in sorted({os.path.dirname(path) for path in paths}):
        entries = os.scandir(folder) if os.path.isdir(folder) else ()
        unlisted += sorted(
            entry.path
            for entry in entries
            if entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith(".") and entry.path not in paths
        )
    if not unlisted:
        return ()
    return (
        f"config.data.file: {len(unlisted)} {'picture is' if len(unlisted) == 1 else 'pictures are'} passed over, as "
        f"no row names them: {shorten([os.path.relpath(path, root) for path in unlisted])}.",
    )


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


def _read_pixels(tables: Mapping[str, Sequence[Table]], columns: Csv, data: DataSpec, notes: Sequence[str]) -> Source:
    """Reads the labels, and where the rows are.

    Raises:
      DataError: the pixels make no picture, or the rows are wrong.
    """
    rows, found = csv_table.sorted_by_split(
        tables, lambda table: _rows_of_pixels(table, columns), named=bool(columns.split), on_error=data.on_error
    )
    numbered = labels.number({split: of_split.labels for split, of_split in rows.items()}, data.class_names)
    place = rows["train"].pictures[0]
    count = place.layout.columns if place.layout.columns > 1 else len(_text(place, _line(place)).split())
    shape = _shape(count, data.image_shape, place.table.path.name)
    listed = {}
    for split, of_split in rows.items():
        part = PixelPart(split, numbered.labels[split], of_split, shape, data)
        listed[split] = Listed(part, part.sizes, part.digests)
    return listed_source("csv", numbered.class_names, listed, (*notes, *found, *labels.lacking(numbered)))


class PixelPart(Part):
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


def _rows_of_pixels(table: Table, columns: Csv) -> Iterator[Row]:
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
