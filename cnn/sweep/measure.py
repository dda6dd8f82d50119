"""Which engine is fastest here: a few steps of each, and what the rest of the sweep would take with it."""

import dataclasses
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from cnn import hyperparams
from cnn.data import loader, splits
from cnn.sweep import stacked
from cnn.sweep.plan import Trial
from cnn.system import environment
from cnn.system.sharding import memory_limit
from cnn.train.multi_step import dispatch_of
from cnn.train.state import StepConfig, create_state, create_train_state, make_step_config

STEPS = 5
"""So many steps are timed, the median counts."""
MOST_LANES_CPU = 8
MOST_LANES = 512
SHARE_OF_MEMORY = 0.6
MAIN = Path(__file__).resolve().parents[2] / "main.py"


class Work(NamedTuple):
    """What is left to do of the trials of one program."""

    trial: Trial
    """One of them."""
    images: loader.Images
    trials: int
    steps: int
    """Of a trial."""


@dataclasses.dataclass(frozen=True)
class Measured:
    """What an engine needs for the work, in seconds."""

    engine: str
    start: float
    """Before the first step, once; of processes, before each."""
    step: float
    """A step of a trial, when all of the engine's lanes or jobs are busy."""
    total: float
    note: str = ""

    def line(self) -> str:
        """Returns it for a person."""
        return f"{self.engine} {self.total:,.1f} s{self.note}"


def lanes_for(trial_bytes: float, trials: int, devices: int) -> int:
    """Returns how many trials train together: as many as fit the memory, in equal groups, a multiple of the devices."""
    sharing = devices if jax.default_backend() != "cpu" else jax.local_device_count()
    limit = memory_limit() * SHARE_OF_MEMORY * sharing
    most = MOST_LANES_CPU if jax.default_backend() == "cpu" else MOST_LANES
    fitting = max(1, min(int(limit // max(1.0, trial_bytes)), most * devices, trials))
    return equal_parts(trials, fitting, devices)


def equal_parts(trials: int, most: int, devices: int) -> int:
    """Returns how many trials each of the fewest equal groups has, a multiple of the devices."""
    groups = math.ceil(trials / most)
    return math.ceil(trials / groups / devices) * devices


def trial_bytes(work: Work) -> float:
    """Returns about how many bytes of memory a trial takes: its state, gradients and updates, and its activations."""
    values = work.trial.values
    traced = hyperparams.from_values(values)
    state = jax.eval_shape(lambda traced: create_state(traced, values.data.image_shape, 0, values.frozen), traced)
    numbers = sum(int(np.prod(row.output)) for row in work.trial.values.rows)
    own = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    return 3.0 * own + 4.0 * 3 * numbers * work.trial.values.train.batch_size


def by_map(work: Work) -> Measured:
    """Measures a loop over one compiled step."""
    program, dispatch = _program(work), dispatch_of(work.trial.values)
    box = [create_train_state(work.trial.values)]
    rows = _rows(work)[: dispatch.most]
    run, arguments = dispatch.call(rows)

    def call() -> Any:
        box[0], metrics = run(box[0], work.images, *arguments, program=program)
        return metrics

    start, seconds = timed(call)
    seconds /= len(rows)
    return Measured("map", start, seconds, start + work.trials * work.steps * seconds)


def by_vmap(work: Work, lanes: int) -> Measured:
    """Measures steps of so many trials together."""
    program, devices = _program(work), stacked.mesh()
    box = [stacked.stack([create_train_state(work.trial.values)] * lanes, devices)]
    rows = np.stack([_rows(work)] * lanes, axis=1)
    scan = jax.default_backend() != "cpu"
    static: dict[str, Any] = {"program": program, "devices": devices, "shared": False}

    def step() -> Any:
        if scan:
            box[0], metrics = stacked.run_scan(box[0], work.images, rows, **static)
        else:
            box[0], metrics = stacked.run_step(box[0], work.images, rows[0], **static)
        return metrics

    start, seconds = timed(step)
    seconds /= len(rows) if scan else 1
    groups = math.ceil(work.trials / lanes)
    total = start + groups * work.steps * seconds
    return Measured("vmap", start, seconds / lanes, total, f" ({lanes} trials together)")


def by_processes(work: Work, jobs: int, start: float, fastest: float) -> Measured:
    """Measures processes, so many at a time; only guesses where their starts alone take longer than `fastest`.

    Args:
      work: the trials.
      jobs: how many run at a time.
      start: what it took this process to make its first step, in seconds.
      fastest: the total of the best other engine, in seconds.
    """
    rounds = math.ceil(work.trials / jobs)
    if rounds * start > fastest:
        begins = "one start" if rounds == 1 else f"{rounds} starts one after another"
        note = f" or more, as {begins} would take that long ({start:.1f} s each)"
        return Measured("process", start, float("inf"), rounds * start, note)
    env = {**os.environ, "NPROC": str(max(1, environment.threads() // jobs))}
    probe = [sys.executable, "-m", "cnn.sweep.probe", repr(time.time())]
    running = [
        subprocess.Popen(probe, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env, cwd=MAIN.parent)
        for _ in range(jobs)
    ]
    for process in running:
        assert process.stdin is not None
        process.stdin.write(work.trial.values.json.encode())
        process.stdin.close()
    told = [process.stdout.read() for process in running if process.stdout]
    if sum(abs(process.wait()) for process in running):
        return Measured("process", start, float("inf"), float("inf"), " (a process failed)")
    answers = [json.loads(text.splitlines()[-1]) for text in told]
    begun, step = (max(answer[name] for answer in answers) for name in ("start", "step"))
    return Measured("process", begun, step / jobs, rounds * (begun + work.steps * step), f" ({jobs} at a time)")


def age() -> float:
    """Returns for how many seconds this process has run."""
    try:
        began = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        return float(Path("/proc/uptime").read_text().split()[0]) - began
    except (OSError, ValueError, IndexError):
        return time.process_time()


def timed(step: Callable[[], Any]) -> tuple[float, float]:
    """Returns the seconds of the first call, and the median of the following ones."""
    seconds = []
    for _ in range(STEPS + 1):
        began = time.monotonic()
        jax.block_until_ready(step())
        seconds.append(time.monotonic() - began)
    return seconds[0], float(np.median(seconds[1:]))


def _program(work: Work) -> StepConfig:
    values = work.trial.values
    per_epoch = len(work.images.labels) // values.train.batch_size
    return make_step_config(values, per_epoch * values.train.epochs, per_epoch)


def _rows(work: Work) -> np.ndarray:
    """Returns the rows of a few first steps, (steps, batch)."""
    values = work.trial.values
    size, count = values.train.batch_size, len(work.images.labels)
    rows = splits.permutation(values.order_seed, 0, count).astype(np.int32)
    steps = min(STEPS, count // size)
    return rows[: steps * size].reshape(steps, size)
