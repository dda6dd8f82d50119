"""Folders of pictures: `train/<class>/*`, and `test` and `valid` beside it where they are; or all in `<class>/*`.

A folder is listed, a million files if need be, and hashed, so that a run knows its data again; the pictures themselves
are read later. What was passed over or lacks is said in the source's notes.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

import numpy as np

from cnn.data.decode import SUFFIXES, file_kind
from cnn.data.encoded import EncodedPart
from cnn.data.sources import labels
from cnn.data.sources.hashing import file_digest, file_size, hashed_rows, short
from cnn.data.types import DataError, DataSpec, Source
from cnn.fields import shorten
from cnn.registry import source

LAYOUT = (
    "Put pictures into <data_dir>/train/<class>/ and <data_dir>/test/<class>/ (png, jpeg, bmp or webp), or all into "
    "<data_dir>/<class>/, no class being called train, test or valid, and set config.data.test_fraction."
)
NAMES = {"train": ("train",), "test": ("test",), "valid": ("valid", "val", "validation")}
"""What the folder of each split may be called; that of valid needs not be there, nor that of test."""
VALID_USED = (
    "config.data.valid_fraction: is not used, as the folder has a validation split of its own, {}/, which earlier "
    "versions passed over; a run that one of them began goes on where that folder is moved away."
)


@dataclass(frozen=True)
class Listing:
    """The files of one part, in the order of their classes and names.

    `root` is `data_dir` and `name` the part's folder in it, empty where the classes lie there themselves. `class_names`
    are in NFC, `folders` are the same as the disk spells them. `files` holds the sorted file names of each class,
    `starts` the row of each class's first file, and the total.
    """

    root: Path
    name: str
    class_names: tuple[str, ...]
    folders: tuple[str, ...]
    files: Sequence[Sequence[str]]
    starts: np.ndarray

    @property
    def folder(self) -> Path:
        """Where the class folders lie."""
        return self.root / self.name

    def __len__(self) -> int:
        return int(self.starts[-1])

    def labels(self) -> np.ndarray:
        """Returns the class of every row, in order."""
        return np.repeat(np.arange(len(self.files), dtype=np.int32), np.diff(self.starts))

    def path(self, row: int) -> str:
        """Returns where a row's picture lies."""
        label = int(np.searchsorted(self.starts, row, side="right")) - 1
        return os.path.join(self.folder, self.folders[label], self.files[label][row - self.starts[label]])

    def sizes(self) -> Iterator[tuple[str, int]]:
        """Yields `<class>/<file>` and its bytes for every row, -1 for what is no regular file."""
        for name, spelled, files in zip(self.class_names, self.folders, self.files, strict=True):
            folder = os.path.join(self.folder, spelled)
            for file in files:
                yield f"{name}/{file}", file_size(os.path.join(folder, file))


@dataclass
class _Seen:
    """What of a folder is no picture of a class that is used.

    Attributes:
      ignored: paths of what is passed over.
      unread: paths of pictures in formats that are not read.
      refusals: what is wrong besides, a line each.
    """

    ignored: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)

    def check(self, root: Path) -> None:
        """Refuses a folder with all that is wrong with it.

        Raises:
          DataError: something is.
        """
        refusals = list(self.refusals)
        if self.unread:
            counts = Counter(Path(path).suffix.lower() for path in self.unread)
            kinds = ", ".join(f"{suffix} ({count:,})" for suffix, count in sorted(counts.items()))
            paths = shorten([os.path.relpath(path, root) for path in self.unread])
            remedy = f"Convert them to {', '.join(SUFFIXES)}, or take them away."
            refusals.append(f"pictures in {kinds} are not read, got {paths}. {remedy}")
        if refusals:
            raise DataError("\n".join(f"config.data.data_dir: {refusal}" for refusal in refusals))


def fingerprint(listings: Sequence[Listing]) -> tuple[str, list[np.ndarray]]:
    """Hashes the names and sizes of all files, and the bytes of all of them, or of a fixed sample where there are many.

    So it notices every picture that was added, removed, renamed or is of another size, and in a folder of more than
    `HASHED_WHOLE` only by chance (one of `SAMPLE`) one that was changed and kept its size. It does not depend on times
    or on where the folder lies, so that a copy is the same data.

    Returns:
      The hash; and of each listing, by row, a hash of the file's bytes, 0 where it was not read.
    """
    digest = hashlib.sha256()
    total = sum(map(len, listings))
    contents = []
    for listing in listings:
        digest.update(repr((listing.name, listing.class_names)).encode())
        for name, size in listing.sizes():
            digest.update(f"{size} {name}\n".encode(errors="surrogateescape"))
        hashes = np.zeros(len(listing), np.int64)
        for row in hashed_rows(len(listing), total):
            content = file_digest(listing.path(int(row)))
            digest.update(content)
            hashes[row] = short(content)
        contents.append(hashes)
    return digest.hexdigest(), contents


@source
class Folder:
    """Pictures in folders: `data_dir`/train/<class>/ with test/ and valid/ beside it, or `data_dir`/<class>/ alone."""

    reads: ClassVar[tuple[str, ...]] = ("data_dir",)

    def at_hand(self, data: DataSpec) -> bool:
        return is_there(data.data_dir)

    def load(self, data: DataSpec) -> Source:
        if data.image_shape[2] not in (1, 3):
            raise DataError(
                "config.data.image_shape: pictures of a folder have 1 channel (grey) or 3 (colour), "
                f"got {data.image_shape}. Set its last number to 1 or 3."
            )
        if not data.data_dir:
            raise DataError(f"config.data.data_dir: must name the folder of the pictures, got ''. {LAYOUT}")
        root = Path(data.data_dir).expanduser()
        parts = _layout(root)
        folders = {part: _folders(root / name) for part, name in parts.items()}
        names = tuple(sorted(folders["train"]))
        seen = _Seen(_ignored(root, parts))
        listings = {part: _list(root, name, names, folders[part], seen) for part, name in parts.items()}
        seen.check(root)
        identity, contents = fingerprint(list(listings.values()))
        others = {listing.name: listing.labels() for part, listing in listings.items() if part != "train"}
        notes = labels.lacking(labels.Numbered(names, others), "config.data.data_dir")
        found = {part: _part(listing, data) for part, listing in listings.items()}
        return Source(
            found["train"],
            found.get("test"),
            names,
            f"folder:{identity}",
            (*notes, *_note_ignored(seen.ignored, root)),
            found.get("valid"),
            VALID_USED.format(parts["valid"]) if "valid" in parts else "",
            dict(zip(listings, contents, strict=True)),
            "config.data.data_dir",
        )


def is_there(data_dir: str) -> bool:
    """Tells whether a folder holds what may be pictures of classes."""
    root = Path(data_dir).expanduser()
    return root.is_dir() and any(entry.is_dir() for entry in _entries(root))


def _layout(root: Path) -> dict[str, str]:
    """Returns the name of each part's folder, in the order in which they are hashed.

    Where no folder has the name of a part, those that there are hold the classes of train.

    Raises:
      DataError: there is no such folder, or valid has two.
    """
    _entries(root)
    parts = {part: [name for name in names if (root / name).is_dir()] for part, names in NAMES.items()}
    if len(parts["valid"]) > 1:
        two = " and ".join(f"{name}/" for name in parts["valid"])
        raise DataError(
            f"config.data.data_dir: must have one validation split, got {two} in {str(root)!r}. Put their pictures "
            "into one."
        )
    if not any(parts.values()) and is_there(str(root)):
        return {"train": ""}
    return {"train": "train", **{part: found[0] for part, found in parts.items() if found and part != "train"}}


def _part(listing: Listing, data: DataSpec) -> EncodedPart:
    def title(row: int) -> str:
        return os.path.relpath(listing.path(row), listing.root)

    name = listing.name or "train"
    return EncodedPart(name, listing.labels(), listing.path, title, data, field="config.data.data_dir")


def _folders(part: Path) -> dict[str, str]:
    """Returns the class folders, by their names in NFC: other systems write the same letters in other ways."""
    found = sorted(entry.name for entry in _entries(part) if entry.is_dir())
    if not found:
        raise DataError(f"config.data.data_dir: holds no class folders, got {str(part)!r}. {LAYOUT}")
    names: dict[str, str] = {}
    for spelled in found:
        name = unicodedata.normalize("NFC", spelled)
        if name in names:
            raise DataError(
                f"config.data.data_dir: {str(part)!r} holds two folders of one class, whose names differ in their "
                f"Unicode form only (NFC and NFD), got {name!r} twice. Put their pictures into one."
            )
        names[name] = spelled
    return names


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry in entries if not entry.name.startswith(".")]
    except OSError as error:
        raise DataError(
            f"config.data.data_dir: cannot read the folder, got {str(folder)!r} ({error.strerror}). {LAYOUT}"
        ) from error


def _list(root: Path, name_of_part: str, names: Sequence[str], folders: Mapping[str, str], seen: _Seen) -> Listing:
    part = root / name_of_part
    unknown = [name for name in folders if name not in names]
    if unknown:
        seen.refusals.append(
            f"every class of {part.name} must also be in train, got {shorten(list(map(repr, unknown)))} in "
            f"{str(part)!r}. Classes of train: {shorten(names)}."
        )
    spelled = tuple(folders.get(name, name) for name in names)
    files = [_files(part / folders[name], seen) if name in folders else [] for name in names]
    # Training must see every class; the other parts may lack some, but not all.
    of_unread = {os.path.dirname(path) for path in seen.unread}
    empty = [
        str(part / folder)
        for folder, found in zip(spelled, files, strict=True)
        if not found and str(part / folder) not in of_unread
    ]
    if empty and name_of_part in ("", "train"):
        which = "the class folder holds" if len(empty) == 1 else f"{len(empty)} class folders hold"
        remedy = "Write the names of the splits in small letters." if _are_splits(spelled) else LAYOUT
        seen.refusals.append(f"{which} no pictures, got {shorten(list(map(repr, empty)))}. {remedy}")
    elif len(empty) == len(names) and not unknown:
        seen.refusals.append(f"no class folder holds pictures, got {str(part)!r}. {LAYOUT}")
    starts = np.array([0, *itertools.accumulate(map(len, files))])
    return Listing(root, name_of_part, tuple(names), spelled, files, starts)


def _are_splits(folders: Sequence[str]) -> bool:
    """Tells whether folders are called like splits, but for capital letters."""
    known = {name for names in NAMES.values() for name in names}
    return all(name not in known and name.lower() in known for name in folders)


def _files(folder: Path, seen: _Seen) -> list[str]:
    """Returns the names of a class's pictures, sorted; adds the paths of what is none to `seen`."""
    entries = sorted(_entries(folder), key=lambda entry: entry.name)
    kinds = {entry.name: "folder" if entry.is_dir() else file_kind(entry.path) for entry in entries}
    seen.unread += [str(folder / name) for name, found in kinds.items() if found == "unread"]
    seen.ignored += [str(folder / name) for name, found in kinds.items() if found in ("other", "folder")]
    return [name for name, found in kinds.items() if found == "picture"]


def _ignored(root: Path, parts: Mapping[str, str]) -> list[str]:
    """Returns what lies beside the parts of a folder, and beside their class folders, and is not looked into."""
    names = list(parts.values())
    beside = [entry for entry in _entries(root) if entry.name not in names] if all(names) else []
    loose = [entry for name in names for entry in _entries(root / name) if not entry.is_dir()]
    return sorted(entry.path for entry in (*beside, *loose))


def _note_ignored(ignored: Sequence[str], root: Path) -> Iterator[str]:
    if ignored:
        yield (
            f"config.data.data_dir: {len(ignored)} {'file or folder' if len(ignored) == 1 else 'files or folders'} "
            f"passed over, as no picture of a class: {shorten([os.path.relpath(path, root) for path in ignored])}."
        )
