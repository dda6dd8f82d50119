"""The ranking of a sweep: its trials by configuration, best first, in `sweep.json` and `sweep.csv`.

`write` gathers what is known of each trial and its curves, groups the trials that differ only in the seed or the fold,
and says whether the winner is real and which field mattered: from the spread between these, and from nothing of the
test split.
"""

from __future__ import annotations

import csv
import datetime
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import scipy.special

from cnn.config import config
from cnn.metrics import CONFIDENCE, DEVIATIONS, mean_ranks
from cnn.runs import recorded_data, run_dir
from cnn.runs.sweep_record import (
    CSV,
    DIVERGED,
    ENDED,
    FAILED,
    FINISHED,
    FOLD,
    PRUNED,
    RECORD,
    REPEATS,
    RUNNING,
    SEED,
    WAITING,
    BestRecord,
    ChangeRecord,
    Curve,
    EngineRecord,
    FactorRecord,
    Fields,
    GroupRecord,
    ImportanceRecord,
    SweepJson,
    TrialRecord,
    WinnerRecord,
    repeats,
    trial_folder,
)
from cnn.sweep import outcome, plan, rounds
from cnn.system import redaction
from cnn.system.text import counted

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from cnn.sweep.study import Study

MOST_POINTS = 200
"""Of one curve."""
LEAST = 10
"""Fewer finished trials than this say nothing about what mattered."""
RESAMPLES = 1000
LEVEL = 0.9
"""Of the bootstrap's interval."""


def write(study: Study, engine: EngineRecord, follow: Callable[[], None] = lambda: None) -> SweepJson:
    """Writes `sweep.json` and `sweep.csv`, calls `follow`, which reads them, and returns what the former holds."""
    found, plan = rows(study), study.plan
    # As if all had been declared at once: equal means, and what is drawn below, follow the order of what is given.
    declared = sorted(found, key=lambda row: plan.place(row["number"]))
    ranked = groups(declared, plan.options.direction)
    for row in found:
        row["curves"] = read_curves(study.folder / row["folder"])
    finished, varying = _finished(declared), _varying(declared)
    said = winner(ranked, repeats(varying))
    if plan.options.until == "real":
        said, ranked = rounds.judged(plan, found, ranked, said)
    whole = plan.is_grid and len(finished.values) == plan.size
    counts = {status: sum(row["status"] == status for row in found) for status in (*ENDED, RUNNING, WAITING)}
    record: SweepJson = {
        "schema": 1,
        "name": study.folder.resolve().name,
        "study": study.optuna_study.study_name,
        "objective": plan.options.objective,
        "direction": plan.options.direction,
        "size": max(plan.size, len(found)),
        "counts": {status: count for status, count in counts.items() if count},
        "seconds": busy_seconds(found),
        "space": plan.json["space"],
        "options": plan.json["options"],
        "varying": varying,
        "engine": engine,
        "trials": found,
        "groups": ranked,
        "winner": said,
        "importance": importance(*finished, grid=whole),
        "best": _best(study, ranked, found),
    }
    run_dir.write_json(study.folder / RECORD, record)
    run_dir.write(study.folder / CSV, _csv(record).encode())
    follow()
    return record


class Finished(NamedTuple):
    """The trials that finished, each configuration and seed once."""

    fields: list[Fields]
    values: list[float]


def _finished(found: Sequence[TrialRecord]) -> Finished:
    values = [(row["fields"], row["value"]) for row in once(found) if row["status"] == FINISHED]
    return Finished([fields for fields, _ in values], [value for _, value in values if value is not None])


def busy_seconds(found: Sequence[TrialRecord]) -> float:
    """Returns the seconds in which trials ran, whichever and however many; the pauses of a sweep do not count."""
    moment = datetime.datetime.fromisoformat
    spans = sorted((moment(row["started"]), moment(row["ended"])) for row in found if row["started"] and row["ended"])
    total, until = 0.0, None
    for began, over in spans:
        start = began if until is None else max(began, until)
        total += max(0.0, (over - start).total_seconds())
        until = over if until is None else max(until, over)
    return total


def _varying(found: list[TrialRecord]) -> list[str]:
    named = dict.fromkeys(path for row in found for path in row["fields"])
    return [path for path in named if len({json.dumps(row["fields"].get(path)) for row in found}) > 1]


def _best(study: Study, ranked: list[GroupRecord], found: list[TrialRecord]) -> BestRecord | None:
    """Returns the best configuration: its best trial, how its config differs from the base, and the command."""
    if not ranked or not ranked[0]["n"]:
        return None
    by_number = {row["number"]: row for row in found}
    members = [
        (row["value"], row) for row in map(by_number.get, ranked[0]["trials"]) if row and row["value"] is not None
    ]
    choose = max if study.plan.options.direction == "maximize" else min
    _, row = choose(members, key=lambda member: member[0])
    folder = study.folder / row["folder"]
    saved = run_dir.completed(folder, run_dir.read_json(folder / run_dir.CONFIG) or {})
    base = study.plan.base_values()
    if base:
        changed = config.differences(base, saved)
    else:
        swept = row["fields"]
        changed = [(path, study.plan.base_value(path, swept), new) for path, new in swept.items()]
    diff: list[ChangeRecord] = [
        {"path": path, "base": before, "best": now} for path, before, now in changed if before != now
    ]
    # A fold leaves pictures out: no network that is to be used trains with one.
    diff = [change for change in diff if change["path"] != FOLD or FOLD not in row["fields"]]
    whole = {path: value for path, value in row["fields"].items() if path != FOLD}
    command = study.plan.again(
        whole, study.folder.with_name(f"{study.folder.name}-best"), tests=not recorded_data.lacks(folder, "test")
    )
    return {
        "trial": row["number"],
        "fields": ranked[0]["fields"],
        "diff": diff,
        "command": command,
    }


def _csv(record: SweepJson) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    names = ("number", "status", "value", "epochs", "step", "train_seconds", "parameters", "folder", "error")
    writer.writerow([*names, *record["varying"]])
    for row in record["trials"]:
        cells = [*map(row.get, names), *map(row["fields"].get, record["varying"])]
        writer.writerow(["" if cell is None else cell for cell in cells])
    return buffer.getvalue()


def ended(study: Study) -> set[int]:
    """Returns the numbers of the trials that need no more work."""
    return {row["number"] for row in rows(study) if row["status"] in ENDED}


def rows(study: Study) -> list[TrialRecord]:
    """Returns what is known of each trial, by number; without its curves, which are long."""
    attempts: dict[int, list[FrozenTrial]] = {}
    for trial in study.trials():
        if "number" in trial.user_attrs:
            attempts.setdefault(trial.user_attrs["number"], []).append(trial)
    return [_row(study, number, tries) for number, tries in sorted(attempts.items())]


def _row(study: Study, number: int, tries: list[FrozenTrial]) -> TrialRecord:
    last, folder = tries[-1], trial_folder(number)
    result = run_dir.read_json(study.folder / folder / run_dir.RESULT)
    fields = study.fields(last)
    objective = study.plan.options.objective
    ended = outcome.of_result(result, objective) if result else None
    status = ended.status if ended else _status(last)
    split = (result or {}).get(objective.partition(".")[0], {})
    binomial = split.get("interval") if objective == "valid.accuracy" else None
    began = [one.datetime_start for one in tries if one.datetime_start]
    return {
        "number": number,
        "folder": folder,
        "status": status,
        "value": ended.value if ended else None,
        "interval": binomial,
        "fields": fields,
        "epochs": result["epochs"] if result else None,
        "step": result["step"] if result else outcome.newest_step(study.folder / folder),
        "train_seconds": result["train_seconds"] if result else None,
        "parameters": result["parameters"] if result else None,
        "stopped": result["stopped"] if result else None,
        "error": redaction.hide((ended.error if ended else "") or last.user_attrs.get("error", "")),
        "attempts": len(began),
        "worker": last.user_attrs.get("worker"),
        "started": _time(began[-1]) if began else None,
        "ended": _time(last.datetime_complete) if last.datetime_complete else None,
        "command": study.plan.line(fields, study.folder / folder),
        "curves": {},
    }


def _status(trial: FrozenTrial) -> str:
    if trial.state.name == "FAIL":
        return FAILED if trial.user_attrs.get("final") else WAITING
    return RUNNING if trial.state.name == "RUNNING" else WAITING


def _time(moment: datetime.datetime) -> str:
    # Optuna stores the worker's local time, without saying so.
    return moment.astimezone().isoformat(timespec="milliseconds")


def read_curves(workdir: Path) -> dict[str, Curve]:
    """Returns the curves of the training loss and of what validations measured; empty where there are none yet."""
    found: dict[str, Curve] = {}
    try:
        lines = (workdir / run_dir.METRICS).read_text().splitlines()
    except FileNotFoundError:
        return found
    for line in lines:
        try:
            record = json.loads(line)
        except json.JSONDecodeError:  # a line that is being written
            continue
        if record["kind"] == "epoch":
            numbers = {"train.loss": record["train"]["loss"]}
            numbers |= {f"valid.{name}": number for name, number in record.get("valid", {}).items()}
            for name, number in numbers.items():
                found.setdefault(name, []).append((record["step"], number))
    return {name: shortened(curve) for name, curve in found.items()}


def shortened(curve: Curve) -> Curve:
    """Returns at most `MOST_POINTS`: the first, the last, and the lowest and highest of equal parts between."""
    if len(curve) <= MOST_POINTS:
        return curve
    parts = (MOST_POINTS - 2) // 2
    inner = curve[1:-1]
    kept = [curve[0]]
    for part in range(parts):
        piece = inner[part * len(inner) // parts : (part + 1) * len(inner) // parts]
        ends = {id(point): point for point in (min(piece, key=lambda p: p[1]), max(piece, key=lambda p: p[1]))}
        kept += sorted(ends.values())
    return [*kept, curve[-1]]


def groups(found: Sequence[TrialRecord], direction: str) -> list[GroupRecord]:
    """Returns the trials that differ only in the seed or the fold, together; best first.

    Whole groups come before those of which a seed diverged or was pruned, and those before groups without a value.

    Args:
      found: the trials, as `sweep.json` holds them.
      direction: maximize or minimize.
    """
    together: dict[str, list[TrialRecord]] = {}
    for row in found:
        fields = {path: value for path, value in row["fields"].items() if path not in REPEATS}
        together.setdefault(json.dumps(fields), []).append(row)
    listed: list[GroupRecord] = []
    for text, members in together.items():
        apart = once(members)
        values = [row["value"] for row in apart if row["status"] == FINISHED and row["value"] is not None]
        listed.append(
            {
                "fields": json.loads(text),
                "trials": [row["number"] for row in members],
                "values": values,
                "mean": sum(values) / len(values) if values else None,
                "sd": spread(values),
                "n": len(values),
                "of": len(apart),
                "diverged": sum(row["status"] == DIVERGED for row in apart),
                "pruned": sum(row["status"] == PRUNED for row in apart),
            }
        )
    sign = -1 if direction == "maximize" else 1
    listed.sort(key=lambda group: (group["n"] == 0, group["n"] < group["of"], sign * (group["mean"] or 0)))
    return listed


def spread(values: Sequence[float]) -> float | None:
    """Returns the standard deviation of a sample, `None` of fewer than two."""
    return float(np.std(values, ddof=1)) if len(values) > 1 else None


def once(found: Sequence[TrialRecord]) -> list[TrialRecord]:
    """Returns one trial for each configuration and seed, a finished one if there is: copies are no evidence.

    In the order that they were given in.
    """
    places = {row["number"]: place for place, row in enumerate(found)}
    chosen: dict[str, TrialRecord] = {}
    for row in sorted(found, key=lambda row: row["status"] != FINISHED):
        chosen.setdefault(plan.point_key(row["fields"]), row)
    return sorted(chosen.values(), key=lambda row: places[row["number"]])


def winner(groups: Sequence[GroupRecord], differ: str = REPEATS[SEED]) -> WinnerRecord:
    """Says whether the best group is distinguishable from the second by the noise of the seeds, or of the folds.

    Groups of which all trials finished are compared where there are any.

    Args:
      groups: best first.
      differ: in what the trials of a group differ, in the plural.
    """
    all_of_them = len(groups)
    measured = [group for group in groups if group["values"]]
    # Those of which a trial diverged, was pruned or failed are ranked behind, whatever the others gave.
    whole = [group for group in measured if group["n"] == group["of"]]
    groups = whole or measured
    if len(groups) < 2:
        left_out = all_of_them - max(1, len(groups))
        others = counted(left_out, "other configuration")
        why = f": of {others} some {differ} diverged, failed or were pruned" if left_out else ""
        return {"text": f"there is nothing to compare the best with{why}"}
    best, second = (np.asarray(group["values"], float) for group in groups[:2])
    difference = abs(float(best.mean() - second.mean()))
    freedom = len(best) + len(second) - 2
    if freedom < 1:
        return {
            "text": f"best and second differ by {difference:.4g}; with one seed each nobody can tell that from noise",
            "difference": difference,
        }
    sd = math.sqrt(sum(float(np.square(values - values.mean()).sum()) for values in (best, second)) / freedom)
    real = difference > _noise(best, second, sd)
    said: WinnerRecord = {"difference": difference, "sd": sd, "real": real}
    if sd == 0:
        return {**said, "text": f"best and second differ by {difference:.4g}, and {differ} make no difference at all"}
    said["ratio"] = ratio = difference / sd
    spread = f"{ratio:.2g} times the standard deviation between {differ} ({sd:.2g})"
    text = f"the means of best and second differ by {difference:.4g}, which is {spread}"
    if real:
        compared = len(groups)
        choice = f"; it is the best of {compared}, so new {differ} will flatter it less" if compared > 2 else ""
        return {**said, "text": f"{text}: distinguishable at {CONFIDENCE:.0%}{choice}"}
    if ratio == 0 or differ != REPEATS[SEED]:  # there are no more folds
        return {**said, "text": f"{text}: not distinguishable"}
    needed = math.ceil(2 * (DEVIATIONS / ratio) ** 2)
    more = max(1, needed - min(len(best), len(second)))
    said["seeds_needed"] = needed
    return {**said, "text": f"{text}: not distinguishable; about {counted(more, 'more seed')} each would be needed"}


def _noise(best: np.ndarray, second: np.ndarray, sd: float) -> float:
    """Returns how far the means of two samples lie apart by chance in at most a share of `CONFIDENCE` of all cases.

    By the noise of these two alone, and their own where both have some (Welch 1947, Biometrika 34): what learned
    nothing, or diverges, is far less or far more noisy than what is compared.
    """
    if min(len(best), len(second)) < 2:
        error, freedom = sd * math.sqrt(1 / len(best) + 1 / len(second)), float(len(best) + len(second) - 2)
    else:
        parts = [float(values.var(ddof=1)) / len(values) for values in (best, second)]
        error = math.sqrt(sum(parts))
        if error == 0:
            return 0.0
        freedom = sum(parts) ** 2 / sum(
            part**2 / (len(values) - 1) for part, values in zip(parts, (best, second), strict=True)
        )
    return error * float(scipy.special.stdtrit(freedom, (1 + CONFIDENCE) / 2))


def importance(rows: Sequence[Mapping[str, Any]], values: Sequence[float], *, grid: bool) -> ImportanceRecord:
    """Returns how much each field went with the objective; descriptive, not causal.

    Args:
      rows: the fields of each finished trial.
      values: its objective.
      grid: whether all combinations were run: then the share of variance of each field alone, eta squared; otherwise
        the absolute rank correlation, of fields that are numbers.
    """
    if len(values) < LEAST:
        finished = f"{counted(len(values), 'finished trial')} {'is' if len(values) == 1 else 'are'}"
        return {
            "text": f"hidden: {finished} fewer than {LEAST}",
            "n": len(values),
            "factors": [],
        }
    measured = _eta if grid else _spearman
    rng = np.random.default_rng(0)
    draws = rng.integers(0, len(values), (RESAMPLES, len(values)))
    numbers = np.asarray(values, float)
    factors: list[FactorRecord] = []
    for path in dict.fromkeys(path for row in rows for path in row):
        column = _codes([row.get(path) for row in rows], grid)
        if column is None or len(set(column)) < 2:
            continue
        share = measured(column, numbers)
        shares = np.array([measured(column[draw], numbers[draw]) for draw in draws])
        # A sample of a sample has some rows twice, and so larger shares.
        shares += share - shares.mean()
        low, high = np.clip(np.quantile(shares, [(1 - LEVEL) / 2, (1 + LEVEL) / 2]), 0, 1)
        factors.append({"path": path, "share": share, "low": float(low), "high": float(high)})
    factors.sort(key=lambda factor: factor["share"], reverse=True)
    method = "share of variance (eta squared)" if grid else "absolute rank correlation (Spearman)"
    caveat = "descriptive, not causal; 90 % bootstrap intervals"
    return {"method": method, "caveat": caveat, "n": len(values), "factors": factors}


def _codes(column: Sequence[Any], grid: bool) -> np.ndarray | None:
    numeric = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in column)
    if not grid:
        return np.asarray(column, float) if numeric else None
    names = {value: code for code, value in enumerate(dict.fromkeys(map(repr, column)))}
    return np.array([names[repr(value)] for value in column])


def _eta(column: np.ndarray, values: np.ndarray) -> float:
    centred = values - values.mean()
    total = float(np.square(centred).sum())
    if total == 0:
        return 0.0
    counts, sums = np.bincount(column), np.bincount(column, centred)
    return float((np.square(sums) / np.maximum(1, counts)).sum()) / total


def _spearman(column: np.ndarray, values: np.ndarray) -> float:
    if len(set(column)) < 2 or len(set(values)) < 2:
        return 0.0
    return abs(float(np.corrcoef(mean_ranks(column), mean_ranks(values))[0, 1]))


def recount(folder: Path) -> None:
    """Counts the trials of a sweep again where an earlier version counted copies of one as further seeds.

    Raises:
      BrokenFile: `sweep.json` is not what this software wrote.
    """
    record = run_dir.read_json(folder / RECORD)
    if record is None or not {"trials", "groups", "direction", "importance"} <= set(record):
        return
    counted = {group["n"] for group in record["groups"]}
    found = record["trials"]
    ranked = groups(found, record["direction"])
    if len(once(found)) == len(found) or counted == {group["n"] for group in ranked}:
        return
    said, mattered = winner(ranked, repeats(_varying(found))), importance(*_finished(found), grid=False)
    run_dir.write_json(folder / RECORD, {**record, "groups": ranked, "winner": said, "importance": mattered})
