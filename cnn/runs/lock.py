"""One process holds a run: the kernel's lock on a file, gone with the process however it ends."""

import contextlib
import datetime
import fcntl
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from cnn.runs import run_dir
from cnn.system import redaction

NAME = run_dir.LOCK


class Held(Exception):
    """Another process holds the run; the text says which."""


@contextlib.contextmanager
def hold(workdir: Path) -> Iterator[None]:
    """Holds the run's directory while the block runs.

    The lock belongs to the open file and passes to forked children, so nothing here may fork and live on.

    Raises:
      Held: another process has it.
    """
    workdir.mkdir(parents=True, exist_ok=True)
    with (workdir / NAME).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise Held(f"--workdir: {workdir} is held by another process{_holder(file.read())}") from None
        file.truncate(0)
        started = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        argv = redaction.words(sys.argv)
        json.dump({"host": socket.gethostname(), "pid": os.getpid(), "started": started, "argv": argv}, file)
        file.flush()
        yield


def probe(workdir: Path) -> None:
    """Checks that nobody holds the run's directory, and leaves nothing behind.

    Raises:
      Held: another process has it.
    """
    if (workdir / NAME).is_file():
        with hold(workdir):
            pass


def is_held(workdir: Path) -> bool:
    """Tells whether another process holds the run's directory."""
    try:
        probe(workdir)
    except Held:
        return True
    return False


def _holder(text: str) -> str:
    try:
        holder = json.loads(text)
        return f": {holder['pid']} on {holder['host']}, since {holder['started']}"
    except (ValueError, KeyError, TypeError):
        return ""
