"""Loads a dataset by name: from its source to train, valid and test, in memory or streamed.

A source's module reads the data as they are stored; what is common to all happens here: the checks, the splits that it
does not have, and the identity by which a run knows its data again.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from cnn.data import copies, sources, splits
from cnn.data.bad_examples import BadExamples
from cnn.data.parts import into_memory, on_demand, parts_of, should_stream
from cnn.data.types import DataError, Dataset, DataSpec, OtherClasses, Part, Source, Split
from cnn.fields import shorten
from cnn.system.text import counted


def load(data: DataSpec, memory_budget: float = math.inf) -> Dataset:
    """Loads the data that a config names, as three splits.

    Args:
      data: which, and how.
      memory_budget: bytes that the pictures may take; where `data.loading` is auto, those that take more stream.

    Raises:
      DataError: if the data are missing, broken, or unlike what the config says.
    """
    size = data.image_shape[:2]
    source = _read(data)
    _check_classes(source, data)
    parts = parts_of(source)
    _check_not_empty(parts, data.name)
    streams = should_stream(data.loading, sum(map(len, parts)), data.stored_shape, memory_budget)
    bad_examples = BadExamples()
    whole, *own_test = _loaded(
        parts,
        on_demand if streams else into_memory,
        (data.stored_shape, data.image_shape),
        bad_examples if data.on_error == "skip" else None,
        source.field,
    )
    _check_labels(dict(zip(("train", "test"), (whole, *own_test), strict=False)), data)
    cut = splits.cut(whole.labels, source, data)
    stored_train = _taken(whole, cut.train)
    twice = copies.note(_contents(parts, source, data, cut), source.field)
    return Dataset(
        train=stored_train.centre(size),
        valid=_taken(whole, cut.valid).centre(size),
        test=own_test[0] if own_test else _taken(whole, cut.test).centre(size),
        class_names=source.class_names,
        identity=_identity(source, data),
        bad_examples=bad_examples,
        notes=(*_unread(data), *_other_names(source, data), *_one_class(source), *source.notes, *cut.notes, *twice),
        stored_train=None if data.stored_shape == data.image_shape else stored_train,
    )


def identity(data: DataSpec) -> str | None:
    """Returns the identity of a dataset, as `load` does, without decoding a picture; `None` where it is not at hand.

    Raises:
      DataError: if the data are broken or unlike what the config says.
    """
    return _identity(_read(data), data) if sources.at_hand(data) else None


def read_source(data: DataSpec) -> Source:
    """Returns the source, its pictures fitted to the size at which they are held.

    Raises:
      DataError: if the data are missing, broken, or unlike what the config says.
    """
    return sources.read(dataclasses.replace(data, image_shape=data.stored_shape, stored_size=()))


class Rows(NamedTuple):
    """Which pictures of a source are in which split.

    Attributes:
      cut: rows of its train, its own validation split behind that.
      total: how many there are of both, those cut as test left out.
      identity: that of the dataset.
      title: says which picture a row is.
    """

    cut: splits.Cut
    total: int
    identity: str
    title: Callable[[int], str]


def rows(source: Source, data: DataSpec) -> Rows:
    """Returns how a source is cut, as `load` does it, without decoding a picture.

    Args:
      source: as `read_source` returns it.
      data: how.

    Raises:
      DataError: a split would be left without a picture.
    """
    used = splits.chosen(source, data)
    whole = parts_of(used)[0]
    cut = splits.cut(whole.labels(), used, data)
    return Rows(cut, len(whole) - len(cut.test), _identity(used, data), whole.title)


def _read(data: DataSpec) -> Source:
    """Returns what the config uses of the source."""
    return splits.chosen(read_source(data), data)


def _identity(source: Source, data: DataSpec) -> str:
    shape = [int(n) for n in data.image_shape]
    facts = [source.fingerprint, source.class_names, shape, data.resize, *splits.facts(source, data)]
    if data.decode != "full":
        facts.append(["decode", data.decode])
    if data.stored_shape != data.image_shape:
        facts.append(["stored_size", *map(int, data.stored_shape[:2])])
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _taken(whole: Split, rows: np.ndarray) -> Split:
    """Returns the named rows, which are in order; a whole split is not copied."""
    return whole if len(rows) == len(whole) else whole.take(rows)


def _contents(parts: Sequence[Part], source: Source, data: DataSpec, cut: splits.Cut) -> dict[str, copies.Contents]:
    """Returns what is known of the bytes of each split's pictures, as far as the source knows them."""
    if not source.contents:
        return {}
    of_whole = np.concatenate([source.contents[part] for part in ("train", "valid") if part in source.contents])
    rows = {"train": cut.train, "valid": cut.valid, "test": cut.test}
    if data.train_on != "train":
        del rows["valid"]  # train holds it

    def of_rows(rows: np.ndarray) -> copies.Contents:
        return copies.Contents(of_whole[rows], lambda position: parts[0].title(int(rows[position])))

    contents = {split: of_rows(chosen) for split, chosen in rows.items()}
    return contents | ({"test": copies.Contents(source.contents["test"], parts[1].title)} if parts[1:] else {})


def _unread(data: DataSpec) -> list[str]:
    """Returns a line where a folder is named that the source does not read; earlier versions passed that over."""
    if not data.data_dir or not (why := sources.unread(data.name, "data_dir")):
        return []
    return [f"config.data.data_dir: {why}, got {data.data_dir!r}. Set config.data.name to one of these to read it."]


def _other_names(source: Source, data: DataSpec) -> list[str]:
    """Returns a line where the data have names of their own, which go before those of the config."""
    if data.class_names in ((), source.class_names):
        return []
    return [f"config.data.class_names: is not used, as {data.name} names its classes, {shorten(source.class_names)}"]


def _one_class(source: Source) -> list[str]:
    if len(source.class_names) != 1:
        return []
    name = source.class_names[0]
    return [f"config.data.classes: all pictures are of one class, {name}: there is nothing to tell apart"]


def _check_classes(source: Source, data: DataSpec) -> None:
    found = len(source.class_names)
    if found != data.classes:
        has = f"{data.name} has {counted(found, 'class', 'classes')}, got {data.classes}"
        message = f"config.data.classes: {has}. Set it to {found}."
        if data.class_names == source.class_names:
            listed = f"names {counted(found, 'class', 'classes')}, got config.data.classes={data.classes}"
            message = f"config.data.class_names: {listed}. Name each class once, or set config.data.classes to {found}."
        raise OtherClasses("\n".join([message, *_unread(data)]), source.class_names)


def _check_not_empty(parts: Sequence[Part], name: str) -> None:
    for part in parts:
        if len(part) == 0:
            raise DataError(
                f"config.data.name: the {part.name} split of {name} is empty, got 0 pictures. Use other data."
            )


def _check_labels(loaded: Mapping[str, Split], data: DataSpec) -> None:
    for title, split in loaded.items():
        bad = np.flatnonzero((split.labels < 0) | (split.labels >= data.classes))
        if len(bad):
            raise DataError(
                f"config.data.name: labels of {data.name} must lie in 0..{data.classes - 1}, "
                f"got {split.labels[bad[0]]} in row {bad[0]} of {title} ({len(bad)} such rows). "
                "Use data with a label for every picture."
            )


def _loaded(
    parts: Sequence[Part],
    load_part: Callable[[Part, tuple[int, int, int], BadExamples | None], Split],
    shapes: tuple[tuple[int, int, int], tuple[int, int, int]],
    bad_examples: BadExamples | None,
    field: str,
) -> list[Split]:
    """Loads train and test, where there is one, each of its shape; broken pictures of both are told at once."""
    loaded, found = [], []
    for part, shape in zip(parts, shapes, strict=False):
        try:
            loaded.append(load_part(part, shape, bad_examples))
        except DataError as error:
            found.append(error)
    if len(found) > 1 and {str(error).partition(":")[0] for error in found} == {field}:
        raise DataError("\n".join(map(str, found)))
    if found:
        raise found[0]
    return loaded
