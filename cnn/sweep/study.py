"""The study of a sweep: its database, its workers, and the queue from which they take trials.

Optuna's storage holds an attempt for each time a trial is begun. A worker holds a lock on a file as long as it lives;
it claims trials one worker after another, and before that settles what dead workers left: a trial that wrote its result
has ended, any other waits again and continues from its checkpoint. While the database is away, whatever asks it waits.
"""

import contextlib
import dataclasses
import json
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, TypeVar, cast

import optuna
import sqlalchemy
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import StorageInternalError
from optuna.trial import FrozenTrial, TrialState, create_trial

from cnn.config.config import ConfigError
from cnn.runs import lock
from cnn.runs.sweep_record import DATABASE, SEED, Fields, trial_folder
from cnn.sweep import declaration, outcome, plan
from cnn.sweep.outcome import Outcome
from cnn.sweep.plan import Plan, ProgramOf, Trial
from cnn.sweep.samplers import Random
from cnn.sweep.space import Choices, Draw, Params, Range, parameters, sample
from cnn.sweep.workers import alive, alone
from cnn.system import fault_injection, redaction

LONGEST_SECONDS = 600
"""A database may be away for so long before the sweep ends, to be continued."""
FIRST_WAIT, LONGEST_WAIT = 0.2, 10.0
"""Seconds before a database that is away is asked again, and to what they double."""
REDRAWS = 20
"""So often a copy of what was drawn is drawn again, before something else is looked for."""
MOST_DEATHS = 10
"""A trial whose process dies so often, without having saved a further step, is given up."""
ENDS = {outcome.FINISHED: TrialState.COMPLETE, outcome.PRUNED: TrialState.PRUNED}
"""The states of Optuna's that end a trial with a value; any other end is a failed attempt."""
INHERITED = ("number", "fields", "config")
"""What a trial's next attempt inherits."""

Answer = TypeVar("Answer")
"""What a database is asked for."""


class Away(OSError):
    """The database does not answer; what the trials saved stays, and the same command continues."""


def connect(url: str, folder: Path) -> optuna.storages.RDBStorage:
    """Returns the storage at a URL, SQLite in the sweep's folder where there is none.

    Raises:
      ConfigError: the URL is none, or its driver is not installed.
      OSError: the database does not answer.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    _check(url)
    embedded = f"sqlite:///{(folder / DATABASE).absolute()}"
    try:
        # Waits for other writers; a connection that a restarted server forgot is replaced.
        waiting = {"connect_args": {"timeout": 60}} if not url else {}
        return optuna.storages.RDBStorage(url or embedded, engine_kwargs={"pool_pre_ping": True, **waiting})
    except ImportError as error:
        if "psycopg" in str(error) or "psycopg" in url:
            raise ConfigError(["--storage: needs a driver. Run: pip install 'psycopg[binary]'"]) from None
        raise ConfigError([f"--storage: its driver cannot be imported: {redaction.hide(str(error))}"]) from None
    except (sqlalchemy.exc.ArgumentError, ValueError):
        raise ConfigError(["--storage: is no database URL. Write postgresql+psycopg://USER@HOST/NAME"]) from None
    except (sqlalchemy.exc.SQLAlchemyError, StorageInternalError) as error:
        # SQLAlchemy shows no password, but the driver's first line suffices.
        raise OSError(f"--storage: the database does not answer: {_reason(error)}") from None


def _check(url: str) -> None:
    """Warns of a password in the URL; refuses one that the driver would take for a part of the host, and show."""
    if redaction.hide(url) != url:
        print(redaction.HINT, file=sys.stderr)
    host = None
    with contextlib.suppress(sqlalchemy.exc.ArgumentError, ValueError):
        host = sqlalchemy.make_url(url).host
    if "@" in (host or ""):
        raise ConfigError(["--storage: an @ in the user or the password ends it. Write %40 for it"])


def ask_until_answered(question: Callable[[], Answer], line: Callable[[str], None], stop: Callable[[], bool]) -> Answer:
    """Returns the answer of a database, asked again for up to ten minutes while it is away.

    Args:
      question: may be asked again, whether or not it was heard.
      line: shows a line to the user.
      stop: ends the waiting early.

    Raises:
      Away: the database was away for too long, or `stop` said so.
    """
    wait, deadline = FIRST_WAIT, time.monotonic() + LONGEST_SECONDS
    told = False
    while True:
        try:
            answer = question()
        except (sqlalchemy.exc.OperationalError, sqlalchemy.exc.InterfaceError, StorageInternalError) as error:
            reason = _reason(error)
        else:
            if told:
                line("the database answers again")
            return answer
        if stop() or time.monotonic() > deadline:
            waited = f" for {LONGEST_SECONDS / 60:g} minutes" if not stop() else ""
            raise Away(f"the database did not answer{waited}: {reason}")
        if not told:
            line(f"the database does not answer ({reason}); asking again for {LONGEST_SECONDS // 60} minutes")
        told = True
        time.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT)


def _reason(error: Any) -> str:
    cause = getattr(error, "orig", None) or error.__cause__ or error
    return redaction.hide(" ".join(str(cause).split()))[:200]


class Attributes(TypedDict, total=False):
    """What is stored of an attempt besides Optuna's parameters and value."""

    number: int
    """Of its trial; all attempts at one have the same."""
    fields: str
    """The trial's, as JSON."""
    config: int
    """Which configuration a sampler drew; its trials differ in the seed."""
    worker: str
    status: str
    error: str
    final: bool
    """Whether the trial needs no other attempt."""
    saved: int
    """The step up to which it was saved when it failed."""


class Study:
    """The attempts at the trials of one sweep, in Optuna's storage."""

    def __init__(self, plan: Plan, folder: Path, optuna_study: optuna.Study) -> None:
        self.plan, self.folder, self.optuna_study = plan, folder, optuna_study
        self._stamp: tuple[int, ...] = ()

    def trials(self) -> list[FrozenTrial]:
        """Returns every attempt, in the order in which they were added; `plan` knows all their trials then."""
        found = self.optuna_study.get_trials(deepcopy=False)
        self.refresh()
        if self.plan.is_grid:
            self._hear_of(found)
        return found

    def refresh(self) -> None:
        """Lets `plan` grow where the folder declares more than when it was read."""
        stamp = declaration.stamp(self.folder)
        if stamp != self._stamp and (declared := declaration.read(self.folder)) is not None:
            self.plan, self._stamp = declaration.restored(self.plan, declared), stamp

    def _hear_of(self, found: Sequence[FrozenTrial]) -> None:
        """Lets a grid grow by trials that another machine added whose declaration is not to be seen here yet."""
        further = {trial.user_attrs["number"]: trial for trial in found if "number" in trial.user_attrs}
        for number in sorted(further):
            if number == len(self.plan.trials):
                fields = json.loads(further[number].user_attrs["fields"])
                trials = (*self.plan.trials, self.plan.trial(number, fields, {}))
                self.plan = dataclasses.replace(self.plan, trials=trials)

    def add(self, params: Params, distributions: Mapping[str, BaseDistribution], about: Attributes) -> None:
        """Lets a trial wait for a worker."""
        self.optuna_study.add_trial(
            create_trial(
                state=TrialState.WAITING, params=params, distributions=dict(distributions), user_attrs=dict(about)
            )
        )

    def add_point(self, trial: Trial) -> None:
        """Lets a trial of a grid wait for a worker."""
        of_space = dict(parameters(self.plan.space))
        names = {name: self.plan.names.get(name, name) for name in trial.params}
        params = {names[name]: value for name, value in trial.params.items()}
        distributions = {names[name]: _distribution(of_space[name]) for name in trial.params}
        self.add(params, distributions, {"number": trial.number, "fields": to_text(trial.fields)})

    def fields(self, frozen: FrozenTrial) -> Fields:
        """Returns the fields that an attempt's trial sets, as JSON."""
        if self.plan.is_grid:
            return cast(Fields, json.loads(to_text(self.plan.trials[frozen.user_attrs["number"]].fields)))
        return self.plan.completed(json.loads(frozen.user_attrs["fields"]))

    def trial(self, frozen: FrozenTrial) -> Trial:
        """Returns what an attempt stands for."""
        number = frozen.user_attrs["number"]
        if self.plan.is_grid:
            return self.plan.trials[number]
        return self.plan.trial(number, self.fields(frozen), frozen.params)

    def configuration(self, frozen: FrozenTrial) -> Fields:
        """Returns what was drawn of a trial: the seed only where no configuration is run with several."""
        fields = self.fields(frozen)
        if self.plan.seeds != (None,):
            fields.pop(SEED, None)
        return fields

    def attributes(self, number: int, configuration: int, seed: Any, fields: Fields) -> Attributes:
        """Returns what is stored of a drawn configuration with one of its seeds, `None` where it has none."""
        seeded = {} if seed is None else {SEED: seed}
        return {"fields": to_text({**fields, **seeded}), "config": configuration, "number": number}


def to_text(fields: Any) -> str:
    """Returns a trial's fields as they are stored."""
    return json.dumps(dict(fields))


def _distribution(values: Choices | Range) -> BaseDistribution:
    """Returns what Optuna draws from."""
    if isinstance(values, Choices):
        return CategoricalDistribution(values.values)
    if values.scale == "int":
        return IntDistribution(int(values.low), int(values.high), step=values.step)
    return FloatDistribution(values.low, values.high, log=values.scale == "log")


class Claimed(NamedTuple):
    """A trial that is ours."""

    trial: Trial
    optuna_trial: optuna.Trial
    workdir: Path


class Queue:
    """The trials of one sweep, as one worker sees them."""

    def __init__(
        self,
        study: Study,
        worker: str,
        program_of: ProgramOf,
        following: Callable[[Callable[[str], int]], Sequence[Fields]] = lambda limit: (),
    ) -> None:
        """Takes the sweep.

        Args:
          study: the attempts at its trials.
          worker: the name of the one that claims them.
          program_of: names the program of a trial.
          following: asked where all trials of a grid have ended, for the points of further ones; given how many of a
            program train together.
        """
        self.study, self.worker, self.program_of, self.following = study, worker, program_of, following
        self.folder, self.optuna_study = study.folder, study.optuna_study
        # A trial that waits has its parameters; another sampler would draw for nothing.
        self._idle = optuna.samplers.RandomSampler(seed=0)
        self.optuna_study.sampler = self._idle

    @property
    def plan(self) -> Plan:
        """The sweep as far as it has grown."""
        return self.study.plan

    def fill(self) -> None:
        """Adds the trials of a grid that are not there yet; those of one program lie together."""
        with alone(self.folder):
            self._fill()

    def append(self, points: Sequence[Fields]) -> None:
        """Lets a grid grow while it runs: declares further trials and lets them wait, each once, however often asked.

        The caller holds `alone(folder)`.

        Args:
          points: the fields of each, all that the sweep sets, such as another trial's with a further seed.

        Raises:
          ConfigError: a point is no config.
        """
        # Declared first: a worker that is killed here leaves it to the next one to fill the study.
        self.study.plan = declaration.append(self.plan, self.folder, points)
        self._fill()

    def _fill(self) -> None:
        there = {trial.user_attrs.get("number") for trial in self.study.trials()}
        for trial in by_program([trial for trial in self.plan.trials if trial.number not in there], self.program_of):
            self.study.add_point(trial)

    def claim(self, limit: Callable[[str], int]) -> list[Claimed] | None:
        """Returns trials of one program, empty while others are at the last ones, `None` at the end.

        Args:
          limit: how many trials of a program may be claimed.
        """
        with alone(self.folder):
            before, found = self.plan, reconcile(self.study)
            if self.plan.is_grid and self.plan.size > before.size:
                self._fill()  # whoever let it grow may have been killed there
                found = self.study.trials()
            waiting = _waiting(found)
            claimed: list[Claimed] = []
            program = ""
            while not claimed or len(claimed) < limit(program):
                if not waiting:
                    if not (self._follow(limit) if self.plan.is_grid else self._draw()):
                        break
                    waiting = _waiting(self.study.trials())
                    continue
                following = self.study.trial(waiting[0])
                program = program or self.program_of(following)
                if self.program_of(following) != program:
                    break
                claimed.append(self._take(following))
                waiting = waiting[1:]
            if claimed:
                return claimed
            return [] if any(trial.state == TrialState.RUNNING for trial in self.study.trials()) else None

    def _follow(self, limit: Callable[[str], int]) -> bool:
        """Lets a grid grow by what follows where all its trials have ended; tells whether anything did."""
        if any(trial.state == TrialState.RUNNING for trial in self.study.trials()):
            return False
        points = self.following(limit)
        if points:
            self.append(points)
        return bool(points)

    def _take(self, trial: Trial) -> Claimed:
        optuna_trial = self.optuna_study.ask()
        fault_injection.point("taken")
        optuna_trial.set_user_attr("worker", self.worker)
        assert optuna_trial.user_attrs["number"] == trial.number
        return Claimed(trial, optuna_trial, self.folder / trial.folder)

    def _draw(self) -> bool:
        """Draws a configuration and lets it wait, once for each seed; tells whether there was one left to draw."""
        known = self.study.trials()
        number = len({trial.user_attrs["config"] for trial in known if "config" in trial.user_attrs})
        there = {plan.point_key(self.study.configuration(trial)) for trial in known if "config" in trial.user_attrs}
        # Sweeps of earlier versions may hold copies, which count as drawn.
        if number >= self.plan.options.trials or len(there) >= self.plan.configurations:
            return False
        found = self._ask_new(there, number)
        if found is None:
            return False
        optuna_trial, fields = found
        about = self.study.attributes(_next_number(known), number, self.plan.seeds[0], fields)
        try:
            self.plan.trial(about["number"], json.loads(about["fields"]), {}).values  # noqa: B018  resolves it
        except ConfigError as error:
            about |= {"status": outcome.FAILED, "error": redaction.hide("; ".join(error.problems))[:500], "final": True}
        for name, value in about.items():
            optuna_trial.set_user_attr(name, value)
        if "final" in about:
            self.optuna_study.tell(optuna_trial, state=TrialState.FAIL)
            return True
        add_siblings(self.study)
        self.optuna_study._storage.set_trial_state_values(optuna_trial._trial_id, TrialState.WAITING)
        return True

    def _ask_new(self, there: set[str], number: int) -> tuple[optuna.Trial, Fields] | None:
        """Returns a configuration that was not drawn yet; `None` where none is found.

        Args:
          there: the keys of those that were.
          number: of the configuration; its draws follow from it, so not from how often a trial was tried, or its seeds.
        """
        for attempt in range(10 * REDRAWS):
            chosen = self.plan.options.sampler if attempt < REDRAWS else Random()
            left = plan.points(self.plan.space) if attempt == REDRAWS else None
            new = [point for point in left or () if plan.point_key(point.fields) not in there]
            if new:
                params = new[number % len(new)].params
                self.optuna_study.enqueue_trial({self.plan.names.get(name, name): params[name] for name in params})
            with _experimental():
                self.optuna_study.sampler = chosen.make_sampler(number + plan.MOST_TRIALS * attempt)
            try:
                optuna_trial = self.optuna_study.ask()
                fields = sample(self.plan.space, _drawing(optuna_trial, self.plan.names))
            finally:
                self.optuna_study.sampler = self._idle
            if plan.point_key(fields) not in there:
                return optuna_trial, fields
            self.optuna_study.tell(optuna_trial, state=TrialState.FAIL)
        return None

    def report(self, claimed: Claimed, epoch: int, value: float) -> bool:
        """Stores the objective after an epoch; tells whether the trial is to end here."""
        claimed.optuna_trial.report(value, epoch)
        return claimed.optuna_trial.should_prune()

    def settle(self, claimed: Claimed, ended: Outcome) -> tuple[Outcome, int]:
        """Stores and returns how a trial ended, and how many have; one that may be tried again waits once more."""
        with alone(self.folder):
            stored = settle(self.study, self.optuna_study._storage.get_trial(claimed.optuna_trial._trial_id), ended)
            final = {one.user_attrs["number"] for one in self.study.trials() if one.user_attrs.get("final")}
            return stored, len(final)


def _waiting(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Returns the attempts that wait, in the order in which Optuna hands them out."""
    waiting = [trial for trial in trials if trial.state == TrialState.WAITING]
    return sorted(waiting, key=lambda trial: trial.number)


def by_program(trials: Sequence[Trial], program_of: ProgramOf) -> list[Trial]:
    """Returns the trials so that those of one program lie together, in the order of their first ones."""
    programs = [program_of(trial) for trial in trials]
    first = {name: index for index, name in reversed(list(enumerate(programs)))}
    order = sorted(range(len(trials)), key=lambda index: (first[programs[index]], index))
    return [trials[index] for index in order]


def _drawing(trial: optuna.Trial, names: Mapping[str, str]) -> Draw:
    """Returns what draws the parameters of a trial, some of which Optuna calls otherwise."""

    def draw(name: str, values: Choices | Range) -> Any:
        with _experimental():
            return trial._suggest(names.get(name, name), _distribution(values))

    return draw


@contextlib.contextmanager
def _experimental() -> Iterator[None]:
    """Silences Optuna's warnings: it calls half of what is used here experimental."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def reconcile(study: Study) -> list[FrozenTrial]:
    """Settles what dead workers left; returns every attempt."""
    trials = study.trials()
    left = [
        trial
        for trial in trials
        if trial.state == TrialState.RUNNING and not alive(study.folder, trial.user_attrs.get("worker"))
    ]
    for trial in left:
        _settle_dead(study, trial)
    last: dict[int, FrozenTrial] = {}
    trials = study.trials() if left else trials
    for trial in trials:
        if "number" in trial.user_attrs:
            last[trial.user_attrs["number"]] = trial
    # Its worker died between storing the failure and adding the next attempt.
    unsettled = [one for one in last.values() if one.state == TrialState.FAIL and not one.user_attrs.get("final")]
    for trial in unsettled:
        _again(study, trial)
    if not study.plan.is_grid:
        add_siblings(study)
    return study.trials() if unsettled or not study.plan.is_grid else trials


def _settle_dead(study: Study, trial: FrozenTrial) -> None:
    if "number" not in trial.user_attrs:  # killed while it drew
        study.optuna_study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
        return
    workdir = study.folder / trial_folder(trial.user_attrs["number"])
    if lock.is_held(workdir):
        return
    ended = outcome.of_folder(workdir, study.plan.options.objective)
    settle(study, trial, ended or Outcome(outcome.DIED, error="its process died", final=False))


def settle(study: Study, trial: FrozenTrial, ended: Outcome) -> Outcome:
    """Stores and returns how an attempt ended, and adds the next one where there is to be one."""
    if trial.state.is_finished():
        return ended
    storage, attempt = study.optuna_study._storage, trial._trial_id
    workdir = study.folder / trial_folder(trial.user_attrs["number"])
    final = ended.final or _enough(study, trial, ended, workdir)
    about: Attributes = {"status": ended.status, "final": final}
    if ended.status not in ENDS:  # each is a commit of its own
        about |= {"error": ended.error, "saved": outcome.newest_step(workdir)}
    for name, value in about.items():
        storage.set_trial_user_attr(attempt, name, value)
    if ended.status in ENDS:
        values = [ended.value] if ended.value is not None else None
        storage.set_trial_state_values(attempt, ENDS[ended.status], values)
        return ended
    storage.set_trial_state_values(attempt, TrialState.FAIL)
    if not final:
        _again(study, trial)
    return ended._replace(final=final)


def _enough(study: Study, trial: FrozenTrial, ended: Outcome, workdir: Any) -> bool:
    """Tells whether a trial that may be tried again has been tried often enough."""
    before = [one for one in study.trials() if one.user_attrs.get("number") == trial.user_attrs["number"]]
    same = [one for one in before if one.user_attrs.get("status") == ended.status and one.number != trial.number]
    if ended.status == outcome.DIED:
        saved = outcome.newest_step(workdir)
        return len([one for one in same if one.user_attrs.get("saved") == saved]) + 1 >= MOST_DEATHS
    return ended.status == outcome.FAILED and len(same) + 1 >= study.plan.options.tries


def _again(study: Study, trial: FrozenTrial) -> None:
    fault_injection.point("again")
    inherited = {name: trial.user_attrs[name] for name in INHERITED if name in trial.user_attrs}
    study.add(dict(trial.params), trial.distributions, cast(Attributes, inherited))


def add_siblings(study: Study) -> None:
    """Adds the other seeds of every drawn configuration that has not all of them."""
    trials = [trial for trial in study.trials() if "number" in trial.user_attrs]
    seeds = study.plan.seeds
    if seeds == (None,):
        return
    there = {(trial.user_attrs["config"], study.fields(trial)[SEED]) for trial in trials}
    number = _next_number(trials)
    for trial in trials:
        if trial.user_attrs.get("status") == outcome.FAILED and not trial.intermediate_values:
            # A configuration that is none is none with every seed; any other failure has its siblings already.
            continue
        configuration = trial.user_attrs["config"]
        for seed in seeds:
            if (configuration, seed) not in there:
                there.add((configuration, seed))
                about = study.attributes(number, configuration, seed, study.configuration(trial))
                study.add(dict(trial.params), trial.distributions, about)
                number += 1


def _next_number(trials: Sequence[FrozenTrial]) -> int:
    """Returns the number of the next trial that is drawn."""
    return 1 + max((trial.user_attrs["number"] for trial in trials if "number" in trial.user_attrs), default=-1)
