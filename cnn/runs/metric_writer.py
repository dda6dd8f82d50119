"""The metric writer of a run: `metrics.jsonl`, TensorBoard's files, and `events.jsonl`.

`metrics.jsonl` holds no clock: a run that was interrupted ends with the same bytes as one that was not. What happened
and when, such as a resume or a failed save, is an event.
"""

import datetime
import json
import re
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from google.protobuf.message import DecodeError
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog

from cnn.runs import run_dir
from cnn.system.text import plain

FLUSH_SECONDS = 30
FILES = "events"
"""What the names of TensorBoard's files begin with."""
UNTAGGED = re.compile(r"[^-/\w.]")
"""What no tag of TensorBoard's holds."""
HEADER, CHECKSUM = 12, 4
"""The bytes before an event, which begin with its length, and those after it."""


class MetricWriter:
    """Writes the events of one run, and once it is open its metrics from a step on.

    TensorBoard drops what was recorded after that step.

    What TensorBoard lacks up to that step, since a process was killed before it was written, is written again.

    TensorBoard's files are written here and now: tensorboardX's `SummaryWriter` leaves them to a thread, and once a
    full disk ends that thread, the next record waits for it for ever.
    """

    def __init__(self, workdir: Path, show: Callable[[str], None] = lambda line: None, *, leads: bool = True) -> None:
        """Writes nothing yet.

        Args:
          workdir: the run's directory.
          show: shows a line to the user.
          leads: of several processes that train one run, whether this one writes; the others do nothing here.
        """
        self.workdir, self._show, self._leads = workdir, show, leads
        self._folder = workdir / run_dir.TENSORBOARD
        self._tensorboard: EventsWriter | None = None
        self._flushed = 0.0

    def open(self, step: int) -> Self:
        """Begins to write metrics, of the steps after this one; the block that it is entered for closes it."""
        if not self._leads:
            return self
        self._folder.mkdir(exist_ok=True)
        missing = _missing(_records(self.workdir / run_dir.METRICS), _shown(self._folder))
        # Two starts within a second would have files of one name, the second replacing the first: so they are numbered.
        number = len(list(self._folder.iterdir()))
        self._tensorboard = EventsWriter(str(self._folder / FILES), f".{number:04}.{step:08}")
        with run_dir.naming(self._folder):
            first = missing[0]["step"] if missing else step + 1
            self._write_event(step=first, session_log=SessionLog(status=SessionLog.START))
            for record in missing:
                self._plot(record)
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tensorboard is None:
            return
        try:
            with run_dir.naming(self._folder):
                self._tensorboard.close()
        except OSError:
            if error is None:  # what went wrong before tells more
                raise

    def metrics(self, kind: str, step: int, epoch: int, values: Mapping[str, float | dict[str, float]]) -> int:
        """Adds a record to `metrics.jsonl` and TensorBoard; returns the size of the former, in bytes.

        Args:
          kind: what the record is of, such as "train" for some steps, or "epoch".
          step: the updates behind it.
          epoch: the epochs behind it.
          values: numbers by name, or of each split by name and split.
        """
        if not self._leads:
            return 0
        path = self.workdir / run_dir.METRICS
        record = {"kind": kind, "step": step, "epoch": epoch, **values}
        run_dir.append(path, record)
        with run_dir.naming(self._folder):
            self._plot(record)
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()
        return path.stat().st_size

    def event(self, what: str, **details: Any) -> None:
        """Adds an event with the time to `events.jsonl`, and shows it where something went wrong."""
        if not self._leads:
            return
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        run_dir.append(self.workdir / run_dir.EVENTS, {"time": now, "event": what, **details})
        if "reason" in details:
            reason = ", ".join(f"{name} {value}" for name, value in details.items())
            self._show(plain(f"{what}: {reason}"))

    def show(self, line: str) -> None:
        """Shows a line to the user."""
        self._show(plain(line))

    def flush(self) -> None:
        """Waits until what TensorBoard was given is on disk."""
        if self._tensorboard is None:
            return
        with run_dir.naming(self._folder):
            self._tensorboard.flush()
        self._flushed = time.monotonic()

    def _plot(self, record: Mapping[str, Any]) -> None:
        for tag, number in _scalars(record):
            self._write_event(step=record["step"], summary=summary.scalar(tag, number))

    def _write_event(self, **fields: Any) -> None:
        assert self._tensorboard is not None
        self._tensorboard.write_event(Event(wall_time=time.time(), **fields))


def _scalars(record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yields the numbers of a record by the names that TensorBoard shows: `train/loss`, and `loss/valid` of epochs.

    So what the splits have of one kind stands together. A metric's arguments are put as tensorboardX would put them.
    """
    for name, value in record.items():
        if name not in ("kind", "step", "epoch"):
            if isinstance(value, dict):
                yield from ((UNTAGGED.sub("_", f"{part}/{name}"), number) for part, number in value.items())
            else:
                yield f"{record['kind']}/{name}", value


def _records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def _missing(records: list[dict[str, Any]], shown: set[tuple[str, int]]) -> list[dict[str, Any]]:
    """Returns the records from the first step on of which something is not shown."""
    lacking = (
        record["step"] for record in records if any((tag, record["step"]) not in shown for tag, _ in _scalars(record))
    )
    first = min(lacking, default=None)
    return [] if first is None else [record for record in records if record["step"] >= first]


def _shown(folder: Path) -> set[tuple[str, int]]:
    """Returns the names and steps of the numbers that TensorBoard finds in a folder."""
    found: set[tuple[str, int]] = set()
    for path in sorted(folder.glob(f"{FILES}.*")):
        for written in _events(path.read_bytes()):
            if written.HasField("session_log") and written.session_log.status == SessionLog.START:
                found = {(tag, step) for tag, step in found if step < written.step}
            found |= {(value.tag, written.step) for value in written.summary.value}
    return found


def _events(content: bytes) -> Iterator[Event]:
    """Yields the events of a file up to the first that was not written whole."""
    start = 0
    while len(content) - start >= HEADER:
        (length,) = struct.unpack_from("<Q", content, start)
        end = start + HEADER + length
        if end + CHECKSUM > len(content):
            return
        try:
            yield Event.FromString(content[start + HEADER : end])
        except DecodeError:
            return
        start = end + CHECKSUM
