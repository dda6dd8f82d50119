"""The sources of data that `config.data.name` may name, the package's and a user's own, by the decorator `@source`.

One class is one source: its fields are its options, and `load` reads the data, or lists what stays stored. A name that
is none of them is that of a TFDS dataset. What reading takes is imported as data are read: a config is checked without.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, ClassVar

from cnn.data.arrays import Arrays
from cnn.data.types import DataError, DataSpec
from cnn.expression import ExpressionError, build_one
from cnn.registry import PACKAGE, SOURCES, FunctionForm, OfFunction, blamed, of_package, origin_of
from cnn.registry import source as source

if TYPE_CHECKING:
    from cnn.data.types import Source


class SourceFunction(OfFunction):
    """A source that a function loads; it may ask for `data`, the `DataSpec`."""

    def load(self, data: DataSpec) -> Arrays:
        return self.call(data=data)


SOURCES.function = FunctionForm(SourceFunction, (), ("data",))


@source
class Digits:
    """The 1,797 handwritten digits, 8x8 and grey, that scikit-learn carries.

    Source:
      Alpaydin and Kaynak 1998, https://archive.ics.uci.edu/dataset/80.
    """

    of_the_software: ClassVar[bool] = True
    """Whether the data are part of the software, so that they never change."""
    reads: ClassVar[tuple[str, ...]] = ()
    """Which of the fields that say where data lie, data_dir and file, the source reads."""
    validates: ClassVar[bool] = False
    """Whether there may be a validation split of their own."""

    def load(self, data: DataSpec) -> Source:
        from cnn.data import digits

        return digits.read(image_shape=data.image_shape, resize=data.resize)


@source
class Lines:
    """Made pictures with or without wide lines of one direction: lines/vertical, horizontal, diagonal, antidiagonal."""

    direction: str = "vertical"

    of_the_software: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = ()
    validates: ClassVar[bool] = False

    def load(self, data: DataSpec) -> Source:
        from cnn.data import synthetic_lines

        return synthetic_lines.read(direction=self.direction, image_shape=data.image_shape)


@source
class Folder:
    """Pictures in folders: `data_dir`/train/<class>/ with test/ and valid/ beside it, or `data_dir`/<class>/ alone."""

    reads: ClassVar[tuple[str, ...]] = ("data_dir",)

    def at_hand(self, data: DataSpec) -> bool:
        """Tells whether the data are there, or could only be fetched."""
        from cnn.data import folder

        return folder.is_there(data.data_dir)

    def load(self, data: DataSpec) -> Source:
        from cnn.data import folder

        return folder.read(data_dir=data.data_dir, image_shape=data.image_shape, resize=data.resize, decode=data.decode)


class OfFiles:
    """A source that reads `config.data.file`."""

    reads: ClassVar[tuple[str, ...]] = ("file",)

    def at_hand(self, data: DataSpec) -> bool:
        """Tells whether the data are there."""
        from cnn.data import split_files

        return split_files.any_of(data.file)


@source
class Csv(OfFiles):
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
        from cnn.data import csv_source
        from cnn.data.csv_table import Columns

        return csv_source.read(data, Columns(self.image, self.label, self.split, self.suffix, self.folder))


@source
class Parquet(OfFiles):
    """Parquet files with an encoded picture and a label in each row, as Hugging Face has them: `config.data.file`."""

    image: str = ""
    """The column of pictures; empty: one called image or img, or the only one of bytes."""
    label: str = ""
    """The column of labels; empty: one called label, labels, fine_label, class, target, category or y."""

    def load(self, data: DataSpec) -> Source:
        from cnn.data import parquet

        return parquet.read(data, image=self.image, label=self.label)


@source
class Tar(OfFiles):
    """Tar files with pictures and their labels side by side, as WebDataset has them: `config.data.file`."""

    label: str = ""
    """The key of the label in the JSON beside each picture; empty: .cls, label, class or cls in .json, or .txt."""

    def load(self, data: DataSpec) -> Source:
        from cnn.data import tar

        return tar.read(data, label=self.label)


@source(name="arrays")
class OfPython:
    """Arrays that Python code hands over: `cnn.run(config, workdir, data=cnn.Arrays(...))`. Elsewhere they are not."""

    of_numbers: ClassVar[bool] = True
    """Whether the data's identity is that of their numbers and class names, whatever source has them."""

    def at_hand(self, data: DataSpec) -> bool:
        """Tells whether the data are there, or could only be fetched."""
        del data
        return False

    def load(self, data: DataSpec) -> Source:
        del data
        raise DataError(
            "config.data.name: these data live in Python, got 'arrays'. Hand them over by cnn.run(..., data=...) or "
            'cnn.load(..., data=...), or write them there by run.save_data("data.npz") and name that file: '
            "--config.data.name=npz --config.data.file=data.npz, after eval and explain --data_file=data.npz"
        )


@dataclasses.dataclass(frozen=True, eq=False)
class HandedOver:
    """What the source `arrays` is in a process that has them."""

    arrays: Arrays

    of_numbers: ClassVar[bool] = True

    def load(self, data: DataSpec) -> Source:
        return self.arrays.as_source("cnn.Arrays", data, field="data", give="Give")


@source
class Npz:
    """A file of NumPy's: `file` holds x_train, y_train, x_test, y_test, ..., or train_images, train_labels, ..."""

    of_numbers: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = ("file",)

    def at_hand(self, data: DataSpec) -> bool:
        """Tells whether the data are there, or could only be fetched."""
        from cnn.data import npz

        return bool(npz.files_of(data))

    def load(self, data: DataSpec) -> Source:
        from cnn.data import npz

        return npz.read(data)


@source
class Idx:
    """MNIST's four files, `train-images-idx3-ubyte` and so on, gzipped or not, in the folder that `file` names.

    Source:
      LeCun et al. 1998, http://yann.lecun.com/exdb/mnist, "The IDX file format".
    """

    of_numbers: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = ("file",)

    def at_hand(self, data: DataSpec) -> bool:
        """Tells whether the data are there, or could only be fetched."""
        from cnn.data import idx

        return idx.folder_of(data).is_dir()

    def load(self, data: DataSpec) -> Source:
        from cnn.data import idx

        return idx.read(data)


@dataclasses.dataclass(frozen=True)
class Tfds:
    """A dataset of TFDS. It has no entry of its own: any name that no source has is looked for there."""

    name: str

    reads: ClassVar[tuple[str, ...]] = ("data_dir",)

    def at_hand(self, data: DataSpec) -> bool:
        from cnn.data import tfds_catalog

        root = tfds_catalog.data_root(data.data_dir)
        prepared = root / self.name.partition(":")[0]
        return prepared.is_dir() and tfds_catalog.is_prepared(tfds_catalog.find(self.name, root))

    def load(self, data: DataSpec) -> Source:
        from cnn.data import tfds

        return tfds.read(
            name=self.name,
            data_dir=data.data_dir,
            manual_dir=data.manual_dir,
            image_shape=data.image_shape,
            resize=data.resize,
            decode=data.decode,
        )


class SourceName(str):
    """The name of a source, with the record that it stood for when the config was read."""

    record: Any


def pinned(name: str) -> SourceName:
    """Returns the name of a source with its record, which a later config's extensions do not change.

    Raises:
      ExpressionError: its options are wrong.
    """
    made = SourceName(name)
    made.record = parse(name)
    return made


def handed_over(arrays: Arrays) -> SourceName:
    """Returns the name of the source `arrays`, which carries them."""
    made = SourceName("arrays")
    made.record = HandedOver(arrays)
    return made


def are_handed_over(name: str) -> bool:
    """Tells whether the name of a source carries the arrays that it stands for."""
    return kind_of(name) is HandedOver


def kind_of(name: str) -> type | None:
    """Returns the class of a source, `None` where the name of a dataset is none of theirs."""
    if isinstance(name, SourceName):
        return type(name.record)
    kind = name.partition("(")[0].strip()
    return Lines if kind.startswith("lines/") else SOURCES.get(kind)


def parse(name: str) -> Any:
    """Returns the record that the name of a dataset stands for.

    Raises:
      ExpressionError: its options are wrong.
    """
    if isinstance(name, SourceName):
        return name.record
    if kind_of(name) is None:
        return Tfds(name)
    kind, slash, direction = name.partition("/")
    return Lines(direction) if kind == "lines" and slash else build_one(name, SOURCES)


def read(data: DataSpec) -> Source:
    """Reads the data that a config names, or lists them.

    Raises:
      DataError: they are missing, broken, or unlike what the config says.
      ExtensionError: a source of the user's failed.
    """
    record = _record(data.name)
    if origin_of(record) == PACKAGE:
        return record.load(data)
    found = blamed(record, "data.name", record.load)(data)
    if not isinstance(found, Arrays):
        raise DataError(f"config.data.name: {record.kind} must return cnn.Arrays, got {type(found).__name__}.")
    return found.as_source(record.kind, data)


def at_hand(data: DataSpec) -> bool:
    """Tells whether the data can be read now, without fetching or preparing them."""
    record = _record(data.name)
    return record.at_hand(data) if hasattr(record, "at_hand") else True


def of_numbers(name: str) -> bool:
    """Tells whether data are known by their numbers and class names alone, so that several sources may have them."""
    return getattr(kind_of(name), "of_numbers", False)


def unread(name: str, field: str) -> str:
    """Returns why a source does not read a field that says where data lie, and what does; empty where it may read it.

    A user's own source may read any, and arrays of Python take the place of data that may have had both.

    Args:
      name: of the source.
      field: `data_dir` or `file`.
    """
    if field in getattr(kind_of(name) or Tfds, "reads", (field,)):
        return ""
    others = sorted(kind for kind, found in of_package(SOURCES).items() if field in getattr(found, "reads", ()))
    return f"is not read by {name}, but by {', '.join([*others, 'TFDS'] if field in Tfds.reads else others)}"


def never_changes(name: str) -> bool:
    """Tells whether a dataset is part of the software."""
    return getattr(kind_of(name), "of_the_software", False)


def may_validate(name: str) -> bool:
    """Tells whether a dataset may have a validation split of its own, which for most only loading it tells."""
    return getattr(kind_of(name), "validates", True)


def _record(name: str) -> Any:
    try:
        return parse(name)
    except ExpressionError as error:
        raise DataError(f"config.data.name: {error}") from None
