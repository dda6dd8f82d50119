"""Which version of a package is installed, and what Git says of a folder. Imports no JAX."""

import functools
import importlib.metadata
import subprocess
from pathlib import Path


@functools.cache
def version(package: str) -> str | None:
    """Returns the version of an installed package, `None` where it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def git(folder: Path, *words: str) -> str | None:
    """Returns what a command of Git prints of a folder, `None` where it fails or there is no Git."""
    command = ["git", "-C", str(folder), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True, errors="replace")
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
