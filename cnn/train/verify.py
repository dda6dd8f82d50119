"""Whether a run can be had again: its steps are made once more in another folder, and all is compared bit by bit.

What is compared comes in the order in which a run is made: its config, what it was computed with, its data, its
checkpoints, the metrics and the states on the way, and its evaluations. The first thing that differs is named.
"""

import contextlib
import dataclasses
import functools
import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from cnn.config.config import Config, ConfigError
from cnn.config.sections import Checkpoint, Minutes
from cnn.data import types
from cnn.registry import ExtensionError
from cnn.report.run_files import RunFiles
from cnn.runs import checkpoint_format, receipt, recorded_code, recorded_data, run_dir
from cnn.runs.checkpoint_format import Damaged, Meta
from cnn.runs.checksum import fingerprint
from cnn.runs.receipt import Receipt
from cnn.system.preemption import Preemption
from cnn.train import experiment
from cnn.train.callbacks import Callbacks
from cnn.train.checkpointer import CHANGED
from cnn.train.loop import StepsRequest, Trained, train
from cnn.train.preflight import load_data
from cnn.train.progress_bar import ProgressBar
from cnn.train.run import Run

NEVER = Checkpoint(Minutes(1e9))
"""The repetition is not worth saving: it can be had again."""


class Verdict(NamedTuple):
    """What came of verifying a run."""

    first: int
    """The step after which its steps were made again; 0 is its start."""
    last: int
    """The last of these."""
    whole: bool
    """Whether these are all of a finished run, and its evaluations were made again."""
    difference: str | None
    """The first thing that differs, in a line."""
    comparable: bool
    """Whether the run could be had again at all with this machine and these versions."""
    receipt: Receipt | None
    """Of a run that was repeated as a whole and is the same."""


class _Differs(Exception):
    """Something is not what was recorded; its text says what."""


class _Incomparable(Exception):
    """The run was computed with something else."""


def verify(
    values: Config,
    workdir: Path,
    *,
    start: int | None = None,
    steps: int | None = None,
    stated: Receipt | None = None,
    data_dir: str | None = None,
    data_file: str | None = None,
    preemption: Preemption | None = None,
    quiet: bool = False,
) -> Verdict:
    """Makes a run's steps again and compares; writes nothing into its directory.

    Args:
      values: the run's config, as `reading.read_run` gives it.
      workdir: the run's directory.
      start: a step that is kept as a checkpoint, from which to go on; `None` or 0 for the run's own start.
      steps: so many at most; `None` for all.
      stated: a receipt that the run must have.
      data_dir: where the data are, if they have moved.
      data_file: their file.
      preemption: of whoever verifies; made where there is none.
      quiet: whether to show nothing meanwhile.

    Raises:
      ConfigError: nothing is saved yet, or `start` is no step that is kept.
      DataError: the data are missing or unlike the config.
      Preempted: a signal asked to stop.
    """
    folder = workdir / run_dir.CHECKPOINTS
    kept = run_dir.steps(folder)
    if not kept:
        raise ConfigError([f"--workdir: {workdir} has no checkpoint yet. Train it first"])
    if start and start not in kept:
        raise ConfigError([f"--from: must be 0 or a step that is kept, {', '.join(map(str, kept))}, got {start}"])
    end = kept[-1]
    first = start or 0
    if start and start == end:
        raise ConfigError([f"--from: must be a step before the last that is kept, {end}, got {start}"])
    last = end if steps is None else min(end, first + steps)
    whole = first == 0 and last == end and (workdir / run_dir.RESULT).is_file()
    try:
        metas = _check_files(values, workdir, kept)
        if stated is not None and (parts := receipt.differing(stated, receipt.of_run(workdir))):
            raise _Differs(f"the receipt states other {' and '.join(parts)}")
        with contextlib.ExitStack() as held:
            preemption = preemption or held.enter_context(Preemption())
            scratch = held.enter_context(tempfile.TemporaryDirectory(prefix="cnn-verify-"))
            here = _at(values, data_dir, data_file)
            numerics = metas[end]["numerics"]
            devices = _devices(here, numerics)
            dataset = load_data(here.data)
            if (identity := recorded_data.recorded(workdir).get("identity")) not in (None, dataset.identity):
                raise _Differs(f"the data: identity {_short(identity)} recorded, {_short(dataset.identity)} now")
            copy = Path(scratch) / "run"
            repetition = _Repetition(here, workdir, copy, dataset, first, devices, numerics)
            with _repeated(repetition, preemption, quiet=quiet) as run:
                try:
                    trained = _repeat(run, metas, last)
                    _compare_metrics(workdir, copy, last, whole=whole)
                    if whole:
                        _compare_results(workdir, json.loads(json.dumps(experiment.finish(run, trained))))
                except _Differs as difference:
                    if changed := _changed_arithmetic(values, workdir, first, kept):
                        raise _Incomparable(f"{difference}, {changed}") from None
                    raise
    except _Incomparable as error:
        return Verdict(first, last, whole, str(error), comparable=False, receipt=None)
    except (_Differs, run_dir.BrokenFile, ExtensionError) as error:
        return Verdict(first, last, whole, str(error), comparable=True, receipt=None)
    return Verdict(first, last, whole, None, comparable=True, receipt=receipt.of_run(workdir) if whole else None)


def _at(values: Config, data_dir: str | None, data_file: str | None) -> Config:
    return dataclasses.replace(values, data=recorded_data.moved(values.data, data_dir, data_file), checkpoint=NEVER)


def _check_files(values: Config, workdir: Path, kept: list[int]) -> dict[int, Meta]:
    """Returns what was saved beside each step, once the files are known to be those that were written."""
    recorded_code.check_same(values, workdir)
    found: dict[int, Meta] = {}
    for step in kept:
        path = checkpoint_format.folder(workdir / run_dir.CHECKPOINTS, step)
        try:
            found[step] = checkpoint_format.inspect(path)
        except Damaged as error:
            raise _Differs(f"{run_dir.CHECKPOINTS}/{path.name}: damaged: {error}") from None
    newest = found[kept[-1]]
    if hashlib.sha256((workdir / run_dir.CONFIG).read_bytes()).hexdigest() != newest["config"]:
        raise _Differs(f"{run_dir.CONFIG}: is not the config that step {kept[-1]:,} was trained with")
    result = run_dir.read_json(workdir / run_dir.RESULT)
    if result is not None and result.get("fingerprint") != newest["fingerprint"]:
        raise _Differs(
            f"{run_dir.RESULT}: fingerprint {result.get('fingerprint')} recorded, {newest['fingerprint']} is that of "
            f"step {kept[-1]:,}"
        )
    return found


class _Repetition(NamedTuple):
    """What a run is made again from, and where."""

    values: Config
    """With its data where they are now, and without checkpoints."""
    workdir: Path
    """Its own directory."""
    copy: Path
    """The folder in which it is made again."""
    dataset: types.Dataset
    first: int
    """The step after which its steps are made again."""
    devices: int
    numerics: Mapping[str, Any]
    """What its last digits depend on, as its newest checkpoint says."""


@contextlib.contextmanager
def _repeated(repetition: _Repetition, preemption: Preemption, *, quiet: bool) -> Iterator[Run]:
    """Opens the run again in another folder, with nothing of it or with what it was at a step."""
    values, workdir, copy, dataset, first, devices, numerics = repetition
    copy.mkdir()
    experiment.prepare(values, copy, dataset)
    if first:
        shutil.copy(workdir / run_dir.METRICS, copy / run_dir.METRICS)
        name = checkpoint_format.folder(workdir / run_dir.CHECKPOINTS, first).name
        shutil.copytree(workdir / run_dir.CHECKPOINTS / name, copy / run_dir.CHECKPOINTS / name)
    experiment.check(values, dataset, devices)
    callbacks = Callbacks(functools.partial(ProgressBar, quiet=quiet), alone=False)
    run = Run(values, copy, dataset, preemption, devices=devices, callbacks=callbacks)
    changed = [each for each in run.checkpointer.differences(numerics) if each[0] != "on_error"]
    if changed:
        raise _Incomparable("; ".join(f"{name} {before} then, {now} now" for name, before, now in changed))
    with experiment.ended_if_preempted(run):
        yield run


def _changed_arithmetic(values: Config, workdir: Path, first: int, kept: list[int]) -> str | None:
    """Returns what a run says that it was computed with, up to a step after `first`, and then no longer."""
    events = RunFiles(workdir, values).events
    changes = [event for event in events if event["event"] == CHANGED and event["step"] > first]
    if not changes:
        return None
    step = changes[-1]["step"]
    after = [each for each in kept if each >= step]
    remedy = f". Add --from={after[0]} to verify what followed" if after[:-1] else ""
    return f"as what came before step {step:,} was computed otherwise ({changes[-1]['reason']}){remedy}"


def _devices(values: Config, saved: Mapping[str, Any]) -> int:
    """Returns how many devices shared a batch.

    Asked before the data are loaded, which starts JAX: a CPU can be made two devices only until then.
    """
    if str(saved.get("dispatch", "")).startswith("vmap"):
        raise _Incomparable("it trained together with other trials of its sweep, and alone computes other last digits")
    wanted = int(saved.get("devices", 1))
    try:
        return experiment.device_count(values, wanted)
    except ConfigError:
        raise _Incomparable(
            f"devices: {wanted} then, {jax.device_count()} now. Where they were parts of a CPU, set "
            f"JAX_NUM_CPU_DEVICES={wanted} before Python starts"
        ) from None


def _repeat(run: Run, metas: Mapping[int, Meta], last: int) -> Trained:
    """Makes the steps up to `last`; compares the state with what was saved of it."""

    def follow(request: StepsRequest) -> StepsRequest | None:
        _compare_state(request.first, metas, request.state)
        if request.first >= last:
            return None
        stops = [step - request.first for step in (*metas, last) if step > request.first]
        return request._replace(number=min(request.number, *stops))

    trained = train(run, follow)
    _compare_state(int(trained.state.step), metas, trained.state)
    return trained


def _compare_state(step: int, metas: Mapping[int, Meta], state: Any) -> None:
    if step in metas and fingerprint(state) != metas[step]["fingerprint"]:
        raise _Differs(f"{run_dir.CHECKPOINTS}/{run_dir.step_name(step)}: the weights of step {step:,} are others")


def _compare_metrics(workdir: Path, copy: Path, last: int, *, whole: bool) -> None:
    recorded = (workdir / run_dir.METRICS).read_bytes().splitlines()
    repeated = (copy / run_dir.METRICS).read_bytes().splitlines()
    for number, line in enumerate(repeated):
        if number >= len(recorded):
            raise _Differs(f"{run_dir.METRICS}: line {number + 1} is missing, of step {json.loads(line)['step']:,}")
        if line != recorded[number]:
            raise _Differs(f"{run_dir.METRICS}: line {number + 1}: {_first(recorded[number], line)}")
    if whole and len(recorded) > len(repeated):
        raise _Differs(f"{run_dir.METRICS}: line {len(repeated) + 1} is one that the repetition does not write")


class _Digits(str):
    """A number as it is written: the neighbours of a float's last digit are read as the same float."""

    __repr__ = str.__str__


def _first(recorded: bytes, repeated: bytes) -> str:
    read = functools.partial(json.loads, parse_float=_Digits, parse_int=_Digits, parse_constant=_Digits)
    try:
        return _difference(read(recorded), read(repeated)) or "the same numbers, in another order or layout"
    except (json.JSONDecodeError, UnicodeDecodeError):
        return "is not valid JSON"


def _compare_results(workdir: Path, repeated: Mapping[str, Any]) -> None:
    recorded = run_dir.read_json(workdir / run_dir.RESULT) or {}
    for name in receipt.MEASURED:
        if found := _difference(recorded.get(name), repeated.get(name), name):
            raise _Differs(f"{run_dir.RESULT}: {found}")


def _difference(recorded: Any, repeated: Any, name: str = "") -> str | None:
    """Returns the first number in which two records differ, and both; `None` where they are the same."""
    if isinstance(recorded, Mapping) and isinstance(repeated, Mapping):
        for key in dict.fromkeys([*repeated, *recorded]):
            inner = f"{name}.{key}" if name else str(key)
            if found := _difference(recorded.get(key), repeated.get(key), inner):
                return found
        return None
    if recorded == repeated and type(recorded) is type(repeated):
        return None
    return f"{name} {recorded!r} recorded, {repeated!r} repeated"


def _short(identity: str | None) -> str:
    return (identity or "unknown")[:12]
