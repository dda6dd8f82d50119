"""The plan of a sweep: what was asked for becomes trials, every one of them a checked config.

`ask` reads the sweep's file and flags; `make` checks the options, the space and each trial, or, where a sampler draws
them, the corners of the space; `lines` shows the plan, and `check` whether what trials start from is there and code of
the user's is right, for which alone JAX is needed.
"""

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import json
import random
import runpy
import shlex
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cnn import fields
from cnn.config import resolve, validate
from cnn.config.config import ALWAYS, NOT_SET, RENAMED, Config, ConfigError, Override, by_path
from cnn.config.problems import Problems, Section, Typed
from cnn.config.sections import Data
from cnn.data import sources, splits
from cnn.expression import ExpressionError, build_one, written
from cnn.fields import to_text
from cnn.metrics import METRICS
from cnn.registry import ExtensionError
from cnn.runs.recorded_code import python_code
from cnn.runs.sweep_record import FOLD, SEED, TRIALS, Fields, trial_folder
from cnn.sweep import space_parser
from cnn.sweep.contest import FIRST
from cnn.sweep.options import CHANGEABLE, OF_REAL, VALID, Options
from cnn.sweep.pruners import Off
from cnn.sweep.samplers import Grid
from cnn.sweep.space import Axis, Chain, Choices, Part, Point, Range, axes, axis_of, paths, product, sample
from cnn.system import redaction
from cnn.system.text import counted
from cnn.train import init_from

COPIES = "Use --sweep.workers=N, which starts N copies of the command"
HOW_MANY = 'Give a third number, as in log(1e-4, 1e-2, 8), in a file "n"; or use a sampler'

MOST = 20_000
"""Of a finite space so many points are listed."""
MOST_TRIALS = 20_000
Given = dict[str, Any]
"""Options of a sweep by name, as a file or JSON has them."""
CHECKED = 2_000
"""So many corners of a space are resolved before a sampler draws from it."""


class SweepRequest(NamedTuple):
    """A sweep as the user declared it, read but not checked."""

    config: str
    """The config file as typed, empty for the default."""
    overrides: Sequence[Override]
    space: Any
    options: Mapping[str, Any]
    problems: list[str]
    added: str = ""
    """What was said to be added to the sweep, such as `seeds=+5`; the space and the options hold it already."""
    note: str = ""
    """What the user is to know of it."""

    def options_json(self, options: Options) -> Given:
        """Returns the options as JSON, expressions as they were written."""
        plain = fields.to_json(fields.defaults(Options))
        given = {name: value.text if isinstance(value, Typed) else value for name, value in self.options.items()}
        texts = {name: given.get(name, plain[name]) for name in ("sampler", "pruner")}
        return {**fields.to_json(options), **texts}


def ask(config: str, overrides: Sequence[Override], flags: Mapping[str, str]) -> SweepRequest:
    """Reads the sweep's file and flags; what is wrong is in the answer's `problems`.

    Args:
      config: the config file as typed, empty for the default.
      overrides: of the config.
      flags: `sweep` is a file and `grid` a space in one line, one of them; `sweep.<option>` is an option.
    """
    problems: list[str] = []
    space: Any = None
    options: Given = {}
    if ("sweep" in flags) == ("grid" in flags):
        folder = flags.get("workdir", "")
        holds = "holds no sweep" if Path(folder).exists() else "does not exist"
        but = f", and {folder} {holds}" if folder and "grid" not in flags else ""
        problems.append(
            f"--sweep: needs a space{but}. Give one of --sweep=FILE and --grid='seed=0,1,2', "
            "or neither and the --workdir of a sweep that is there"
        )
    elif "grid" in flags:
        space = space_parser.read_grid(flags["grid"], problems) if flags["grid"] else None
    elif flags["sweep"]:
        space, options = _file(Path(flags["sweep"]), problems)
    return SweepRequest(config, overrides, space, {**options, **typed_options(flags)}, problems)


def typed_options(flags: Mapping[str, str]) -> dict[str, Typed]:
    """Returns the options among flags, as they were typed."""
    typed = {name.removeprefix("sweep."): value for name, value in flags.items() if name.startswith("sweep.")}
    return {name: Typed(value) for name, value in typed.items() if name != "print"}


def _file(path: Path, problems: list[str]) -> tuple[Any, Given]:
    """Returns the space and the options that a file declares: JSON, or Python with a function `get_sweep`."""
    if not path.is_file():
        problems.append(f"--sweep: no such file, got {path}. Those that exist are in configs/sweeps")
        return None, {}
    try:
        declared = json.loads(path.read_text()) if path.suffix == ".json" else runpy.run_path(str(path))["get_sweep"]()
    except (Exception, SystemExit) as error:  # A sweep file is the user's code and may raise anything.
        problems.append(f"--sweep: {path}{_reason(error, path)}. Mend it or use another file")
        return None, {}
    if not isinstance(declared, Mapping) or "space" not in declared:
        problems.append(f'--sweep: {path} must declare {{"space": {{...}}}} and options, got {str(declared)[:80]}.')
        return None, {}
    return declared["space"], {name: value for name, value in declared.items() if name != "space"}


def _reason(error: BaseException, path: Path) -> str:
    if isinstance(error, KeyError) and error.args == ("get_sweep",):
        return " defines no get_sweep()"
    frames = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    line = f" line {frames[-1]}" if frames else ""
    return f"{line}: {type(error).__name__}: {' '.join(str(error).split())[:300]}"


@dataclasses.dataclass(frozen=True)
class Trial:
    """One point of a sweep as a config."""

    number: int
    fields: Mapping[str, Any]
    """What the sweep set, in the order declared."""
    params: Mapping[str, Any]
    """The point as Optuna knows it."""
    resolve: Callable[[], Config] = dataclasses.field(repr=False, compare=False)

    @functools.cached_property
    def values(self) -> Config:
        """The config, resolved when first asked for.

        Raises:
          ConfigError: the point is none, or an extension is not what it was when the sweep was declared.
        """
        return self.resolve()

    @property
    def folder(self) -> str:
        """The run's directory below the sweep's."""
        return trial_folder(self.number)

    def placed(self, number: int, fields: Mapping[str, Any], params: Mapping[str, Any] | None = None) -> "Trial":
        """Returns the same config, resolved once for both, under another number and in other words."""
        return Trial(number, fields, self.params if params is None else params, lambda: self.values)


ProgramOf = Callable[[Trial], str]
"""Names the compiled program that a trial needs: `programs.program_of`, which takes JAX."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """The space, the options and the trials of a sweep, checked."""

    base: Mapping[str, Any]
    """The sections of the config file."""
    request: SweepRequest
    options: Options
    space: tuple[Part, ...]
    """Without the seeds where a sampler draws: each configuration is run with all of them."""
    seeds: tuple[Any, ...]
    trials: tuple[Trial, ...]
    """Of a grid; a sampler draws its own."""
    json: Mapping[str, Any]
    """What must be the same for a sweep to continue."""
    epochs: int | None = 1
    """Of the longest trial; `None` where the data say."""
    checked: tuple[Trial, ...] = ()
    """The trials of a grid; otherwise such as its sampler may draw."""
    configurations: int = 0
    """How many a sampler draws: those asked for, or all that the space has where these are fewer."""
    first: Mapping[str, Any] | None = None
    """What `json` was when the sweep began, where it has grown since."""
    names: Mapping[str, str] = dataclasses.field(default_factory=dict)
    """What Optuna calls the parameters that had other values or another range once, as it lets none of its change."""
    before: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Of fields that a sampler did not draw once, what they were then."""

    @property
    def is_grid(self) -> bool:
        return isinstance(self.options.sampler, Grid)

    @property
    def example(self) -> Trial:
        """A trial that stands for all."""
        return self.checked[0]

    @property
    def size(self) -> int:
        """The number of trials."""
        return len(self.trials) if self.is_grid else self.configurations * len(self.seeds)

    @property
    def identity(self) -> str:
        """Eight digits that tell one sweep from another."""
        named = self.json if self.first is None else self.first
        return hashlib.sha256(json.dumps(named, sort_keys=True).encode()).hexdigest()[:8]

    def trial(self, number: int, fields: Mapping[str, Any], params: Mapping[str, Any]) -> Trial:
        """Returns a point as a trial, whose config is not resolved yet."""
        return Trial(number, fields, params, lambda: self._resolve(fields))

    def _resolve(self, fields: Mapping[str, Any]) -> Config:
        values = resolve.resolve(self.base, self._overrides(fields))
        for extension in values.code:
            if "code" in self.json and extension.sha256 not in self.json["code"]:
                raise ConfigError(
                    [f"config.extensions: {extension.path} has changed since the sweep began. Restore it."]
                )
        return values

    @functools.cached_property
    def _places(self) -> dict[int, int]:
        declared = (
            {point_key(point.fields): place for place, point in enumerate(product(self.space))} if self.is_grid else {}
        )
        ends = len(declared)
        return {trial.number: declared.get(point_key(trial.fields), ends + trial.number) for trial in self.trials}

    def place(self, number: int) -> int:
        """Returns where a trial would stand if all that has been added to the sweep had been declared at once."""
        return self._places.get(number, number)

    def completed(self, fields: Mapping[str, Any]) -> Fields:
        """Returns the fields of a drawn trial, with those that the sampler did not draw yet at its time."""
        seeded = () if self.seeds == (None,) else (Axis(SEED, Choices(self.seeds)),)
        return completed((*self.space, *seeded), fields, self.before)

    def _overrides(self, fields: Mapping[str, Any]) -> list[Override]:
        return [*self.request.overrides, *(Override(path, to_text(value)) for path, value in fields.items())]

    def flags(self, fields: Mapping[str, Any]) -> list[str]:
        """Returns the arguments of `main.py` that make a point's config."""
        file = [f"--config={self.request.config}"] if self.request.config else []
        return ["train", *file, *(f"--config.{path}={value}" for path, value in self._overrides(fields))]

    def line(self, fields: Mapping[str, Any], workdir: Path) -> str:
        """Returns what the user types to run a point alone, in its place; passwords in URLs are hidden."""
        return shlex.join(["python", "main.py", *redaction.words(self.flags(fields)), f"--workdir={workdir}"])

    def again(self, fields: Mapping[str, Any], workdir: Path, *, tests: bool) -> str:
        """Returns what the user types to train a point anew.

        Args:
          fields: of the point.
          workdir: for the new run.
          tests: whether there is a test split: it is read at the end, as choosing is over.
        """
        read = [] if not tests or self.trial(0, fields, {}).values.eval.test else ["--config.eval.test=True"]
        flags = [flag for flag in self.flags(fields) if not (read and flag.startswith("--config.eval.test="))]
        return shlex.join(["python", "main.py", *flags, *read, f"--workdir={workdir}"])

    def base_values(self) -> dict[str, Any] | None:
        """Returns the config that nothing was swept of, `None` where it is none by itself."""
        return self._config_with({})

    def base_value(self, path: str, fields: Mapping[str, Any]) -> Any:
        """Returns what a field is where only the others of a trial are set; `NOT_SET` where that is no config."""
        others = self._config_with({other: value for other, value in fields.items() if other != path})
        return NOT_SET if others is None else by_path(others).get(path, NOT_SET)

    def _config_with(self, fields: Mapping[str, Any]) -> dict[str, Any] | None:
        try:
            return json.loads(resolve.resolve(self.base, self._overrides(fields)).json)
        except ConfigError:
            return None


def make(base: Mapping[str, Any], request: SweepRequest) -> Plan:
    """Returns the sweep that was asked for, every trial of it checked.

    Args:
      base: the sections of the config file.
      request: what was typed and what the sweep's file holds.

    Raises:
      ConfigError: lists all that is wrong with the space, the options and the trials, each thing once.
      DataError: arrays that were handed over are no pictures and labels, or unlike the config.
    """
    problems = list(request.problems)
    options = read_options(request.options, problems)
    space = space_parser.read_space(request.space, problems) if request.space is not None else ()
    if options is not None and options.until == "real" and not problems:
        request, space = _until_real(options, request, space, base, problems)
    swept = {RENAMED.get(path, path) for path in paths(space)}
    typed = sorted(path for path, _ in request.overrides if RENAMED.get(path, path) in swept)
    problems += [f"--config.{path}: is swept too. Leave one out" for path in typed]
    if not problems and options is not None and request.space is not None:
        plan = _arranged(base, request, options, space, problems)
        if not problems:
            return plan
    raise ConfigError(problems)


def _until_real(
    options: Options, request: SweepRequest, space: tuple[Part, ...], base: Mapping[str, Any], problems: list[str]
) -> tuple[SweepRequest, tuple[Part, ...]]:
    """Returns what was asked for, and its space, with the seeds of the first look where it names none."""
    if not isinstance(options.sampler, Grid):
        problems.append(
            f"--sweep.until: real compares configurations that are all there from the beginning, and "
            f"{request.options_json(options)['sampler']} draws further ones. Sweep with it first, then the best of its "
            "configurations as a grid"
        )
    if not isinstance(options.pruner, Off):
        problems.append(
            "--sweep.until: real compares trials that ran to their ends, got a pruner that ends some before. Leave out "
            "--sweep.pruner"
        )
    if FOLD in paths(space):
        problems.append(f"--sweep.until: real adds seeds, and there are no more folds to add. Leave out {FOLD}")
    axis = axis_of(space, SEED)
    if axis is not None and not axis.when and isinstance(axis.values, Choices):
        declared, most = len(axis.values.values), options.most_seeds
        if declared > most:
            problems.append(f"--sweep.most_seeds: must be at least the {declared} of space.seed, got {most}")
    elif SEED in paths(space):
        problems.append("space.seed: must be a list of its own, to which --sweep.until=real adds, such as [0, 1, 2, 3]")
    elif not problems:
        first = seed_of(base, request.overrides)
        seeds = list(range(first, first + FIRST)) if isinstance(first, int) else [first]
        overrides = [each for each in request.overrides if each.path != SEED]
        request = request._replace(space={**request.space, SEED: seeds}, overrides=overrides)
        space = space_parser.read_space(request.space, problems)
    seeds_axis = axis_of(space, SEED)
    others = tuple(part for part in space if part is not seeds_axis)
    if not problems and len(list(itertools.islice(product(others), 2))) < 2:
        problems.append("--sweep.until: real compares configurations, and the space has one. Give a field two values")
    return request, space


def _arranged(
    base: Mapping[str, Any], request: SweepRequest, options: Options, space: tuple[Part, ...], problems: list[str]
) -> Plan:
    grid = isinstance(options.sampler, Grid)
    _check_options(options, space, grid, problems)
    space, seeds = apart(options, space)
    if not space:
        problems.append("space: holds nothing but seeds. Use --sweep.sampler=grid, which runs each of them")
    plan = Plan(base, request, options, space, seeds, (), {})
    if problems:
        return plan
    points = _numbered(product(space), problems) if grid else _corners(space, seeds)
    trials = _checked(plan, points, problems)
    objective = _objective(plan, trials, problems) if trials else ""
    if problems:
        return plan
    options = dataclasses.replace(options, objective=objective)
    left_out = (*CHANGEABLE, *(OF_REAL if options.until == "planned" else ()))
    saved: dict[str, Any] = {
        "base": json.loads(json.dumps(base, default=str)),
        "overrides": [list(override) for override in request.overrides],
        "space": json.loads(json.dumps(request.space, default=str)),
        "options": {name: value for name, value in request.options_json(options).items() if name not in left_out},
    }
    code = {each.sha256 for trial in trials for each in trial.values.code}
    code |= {f"{name} {sha256}" for trial in trials for name, sha256 in python_code(trial.values).items()}
    if code:
        saved["code"] = sorted(code)
    if sources.are_handed_over(trials[0].values.data.name):
        from cnn.data import datasets  # it takes Pillow, and is needed here alone

        saved["data"] = datasets.identity(trials[0].values.data)
    return dataclasses.replace(
        plan,
        options=options,
        json=saved,
        trials=tuple(trials) if grid else (),
        epochs=_most_epochs(trials),
        checked=tuple(trials),
        configurations=0 if grid else count(space, options.trials),
    )


def seed_of(base: Mapping[str, Any], overrides: Sequence[Override]) -> Any:
    """Returns the seed of a config: what was typed last, or that of its sections."""
    typed = [fields.literal(each.text) for each in overrides if each.path == SEED]
    return typed[-1] if typed else base.get(SEED, 0)


def apart(options: Options, space: tuple[Part, ...]) -> tuple[tuple[Part, ...], tuple[Any, ...]]:
    """Returns a space without its seeds, and these: a sampler runs what it draws with each; a grid keeps them in it.

    They are `(None,)` where there are none apart.
    """
    axis = axis_of(space, SEED)
    if isinstance(options.sampler, Grid) or axis is None or not isinstance(axis.values, Choices):
        return space, (None,)
    return tuple(part for part in space if part is not axis), axis.values.values


def _most_epochs(trials: Sequence[Trial]) -> int | None:
    """Returns how many epochs the longest trial has; `None` where the data say, of a length in steps."""
    lengths = [trial.values.train.epochs for trial in trials]
    return None if None in lengths else max(length for length in lengths if length is not None)


def _objective(plan: Plan, trials: Sequence[Trial], problems: list[str]) -> str:
    """Returns what the trials are ranked by, a metric that each of them measures; notes where it is none."""
    asked = plan.options.objective
    try:
        base = resolve.resolve(plan.base, plan.request.overrides)
    except ConfigError:  # a field that must be set is swept
        base = trials[0].values
    metric = (asked or f"{VALID}{base.monitor}").removeprefix(VALID)
    with contextlib.suppress(ExpressionError):  # which is no metric's name then
        metric = written(build_one(metric, METRICS))
    known = [name for name in (*ALWAYS, *base.metrics) if all(name in (*ALWAYS, *t.values.metrics) for t in trials)]
    if metric not in known or not (asked or VALID).startswith(VALID):
        listed = ", ".join(repr(f"{VALID}{name}") for name in known)
        problems.append(
            f"--sweep.objective: must be one of {listed}, which every trial measures, got {asked or VALID + metric!r}. "
            "Name other metrics in config.eval.metrics"
        )
    if without := next((trial.values.data for trial in trials if not validate.may_validate(trial.values.data)), None):
        problems.append(unranked(without))
    folds = [splits.parse_fold(trial.values.data.fold) for trial in trials]
    numbers = sorted({fold.of if fold else 0 for fold in folds})
    if len(numbers) > 1:
        got = " and ".join(f"folds of {number}" if number else "trials without a fold" for number in numbers)
        problems.append(
            f"space.{FOLD}: must hold folds of one number, which repeat each other, got {got}. "
            f"Sweep them one by one, or all of one number: --grid='{FOLD}=folds({numbers[-1]})'"
        )
    return f"{VALID}{metric}"


def unranked(data: Data) -> str:
    """Returns what is wrong with a sweep of which a trial has no validation split."""
    reason = validate.why_no_validation(data)
    return f"config.data: a sweep ranks its trials by the validation split, and {reason}. {validate.TO_VALIDATE}"


def read_options(given: Mapping[str, Any], problems: list[str]) -> Options | None:
    """Returns the checked options; on a problem notes it and returns `None`."""
    noted = _Noted()
    own = {}
    for name, value in given.items():
        path = name.removeprefix("config.")
        if path == name or not isinstance(value, Typed):
            own[name] = value
            continue
        inside, write = resolve.inside_layers(path), f"--grid='{path}={value.text}'"
        problem = resolve.INSIDE if inside else f"is no option of a sweep but a field of the config. Write {write}"
        noted.note(f"sweep.{name}", problem)
    options = Section("sweep", own, noted).record(Options)
    problems += [f"{problem} {COPIES}" if "got 'process'" in problem else problem for problem in noted]
    return options


class _Noted(Problems):
    def note(self, path: str, message: str) -> None:
        self.append(f"--{path}: {message}")


def _check_options(options: Options, space: tuple[Part, ...], grid: bool, problems: list[str]) -> None:
    ranges = [axis for axis in axes(space) if isinstance(axis.values, Range)]
    if grid:
        for axis in ranges:
            if axis.values.scale != "int" and axis.values.number is None:  # type: ignore[union-attr]
                problems.append(f"space.{axis.path}: a grid needs the number of points. {HOW_MANY}")
        for name in OF_REAL if options.until == "planned" else ():
            if getattr(options, name) != getattr(Options, name):
                problems.append(f"--sweep.{name}: is of --sweep.until=real. Add that, or leave it out")
        if options.trials:
            problems.append("--sweep.trials: a grid has its own number of trials. Leave it out, or use a sampler")
    elif not options.trials:
        problems.append("--sweep.trials: is not set. Say how many configurations the sampler draws")


def _numbered(points: Iterator[Point], problems: list[str]) -> list[Point]:
    listed = list(itertools.islice(points, MOST_TRIALS + 1))
    if len(listed) > MOST_TRIALS:
        problems.append(f"space: has more than {MOST_TRIALS:,} trials. Use fewer values, or a sampler")
        return []
    return listed


def _corners(space: tuple[Part, ...], seeds: Sequence[Any]) -> list[Point]:
    """Returns the points of a space whose ranges are only their ends; of too many, some that are drawn."""
    seeded = () if seeds == (None,) else (Axis(SEED, Choices(tuple(seeds))),)
    narrowed = (*seeded, *_ends(space))
    corners = list(itertools.islice(product(narrowed), CHECKED + 1))
    if len(corners) <= CHECKED:
        return corners
    # The first of them would all begin alike, and some values would never be looked at.
    rng = random.Random(0)

    def one(name: str, values: Choices | Range) -> Any:
        assert isinstance(values, Choices), name
        return rng.choice(values.values)

    return [Point({}, sample(narrowed, one)) for _ in range(CHECKED)]


def _ends(space: tuple[Part, ...]) -> tuple[Part, ...]:
    narrowed: list[Part] = []
    for part in space:
        if isinstance(part, Axis) and isinstance(part.values, Range):
            part = dataclasses.replace(part, values=Choices((part.values.low, part.values.high)))
        elif isinstance(part, Chain):
            part = dataclasses.replace(part, spaces=tuple(_ends(inner) for inner in part.spaces))
        narrowed.append(part)
    return tuple(narrowed)


def _checked(plan: Plan, points: Sequence[Point], problems: list[str]) -> list[Trial]:
    """Returns the points as trials; a problem is noted once, with the first trial that has it."""
    trials, seen, same = [], dict[str, tuple[str, int]](), dict[str, int]()
    for number, point in enumerate(points):
        try:
            trial = plan.trial(number, point.fields, point.params)
            trial.values  # noqa: B018  resolves it
        except ConfigError as error:
            for problem in error.problems:
                first, count = seen.get(problem, (shown(point.fields, between=", "), 0))
                seen[problem] = (first, count + 1)
            continue
        trials.append(trial)
        if plan.is_grid and same.setdefault(trial.values.json, number) != number:
            problems.append(f"space: trials {same[trial.values.json]} and {number} are the same. Remove one")
    if not points and not problems:
        problems.append("space: has no trials. Give each field a value")
    for problem, (first, count) in seen.items():
        others = f" and {counted(count - 1, 'more trial')}" if count > 1 else ""
        problems.append(f"{problem}\n    in the trial {first or 'without fields'}{others}")
    return trials


def points(space: tuple[Part, ...]) -> list[Point] | None:
    """Returns the points of a space, each once and at most `MOST`; `None` where an interval has no end of them."""
    values = [axis.values for axis in axes(space)]
    if any(isinstance(each, Range) and each.scale != "int" for each in values):
        return None
    return list({point_key(point.fields): point for point in itertools.islice(product(space), MOST)}.values())


def count(space: tuple[Part, ...], asked: int) -> int:
    """Returns how many configurations a sampler can draw of those asked for, each once."""
    listed = points(space)
    return asked if listed is None or len(listed) == MOST else min(asked, len(listed))


def completed(space: tuple[Part, ...], fields: Mapping[str, Any], values: Mapping[str, Any]) -> Fields:
    """Returns the fields of a point of a space, in its order.

    Args:
      space: the parts.
      fields: those of the point that are known.
      values: of fields that the point may lack, by path; those that the space does not set there are left out.
    """
    found = dict(fields)
    for part in space:
        for path in paths((part,)):
            if path in values and path not in found and (not isinstance(part, Axis) or part.active(found)):
                found[path] = values[path]
    return {path: found[path] for path in dict.fromkeys([*paths(space), *found]) if path in found}


def point_key(fields: Mapping[str, Any]) -> str:
    """Returns what is the same for equal fields, in whatever order they were set, and however numbers were written."""
    return json.dumps(_canonical(fields), sort_keys=True)


def _canonical(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _canonical(inner) for name, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(inner) for inner in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def lines(plan: Plan, workdir: Path) -> Iterator[str]:
    """Yields what `--sweep.print` shows."""
    if plan.is_grid:
        yield f"{plan.size} trials in {workdir}"
        if plan.options.until == "real":
            yield (
                f"and more seeds, at most {plan.options.most_seeds} of each configuration that is not ruled out, until "
                f"the winner is real at an error rate of {plan.options.error:g}"
            )
        for trial in plan.trials:
            yield f"{trial.folder}  {shown(trial.fields)}"
            yield f"    {plan.line(trial.fields, workdir / trial.folder)}"
        return
    with_seeds = "" if plan.seeds == (None,) else f", each with {len(plan.seeds)} seeds"
    if line := fewer(plan):
        yield line
    yield f"{plan.configurations} configurations{with_seeds}: {plan.size} trials in {workdir}, drawn from"
    for part in plan.space:
        yield f"  {_part(part)}"
    yield "Each trial's command is in sweep.json and in the ranking as soon as it is drawn"


def _part(part: Part) -> str:
    if isinstance(part, Chain):
        return " or ".join("(" + "; ".join(map(_part, inner)) + ")" for inner in part.spaces)
    if not isinstance(part, Axis):
        return f"{part.name}: {' | '.join(part.labels)}"
    if isinstance(part.values, Choices):
        values = " | ".join(to_text(value) for value in part.values.values)
    else:
        values = f"{part.values.scale} from {part.values.low:g} to {part.values.high:g}"
    when = "".join(f", where {path} is {' or '.join(map(to_text, allowed))}" for path, allowed in part.when)
    return f"{part.path}: {values}{when}"


def fewer(plan: Plan) -> str:
    """Says that the space has fewer configurations than were asked for; empty where it has enough."""
    if plan.is_grid or plan.configurations == plan.options.trials:
        return ""
    asked, there = plan.options.trials, plan.configurations
    return f"--sweep.trials: the space has only {there} different configurations, got {asked}. Each is run once"


def shown(fields: Mapping[str, Any], *, between: str = " ") -> str:
    """Returns what a trial sets, in a line."""
    return between.join(f"{path}={to_text(value)}" for path, value in fields.items())


def check(plan: Plan, folder: Path) -> None:
    """Refuses a sweep of which some trial cannot start from what it names, or has code of the user's that is wrong.

    Args:
      plan: the sweep.
      folder: its directory; what has begun there does not read its source again.

    Raises:
      ConfigError: lists each `config.init_from` that is missing or does not fit, once, and what is wrong with code.
    """
    left = [trial.values for trial in _left(plan, folder)]
    starts = {(values.init_from, values.init_layers, values.rows): values for values in left if values.init_from}
    problems: dict[str, None] = {}
    for values in {frozenset(values.foreign): values for values in left if values.foreign}.values():
        from cnn.train import preflight  # JAX takes seconds to import

        try:
            preflight.check_code(values)
        except ConfigError as error:
            problems |= dict.fromkeys(error.problems)
        except ExtensionError as error:
            problems[str(error)] = None
    for values in starts.values():
        try:
            init_from.fit(values, init_from.find(values.init_from))
        except ConfigError as error:
            problems |= dict.fromkeys(error.problems)
    if problems:
        raise ConfigError(list(problems))


def _left(plan: Plan, folder: Path) -> tuple[Trial, ...]:
    """Returns the trials that have not begun; where a sampler draws these, such as it may draw."""
    if plan.is_grid:
        return tuple(trial for trial in plan.trials if not init_from.has_begun(folder / trial.folder))
    begun = sum(map(init_from.has_begun, (folder / TRIALS).glob("*")))
    return plan.checked if begun < plan.size else ()
