"""Which version of this software, and of what it computes with, is at hand. Imports no JAX."""

import tomllib
from pathlib import Path

from cnn.system import software

PACKAGES = ("jax", "flax", "optax")


def text() -> str:
    """Returns the version and the commit, and the versions of the packages, a line each."""
    folder = Path(__file__).resolve().parents[2]
    commit = software.git(folder, "rev-parse", "HEAD") if _is_root(folder) else None
    changed = (
        ", with changes that are not committed" if commit and software.git(folder, "status", "--porcelain") else ""
    )
    known = f"commit {commit}{changed}" if commit else "whose commit is not known: this is no git repository"
    return "\n".join([f"cnn {_own(folder)}, {known}", *(f"{name} {_of(name)}" for name in PACKAGES)])


def _of(package: str) -> str:
    return software.version(package) or "is not installed"


def _own(folder: Path) -> str:
    """Returns the version that `pyproject.toml` names, which an installation carries as its metadata."""
    project = folder / "pyproject.toml"
    return tomllib.loads(project.read_text())["project"]["version"] if project.is_file() else _of("cnn")


def _is_root(folder: Path) -> bool:
    """Tells whether the folder is a repository of its own, and does not just lie in another one."""
    return (folder / ".git").exists()
