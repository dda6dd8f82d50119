"""The records of a run: `metrics.jsonl`, TensorBoard's files, `events.jsonl`, and whoever listens to them.

`metrics.jsonl` holds no clock: a run that was interrupted ends with the same bytes as one that was not. What happened
and when, such as a resume or a failed save, is an event.
"""

import copy
import datetime
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cnn.runs import records, run_dir, tensorboard
from cnn.system.text import counted, plain

FLUSH_SECONDS = 30


class MetricWriter:
    """Writes the events of one run, and once it is open its metrics from a step on."""

    def __init__(
        self,
        workdir: Path,
        show: Callable[[str], None] = lambda line: None,
        *,
        settings: Mapping[str, Any],
        on_record: records.OnRecord | None = None,
        leads: bool = True,
    ) -> None:
        """Writes nothing yet.

        Args:
          workdir: the run's directory.
          show: shows a line to the user.
          settings: the run's config, as in `config.json`.
          on_record: gets every record, see `records.OnRecord`.
          leads: of several processes that train one run, whether this one writes; the others do nothing here.
        """
        self.workdir, self._show, self._settings, self._leads = workdir, show, settings, leads
        self._on_record = on_record
        self._folder = workdir / run_dir.TENSORBOARD
        self._curves: tensorboard.Curves | None = None
        self._begun = False
        self._flushed = 0.0

    def open(self, step: int) -> Self:
        """Begins to write metrics, of the steps after this one; the block that it is entered for closes it."""
        if self._leads:
            self._tell({"kind": "begin", "workdir": str(self.workdir), "step": step, "config": self._settings})
            self._begun = True
            self._curves = tensorboard.Curves(self._folder, _records(self.workdir / run_dir.METRICS), step)
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._curves is None:
            return
        try:
            self._curves.close()
        except OSError:
            if error is None:  # what went wrong before tells more
                raise

    def metrics(self, kind: str, step: int, epoch: int, values: Mapping[str, float | dict[str, float] | None]) -> int:
        """Adds a record to `metrics.jsonl` and TensorBoard; returns the size of the former, in bytes.

        Args:
          kind: what the record is of, such as "train" for some steps, or "epoch".
          step: the updates behind it.
          epoch: the epochs behind it.
          values: numbers by name, `None` for one that is not finite, or of each split by name and split.
        """
        if not self._leads:
            return 0
        assert self._curves is not None
        path = self.workdir / run_dir.METRICS
        record = {"kind": kind, "step": step, "epoch": epoch, **values}
        run_dir.append(path, record)
        self._curves.plot(record)
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()
        self._tell(record)
        return path.stat().st_size

    def evaluation(self, record: Mapping[str, Any]) -> None:
        """Tells of a final evaluation, which has files of its own."""
        if self._leads:
            self._tell({"kind": "evaluation", **record})

    def end(self, status: str, result: Mapping[str, Any] | None = None) -> None:
        """Tells how a run that was opened ended, once; with a result, writes TensorBoard's table, too.

        Args:
          status: finished, diverged or preempted.
          result: what `result.json` will hold; `None` of a run that will go on.
        """
        if not self._begun:
            return
        self._begun = False
        if result is not None:
            tensorboard.write_outcome(self._folder, self._settings, result)
        self._tell({"kind": "end", "status": status, "result": result})

    def event(self, what: str, **details: Any) -> None:
        """Adds an event with the time to `events.jsonl`, and shows it where something went wrong."""
        if not self._leads:
            return
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds")
        run_dir.append(self.workdir / run_dir.EVENTS, {"time": now, "event": what, **details})
        if "reason" in details:
            if "count" in details:
                counts = counted(details["count"], what.removesuffix("s"), what)
                self._show(plain(f"{counts}: {details['reason']}"))
                return
            reason = ", ".join(f"{name} {value}" for name, value in details.items())
            self._show(plain(f"{what}: {reason}"))

    def show(self, line: str) -> None:
        """Shows a line to the user."""
        self._show(plain(line))

    def flush(self) -> None:
        """Waits until what TensorBoard was given is on disk."""
        if self._curves is None:
            return
        self._curves.flush()
        self._flushed = time.monotonic()

    def _tell(self, record: Mapping[str, Any]) -> None:
        if self._on_record is not None:
            records.tell(self._on_record, copy.deepcopy(dict(record)))


def _records(path: Path) -> list[records.Record]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
