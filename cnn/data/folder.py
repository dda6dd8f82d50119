"""Folders of pictures: `train/<class>/*` and `test/<class>/*`, and `valid/<class>/*` where there is one.

A folder is listed, a million files if need be, and hashed, so that a run knows its data again; the pictures themselves
are read later. What was passed over, lacks, or is in two splits is said in the source's notes.
"""

import hashlib
import itertools
import os
import stat
import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnn.data.decode import SUFFIXES, file_kind
from cnn.data.encoded import EncodedPart, shorten
from cnn.data.order import permutation
from cnn.data.types import DataError, Source

HASHED_WHOLE = 10_000
"""A folder of up to so many pictures is hashed byte by byte."""
SAMPLE = 1_000
SAMPLE_KEY = 0x73616D706C65_0002
LAYOUT = "Put pictures into <data_dir>/train/<class>/ and <data_dir>/test/<class>/ (png, jpeg, bmp or webp)."
PAIRS = 3
"""How many pairs of copies a message lists."""
VALID_USED = (
    "config.data.valid_fraction: is not used, as the folder has a validation split of its own, valid/, which earlier "
    "versions passed over; a run that one of them began goes on where that folder is moved away."
)


@dataclass(frozen=True)
class Listing:
    """The files of one part, in the order of their classes and names.

    `class_names` are in NFC, `folders` are the same as the disk spells them. `files` holds the sorted file names of
    each class, `starts` the row of each class's first file, and the total.
    """

    folder: Path
    class_names: tuple[str, ...]
    folders: tuple[str, ...]
    files: Sequence[Sequence[str]]
    starts: np.ndarray

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
                yield f"{name}/{file}", _size(os.path.join(folder, file))


def fingerprint(listings: Sequence[Listing]) -> tuple[str, list[tuple[str, str]]]:
    """Hashes the names and sizes of all files, and the bytes of all of them, or of a fixed sample where there are many.

    So it notices every picture that was added, removed, renamed or is of another size, and in a folder of more than
    `HASHED_WHOLE` only by chance (one of `SAMPLE`) one that was changed and kept its size. It does not depend on times
    or on where the folder lies, so that a copy is the same data.

    Returns:
      The hash, and the files of later listings whose bytes are those of a file of an earlier one, as pairs (later,
      earlier), among the files that were read whole.
    """
    digest = hashlib.sha256()
    whole = sum(map(len, listings)) <= HASHED_WHOLE
    seen: dict[bytes, str] = {}
    copies: list[tuple[str, str]] = []
    for listing in listings:
        digest.update(repr((listing.folder.name, listing.class_names)).encode())
        for name, size in listing.sizes():
            digest.update(f"{size} {name}\n".encode(errors="surrogateescape"))
        rows = range(len(listing)) if whole else permutation(SAMPLE_KEY, 0, len(listing))[:SAMPLE]
        of_listing: dict[bytes, str] = {}
        for row in rows:
            path = listing.path(int(row))
            if _size(path) >= 0:
                with open(path, "rb") as file:
                    content = hashlib.file_digest(file, "sha256").digest()
                digest.update(content)
                of_listing.setdefault(content, path)
                if content in seen:
                    copies.append((path, seen[content]))
        seen |= of_listing
    return digest.hexdigest(), copies


def _size(path: str) -> int:
    # Opening a pipe would wait for ever, and a device may never end.
    try:
        status = os.stat(path)
    except OSError:
        return -1
    return status.st_size if stat.S_ISREG(status.st_mode) and os.access(path, os.R_OK) else -1


def read(*, data_dir: str, image_shape: tuple[int, int, int], resize: str, decode: str = "full") -> Source:
    """Lists a folder of pictures; the classes are the sorted names of the folders in `train`.

    Raises:
      DataError: if the folder is not laid out like that.
    """
    if image_shape[2] not in (1, 3):
        raise DataError(
            f"config.data.image_shape: pictures of a folder have 1 channel (grey) or 3 (colour), got {image_shape}. "
            "Set its last number to 1 or 3."
        )
    if not data_dir:
        raise DataError(f"config.data.data_dir: must name the folder of the pictures, got ''. {LAYOUT}")
    root = Path(data_dir).expanduser()
    valid_part = ("valid",) if (root / "valid").is_dir() else ()
    folders = {part: _folders(root / part) for part in ("train", "test", *valid_part)}
    names = tuple(sorted(folders["train"]))
    for part in ("test", *valid_part):
        _check_known(root / part, folders[part], names)
    ignored = _ignored(root, tuple(folders))
    listings = [_list(root / part, names, folders[part], ignored) for part in folders]
    train, test, *valid = (_part(listing, image_shape, resize, decode) for listing in listings)
    identity, copies = fingerprint(listings)
    notes = [VALID_USED] if valid_part else []
    notes += [note for listing in listings[1:] for note in _note_lacking(listing)]
    notes += [*_note_ignored(ignored, root), *_note_copies(copies, root)]
    return Source(train, test, names, f"folder:{identity}", tuple(notes), *valid)


def _part(listing: Listing, image_shape: tuple[int, int, int], resize: str, decode: str) -> EncodedPart:
    def title(row: int) -> str:
        return str(Path(listing.path(row)).relative_to(listing.folder.parent))

    return EncodedPart(
        listing.folder.name,
        listing.labels(),
        listing.path,
        title,
        image_shape=image_shape,
        resize=resize,
        decode=decode,
    )


def _check_known(part: Path, folders: Iterable[str], names: Sequence[str]) -> None:
    unknown = [name for name in folders if name not in names]
    if unknown:
        raise DataError(
            f"config.data.data_dir: every class of {part.name} must also be in train, got {unknown[0]!r} in "
            f"{str(part)!r}. Classes of train: {', '.join(names)}."
        )


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


def _list(part: Path, names: Sequence[str], folders: Mapping[str, str], ignored: list[str]) -> Listing:
    spelled = tuple(folders.get(name, name) for name in names)
    files = [_files(part / folders[name], ignored) if name in folders else [] for name in names]
    # Training must see every class; the other parts may lack some, but not all.
    empty = [name for name, found in zip(names, files, strict=True) if not found]
    if empty and part.name == "train":
        folder = str(part / folders[empty[0]])
        raise DataError(f"config.data.data_dir: the class folder holds no pictures, got {folder!r}. {LAYOUT}")
    if len(empty) == len(names):
        raise DataError(f"config.data.data_dir: no class folder holds pictures, got {str(part)!r}. {LAYOUT}")
    starts = np.array([0, *itertools.accumulate(map(len, files))])
    return Listing(part, tuple(names), spelled, files, starts)


def _files(folder: Path, ignored: list[str]) -> list[str]:
    """Returns the names of a class's pictures, sorted; adds the paths of what is none to `ignored`."""
    entries = sorted(_entries(folder), key=lambda entry: entry.name)
    kinds = {entry.name: "folder" if entry.is_dir() else file_kind(entry.path) for entry in entries}
    unread = [name for name, found in kinds.items() if found == "unread"]
    if unread:
        raise DataError(
            f"config.data.data_dir: {Path(unread[0]).suffix} pictures are not read, got {str(folder / unread[0])!r} "
            f"({len(unread)} such in its folder). Convert them to {', '.join(SUFFIXES)}, or take them away."
        )
    ignored += [str(folder / name) for name, found in kinds.items() if found in ("other", "folder")]
    return [name for name, found in kinds.items() if found == "picture"]


def _note_lacking(listing: Listing) -> Iterator[str]:
    names = [name for name, files in zip(listing.class_names, listing.files, strict=True) if not files]
    if names:
        yield (
            f"config.data.data_dir: {listing.folder.name} has no pictures of {len(names)} of "
            f"{len(listing.class_names)} classes, of which its results say nothing: {shorten(names)}."
        )


def _ignored(root: Path, parts: Sequence[str]) -> list[str]:
    """Returns what lies beside the parts of a folder, and beside their class folders, and is not looked into."""
    beside = [entry for entry in _entries(root) if entry.name not in parts]
    loose = [entry for part in parts for entry in _entries(root / part) if not entry.is_dir()]
    return sorted(entry.path for entry in (*beside, *loose))


def _note_ignored(ignored: Sequence[str], root: Path) -> Iterator[str]:
    if ignored:
        yield (
            f"config.data.data_dir: {len(ignored)} {'file or folder' if len(ignored) == 1 else 'files or folders'} "
            f"passed over, as no picture of a class: {shorten([os.path.relpath(path, root) for path in ignored])}."
        )


def _note_copies(copies: Sequence[tuple[str, str]], root: Path) -> Iterator[str]:
    if copies:
        pairs = [" = ".join(os.path.relpath(path, root) for path in pair) for pair in copies]
        yield (
            f"config.data.data_dir: {len(copies)} {'picture is' if len(copies) == 1 else 'pictures are'} in two "
            f"splits, byte for byte: {shorten(pairs, PAIRS)}. Accuracy counts them."
        )
