"""The records of a run: `metrics.jsonl`, TensorBoard's files, `events.jsonl`, and whoever listens to them.

`metrics.jsonl` holds no clock: a run that was interrupted ends with the same bytes as one that was not. What happened
and when, such as a resume or a failed save, is an event.
"""

import copy
import datetime
import functools
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from cnn.runs import run_dir, tensorboard
from cnn.system.text import plain

FLUSH_SECONDS = 30

OnRecord = Callable[[dict[str, Any]], None]
"""Gets a copy of every record of a run, in order:

* `{"kind": "begin", "workdir", "step", "config"}`, with the updates behind it: not 0 where it continues;
* those of `metrics.jsonl`, of the kinds `train` and `epoch`;
* `{"kind": "evaluation", "split", "weights", "step", ...}` of each final evaluation, with its numbers;
* `{"kind": "end", "status", "result"}`: finished, diverged or preempted, which has no result.

After an error or a kill there is no end. A run that continues from a checkpoint repeats what was recorded after that.
"""


class OnRecordError(ValueError):
    """Reports in one line what the function that gets the records raised, and where."""


class MetricWriter:
    """Writes the events of one run, and once it is open its metrics from a step on."""

    def __init__(
        self,
        workdir: Path,
        show: Callable[[str], None] = lambda line: None,
        *,
        settings: Mapping[str, Any],
        on_record: OnRecord | None = None,
        leads: bool = True,
    ) -> None:
        """Writes nothing yet.

        Args:
          workdir: the run's directory.
          show: shows a line to the user.
          settings: the run's config, as in `config.json`.
          on_record: gets every record, see `OnRecord`.
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
            tell(self._on_record, copy.deepcopy(dict(record)))


def tell(on_record: OnRecord, record: dict[str, Any]) -> None:
    """Hands a record to the user's function.

    Raises:
      OnRecordError: it raised an `Exception`; whatever else it raises, such as `KeyboardInterrupt`, passes.
    """
    try:
        on_record(record)
    except OnRecordError:  # of a function that passes records on
        raise
    except Exception as error:
        raise OnRecordError(f"on_record: {_blamed(on_record, error)}") from error


def _blamed(function: OnRecord, error: Exception) -> str:
    """Returns which function failed, where, and with what."""
    while isinstance(function, functools.partial):
        function = function.func
    name = getattr(function, "__qualname__", type(function).__qualname__).replace("<locals>.", "")
    said = " ".join(f"{type(error).__name__}: {error}".split())
    # The first frame is ours; a function that is not written in Python has none.
    trace = error.__traceback__ and error.__traceback__.tb_next
    if trace is None:
        return f"{name} failed: {said}"
    path = Path(trace.tb_frame.f_code.co_filename)
    file = os.path.relpath(path) if path.is_relative_to(Path.cwd()) else path
    return f"{name} failed in {file}, line {trace.tb_lineno}: {said}"


def _records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
