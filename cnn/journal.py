"""Where a run's records go: `metrics.jsonl` (no clock, the same bytes again), `events.jsonl`, TensorBoard."""

import datetime
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

from cnn import rundir

FLUSH_SECONDS = 30


class Journal:
    """Writes the metrics of one run from a step on; TensorBoard drops what was recorded after it.

    TensorBoard's files are written here and now: tensorboardX's `SummaryWriter` leaves them to a thread, and once a
    full disk ends that thread, the next record waits for it for ever.
    """

    def __init__(self, workdir: Path, *, step: int) -> None:
        self.workdir = workdir
        self._folder = workdir / rundir.TENSORBOARD
        self._folder.mkdir(exist_ok=True)
        # The step in the name keeps a start within the same second from replacing the file before it.
        self._tensorboard = EventsWriter(str(self._folder / "events"), f".{step:08}")
        self._flushed = 0.0
        self._event(step=step + 1, session_log=SessionLog(status=SessionLog.START))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with rundir.naming(self._folder):
                self._tensorboard.close()
        except OSError:
            if error is None:  # what went wrong before tells more
                raise

    def metrics(self, kind: str, step: int, epoch: int, values: dict[str, float | dict[str, float]]) -> int:
        """Adds a record; `values` may hold one level of splits. Returns the size of the file, in bytes."""
        path = self.workdir / rundir.METRICS
        rundir.append(path, {"kind": kind, "step": step, "epoch": epoch, **values})
        with rundir.naming(self._folder):
            self._curves(kind, step, values)
        return path.stat().st_size

    def _curves(self, kind: str, step: int, values: dict[str, float | dict[str, float]]) -> None:
        for name, value in values.items():
            parts = value.items() if isinstance(value, dict) else [("", value)]
            for part, number in parts:
                tag = "/".join(filter(None, (kind, name, part)))
                self._event(step=step, summary=summary.scalar(tag, number))
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self._tensorboard.flush()
            self._flushed = time.monotonic()

    def _event(self, **fields: Any) -> None:
        self._tensorboard.write_event(Event(wall_time=time.time(), **fields))


def event(workdir: Path, what: str, **details: Any) -> None:
    """Adds a record with the time to a run's `events.jsonl`."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
    rundir.append(workdir / rundir.EVENTS, {"time": now, "event": what, **details})
