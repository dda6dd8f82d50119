"""Pictures and labels as NumPy arrays: what a user's own source returns, and what Python code hands to a run.

Their numbers are the data's identity, so that the same pictures are the same data, whether Python code, an npz or an
IDX file has them, and whatever the type of their numbers.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

import numpy as np
from jaxtyping import Int32

from cnn.data.parts import CHUNK_BYTES, NumbersPart
from cnn.data.sources import hashing, labels
from cnn.data.sources.labels import name_of
from cnn.data.types import MOST_CLASSES, DataError, DataSpec, OtherClasses, Source
from cnn.registry import source

GREY_OR_COLOUR = (1, 3)
"""Channels of ordinary pictures."""
OVERSHOT = 2
"""Floats whose largest lies between 1 and this are shares that a resampling has overshot, or pictures without light."""

Pairs = tuple[Any, Any]
"""Images and labels, row by row. Images are [n, height, width] or [n, height, width, channels]: uint8, or floats in
[0, 1] or in 0..255. Labels are whole numbers from 0 on, or the names of classes."""


@dataclasses.dataclass(frozen=True, eq=False)
class Arrays:
    """Pictures in memory, or in a file that is mapped.

    Attributes:
      train: images and labels.
      test: likewise; `None` for none, or for one that is cut from train, as `config.data.test_fraction` says.
      valid: likewise; `None` cuts it from train, as `config.data.valid_fraction` says.
      class_names: one a class; `None` for the names among the labels, sorted, or the numbers.
    """

    train: Pairs
    test: Pairs | None = None
    valid: Pairs | None = None
    class_names: Sequence[str] | None = None

    def as_source(
        self,
        what: str,
        data: DataSpec,
        *,
        field: str = "config.data.name",
        give: str = "Return",
        notes: Sequence[str] = (),
    ) -> Source:
        """Returns the arrays as a source gives them.

        Args:
          what: whose arrays these are, for the errors.
          data: the shape wanted, and how pictures of another are brought to it.
          field: what named them, for the errors.
          give: what the user does with arrays that are right, a verb, for the errors.
          notes: what else the user should hear about the data, a line each.

        Raises:
          DataError: they are no pictures and labels, or not those that the config speaks of.
        """
        whose = Whose(what, field, give)
        class_names, parts, found = _examined(self, whose, data.class_names)
        _check_first_label(parts, class_names, whose, data)
        numbered = labels.Numbered(class_names, {split: part.labels() for split, part in parts.items() if len(part)})
        total = hashlib.sha256()
        hashes = {}
        for split, part in parts.items():
            _check_channels_last(part, data)
            part.fit_to(data.image_shape, data.resize)
            total.update(f"{split} {part.shape}".encode())
            pictures = []
            for images in map(np.ascontiguousarray, part.intensities()):
                total.update(images.data)
                if sum(map(len, parts.values())) <= hashing.HASHED_WHOLE:
                    pictures += [hashing.short(hashlib.sha256(image.data).digest()) for image in images]
            if pictures:
                hashes[split] = np.array(pictures, np.int64)
            total.update(f"{split} {part.labels().shape}".encode() + part.labels().tobytes())
        return Source(
            parts["train"],
            parts.get("test"),
            class_names,
            f"arrays:{total.hexdigest()}",
            (*notes, *found, *labels.lacking(numbered, whose.field)),
            parts.get("valid"),
            contents=hashes,
            field=field,
        )

    def shape_and_classes(self, what: str) -> dict[str, object]:
        """Returns the fields of a config's section `data` that follow from the arrays: `image_shape` and `classes`.

        Raises:
          DataError: they are no pictures and labels; it calls them `what`.
        """
        class_names, parts, _ = _examined(self, Whose(what, "data", "Give"), ())
        shape = parts["train"].shape[1:]
        if shape[0] in GREY_OR_COLOUR and shape[2] not in GREY_OR_COLOUR:
            raise _channels_first(parts["train"], shape[1:] + shape[:1])
        return {"image_shape": shape, "classes": len(class_names)}


@source(name="arrays")
class OfPython:
    """Arrays that Python code hands over: `cnn.run(config, workdir, data=cnn.Arrays(...))`. Elsewhere they are not."""

    of_numbers: ClassVar[bool] = True

    def at_hand(self, data: DataSpec) -> bool:
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


class Whose(NamedTuple):
    """Whose arrays these are: what an error calls them, the field that named them, and what the user does with them."""

    name: str
    field: str = "config.data.name"
    give: str = "Return"

    def wrong(self, message: str) -> DataError:
        return DataError(f"{self.field}: {message}")


def note_held(size: int, name: str, data: DataSpec, remedy: str) -> Iterator[str]:
    """Says of compressed pictures that should or might stream that they are held in memory.

    Args:
      size: their bytes, unpacked.
      name: of their file.
      data: whether they should stream.
      remedy: how they would.
    """
    if data.loading == "stream" or (data.loading == "auto" and size > 4 * CHUNK_BYTES):
        yield f"config.data.file: {name} is compressed, so its {size:,} bytes are held in memory. {remedy}"


def _examined(
    given: Arrays, whose: Whose, names: tuple[str, ...]
) -> tuple[tuple[str, ...], dict[str, NumbersPart], list[str]]:
    """Returns the names of the classes, the parts, whose numbers have a factor, and what the user should hear."""
    # In this order they are hashed.
    splits = {"train": given.train, "test": given.test, "valid": given.valid}
    pairs = {split: _pair(split, pair, whose) for split, pair in splits.items() if pair is not None or split == "train"}
    labels = {split: pair[1] for split, pair in pairs.items()}
    class_names = _class_names(given.class_names, names, labels, whose)
    parts = {
        split: NumbersPart(
            split, images, _indices(split, labels[split], class_names, whose), what=f"{split} of {whose.name}"
        )
        for split, (images, _) in pairs.items()
    }
    return class_names, parts, _scaled(parts, whose)


def _pair(split: str, pair: Any, whose: Whose) -> tuple[np.ndarray, np.ndarray]:
    """Returns images with their channels, and labels: whole numbers, or names."""
    what = f"{split} of {whose.name}"
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise whose.wrong(f"{what} must be (images, labels), got {type(pair).__name__}.")
    images, labels = (_array(what, kind, each, whose) for kind, each in zip(("images", "labels"), pair, strict=True))
    if images.ndim == 3:
        images = images[..., None]
    if labels.shape == (len(images), 1):  # as MedMNIST has them
        labels = labels.reshape(-1)
    if images.ndim != 4 or labels.shape != (len(images),):
        one_hot = " Of a row of numbers for each label take labels.argmax(1)." if labels.ndim == 2 else ""
        raise whose.wrong(
            f"{what} must hold images [n, height, width, channels] and n labels, "
            f"got shapes {images.shape} and {labels.shape}.{one_hot}"
        )
    if images.dtype.kind not in "iuf":
        remedy = f" {whose.give} images.astype('uint8') * 255." if images.dtype == bool else ""
        raise whose.wrong(f"{what}: images must be finite numbers, got {images.dtype}.{remedy}")
    return images, _kind_of_labels(what, labels, whose)


def _array(what: str, kind: str, given: Any, whose: Whose) -> np.ndarray:
    try:
        array = given if isinstance(given, np.ndarray) else np.asarray(given)
    except ValueError as error:  # a list of pictures of several sizes
        raise whose.wrong(f"{what}: {kind} must be one array, got {' '.join(str(error).split())[:120]}.") from None
    if np.ma.is_masked(given):
        raise whose.wrong(f"{what}: {kind} must be a plain array, got one with a mask. {whose.give} {kind}.filled(0).")
    if array.dtype.hasobject and not (kind == "labels" and all(isinstance(label, str) for label in array.flat)):
        raise whose.wrong(
            f"{what}: {kind} must be numbers{' or names' * (kind == 'labels')} of one type, got an array of Python "
            f"objects. {whose.give} one array of numbers, such as np.stack(list_of_pictures) of pictures of one size."
        )
    return array


def _kind_of_labels(what: str, labels: np.ndarray, whose: Whose) -> np.ndarray:
    if not len(labels):
        return np.zeros(0, np.int32)
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8")
    if labels.dtype.kind in "UO":
        known, inverse = np.unique(labels.astype(str), return_inverse=True)
        return np.array([name_of(name) for name in known])[inverse]
    if labels.dtype.kind not in "iu":
        missing = np.flatnonzero(np.isnan(labels) if labels.dtype.kind == "f" else False)
        nan = f", NaN in row {missing[0]} ({len(missing)} such rows)" if len(missing) else ""
        remedy = f" {whose.give} labels.astype(int)." if labels.dtype == bool else ""
        raise whose.wrong(f"{what}: labels must be whole numbers or names, got {labels.dtype}{nan}.{remedy}")
    return labels


def _class_names(
    given: Sequence[str] | None, names: tuple[str, ...], labels: Mapping[str, np.ndarray], whose: Whose
) -> tuple[str, ...]:
    if given is not None or names:
        found = tuple(map(name_of, given if given is not None else names))
        if twice := [name for name in found if found.count(name) > 1]:
            must = "must have a name of its own for each class"
            if given is None:
                raise DataError(f"config.data.class_names: {must}, got {twice[0]!r} twice.")
            raise whose.wrong(f"class_names of {whose.name} {must}, got {twice[0]!r} twice.")
        return found
    some = {split: each for split, each in labels.items() if len(each)}
    of_names = [split for split, each in some.items() if each.dtype.kind == "U"]
    if of_names and len(of_names) < len(some):
        other = next(split for split in some if split not in of_names)
        raise whose.wrong(
            f"{whose.name} has names as labels of {of_names[0]} and numbers as those of {other}. "
            f"{whose.give} labels of one kind, or class_names."
        )
    if of_names:
        return tuple(sorted({str(label) for each in some.values() for label in np.unique(each)}))
    if not some:
        raise whose.wrong(f"{whose.name} holds no pictures, got 0 in {' and '.join(labels)}. {whose.give} some.")
    highest = max(int(each.max()) for each in some.values())
    if highest >= MOST_CLASSES:
        raise whose.wrong(f"labels of {whose.name} must be below {MOST_CLASSES:,}, got {highest}.")
    return tuple(map(str, range(1 + max(0, highest))))


def _indices(split: str, labels: np.ndarray, class_names: Sequence[str], whose: Whose) -> Int32[np.ndarray, " n"]:
    """Returns the classes of the labels, as numbers."""
    what = f"{split} of {whose.name}"
    if labels.dtype.kind == "U":
        index = {name: row for row, name in enumerate(class_names)}
        known, inverse = np.unique(labels, return_inverse=True)
        if unknown := [str(label) for label in known if str(label) not in index]:
            raise whose.wrong(f"{what} has the label {unknown[0]!r}, which is none of its class_names.")
        return np.array([index[str(label)] for label in known], np.int32)[inverse]
    bad = np.flatnonzero((labels < 0) | (labels >= len(class_names)))
    if len(bad):
        named = class_names != tuple(map(str, range(len(class_names))))
        each = f"a number for each of {len(class_names)} class names" if named else "the classes counted from 0"
        raise whose.wrong(
            f"labels of {what} must lie in 0..{len(class_names) - 1}, {each}, got "
            f"{labels[bad[0]]} in row {bad[0]} ({len(bad)} such rows)."
        )
    return labels.astype(np.int32)


def _check_first_label(
    parts: Mapping[str, NumbersPart], class_names: tuple[str, ...], whose: Whose, data: DataSpec
) -> None:
    """Says of labels that start above 0 why they are of one class more than they seem to be."""
    classes = len(class_names)
    lowest = min((int(part.labels().min()) for part in parts.values() if len(part)), default=0)
    if lowest and data.classes != classes:
        raise OtherClasses(
            f"config.data.classes: the labels of {whose.name} are {lowest} to {classes - 1} and are used as they are, "
            f"which makes {classes} classes, those below {lowest} without pictures, got {data.classes}. "
            f"Set it to {classes}, or {whose.give.lower()} labels that start at 0.",
            class_names,
        )


def _check_channels_last(part: NumbersPart, data: DataSpec) -> None:
    height, width, channels = data.image_shape
    first, *_, last = shape = part.shape[1:]
    other_size = first in GREY_OR_COLOUR and last not in (*GREY_OR_COLOUR, channels)
    if shape == (channels, height, width) != (height, width, channels) or other_size:
        raise _channels_first(part, data.image_shape)


def _channels_first(part: NumbersPart, expected: tuple[int, ...]) -> DataError:
    return DataError(
        f"config.data.image_shape: {part.what} has its channels first, {'x'.join(map(str, part.shape[1:]))}, "
        f"got {tuple(expected)}. Put them last: images.transpose(0, 2, 3, 1)."
    )


def _scaled(parts: Mapping[str, NumbersPart], whose: Whose) -> list[str]:
    """Finds the factor of each part's numbers; returns how they were read, where they are no bytes.

    Raises:
      DataError: they are no intensities, or some parts shares and others intensities.
    """
    notes = []
    ranges: dict[str, tuple[float, float]] = {}
    for split, part in parts.items():
        if part.dtype == np.uint8:
            if len(part) and not any((chunk > 1).any() for chunk in part.chunks()):
                notes.append(f"{part.what}: no number is above 1, and bytes are read as intensities from 0 to 255")
            continue
        low, high = ranges[split] = _range(part, whose)
        shares = part.dtype.kind == "f" and high <= 1
        if part.dtype.kind == "f" and 1 < high < OVERSHOT:
            raise whose.wrong(
                f"{part.what}: images must lie in [0, 1] or in 0..255, got {low:g} to {high:g}, which are neither. "
                f"{whose.give} np.clip(images, 0, 1), if they are shares of full intensity."
            )
        part.factor = 255 if shares else 1
        said = "shares of full intensity: they lie in [0, 1]" if shares else "intensities from 0 to 255"
        notes.append(f"{part.what}: its {part.dtype} numbers, {low:g} to {high:g}, are read as {said}")
    floats = [split for split in ranges if parts[split].dtype.kind == "f" and ranges[split][1] > 0]
    factors = {parts[split].factor: split for split in floats}
    if len(factors) > 1:
        one, other = factors[255], factors[1]
        raise whose.wrong(
            f"{one} and {other} of {whose.name} must lie in one range, [0, 1] or 0..255, got "
            f"{ranges[one][0]:g} to {ranges[one][1]:g} and {ranges[other][0]:g} to {ranges[other][1]:g}. "
            f"{whose.give} all pictures in one, best as uint8."
        )
    return notes


def _range(part: NumbersPart, whose: Whose) -> tuple[float, float]:
    low, high = np.inf, -np.inf
    for chunk in part.chunks():
        if not np.isfinite(chunk).all():
            raise whose.wrong(f"{part.what}: images must be finite numbers, got {part.dtype} with NaN or infinities.")
        if chunk.size:
            low, high = min(low, float(chunk.min())), max(high, float(chunk.max()))
    if high < low:
        return 0.0, 0.0
    if low < 0 or high > 255:
        remedy = "them before any standardisation; config.data.mean and std do that."
        if low >= 0 and part.dtype.kind in "iu":
            remedy = f"them scaled to that, such as (images // {math.ceil((high + 1) / 256)}).astype('uint8')."
        raise whose.wrong(
            f"{part.what}: images must lie in [0, 1] or in 0..255, got {low:g} to {high:g}. {whose.give} {remedy}"
        )
    return low, high
