"""What the user sees while a sweep runs: a bar over trials with the time left, or a line for each. On stderr."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cnn.sweep.outcome import Outcome
from cnn.sweep.plan import Trial, shown
from cnn.system.console import Console
from cnn.system.text import plain
from cnn.train.progress_bar import ProgressBar


class SweepProgressBar:
    """Shows the progress of `total` trials."""

    def __init__(self, total: int) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._total = total
        self._bar = Progress(
            TextColumn("trials"),
            BarColumn(),
            TextColumn("{task.fields[ended]}/{task.total:.0f}"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
            transient=True,
        )
        self._task = self._bar.add_task("", total=total, ended=0)

    @contextmanager
    def running(self, ended: int) -> Iterator[None]:
        """Shows the bar while the block runs, of whose trials `ended` are done."""
        self._bar.update(self._task, completed=ended, ended=ended)
        if not self._console.is_terminal and ended < self._total:
            self.line(f"{self._total - ended:,} of {self._total:,} trials to run")
        with self._bar:
            yield

    def set_total(self, total: int) -> None:
        """Notes how many trials there are; says it where they have become more."""
        if total > self._total:
            self.line(f"the sweep has grown to {total:,} trials")
            self._total = total
            self._bar.update(self._task, total=total)

    def line(self, text: str) -> None:
        """Prints a line above the bar."""
        self._console.print(plain(text), markup=False, soft_wrap=True)

    def reporter(self, trial: Trial) -> Callable[..., ProgressBar]:
        """Returns what a trial reports its steps to."""
        return partial(_Quiet, self._advance, f"{trial.folder}: ")

    def _advance(self, share: float) -> None:
        self._bar.update(self._task, advance=share)

    def ended(self, trial: Trial, outcome: Outcome, objective: str, count: int) -> None:
        """Shows that a trial ended, and how many have, whichever worker trained them."""
        self._bar.update(self._task, completed=count, ended=count)
        value = "" if outcome.value is None else f" {objective} {outcome.value:.4g}"
        error = f": {outcome.error}" if outcome.error else ""
        again = "" if outcome.final else ", to be tried again"
        self.line(
            f"[{count}/{self._total}] {trial.folder} {outcome.status}{value}{error}{again}  {shown(trial.fields)}"
        )


class _Quiet(ProgressBar):
    """Counts a trial's steps for the bar and shows only what went wrong."""

    def __init__(self, advance: Callable[[float], None], prefix: str, *, total: int, batch_size: int) -> None:
        super().__init__(total=total, batch_size=batch_size, quiet=True)
        self._share, self._prefix = 1 / max(1, total), prefix
        self._advance_by = advance

    def advance(self, steps: int) -> None:
        self._done += steps
        self._advance_by(steps * self._share)
