"""From what was asked to a plan: options and space read, every trial resolved, all problems together."""

import dataclasses
import itertools
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from cnn.config.config import RENAMED, ConfigError
from cnn.fields import to_text
from cnn.sweep import declare, distinct
from cnn.sweep.options import CHANGEABLE, Grid, Options
from cnn.sweep.plan import SEED, Plan, Trial
from cnn.sweep.reading import Asked, read_options
from cnn.sweep.space import Axis, Chain, Choices, Part, Point, Range, axes, paths, product, sample

MOST_TRIALS = 20_000
CHECKED = 2_000
"""So many corners of a space are resolved before a sampler draws from it."""


def make(base: Mapping[str, Any], asked: Asked) -> Plan:
    """Returns the sweep that was asked for, every trial of it checked.

    Args:
      base: the sections of the config file.
      asked: what was typed and what the sweep's file holds.

    Raises:
      ConfigError: lists all that is wrong with the space, the options and the trials, each thing once.
    """
    problems = list(asked.problems)
    options = read_options(asked.options, problems)
    space = declare.read(asked.space, problems) if asked.space is not None else ()
    swept = {RENAMED.get(path, path) for path in paths(space)}
    typed = sorted(path for path, _ in asked.overrides if RENAMED.get(path, path) in swept)
    problems += [f"--config.{path}: is swept too. Leave one out" for path in typed]
    if not problems and options is not None:
        plan = _arranged(base, asked, options, space, problems)
        if not problems:
            return plan
    raise ConfigError(problems)


def _arranged(
    base: Mapping[str, Any], asked: Asked, options: Options, space: tuple[Part, ...], problems: list[str]
) -> Plan:
    grid = isinstance(options.sampler, Grid)
    _check_options(options, space, grid, problems)
    seeds: tuple[Any, ...] = (None,)
    if not grid:
        found = [part for part in axes(space) if part.path == SEED and isinstance(part.values, Choices)]
        if found and found[0] in space:
            seeds = found[0].values.values  # type: ignore[union-attr]
            space = tuple(part for part in space if part is not found[0])
            if not space:
                problems.append("space: holds nothing but seeds. Use --sweep.sampler=grid, which runs each of them")
    saved = {
        "base": json.loads(json.dumps(base, default=str)),
        "overrides": [list(override) for override in asked.overrides],
        "space": json.loads(json.dumps(asked.space, default=str)),
        "options": {name: value for name, value in asked.plain(options).items() if name not in CHANGEABLE},
    }
    plan = Plan(base, asked, options, space, seeds, (), saved)
    if problems:
        return plan
    points = _numbered(product(space), problems) if grid else _corners(space, seeds)
    trials = _checked(plan, points, problems)
    epochs = max((trial.values.train.epochs for trial in trials), default=1)
    drawn = 0 if grid else distinct.count(space, options.trials)
    return dataclasses.replace(
        plan, trials=tuple(trials) if grid else (), epochs=epochs, checked=tuple(trials), configurations=drawn
    )


def _check_options(options: Options, space: tuple[Part, ...], grid: bool, problems: list[str]) -> None:
    ranges = [axis for axis in axes(space) if isinstance(axis.values, Range)]
    if grid:
        for axis in ranges:
            if axis.values.scale != "int" and axis.values.number is None:  # type: ignore[union-attr]
                problems.append(f'space.{axis.path}: a grid needs the number of points. Add "n", or use a sampler')
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
        except ConfigError as error:
            shown = ", ".join(f"{path}={to_text(value)}" for path, value in point.fields.items())
            for problem in error.problems:
                first, count = seen.get(problem, (shown, 0))
                seen[problem] = (first, count + 1)
            continue
        trials.append(trial)
        if plan.is_grid and same.setdefault(trial.values.json, number) != number:
            problems.append(f"space: trials {same[trial.values.json]} and {number} are the same. Remove one")
    if not points and not problems:
        problems.append("space: has no trials. Give each field a value")
    for problem, (first, count) in seen.items():
        others = f" and {count - 1} more trial{'s' if count > 2 else ''}" if count > 1 else ""
        problems.append(f"{problem}\n    in the trial {first or 'without fields'}{others}")
    return trials
