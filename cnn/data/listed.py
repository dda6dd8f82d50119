"""Pictures that were found in files, by splits, as a source: its identity follows all that is stored, not where."""

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from cnn.data.folder import HASHED_WHOLE, SAMPLE, SAMPLE_KEY
from cnn.data.order import permutation
from cnn.data.types import Part, Source


class Listed(NamedTuple):
    """The stored pictures of a split.

    Attributes:
      part: reads them.
      facts: yields what is known of them without reading them, such as a line of size and name for each.
      digests: yields the SHA-256 of the bytes of pictures by their rows, which rise; nothing of one that is not there.
    """

    part: Part
    facts: Callable[[], Iterable[str]]
    digests: Callable[[Sequence[int]], Iterable[bytes]]


def source(kind: str, class_names: Sequence[str], listed: Mapping[str, Listed], notes: Iterable[str]) -> Source:
    """Returns the source of train, and of valid and test where they are."""
    identity, contents = fingerprint(class_names, listed)
    parts = {split: each.part for split, each in listed.items()}
    return Source(
        parts["train"],
        parts.get("test"),
        tuple(class_names),
        f"{kind}:{identity}",
        tuple(notes),
        valid=parts.get("valid"),
        contents=contents,
    )


def fingerprint(
    class_names: Sequence[str], listed: Mapping[str, Listed]
) -> tuple[str, dict[str, Int64[np.ndarray, " n"]]]:
    """Hashes classes, labels and facts, and the bytes of all pictures, or as with folders of a fixed sample of many.

    Returns:
      The hash; and of each split, by row, a hash of the picture's bytes, 0 where they were not read.
    """
    total = hashlib.sha256(repr(tuple(class_names)).encode())
    whole = sum(len(each.part) for each in listed.values()) <= HASHED_WHOLE
    contents = {}
    for split in sorted(listed):
        part, facts, digests = listed[split]
        total.update(f"{split} {len(part)}\n".encode() + part.labels().tobytes())
        for fact in facts():
            total.update(f"{fact}\n".encode(errors="surrogateescape"))
        sample = np.arange(len(part)) if whole else np.sort(permutation(SAMPLE_KEY, 0, len(part))[:SAMPLE])
        rows = [int(row) for row in sample]
        hashes = contents[split] = np.zeros(len(part), np.int64)
        for row, digest in zip(rows, digests(rows), strict=True):
            total.update(digest)
            hashes[row] = int.from_bytes(digest[:8], "little", signed=True)
    return total.hexdigest(), contents
