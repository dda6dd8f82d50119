"""What becomes of a trial that did not end well: settled by its result, tried again, or given up.

Only for whoever holds the claims lock. A trial that is said to run, whose worker holds no lock any more and whose run
directory nobody trains in, was left by the dead.
"""

import json
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from cnn.sweep import outcome, workers
from cnn.sweep.board import Board
from cnn.sweep.outcome import Outcome
from cnn.sweep.plan import SEED, TRIALS
from cnn.system import fault_injection

MOST_DEATHS = 10
"""A trial whose process dies so often, without having saved a further step, is given up."""
ENDS = {outcome.FINISHED: TrialState.COMPLETE, outcome.PRUNED: TrialState.PRUNED}
ABOUT = ("number", "fields", "config")
"""What a trial's next attempt inherits."""


def reconcile(board: Board) -> list[FrozenTrial]:
    """Settles what dead workers left; returns every attempt."""
    trials = board.trials()
    left = [
        trial
        for trial in trials
        if trial.state == TrialState.RUNNING and not workers.alive(board.folder, trial.user_attrs.get("worker"))
    ]
    for trial in left:
        _bury(board, trial)
    last: dict[int, FrozenTrial] = {}
    trials = board.trials() if left else trials
    for trial in trials:
        if "number" in trial.user_attrs:
            last[trial.user_attrs["number"]] = trial
    # Whoever was to begin it again died in between.
    unsettled = [one for one in last.values() if one.state == TrialState.FAIL and not one.user_attrs.get("final")]
    for trial in unsettled:
        _again(board, trial)
    if not board.plan.is_grid:
        add_siblings(board)
    return board.trials() if unsettled or not board.plan.is_grid else trials


def _bury(board: Board, trial: FrozenTrial) -> None:
    if "number" not in trial.user_attrs:  # killed while it drew
        board.study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        return
    workdir = board.folder / TRIALS / f"{trial.user_attrs['number']:04}"
    if workers.busy(workdir):
        return
    ended = outcome.of_folder(workdir, board.plan.options.objective)
    settle(board, trial, ended or Outcome(outcome.DIED, error="its process died", final=False))


def settle(board: Board, trial: FrozenTrial, ended: Outcome) -> Outcome:
    """Stores and returns how an attempt ended, and adds the next one where there is to be one."""
    if trial.state.is_finished():
        return ended
    storage, key = board.study._storage, trial._trial_id
    workdir = board.folder / TRIALS / f"{trial.user_attrs['number']:04}"
    final = ended.final or _enough(board, trial, ended, workdir)
    about: dict[str, Any] = {"status": ended.status, "final": final}
    if ended.status not in ENDS:  # each is a commit of its own
        about |= {"error": ended.error, "saved": outcome.newest_step(workdir)}
    for name, value in about.items():
        storage.set_trial_user_attr(key, name, value)
    if ended.status in ENDS:
        values = [ended.value] if ended.value is not None else None
        storage.set_trial_state_values(key, ENDS[ended.status], values)
        return ended
    storage.set_trial_state_values(key, TrialState.FAIL)
    if not final:
        _again(board, trial)
    return ended._replace(final=final)


def _enough(board: Board, trial: FrozenTrial, ended: Outcome, workdir: Any) -> bool:
    """Tells whether a trial that may be tried again has been tried often enough."""
    before = [one for one in board.trials() if one.user_attrs.get("number") == trial.user_attrs["number"]]
    same = [one for one in before if one.user_attrs.get("status") == ended.status and one.number != trial.number]
    if ended.status == outcome.DIED:
        saved = outcome.newest_step(workdir)
        return len([one for one in same if one.user_attrs.get("saved") == saved]) + 1 >= MOST_DEATHS
    return ended.status == outcome.FAILED and len(same) + 1 >= board.plan.options.tries


def _again(board: Board, trial: FrozenTrial) -> None:
    fault_injection.point("again")
    board.add(dict(trial.params), {name: trial.user_attrs[name] for name in ABOUT if name in trial.user_attrs})


def add_siblings(board: Board) -> None:
    """Adds the other seeds of every drawn configuration that has not all of them."""
    trials = [trial for trial in board.trials() if "number" in trial.user_attrs]
    there = {trial.user_attrs["number"] for trial in trials}
    for trial in trials:
        if trial.user_attrs.get("status") == outcome.FAILED and not trial.intermediate_values:
            # A configuration that is none is none with every seed; any other failure has its siblings already.
            continue
        fields = {name: value for name, value in json.loads(trial.user_attrs["fields"]).items() if name != SEED}
        for seed in range(len(board.plan.seeds)):
            about = board.attributes(trial.user_attrs["config"], seed, fields)
            if about["number"] not in there:
                there.add(about["number"])
                board.add(dict(trial.params), about)
