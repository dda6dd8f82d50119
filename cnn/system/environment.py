"""What must be set before JAX starts; what the user set always wins."""

import os

MOST_THREADS = 1024


def prepare() -> None:
    """Pins the number of CPU threads, on which results depend, and quietens start-up chatter. Call before JAX."""
    if not os.environ.get("NPROC"):
        os.environ["NPROC"] = str(available())
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def threads() -> int:
    """Returns how many threads XLA uses on a CPU: `NPROC`, or as many processors as this process may use."""
    given = os.environ.get("NPROC", "")
    return int(given) if given.isdecimal() and int(given) > 0 else available()


def problems() -> list[str]:
    """Returns what is wrong with the environment; XLA takes nonsense in silence, and starts a million threads."""
    given = os.environ.get("NPROC", "")
    if not given or (given.isascii() and given.isdecimal() and 1 <= int(given) <= MOST_THREADS):
        return []
    return [f"NPROC: must be the number of CPU threads, 1 to {MOST_THREADS}, got {given!r}. Unset it to use all"]


def available() -> int:
    """Returns how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
