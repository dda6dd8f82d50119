"""Which version of this software, and of what it computes with, is at hand. Imports no JAX."""

import importlib.metadata
import subprocess
import tomllib
from pathlib import Path

PACKAGES = ("jax", "flax", "optax")


def text() -> str:
    """Returns the version and the commit, and the versions of the packages, a line each."""
    folder = Path(__file__).resolve().parents[2]
    commit = _git(folder, "rev-parse", "HEAD") if _is_root(folder) else ""
    changed = ", with changes that are not committed" if commit and _git(folder, "status", "--porcelain") else ""
    known = f"commit {commit}{changed}" if commit else "whose commit is not known: this is no git repository"
    return "\n".join([f"cnn {_own(folder)}, {known}", *(f"{name} {_version(name)}" for name in PACKAGES)])


def _own(folder: Path) -> str:
    """Returns the version that `pyproject.toml` names, which an installation carries as its metadata."""
    project = folder / "pyproject.toml"
    return tomllib.loads(project.read_text())["project"]["version"] if project.is_file() else _version("cnn")


def _is_root(folder: Path) -> bool:
    """Tells whether the folder is a repository of its own, and does not just lie in another one."""
    return (folder / ".git").exists()


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "is not installed"


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True, errors="replace")
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
