"""The rounds of seeds of a sweep that goes on until its winner is real: which trials follow, and what was decided.

All configurations share their seeds: those that were declared, then the integers after the largest. What was decided is
read from the trials that ended, whoever ran them and whenever: a sweep that is stopped, continued or shared by workers
comes to the same end.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from cnn.runs.sweep_record import ENDED, FINISHED, SEED, Fields, GroupRecord, RuledOutRecord, TrialRecord, WinnerRecord
from cnn.sweep import contest
from cnn.sweep.contest import Decision
from cnn.sweep.plan import Plan, ProgramOf, Trial, point_key, shown
from cnn.sweep.space import Choices, axis_of

NONE = float("nan")
"""Stands for the value of a trial that ended without one."""


def following(
    plan: Plan, found: Sequence[TrialRecord], limit: Callable[[str], int], program_of: ProgramOf
) -> list[Fields]:
    """Returns the points that are to run next, all trials of the plan having ended; none where it is decided.

    Args:
      plan: the sweep.
      found: its trials.
      limit: how many trials of a program train together: with room for them, each contender gets several seeds.
      program_of: names the program of a trial.
    """
    if plan.options.until == "planned":
        return []
    decision = decided(plan, found)
    if not decision.wanted:
        return []
    first: dict[str, Trial] = {}
    for trial in plan.trials:
        first.setdefault(_configuration(trial.fields), trial)
    trials = list(first.values())
    programs = Counter(program_of(trials[index]) for index in decision.left)
    ahead = min(max(1, limit(name) // count) for name, count in programs.items())
    upto = min(plan.options.most_seeds, max(decision.wanted, decision.seeds + ahead))
    there = {point_key(trial.fields) for trial in plan.trials}
    points = [{**trials[index].fields, SEED: seed} for seed in _seeds(plan, upto) for index in decision.left]
    return [point for point in points if point_key(point) not in there]


def decided(plan: Plan, found: Sequence[TrialRecord]) -> Decision:
    """Returns what the trials say so far."""
    known: dict[tuple[str, str], float] = {}
    for row in found:
        if row["status"] in ENDED:
            value = row["value"] if row["status"] == FINISHED else None
            known[_configuration(row["fields"]), point_key({SEED: row["fields"][SEED]})] = (
                NONE if value is None else value
            )
    seeds = [point_key({SEED: seed}) for seed in _seeds(plan, plan.options.most_seeds)]
    values = [[known.get((name, seed)) for seed in seeds] for name in _contenders(plan)]
    return contest.decide(values, plan.options.rule, maximize=plan.options.direction == "maximize")


def judged(
    plan: Plan, found: Sequence[TrialRecord], ranked: list[GroupRecord], measured: WinnerRecord
) -> tuple[WinnerRecord, list[GroupRecord]]:
    """Returns what was decided, in words too, and the groups with the contenders first.

    Args:
      plan: the sweep.
      found: its trials.
      ranked: its groups, best first.
      measured: what a plan without further seeds would say of them.
    """
    decision, names = decided(plan, found), _contenders(plan)
    fields = {point_key(group["fields"]): group["fields"] for group in ranked}
    of = [fields.get(name, {}) for name in names]
    out: list[RuledOutRecord] = [
        {"fields": of[index], "seeds": each.seeds, "by": None if each.by is None else of[each.by]}
        for index, each in decision.out.items()
    ]
    record: WinnerRecord = {
        "text": _text(plan, decision, of),
        "real": decision.state == "real",
        "seeds": decision.seeds,
        "error": plan.options.error,
        "ruled_out": out,
    }
    for name in ("difference", "sd", "ratio"):
        if name in measured:
            record[name] = measured[name]
    left = {names[index] for index in decision.left}
    return record, sorted(ranked, key=lambda group: point_key(group["fields"]) not in left)


def _text(plan: Plan, decision: Decision, of: Sequence[Fields]) -> str:
    left, total = [shown(of[index]) for index in decision.left], len(of)
    rate = f"at an error rate of {100 * plan.options.error:g} % over all looks and configurations"
    most = plan.options.most_seeds
    if decision.state == "real":
        text = f"yes, {left[0]}, decided after {decision.seeds} seeds of at most {most}, {rate}"
    elif decision.state == "alone":
        text = f"nothing to compare: {left[0] if left else 'no configuration'} has a value with each seed"
    elif decision.state == "spent":
        text = f"not decided with {decision.seeds} seeds, all that there were to be, {rate}"
        text += f"; {len(left)} of {total} are left: {', '.join(left)}"
    else:
        looked = f"after {decision.seeds} seeds" if decision.seeds else f"before {decision.wanted} seeds"
        text = f"not decided yet {looked}, of at most {most}, {rate}; {len(left)} of {total} are left"
    return f"{text}{''.join(f'; {line}' for line in _ruled_out(decision, of))}"


def _ruled_out(decision: Decision, of: Sequence[Fields]) -> Iterator[str]:
    beaten = [(of[index], each.seeds) for index, each in decision.out.items() if each.by is not None]
    without = [(of[index], each.seeds) for index, each in decision.out.items() if each.by is None]
    for what, listed in (("ruled out", beaten), ("without a value with some seed, so out of it", without)):
        if listed:
            yield f"{what}: " + ", ".join(f"{shown(fields)} after {seeds} seeds" for fields, seeds in listed)


def _configuration(fields: Mapping[str, Any]) -> str:
    return point_key({path: value for path, value in fields.items() if path != SEED})


def _contenders(plan: Plan) -> list[str]:
    """Returns the configurations that were declared, in their order."""
    return list(dict.fromkeys(_configuration(trial.fields) for trial in plan.trials))


def _seeds(plan: Plan, count: int) -> list[int]:
    """Returns the first seeds of every configuration."""
    axis = axis_of(plan.space, SEED)
    assert axis is not None and isinstance(axis.values, Choices)
    declared = list(axis.values.values)
    return list(itertools.islice([*declared, *range(max(declared) + 1, max(declared) + 1 + count)], count))
