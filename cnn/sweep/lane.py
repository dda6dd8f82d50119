"""One trial of several that train together: an ordinary run, whose steps the engine makes for all of them."""

import contextlib
from collections.abc import Callable

import numpy as np

from cnn.runs import lock
from cnn.sweep import outcome
from cnn.sweep.outcome import Outcome
from cnn.sweep.queue import Claimed
from cnn.sweep.session import Session
from cnn.sweep.storage import Away
from cnn.system.preemption import Preempted
from cnn.train import checks, experiment, loop
from cnn.train.callbacks import Callbacks
from cnn.train.loop import Made, Steps
from cnn.train.run import Run

FULL = "out of memory"


class Lane:
    """A claimed trial from its last checkpoint to its end."""

    def __init__(self, session: Session, claimed: Claimed, dispatched: str) -> None:
        """Opens nothing yet; `dispatched` names the program that makes the steps."""
        self.session, self.claimed, self.dispatched = session, claimed, dispatched
        self.run: Run
        self.asked: Steps
        """What the trial waits for, while it goes on."""
        self._held = contextlib.ExitStack()

    def open(self) -> bool:
        """Takes the run's directory; tells whether there may be anything to train."""
        session, values, workdir = self.session, self.session.values(self.claimed.trial), self.claimed.workdir
        try:
            dataset = session.datasets.of(values)
            checks.check_lengths(values, dataset)
            self._held.enter_context(lock.hold(workdir))
            finished = experiment.prepare(values, workdir, dataset)
            if finished is not None:
                self._settle(outcome.of_result(finished, session.plan.options.objective))
                return False
            callbacks = Callbacks(session.screen.reporter(self.claimed.trial), session.judge(self.claimed), pages=False)
            self.run = Run(
                values, workdir, dataset, session.interruption, callbacks=callbacks, dispatched=self.dispatched
            )
            self._training = self._held.enter_context(contextlib.closing(loop.training(self.run)))
        except lock.Held as error:
            self._settle(Outcome(outcome.FAILED, error=str(error), final=False))
            return False
        except Exception as error:  # Whatever one trial meets must not hurt the others.
            return self._fail(error)
        return True

    def begin(self) -> bool:
        """Continues from the newest whole step; tells whether there are steps to make."""
        return self._advance(lambda: next(self._training))

    def send(self, made: Made | None) -> bool:
        """Hands over the steps that were made, none to save and end here; tells whether there are more to make."""
        return self._advance(lambda: self._training.send(made))

    def rows(self) -> np.ndarray:
        """Returns the rows of the following steps, (steps, batch), up to this trial's next boundary."""
        return self.run.loader.order.rows(self.asked.first, self.asked.number)

    def fail(self, error: Exception, *, again: bool) -> None:
        """Stores that the program which makes the steps failed; `again`: no fault of the trial."""
        self._settle(Outcome(outcome.PREEMPTED, error=FULL, final=False) if again else outcome.of_error(error))

    def _advance(self, train: Callable[[], Steps]) -> bool:
        """Trains up to the next steps; where training has ended, evaluates and stores the outcome."""
        try:
            self.asked = train()
            return True
        except StopIteration as ended:
            trained = ended.value
        except Exception as error:
            return self._fail(error)
        try:
            self.session.interruption.check()
            result = experiment.finish(self.run, trained)
        except Preempted:  # all is saved, and whoever continues finishes
            with contextlib.suppress(Away):
                self._settle(Outcome(outcome.PREEMPTED, final=False))
            return False
        except Exception as error:
            return self._fail(error)
        self._settle(outcome.of_result(result, self.session.plan.options.objective))
        return False

    def _fail(self, error: Exception) -> bool:
        if isinstance(error, Away):
            self._held.close()
            raise error
        self._settle(outcome.of_error(error))
        return False

    def _settle(self, ended: Outcome) -> None:
        self._held.close()
        self.session.settle(self.claimed, ended)
