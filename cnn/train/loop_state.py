"""What the host remembers of a run between steps: sums, the best so far, patience. Saved with every checkpoint."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from cnn import fields
from cnn.metrics import Better

BEFORE = {"best_accuracy": "best_value"}
"""Names that earlier versions saved, and those of today."""


@dataclasses.dataclass
class Sums:
    """Sums over steps, in float64; divided once, when they are reported."""

    loss: float = 0.0
    correct: float = 0.0
    count: float = 0.0
    weight: float = 0.0
    """What the examples weigh in the loss; their number where all classes weigh alike."""
    grad_norm: float = 0.0
    steps: int = 0

    def add(self, metrics: dict[str, np.ndarray], step: int) -> None:
        """Adds the step at index `step` of metrics stacked over steps."""
        for name in ("loss", "correct", "count", "grad_norm"):
            setattr(self, name, getattr(self, name) + float(metrics[name][step]))
        self.weight += float(metrics.get("weight", metrics["count"])[step])
        self.steps += 1

    def means(self) -> dict[str, float]:
        """Returns the loss in nats, by weight, the accuracy, an example, and the gradient norm, a step."""
        # Where no picture of a window could be used, nothing was learned and nothing lost.
        count = max(1.0, self.count)
        return {
            "loss": self.loss / (self.weight or 1.0),
            "accuracy": self.correct / count,
            "grad_norm": self.grad_norm / self.steps,
        }


@dataclasses.dataclass
class LoopState:
    """Everything about a run that is not in its `TrainState`."""

    window: Sums = dataclasses.field(default_factory=Sums)
    """Since the last `train` record."""
    epoch: Sums = dataclasses.field(default_factory=Sums)
    best_value: float | None = None
    """Of the metric that `train.monitor` names, on the validation split."""
    best_step: int | None = None
    stale_evaluations: int = 0
    """Evaluations in a row without a better one."""
    stopped: str | None = None
    """Why training ended before its last epoch."""
    bad_step: int | None = None
    """The step whose loss or gradient was not finite, where training ended."""
    last_epoch: dict[str, float] | None = None
    """The means of the last whole epoch."""
    seconds: float = 0.0
    """Spent in training steps, and waiting for their pictures."""
    wait_seconds: float = 0.0
    """Of these, the device had nothing to do for want of pictures."""
    save_seconds: float = 0.0
    """Spent saving; the save under way not included."""
    watch_seconds: float = 0.0
    """Spent looking at what `train.watch` names, its compilation included."""
    metrics_bytes: int = 0
    """The size of `metrics.jsonl`."""
    before_end: dict[str, Any] | None = None
    """All this as JSON before the end of the run ended or evaluated an epoch as a longer run would not."""

    def to_json(self) -> dict[str, Any]:
        return fields.to_json(self)

    @classmethod
    def from_json(cls, saved: Mapping[str, Any]) -> "LoopState":
        """Returns what was saved, maybe by an earlier version, which had other names and weighed all examples alike."""
        sums = {name: Sums(**{"weight": saved[name]["count"], **saved[name]}) for name in ("window", "epoch")}
        named = {BEFORE.get(name, name): value for name, value in saved.items()}
        return cls(**{**named, **sums})

    def waiting(self) -> float:
        """Returns the share of the training time that went by waiting for pictures."""
        return self.wait_seconds / max(1e-9, self.seconds)

    @property
    def ended(self) -> bool:
        """Whether something ended training before its last step."""
        return self.stopped is not None or self.bad_step is not None

    def validated(self, value: float, step: int, better: Better = "higher") -> None:
        """Notes what a validation gave for the monitored metric; equal is not better."""
        best = self.best_value
        if best is None or (value > best if better == "higher" else value < best):
            self.best_value, self.best_step, self.stale_evaluations = value, step, 0
        else:
            self.stale_evaluations += 1
