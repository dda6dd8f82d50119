"""`--sweep.workers`: copies of this very command that work at one folder, each with its share of the cores.

The command itself only starts them, shows what they say, and waits. Every copy reads a pipe that this process holds
open: its end asks to save and stop, whether a signal came here or this process was killed.
"""

import concurrent.futures
import os
import signal
import subprocess
import sys
import threading

from cnn.system import environment
from cnn.system.preemption import Preemption

VARIABLE = "CNN_SWEEP_COPY"
"""Set in the environment of a copy."""


def is_copy() -> bool:
    """Tells whether this process is one of several that a command started."""
    return VARIABLE in os.environ


def run(count: int) -> list[int]:
    """Runs so many copies of this command until all have ended; a signal asks them to save and stop, a second leaves.

    Returns:
      Their exit codes; of one that a signal killed, 128 and the signal's number.
    """
    cores = environment.threads()
    if count > cores:
        print(f"--sweep.workers: {count} are more than there are cores, {cores}: they take turns", file=sys.stderr)
    theirs, ours = os.pipe()
    # Each has a session of its own: a Ctrl-C at the terminal reaches it from here, and once.
    started = [
        subprocess.Popen(
            [sys.executable, *sys.orig_argv[1:]],
            stdin=theirs,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env={**os.environ, VARIABLE: "1", "NPROC": str(max(1, cores // count))},
            start_new_session=True,
            text=True,
            errors="replace",
        )
        for _ in range(count)
    ]
    os.close(theirs)
    open_end = [ours]

    def stop(*_: object) -> None:
        if open_end:
            os.close(open_end.pop())
            return
        for copy in started:
            copy.terminate()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    said: dict[str, int] = {}
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda number: _show(number, started[number], said), range(count)))


def _show(number: int, copy: subprocess.Popen[str], said: dict[str, int]) -> int:
    """Shows what a copy says that no other one has said, and that it died; returns its exit code."""
    with copy:
        assert copy.stderr is not None
        for line in copy.stderr:
            if said.setdefault(line, number) == number:
                print(line, end="", file=sys.stderr, flush=True)
    if copy.returncode >= 0:
        return copy.returncode
    print(
        f"a worker died of signal {-copy.returncode}; others, or the same command again, take over its trials",
        file=sys.stderr,
    )
    return 128 - copy.returncode


def follow(interruption: Preemption) -> None:
    """Lets this copy save and stop when the command that started it is asked to, or is gone."""

    def wait() -> None:
        os.read(sys.stdin.fileno(), 1)
        if not interruption.requested:
            os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=wait, daemon=True).start()
