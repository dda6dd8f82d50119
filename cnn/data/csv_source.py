"""CSV files: each row names a picture file and its label, or holds a label and the pixels themselves.

Which of the two it is, and which column is which, the header tells, or the user does.
"""

from collections.abc import Iterator, Mapping, Sequence

from cnn.data import csv_files, csv_pixels, csv_table, split_files
from cnn.data.csv_table import Columns, Table
from cnn.data.types import DataSpec, Source

SUFFIXES = (".csv", ".tsv")


def read(data: DataSpec, columns: Columns) -> Source:
    """Reads the labels, and where the pictures are.

    Raises:
      DataError: a file, a column or a picture is missing, or rows are wrong.
    """
    found = split_files.find(data.file, SUFFIXES)
    tables = {split: [csv_table.open_table(path) for path in paths] for split, paths in found.splits.items()}
    notes = [*found.notes, *_without_labels(tables, columns)]
    labelled = {
        split: [table for table in of_split if split == "train" or _has_labels(table, columns)]
        for split, of_split in tables.items()
    }
    labelled = {split: of_split for split, of_split in labelled.items() if of_split}
    of_pixels = not columns.image and csv_pixels.layout(tables["train"][0]) is not None
    return (csv_pixels if of_pixels else csv_files).read(labelled, columns, data, notes)


def _has_labels(table: Table, columns: Columns) -> bool:
    return (
        (columns.label.lower() in map(str.lower, table.columns))
        if columns.label
        else (table.column("label", "", csv_table.LABEL) is not None)
    )


def _without_labels(tables: Mapping[str, Sequence[Table]], columns: Columns) -> Iterator[str]:
    for split in ("valid", "test"):
        for table in tables.get(split, ()):
            if not _has_labels(table, columns):
                yield (
                    f"config.data.file: {table.path.name} is not used, as it has no column of labels, like the "
                    "test set of a competition."
                )
