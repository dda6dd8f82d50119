"""The engine `map`: one trial after another in this process, those of one program without compiling it again."""

import contextlib
import errno

from cnn import experiment, lock
from cnn.interruption import Preempted
from cnn.sweep import outcome
from cnn.sweep.outcome import Outcome
from cnn.sweep.queue import Claimed
from cnn.sweep.session import Session
from cnn.sweep.storage import Away
from cnn.watch import Watch

POLL_SECONDS = 1.0
"""How often a worker without a trial looks whether another one died."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


def run(session: Session) -> None:
    """Runs trials until none is left.

    Raises:
      Preempted: a signal asked to stop; the trial under way is saved and waits again.
      OSError: the disk is full, or the database away for too long.
    """
    while (claimed := session.claim()) is not None:
        if not claimed:
            session.wait(POLL_SECONDS)
        for one in claimed:
            train(session, one)


def train(session: Session, claimed: Claimed) -> None:
    """Trains one trial and stores how it ended."""
    watch = Watch(reporter=session.screen.reporter(claimed.trial), judge=session.judge(claimed), pages=False)
    values = session.values(claimed.trial)
    try:
        finished = experiment.run(
            values,
            claimed.workdir,
            known=session.datasets.of(values),
            watch=watch,
            interruption=session.interruption,
        )
        ended = outcome.of_result(finished.result, session.plan.options.objective)
        session.train_seconds += finished.result["train_seconds"]
    except Preempted:
        with contextlib.suppress(Away):  # then whoever comes next finds it
            session.settle(claimed, Outcome(outcome.PREEMPTED, final=False))
        raise
    except Away:
        raise
    except lock.Held as error:
        ended = Outcome(outcome.FAILED, error=str(error), final=False)
    except Exception as error:  # Whatever one trial meets must not hurt the others.
        session.interruption.defer(False)
        session.settle(claimed, outcome.of_error(error))
        if getattr(error, "errno", None) in FULL:
            raise
        return
    session.settle(claimed, ended)
