"""The engine `map`: one trial after another in this process, those of one program without compiling it again.

While one trial makes its steps, another is opened before its own, or evaluated, saved and settled after them: two
threads that each run whole trials take turns at the steps. Each trial computes what it would compute alone.
"""

import concurrent.futures
import contextlib
import errno
import threading
import time
from typing import Any

from cnn.runs import lock
from cnn.runs.records import OnRecordError
from cnn.sweep import outcome
from cnn.sweep.outcome import Outcome
from cnn.sweep.plan import Plan
from cnn.sweep.session import Session
from cnn.sweep.study import Away, Claimed
from cnn.system.preemption import Preempted
from cnn.train import experiment

POLL_SECONDS = 1.0
"""How often a worker without a trial looks whether another one died."""
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


class _Threads:
    """The threads that train. `with threads:` makes a thread the only one that makes steps."""

    def __init__(self, working: int) -> None:
        self.working = working
        self.begun = threading.Event()
        """The first thread makes steps, so what a trial needs before them is compiled."""
        self.over = threading.Event()
        """A thread met what ends the sweep, such as a signal or a full disk."""
        self._turn, self._lock = threading.Lock(), threading.Lock()

    def __enter__(self) -> None:
        self._turn.acquire()
        self.begun.set()

    def __exit__(self, *_: object) -> None:
        self._turn.release()

    def leave(self) -> bool:
        """Tells whether the thread that asks may end, since another one stays."""
        with self._lock:
            stays = self.working > 1
            self.working -= stays
            return stays


def run(session: Session) -> None:
    """Runs trials until none is left.

    Raises:
      Preempted: a signal asked to stop; the trials under way are saved and wait again.
      OnRecordError: see there; the trials wait again.
      OSError: the disk is full, or the database away for too long.
    """
    session.interruption.defer(True)
    threads = _Threads(together(session.plan))
    with concurrent.futures.ThreadPoolExecutor(threads.working) as pool:
        working = [pool.submit(_work, session, threads, first=not number) for number in range(threads.working)]
        session.meanwhile()
        while concurrent.futures.wait(working, POLL_SECONDS).not_done:
            pass  # only a thread that comes back to Python hears of a signal
    session.interruption.defer(False)
    for one in working:
        one.result()


def together(plan: Plan) -> int:
    """Returns how many trials are under way: two, where what is begun does not depend on what ended before."""
    return 1 if plan.options.sampler.learns or plan.options.pruner.learns else 2


def _work(session: Session, threads: _Threads, *, first: bool) -> None:
    try:
        if not first:
            threads.begun.wait()
        while not threads.over.is_set():
            session.interruption.check()
            if (claimed := session.claim()) is None:
                return
            if not claimed:
                if session.plan.options.until == "real":
                    time.sleep(POLL_SECONDS)  # the next round of seeds has trials for both threads
                    continue
                if threads.leave():
                    return
                session.wait(POLL_SECONDS)
            for one in claimed:
                train(session, one, threads)
    except BaseException:
        threads.over.set()
        raise
    finally:
        threads.begun.set()


def train(session: Session, claimed: Claimed, turn: contextlib.AbstractContextManager[Any]) -> None:
    """Trains one trial, making its steps within `turn`, and stores how it ended."""
    values = claimed.trial.values
    try:
        finished = experiment.run(
            values,
            claimed.workdir,
            known=session.datasets.of(values),
            callbacks=session.callbacks(claimed)._replace(turn=turn),
            preemption=session.interruption,
        )
        ended = outcome.of_result(finished.result, session.plan.options.objective)
    except (Preempted, OnRecordError):  # no fault of the trial, and it continues
        with contextlib.suppress(Away):  # then the next worker finds it
            session.settle(claimed, Outcome(outcome.PREEMPTED, final=False))
        raise
    except Away:
        raise
    except lock.Held as error:
        ended = Outcome(outcome.FAILED, error=str(error), final=False)
    except Exception as error:  # Whatever one trial meets must not hurt the others.
        session.settle(claimed, outcome.of_error(error))
        if getattr(error, "errno", None) in FULL_DISK:
            raise
        return
    session.settle(claimed, ended)
