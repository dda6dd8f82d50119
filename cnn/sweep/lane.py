"""One trial of several that train together: an ordinary run, whose steps somebody else makes."""

import contextlib

import numpy as np

from cnn.runs import lock
from cnn.sweep import outcome
from cnn.sweep.outcome import Outcome
from cnn.sweep.queue import Claimed
from cnn.sweep.session import Session
from cnn.sweep.storage import Away
from cnn.system.preemption import Preempted
from cnn.train import checks, experiment
from cnn.train.callbacks import Callbacks
from cnn.train.loop import Trainer
from cnn.train.state import TrainState

FULL = "out of memory"


class Lane:
    """A claimed trial from its last checkpoint to its end."""

    def __init__(self, session: Session, claimed: Claimed, how: str) -> None:
        """Opens nothing yet; `how` names the program that makes the steps."""
        self.session, self.claimed, self.how = session, claimed, how
        self.trainer: Trainer
        self._held = contextlib.ExitStack()

    def open(self) -> bool:
        """Opens the run at its newest whole step; tells whether there is anything to train."""
        session, values, workdir = self.session, self.session.values(self.claimed.trial), self.claimed.workdir
        try:
            self.dataset = session.datasets.of(values)
            checks.check_lengths(values, self.dataset)
            self._held.enter_context(lock.hold(workdir))
            finished = experiment.prepare(values, workdir, self.dataset)
            if finished is not None:
                self._settle(outcome.of_result(finished, session.plan.options.objective))
                return False
            watch = Callbacks(session.screen.reporter(self.claimed.trial), session.judge(self.claimed), pages=False)
            self.trainer = Trainer(values, workdir, self.dataset, session.interruption, watch=watch, how=self.how)
            self._held.enter_context(self.trainer.opened())
        except lock.Held as error:
            self._settle(Outcome(outcome.FAILED, error=str(error), final=False))
            return False
        except Exception as error:  # Whatever one trial meets must not hurt the others.
            return self._fail(error)
        return True

    def goes_on(self) -> bool:
        """Ends an epoch that is whole; tells whether there are steps to make, and otherwise writes the result."""
        try:
            if self.trainer.more():
                return True
            if self.session.interruption.requested:
                return True
            self.trainer.close()
            result = experiment.finish(self.claimed.trial.values, self.claimed.workdir, self.trainer, self.dataset)
        except Preempted:  # in the midst of an evaluation
            return True
        except Exception as error:
            return self._fail(error)
        self._settle(outcome.of_result(result, self.session.plan.options.objective))
        return False

    def rows(self) -> np.ndarray:
        """Returns the rows of the following steps, (steps, batch), up to this trial's next boundary."""
        return self.trainer.feed.order.rows(self.trainer.step, self.trainer.next_steps())

    def settle(self, state: TrainState, metrics: dict[str, np.ndarray], seconds: float) -> bool:
        """Records steps that were made; tells whether the trial goes on."""
        self.trainer.state = state
        try:
            self.trainer.settle(metrics, seconds)
        except Exception as error:
            return self._fail(error)
        return True

    def preempt(self) -> None:
        """Saves the trial and lets it wait for whoever continues."""
        try:
            self.trainer.close()
        except OSError as error:
            self._fail(error)
            return
        with contextlib.suppress(Away):
            self._settle(Outcome(outcome.PREEMPTED, final=False))

    def fail(self, error: Exception, *, again: bool) -> None:
        """Stores that the program which makes the steps failed; `again`: no fault of the trial."""
        self._settle(Outcome(outcome.PREEMPTED, error=FULL, final=False) if again else outcome.of_error(error))

    def _fail(self, error: Exception) -> bool:
        if isinstance(error, Away):
            self._held.close()
            raise error
        self._settle(outcome.of_error(error))
        return False

    def _settle(self, ended: Outcome) -> None:
        self._held.close()
        self.session.settle(self.claimed, ended)
