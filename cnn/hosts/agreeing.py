"""What the processes of a run tell each other: what the leader found, whether all are alike, when to stop."""

import hashlib
import json
import os
import socket
import sys
from collections.abc import Callable, Mapping
from typing import Any

from cnn.hosts.joining import State, leads

ALIKE = "Start all processes with the same command, on the same data"


class Elsewhere(Exception):
    """Process 0 could not go on; the text says why."""


class Unlike(ValueError):
    """The processes of one run were not started alike."""


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
    if not State.joined:
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
        State.together = True
        raise failed or Elsewhere(f"process 0 cannot go on: {message['error']}")
    return message["value"], _broadcast_tree(tree)


def check_same(facts: Mapping[str, str], remedy: str = ALIKE) -> None:
    """Checks that every process has the same texts.

    Raises:
      Unlike: one has another; the message names it, and which text.
    """
    if not State.joined:
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
            State.together = True
            place = found[others[0], -64:].tobytes().decode(errors="replace").strip()
            raise Unlike(f"--distributed: {fact} of process {others[0]} ({place}) are not those of process 0. {remedy}")


def agreement() -> Callable[[], bool] | None:
    """Returns what tells, at the same call in every process, that a signal came to one; `None` for a process alone."""
    if not State.joined:
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
