"""Joining a run of many processes and leaving it, together or alone."""

import contextlib
import ctypes
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from cnn.interruption import Preempted

LOST = 74
"""The exit code of a process that another one left alone."""
HEARTBEAT_SECONDS = 10
"""A process that is silent for so long is taken for dead."""
JOIN_SECONDS = 120


class NotJoined(OSError):
    """The processes did not find each other."""


class Members(NamedTuple):
    """The processes of a run: where the first one listens, how many there are, and which this is.

    With `address` empty JAX finds all three, as it can under Slurm, Open MPI and on a TPU.
    """

    address: str = ""
    processes: int = 0
    number: int = 0
    seconds: int = JOIN_SECONDS
    """How long to wait for the others at the start."""


class State:
    """What this process knows of the run that it joined."""

    joined = False
    together = False
    """Whether all processes leave at the same point."""
    last_words = ""
    """What is said should JAX's runtime abort this process."""
    handler: Any = None


def parse(text: str) -> Members | None:
    """Returns the processes that a flag `--distributed` describes, `None` for `off`.

    Raises:
      ValueError: it is none of off, auto and HOST:PORT,N,I.
    """
    if text in ("off", "auto"):
        return Members() if text == "auto" else None
    address, *numbers = text.split(",")
    host, _, port = address.rpartition(":")
    if not host or not 2 <= len(numbers) <= 3 or not all(n.isascii() and n.isdecimal() for n in (port, *numbers)):
        raise ValueError(f"must be off, auto, or HOST:PORT,N,I for process I of N, got {text!r}")
    count, index, *seconds = map(int, numbers)
    if not 0 <= index < count or not 0 < int(port) < 2**16:
        raise ValueError(f"needs a port below 65536 and 0 <= I < N, got {text!r}")
    return Members(address, count, index, *seconds)


@contextlib.contextmanager
def join(members: Members | None) -> Iterator[None]:
    """Makes this process one of several while the block runs; JAX must not have computed anything yet.

    Raises:
      NotJoined: the others are not there in time; the text names the address.
    """
    if members is None:
        yield
        return
    import jax

    where = members.address or "the address that was found for it"
    _initialize(members, where)
    State.joined = True
    State.last_words = (
        f"another process of this run is gone, or process 0 at {where} cannot be reached; its own output says why. "
        "Start all of them again: the run continues from what is saved"
    )
    try:
        yield
        State.together = True
    except Preempted:
        State.together = True  # they all stop at one step
        raise
    except jax.errors.JaxRuntimeError as error:
        print(str(error).splitlines()[0][:300], file=sys.stderr)
        raise NotJoined(State.last_words) from None
    finally:
        if State.together:
            jax.distributed.shutdown()
            State.joined = False


def _initialize(members: Members, where: str) -> None:
    """Starts JAX's runtime, or raises `NotJoined`; while it waits for the others it may abort this process instead."""
    import jax

    State.last_words = (
        f"--distributed: not all {members.processes or ''} processes came to {where} within {members.seconds} s. "
        "Start every one of them, with the same address and a number of its own"
    )
    _speak_when_aborted()
    if members.address:
        _await_leader(members)
    found = not members.address
    try:
        jax.distributed.initialize(
            members.address or None,
            None if found else members.processes,
            None if found else members.number,
            cluster_detection_method=None if found else "deactivate",
            initialization_timeout=members.seconds,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0][:200]
        raise NotJoined(f"--distributed: {where}: {reason} Write HOST:PORT,N,I where nothing is detected") from None


def leave(code: int) -> int:
    """Returns the exit code, unless this process fails alone: then it ends here, and the others learn of it."""
    if State.joined:
        sys.stdout.flush()
        sys.stderr.flush()
        # An orderly exit would wait for the others, who wait for this process.
        os._exit(code)
    return code


def leads() -> bool:
    """Tells whether this process reads and writes the run's directory, and speaks to the person."""
    if not State.joined:
        return True
    import jax

    return jax.process_index() == 0


def _await_leader(members: Members) -> None:
    """Waits until process 0 listens; JAX would abort this process instead, without naming anybody."""
    host, _, port = members.address.rpartition(":")
    if members.number == 0:
        with contextlib.closing(socket.socket(socket.AF_INET6)) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("::", int(port)))
            except OSError as error:
                raise NotJoined(f"--distributed: port {port} cannot be used: {error.strerror}. Use another") from None
        return
    until = time.monotonic() + members.seconds
    while True:
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=max(1, members.seconds / 4)).close()
            return
        except OSError as error:
            if time.monotonic() > until:
                raise NotJoined(
                    f"--distributed: process 0 does not answer at {members.address} within {members.seconds} s "
                    f"({error.strerror or error}). Start it, or mend the address"
                ) from None
            time.sleep(0.2)


def _speak_when_aborted() -> None:
    """Has this process end with a line where JAX's runtime aborts it, as it does when another process is lost."""

    def last_words(_: int) -> None:
        os.write(2, f"{State.last_words}\n".encode())
        os._exit(LOST)

    # Python's own handlers run between two of its instructions, which never come after an abort.
    State.handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(last_words)
    ctypes.CDLL(None).signal(int(signal.SIGABRT), State.handler)
