"""Named points at which a test makes the process fail: `CNN_FAULT=<point>:<kill|term|error>:<nth time>`."""

import errno
import os
import signal
from collections import Counter

_passed: Counter[str] = Counter()


def point(name: str) -> None:
    """Does nothing, unless the environment asks for a fault here."""
    fault = os.environ.get("CNN_FAULT")
    if fault is None:
        return
    where, what, nth = fault.split(":")
    _passed[name] += 1
    if where != name or _passed[name] != int(nth):
        return
    if what == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "term":
        os.kill(os.getpid(), signal.SIGTERM)
    if what == "error":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
