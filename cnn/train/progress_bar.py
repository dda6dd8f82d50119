"""What the user sees while training: a bar with ETA and throughput on a terminal, plain lines elsewhere. On stderr."""

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cnn.system.console import Console

NARROW = 72
"""With fewer columns than this the bar itself and the time so far give way to the numbers."""
PATIENCE = 5.0
"""After so many seconds of silence a line says what takes them, where no terminal shows a bar."""


class ProgressBar:
    """Shows progress through `total` steps."""

    def __init__(self, *, total: int, batch_size: int, quiet: bool = False) -> None:
        self._console = Console(stderr=True, highlight=False, quiet=quiet)
        self._batch_size = batch_size
        self._started, self._first, self._done = time.monotonic(), 0, 0
        self._compiled: tuple[float, int] | None = None
        self._compiling: threading.Timer | None = None
        self._first_dispatch = True
        self._steps, self._seconds = 0, 0.0
        wide = self._console.width >= NARROW
        self._bar = Progress(
            *([TextColumn("training"), BarColumn()] if wide else []),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            *([TimeElapsedColumn()] if wide else []),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=quiet or not self._console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("", total=total, rate="compiling")

    @contextmanager
    def running(self, done: int) -> Iterator[None]:
        """Shows the bar while the block runs, from `done` steps on."""
        self._started, self._first, self._done = time.monotonic(), done, done
        self._bar.update(self._task, completed=done)
        with self._bar, self._said_if_long("compiling the training step") as self._compiling:
            yield

    @contextmanager
    def stage(self, text: str) -> Iterator[None]:
        """Shows what is done in the block: at once on a terminal, elsewhere if it takes so long that users wonder."""
        shown = self._console.is_terminal and not self._console.quiet
        with self._console.status(text) if shown else self._said_if_long(text):
            yield

    @contextmanager
    def _said_if_long(self, text: str) -> Iterator[threading.Timer]:
        """Prints the text where no bar shows it, if neither the block nor the timer has ended `PATIENCE` later."""
        timer = threading.Timer(PATIENCE, self.line, [f"{text} ..."])
        timer.daemon = True
        if not (self._console.is_terminal or self._console.quiet):
            timer.start()
        try:
            yield timer
        finally:
            timer.cancel()

    def advance(self, steps: int) -> None:
        """Moves the bar."""
        if self._compiling:
            self._compiling.cancel()
        self._done += steps
        if self._compiled is None:
            self._compiled = (time.monotonic(), self._done)
        self._bar.update(self._task, advance=steps, rate=f"{self.images_per_second():,.0f} images/s")

    def took(self, steps: int, seconds: float) -> None:
        """Counts steps and their seconds for the throughput; those of the first dispatch, which compiles, are not."""
        if self._compiled and self._first_dispatch:
            steps, seconds = self._since(*self._compiled)
            self._first_dispatch = False
        self._steps, self._seconds = self._steps + steps, self._seconds + seconds

    def images_per_second(self) -> float:
        """Returns the mean over training steps: without compilation, unless there was no more than that dispatch."""
        steps, seconds = self._steps, self._seconds
        if self._compiled and self._first_dispatch:
            steps, seconds = self._since(*self._compiled)
        if not steps:
            steps, seconds = self._since(self._started, self._first)
        return steps * self._batch_size / max(1e-9, seconds)

    def _since(self, moment: float, done: int) -> tuple[int, float]:
        """Returns the steps and the seconds since a moment at which so many steps were done."""
        return self._done - done, time.monotonic() - moment

    def line(self, text: str) -> None:
        """Prints a line above the bar."""
        self._console.print(text, markup=False, soft_wrap=True)

    def epoch(
        self,
        epoch: int,
        epochs: int,
        record: Mapping[str, Mapping[str, float]],
        stopped: str | None,
        monitor: str = "accuracy",
    ) -> None:
        """Prints what an epoch gave, by split, the monitored metric among it, and why training stopped after it."""
        parts = [f"epoch {epoch}/{epochs}"]
        for split, means in record.items():
            parts.append(f"{split} loss {means['loss']:.4g} accuracy {means['accuracy']:.4f}")
            if monitor not in ("loss", "accuracy") and monitor in means:
                parts[-1] += f" {monitor} {means[monitor]:.4g}"
        if self._done > self._first:  # a run that continues may begin with the end of an epoch
            parts.append(f"{self.images_per_second():,.0f} images/s")
        self.line("  ".join(parts) + (f"\nstopped: {stopped}" if stopped else ""))
