"""Loads any dataset by name."""

import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np

from cnn.data import digits, folder, synthetic_lines
from cnn.data.bad_examples import BadExamples
from cnn.data.parts import into_memory, on_demand, parts_of, stays_stored
from cnn.data.splits import VALID_KEY, cut
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
    room: float = math.inf,
) -> Dataset:
    """Loads a dataset, with `valid` cut from `train`.

    Args:
      name: "digits", "folder", "lines", or the name of a TFDS dataset.
      data_dir: the folder of the data; for TFDS, empty means TFDS_DATA_DIR or TFDS's own default.
      manual_dir: where source files lie that were fetched by hand; empty for none.
      image_shape: height, width and channels of every picture.
      classes: how many classes the data have.
      resize: how pictures of another size are brought to `image_shape`, one of `RESIZES`.
      valid_fraction: which part of every class of `train` becomes `valid`, at least 0 and below 1; not used where the
        data have a validation split of their own.
      train_on: "train", or "train+valid" to leave the rows of `valid` in `train` too.
      loading: "memory", "stream", or "auto" to stream what needs more than `room`.
      on_error: "stop" to refuse pictures that cannot be used, "skip" to list them and give them no weight.
      room: bytes.

    Raises:
      DataError: if the data are missing, broken, or unlike what the config says.
    """
    source = _read(name, data_dir, manual_dir, image_shape, resize)
    rejects = BadExamples()
    whole, test = _splits(source, name, classes, image_shape, loading, room, rejects if on_error == "skip" else None)
    train, valid = _cut(whole, source, name, valid_fraction, train_on)
    identity = _identity(source, image_shape, resize, valid_fraction, train_on)
    return Dataset(train, valid, test, source.class_names, identity, rejects, source.notes)


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
    if never_changes(name):
        return True
    if name == "folder":
        return any((Path(data_dir).expanduser() / part).is_dir() for part in ("train", "test"))
    from cnn.data import tfds_catalog  # TFDS takes a second to import

    root = tfds_catalog.data_root(data_dir)
    return (root / name.partition(":")[0]).is_dir() and tfds_catalog.is_prepared(tfds_catalog.find(name, root))


def _cut(whole: Split, source: Source, name: str, valid_fraction: float, train_on: str) -> tuple[Split, Split]:
    if source.valid is not None:
        own = np.arange(len(whole)) >= len(source.train)
        return whole if train_on == "train+valid" else whole.take(~own), whole.take(own)
    rest, valid = cut(whole, valid_fraction, VALID_KEY)
    train = whole if train_on == "train+valid" else rest
    if len(train) == 0 or (valid_fraction > 0 and len(valid) == 0):
        raise DataError(
            f"config.data.valid_fraction: {name} has {len(whole)} training pictures, which leaves {len(train)} "
            f"in train and {len(valid)} in valid, got {valid_fraction}. Choose another fraction, or 0 for no valid."
        )
    lost = sorted(set(whole.labels.tolist()) - set(train.labels.tolist()))
    if lost:
        count = int((whole.labels == lost[0]).sum())
        raise DataError(
            f"config.data.valid_fraction: takes every picture of class {source.class_names[lost[0]]!r} ({count}) out "
            f"of training, got {valid_fraction}. Choose a smaller fraction, or add pictures."
        )
    return train, valid


def _identity(source: Source, image_shape: tuple[int, ...], resize: str, valid_fraction: float, train_on: str) -> str:
    rule = ["own", train_on] if source.valid else ["stratified", VALID_KEY, float(valid_fraction), train_on]
    facts = [source.fingerprint, source.class_names, [int(n) for n in image_shape], resize, rule]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _read(name: str, data_dir: str, manual_dir: str, image_shape: tuple[int, int, int], resize: str) -> Source:
    if name == "digits":
        return digits.read(image_shape=image_shape, resize=resize)
    if name == "folder":
        return folder.read(data_dir=data_dir, image_shape=image_shape, resize=resize)
    if name == "lines" or name.startswith("lines/"):
        return synthetic_lines.read(name=name, image_shape=image_shape)
    from cnn.data import tfds  # TFDS takes a second to import

    return tfds.read(name=name, data_dir=data_dir, manual_dir=manual_dir, image_shape=image_shape, resize=resize)


def _splits(
    source: Source,
    name: str,
    classes: int,
    image_shape: tuple[int, int, int],
    where: str,
    room: float,
    rejects: BadExamples | None,
) -> tuple[Split, Split]:
    """Returns train and test, in memory or stored, with the right classes."""
    found = len(source.class_names)
    if found != classes:
        raise DataError(f"config.data.classes: {name} has {found} classes, got {classes}. Set it to {found}.")
    parts = parts_of(source)
    for part in parts:
        if len(part) == 0:
            raise DataError(
                f"config.data.name: the {part.name} split of {name} is empty, got 0 pictures. Use other data."
            )
    stored = stays_stored(where, sum(map(len, parts)), image_shape, room)
    train, test = _loaded(parts, on_demand if stored else into_memory, image_shape, rejects)
    for split, title in ((train, "train"), (test, "test")):
        bad = np.flatnonzero((split.labels < 0) | (split.labels >= classes))
        if len(bad):
            raise DataError(
                f"config.data.name: labels of {name} must lie in 0..{classes - 1}, got {split.labels[bad[0]]} "
                f"in row {bad[0]} of {title} ({len(bad)} such rows). Use data with a label for every picture."
            )
    return train, test


def _loaded(
    parts: tuple[Part, Part],
    load_part: Callable[[Part, tuple[int, int, int], BadExamples | None], Split],
    image_shape: tuple[int, int, int],
    rejects: BadExamples | None,
) -> tuple[Split, Split]:
    """Loads train and test; what is wrong with either is said at once, a line each."""
    splits, problems = [], []
    for part in parts:
        try:
            splits.append(load_part(part, image_shape, rejects))
        except DataError as error:
            problems.append(error)
    if len(problems) > 1 and str(problems[0]).partition(":")[0] == str(problems[1]).partition(":")[0] == BROKEN:
        raise DataError("\n".join(map(str, problems)))
    if problems:
        raise problems[0]
    train, test = splits
    return train, test
