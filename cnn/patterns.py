"""Patterns over the paths of a network's arrays, such as `conv1/kernel`: which are meant.

A text holds patterns separated by spaces or commas. Each is a glob over whole paths, or over the layers above them:
`conv1` is all of `conv1/*`, `*/bias` every bias, `residual1` a whole block. One that begins with `!` takes away.
"""

from collections.abc import Sequence
from fnmatch import fnmatchcase

SHOWN = 24
"""The most names that an error lists."""


def split(text: str) -> list[str]:
    """Returns the patterns of a text."""
    return text.replace(",", " ").split()


def matching(text: str, paths: Sequence[str]) -> tuple[str, ...]:
    """Returns the paths that a text of patterns means, in their order; where all of it takes away, from all."""
    patterns = split(text)
    given = [pattern for pattern in patterns if pattern[0] != "!"]
    taken = [pattern[1:] for pattern in patterns if pattern[0] == "!"]
    wanted = given or (["*"] if taken else [])
    return tuple(path for path in paths if _any(wanted, path) and not _any(taken, path))


def problem(text: str, paths: Sequence[str]) -> str:
    """Returns what is wrong with a text of patterns: the first that matches nothing; empty where nothing is."""
    for pattern in split(text):
        if not any(_matches(pattern.removeprefix("!"), path) for path in paths):
            more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
            return f"matches nothing, got {pattern!r}. Known: {', '.join(paths[:SHOWN])}{more}."
    return ""


def naming(chosen: Sequence[str], paths: Sequence[str]) -> str:
    """Returns a text of patterns that means the chosen ones of the paths, by whole layers where it can be."""
    tops = list(dict.fromkeys(path.split("/")[0] for path in paths))
    whole = [top for top in tops if all(path in chosen for path in paths if path.split("/")[0] == top)]
    rest = [path for path in chosen if path.split("/")[0] not in whole]
    left = [path for path in paths if path not in chosen]
    without = [f"!{top}" for top in tops if all(path in left for path in paths if path.split("/")[0] == top)]
    without += [f"!{path}" for path in left if f"!{path.split('/')[0]}" not in without]
    named = [*whole, *rest]
    return " ".join(without if without and len(without) < len(named) else named)


def _any(patterns: Sequence[str], path: str) -> bool:
    return any(_matches(pattern, path) for pattern in patterns)


def _matches(pattern: str, path: str) -> bool:
    parts = path.split("/")
    return any(fnmatchcase("/".join(parts[:depth]), pattern) for depth in range(1, len(parts) + 1))
