"""What a run was made with: versions, commit, devices, threads."""

import functools
import os
import platform
import sys
from pathlib import Path
from typing import TypedDict

import jax

from cnn.system import environment, redaction, software

PACKAGES = (
    *("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "tensorflow-datasets", "numpy", "ml-collections"),
    *("pillow", "simplejpeg"),
)

OPTIONS = (
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_disable_most_optimizations",
    "jax_enable_x64",
    "jax_threefry_partitionable",
)


class Git(TypedDict):
    """The commit that the code is of, whether files differ from it, and how."""

    commit: str
    dirty: bool
    diff: str


class Provenance(TypedDict):
    """What `run.json` says of the software and the machine."""

    argv: list[str]
    python: str
    platform: str
    packages: dict[str, str | None]
    git: Git | None
    devices: list[str]
    backend: str
    cpu_threads: int


def describe() -> Provenance:
    """Returns what this process computes with."""
    return {
        "argv": redaction.words(sys.argv),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: software.version(name) for name in PACKAGES},
        "git": _git(Path(__file__).resolve().parent),
        "devices": [device.device_kind for device in jax.devices()],
        "backend": jax.default_backend(),
        "cpu_threads": environment.threads(),
    }


def numerics() -> dict[str, str | int | bool | None]:
    """Returns what the last digits of results depend on, beside the config and the seed."""
    return {
        **versions(),
        "devices": jax.device_count(),
        "processes": jax.process_count(),
        "processor": environment.processor(),
        "cpu_threads": environment.threads(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        **{name: jax.config.values[name] for name in OPTIONS},
    }


def versions() -> dict[str, str | None]:
    """Returns what all processes of one run must have alike."""
    return {
        **{name: software.version(name) for name in ("jax", "jaxlib", "flax", "optax", "numpy")},
        "backend": jax.default_backend(),
        "device": jax.devices()[0].device_kind,
    }


@functools.cache
def _git(folder: Path) -> Git | None:
    """Returns what Git says of a folder; `None` outside a repository."""
    commit = software.git(folder, "rev-parse", "HEAD")
    if not commit:
        return None
    diff = software.git(folder, "diff", "HEAD") or ""
    status = software.git(folder, "status", "--porcelain") or ""
    return {"commit": commit, "dirty": bool(status), "diff": redaction.hide(diff)[:100_000]}
