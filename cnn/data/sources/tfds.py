"""Datasets of TFDS, read from their ArrayRecord files without TensorFlow, prepared first where that is needed.

`cnn.data.sources.tfds_catalog` finds a dataset by its name, `cnn.data.sources.tfds_prepare` prepares it.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from etils import epy

from cnn.data.decode import BrokenPicture, check_channels, decode_all
from cnn.data.parts import CHUNK_BYTES
from cnn.data.sources import tfds_catalog
from cnn.data.types import DataError, DataSpec, Part, Source

with epy.lazy_imports():
    import tensorflow_datasets as tfds
    from array_record.python import array_record_module
    from tensorflow_datasets import proto

    from cnn.data.sources import tfds_prepare

VALID_USED = (
    "config.data.valid_fraction: is not used, as {name} has a validation split of its own, which earlier versions "
    "passed over; a run that one of them began cannot go on with it."
)


@dataclasses.dataclass(frozen=True)
class Tfds:
    """A dataset of TFDS. It has no entry of its own: any name that no source has is looked for there.

    `test` is the split of that name, or `validation` where there is none; with both, `validation` is `valid`, and with
    neither there is no test split.
    """

    name: str

    reads: ClassVar[tuple[str, ...]] = ("data_dir",)

    def at_hand(self, data: DataSpec) -> bool:
        root = tfds_catalog.data_root(data.data_dir)
        prepared = root / self.name.partition(":")[0]
        return prepared.is_dir() and tfds_catalog.is_prepared(tfds_catalog.find(self.name, root))

    def load(self, data: DataSpec) -> Source:
        root = tfds_catalog.data_root(data.data_dir)
        builder = tfds_catalog.find(self.name, root)
        if not tfds_catalog.is_prepared(builder):
            tfds_prepare.prepare(builder, self.name, root, data.manual_dir)
            builder = tfds_catalog.find(self.name, root)
        keys = _keys(builder, self.name)
        parts = _parts(builder, self.name)
        for part in parts:
            _check_shards(builder, part, self.name)
        train, *others = (TfdsPart(builder, part, keys, self.name, data) for part in parts)
        test, valid = (*others, None, None)[:2]
        features: Any = builder.info.features
        return Source(
            train,
            test,
            tuple(features[keys[1]].names),
            fingerprint(builder, parts),
            valid=valid,
            valid_note="" if valid is None else VALID_USED.format(name=self.name),
            field="config.data.data_dir",
        )


def fingerprint(builder: tfds.core.DatasetBuilder, parts: Sequence[str]) -> str:
    """Hashes what describes the stored data: TFDS's two description files, the names and sizes of the shards."""
    digest = hashlib.sha256()
    for file in ("dataset_info.json", "features.json"):
        path = Path(builder.data_path) / file
        digest.update(path.read_bytes() if path.is_file() else b"")
    for part in parts:
        for shard in _shards(builder, part):
            path = Path(shard.filename)
            digest.update(f"{part} {path.name} {path.stat().st_size}\n".encode())
    return f"tfds:{digest.hexdigest()}"


def _keys(builder: tfds.core.DatasetBuilder, name: str) -> tuple[str, str]:
    """Returns the names of the picture's and of the class's feature."""
    features: Any = builder.info.features
    keys: Any = builder.info.supervised_keys or ("image", "label")
    kinds = (tfds.features.Image, tfds.features.ClassLabel)
    fitting = len(keys) == 2 and all(
        isinstance(key, str) and key in features and isinstance(features[key], kind)
        for key, kind in zip(keys, kinds, strict=True)
    )
    if not fitting or features[keys[0]].np_dtype != np.uint8 or not features[keys[1]].num_classes:
        raise DataError(
            f"config.data.name: not a dataset of 8-bit pictures with one class each, got {name!r} with the features "
            f"{', '.join(features)}. Choose an image classification dataset."
        )
    return keys[0], keys[1]


def _parts(builder: tfds.core.DatasetBuilder, name: str) -> tuple[str, ...]:
    """Returns the names of the splits to use as `train`, and as `test` and as `valid` if there are any."""
    found = list(builder.info.splits)
    if "train" not in found:
        raise DataError(
            f"config.data.name: {name} must have the split train, got {', '.join(found) or 'none'}. "
            "Choose another dataset, or write its pictures into folders and use config.data.name='folder'."
        )
    return ("train", *(part for part in ("test", "validation") if part in found))


def _shards(builder: tfds.core.DatasetBuilder, part: str) -> list[Any]:
    return builder.info.splits[part].file_instructions


def _check_shards(builder: tfds.core.DatasetBuilder, part: str, name: str) -> None:
    """Counts the records of every shard; ArrayRecord itself notices nothing before it reads."""
    file_format = getattr(builder.info.file_format, "value", "")
    if file_format != "array_record":
        raise DataError(
            f"config.data.data_dir: {name} is stored as {file_format}, which needs TensorFlow to read, "
            f"got {str(builder.data_path)!r}. Prepare it as array_record, in another folder."
        )
    for shard in _shards(builder, part):
        path = Path(shard.filename)
        if not path.is_file():
            raise _damaged(path, name, "no such file")
        reader = array_record_module.ArrayRecordReader(str(path))
        count = reader.num_records()
        try:
            reader.close()  # only now it tells what was wrong
        except RuntimeError as error:
            raise _damaged(path, name, str(error).splitlines()[0]) from error
        if count != shard.examples_in_shard:
            raise _damaged(path, name, f"{count} records where {tfds_catalog.INFO_FILE} says {shard.examples_in_shard}")


class TfdsPart(Part):
    """The records of one split, an encoded picture and a class each."""

    def __init__(
        self,
        builder: Any,
        part: str,
        keys: tuple[str, str],
        name: str,
        data: DataSpec,
    ) -> None:
        self.name = "train" if part == "train" else "test"
        self._dataset, self._what = name, f"{name} ({part})"
        self._keys, self._image_shape, self._resize = keys, data.image_shape, data.resize
        self._scaled = data.decode == "scaled"
        self._shape = builder.info.features[keys[0]].shape
        self._shards = _shards(builder, part)
        self._count = sum(shard.take for shard in self._shards)
        raw = tfds.decode.DeserializeMethod.RAW_BYTES
        self._source: Any = builder.as_data_source(split=part, deserialize_method=raw) if self._count else ()
        # The class is made while importing, so type checkers do not see it.
        self._example: Any = getattr(proto.tf_example_pb2, "Example")  # noqa: B009
        check_channels(self._shape[2], self._what)

    def __len__(self) -> int:
        return self._count

    def labels(self) -> np.ndarray:
        """Reads every record once, which checks it too; a few at a time."""
        size = sum(Path(shard.filename).stat().st_size for shard in self._shards)
        step = max(1, CHUNK_BYTES * self._count // size)
        labels = np.empty(self._count, dtype=np.int32)
        for start in range(0, self._count, step):
            rows = range(start, min(start + step, self._count))
            labels[rows.start : rows.stop] = [self._label(example) for example in self._examples(rows)]
        return labels

    def read(self, rows: np.ndarray, threads: int) -> tuple[np.ndarray, np.ndarray, dict[int, DataError]]:
        wanted = [int(row) for row in rows]
        examples = self._examples(wanted)
        pictures = [example[self._keys[0]].bytes_list.value[0] for example in examples]
        images, errors = decode_all(
            pictures,
            shape=self._shape,
            image_shape=self._image_shape,
            resize=self._resize,
            what=self._what,
            scaled=self._scaled,
            rows=wanted,
            threads=threads,
        )
        labels = np.array([self._label(example) for example in examples], dtype=np.int32)
        return images, labels, {wanted[index]: error for index, error in errors.items()}

    def stored(self, row: int) -> bytes:
        return self._examples([row])[0][self._keys[0]].bytes_list.value[0]

    def title(self, row: int) -> str:
        return f"picture {row} of {self._what}"

    def refusal(self, errors: dict[int, DataError]) -> DataError:
        """Names the first picture that cannot be decoded."""
        row, error = next(iter(errors.items()))
        if not isinstance(error, BrokenPicture):
            return error
        return DataError(
            f"config.data.data_dir: {self.title(row)} cannot be read, got: {error}. "
            "Prepare the dataset again, or go on without it by config.data.on_error=skip."
        )

    def _label(self, example: Any) -> int:
        return example[self._keys[1]].int64_list.value[0]

    def _examples(self, rows: Sequence[int]) -> list[Any]:
        try:
            return [self._example.FromString(record).features.feature for record in self._source.__getitems__(rows)]
        except (RuntimeError, ValueError, IndexError) as error:
            raise self._damaged(rows, error) from error

    def _damaged(self, rows: Sequence[int], error: Exception) -> DataError:
        """Returns an error that names the shard from which a record cannot be read."""
        last = np.cumsum([shard.take for shard in self._shards])
        for row in sorted(rows):
            try:
                self._example.FromString(self._source[row])
            except (RuntimeError, ValueError, IndexError) as found:
                shard = self._shards[int(np.searchsorted(last, row, side="right"))]
                return _damaged(Path(shard.filename), self._dataset, str(found).splitlines()[0])
        return _damaged(Path(self._shards[0].filename), self._dataset, str(error).splitlines()[0])


def _damaged(path: Path, name: str, reason: str) -> DataError:
    return DataError(
        f"config.data.data_dir: a shard of {name} is damaged, got {str(path)!r}: {reason}. "
        f"Copy it again, or remove {str(path.parent)!r} and prepare {name} again."
    )
