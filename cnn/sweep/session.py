"""One worker's part in a sweep, for both engines: claims trials, stores their values and how they end.

Whatever asks the database waits while that is away.
"""

import dataclasses
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cnn.runs import run_dir
from cnn.runs.records import OnRecord, Record, tell
from cnn.runs.sweep_record import EngineRecord, SweepJson
from cnn.sweep import outcome, programs
from cnn.sweep.outcome import Outcome
from cnn.sweep.plan import Plan
from cnn.sweep.progress_bar import SweepProgressBar
from cnn.sweep.study import Claimed, Queue, ask_until_answered
from cnn.system import fault_injection
from cnn.system.preemption import Preemption
from cnn.train.callbacks import Callbacks

RECORD_SECONDS = 30
"""Between two writings of the ranking while a sweep runs."""


@dataclasses.dataclass
class Session:
    """One worker's part in a sweep."""

    queue: Queue
    progress_bar: SweepProgressBar
    interruption: Preemption
    on_record: OnRecord | None = None
    """Gets every record of every trial, with the name of the trial's folder, one at a time."""
    datasets: programs.Datasets = dataclasses.field(default_factory=programs.Datasets)
    """The data of the trials."""
    train_seconds: float = 0.0
    """Spent in training steps, by trials of this worker."""
    about: EngineRecord = dataclasses.field(default_factory=lambda: EngineRecord())
    """Which engine runs, on what device, and how long it took."""
    record: Callable[[], SweepJson | None] = lambda: None
    """Writes and returns the ranking as far as it is known."""
    meanwhile: Callable[[], None] = lambda: None
    """What can be done while the first trial is compiled."""
    _recorded: float = dataclasses.field(default_factory=time.monotonic)
    _told: bool = False
    _lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)
    _telling: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    @property
    def plan(self) -> Plan:
        """The sweep as far as it has grown."""
        return self.queue.plan

    def claim(self, limit: Callable[[str], int] = lambda program: 1) -> list[Claimed] | None:
        """Returns trials of one program that are ours now; `None` when nothing is left, empty while others work.

        Args:
          limit: how many trials of a program may be claimed.
        """
        claimed = self.ask(lambda: self.queue.claim(limit))
        self.progress_bar.set_total(self.plan.size)
        fault_injection.point("claimed")
        return claimed

    def settle(self, claimed: Claimed, ended: Outcome) -> None:
        """Stores how a trial ended, and shows it."""
        result = run_dir.read_json(claimed.workdir / run_dir.RESULT) or {}
        stored, count = self.ask(lambda: self.queue.settle(claimed, ended))
        fault_injection.point("settled")
        self.progress_bar.ended(claimed.trial, stored, self.plan.options.objective, count)
        with self._lock:
            self.train_seconds += result.get("train_seconds", 0.0)
            if time.monotonic() - self._recorded > RECORD_SECONDS:
                self.ask(self.record)
                self._recorded = time.monotonic()

    def spent(self) -> EngineRecord:
        """Returns, where this worker ended trials, how long its process has run and how much were no training steps.

        A step's first call compiles it and counts.
        """
        if not self.train_seconds:
            return {}
        seconds, steps = _age(), self.train_seconds
        return {"time": {"seconds": seconds, "steps": steps, "other": max(0.0, 1 - steps / seconds)}}

    def callbacks(self, claimed: Claimed) -> Callbacks:
        """Returns what a trial is run with: its part of the bar, its pruner and its listener.

        Trials draw their pages when they are asked for.
        """
        return Callbacks(
            self.progress_bar.reporter(claimed.trial),
            self._end_early(claimed),
            alone=False,
            on_record=self._listener(claimed),
        )

    def _end_early(self, claimed: Claimed) -> Callable[[int, dict[str, float]], str | None]:
        """Returns what stores each evaluation of a trial, and says why the pruner ends it there, or `None`."""
        name = self.plan.options.objective.partition(".")[2]

        def validated(epoch: int, valid: dict[str, float]) -> str | None:
            pruned = self.ask(lambda: self.queue.report(claimed, epoch, valid[name]))
            return f"{outcome.PRUNED_BY} after epoch {epoch}: {name} {valid[name]:.4g}" if pruned else None

        return validated

    def _listener(self, claimed: Claimed) -> OnRecord | None:
        """Returns what gets the records of a trial and passes them on, with the name of its folder, one at a time."""
        if (on_record := self.on_record) is None:
            return None

        def pass_on(record: Record) -> None:
            with self._telling:
                tell(on_record, {**record, "trial": claimed.workdir.name})

        return pass_on

    def wait(self, seconds: float) -> None:
        """Waits for trials of others, saying so once."""
        if not self._told:
            self.progress_bar.line("waiting for the trials of other workers")
        self._told = True
        time.sleep(seconds)

    def ask(self, question: Callable[[], Any]) -> Any:
        """Returns the database's answer, asked again while it is away."""
        return ask_until_answered(question, self.progress_bar.line, lambda: self.interruption.requested)


def _age() -> float:
    """Returns for how many seconds this process has run."""
    try:
        began = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return float(Path("/proc/uptime").read_text().split()[0]) - began
    except (OSError, ValueError, IndexError):
        return time.process_time()
