"""Runs a sweep in its directory: declares it, opens its study, lets an engine run the trials, writes ranking and page.

The engine `vmap` trains trials together, and is for accelerators; `map` trains one after another, and is for CPUs and
for data that stream.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import optuna

from cnn.config.config import ConfigError
from cnn.report import page_writer
from cnn.runs import run_dir
from cnn.runs.records import OnRecord
from cnn.runs.sweep_record import DATABASE, RECORD, TRIALS, Fields, SweepJson
from cnn.sweep import programs, ranking, rounds, sequential, vmapped
from cnn.sweep.declaration import declare, joined
from cnn.sweep.options import Options, choose_engine
from cnn.sweep.plan import Plan, fewer, unranked
from cnn.sweep.progress_bar import SweepProgressBar
from cnn.sweep.session import Session
from cnn.sweep.study import Away, Queue, Study, ask_until_answered, connect
from cnn.sweep.workers import alone, present
from cnn.system.preemption import Preemption
from cnn.train import multi_step


def run(plan: Plan, folder: Path, url: str, interruption: Preemption, on_record: OnRecord | None = None) -> SweepJson:
    """Runs what is missing of a sweep; writes and returns the ranking, `sweep.json`, and `sweep.csv` beside it.

    Args:
      plan: the sweep.
      folder: its directory; every worker of it must see the same one.
      url: of the database, empty for SQLite in the folder.
      interruption: hears of signals.
      on_record: gets every record of every trial, see `Session.on_record`.

    Raises:
      ConfigError: the folder or the study belongs to another sweep.
      OnRecordError: `on_record` failed.
      Preempted: a signal asked to stop.
      OSError: the disk is full, or the database does not answer.
    """
    token, said = declare(plan, folder), plan.size
    plan = joined(plan, folder)
    if not url and not (folder / DATABASE).exists() and any((folder / TRIALS).glob(f"*/{run_dir.CONFIG}")):
        got = f"--storage: the study of the sweep in {folder} is in a database of its own, got none"
        raise ConfigError([f"{got}. Name it: --storage=postgresql+psycopg://USER@HOST/NAME"])
    with alone(folder):  # two that make the same tables at once disturb each other
        connected = connect(url, folder)
    progress_bar = SweepProgressBar(plan.size)
    with present(folder) as worker:

        def asking(question: Callable[[], Any]) -> Any:
            return ask_until_answered(question, progress_bar.line, lambda: interruption.requested)

        optuna_study = asking(lambda: _optuna_study(plan, folder, connected, token))
        study = Study(plan, folder, optuna_study)

        def following(limit: Callable[[str], int]) -> list[Fields]:
            return rounds.following(study.plan, ranking.rows(study), limit, programs.program_of)

        session = Session(Queue(study, worker, programs.program_of, following), progress_bar, interruption, on_record)
        when = plan.example.values.report.page
        page = page_writer.Pages(folder, when, progress_bar.line, page_writer.of_sweep)
        session.meanwhile = page_writer.prepare if when != "never" else session.meanwhile
        session.record = lambda: ranking.write(session.queue.study, session.about, page.follow)
        if line := fewer(plan):
            progress_bar.line(line)
        if plan.size > said:
            progress_bar.line(f"the sweep in {folder} has grown: of its {plan.size} trials this command names {said}")
        if plan.is_grid:
            asking(session.queue.fill)
        with progress_bar.running(asking(lambda: len(ranking.ended(session.queue.study)))):
            return _work(session, folder, page)


def _optuna_study(plan: Plan, folder: Path, connected: optuna.storages.RDBStorage, token: str) -> optuna.Study:
    """Returns the study of this folder, made where there is none.

    Raises:
      ConfigError: the database holds it, but for a folder that is not this one.
    """
    with alone(folder):
        study = optuna.create_study(
            study_name=f"{folder.resolve().name}-{plan.identity}",
            storage=connected,
            direction=plan.options.direction,
            pruner=plan.options.pruner.make_pruner(plan.epochs),
            load_if_exists=True,
        )
        known = study.user_attrs.get("folder")
        if known is None:
            study.set_user_attr("folder", token)
        elif known != token:
            raise ConfigError(
                [
                    f"--storage: the study {study.study_name} belongs to another folder than {folder}. Workers must "
                    "share one folder; for a new sweep choose another --workdir name"
                ]
            )
    return study


def _work(session: Session, folder: Path, page: page_writer.Pages) -> SweepJson:
    """Lets the engine work; returns the ranking, which is also written where the work did not come to its end."""
    try:
        run_trials(session)
        session.about |= session.spent()
        record = session.ask(session.record)
    except Away as away:
        done = len(list(folder.glob(f"{TRIALS}/*/{run_dir.RESULT}")))
        kept = f"Kept in {folder}: {done} of {session.plan.size} trials with their results, the others as last saved"
        remedy = "When the database answers again, start the same command: it continues from there, nothing twice"
        raise Away(f"--storage: {away}. {kept}. {remedy}") from None
    except BaseException:
        session.ask(session.record)
        page.ended()
        raise
    page.ended()
    return record


def run_trials(session: Session) -> None:
    """Runs the trials that are left.

    Raises:
      ConfigError: what was asked for is not for this machine, or these data.
      DataError: the data are missing or unlike the config.
    """
    over = session.ask(lambda: ranking.ended(session.queue.study))
    if len(over) == session.plan.size and not session.ask(lambda: session.queue.following(lambda program: 1)):
        session.about |= (run_dir.read_json(session.queue.folder / RECORD) or {}).get("engine", {})
        return
    session.ask(session.record)  # so that the ranking names all trials, whatever happens to the first ones
    example = session.plan.example.values
    dataset = session.datasets.of(example)
    if not len(dataset.valid):
        raise ConfigError([unranked(example.data)])
    engine = choose(session.plan.options, jax.default_backend(), streams=dataset.streams)
    session.about |= {"engine": engine, "device": jax.devices()[0].device_kind}
    if engine == "vmap":
        vmapped.run(session)
    else:
        sequential.run(session)
    session.about["compilations"] = compilations()


def choose(options: Options, platform: str, *, streams: bool) -> str:
    """Returns the engine of a sweep.

    Raises:
      ConfigError: `vmap` was asked for, and the data stream; or several workers, and there is an accelerator.
    """
    if options.workers > 1 and platform != "cpu":
        got = f"--sweep.workers: is for CPUs, got {options.workers} on {platform}, whose memory the first one takes"
        raise ConfigError([f"{got}. Leave it out: vmap trains trials together"])
    return choose_engine(options.engine, platform, streams=streams)


def compilations() -> dict[str, int]:
    """Returns how many training programs this process has compiled, by engine."""
    return {
        "map": sum(run._cache_size() for run in (multi_step.run_step, multi_step.run_loop, multi_step.run_scan)),  # type: ignore[attr-defined]
        "vmap": vmapped.run_step._cache_size() + vmapped.run_scan._cache_size(),  # type: ignore[attr-defined]
    }
