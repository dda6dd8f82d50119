"""SIGTERM and SIGINT as a request to save and stop."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from cnn.system.exit_codes import FORCED

PATIENCE = 1.0
"""So many seconds a signal may wait for Python before the user hears that it came."""
BUSY = (
    "asked to stop: that is done as soon as what XLA compiles or computes now is done. A second signal ends it at once"
)


class Preempted(BaseException):
    """A signal asked to stop; what is worth keeping is saved, and the same command continues.

    No `Exception`: whoever catches those, such as the reader of a checkpoint, would take it for damage.
    """


class Preemption:
    """Turns the first signal into a request; the second leaves at once with exit code 143.

    Where nothing needs saving, the request is an exception right away; within `deferred` it waits until `check`.

    Python handles a signal between two of its own instructions, which XLA keeps waiting while it compiles: a Ctrl-C
    there seemed to be ignored. So a thread hears of signals, too; it says so, and lets the second one through.
    """

    def __init__(self, agreed: Callable[[], bool] | None = None, *, leaves: bool = True) -> None:
        """Reads no signal yet.

        Args:
          leaves: whether the second signal ends the process; else it is a `KeyboardInterrupt`, for a notebook's sake.
          agreed: where many processes train one run, what tells at the same call in each that a signal came to one.
            SIGTERM is then JAX's own to catch, SIGINT is passed on as one, and nothing is raised before `check`.
        """
        self._agreed, self._leaves = agreed, leaves
        self.requested = False
        self._deferred = self._passed_on = False
        self._before: dict[int, Any] = {}
        self._handled = threading.Event()
        self._heard: tuple[socket.socket, socket.socket] | None = None
        self._wakeup = -1

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            if self._agreed is None and self._leaves:
                self._listen()
            for number in (signal.SIGTERM, signal.SIGINT) if self._agreed is None else (signal.SIGINT,):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._heard is not None:
            signal.set_wakeup_fd(self._wakeup)
            self._heard[1].close()
            self._heard = None

    def _listen(self) -> None:
        self._heard = ours, theirs = socket.socketpair()
        theirs.setblocking(False)
        self._wakeup = signal.set_wakeup_fd(theirs.fileno(), warn_on_full_buffer=False)
        threading.Thread(target=self._hear, args=(ours,), daemon=True).start()

    def _hear(self, signals: socket.socket) -> None:
        waiting = False
        with signals:
            while True:
                try:
                    came = signals.recv(1)
                except TimeoutError:
                    signals.settimeout(None)
                    if not self._handled.is_set():
                        print(BUSY, file=sys.stderr, flush=True)
                    continue
                if not came:
                    return
                if came[0] not in self._before:
                    continue
                if waiting:
                    # As the handler does, which XLA may keep waiting now even if it did not when the first one came.
                    os._exit(FORCED)
                waiting = True
                signals.settimeout(PATIENCE)

    def defer(self, deferred: bool) -> bool:
        """Chooses whether a request waits for `check`; returns what was chosen before."""
        before, self._deferred = self._deferred, deferred
        if not deferred:
            self.check()
        return before

    def stop_requested(self) -> bool:
        """Tells whether to stop here; where there are many processes, each of them has to ask at the same points."""
        if self._agreed is not None and not self.requested:
            self.requested = self._agreed()
        return self.requested

    def check(self) -> None:
        """Raises what a signal asked for.

        Raises:
          Preempted: a signal came.
        """
        if self.stop_requested():
            raise Preempted

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        self._handled.set()
        if self.requested and not self._leaves:
            raise KeyboardInterrupt
        if self.requested or self._passed_on:
            # Not sys.exit: a save under way would catch it.
            os._exit(FORCED)
        if self._agreed is not None:
            self._passed_on = True
            os.kill(os.getpid(), signal.SIGTERM)
            return
        self.requested = True
        if not self._deferred:
            raise Preempted
