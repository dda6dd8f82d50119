"""CSV as a list of picture files and their labels."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence

from cnn.data import csv_table, labels, split_files
from cnn.data.csv_table import Columns, Row, Rows, Table
from cnn.data.decode import SUFFIXES, check_channels
from cnn.data.encoded import EncodedPart, shorten
from cnn.data.folder import HASHED_WHOLE, file_size
from cnn.data.listed import Listed, source
from cnn.data.types import DataError, DataSpec, Source


def read(tables: Mapping[str, Sequence[Table]], columns: Columns, data: DataSpec, notes: Sequence[str]) -> Source:
    """Lists the pictures that tables name.

    Raises:
      DataError: a column or a picture is missing, or the rows are wrong.
    """
    check_channels(data.image_shape[2], "csv")
    rows, found = csv_table.sorted_by_split(
        tables,
        lambda table: _rows(table, columns, data.data_dir),
        named=bool(columns.split),
        on_error=data.on_error,
    )
    numbered = labels.number({split: of_split.labels for split, of_split in rows.items()}, data.class_names)
    root = os.path.abspath(_base(tables["train"][0], data.data_dir))
    listed = {split: _listed(split, of_split, numbered.labels[split], root, data) for split, of_split in rows.items()}
    more = (*_missing(rows, columns, data), *_repeated(rows, root), *_unlisted(rows, root))
    return source("csv", numbered.class_names, listed, (*notes, *found, *labels.lacking(numbered), *more))


def _base(table: Table, data_dir: str) -> str:
    """Returns the folder that the names of pictures start from."""
    return os.path.expanduser(data_dir) if data_dir else str(table.path.parent)


def _rows(table: Table, columns: Columns, data_dir: str) -> Iterator[Row]:
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


def _listed(split: str, rows: Rows, numbers: labels.Numbers, root: str, data: DataSpec) -> Listed:
    def title(row: int) -> str:
        return os.path.relpath(rows.pictures[row], root)

    def digests(chosen: Sequence[int]) -> Iterator[bytes]:
        for row in chosen:
            if file_size(rows.pictures[row]) < 0:
                yield b""
                continue
            with open(rows.pictures[row], "rb") as file:
                yield hashlib.file_digest(file, "sha256").digest()

    part = EncodedPart(
        split,
        numbers,
        rows.pictures.__getitem__,
        title,
        image_shape=data.image_shape,
        resize=data.resize,
        decode=data.decode,
        field="config.data.file",
    )
    return Listed(part, lambda: (f"{file_size(path)} {title(row)}" for row, path in enumerate(rows.pictures)), digests)


def _missing(rows: Mapping[str, Rows], columns: Columns, data: DataSpec) -> tuple[str, ...]:
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


def _remedy(path: str, table: Table, columns: Columns) -> str:
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
    hashed = sum(len(of_split.pictures) for of_split in rows.values()) <= HASHED_WHOLE
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
