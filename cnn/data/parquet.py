"""Parquet files with a picture and a label in each row, as Hugging Face stores sets of pictures.

A row group is what can be read at a time: pictures are read group by group, and one group is held at a time.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from cnn.data import labels, split_files
from cnn.data.decode import BrokenPicture, check_channels
from cnn.data.encoded import EncodedPart, shorten
from cnn.data.listed import Listed, source
from cnn.data.types import DataError, DataSpec, Source
from cnn.fields import suggestion

try:
    import pyarrow as pa
    import pyarrow.parquet as pq
except ImportError as error:
    raise DataError(
        f"config.data.name: parquet is read by pyarrow, got: {error}. Install it: pip install pyarrow."
    ) from error

IMAGE = ("image", "img", "picture", "pixel_values")
LABEL = ("label", "labels", "fine_label", "class", "target", "category", "y")
"""What columns are called; the first that is there is taken."""
NO_LABEL = -1
"""What Hugging Face writes where a class is not known."""


@dataclass(frozen=True)
class Shard:
    """One file: what its footer tells, and which columns are used."""

    path: Path
    footer: Any
    schema: Any
    image: str
    """The path of the column of bytes, such as image.bytes."""
    label: str | None

    def wrong(self, what: str, got: object, remedy: str) -> DataError:
        return DataError(f"config.data.file: {what} in {str(self.path)!r}, got {got}. {remedy}")

    def column(self, name: str, groups: Sequence[int]) -> Any:
        """Reads a column of some row groups.

        Raises:
          DataError: the file is damaged.
        """
        try:
            with pq.ParquetFile(self.path, metadata=self.footer) as file:
                column = file.read_row_groups(groups, columns=[name], use_threads=False).column(0)
        except (pa.ArrowException, OSError) as error:
            raise _damaged(self.path, error) from error
        if pa.types.is_struct(column.type):
            return pa.chunked_array([chunk.field(0) for chunk in column.chunks], type=column.type.field(0).type)
        return column


@dataclass(frozen=True)
class Pictures:
    """The pictures of a split.

    Attributes:
      shards: the files, in order.
      places: the shard, the row group in it, and the row in that, of each picture.
    """

    shards: Sequence[Shard]
    places: np.ndarray

    def encoded(self, rows: np.ndarray) -> Iterator[tuple[int, bytes | None]]:
        """Yields rows with their pictures' bytes, `None` where there are none; a row group is read once, and let go."""
        rising = np.sort(rows)
        for (shard, group), of_group in itertools.groupby(rising, key=lambda row: tuple(self.places[row, :2])):
            column = self.shards[shard].column(self.shards[shard].image, [int(group)])
            for row in of_group:
                yield int(row), column[int(self.places[row, 2])].as_py()

    def title(self, row: int) -> str:
        shard, group, within = map(int, self.places[row])
        footer = self.shards[shard].footer
        before = sum(footer.row_group(earlier).num_rows for earlier in range(group))
        return f"row {before + within} of {self.shards[shard].path.name}"


class ParquetPart(EncodedPart):
    """Train, valid or test; the pictures of a batch are fetched before they are decoded."""

    def __init__(self, name: str, numbers: labels.Numbers, pictures: Pictures, data: DataSpec) -> None:
        how: Any = {"image_shape": data.image_shape, "resize": data.resize, "decode": data.decode}
        how["field"] = "config.data.file"
        super().__init__(name, numbers, lambda row: self._fetched(np.array([row]))[row], pictures.title, **how)
        self._pictures, self._how = pictures, how

    def read(self, rows: np.ndarray, threads: int) -> tuple[np.ndarray, np.ndarray, dict[int, DataError]]:
        fetched = self._fetched(rows)

        def picture(row: int) -> bytes:
            if fetched[row] is None:
                raise BrokenPicture("it has no bytes")
            return fetched[row]

        return EncodedPart(self.name, self._labels, picture, self._title, **self._how).read(rows, threads)

    def _fetched(self, rows: np.ndarray) -> dict[int, Any]:
        return dict(self._pictures.encoded(rows))


def read(data: DataSpec, *, image: str, label: str) -> Source:
    """Reads footers and labels.

    Args:
      data: which files.
      image: the column of pictures, empty to find it.
      label: the column of labels, likewise.

    Raises:
      DataError: a file or a column is missing, damaged, or holds something else.
    """
    check_channels(data.image_shape[2], "parquet")
    found = split_files.find(data.file, (".parquet", ".pq"))
    notes = list(found.notes)
    pictures: dict[str, Pictures] = {}
    written: dict[str, list[labels.Label]] = {}
    names: tuple[str, ...] = ()
    for split, paths in found.splits.items():
        shards = [_opened(path, image, label) for path in paths]
        _check_same(shards)
        of_split = [_labels(shard, needed=split == "train") for shard in shards]
        values = [label for of_shard in of_split for label in of_shard]
        if split != "train" and not any(label is not None for label in values):
            notes.append(
                f"config.data.file: {split} is not used, as it has no labels, like the test set of a competition."
            )
            continue
        places = np.concatenate([_places(number, shard) for number, shard in enumerate(shards)])
        kept = np.array([label is not None for label in values], bool)
        titles = [Pictures(shards, places).title(int(row)) for row in np.flatnonzero(~kept)]
        notes += labels.leave_out(titles, len(values), f"rows of {split} have no label", "Give them one", data.on_error)
        pictures[split] = Pictures(shards, places[kept])
        written[split] = [label for label in values if label is not None]
        names = names or _class_names(shards[0])
        if not written[split]:
            raise shards[0].wrong("no rows", 0, "Name other files.")
    _check_bytes(pictures["train"])
    numbered = labels.number(written, names or data.class_names)
    listed = {split: _listed(split, pictures[split], numbered.labels[split], data) for split in pictures}
    return source("parquet", numbered.class_names, listed, (*notes, *labels.lacking(numbered)))


def _damaged(path: Path, error: Exception) -> DataError:
    reason = " ".join(str(error).split())[:200]
    return DataError(
        f"config.data.file: no Parquet file, or a damaged one, got {str(path)!r}: {reason}. Fetch it again."
    )


def _opened(path: Path, image: str, label: str) -> Shard:
    try:
        with pq.ParquetFile(path) as file:
            footer, schema = file.metadata, file.schema_arrow
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from error
    shard = Shard(path, footer, schema, "", None)
    of_pictures = [name for name in schema.names if _of_pictures(schema.field(name))]
    found = _column(shard, "image", image, IMAGE, of_pictures)
    if found is None:
        raise _no_column(shard, "image", IMAGE)
    return Shard(path, footer, schema, _bytes_of(shard, found), _column(shard, "label", label, LABEL, ()))


def _column(shard: Shard, option: str, given: str, known: Sequence[str], fitting: Sequence[str]) -> str | None:
    """Returns the column that an option names, else the first called so, else the only one that fits."""
    names = shard.schema.names
    if given and given not in names:
        raise DataError(
            f"config.data.name: parquet({option}=...) names no column of {shard.path.name}, got {given!r}. "
            f"{suggestion(given, names)}Columns: {shorten(names)}."
        )
    if given:
        return given
    return next((word for word in known if word in names), fitting[0] if len(fitting) == 1 else None)


def _no_column(shard: Shard, option: str, known: Sequence[str]) -> DataError:
    return shard.wrong(
        f"no column of {option}s",
        f"the columns {shorten(shard.schema.names)}",
        f"Call one {', '.join(known)}, or name it: config.data.name=\"parquet({option}='...')\".",
    )


def _is_bytes(kind: Any) -> bool:
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _of_pictures(column: Any) -> bool:
    kind = column.type
    return _is_bytes(kind) or (pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0)


def _bytes_of(shard: Shard, image: str) -> str:
    """Returns the path of the column of bytes.

    Raises:
      DataError: the column holds something else, such as the paths of files.
    """
    kind = shard.schema.field(image).type
    if pa.types.is_struct(kind) and kind.get_field_index("bytes") >= 0 and _is_bytes(kind.field("bytes").type):
        return f"{image}.bytes"
    if _is_bytes(kind):
        return image
    raise shard.wrong(
        f"the column {image!r} must hold the bytes of pictures, or struct<bytes, path>",
        kind,
        "Write the bytes of the pictures into it, or list their files in a csv.",
    )


def _check_same(shards: Sequence[Shard]) -> None:
    for shard in shards[1:]:
        if (shard.image, shard.label) != (shards[0].image, shards[0].label):
            raise shard.wrong(
                f"other columns than in {shards[0].path.name}", shorten(shard.schema.names), "Name files of one kind."
            )


def _check_bytes(pictures: Pictures) -> None:
    """Refuses files that hold paths and no bytes."""
    shard = pictures.shards[int(pictures.places[0, 0])]
    column = shard.column(shard.image, [int(pictures.places[0, 1])])
    if column.null_count == len(column):
        raise shard.wrong(
            "no bytes of pictures",
            "their paths alone" if "." in shard.image else "empty cells",
            "Write the bytes of the pictures into it, or list their files in a csv.",
        )


def _labels(shard: Shard, *, needed: bool) -> list[labels.Label | None]:
    """Returns the label of every row, `None` where it is not known."""
    if shard.label is None:
        if needed:
            raise _no_column(shard, "label", LABEL)
        return [None] * shard.footer.num_rows
    kind = shard.schema.field(shard.label).type
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    of_text = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    if not (pa.types.is_integer(kind) or pa.types.is_boolean(kind) or of_text):
        raise shard.wrong(
            f"the column {shard.label!r} must hold whole numbers or names",
            kind,
            "Name another: config.data.name=\"parquet(label='...')\".",
        )
    values = shard.column(shard.label, range(shard.footer.num_row_groups)).to_pylist()
    if of_text:
        return [None if value is None or labels.is_missing(value) else value for value in values]
    return [None if value is None or value == NO_LABEL else int(value) for value in values]


def _places(number: int, shard: Shard) -> np.ndarray:
    sizes = [shard.footer.row_group(group).num_rows for group in range(shard.footer.num_row_groups)]
    groups = np.repeat(np.arange(len(sizes)), sizes)
    within = np.arange(sum(sizes)) - np.repeat(np.cumsum([0, *sizes])[:-1], sizes)
    return np.column_stack([np.full(sum(sizes), number), groups, within]).astype(np.int64)


def _class_names(shard: Shard) -> tuple[str, ...]:
    """Returns the names that Hugging Face has written into the file; none where there are none."""
    try:
        written = json.loads((shard.schema.metadata or {}).get(b"huggingface", b"{}"))
        names = written["info"]["features"][shard.label]["names"]
    except (ValueError, KeyError, TypeError):
        return ()
    return tuple(map(str, names)) if isinstance(names, list) else ()


def _listed(split: str, pictures: Pictures, numbers: labels.Numbers, data: DataSpec) -> Listed:
    def facts() -> Iterator[str]:
        for shard in pictures.shards:
            for group in range(shard.footer.num_row_groups):
                yield f"{shard.footer.row_group(group).num_rows} {shard.footer.row_group(group).total_byte_size}"

    def digests(rows: Sequence[int]) -> Iterator[bytes]:
        for _, picture in pictures.encoded(np.asarray(rows, np.int64)):
            yield b"" if picture is None else hashlib.sha256(picture).digest()

    return Listed(ParquetPart(split, numbers, pictures, data), facts, digests)
