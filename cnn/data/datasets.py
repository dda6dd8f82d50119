"""Loads a dataset by name: from its source to train, valid and test, in memory or streamed.

A source's module reads the data as they are stored; what is common to all happens here: the checks, the validation
split, and the identity by which a run knows its data again.
"""

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from cnn.data import arrays, digits, folder, synthetic_lines
from cnn.data.bad_examples import BadExamples
from cnn.data.parts import into_memory, on_demand, parts_of, should_stream
from cnn.data.splits import VALID_KEY, validation_split
from cnn.data.types import DataError, Dataset, Part, Source, Split

BROKEN = "config.data.data_dir"
"""The field that a refusal of broken pictures names."""


def load(
    *,
    name: str,
    data_dir: str,
    manual_dir: str,
    image_shape: tuple[int, int, int],
    classes: int,
    resize: str,
    valid_fraction: float,
    train_on: str,
    loading: str = "memory",
    on_error: str = "stop",
    memory_budget: float = math.inf,
) -> Dataset:
    """Loads a dataset, with `valid` cut from `train`.

    Args:
      name: "digits", "folder", "lines", the name of a TFDS dataset, or a source of the user's with its options.
      data_dir: the folder of the data; for TFDS, empty means TFDS_DATA_DIR or TFDS's own default.
      manual_dir: where source files lie that were fetched by hand; empty for none.
      image_shape: height, width and channels of every picture.
      classes: how many classes the data have.
      resize: how pictures of another size are brought to `image_shape`, one of `RESIZES`.
      valid_fraction: which part of every class of `train` becomes `valid`, at least 0 and below 1; not used where the
        data have a validation split of their own.
      train_on: "train", or "train+valid" to leave the rows of `valid` in `train` too.
      loading: "memory", "stream", or "auto" to stream what needs more than `memory_budget`.
      on_error: "stop" to refuse pictures that cannot be used, "skip" to list them and give them no weight.
      memory_budget: bytes that the pictures may take.

    Raises:
      DataError: if the data are missing, broken, or unlike what the config says.
    """
    source = _read(name, data_dir, manual_dir, image_shape, resize)
    _check_classes(source, name, classes)
    parts = parts_of(source)
    _check_not_empty(parts, name)
    streams = should_stream(loading, sum(map(len, parts)), image_shape, memory_budget)
    bad_examples = BadExamples()
    whole, test = _loaded(
        parts, on_demand if streams else into_memory, image_shape, bad_examples if on_error == "skip" else None
    )
    _check_labels({"train": whole, "test": test}, name, classes)
    train, valid = validation_split(whole, source, name=name, valid_fraction=valid_fraction, train_on=train_on)
    identity = _identity(source, image_shape, resize, valid_fraction, train_on)
    return Dataset(train, valid, test, source.class_names, identity, bad_examples, source.notes)


def identity(
    *,
    name: str,
    data_dir: str,
    manual_dir: str,
    image_shape: tuple[int, int, int],
    resize: str,
    valid_fraction: float,
    train_on: str,
) -> str | None:
    """Returns the identity of a dataset, as `load` does, without decoding a picture; `None` where it is not at hand.

    Raises:
      DataError: if the data are broken or unlike what the config says.
    """
    if not _at_hand(name, data_dir):
        return None
    source = _read(name, data_dir, manual_dir, image_shape, resize)
    return _identity(source, image_shape, resize, valid_fraction, train_on)


def never_changes(name: str) -> bool:
    """Tells whether a dataset is part of the software."""
    return name == "digits" or name.partition("/")[0] == "lines"


def _at_hand(name: str, data_dir: str) -> bool:
    if never_changes(name) or arrays.kind_of(name) is not None:
        return True
    if name == "folder":
        return any((Path(data_dir).expanduser() / part).is_dir() for part in ("train", "test"))
    from cnn.data import tfds_catalog  # TFDS takes a second to import

    root = tfds_catalog.data_root(data_dir)
    return (root / name.partition(":")[0]).is_dir() and tfds_catalog.is_prepared(tfds_catalog.find(name, root))


def _identity(source: Source, image_shape: tuple[int, ...], resize: str, valid_fraction: float, train_on: str) -> str:
    validation = ["own", train_on] if source.valid else ["stratified", VALID_KEY, float(valid_fraction), train_on]
    facts = [source.fingerprint, source.class_names, [int(n) for n in image_shape], resize, validation]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _read(name: str, data_dir: str, manual_dir: str, image_shape: tuple[int, int, int], resize: str) -> Source:
    if arrays.kind_of(name) is not None:
        return arrays.read(name=name, image_shape=image_shape, resize=resize)
    if name == "digits":
        return digits.read(image_shape=image_shape, resize=resize)
    if name == "folder":
        return folder.read(data_dir=data_dir, image_shape=image_shape, resize=resize)
    if name == "lines" or name.startswith("lines/"):
        return synthetic_lines.read(name=name, image_shape=image_shape)
    from cnn.data import tfds  # TFDS takes a second to import

    return tfds.read(name=name, data_dir=data_dir, manual_dir=manual_dir, image_shape=image_shape, resize=resize)


def _check_classes(source: Source, name: str, classes: int) -> None:
    found = len(source.class_names)
    if found != classes:
        raise DataError(f"config.data.classes: {name} has {found} classes, got {classes}. Set it to {found}.")


def _check_not_empty(parts: tuple[Part, Part], name: str) -> None:
    for part in parts:
        if len(part) == 0:
            raise DataError(
                f"config.data.name: the {part.name} split of {name} is empty, got 0 pictures. Use other data."
            )


def _check_labels(splits: Mapping[str, Split], name: str, classes: int) -> None:
    for title, split in splits.items():
        bad = np.flatnonzero((split.labels < 0) | (split.labels >= classes))
        if len(bad):
            raise DataError(
                f"config.data.name: labels of {name} must lie in 0..{classes - 1}, got {split.labels[bad[0]]} "
                f"in row {bad[0]} of {title} ({len(bad)} such rows). Use data with a label for every picture."
            )


def _loaded(
    parts: tuple[Part, Part],
    load_part: Callable[[Part, tuple[int, int, int], BadExamples | None], Split],
    image_shape: tuple[int, int, int],
    bad_examples: BadExamples | None,
) -> tuple[Split, Split]:
    """Loads train and test; what is wrong with either is said at once, a line each."""
    splits, problems = [], []
    for part in parts:
        try:
            splits.append(load_part(part, image_shape, bad_examples))
        except DataError as error:
            problems.append(error)
    if len(problems) > 1 and str(problems[0]).partition(":")[0] == str(problems[1]).partition(":")[0] == BROKEN:
        raise DataError("\n".join(map(str, problems)))
    if problems:
        raise problems[0]
    train, test = splits
    return train, test
