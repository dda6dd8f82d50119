"""The picture files of a folder by name, a million of them if need be, and a hash that tells whether they changed."""

import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnn.data.order import permutation

HASHED_WHOLE = 10_000
"""A folder of up to so many pictures is hashed byte by byte."""
SAMPLE = 1_000
SAMPLE_KEY = 0x73616D706C65_0002


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

    def classes(self, rows: np.ndarray) -> np.ndarray:
        """Returns the class of each row."""
        return (np.searchsorted(self.starts, rows, side="right") - 1).astype(np.int32)

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
        here: dict[bytes, str] = {}
        for row in rows:
            path = listing.path(int(row))
            if _size(path) >= 0:
                with open(path, "rb") as file:
                    content = hashlib.file_digest(file, "sha256").digest()
                digest.update(content)
                here.setdefault(content, path)
                if content in seen:
                    copies.append((path, seen[content]))
        seen |= here
    return digest.hexdigest(), copies


def _size(path: str) -> int:
    # Opening a pipe would wait for ever, and a device may never end.
    try:
        status = os.stat(path)
    except OSError:
        return -1
    return status.st_size if stat.S_ISREG(status.st_mode) and os.access(path, os.R_OK) else -1
