"""What an engine works with: claims, verdicts and ends of trials, through a database that may be away for a while."""

import dataclasses
import threading
import time
from collections.abc import Callable
from typing import Any

from cnn.config.config import Config
from cnn.config.sections import Checkpoint, Epochs, Minutes
from cnn.runs import run_dir
from cnn.sweep import outcome, programs, storage
from cnn.sweep.outcome import Outcome
from cnn.sweep.plan import Plan, Trial
from cnn.sweep.queue import Claimed, Queue
from cnn.sweep.screen import Screen
from cnn.sweep.warming import Warming
from cnn.system import fault_injection
from cnn.system.preemption import Preemption

RECORD_SECONDS = 30
"""Between two writings of the ranking while a sweep runs."""
CADENCE = Minutes(1.0)


@dataclasses.dataclass
class Session:
    """One worker's part in a sweep."""

    plan: Plan
    queue: Queue
    screen: Screen
    interruption: Preemption
    warming: Warming
    """What is compiled beside other work."""
    train_seconds: float = 0.0
    """Spent in training steps, by trials of this worker."""
    about: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Which engine runs, and what was measured to choose it."""
    record: Callable[[], dict[str, Any]] = dict
    """Writes and returns the ranking as far as it is known."""
    meanwhile: Callable[[], None] = lambda: None
    """What can be done while XLA compiles."""
    _recorded: float = dataclasses.field(default_factory=time.monotonic)
    _told: bool = False
    _lock: threading.Lock = dataclasses.field(default_factory=threading.Lock)

    @property
    def datasets(self) -> programs.Datasets:
        """The data of the trials."""
        return self.warming.datasets

    def claim(self, limit: Callable[[str], int] = lambda program: 1) -> list[Claimed] | None:
        """Returns trials of one program that are ours now; `None` when nothing is left, empty while others work.

        Args:
          limit: how many trials of a program may be claimed.
        """
        claimed = self.ask(lambda: self.queue.claim(limit, programs.key))
        fault_injection.point("claimed")
        return claimed

    def settle(self, claimed: Claimed, ended: Outcome) -> None:
        """Stores how a trial ended, and shows it."""
        result = run_dir.read_json(claimed.workdir / run_dir.RESULT) or {}
        stored = self.ask(lambda: self.queue.settle(claimed, ended))
        fault_injection.point("settled")
        self.screen.ended(claimed.trial, stored, self.plan.options.objective)
        with self._lock:
            self.train_seconds += result.get("train_seconds", 0.0)
            if time.monotonic() - self._recorded > RECORD_SECONDS:
                self.ask(self.record)
                self._recorded = time.monotonic()

    def spent(self, seconds: float) -> dict[str, Any]:
        """Returns, where this worker ended trials in so many seconds, how much of that were no training steps.

        A step's first call compiles it and counts. Steps of processes, which overlap, count by how many run at a time.
        """
        steps = self.train_seconds / (self.about["jobs"] if self.about.get("engine") == "process" else 1)
        if not steps:
            return {}
        return {"time": {"seconds": seconds, "steps": steps, "other": max(0.0, 1 - steps / seconds)}}

    def values(self, trial: Trial) -> Config:
        """Returns a trial's config as it is trained here: saved every minute, where it says after every so many epochs.

        Trials are short, and what is lost is little. Nothing else changes, nor what `config.json` says.
        """
        values = trial.values
        if not isinstance(values.checkpoint.every, Epochs):
            return values
        return dataclasses.replace(values, checkpoint=Checkpoint(CADENCE))

    def judge(self, claimed: Claimed) -> Callable[[int, dict[str, float]], str | None]:
        """Returns what hears of a trial's evaluations and says whether to end it."""
        name = self.plan.options.objective.partition(".")[2]

        def heard(epoch: int, valid: dict[str, float]) -> str | None:
            pruned = self.ask(lambda: self.queue.report(claimed, epoch, valid[name]))
            return f"{outcome.PRUNED_BY} after epoch {epoch}: {name} {valid[name]:.4g}" if pruned else None

        return heard

    def wait(self, seconds: float) -> None:
        """Waits for trials of others, saying so once."""
        if not self._told:
            self.screen.line("waiting for the trials of other workers")
        self._told = True
        time.sleep(seconds)

    def ask(self, question: Callable[[], Any]) -> Any:
        """Returns the database's answer, asked again while it is away."""
        return storage.asking(question, self.screen.line, lambda: self.interruption.requested)
