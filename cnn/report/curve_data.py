"""What a run recorded while it trained, as the points of curves."""

import dataclasses
from typing import Any

from cnn.report.run_files import Run

MOST_POINTS = 1000
"""A longer line keeps the least and the greatest of each stretch."""

Points = list[tuple[int, float]]


@dataclasses.dataclass(frozen=True)
class History:
    """The curves of a run: (step, value), raw.

    Attributes:
      loss: of training and of validation, in nats, by split.
      accuracy: likewise.
      learning_rate: of training.
      best: step and validation accuracy of the best evaluation, the earliest of equal ones.
      bad_step: from where on the loss is not finite.
      last_step: the last that anything is known of.
      steps_per_epoch: as far as known.
    """

    loss: dict[str, Points]
    accuracy: dict[str, Points]
    learning_rate: Points
    best: tuple[int, float] | None
    bad_step: int | None
    last_step: int
    steps_per_epoch: float | None


def read(run: Run) -> History:
    """Returns the curves of a run."""
    trained = [record for record in run.metrics if record.get("kind") == "train"]
    epochs = [record for record in run.metrics if record.get("kind") == "epoch"]
    by_epoch = [{**record["train"], "step": record["step"]} for record in epochs if "train" in record]
    judged = [{**record["valid"], "step": record["step"]} for record in epochs if "valid" in record]
    # A run shorter than its first record still has the means of its epochs.
    training = trained or by_epoch
    accuracies = _points(judged, "accuracy")
    result = run.result or {}
    steps = [record["step"] for record in run.metrics] + [result.get("step", 0), result.get("bad_step") or 0]
    return History(
        loss={"train": _points(training, "loss"), "valid": _points(judged, "loss")},
        accuracy={"train": _points(training, "accuracy"), "valid": accuracies},
        learning_rate=_points(trained, "learning_rate"),
        best=max(accuracies, key=lambda point: (point[1], -point[0])) if accuracies else None,
        bad_step=result.get("bad_step") if result.get("status") == "diverged" else None,
        last_step=max(steps),
        steps_per_epoch=epochs[-1]["step"] / epochs[-1]["epoch"] if epochs else None,
    )


def epochs(run: Run) -> list[dict[str, Any]]:
    """Returns what each epoch recorded."""
    return [record for record in run.metrics if record.get("kind") == "epoch"]


def thinned(points: Points, most: int = MOST_POINTS) -> Points:
    """Returns what is drawn: all, or of each stretch the first, the least and the greatest, and the last."""
    if len(points) <= most:
        return points
    length = -(-3 * len(points) // most)
    kept: set[tuple[int, float]] = {points[-1]}
    for start in range(0, len(points), length):
        stretch = points[start : start + length]
        kept |= {stretch[0], min(stretch, key=lambda point: point[1]), max(stretch, key=lambda point: point[1])}
    return sorted(kept)


def _points(records: list[dict[str, Any]], name: str) -> Points:
    return [(record["step"], record[name]) for record in records if record.get(name) is not None]
