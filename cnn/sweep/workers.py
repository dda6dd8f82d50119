"""The workers of a sweep: each holds a locked file below the sweep's folder while it runs. Imports no Optuna."""

import contextlib
import fcntl
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from cnn.runs.sweep_record import CLAIMS, WORKERS

BEAT_SECONDS = 15

LOST_SECONDS = 120
"""A worker of another machine, whose file shows no life for so long and is not locked, is dead."""


@contextlib.contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Lets one worker after another choose its trials; waits for its turn."""
    with (folder / CLAIMS).open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def present(folder: Path) -> Iterator[str]:
    """Is a worker of the sweep in `folder` while the block runs; yields its name."""
    (folder / WORKERS).mkdir(parents=True, exist_ok=True)
    name = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    path = folder / WORKERS / name
    ended = threading.Event()
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        # On a shared file system whose locks do not reach other machines, the file's time does.
        beat = threading.Thread(target=_beat, args=(path, ended), daemon=True)
        beat.start()
        try:
            yield name
        finally:
            ended.set()
            beat.join()
            path.unlink(missing_ok=True)


def _beat(path: Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT_SECONDS):
        with contextlib.suppress(OSError):
            os.utime(path)


def alive(folder: Path, name: str | None) -> bool:
    """Tells whether a worker of this name still runs."""
    path = folder / WORKERS / (name or "nobody")
    try:
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            silent = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    here = name is not None and name.rsplit("-", 2)[0] == socket.gethostname()
    if here:
        path.unlink(missing_ok=True)
    return not here and silent < LOST_SECONDS


def any_alive(folder: Path) -> bool:
    """Tells whether some worker of the sweep in `folder` still runs."""
    found = (folder / WORKERS).iterdir() if (folder / WORKERS).is_dir() else ()
    return any(alive(folder, path.name) for path in found)
