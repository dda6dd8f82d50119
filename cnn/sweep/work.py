"""Works at a sweep that is declared: opens its study, lets an engine run the trials, ranks what came out."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna

from cnn.config.config import ConfigError
from cnn.report import page_writer
from cnn.runs import run_dir
from cnn.sweep import engines, listing, measure, programs, ranking, samplers, storage, workers
from cnn.sweep.board import Board
from cnn.sweep.plan import TRIALS, Plan
from cnn.sweep.queue import Queue
from cnn.sweep.screen import Screen
from cnn.sweep.session import Session
from cnn.sweep.warming import Warming
from cnn.system.preemption import Preemption


def run(
    plan: Plan, folder: Path, url: str, token: str, warming: Warming, interruption: Preemption | None
) -> dict[str, Any]:
    """Does what `driver.run` promises.

    Args:
      plan: the sweep.
      folder: its directory.
      url: of the database, empty for SQLite in the folder.
      token: names the folder's sweep.
      warming: may have begun to compile what the trials need.
      interruption: of whoever runs this among other things; made where there is none.
    """
    with workers.alone(folder):  # two that make the same tables at once disturb each other
        connected = storage.connect(url, folder)
    screen = Screen(plan.size)
    with contextlib.ExitStack() as held, workers.present(folder) as worker:
        stops = interruption or held.enter_context(Preemption())

        def asking(question: Callable[[], Any]) -> Any:
            return storage.asking(question, screen.line, lambda: stops.requested)

        study = asking(lambda: _study(plan, folder, connected, token))
        session = Session(plan, Queue(Board(plan, folder, study), worker), screen, stops, warming)
        when = plan.example.values.report.page
        page = page_writer.Pages(folder, when, screen.line, page_writer.of_sweep)
        session.meanwhile = page_writer.prepare_for_sweep if when != "never" else session.meanwhile
        session.record = lambda: ranking.write(session.queue.board, session, page.follow)
        if line := listing.fewer(plan):
            screen.line(line)
        if plan.is_grid:
            asking(lambda: session.queue.fill(programs.key))
        with screen.running(asking(lambda: len(ranking.ended(session.queue.board)))):
            return _work(session, folder, page)


def _work(session: Session, folder: Path, page: page_writer.Pages) -> dict[str, Any]:
    """Lets the engine work; returns the ranking, which is also written where the work did not come to its end."""
    try:
        engines.run(session)
        session.about |= session.spent(measure.age())
        record = session.ask(session.record)
    except storage.Away as away:
        done = len(list(folder.glob(f"{TRIALS}/*/{run_dir.RESULT}")))
        kept = f"Kept in {folder}: {done} of {session.plan.size} trials with their results, the others as last saved"
        remedy = "When the database answers again, start the same command: it continues from there, nothing twice"
        raise storage.Away(f"--storage: {away}. {kept}. {remedy}") from None
    except BaseException:
        session.ask(session.record)
        page.ended()
        raise
    page.ended()
    return record


def _study(plan: Plan, folder: Path, connected: optuna.storages.RDBStorage, token: str) -> optuna.Study:
    """Returns the study of this folder, made where there is none.

    Raises:
      ConfigError: the database holds it, but for a folder that is not this one.
    """
    with workers.alone(folder):
        study = optuna.create_study(
            study_name=f"{folder.resolve().name}-{plan.identity}",
            storage=connected,
            direction=plan.options.direction,
            pruner=samplers.pruner(plan.options.pruner, plan.epochs),
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
