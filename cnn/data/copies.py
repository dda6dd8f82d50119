"""Pictures that are in two splits, byte for byte: an evaluation counts what training has seen."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int64

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
    seen: dict[int, str] = {}
    copies: list[tuple[str, str]] = []
    for name, (hashes, title) in splits.items():
        own: dict[int, str] = {}
        for position in np.flatnonzero(hashes):
            found = int(hashes[position])
            if found in seen:
                copies.append((_named(title(int(position)), name), seen[found]))
            own.setdefault(found, _named(title(int(position)), name))
        seen = own | seen
    if not copies:
        return ()
    pairs = ", ".join(" = ".join(pair) for pair in copies[:SHOWN])
    more = f" and {len(copies) - SHOWN} more" if len(copies) > SHOWN else ""
    return (
        f"{field}: {len(copies)} {'picture is' if len(copies) == 1 else 'pictures are'} in two "
        f"splits, byte for byte: {pairs}{more}. Accuracy counts them.",
    )


def _named(title: str, split: str) -> str:
    """Returns a picture's name, with its split where the name does not begin with that."""
    return title if title.startswith(f"{split}/") else f"{title} ({split})"
