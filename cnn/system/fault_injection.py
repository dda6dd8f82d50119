"""Named points at which a test makes the process fail: `CNN_FAULT=<point>:<kill|term|int|stop|error>:<nth>,...`."""

import errno
import os
import signal
from collections import Counter

SIGNALS = {"kill": signal.SIGKILL, "term": signal.SIGTERM, "int": signal.SIGINT, "stop": signal.SIGSTOP}

_passed: Counter[str] = Counter()


def point(name: str) -> None:
    """Does nothing, unless the environment asks for a fault here."""
    faults = os.environ.get("CNN_FAULT")
    if not faults:
        return
    _passed[name] += 1
    for fault in faults.split(","):
        where, what, nth = fault.split(":")
        if where != name or _passed[name] != int(nth):
            continue
        if what == "error":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
        os.kill(os.getpid(), SIGNALS[what])
