"""Hashes of stored pictures: a source's identity, which follows all that is stored and not where, and equal pictures.

Of up to `HASHED_WHOLE` pictures the bytes of all are hashed; of more, those of a fixed sample, and what is known of the
others without reading them.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from cnn.data.order import permutation
from cnn.data.types import Part, Source

HASHED_WHOLE = 10_000
"""Data of up to so many pictures are hashed byte by byte."""
SAMPLE = 1_000
"""So many pictures of each split are, of larger data."""
SAMPLE_KEY = 0x73616D706C65_0002


def hashed_rows(count: int, total: int) -> Int64[np.ndarray, " rows"]:
    """Returns the rows of a split whose bytes are hashed, in a fixed order.

    Args:
      count: how many pictures the split has.
      total: how many all splits have.
    """
    return np.arange(count) if total <= HASHED_WHOLE else permutation(SAMPLE_KEY, 0, count)[:SAMPLE]


def short(digest: bytes) -> int:
    """Returns the hash of a picture's bytes by which it is told from others, as `Source.contents` holds it."""
    return int.from_bytes(digest[:8], "little", signed=True)


def file_size(path: str) -> int:
    """Returns the bytes of a file, -1 for what is no regular file that may be read."""
    # Opening a pipe would wait for ever, and a device may never end.
    try:
        status = os.stat(path)
    except OSError:
        return -1
    return status.st_size if stat.S_ISREG(status.st_mode) and os.access(path, os.R_OK) else -1


def file_digest(path: str) -> bytes:
    """Returns the SHA-256 of a file, nothing for what is no regular file that may be read."""
    if file_size(path) < 0:
        return b""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


class Listed(NamedTuple):
    """The stored pictures of a split that a file or a list of files holds.

    Attributes:
      part: reads them.
      facts: yields what is known of them without reading them, such as a line of size and name for each.
      digests: yields the SHA-256 of the bytes of pictures by their rows, which rise; nothing of one that is not there.
    """

    part: Part
    facts: Callable[[], Iterable[str]]
    digests: Callable[[Sequence[int]], Iterable[bytes]]


def listed_source(kind: str, class_names: Sequence[str], listed: Mapping[str, Listed], notes: Iterable[str]) -> Source:
    """Returns the source of train, and of valid and test where they are, which `config.data.file` named."""
    total = hashlib.sha256(repr(tuple(class_names)).encode())
    pictures = sum(len(each.part) for each in listed.values())
    contents = {}
    for split in sorted(listed):
        part, facts, digests = listed[split]
        total.update(f"{split} {len(part)}\n".encode() + part.labels().tobytes())
        for fact in facts():
            total.update(f"{fact}\n".encode(errors="surrogateescape"))
        rows = np.sort(hashed_rows(len(part), pictures)).tolist()
        hashes = contents[split] = np.zeros(len(part), np.int64)
        for row, digest in zip(rows, digests(rows), strict=True):
            total.update(digest)
            hashes[row] = short(digest)
    parts = {split: each.part for split, each in listed.items()}
    return Source(
        parts["train"],
        parts.get("test"),
        tuple(class_names),
        f"{kind}:{total.hexdigest()}",
        tuple(notes),
        parts.get("valid"),
        contents=contents,
        field="config.data.file",
    )
