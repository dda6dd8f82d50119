"""Which trial is whose: every trial of a sweep is finished exactly once, whoever is killed meanwhile.

The run directories hold the truth; Optuna's database says who is at which trial. A worker claims trials while it holds
the folder's claims lock, and there finds what dead workers left, see `repair`.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import optuna
from optuna.trial import FrozenTrial, TrialState

from cnn.config.config import ConfigError
from cnn.sweep import distinct, options, outcome, repair, samplers, workers
from cnn.sweep.board import Board, to_text
from cnn.sweep.outcome import Outcome
from cnn.sweep.plan import SEED, Trial, drawn
from cnn.system import fault_injection, redaction

Key = Callable[[Trial], str]
"""Names the compiled program that a trial needs."""

REDRAWS = 20
"""So often a copy of what was drawn is drawn again, before something else is looked for."""


class Claimed(NamedTuple):
    """A trial that is ours."""

    trial: Trial
    asked: optuna.Trial
    workdir: Path


class Queue:
    """The trials of one sweep, as one worker sees them."""

    def __init__(self, board: Board, worker: str) -> None:
        self.board, self.worker = board, worker
        self.plan, self.folder, self.study = board.plan, board.folder, board.study
        # A trial that waits has its parameters; another sampler would draw for nothing.
        self._idle = optuna.samplers.RandomSampler(seed=0)
        self.study.sampler = self._idle

    def fill(self, key: Key) -> None:
        """Adds the trials of a grid that are not there yet; those of one program lie together."""
        with workers.alone(self.folder):
            there = {trial.user_attrs.get("number") for trial in self.board.trials()}
            for trial in by_program(self.plan.trials, key):
                if trial.number not in there:
                    self.board.add(dict(trial.params), {"number": trial.number, "fields": to_text(trial.fields)})

    def claim(self, limit: Callable[[str], int], key: Key) -> list[Claimed] | None:
        """Returns trials of one program, empty while others are at the last ones, `None` at the end.

        Args:
          limit: how many trials of a program may be claimed.
          key: names the program of a trial.
        """
        with workers.alone(self.folder):
            waiting = _waiting(repair.reconcile(self.board))
            claimed: list[Claimed] = []
            program = ""
            while not claimed or len(claimed) < limit(program):
                if not waiting:
                    if self.plan.is_grid or not self._draw():
                        break
                    waiting = _waiting(self.board.trials())
                    continue
                following = self.board.trial(waiting[0])
                program = program or key(following)
                if key(following) != program:
                    break
                claimed.append(self._take(following))
                waiting = waiting[1:]
            if claimed:
                return claimed
            return [] if any(trial.state == TrialState.RUNNING for trial in self.board.trials()) else None

    def _take(self, trial: Trial) -> Claimed:
        asked = self.study.ask()
        fault_injection.point("taken")
        asked.set_user_attr("worker", self.worker)
        assert asked.user_attrs["number"] == trial.number
        return Claimed(trial, asked, self.folder / trial.folder)

    def _draw(self) -> bool:
        """Draws a configuration and lets it wait, once for each seed; tells whether there was one left to draw."""
        known = self.board.trials()
        number = len({trial.user_attrs["config"] for trial in known if "config" in trial.user_attrs})
        there = {self._configuration(trial) for trial in known if "config" in trial.user_attrs}
        # A sweep of before may hold copies, which count as drawn.
        if number >= self.plan.options.trials or len(there) >= self.plan.configurations:
            return False
        found = self._ask_new(there, len(known))
        if found is None:
            return False
        asked, fields = found
        about = self.board.attributes(number, 0, fields)
        try:
            self.plan.trial(about["number"], json.loads(about["fields"]), {})
        except ConfigError as error:
            about |= {"status": outcome.FAILED, "error": redaction.hide("; ".join(error.problems))[:500], "final": True}
        for name, value in about.items():
            asked.set_user_attr(name, value)
        if "final" in about:
            self.study.tell(asked, state=TrialState.FAIL)
            return True
        repair.add_siblings(self.board)
        self.study._storage.set_trial_state_values(asked._trial_id, TrialState.WAITING)
        return True

    def _configuration(self, trial: FrozenTrial) -> str:
        """Returns what was drawn of a trial: the seed only where no configuration is run with several."""
        fields = json.loads(trial.user_attrs["fields"])
        if self.plan.seeds != (None,):
            fields.pop(SEED, None)
        return distinct.key(fields)

    def _ask_new(self, there: set[str], known: int) -> tuple[optuna.Trial, dict[str, Any]] | None:
        """Returns a configuration that was not drawn yet; `None` where none is found."""
        for attempt in range(10 * REDRAWS):
            chosen = self.plan.options.sampler if attempt < REDRAWS else options.Random()
            left = distinct.points(self.plan.space) if attempt == REDRAWS else None
            new = [point for point in left or () if distinct.key(point.fields) not in there]
            if new:
                self.study.enqueue_trial(new[known % len(new)].params)
            self.study.sampler = samplers.sampler(chosen, known + attempt)
            try:
                asked = self.study.ask()
                fields = drawn(self.plan, samplers.draw(asked))
            finally:
                self.study.sampler = self._idle
            if distinct.key(fields) not in there:
                return asked, fields
            self.study.tell(asked, state=TrialState.FAIL)
        return None

    def report(self, claimed: Claimed, epoch: int, value: float) -> bool:
        """Stores the objective after an epoch; tells whether the trial is to end here."""
        claimed.asked.report(value, epoch)
        return claimed.asked.should_prune()

    def settle(self, claimed: Claimed, ended: Outcome) -> tuple[Outcome, int]:
        """Stores and returns how a trial ended, and how many have; one that may be tried again waits once more."""
        with workers.alone(self.folder):
            stored = repair.settle(self.board, self.study._storage.get_trial(claimed.asked._trial_id), ended)
            final = {one.user_attrs["number"] for one in self.board.trials() if one.user_attrs.get("final")}
            return stored, len(final)


def _waiting(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Returns the attempts that wait, in the order in which Optuna hands them out."""
    waiting = [trial for trial in trials if trial.state == TrialState.WAITING]
    return sorted(waiting, key=lambda trial: trial.number)


def by_program(trials: Sequence[Trial], key: Key) -> list[Trial]:
    """Returns the trials so that those of one program lie together, in the order of their first ones."""
    keys = [key(trial) for trial in trials]
    first = {name: index for index, name in reversed(list(enumerate(keys)))}
    order = sorted(range(len(trials)), key=lambda index: (first[keys[index]], index))
    return [trials[index] for index in order]
