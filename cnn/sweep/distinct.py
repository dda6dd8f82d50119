"""Which configurations of a space are the same: no sweep trains one twice with the same seed."""

import itertools
import json
from collections.abc import Mapping
from typing import Any

from cnn.sweep.space import Part, Point, Range, axes, product

MOST = 20_000
"""Of a finite space so many points are listed."""


def key(fields: Mapping[str, Any]) -> str:
    """Returns what is the same for equal fields, in whatever order they were set."""
    return json.dumps(dict(fields), sort_keys=True)


def points(space: tuple[Part, ...]) -> list[Point] | None:
    """Returns the points of a space, each once and at most `MOST`; `None` where an interval has no end of them."""
    values = [axis.values for axis in axes(space)]
    if any(isinstance(each, Range) and each.scale != "int" for each in values):
        return None
    return list({key(point.fields): point for point in itertools.islice(product(space), MOST)}.values())


def count(space: tuple[Part, ...], asked: int) -> int:
    """Returns how many configurations a sampler can draw of those asked for, each once."""
    listed = points(space)
    return asked if listed is None or len(listed) == MOST else min(asked, len(listed))
