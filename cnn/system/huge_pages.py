"""Huge pages for the memory of training: the program starts itself again, once, with glibc's setting for them.

Every step on a CPU takes the memory of its intermediate results anew, and the system clears and maps it page by page.
In pages of 2 MiB instead of 4 KiB that is a third of the work: for a step of `configs/cifar10.py`, 50 ms instead of
160. glibc reads the setting, one of `man mallopt`'s tunables, only when a process starts.
"""

import itertools
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

SETTING = "glibc.malloc.hugetlb"
VARIABLE = "GLIBC_TUNABLES"
FLAG = "huge_pages"
SINCE = (2, 35)
"""The first version of glibc that knows the setting."""
ENABLED = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def restart(arguments: Sequence[str]) -> None:
    """Starts this very command again with huge pages, where the system gives them to those who ask. Call first.

    It returns where nothing is to be gained or the person decided: without glibc, where the setting is in the
    environment already, with `--huge_pages=off`, and under a debugger, which would lose the program.

    Args:
      arguments: what was typed after the program's name.
    """
    environment = asking(os.environ)
    if environment and not _off(arguments) and not sys.gettrace() and sys.executable:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)


def asking(environment: Mapping[str, str]) -> dict[str, str] | None:
    """Returns an environment with the setting added to it; `None` where it is decided there, or gains nothing."""
    given = environment.get(VARIABLE, "")
    if SETTING in given or not _offered():
        return None
    return {**environment, VARIABLE: f"{given}:{SETTING}=1".lstrip(":")}


def huge() -> bool:
    """Tells whether this process, or everyone, gets huge pages."""
    return _mode() == "always" or (f"{SETTING}=1" in os.environ.get(VARIABLE, "") and _offered())


def _off(arguments: Sequence[str]) -> bool:
    name, off = f"--{FLAG}", "off"
    return f"{name}={off}" in arguments or (name, off) in itertools.pairwise(arguments)


def _offered() -> bool:
    try:
        library, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
        known = library == "glibc" and tuple(int(part) for part in version.split(".")[:2]) >= SINCE
    except (AttributeError, ValueError, OSError):  # another system, or another library
        return False
    return known and _mode() == "madvise"


def _mode() -> str:
    """Returns who gets huge pages: always, madvise or never."""
    try:
        return ENABLED.read_text().partition("[")[2].partition("]")[0]
    except OSError:
        return "never"
