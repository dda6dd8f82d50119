"""Pictures that are in two splits, byte for byte: an evaluation counts what training has seen."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

from cnn.fields import shorten

SHOWN = 3
"""How many pairs a note names."""


class Contents(NamedTuple):
    """The pictures of a split: hashes of their bytes, 0 where they were not read, and their names by position."""

    hashes: Int64[np.ndarray, " n"]
    title: Callable[[int], str]


def note(splits: Mapping[str, Contents], field: str) -> Sequence[str]:
    """Returns one line for all pictures of a split whose bytes are those of one of an earlier split; none of none.

    Args:
      splits: in the order in which they are compared.
      field: the field of the config that the line names.
    """
    seen: dict[int, tuple[str, int]] = {}
    copies: list[tuple[tuple[str, int], tuple[str, int]]] = []
    for name, (hashes, _) in splits.items():
        own: dict[int, tuple[str, int]] = {}
        for position in np.flatnonzero(hashes).tolist():
            found = int(hashes[position])
            if found in seen:
                copies.append(((name, position), seen[found]))
            own.setdefault(found, (name, position))
        seen = own | seen
    if not copies:
        return ()
    # Only those that are copies are named: to name each picture of a folder takes longer than to compare them all.
    pairs = [" = ".join(_named(splits[name].title(at), name) for name, at in pair) for pair in copies]
    return (
        f"{field}: {len(copies)} {'picture is' if len(copies) == 1 else 'pictures are'} in two "
        f"splits, byte for byte: {shorten(pairs, SHOWN)}. Accuracy counts them.",
    )


def _named(title: str, split: str) -> str:
    """Returns a picture's name, with its split where the name does not tell it."""
    return title if title.startswith(f"{split}/") or title.endswith(f" of {split}") else f"{title} ({split})"
