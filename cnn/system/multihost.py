"""One run in many processes, on one host or on several: joining and leaving it, and what the processes tell each other.

Process 0 is the leader: it alone reads and writes the run's directory, and what it finds there it sends to the others
(`from_leader`). All must have been started alike (`check_same`) and stop at the same step (`agreement`). Alone in its
run a process asks nobody, and none of this costs anything.

A process that fails while the others wait for it must not end in an orderly way: JAX's shutdown would wait for them,
and they for it. So it leaves at once (`leave`); JAX's runtime then aborts the others after `HEARTBEAT_SECONDS`, and
`_speak_when_aborted` has them say why.
"""

import contextlib
import ctypes
import hashlib
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from cnn.system.exit_codes import IO_ERROR
from cnn.system.preemption import Preempted

HEARTBEAT_SECONDS = 10
"""A process that is silent for so long is taken for dead."""
JOIN_SECONDS = 120
"""How long the processes wait for each other at the start."""
ALIKE = "Start all processes with the same command, on the same data"


class NotJoined(OSError):
    """The processes did not find each other."""


class Elsewhere(Exception):
    """Process 0 could not go on; the text says why."""


class Unlike(ValueError):
    """The processes of one run were not started alike."""


class Members(NamedTuple):
    """The processes of a run: where the first one listens, how many there are, and which this is.

    With `address` empty JAX finds all three, as it can under Slurm, Open MPI and on a TPU.
    """

    address: str = ""
    processes: int = 0
    number: int = 0
    seconds: int = JOIN_SECONDS
    """How long to wait for the others at the start."""


class Membership:
    """Whether this process is one of several, and how it leaves them; of the process, as JAX's runtime is."""

    joined = False
    leaves_together = False
    """Whether all processes leave at the same point, so that JAX's shutdown may wait for all."""
    last_words = ""
    """What is said should JAX's runtime abort this process."""
    abort_handler: Any = None
    """Kept here: the C library calls it, and Python would free it."""


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
    Membership.joined = True
    Membership.last_words = (
        f"another process of this run is gone, or process 0 at {where} cannot be reached; its own output says why. "
        "Start all of them again: the run continues from what is saved"
    )
    try:
        yield
        Membership.leaves_together = True
    except Preempted:
        Membership.leaves_together = True  # they all stop at one step
        raise
    except jax.errors.JaxRuntimeError as error:
        print(str(error).splitlines()[0][:300], file=sys.stderr)
        raise NotJoined(Membership.last_words) from None
    finally:
        if Membership.leaves_together:
            jax.distributed.shutdown()
            Membership.joined = False


def _initialize(members: Members, where: str) -> None:
    """Starts JAX's runtime, or raises `NotJoined`; while it waits for the others it may abort this process instead."""
    import jax

    Membership.last_words = (
        f"--distributed: not all {members.processes or ''} processes came to {where} within {members.seconds} s. "
        "Start every one of them, with the same address and a number of its own"
    )
    _speak_when_aborted()
    if members.address:
        _await_leader(members)
    detected = not members.address
    try:
        jax.distributed.initialize(
            members.address or None,
            None if detected else members.processes,
            None if detected else members.number,
            cluster_detection_method=None if detected else "deactivate",
            initialization_timeout=members.seconds,
            heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
            shutdown_timeout_seconds=HEARTBEAT_SECONDS,
        )
    except (RuntimeError, ValueError) as error:
        reason = str(error).splitlines()[0][:200]
        raise NotJoined(f"--distributed: {where}: {reason} Write HOST:PORT,N,I where nothing is detected") from None


def leave(code: int) -> int:
    """Returns the exit code, unless this process fails alone: then it ends here, and the others learn of it."""
    if Membership.joined:
        sys.stdout.flush()
        sys.stderr.flush()
        # An orderly exit would wait for the others, who wait for this process.
        os._exit(code)
    return code


def leads() -> bool:
    """Tells whether this process reads and writes the run's directory, and speaks to the user."""
    if not Membership.joined:
        return True
    import jax

    return jax.process_index() == 0


def _await_leader(members: Members) -> None:
    """Waits until process 0 listens; JAX would abort this process instead, and name no address."""
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
        os.write(2, f"{Membership.last_words}\n".encode())
        os._exit(IO_ERROR)

    # Not `signal.signal`: Python runs its handlers between two of its instructions, and none comes after abort().
    Membership.abort_handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(last_words)
    ctypes.CDLL(None).signal(int(signal.SIGABRT), Membership.abort_handler)


def from_leader(function: Callable[[], Any]) -> Any:
    """Returns what the function, called by process 0 alone, returns: the same JSON value in every process.

    Raises:
      Elsewhere: in the other processes, where it failed in process 0; there the error itself.
    """
    return from_leader_with(lambda: (function(), ()), ())[0]


def from_leader_with(function: Callable[[], tuple[Any, Any]], like: Any) -> tuple[Any, Any]:
    """Returns a JSON value and a tree of arrays that process 0 has, in every process.

    Args:
      function: called by process 0 alone.
      like: in the other processes, a tree of the same structure, types and shapes.

    Raises:
      Elsewhere: in the other processes, where it failed in process 0; there the error itself.
    """
    if not Membership.joined:
        return function()
    failed, tree, message = None, like, {}
    if leads():
        try:
            value, tree = function()
            message = {"value": value}
        except Exception as error:
            failed, message = error, {"error": str(error) or type(error).__name__}
    message = json.loads(_broadcast(json.dumps(message).encode()))
    if "error" in message:
        Membership.leaves_together = True
        raise failed or Elsewhere(f"process 0 cannot go on: {message['error']}")
    return message["value"], _broadcast_tree(tree)


def check_same(facts: Mapping[str, str], remedy: str = ALIKE) -> None:
    """Checks that every process has the same texts.

    Raises:
      Unlike: one has another; the message names it, and which text.
    """
    if not Membership.joined:
        return
    import numpy as np
    from jax.experimental import multihost_utils

    rows = [hashlib.sha256(text.encode()).digest() for text in facts.values()]
    name = f"{socket.gethostname()}, process {os.getpid()}".encode()[:64].ljust(64)
    found = multihost_utils.process_allgather(np.frombuffer(b"".join([*rows, name]), np.uint8))
    for number, fact in enumerate(facts):
        part = found[:, 32 * number : 32 * number + 32]
        others = [index for index in range(len(part)) if (part[index] != part[0]).any()]
        if others:
            Membership.leaves_together = True
            host = found[others[0], -64:].tobytes().decode(errors="replace").strip()
            raise Unlike(f"--distributed: {fact} of process {others[0]} ({host}) are not those of process 0. {remedy}")


def agreement() -> Callable[[], bool] | None:
    """Returns what tells, at the same call in every process, that a signal came to one; `None` for a process alone."""
    if not Membership.joined:
        return None
    from jax.experimental import multihost_utils

    calls = iter(range(sys.maxsize))
    return lambda: multihost_utils.reached_preemption_sync_point(next(calls))


def _broadcast(content: bytes) -> bytes:
    import numpy as np
    from jax.experimental import multihost_utils

    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(content))))
    padded = np.frombuffer(content[:size].ljust(size), np.uint8)
    return bytes(np.asarray(multihost_utils.broadcast_one_to_all(padded)).tobytes())


def _broadcast_tree(tree: Any) -> Any:
    import jax
    import numpy as np

    # As bytes: a broadcast is a sum with zeros, which loses the sign of zero.
    leaves, structure = jax.tree.flatten(tree)
    if not leaves:
        return tree
    content = _broadcast(b"".join(np.asarray(leaf).tobytes() for leaf in leaves))
    arrays, start = [], 0
    for leaf in map(np.asarray, leaves):
        arrays.append(np.frombuffer(content, leaf.dtype, leaf.size, start).reshape(leaf.shape))
        start += leaf.nbytes
    return jax.tree.unflatten(structure, arrays)
