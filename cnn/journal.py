"""Where a run's records go: `metrics.jsonl` (no clock, the same bytes again), `events.jsonl`, TensorBoard."""

import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tensorboardX import SummaryWriter

from cnn import rundir


class Journal:
    """Writes the metrics of one run from a step on; TensorBoard drops what was recorded after it."""

    def __init__(self, workdir: Path, *, step: int) -> None:
        self.workdir = workdir
        # The step in the name keeps a start within the same second from replacing the file before it.
        self._tensorboard = SummaryWriter(
            str(workdir / rundir.TENSORBOARD), purge_step=step + 1, filename_suffix=f".{step:08}"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tensorboard.close()

    def metrics(self, kind: str, step: int, epoch: int, values: dict[str, float | dict[str, float]]) -> int:
        """Adds a record; `values` may hold one level of splits. Returns the size of the file, in bytes."""
        path = self.workdir / rundir.METRICS
        rundir.append(path, {"kind": kind, "step": step, "epoch": epoch, **values})
        for name, value in values.items():
            parts = value.items() if isinstance(value, dict) else [("", value)]
            for part, number in parts:
                self._tensorboard.add_scalar("/".join(filter(None, (kind, name, part))), number, step)
        return path.stat().st_size


def event(workdir: Path, what: str, **details: Any) -> None:
    """Adds a record with the time to a run's `events.jsonl`."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    rundir.append(workdir / rundir.EVENTS, {"time": now, "event": what, **details})
