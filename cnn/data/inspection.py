"""Looks at data before anything is trained with them: what there is of each class, what is broken, what is there twice.

What a run would be refused for is said with what would be right, and looking goes on as if that were set: of a config
that does not fit its data, this is how to find out.
"""

import dataclasses
import hashlib
import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int64

from cnn.data import datasets
from cnn.data.decode import Header, bombs_stay_errors, read_content, read_header
from cnn.data.order import permutation
from cnn.data.parts import should_stream
from cnn.data.resize import DoesNotFit
from cnn.data.types import SPLITS, CannotSplit, DataError, Dataset, DataSpec, OtherClasses, Part, Split, Stored, centre
from cnn.fields import shorten

READ_WHOLE = 5_000
"""Data of up to so many pictures are read whole."""
SAMPLE = 1_000
"""So many pictures of each split are read of larger ones, unless all are asked for."""
SAMPLE_KEY = 0x73616D706C65_0003
STEP_BYTES = 1 << 24
"""What is decoded at a time."""
IMBALANCE, FEW = 10, 10
"""From which ratio of the largest class to the smallest on, and below how many pictures of a class, that is said."""
LARGE, SMALLER = 256, 128
"""Of pictures that are longer than the first, ones of the second length are proposed, too."""
SPLITTING = ("valid", "valid_fraction", "test_fraction", "fold")
"""The fields that cut splits."""
NAMED = 3
"""How many pictures or classes a line names."""


class Unusable(NamedTuple):
    """A picture that cannot be used, and why."""

    split: str
    picture: str
    reason: str


class Copy(NamedTuple):
    """One of several pictures with the same bytes."""

    split: str
    picture: str
    label: int


@dataclass(frozen=True)
class SplitFacts:
    """What there is of one split.

    Attributes:
      counts: how many pictures of each class.
      examined: how many of them were read.
      sizes: how many of these have a height and a width, turned upright, as they are stored; empty where they are kept
        as numbers, as `formats` is.
      formats: how many are stored as PNG, JPEG, ...
      grey: how many are stored without colours.
    """

    counts: tuple[int, ...]
    examined: int
    sizes: Counter[tuple[int, int]]
    formats: Counter[str]
    grey: int

    @property
    def ratio(self) -> float:
        """How many times the pictures of the smallest class the largest has, of those that have any; 1 for none."""
        present = [count for count in self.counts if count]
        return max(present) / min(present) if present else 1.0


@dataclass(frozen=True)
class Facts:
    """What there is to know of data, and of how a config reads them.

    Attributes:
      name: of the source.
      identity: by which a run knows its data again; `None` where the config would be refused.
      image_shape: in which the pictures were read: the config's, or what it would have to be.
      resize: likewise.
      splits: by name.
      mean: of each channel over the training pictures that were read, intensities in [0, 1].
      std: the standard deviation, likewise.
      unusable: the pictures that cannot be read, or do not fit.
      copies: groups of pictures with equal bytes, or equal numbers where they are kept as such.
      refusals: what a run with this config would be refused for, a line each, with what would be right.
      remarks: what may surprise, a line each.
      notes: what the source says, a line each.
      streams: whether a run reads the pictures batch by batch.
      memory: the bytes that they take as they are decoded, and that they may take in memory.
    """

    name: str
    identity: str | None
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    resize: str
    splits: Mapping[str, SplitFacts]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    unusable: tuple[Unusable, ...]
    copies: tuple[tuple[Copy, ...], ...]
    refusals: tuple[str, ...]
    remarks: tuple[str, ...]
    notes: tuple[str, ...]
    streams: bool
    memory: tuple[int, float]

    @property
    def pictures(self) -> int:
        """How many there are in all splits."""
        return sum(sum(split.counts) for split in self.splits.values())

    @property
    def examined(self) -> int:
        """How many of them were read."""
        return sum(split.examined for split in self.splits.values())

    @property
    def in_both(self) -> dict[tuple[str, str], int]:
        """How many pictures of a later split are in an earlier one, by the two.

        Of a split with itself, how many pictures it would lose if it held each once.
        """
        found: Counter[tuple[str, str]] = Counter()
        for group in self.copies:
            held = Counter(copy.split for copy in group)
            names = [name for name in SPLITS if held[name]]
            found.update({(name, name): held[name] - 1 for name in names if held[name] > 1})
            found.update({(first, name): held[name] for n, name in enumerate(names) for first in names[:n]})
        return dict(found)

    @property
    def contradictions(self) -> tuple[tuple[Copy, ...], ...]:
        """The groups of equal pictures that do not all have the same class."""
        return tuple(group for group in self.copies if len({copy.label for copy in group}) > 1)


class _Kept(NamedTuple):
    """What a picture is as it is kept."""

    digest: bytes
    header: Header | None
    """`None` of one that is kept as numbers."""


class _Opened(NamedTuple):
    """Data that nothing is decoded of yet, how they are read, and what of the config they do not fit, by field."""

    dataset: Dataset
    data: DataSpec
    refusals: dict[str, str]


def inspect(data: DataSpec, memory_budget: float = math.inf, *, whole: bool = False) -> tuple[Facts, Dataset]:
    """Looks at the data that a config names.

    Args:
      data: which, and how a run would read them.
      memory_budget: bytes that the pictures may take in memory.
      whole: reads every picture, however many there are.

    Returns:
      What there is, and the dataset as it was read, nothing of it in memory.

    Raises:
      DataError: they are missing, or cannot be read whatever the config's shape and classes.
    """
    dataset, reading, refused = _open(data)
    whole = whole or sum(map(len, _splits(dataset).values())) <= READ_WHOLE
    rows = {name: _rows(number, split, whole) for number, (name, split) in enumerate(_splits(dataset).items())}
    bombs_stay_errors()
    kept = {name: _kept(split, rows[name]) for name, split in _splits(dataset).items()}
    headers = [found.header for pictures in kept.values() for found in pictures if found and found.header]
    if misfit := _misfit(data, reading.image_shape[2], headers):
        refusal, reading = misfit
        dataset, reading, again = _open(reading)
        refused |= {**again, "image_shape": refusal}
    read = {name: _decoded(split, rows[name]) for name, split in _splits(dataset).items()}
    refusals = [*refused.values(), *(_refused_pictures(read) if data.on_error == "stop" else ())]
    mean, std = _mean_and_std(read["train"].histogram)
    pictures = sum(map(len, _splits(dataset).values()))
    facts = Facts(
        name=data.name,
        identity=None if refusals else dataset.identity,
        class_names=dataset.class_names,
        image_shape=reading.image_shape,
        resize=reading.resize,
        splits={name: _facts(split, dataset, kept[name]) for name, split in _splits(dataset).items()},
        mean=mean,
        std=std,
        unusable=tuple(_unusable(read)),
        copies=tuple(_copies(dataset, rows, kept)),
        refusals=tuple(refusals),
        remarks=(),
        notes=dataset.notes,
        streams=should_stream(data.loading, pictures, reading.stored_shape, memory_budget),
        memory=(pictures * math.prod(reading.stored_shape), memory_budget),
    )
    return dataclasses.replace(facts, remarks=tuple(_remarks(facts))), dataset


def _splits(dataset: Dataset) -> dict[str, Split]:
    return dataset.splits


def _stored(split: Split) -> tuple[Part, np.ndarray]:
    """Returns what keeps the pictures of a split that streams, and their rows there."""
    assert isinstance(split.images, Stored) and split.images.part is not None
    return split.images.part, split.images.rows


def _open(data: DataSpec) -> _Opened:
    """Lists data, with other values of those fields of the config that they do not fit."""
    refusals: dict[str, str] = {}
    reading = dataclasses.replace(data, loading="stream", on_error="skip")
    while True:
        try:
            return _Opened(datasets.load(reading), reading, refusals)
        except DataError as error:
            field, instead = _instead(error, reading, "image_shape" in refusals)
            if field in refusals:
                raise
            refusals[field] = str(error)
            reading = dataclasses.replace(reading, **instead)


def _instead(error: DataError, data: DataSpec, has_shape: bool) -> tuple[str, Mapping[str, Any]]:
    """Returns the field of the config that an error blames, and values with which the data may be read.

    Args:
      error: what reading the data told.
      data: how they were read.
      has_shape: whether the shape is already one of theirs.

    Raises:
      DataError: no other value of the config would help.
    """
    field = str(error).partition(":")[0].removeprefix("config.data.")
    if isinstance(error, OtherClasses):
        return "classes", {"classes": len(error.class_names)}
    if isinstance(error, DoesNotFit) and has_shape and error.shape[2] == data.image_shape[2]:
        return "resize", {"resize": "cover"}
    if isinstance(error, DoesNotFit):
        return "image_shape", {"image_shape": error.shape, "stored_size": ()}
    if isinstance(error, CannotSplit):
        return field, error.uncut
    raise error


def _rows(number: int, split: Split, whole: bool) -> Int64[np.ndarray, " rows"]:
    """Returns the rows of a split that are read, in order."""
    if whole or len(split) <= SAMPLE:
        return np.arange(len(split))
    return np.sort(permutation(SAMPLE_KEY, number, len(split))[:SAMPLE])


def _kept(split: Split, rows: np.ndarray) -> list[_Kept | None]:
    """Returns what pictures are as they are kept; `None` for those that cannot be read at all."""
    part, of_part = _stored(split)

    def look(row: int) -> _Kept | None:
        try:
            stored = part.stored(row)
            if stored is None:
                return _Kept(hashlib.sha256(part.read(np.array([row]), 1)[0].tobytes()).digest(), None)
            content = stored if isinstance(stored, bytes) else read_content(stored)
            return _Kept(hashlib.sha256(content).digest(), read_header(content))
        except (OSError, DataError):
            return None  # decoding tells why

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(look, of_part[rows].tolist()))


def _misfit(data: DataSpec, channels: int, headers: Sequence[Header]) -> tuple[str, DataSpec] | None:
    """Returns why pictures of these sizes would be refused, and how they can be read; `None` where they fit.

    Args:
      data: as the config says.
      channels: that the source gives.
      headers: of the pictures that were looked at.
    """
    height, width, _ = data.stored_shape
    sizes = Counter((header.height, header.width) for header in headers)
    misfits = {"exact": lambda h, w: (h, w) != (height, width), "pad": lambda h, w: h > height or w > width}
    unlike = sum(count for size, count in sizes.items() if data.resize in misfits and misfits[data.resize](*size))
    if not unlike or (data.on_error == "skip" and unlike < len(headers)):
        return None
    (common, count), alike = sizes.most_common(1)[0], len(sizes) == 1
    field = "stored_size" if data.stored_size else "image_shape"
    shape, resize = (*common, channels), data.resize if alike else "cover"
    remedy = f"Set it to {shape}{'' if alike else ', and config.data.resize to cover for the others'}"
    if data.stored_size or common == (height, width):
        shape, resize = (*data.image_shape[:2], channels), "cover"
        remedy = "Set config.data.resize to cover"
    elif max(common) > LARGE:
        smaller_height, smaller_width = (max(1, round(side * SMALLER / max(common))) for side in common)
        remedy = f"Set it to {shape}, or to fewer pixels and config.data.resize to cover, such as "
        shape, resize = (smaller_height, smaller_width, channels), "cover"
        remedy += str(shape)
    most = f"{'all' if alike else f'most ({count:,})'} are {common[0]}x{common[1]} (height x width)"
    refusal = (
        f"config.data.{field}: {unlike:,} of {len(headers):,} pictures do not fit it with config.data.resize="
        f"{data.resize}, {most}, got {tuple(data.stored_size or data.image_shape)}. {remedy}."
    )
    return refusal, dataclasses.replace(data, image_shape=shape, resize=resize)


class _Decoded(NamedTuple):
    """What decoding the pictures of a split told."""

    part: Part
    errors: dict[int, DataError]
    """What is wrong with those that cannot be used, by their rows in the part."""
    histogram: Int64[np.ndarray, "channels 256"]
    """How often each channel of the others has each intensity."""


def _decoded(split: Split, rows: np.ndarray) -> _Decoded:
    part, of_part = _stored(split)
    of_part, shape = of_part[rows], split.images.shape[1:]
    histogram = np.zeros((shape[2], 256), np.int64)
    errors: dict[int, DataError] = {}
    step = max(1, STEP_BYTES // math.prod(shape))
    for start in range(0, len(of_part), step):
        chunk = of_part[start : start + step]
        images, _, found = part.read(chunk, os.cpu_count() or 1)
        usable = centre(images, shape[:2])[[int(row) not in found for row in chunk]]
        for channel, counts in enumerate(histogram):
            counts += np.bincount(usable[..., channel].ravel(), minlength=256)
        errors |= found
    return _Decoded(part, errors, histogram)


def _unusable(read: Mapping[str, _Decoded]) -> Iterator[Unusable]:
    """Yields the pictures that cannot be used; one that two splits share once."""
    told: set[str] = set()
    for name, found in read.items():
        for row, error in found.errors.items():
            title = found.part.title(row)
            if title not in told:
                told.add(title)
                yield Unusable(name, title, str(error))


def _refused_pictures(read: Mapping[str, _Decoded]) -> Iterator[str]:
    """Yields what a run would say of the pictures that cannot be used, a line for each part of the source."""
    by_part: dict[int, tuple[Part, dict[int, DataError]]] = {}
    for found in read.values():
        by_part.setdefault(id(found.part), (found.part, {}))[1].update(found.errors)
    yield from (str(part.refusal(errors)) for part, errors in by_part.values() if errors)


def _mean_and_std(histogram: Int64[np.ndarray, "channels 256"]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Returns the mean and the standard deviation of each channel's intensities, in [0, 1]."""
    shades, counts = np.arange(256) / 255, histogram.sum(axis=1)
    if not counts.all():
        return (), ()
    means = histogram @ shades / counts
    variances = (histogram * (shades - means[:, None]) ** 2).sum(axis=1) / counts
    return tuple(map(float, means)), tuple(map(float, np.sqrt(variances)))


def _facts(split: Split, dataset: Dataset, kept: Sequence[_Kept | None]) -> SplitFacts:
    headers = [found.header for found in kept if found and found.header]
    return SplitFacts(
        counts=tuple(split.counts(len(dataset.class_names)).tolist()),
        examined=len(kept),
        sizes=Counter((header.height, header.width) for header in headers),
        formats=Counter(header.format for header in headers),
        grey=sum(header.grey for header in headers),
    )


def _copies(
    dataset: Dataset, rows: Mapping[str, np.ndarray], kept: Mapping[str, Sequence[_Kept | None]]
) -> Iterator[tuple[Copy, ...]]:
    """Yields the groups of equal pictures, in the order of their first ones; a picture that two splits share is one."""
    groups: dict[bytes, dict[str, Copy]] = {}
    for name, split in _splits(dataset).items():
        part, of_part = _stored(split)
        for row, found in zip(rows[name], kept[name], strict=True):
            if found:
                copy = Copy(name, part.title(int(of_part[row])), int(split.labels[row]))
                groups.setdefault(found.digest, {}).setdefault(copy.picture, copy)
    yield from (tuple(group.values()) for group in groups.values() if len(group) > 1)


def _remarks(facts: Facts) -> Iterator[str]:
    """Yields what may surprise."""
    yield from _unbalanced(facts)
    if not any(facts.splits["test"].counts):
        yield (
            "there is no test split. config.data.test_fraction cuts one from train, and with config.eval.test=False a "
            "run needs none"
        )
    for name, split in facts.splits.items():
        by_count = sorted(zip(split.counts, facts.class_names, strict=True))
        lacking = [each for n, each in by_count if n == 0]
        few = [f"{each} ({n})" for n, each in by_count if 0 < n < FEW]
        if lacking and any(split.counts):
            yield f"{name} has no pictures of {len(lacking):,} of {len(by_count):,} classes: {shorten(lacking, NAMED)}"
        if few:
            told = "learned" if name == "train" else "measured"
            yield (
                f"{name} has fewer than {FEW} pictures of {len(few):,} of {len(by_count):,} classes, and what is "
                f"{told} of them is mostly chance: {shorten(few, NAMED)}"
            )
    yield from _twice(facts)
    yield from _colours(facts)


def _unbalanced(facts: Facts) -> Iterator[str]:
    counts = facts.splits["train"].counts
    ratio = facts.splits["train"].ratio
    if ratio > IMBALANCE:
        most, least = int(np.argmax(counts)), min((n, label) for label, n in enumerate(counts) if n)[1]
        yield (
            f"the largest class of train, {facts.class_names[most]} ({counts[most]:,}), has {ratio:.1f} times the "
            f"pictures of the smallest, {facts.class_names[least]} ({counts[least]:,}). "
            "config.train.class_weights=balanced lets every class count as much, config.data.balance=classes shows "
            "each as often"
        )


def _twice(facts: Facts) -> Iterator[str]:
    for (first, second), count in facts.in_both.items():
        pictures = "picture" if count == 1 else "pictures"
        if first == second:
            yield f"{first} holds {count} {pictures} more than once, byte for byte"
        else:
            yield f"{count} {pictures} of {second} {'is' if count == 1 else 'are'} in {first}, too, byte for byte"
    if groups := facts.contradictions:
        shown = [
            " = ".join(f"{copy.picture} ({facts.class_names[copy.label]})" for copy in group)
            for group in groups[:NAMED]
        ]
        yield f"the same picture has different classes, {len(groups)} times: {shorten(shown, NAMED, len(groups))}"


def _colours(facts: Facts) -> Iterator[str]:
    pictures = sum(sum(split.sizes.values()) for split in facts.splits.values())
    coloured = pictures - sum(split.grey for split in facts.splits.values())
    if facts.image_shape[2] == 1 and coloured:
        yield (
            f"{coloured:,} of {pictures:,} pictures are stored in colour and become grey, as the last number of "
            "config.data.image_shape is 1. With 3 they keep their colours"
        )
    if facts.image_shape[2] == 3 and pictures and not coloured:
        yield "all pictures are stored in grey. 1 as the last number of config.data.image_shape is enough for them"
