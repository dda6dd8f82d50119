"""The sources of data that `config.data.name` may name, the package's and a user's own, by the decorator `@source`.

One class is one source, in a module of this folder: its fields are its options, and `load(data)` reads the data, or
lists what stays stored; it raises a `DataError` where they are missing, broken, or unlike what the config says. A class
may say more:

* `at_hand(data)` tells whether the data are there, or could only be fetched; without it they are.
* `reads`: which of the fields that say where data lie it reads, `data_dir` and `file`; without it, any.
* `of_the_software = True`: the data are part of the software, so that they never change.
* `of_numbers = True`: their identity is that of their numbers and class names, whatever source has them.
* `validates = False`: they have no validation split of their own.

A name that is none of them is that of a TFDS dataset. A config is checked without Pillow, pyarrow or TFDS: the modules
import these lazily. To add a source, write its module and name it in the list of imports below.
"""

from typing import Any

from cnn.data.sources import csv_source, digits, folder, idx, npz, parquet, synthetic_lines, tar, tfds  # noqa: F401
from cnn.data.sources.arrays import Arrays, HandedOver
from cnn.data.sources.synthetic_lines import Lines
from cnn.data.types import DataError, DataSpec, Source
from cnn.expression import ExpressionError, build_one
from cnn.registry import PACKAGE, SOURCES, FunctionForm, OfFunction, blamed, of_package, origin_of
from cnn.registry import source as source


class SourceFunction(OfFunction):
    """A source that a function loads; it may ask for `data`, the `DataSpec`."""

    def load(self, data: DataSpec) -> Arrays:
        return self.call(data=data)


SOURCES.function = FunctionForm(SourceFunction, (), ("data",))


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
        return tfds.Tfds(name)
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
    if field in getattr(kind_of(name) or tfds.Tfds, "reads", (field,)):
        return ""
    others = sorted(kind for kind, found in of_package(SOURCES).items() if field in getattr(found, "reads", ()))
    return f"is not read by {name}, but by {', '.join([*others, 'TFDS'] if field in tfds.Tfds.reads else others)}"


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
