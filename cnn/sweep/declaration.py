"""What the folder of a sweep declares, and how that grows: `declaration.json`, read and written by every worker.

The file holds what was declared first (`sweep`), what the sweep has grown to since (`grown`, the newest last), and, of
a grid that grew, the fields of every trial in the order of their numbers (`points`): these never change their places,
and what is new comes behind them. A command may say what is there in other words, or more than that; anything else is
refused. Needs neither JAX nor Optuna.
"""

import dataclasses
import hashlib
import itertools
import json
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cnn.config import config, files, resolve
from cnn.config.config import RENAMED, ConfigError, Override
from cnn.data import sources
from cnn.fields import literal
from cnn.runs import recorded_data, run_dir
from cnn.runs.sweep_record import SEED, TRIALS, Fields
from cnn.sweep import space_parser
from cnn.sweep.options import CHANGEABLE, Options
from cnn.sweep.plan import Plan, Trial, apart, completed, count, point_key, read_options
from cnn.sweep.space import Axis, Choices, Part, Range, Rows, axes, parameters, paths, product
from cnn.sweep.workers import alone
from cnn.system import fault_injection

GROWING = (*CHANGEABLE, "trials")
"""Options that may be others when a sweep grows."""


class Declared(NamedTuple):
    """What a sweep's folder declares."""

    token: str
    """Names the folder in the study."""
    history: tuple[Mapping[str, Any], ...]
    """What was declared, each as `Plan.json`; the newest last."""
    points: tuple[Fields, ...] | None
    """The fields of every trial of a grid by number; `None` where these are the points that were declared first."""
    added: str = ""
    """What the command that declared the newest said to be added, such as `seeds=+5`."""
    config: Mapping[str, str] | None = None
    """The path of that command's config file as it was typed, and the file's `sha256`."""

    @property
    def newest(self) -> Mapping[str, Any]:
        return self.history[-1]


def read(folder: Path) -> Declared | None:
    """Returns what a folder declares, `None` where it declares nothing.

    Raises:
      BrokenFile: the file is not what this software wrote.
    """
    known = run_dir.read_json(folder / run_dir.DECLARATION)
    if known is None:
        return None
    grown = known.get("grown", [])
    history = (known.get("sweep", {}), *(entry["sweep"] for entry in grown))
    points = known.get("points")
    last = grown[-1] if grown else known
    listed = None if points is None else tuple(points)
    return Declared(known.get("token", ""), history, listed, last.get("added", ""), last.get("config"))


def overrides(declared: Mapping[str, Any]) -> list[Override]:
    """Returns the overrides of the config that were declared."""
    return [Override(*pair) for pair in declared["overrides"]]


def stamp(folder: Path) -> tuple[int, ...]:
    """Returns what is another one when the declaration was written anew."""
    about = (folder / run_dir.DECLARATION).stat()
    return about.st_ino, about.st_mtime_ns, about.st_size


def declare(plan: Plan, folder: Path) -> str:
    """Returns what names the sweep of a folder; declares it where there is none, and what a command says more.

    Raises:
      ConfigError: the folder holds another sweep, or something else.
    """
    if not (folder / run_dir.DECLARATION).is_file():
        # A command killed in its first moment left hidden files only.
        other = folder.exists() and (not folder.is_dir() or any(path.name[0] != "." for path in folder.iterdir()))
        # Another worker may have begun meanwhile; it declares before anything else.
        if other and not (folder / run_dir.DECLARATION).exists():
            raise ConfigError([f"--workdir: {folder} exists and holds no sweep. Use --workdir={run_dir.free(folder)}"])
        folder.mkdir(parents=True, exist_ok=True)
    with alone(folder):
        declared = read(folder)
        if declared is None:
            declared = Declared(secrets.token_hex(8), (plan.json,), None)
            about = {"token": declared.token, "config": _file_of(plan.request.config), "sweep": plan.json}
            run_dir.write_json(folder / run_dir.DECLARATION, about)
        elif (grown := joined(plan, folder, declared)).json != declared.newest:
            about = {"config": _file_of(plan.request.config), "added": plan.request.added, "sweep": grown.json}
            _write(folder, about, grown.trials)
            fault_injection.point("grown")
    return declared.token


def _file_of(typed: str) -> dict[str, str] | None:
    """Returns what is declared of the config's file, so that a later command may name it; `None` without one."""
    path = config_file(typed)
    return {"path": typed, "sha256": sha256(path)} if path.is_file() else None


def config_file(typed: str) -> Path:
    """Returns the file of a config as it was typed, empty for the default."""
    return files.file_of(files.named(typed)) if typed else files.DEFAULT


def sha256(path: Path) -> str:
    """Returns the hash of a file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def append(plan: Plan, folder: Path, points: Sequence[Fields]) -> Plan:
    """Returns a grid with further trials behind those that are there, and declares them; none is declared twice.

    The caller holds `alone(folder)`, and lets the study have them: see `Queue.append`.

    Args:
      plan: the sweep.
      folder: its directory.
      points: the fields of each, all that the sweep sets.

    Raises:
      ConfigError: a point is no config.
    """
    assert plan.is_grid, "what a sampler does not draw is not part of its sweep"
    declared = read(folder)
    assert declared is not None
    plan = restored(plan, declared)
    listed = {point_key(trial.fields): trial for trial in plan.trials}
    for fields in points:
        if point_key(fields) not in listed:
            listed[point_key(fields)] = trial = plan.trial(len(listed), fields, {})
            trial.values  # noqa: B018  resolves it
    if len(listed) > len(plan.trials):
        plan = dataclasses.replace(plan, trials=tuple(listed.values()))
        _write(folder, None, plan.trials)
        fault_injection.point("grown")
    return plan


def _write(folder: Path, grown: Mapping[str, Any] | None, trials: Sequence[Trial]) -> None:
    """Declares what a sweep has grown to, where that is said by another space, and the trials of a grid."""
    known = run_dir.read_json(folder / run_dir.DECLARATION) or {}
    if grown is not None:
        known["grown"] = [*known.get("grown", []), {name: value for name, value in grown.items() if value}]
    if trials:
        known["points"] = [dict(trial.fields) for trial in trials]
    run_dir.write_json(folder / run_dir.DECLARATION, known)


def restored(plan: Plan, declared: Declared) -> Plan:
    """Returns the sweep of a folder as the process of one of its commands runs it.

    Args:
      plan: what the command says: it is this sweep's config, and has the options that may be others.
      declared: by the folder.
    """
    newest = declared.newest
    options = _options(newest, plan.options)
    space, seeds = apart(options, _space(newest))
    swept = _swept(newest)
    kept = [each for each in plan.request.overrides if RENAMED.get(each.path, each.path) not in swept]
    made = dataclasses.replace(
        plan,
        request=plan.request._replace(overrides=kept, space=newest["space"]),
        options=options,
        space=space,
        seeds=seeds,
        json=newest,
        first=declared.history[0],
        names=_names([apart(options, _space(each))[0] for each in declared.history]),
    )
    if not made.is_grid:
        before = _before(declared.history)
        return dataclasses.replace(made, before=before, configurations=count(space, options.trials))
    known = {point_key(trial.fields): trial for trial in plan.trials}
    declares = {point_key(point.fields): point for point in product(space)}
    trials = []
    for number, fields in enumerate(declared.points or [point.fields for point in declares.values()]):
        same, point = known.get(point_key(fields)), declares.get(point_key(fields))
        params = point.params if point else {}
        trials.append(same.placed(number, fields, params) if same else made.trial(number, fields, params))
    return dataclasses.replace(made, trials=tuple(trials))


def joined(plan: Plan, folder: Path, declared: Declared | None = None) -> Plan:
    """Returns the sweep of a folder with all that a command says; writes nothing.

    Args:
      plan: what the command says.
      folder: the sweep's directory; where it declares nothing, the answer is `plan`.
      declared: by the folder, where that is known.

    Raises:
      ConfigError: the folder holds another sweep: something fixed is another, or a value is gone.
    """
    declared = read(folder) if declared is None else declared
    if declared is None:
        return plan
    _refuse_other_code(declared, plan, folder)
    if plan.json == declared.newest:
        return restored(plan, declared)
    plan = _as_declared(plan, declared.newest, folder)
    frame, changed = _fixed(declared.newest, plan)
    if not changed:
        there = restored(plan, declared)
        grown = (_grid if plan.is_grid else _drawn)(plan, there, declared, frame)
        # The error rate is that of the configurations that were declared, with seeds that nobody chose.
        if grown is not None and (grown.json == declared.newest or there.options.until == "planned"):
            return grown
        changed = config.differences(*(_growing(each) for each in (declared.newest, plan.json)))
    added = {f"space.{path}": frame[path] for path in _swept(plan.json) - _swept(declared.newest) if path in frame}
    was = {path: f"{value!r} in every trial" for name, value in added.items() for path, *_ in changed if name in path}
    table = [f"    {path}: {was.get(path, repr(before))} there, {now!r} here" for path, before, now in changed]
    heading = f"--workdir: {folder} holds another sweep. Use --workdir={run_dir.free(folder)}"
    more = "; or let it grow: name all that is there, and more"
    if declared.newest["options"].get("until", "planned") != "planned":
        more = "; one that goes on until its winner is real keeps its configurations, its seeds and its error rate"
    if any(path.startswith("config.") for path, *_ in changed):
        more = ""
    raise ConfigError(["\n".join([f"{heading}{more}", *table])])


def _as_declared(plan: Plan, newest: Mapping[str, Any], folder: Path) -> Plan:
    """Returns a command's sweep with the words of the folder for what it names otherwise: a path, or the same data."""
    before, now = (frame.get("init_from", "") for frame in _frames(newest, plan.json))
    said = dict(plan.json)
    if before and now and before != now and Path(before).resolve() == Path(now).resolve():
        override = Override("init_from", before)
        plan = dataclasses.replace(
            plan, request=plan.request._replace(overrides=[*plan.request.overrides, override]), json=said
        )
        said["overrides"] = [*said["overrides"], list(override)]
        again = tuple(plan.trial(trial.number, trial.fields, trial.params) for trial in plan.trials)
        plan = dataclasses.replace(plan, trials=again)
    data = plan.example.values.data
    if "data" in newest and "data" not in said and sources.of_numbers(data.name) and sources.at_hand(data):
        from cnn.data import datasets  # it takes Pillow, and is needed here alone

        said["data"] = datasets.identity(data)
    elif "data" in said and "data" not in newest:
        known = {recorded_data.recorded(workdir).get("identity") for workdir in (folder / TRIALS).glob("*")} - {None}
        if known == {said["data"]}:
            del said["data"]
    return dataclasses.replace(plan, json=said)


def _refuse_other_code(declared: Declared, plan: Plan, folder: Path) -> None:
    """Refuses a command whose code is not the sweep's; of code that no file holds it may use more, or less."""
    before, now = (set(each.get("code", [])) for each in (declared.newest, plan.json))
    files = [{sha256 for sha256 in each if " " not in sha256} for each in (before, now)]
    if files[0] != files[1] or not (before <= now or now <= before):
        raise ConfigError(
            [
                f"config.extensions: the code has changed since the sweep in {folder} was declared. Restore it "
                f"(its trials keep copies, in trials/NNNN/{run_dir.CODE}), or use --workdir={run_dir.free(folder)}"
            ]
        )


def _fixed(newest: Mapping[str, Any], plan: Plan) -> tuple[Mapping[str, Any], list[tuple[str, Any, Any]]]:
    """Returns the config that nothing is swept of, as it is declared, and what of it no growth may change."""
    swept = _swept(newest) | _swept(plan.json)
    frames = _frames(newest, plan.json)
    proved = run_dir.PROVED if newest.get("data") == plan.json.get("data") and _of_numbers(*frames) else ()
    free = {*swept, *run_dir.HARMLESS, *proved}
    config_of = [{path: value for path, value in frame.items() if path not in free} for frame in frames]
    options, ours = _options(newest, plan.options), plan.options
    other = [
        field.name
        for field in dataclasses.fields(Options)
        if field.name not in GROWING and getattr(options, field.name) != getattr(ours, field.name)
    ]
    compared: list[dict[str, Any]] = [
        {
            "config": frame,
            "options": {name: each.get("options", {}).get(name) for name in other},
            **{name: each[name] for name in ("data",) if name in each},
        }
        for frame, each in zip(config_of, (newest, plan.json), strict=True)
    ]
    return frames[0], config.differences(*compared)


def _of_numbers(*frames: Mapping[str, Any]) -> bool:
    """Tells whether one of the configs has its data from Python, and all of them such as are known by their numbers."""
    names = [str(frame.get("data.name")) for frame in frames]
    return "arrays" in names and all(map(sources.of_numbers, names))


def _frames(*declared: Mapping[str, Any]) -> list[Fields]:
    """Returns the configs of declarations by path: resolved, where each of them is one by itself."""
    try:
        return [_resolved(each) for each in declared]
    except (KeyError, ConfigError):  # a field that must be set is swept
        given = [[(RENAMED.get(path, path), literal(text)) for path, text in overrides(each)] for each in declared]
        bases = [config.by_path(config.renamed(each["base"])) for each in declared]
        return [{**base, **dict(typed)} for base, typed in zip(bases, given, strict=True)]


def _resolved(declared: Mapping[str, Any]) -> Fields:
    """Returns the config of a declaration by path; no extension is executed, and their content is compared apart."""
    return config.by_path(json.loads(resolve.resolve(declared["base"], overrides(declared), code={}).json))


def _growing(declared: Mapping[str, Any]) -> dict[str, Any]:
    """Returns what may grow of a declaration."""
    trials = declared.get("options", {}).get("trials", 0)
    return {"space": declared["space"], "options": {"trials": trials}}


def _options(declared: Mapping[str, Any], current: Options) -> Options:
    """Returns the options of a declaration; those that may be others as they are now."""
    problems: list[str] = []
    known = {field.name for field in dataclasses.fields(Options)} - {*CHANGEABLE}
    given = {name: value for name, value in declared.get("options", {}).items() if name in known}
    options = read_options(given, problems)
    assert options is not None, problems
    return dataclasses.replace(options, **{name: getattr(current, name) for name in CHANGEABLE})


def _space(declared: Mapping[str, Any]) -> tuple[Part, ...]:
    problems: list[str] = []
    space = space_parser.read_space(declared["space"], problems)
    assert not problems, problems
    return space


def _swept(declared: Mapping[str, Any]) -> set[str]:
    return {RENAMED.get(path, path) for path in paths(_space(declared))}


def _names(spaces: Sequence[tuple[Part, ...]]) -> dict[str, str]:
    """Returns what Optuna calls the parameters of the last of these spaces, each name for one set of values."""
    seen: dict[str, list[Choices | Range]] = {}
    for space in spaces:
        for name, values in parameters(space):
            if values not in seen.setdefault(name, []):
                seen[name].append(values)
    last = dict(parameters(spaces[-1]))
    places = {name: seen[name].index(values) for name, values in last.items()}
    return {name: f"{name} ({place + 1})" for name, place in places.items() if place}


# A grid.


def _grid(plan: Plan, there: Plan, declared: Declared, frame: Mapping[str, Any]) -> Plan | None:
    """Returns the grid that is there with the trials that a command adds; `None` where the command lacks some."""
    command_trials = {point_key(trial.fields): trial for trial in plan.trials}
    declared_points = {point_key(point.fields) for point in product(there.space)}
    # Of fields that the command sweeps, and that were the same for all trials so far.
    swept_there = set(paths(there.space))
    constant = {path: frame[path] for path in paths(plan.space) if path not in swept_there and path in frame}
    there_fields = [completed(plan.space, trial.fields, constant) for trial in there.trials]
    matches = {
        trial.number: command_trials.get(point_key(fields))
        for trial, fields in zip(there.trials, there_fields, strict=True)
    }
    # Points that were appended are in no space, so a command need not name them.
    unmatched = [
        trial for trial in there.trials if matches[trial.number] is None and point_key(trial.fields) in declared_points
    ]
    if unmatched:
        # The same configs may be said by other fields.
        command_configs = {_identity(trial, plan): trial for trial in plan.trials}
        for trial in unmatched:
            matches[trial.number] = command_configs.get(_identity(trial, plan))
    matched = {trial.number for trial in matches.values() if trial is not None}
    new_trials = [trial for trial in plan.trials if trial.number not in matched]
    if any(matches[trial.number] is None for trial in unmatched):
        earlier = [{point_key(point.fields) for point in product(_space(each))} for each in declared.history[:-1]]
        return there if not new_trials and set(command_trials) in earlier else None
    if not new_trials:
        return there
    trials = []
    for trial, fields in zip(there.trials, there_fields, strict=True):
        match = matches[trial.number]
        trials.append(trial.placed(trial.number, match.fields if match else fields))
    trials += [trial.placed(len(trials) + n, trial.fields) for n, trial in enumerate(new_trials)]
    return dataclasses.replace(plan, trials=tuple(trials), first=declared.history[0])


def _identity(trial: Trial, plan: Plan) -> str:
    """Returns what is the same for trials of one config, in whatever words."""
    swept = {RENAMED.get(path, path) for path in paths(plan.space)}
    values = config.by_path(json.loads(trial.values.json))
    return point_key({path: value for path, value in values.items() if path in swept or path not in run_dir.HARMLESS})


# What a sampler draws.


def _drawn(plan: Plan, there: Plan, declared: Declared, frame: Mapping[str, Any]) -> Plan | None:
    """Returns what a command draws from where that is all that is there, and more; `None` where it is less.

    Raises:
      ConfigError: the space is wider, and the sampler cannot go on in it.
    """
    seeds = [(frame.get(SEED, 0),) if each == (None,) else each for each in (there.seeds, plan.seeds)]
    covers = _covers(plan.space, there.space, frame)
    if not (covers and {*seeds[0]} <= {*seeds[1]} and there.options.trials <= plan.options.trials):
        earlier = [(point_key(each["space"]), each["options"]["trials"]) for each in declared.history[:-1]]
        return there if (point_key(plan.json["space"]), plan.options.trials) in earlier else None
    wider = not _covers(there.space, plan.space, {})
    if not wider and {*seeds[0]} == {*seeds[1]} and there.options.trials == plan.options.trials:
        return there
    if wider and not plan.options.sampler.widens:
        name = plan.request.options_json(plan.options)["sampler"]
        got = f"space: {name} goes on with the space that it began in, got another"
        raise ConfigError([f"{got}. Keep the space and ask for more trials or seeds, or use random or tpe elsewhere"])
    return dataclasses.replace(plan, first=declared.history[0])


def _covers(wide: tuple[Part, ...], narrow: tuple[Part, ...], frame: Mapping[str, Any]) -> bool:
    """Tells whether a space has every point of another; of fields that this one does not set, those of the frame."""
    ours, theirs = dict(parameters(wide)), dict(parameters(narrow))
    if any(name not in ours or not _holds(ours[name], values) for name, values in theirs.items()):
        return False
    named = [{part.name: part for part in each if isinstance(part, Rows)} for each in (wide, narrow)]
    if any(not _same_rows(named[0][name], rows) for name, rows in named[1].items()):
        return False
    conditions = [{axis.path: axis.when for axis in axes(each)} for each in (wide, narrow)]
    if any(conditions[0][path] != when for path, when in conditions[1].items()):
        return False
    added = [part for part in wide if isinstance(part, Axis) and part.path not in theirs]
    known = {*theirs, *(part.path for part in added)}
    return known >= ours.keys() and all(
        axis.path in frame and _holds(axis.values, Choices((frame[axis.path],))) for axis in added
    )


def _same_rows(wide: Rows, narrow: Rows) -> bool:
    """Tells whether each label of the second stands for the same fields in the first."""
    ours = dict(zip(wide.labels, map(point_key, wide.rows), strict=True))
    return all(ours.get(label) == point_key(row) for label, row in zip(narrow.labels, narrow.rows, strict=True))


def _holds(wide: Choices | Range, narrow: Choices | Range) -> bool:
    """Tells whether a parameter may be all that another one may be."""
    if isinstance(wide, Choices):
        listed = {point_key({"": value}) for value in wide.values}
        return isinstance(narrow, Choices) and all(point_key({"": value}) in listed for value in narrow.values)
    if isinstance(narrow, Choices):
        return all(isinstance(value, (int, float)) and wide.low <= value <= wide.high for value in narrow.values)
    steps = wide.step == narrow.step and (wide.scale != "int" or (narrow.low - wide.low) % wide.step == 0)
    return wide.scale == narrow.scale and steps and wide.low <= narrow.low and narrow.high <= wide.high


def _before(history: Sequence[Mapping[str, Any]]) -> Fields:
    """Returns what fields were, as the newest space says it, before they were drawn."""
    found: Fields = {}
    last = {axis.path: axis.values for axis in axes(_space(history[-1]))}
    for before, after in itertools.pairwise(history):
        (frame,) = _frames(before)
        for path in _swept(after) - _swept(before):
            values = last.get(path)
            listed = values.values if isinstance(values, Choices) else ()
            same = [value for value in listed if point_key({"": value}) == point_key({"": frame.get(path)})]
            found[path] = same[0] if same else frame.get(path)
    return found
