"""Loads a dataset by name: from its source to train, valid and test, in memory or streamed.

A source's module reads the data as they are stored; what is common to all happens here: the checks, the validation
split, and the identity by which a run knows its data again.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping

import numpy as np

from cnn.data import sources
from cnn.data.bad_examples import BadExamples
from cnn.data.parts import into_memory, on_demand, parts_of, should_stream
from cnn.data.splits import VALID_KEY, validation_split
from cnn.data.types import DataError, Dataset, DataSpec, Part, Source, Split

BROKEN = "config.data.data_dir"
"""The field that a refusal of broken pictures names."""


def load(data: DataSpec, memory_budget: float = math.inf) -> Dataset:
    """Loads the data that a config names, as three splits.

    Args:
      data: which, and how.
      memory_budget: bytes that the pictures may take; where `data.loading` is auto, those that take more stream.

    Raises:
      DataError: if the data are missing, broken, or unlike what the config says.
    """
    size = data.image_shape[:2]
    source = read_source(data)
    _check_classes(source, data)
    parts = parts_of(source)
    _check_not_empty(parts, data.name)
    streams = should_stream(data.loading, sum(map(len, parts)), data.stored_shape, memory_budget)
    bad_examples = BadExamples()
    whole, test = _loaded(
        parts,
        on_demand if streams else into_memory,
        (data.stored_shape, data.image_shape),
        bad_examples if data.on_error == "skip" else None,
    )
    _check_labels({"train": whole, "test": test}, data)
    train, valid = validation_split(whole, source, data)
    return Dataset(
        train=train.centre(size),
        valid=valid.centre(size),
        test=test,
        class_names=source.class_names,
        identity=_identity(source, data),
        bad_examples=bad_examples,
        notes=source.notes,
        stored_train=None if data.stored_shape == data.image_shape else train,
    )


def identity(data: DataSpec) -> str | None:
    """Returns the identity of a dataset, as `load` does, without decoding a picture; `None` where it is not at hand.

    Raises:
      DataError: if the data are broken or unlike what the config says.
    """
    return _identity(read_source(data), data) if sources.at_hand(data) else None


def read_source(data: DataSpec) -> Source:
    """Returns the source, its pictures fitted to the size at which they are held.

    Raises:
      DataError: if the data are missing, broken, or unlike what the config says.
    """
    return sources.read(dataclasses.replace(data, image_shape=data.stored_shape, stored_size=()))


def _identity(source: Source, data: DataSpec) -> str:
    validation = (
        ["own", data.train_on] if source.valid else ["stratified", VALID_KEY, float(data.valid_fraction), data.train_on]
    )
    facts = [source.fingerprint, source.class_names, [int(n) for n in data.image_shape], data.resize, validation]
    if data.decode != "full":
        facts.append(["decode", data.decode])
    if data.stored_shape != data.image_shape:
        facts.append(["stored_size", *map(int, data.stored_shape[:2])])
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _check_classes(source: Source, data: DataSpec) -> None:
    found = len(source.class_names)
    if found != data.classes:
        raise DataError(f"config.data.classes: {data.name} has {found} classes, got {data.classes}. Set it to {found}.")


def _check_not_empty(parts: tuple[Part, Part], name: str) -> None:
    for part in parts:
        if len(part) == 0:
            raise DataError(
                f"config.data.name: the {part.name} split of {name} is empty, got 0 pictures. Use other data."
            )


def _check_labels(splits: Mapping[str, Split], data: DataSpec) -> None:
    for title, split in splits.items():
        bad = np.flatnonzero((split.labels < 0) | (split.labels >= data.classes))
        if len(bad):
            raise DataError(
                f"config.data.name: labels of {data.name} must lie in 0..{data.classes - 1}, "
                f"got {split.labels[bad[0]]} in row {bad[0]} of {title} ({len(bad)} such rows). "
                "Use data with a label for every picture."
            )


def _loaded(
    parts: tuple[Part, Part],
    load_part: Callable[[Part, tuple[int, int, int], BadExamples | None], Split],
    shapes: tuple[tuple[int, int, int], tuple[int, int, int]],
    bad_examples: BadExamples | None,
) -> tuple[Split, Split]:
    """Loads train and test, each of its shape; what is wrong with either is said at once, a line each."""
    splits, problems = [], []
    for part, shape in zip(parts, shapes, strict=True):
        try:
            splits.append(load_part(part, shape, bad_examples))
        except DataError as error:
            problems.append(error)
    if len(problems) > 1 and str(problems[0]).partition(":")[0] == str(problems[1]).partition(":")[0] == BROKEN:
        raise DataError("\n".join(map(str, problems)))
    if problems:
        raise problems[0]
    train, test = splits
    return train, test
