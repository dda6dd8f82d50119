"""What must be set before JAX starts; the person's own setting always wins."""

import os


def prepare() -> None:
    """Pins the number of CPU threads, on which results depend, and quietens start-up chatter. Call before JAX."""
    os.environ.setdefault("NPROC", str(threads()))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")


def threads() -> int:
    """Returns how many threads XLA uses on a CPU: `NPROC`, or as many processors as this process may use."""
    given = os.environ.get("NPROC", "")
    return int(given) if given.isdigit() and int(given) > 0 else available()


def available() -> int:
    """Returns how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
