"""How much of the host's memory this process may use: in a container, what its control group leaves it."""

import os
from collections.abc import Iterator
from pathlib import Path

CGROUPS = (
    ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory.current"),
    ("/sys/fs/cgroup/memory/memory.limit_in_bytes", "/sys/fs/cgroup/memory/memory.usage_in_bytes"),
)
"""Where a container's limit and what it uses stand, in version 2 of control groups and in version 1."""


def host_bytes() -> int:
    """Returns the memory of the machine, or the container's limit if that is less."""
    return min([_machine_bytes(), *(limit for limit, _ in _cgroups())])


def free_bytes() -> int:
    """Returns the memory that the machine, or the container, has free now."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):
        free = _machine_bytes()
    return min([free, *(limit - used for limit, used in _cgroups())])


def _machine_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _cgroups() -> Iterator[tuple[int, int]]:
    """Yields the limits of this process's control groups and what they use; unlimited ones say "max"."""
    for paths in CGROUPS:
        try:
            limit, used = (Path(path).read_text().strip() for path in paths)
        except OSError:
            continue
        if limit.isdecimal() and used.isdecimal():
            yield int(limit), int(used)
