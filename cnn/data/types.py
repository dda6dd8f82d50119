"""What a dataset is to the rest of the code: arrays, or pictures that stay stored, and the one error about them."""

import abc
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from jaxtyping import Bool, Int32, Int64, UInt8

from cnn.data.bad_examples import BadExamples
from cnn.fields import Bounds, Fraction, NonNegative, Rate

# TFDS also takes names with a namespace, which reach for the network; and a name must not leave the data folder.
DATASET_NAME = re.compile(r"[a-zA-Z]\w*(/[\w.+-]*\w)?(:\d+\.\d+\.\d+)?", re.ASCII)
"""What the name of a dataset looks like."""
MOST_CLASSES = 1_000_000
Classes = Annotated[int, Bounds(1, MOST_CLASSES)]
SPLITS = ("train", "valid", "test")
UNUSABLE = -1
"""The label of a picture that cannot be used: it weighs nothing."""


class DataError(ValueError):
    """Reports something about the data that the user can put right, in one line."""


class OtherClasses(DataError):
    """Reports that the data have not as many classes as the config says, and which they have."""

    def __init__(self, message: str, class_names: tuple[str, ...]) -> None:
        super().__init__(message)
        self.class_names = class_names


class CannotSplit(DataError):
    """Reports that the data cannot be split as the config says.

    Attributes:
      uncut: fields of the config with values that leave the data as they are split by themselves.
    """

    def __init__(self, message: str, uncut: Mapping[str, Any]) -> None:
        super().__init__(message)
        self.uncut = uncut


@dataclass(frozen=True)
class DataSpec:
    """Which data, and how they become the pictures of the three splits."""

    name: str
    """A source, with its options where it has some, or the name of a TFDS dataset."""
    image_shape: Annotated[tuple[int, int, int], Bounds(1, 16_384)]
    """Height, width, channels."""
    classes: Classes
    """How many classes there are."""
    class_names: tuple[str, ...] = ()
    """One for each label, from 0 on, where the source has numbers alone; empty: its own names, or the numbers."""
    resize: Literal["exact", "pad", "nearest", "bilinear", "bicubic", "lanczos", "cover"] = "exact"
    """How a picture of another size becomes `image_shape`, or of `stored_size` where that is given; cover keeps the
    proportions, and the middle alone. It was called `fit` once."""
    stored_size: Annotated[tuple[int, ...], Bounds(1, 16_384)] = ()
    """The height and width at which pictures are held and streamed, at least those of `image_shape`; empty: those. In
    training the first augmentation that crops brings them to `image_shape`, otherwise the centre is cut out, as it is
    in everything else."""
    decode: Literal["full", "scaled"] = "full"
    """JPEG files are decoded to all of their pixels, or to so many eighths of their size as `resize` needs, and brought
    to size by OpenCV where it is installed: faster, and slightly other pixels."""
    valid: Literal["auto", "own", "fraction"] = "auto"
    """Which pictures are valid: the data's own validation split, a part of train, or the former where there is one."""
    valid_fraction: Rate = 0.1
    """The part of every class of train that becomes valid, where it is not the data's own."""
    test_fraction: Rate = 0.0
    """The part of every class of train that becomes test, where the data have no test split."""
    fold: str = ""
    """Such as 2/5: valid is the second of five equal parts of every class of train, in place of `valid_fraction`."""
    limit: NonNegative = 0.0
    """How much of train is used: below 1 a share, from 1 on a number of pictures, each class in proportion; 0: all."""
    train_on: Literal["train", "train+valid"] = "train"
    """What is trained on: train, or train and valid together, for a final number."""
    data_dir: str = ""
    """The folder of the data; of TFDS, empty means TFDS_DATA_DIR or TFDS's own default."""
    file: str = ""
    """The file of the data, their folder, or a pattern in which {split} stands for train, valid and test."""
    manual_dir: str = ""
    """Where files of TFDS lie that were fetched by hand."""
    loading: Literal["auto", "memory", "stream"] = "auto"
    """Read once into memory, or batch by batch while training; auto streams what needs more than `memory_share`."""
    memory_share: Fraction = 0.25
    """The part of the machine's memory, and of an accelerator's, that the pictures may fill when `loading` is auto."""
    on_error: Literal["stop", "skip"] = "stop"
    """Whether a picture that cannot be used ends the run, or is listed and weighs nothing."""

    @property
    def stored_shape(self) -> tuple[int, int, int]:
        """Height, width and channels of the pictures that are held."""
        height, width = self.stored_size or self.image_shape[:2]
        return height, width, self.image_shape[2]


class Stored:
    """Pictures that stay where they are until some are asked for; indexed by rows, as an array of this shape is."""

    dtype = np.dtype(np.uint8)

    def __init__(
        self,
        image_shape: tuple[int, int, int],
        rows: np.ndarray,
        read: Callable[[np.ndarray], np.ndarray],
        unusable: Bool[np.ndarray, " stored"],
        part: "Part | None" = None,
    ) -> None:
        """Reads nothing yet.

        Args:
          image_shape: height, width and channels of every picture.
          rows: which of the stored pictures these are.
          read: returns stored pictures by their rows, zeros for one that cannot be used; for any thread.
          unusable: marks the stored pictures that `read` found to be so, as far as it came.
          part: what keeps them, for those who look at them as they are stored.
        """
        self.shape = (len(rows), *image_shape)
        self.rows, self.part, self._read, self._unusable = rows, part, read, unusable

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, rows: int | slice | np.ndarray) -> UInt8[np.ndarray, "..."]:
        """Reads one picture, or several into an array of their own."""
        if isinstance(rows, int | np.integer):
            return self._read(self.rows[[rows]])[0]
        return self._read(self.rows[rows])

    def __iter__(self) -> Iterator[UInt8[np.ndarray, "height width channels"]]:
        return (self[row] for row in range(len(self)))

    def take(self, rows: np.ndarray) -> "Stored":
        """Names some of the pictures, without reading them."""
        return Stored(self.shape[1:], self.rows[rows], self._read, self._unusable, self.part)

    def centre(self, size: tuple[int, int]) -> "Stored":
        """Names the same pictures, of which only the centre will be seen, see `centre`."""

        def read(rows: np.ndarray) -> np.ndarray:
            return centre(self._read(rows), size)

        return Stored((*size, self.shape[-1]), self.rows, read, self._unusable, self.part)

    def unusable(self, rows: slice | np.ndarray) -> Bool[np.ndarray, " n"]:
        """Marks which of these pictures were read and could not be used."""
        return self._unusable[self.rows[rows]]


def take_images(images: UInt8[np.ndarray, "n height width channels"] | Stored, rows: np.ndarray) -> np.ndarray:
    """Returns some pictures in the host's memory; a device that holds them would compile a program to choose them."""
    return images[rows] if isinstance(images, Stored) else np.asarray(images)[rows]


def centre(images: Any, size: tuple[int, int]) -> Any:
    """Returns the centre of pictures, [n, height, width, channels], that are at least of this height and width.

    Of an odd number of rows or columns too many, the odd one is left out at the end.
    """
    top, left = ((given - wanted) // 2 for given, wanted in zip(images.shape[1:3], size, strict=True))
    return images[:, top : top + size[0], left : left + size[1]]


@dataclass(frozen=True)
class Split:
    """Holds pictures and their classes, row by row.

    `unusable` marks the pictures in memory that could not be read, if any; stored ones know that of themselves.
    """

    images: UInt8[np.ndarray, "n height width channels"] | Stored
    labels: Int32[np.ndarray, " n"]
    unusable: Bool[np.ndarray, " n"] | None = None

    def __len__(self) -> int:
        """Counts the rows."""
        return len(self.labels)

    def take(self, rows: np.ndarray) -> "Split":
        """Copies the named rows, in the order given."""
        images = self.images.take(rows) if isinstance(self.images, Stored) else self.images[rows]
        return Split(images, self.labels[rows], None if self.unusable is None else self.unusable[rows])

    def few(self, most: int) -> "Split":
        """Returns so many rows at most, in order, as many of each class as there may be."""
        by_class = np.argsort(self.labels, kind="stable")
        ordered = self.labels[by_class]
        turn = np.empty(len(self), np.int64)
        turn[by_class] = np.arange(len(self)) - np.searchsorted(ordered, ordered)
        return self.take(np.sort(np.argsort(turn, kind="stable")[:most]))

    def centre(self, size: tuple[int, int]) -> "Split":
        """Returns the same rows with the centre of their pictures, without copying any; itself if that is all."""
        if self.images.shape[1:3] == size:
            return self
        images = self.images.centre(size) if isinstance(self.images, Stored) else centre(self.images, size)
        return dataclasses.replace(self, images=images)

    def counts(self, classes: int) -> Int64[np.ndarray, " classes"]:
        """Returns how many pictures each of so many classes has, those that cannot be used included."""
        return np.bincount(self.labels, minlength=classes).astype(np.int64)

    def marked(self, rows: slice | np.ndarray = slice(None)) -> Int32[np.ndarray, " rows"]:
        """Returns the labels, `UNUSABLE` for pictures that are known to be so: stored ones once they were read."""
        labels = self.labels[rows]
        unusable = None if self.unusable is None else self.unusable[rows]
        if isinstance(self.images, Stored):
            unusable = self.images.unusable(rows)
        return labels if unusable is None else np.where(unusable, np.int32(UNUSABLE), labels)


class Part(abc.ABC):
    """Train, valid or test as a source keeps it; `name` is the split's, or that of its folder."""

    name: str

    @abc.abstractmethod
    def __len__(self) -> int:
        """Counts the pictures, without reading them."""

    @abc.abstractmethod
    def labels(self) -> Int32[np.ndarray, " n"]:
        """Returns the class of each picture, without decoding any."""

    @abc.abstractmethod
    def read(
        self, rows: np.ndarray, threads: int
    ) -> tuple[UInt8[np.ndarray, "rows height width channels"], Int32[np.ndarray, " rows"], dict[int, DataError]]:
        """Returns pictures fitted to the image shape, their classes, and what is wrong, by row; for any thread."""

    def stored(self, row: int) -> str | bytes | None:
        """Returns the path of a picture's file, or the bytes of one; `None` of pictures that are kept as numbers.

        Raises:
          OSError: it cannot be read.
          DataError: likewise.
        """
        del row
        return None

    def title(self, row: int) -> str:
        """Says which picture it is; reads nothing."""
        return f"picture {row} of {self.name}"

    def refusal(self, errors: dict[int, DataError]) -> DataError:
        """Returns one error for all that is wrong with these rows: the first, where they have nothing in common."""
        return next(iter(errors.values()))


@dataclass(frozen=True)
class Source:
    """Holds what one source gave, fitted to the image shape.

    `fingerprint` changes whenever the stored data do. `valid` and `test` are the source's own; where it has none, they
    may be cut from `train`, see `cnn.data.splits`.
    """

    train: Part
    test: Part | None
    class_names: tuple[str, ...]
    fingerprint: str
    notes: tuple[str, ...] = ()
    """What the user should hear about the data, a line each."""
    valid: Part | None = None
    valid_note: str = ""
    """Said where `valid` is used because nothing else was asked for; empty: that it is its own."""
    contents: Mapping[str, Int64[np.ndarray, " n"]] = dataclasses.field(default_factory=dict)
    """By train, valid and test: a hash of each picture's bytes, 0 where they were not read; equal ones are copies."""
    field: str = "config.data.name"
    """What named the data: the field that a line about pictures in two splits begins with."""


@dataclass(frozen=True)
class Dataset:
    """Holds the three splits of an experiment; `valid` and `test` may be empty.

    `identity` is a hash of all that the pictures depend on: the stored data, how pictures are fitted, how the
    splits are cut. `bad_examples` lists the pictures that cannot be used, as far as they were read. `stored_train` is
    train with whole pictures, where those that are held are larger than what the network sees; its rows are those of
    train.
    """

    train: Split
    valid: Split
    test: Split
    class_names: tuple[str, ...]
    identity: str
    bad_examples: BadExamples = dataclasses.field(default_factory=BadExamples)
    notes: tuple[str, ...] = ()
    """What the user should hear about the data, a line each."""
    stored_train: Split | None = None

    @property
    def splits(self) -> dict[str, Split]:
        """The three splits by name."""
        return {name: getattr(self, name) for name in SPLITS}

    @property
    def training(self) -> Split:
        """The training split as a training step takes it, which cuts its pictures itself."""
        return self.train if self.stored_train is None else self.stored_train

    @property
    def streams(self) -> bool:
        """Whether the pictures stay stored until they are needed."""
        return isinstance(self.train.images, Stored)
