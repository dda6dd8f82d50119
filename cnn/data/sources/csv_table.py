"""Tables as text: UTF-8, a header, cells between commas, semicolons or tabs; their columns, and rows by splits."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from cnn.data.decode import SUFFIXES
from cnn.data.sources import labels, split_files
from cnn.data.types import DataError
from cnn.fields import shorten, suggestion

IMAGE = ("image", "file", "filename", "filepath", "path", "image_id", "id", "file_name", "image_path", "image_name")
LABEL = ("label", "class", "target", "category", "y", "emotion")
SPLIT = ("split", "subset", "usage", "fold")
"""What columns are called, in lower case; the first that is there is taken."""
KAGGLE = {"valid": ("publictest",), "test": ("privatetest",)}
SPLITS = {word: split for split, words in split_files.WORDS.items() for word in (*words, *KAGGLE.get(split, ()))}
"""What a column of splits holds, in lower case."""
SEPARATORS = (",", ";", "\t")
MAX_HEADER = 1 << 26
_BOM = b"\xef\xbb\xbf"
_NUMBER = re.compile(r"[-+]?\d+(\.\d*)?", re.ASCII)


class Table(NamedTuple):
    """One file: how its cells are separated, its columns, and how many bytes the header takes."""

    path: Path
    separator: str
    columns: tuple[str, ...]
    start: int

    def column(self, option: str, given: str, known: Sequence[str]) -> int | None:
        """Returns the place of the column that an option names, or of the first that is called as one is known by.

        Raises:
          DataError: the option names no column, or two columns are called so.
        """
        lower = [name.lower() for name in self.columns]
        words = [given.lower()] if given else [word for word in known if word in lower]
        if given and words[0] not in lower:
            raise DataError(
                f"config.data.name: csv({option}=...) names no column of {self.path.name}, got {given!r}. "
                f"{suggestion(given, self.columns)}Columns: {shorten(self.columns)}."
            )
        if words and lower.count(words[0]) > 1:
            raise DataError(
                f"config.data.file: {lower.count(words[0])} columns of {self.path.name} are called {words[0]!r}, "
                f"got {shorten(self.columns)}. Rename them."
            )
        return lower.index(words[0]) if words else None

    def needed(self, option: str, given: str, known: Sequence[str]) -> int:
        """Returns the place of a column as `column` does.

        Raises:
          DataError: there is none.
        """
        found = self.column(option, given, known)
        if found is None:
            like = next((hint for word in known if (hint := suggestion(word, self.columns))), "")
            raise DataError(
                f"config.data.file: no column of {option}s in {self.path.name}, got the columns "
                f"{shorten(self.columns)}. {like}Call one {', '.join(known[:-1])} or {known[-1]}, or name it: "
                f"config.data.name=\"csv({option}='...')\"."
            )
        return found

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yields the cells of every row, and the number of its last line; empty lines are no rows.

        Raises:
          DataError: the quotes are wrong, or it is not UTF-8.
        """
        with open(self.path, newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file, delimiter=self.separator, strict=True)
            try:
                next(reader)
                for cells in reader:
                    if any(cells):
                        yield reader.line_num, cells
            except csv.Error as error:
                raise wrong_quotes(self.place(reader.line_num), error) from error
            except UnicodeDecodeError as error:
                raise not_utf8(self.path) from error

    def place(self, line: int) -> str:
        """Names a row."""
        return f"line {line} of {self.path.name}"


def open_table(path: Path) -> Table:
    """Reads the header; the separator is the one that occurs in it most often.

    Raises:
      DataError: there is none, or it is not UTF-8, or the first line is a row already.
    """
    with open(path, "rb") as file:
        header = file.readline(MAX_HEADER)
    try:
        text = header.removeprefix(_BOM).decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise not_utf8(path) from error
    if not text.strip():
        raise DataError(
            f"config.data.file: has no header, got {str(path)!r}. Begin it with a line such as image,label."
        )
    unquoted = re.sub(r'"[^"]*"', "", text)
    separator = max(SEPARATORS, key=unquoted.count)
    try:
        columns = tuple(cell.strip() for cell in next(csv.reader([text], delimiter=separator, strict=True)))
    except csv.Error as error:
        raise wrong_quotes(f"the header of {path.name}", error) from error
    if _is_a_row(columns):
        raise DataError(
            f"config.data.file: has no header, got {text[:80]!r} as the first line of {str(path)!r}. "
            "Write the names of the columns above it, such as image,label."
        )
    return Table(path, separator, columns, len(header))


def not_utf8(path: Path) -> DataError:
    """Returns the error of a file in another encoding."""
    return DataError(f"config.data.file: is not UTF-8 text, got {str(path)!r}. Save it as UTF-8.")


def wrong_quotes(where: str, error: csv.Error) -> DataError:
    """Returns the error of a place where cells do not end as they began."""
    return DataError(
        f"config.data.file: wrong quotes in {where}, got: {error}. "
        'Begin and end a cell with one, and write one within it twice, as in "3"" pipe".'
    )


def _is_a_row(columns: Sequence[str]) -> bool:
    """Tells whether a first line holds a picture's name, or numbers without any name of a column beside them."""
    if any(cell.lower().endswith(SUFFIXES) for cell in columns):
        return True
    named = {*IMAGE, *LABEL, *SPLIT} & {cell.lower() for cell in columns}
    return not named and any(_NUMBER.fullmatch(cell) for cell in columns)


class Row(NamedTuple):
    """One row of a table. `picture` is where its picture is, `None` where the row has too few or too many cells."""

    line: int
    label: str = ""
    split: str | None = None
    picture: Any = None


@dataclass
class Rows:
    """The usable rows of one split, column by column, in the order of the files."""

    pictures: list[Any] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)

    def place(self, row: int) -> str:
        return self.tables[row].place(self.lines[row])


def sorted_by_split(
    tables: Mapping[str, Sequence[Table]], rows_of: Callable[[Table], Iterator[Row]], *, named: bool, on_error: str
) -> tuple[dict[str, Rows], tuple[str, ...]]:
    """Reads the rows of all tables.

    Args:
      tables: by the splits that their files' names speak of; a row's own split counts before that.
      rows_of: yields the rows of a table.
      named: whether the user named the column of splits, which must then hold nothing else.
      on_error: "skip" leaves rows out that lack a cell or a label, "stop" refuses them.

    Returns:
      The rows of each split, and what the user should hear.

    Raises:
      DataError: rows are refused, a split is unknown, or none is of train.
    """
    every, of_file, of_row = Rows(), [], []
    ragged, unlabelled = [], []
    same: dict[str, str] = {}
    for split, of_split in tables.items():
        for table in of_split:
            for line, label, own, picture in rows_of(table):
                if picture is None:
                    ragged.append(table.place(line))
                elif labels.is_missing(label):
                    unlabelled.append(table.place(line))
                else:
                    every.pictures.append(picture)
                    every.labels.append(same.setdefault(label, label))
                    every.tables.append(table)
                    every.lines.append(line)
                    of_file.append(split)
                    of_row.append(None if own is None else same.setdefault(own.lower(), own.lower()))
    total = len(every.lines) + len(ragged) + len(unlabelled)
    if not total:
        raise DataError(f"config.data.file: has no rows, got {str(tables['train'][0].path)!r}. Write one a picture.")
    notes = (
        *labels.leave_out(ragged, total, "rows have other cells than the header", "Mend them", on_error),
        *labels.leave_out(unlabelled, total, "rows have no label", "Give them one", on_error),
    )
    found = {value for value in of_row if value is not None}
    unknown = sorted(found - SPLITS.keys())
    if unknown and (named or len(unknown) < len(found)):
        row = of_row.index(unknown[0])
        raise DataError(
            f"config.data.file: the split of a row must be train, valid or test, or one of {', '.join(SPLITS)}, "
            f"got {unknown[0]!r} in {every.place(row)}. Write one of these."
        )
    if unknown:
        notes += (
            f"config.data.file: the column of {' or '.join(SPLIT)} is not used, as it names no splits, but "
            f"{shorten(unknown)}.",
        )
    splits = {split: Rows() for split in split_files.WORDS}
    for row, (split, own) in enumerate(zip(of_file, of_row, strict=True)):
        rows = splits[split if own is None or unknown else SPLITS[own]]
        rows.pictures.append(every.pictures[row])
        rows.labels.append(every.labels[row])
        rows.tables.append(every.tables[row])
        rows.lines.append(every.lines[row])
    splits = {split: rows for split, rows in splits.items() if rows.lines}
    if "train" not in splits:
        raise DataError(
            f"config.data.file: no row is of train, got {', '.join(splits)}. Name a file with rows of train."
        )
    return splits, notes
