"""The engines by name, and which of them runs a sweep: the one asked for, or the fastest of a short measurement."""

import dataclasses
import math
from collections import Counter
from typing import Any

import jax

from cnn.config.config import ConfigError
from cnn.runs import run_dir
from cnn.sweep import lanes, measure, processes, programs, ranking, solo, stacked
from cnn.sweep.options import CmaEs, Off, Tpe
from cnn.sweep.plan import RECORD, Trial
from cnn.sweep.session import Session
from cnn.train import multi_step

ATTRIBUTE = "engine on "
"""Before the kind of device: under this name the study remembers the choice."""
ROUNDS = 4
"""A sampler that learns is asked in at least so many rounds."""


def run(session: Session) -> None:
    """Runs the trials with the engine that was asked for, or with the fastest."""
    over = session.ask(lambda: ranking.ended(session.queue.board))
    if len(over) < session.plan.size:
        session.about |= _choose(session, over)
        engine = session.about["engine"]
        if engine == "vmap":
            session.warming.finish()
            lanes.run(session, session.about["lanes"])
        elif engine == "process":
            processes.run(session, session.about["jobs"])
        else:
            solo.run(session)
        session.about["compilations"] = compilations()
    else:
        record = run_dir.read_json(session.queue.folder / RECORD) or {}
        session.about |= record.get("engine") or _remembered(session)


def compilations() -> dict[str, int]:
    """Returns how many training programs this process has compiled, by engine."""
    return {
        "map": sum(run._cache_size() for run in (multi_step.run_step, multi_step.run_loop, multi_step.run_scan)),  # type: ignore[attr-defined]
        "vmap": stacked.run_step._cache_size() + stacked.run_scan._cache_size(),  # type: ignore[attr-defined]
    }


def _remembered(session: Session) -> dict[str, Any]:
    known = session.ask(lambda: session.queue.study.user_attrs)
    return dict(known.get(ATTRIBUTE + jax.devices()[0].device_kind, {}))


def _choose(session: Session, over: set[int]) -> dict[str, Any]:
    """Returns the engine, its lanes and jobs, and what was measured; says it, and remembers what was measured.

    Raises:
      ConfigError: the engine that was asked for is none of this machine's.
    """
    options = session.plan.options
    before = _remembered(session)
    if before and options.engine == "auto":
        session.screen.line(f"engine: {before['engine']}, as measured before")
        return before
    example, trials = _largest(session, over)
    on_cpu = jax.default_backend() == "cpu"
    if options.engine == "process" and not on_cpu:
        raise ConfigError(
            ["--sweep.engine: process is for CPUs: the sweep itself holds the accelerator's memory. Use vmap or map"]
        )
    jobs = processes.jobs(options.jobs)
    chosen: dict[str, Any] = {"engine": options.engine, "jobs": jobs, "device": jax.devices()[0].device_kind}
    if options.engine in ("map", "process"):
        return {**chosen, "lanes": 1}
    if session.datasets.of(example.values).streams:
        return {**chosen, "engine": _streamed(session), "lanes": 1}
    work = _work(session, example, trials)
    chosen["lanes"] = _lanes(session, work)
    if options.engine == "vmap":
        return chosen
    if trials < 2:
        return {**chosen, "engine": "map"}
    session.warming.finish()  # or it would disturb what is measured
    measured = measured_engines(work, chosen["lanes"], jobs, processes=on_cpu and isinstance(options.pruner, Off))
    best = min(measured, key=lambda one: one.total)
    chosen |= {"engine": best.engine, "measured": [_plain(one) for one in measured]}
    shown = "; ".join(one.line() for one in measured)
    session.screen.line(
        f"engine: {best.engine}, expected to be the fastest for the {trials} trials of {work.steps:,} steps: {shown}"
    )
    session.ask(lambda: session.queue.study.set_user_attr(ATTRIBUTE + chosen["device"], chosen))
    return chosen


def _streamed(session: Session) -> str:
    """Returns the engine for data that are not in memory, where no measurement chooses."""
    if session.plan.options.engine == "vmap":
        raise ConfigError(["--sweep.engine: vmap needs data in memory, got data that stream. Use map or process"])
    session.screen.line("engine: map, since the data stream")
    return "map"


def measured_engines(work: measure.Work, together: int, jobs: int, *, processes: bool) -> list[measure.Measured]:
    """Returns what each engine would need for the work.

    Args:
      work: the trials.
      together: how many of them train together under vmap.
      jobs: how many processes run at a time.
      processes: whether processes would do.
    """
    age = measure.age()
    measured = [measure.by_map(work), measure.by_vmap(work, together)]
    if processes:
        fastest = min(one.total for one in measured)
        measured.append(measure.by_processes(work, jobs, age + measured[0].start, fastest))
    return measured


def _plain(measured: measure.Measured) -> dict[str, Any]:
    return {
        name: value if not isinstance(value, float) or math.isfinite(value) else None
        for name, value in dataclasses.asdict(measured).items()
    }


def _largest(session: Session, over: set[int]) -> tuple[Trial, int]:
    """Returns a trial of the program that most of the trials left need, and how many these are."""
    plan = session.plan
    if not plan.is_grid:
        return plan.example, plan.size - len(over)
    left = [trial for trial in plan.trials if trial.number not in over]
    keys = {trial.number: programs.key(trial) for trial in left}
    key, count = Counter(keys.values()).most_common(1)[0]
    return next(trial for trial in left if keys[trial.number] == key), count


def _work(session: Session, example: Trial, trials: int) -> measure.Work:
    dataset = session.datasets.of(example.values)
    section = example.values.train
    steps = section.epochs * (len(dataset.train) // section.batch_size)
    return measure.Work(example, programs.images(dataset), trials, steps)


def _lanes(session: Session, work: measure.Work) -> int:
    options, devices = session.plan.options, jax.local_device_count()
    if options.lanes:
        return -(-options.lanes // devices) * devices
    trials = work.trials
    if isinstance(options.sampler, Tpe | CmaEs):
        trials = max(1, options.trials // ROUNDS) * len(session.plan.seeds)
    return measure.lanes_for(measure.trial_bytes(work), trials, devices)
