"""The parts of a source, and how they become splits: read into memory at once, or on demand.

Pictures that cannot be used are refused, or listed and given no weight, as the config says.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
from jaxtyping import Int32, UInt8

from cnn.data.bad_examples import BadExample, BadExamples
from cnn.data.decode import bombs_are_errors, bombs_stay_errors
from cnn.data.order import permutation
from cnn.data.resize import check_fits, fit_images
from cnn.data.types import DataError, Part, Source, Split, Stored, centre

CHUNK_BYTES = 1 << 26
"""What is decoded, or looked at, at a time."""
SAMPLE = 64
"""How many pictures of a part are looked at before a run that streams begins."""
SAMPLE_KEY = 0x73616D706C65_0001


class NumbersPart(Part):
    """Pictures of one size that are kept as numbers of any type, in memory or in a file that is mapped."""

    def __init__(
        self, name: str, images: np.ndarray, labels: Int32[np.ndarray, " n"], *, what: str = "", factor: int = 1
    ) -> None:
        """Reads nothing yet.

        Args:
          name: "train", "valid" or "test".
          images: [n, height, width, channels].
          labels: the class of each.
          what: whose pictures these are, for the errors.
          factor: what makes the numbers intensities from 0 to 255.
        """
        self.name, self.what, self.factor = name, what, factor
        self.shape: tuple[int, int, int, int] = images.shape
        self._images, self._labels = images, labels
        self._image_shape, self._resize = self.shape[1:], "exact"

    def __len__(self) -> int:
        return len(self._labels)

    @property
    def dtype(self) -> np.dtype:
        """The type of the numbers as they are kept."""
        return self._images.dtype

    def fit_to(self, image_shape: tuple[int, int, int], resize: str) -> None:
        """Lets pictures be read in another size than their own.

        Raises:
          DataError: they cannot be.
        """
        check_fits(self.shape[1:], image_shape=image_shape, resize=resize, what=self.what)
        self._image_shape, self._resize = image_shape, resize

    def labels(self) -> Int32[np.ndarray, " n"]:
        return self._labels

    def chunks(self) -> Iterator[np.ndarray]:
        """Yields all numbers as they are kept, some pictures at a time."""
        step = max(1, CHUNK_BYTES // max(1, int(np.prod(self.shape[1:])) * self.dtype.itemsize))
        for start in range(0, len(self), step):
            yield self._images[start : start + step]

    def intensities(self) -> Iterator[UInt8[np.ndarray, "some h w c"]]:
        """Yields all pictures as bytes, of their own size, some at a time."""
        return map(self._bytes, self.chunks())

    def read(self, rows: np.ndarray, threads: int) -> tuple[np.ndarray, np.ndarray, dict[int, DataError]]:
        del threads
        pictures = self._bytes(self._images[rows])
        images = fit_images(pictures, image_shape=self._image_shape, resize=self._resize, what=self.what)
        return images, self._labels[rows], {}

    def _bytes(self, numbers: np.ndarray) -> UInt8[np.ndarray, "some h w c"]:
        return np.asarray(numbers) if self.dtype == np.uint8 else np.round(numbers * self.factor).astype(np.uint8)


class JoinedPart(Part):
    """A source's train and its own validation split as one part, the rows of train first."""

    def __init__(self, train: Part, valid: Part) -> None:
        self.name, self._parts, self._first = train.name, (train, valid), len(train)

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def labels(self) -> np.ndarray:
        return np.concatenate([part.labels() for part in self._parts])

    def read(self, rows: np.ndarray, threads: int) -> tuple[np.ndarray, np.ndarray, dict[int, DataError]]:
        if (rows < self._first).all():
            return self._parts[0].read(rows, threads)
        images, labels = [], np.empty(len(rows), np.int32)
        errors: dict[int, DataError] = {}
        positions = [np.flatnonzero(rows < self._first), np.flatnonzero(rows >= self._first)]
        for part, chosen, offset in zip(self._parts, positions, (0, self._first), strict=True):
            images_of_part, labels[chosen], found = part.read(rows[chosen] - offset, threads)
            images.append(images_of_part)
            errors |= {row + offset: error for row, error in found.items()}
        as_asked = np.argsort(np.concatenate(positions), kind="stable")
        return np.concatenate(images)[as_asked], labels, errors

    def stored(self, row: int) -> str | bytes | None:
        part, offset = self._part_of(row)
        return part.stored(row - offset)

    def title(self, row: int) -> str:
        part, offset = self._part_of(row)
        return part.title(row - offset)

    def refusal(self, errors: dict[int, DataError]) -> DataError:
        """Speaks of the pictures of the split that the first of them lies in."""
        part, offset = self._part_of(min(errors))
        return part.refusal({row - offset: error for row, error in errors.items() if self._part_of(row)[0] is part})

    def _part_of(self, row: int) -> tuple[Part, int]:
        return (self._parts[0], 0) if row < self._first else (self._parts[1], self._first)


def parts_of(source: Source) -> tuple[Part, ...]:
    """Returns train, with the source's own validation split behind it, and test where it has one."""
    train = source.train if source.valid is None else JoinedPart(source.train, source.valid)
    return (train,) if source.test is None else (train, source.test)


def should_stream(loading: str, pictures: int, image_shape: tuple[int, int, int], memory_budget: float) -> bool:
    """Tells whether pictures stream: they stay stored, and are read as they are needed.

    Args:
      loading: "memory", "stream", or "auto" to stream what does not fit.
      pictures: how many there are.
      image_shape: height, width and channels of each, a byte a number.
      memory_budget: the bytes that all of them may take.
    """
    return loading == "stream" or (loading == "auto" and pictures * int(np.prod(image_shape)) > memory_budget)


def into_memory(part: Part, image_shape: tuple[int, int, int], bad_examples: BadExamples | None) -> Split:
    """Reads a whole part.

    Args:
      part: read in its own order.
      image_shape: height, width and channels of every picture; of larger ones the centre is kept.
      bad_examples: lists the pictures that cannot be used; `None` refuses them.

    Raises:
      DataError: a picture cannot be used and may not be passed over, or all of them cannot.
    """
    count = len(part)
    images, labels = np.zeros((count, *image_shape), dtype=np.uint8), np.empty(count, dtype=np.int32)
    step = max(1, CHUNK_BYTES // int(np.prod(image_shape)))
    errors: dict[int, DataError] = {}
    with bombs_are_errors():
        for start in range(0, count, step):
            rows = np.arange(start, min(start + step, count))
            pictures, labels[rows], found = part.read(rows, os.cpu_count() or 1)
            images[rows] = centre(pictures, image_shape[:2])
            errors |= found
    _refuse_or_list(part, errors, bad_examples, count)
    unusable = np.zeros(count, dtype=bool)
    unusable[list(errors)] = True
    return Split(images, labels, unusable if errors else None)


def on_demand(part: Part, image_shape: tuple[int, int, int], bad_examples: BadExamples | None) -> Split:
    """Returns a part whose pictures are read when they are asked for; a sample of them is read here.

    Raises:
      DataError: as `into_memory`, as far as the sample tells; reading others may raise it later.
    """
    count = len(part)
    unusable = np.zeros(count, dtype=bool)

    def read(rows: np.ndarray) -> np.ndarray:
        images, _, errors = part.read(rows, 1)
        _refuse_or_list(part, errors, bad_examples)
        unusable[list(errors)] = True
        return centre(images, image_shape[:2])

    bombs_stay_errors()
    sample = np.sort(permutation(SAMPLE_KEY, 0, count)[:SAMPLE])
    _, _, errors = part.read(sample, os.cpu_count() or 1)
    _refuse_or_list(part, errors, bad_examples, len(sample))
    return Split(Stored(image_shape, np.arange(count), read, unusable, part), part.labels())


def _refuse_or_list(
    part: Part, errors: dict[int, DataError], bad_examples: BadExamples | None, pictures: int = 0
) -> None:
    """Refuses what cannot be used, or lists it; where that is each of so many pictures, the config must be wrong."""
    if errors and (bad_examples is None or len(errors) == pictures):
        raise part.refusal(errors)
    for row, error in errors.items():
        assert bad_examples is not None
        bad_examples.add(BadExample(part.name, row, part.title(row), str(error)))
