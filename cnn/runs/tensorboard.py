"""TensorBoard's files of one run: the curves of its splits, and its hyperparameters.

TensorBoard takes every folder for a run and draws one tag of several runs into one chart, so each split has a folder:
`loss` of `train` and of `valid` lie over one another. The hyperparameters and the final metrics stand in the folder
above, so that the table of hyperparameters has one row for each of our runs.

The files are written here and now: tensorboardX's `SummaryWriter` leaves them to a thread, and once a full disk ends
that thread, the next record waits for it for ever.
"""

import contextlib
import json
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from tensorboardX import summary
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.api_pb2 import Status
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.proto.plugin_hparams_pb2 import HParamsPluginData

from cnn.config import config
from cnn.runs import run_dir
from cnn.runs.records import final_metrics, scalars

SPLITS = ("train", "valid")
FILES = "events"
"""What the names of TensorBoard's files begin with."""
HEADER, CHECKSUM = 12, 4
"""The bytes before an event, which begin with its length, and those after it."""


class Curves:
    """Writes the records of a run from a step on, as scalars of each split.

    TensorBoard drops what was recorded after that step. What it lacks up to that step, since a process was killed
    before it was written, is written again.
    """

    def __init__(self, folder: Path, records: Sequence[Mapping[str, Any]], step: int) -> None:
        """Opens the files.

        Args:
          folder: TensorBoard's, of this run.
          records: all up to the step, as in `metrics.jsonl`.
          step: the updates behind the run.
        """
        self._folder, self._step = folder, step
        self._files: dict[str, EventsWriter] = {}
        folder.mkdir(exist_ok=True)
        with run_dir.naming(folder):
            for split in SPLITS:
                missing = _missing(records, split, _shown(folder / split))
                if missing or (folder / split).is_dir():
                    self._open(split, missing[0]["step"] if missing else step + 1)
                for record in missing:
                    self._write(split, record)

    def plot(self, record: Mapping[str, Any]) -> None:
        """Writes the scalars of a record."""
        with run_dir.naming(self._folder):
            for split in dict.fromkeys(split for split, _, _ in scalars(record)):
                if split not in self._files:
                    self._open(split, self._step + 1)
                self._write(split, record)

    def flush(self) -> None:
        """Waits until all is on disk."""
        with run_dir.naming(self._folder):
            for file in self._files.values():
                file.flush()

    def close(self) -> None:
        """Waits until all is on disk, and closes the files."""
        with run_dir.naming(self._folder), contextlib.ExitStack() as closed:
            for file in self._files.values():
                closed.callback(file.close)

    def _open(self, split: str, first: int) -> None:
        self._files[split] = _new_file(self._folder / split, self._step, first)

    def _write(self, split: str, record: Mapping[str, Any]) -> None:
        for of, tag, number in scalars(record):
            if of == split:
                _write_event(self._files[split], step=record["step"], summary=summary.scalar(tag, number))


def write_outcome(folder: Path, settings: Mapping[str, Any], result: Mapping[str, Any]) -> None:
    """Writes a run's hyperparameters, how it ended, and its final metrics, in the place of what stood there before.

    Args:
      folder: TensorBoard's, of this run.
      settings: the run's config, nested.
      result: as in `result.json`; of each evaluated split the numbers.
    """
    # Without the experiment that tensorboardX would add: of several runs TensorBoard reads one such list alone, and
    # shows nothing that only others have. Where there is none, it makes one of all runs.
    _, start, end = summary.hparams({path: _cell(value) for path, value in config.by_path(settings).items()}, {})
    if result["status"] != "finished":
        plugin = end.value[0].metadata.plugin_data
        said = HParamsPluginData.FromString(plugin.content)
        said.session_end_info.status = Status.Value("STATUS_FAILURE")
        plugin.content = said.SerializeToString()
    with run_dir.naming(folder), contextlib.closing(_new_file(folder, result["step"], 1)) as file:
        _write_event(file, summary=start)
        for name, number in final_metrics(result).items():
            _write_event(file, step=result["step"], summary=summary.scalar(name, number))
        _write_event(file, summary=end)


def _cell(value: Any) -> str | int | float | bool | None:
    return value if value is None or isinstance(value, (str, int, float)) else json.dumps(value)


def _missing(records: Sequence[Mapping[str, Any]], split: str, shown: set[tuple[str, int]]) -> list[Mapping[str, Any]]:
    """Returns the records from the first step on of which something of a split is not shown."""
    lacking = (
        record["step"]
        for record in records
        if any(of == split and (tag, record["step"]) not in shown for of, tag, _ in scalars(record))
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


def _new_file(folder: Path, step: int, first: int) -> EventsWriter:
    """Opens one more file, from whose first step on TensorBoard drops what the others in its folder hold."""
    folder.mkdir(parents=True, exist_ok=True)
    # Two starts within a second would have files of one name, the second replacing the first: so they are numbered.
    number = len(list(folder.glob(f"{FILES}.*")))
    file = EventsWriter(str(folder / FILES), f".{number:04}.{step:08}")
    _write_event(file, step=first, session_log=SessionLog(status=SessionLog.START))
    return file


def _write_event(file: EventsWriter, **fields: Any) -> None:
    file.write_event(Event(wall_time=time.time(), **fields))


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
