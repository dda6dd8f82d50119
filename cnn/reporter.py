"""What a person sees while training: a bar with ETA and throughput on a terminal, plain lines elsewhere. On stderr."""

import signal
import threading
import time
from types import FrameType, TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

NARROW = 72
"""With fewer columns than this the bar itself and the time so far give way to the numbers."""


class Reporter:
    """Shows progress through `total` steps."""

    def __init__(self, *, total: int, done: int, batch_size: int) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._batch_size = batch_size
        self._started, self._first, self._done = time.monotonic(), done, done
        wide = self._console.width >= NARROW
        self._bar = Progress(
            *([TextColumn("training"), BarColumn()] if wide else []),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            *([TimeElapsedColumn()] if wide else []),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("", total=total, completed=done, rate="")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()

    def advance(self, steps: int) -> None:
        """Moves the bar."""
        self._done += steps
        self._bar.update(self._task, advance=steps, rate=f"{self.images_per_second():,.0f} images/s")

    def images_per_second(self) -> float:
        """Returns the mean since this reporter was made, compilation included."""
        return (self._done - self._first) * self._batch_size / max(1e-9, time.monotonic() - self._started)

    def line(self, text: str) -> None:
        """Prints a line above the bar."""
        self._console.print(text, markup=False, soft_wrap=True)


class Interruption:
    """Turns the first SIGTERM or SIGINT into a request to save and stop; the second leaves at once."""

    def __init__(self) -> None:
        self.requested = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del number, frame
        if self.requested:
            raise SystemExit(143)
        self.requested = True
