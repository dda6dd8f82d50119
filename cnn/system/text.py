"""Text for a terminal."""

from pathlib import Path


def plain(text: str) -> str:
    """Returns text that came from a file or a name, without what could steer a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def relative(file: str) -> str:
    """Returns the path of a file, from the working directory where it lies below that."""
    path, here = Path(file), Path.cwd()
    return str(path.relative_to(here)) if here in path.parents else file
