"""The ranking of a sweep: from the trials' run directories to `sweep.json` and `sweep.csv`."""

import csv
import datetime
import io
import json
from collections.abc import Callable
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from cnn.config import config
from cnn.runs import run_dir
from cnn.sweep import curves, outcome, stats
from cnn.sweep.board import Board
from cnn.sweep.grouping import groups, once
from cnn.sweep.plan import RECORD, TRIALS
from cnn.sweep.session import Session
from cnn.system import redaction

CSV = "sweep.csv"
ENDED = (outcome.FINISHED, outcome.PRUNED, outcome.DIVERGED, outcome.FAILED)


def ended(board: Board) -> set[int]:
    """Returns the numbers of the trials that need no more work."""
    return {row["number"] for row in rows(board) if row["status"] in ENDED}


def rows(board: Board) -> list[dict[str, Any]]:
    """Returns what is known of each trial, by number."""
    attempts: dict[int, list[FrozenTrial]] = {}
    for trial in board.trials():
        if "number" in trial.user_attrs:
            attempts.setdefault(trial.user_attrs["number"], []).append(trial)
    return [_row(board, number, tries) for number, tries in sorted(attempts.items())]


def _row(board: Board, number: int, tries: list[FrozenTrial]) -> dict[str, Any]:
    last, folder = tries[-1], f"{TRIALS}/{number:04}"
    result = run_dir.read_json(board.folder / folder / run_dir.RESULT)
    fields = json.loads(last.user_attrs["fields"])
    objective = board.plan.options.objective
    ended = outcome.of_result(result, objective) if result else None
    status = ended.status if ended else _status(last)
    split = (result or {}).get(objective.partition(".")[0], {})
    binomial = split.get("interval") if objective.endswith("accuracy") else None
    began = [one.datetime_start for one in tries if one.datetime_start]
    return {
        "number": number,
        "folder": folder,
        "status": status,
        "value": ended.value if ended else None,
        "interval": binomial,
        "fields": fields,
        "epochs": result["epochs"] if result else None,
        "step": result["step"] if result else outcome.newest_step(board.folder / folder),
        "train_seconds": result["train_seconds"] if result else None,
        "parameters": result["parameters"] if result else None,
        "stopped": result["stopped"] if result else None,
        "error": redaction.hide((ended.error if ended else "") or last.user_attrs.get("error", "")),
        "attempts": len(began),
        "worker": last.user_attrs.get("worker"),
        "started": _time(began[-1]) if began else None,
        "ended": _time(last.datetime_complete) if last.datetime_complete else None,
        "command": board.plan.line(fields, board.folder / folder),
    }


def _status(trial: FrozenTrial) -> str:
    if trial.state == TrialState.FAIL:
        return outcome.FAILED if trial.user_attrs.get("final") else "waiting"
    return "running" if trial.state == TrialState.RUNNING else "waiting"


def _time(moment: datetime.datetime) -> str:
    # Optuna stores the worker's local time, without saying so.
    return moment.astimezone().isoformat(timespec="milliseconds")


def write(board: Board, session: Session, follow: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """Writes `sweep.json` and `sweep.csv`, calls `follow`, which reads them, and returns what the former holds."""
    plan, found = board.plan, rows(board)
    ranked = groups(found, plan.options.direction)
    for row in found:
        row["curves"] = curves.read(board.folder / row["folder"])
    finished = [row for row in once(found) if row["status"] == outcome.FINISHED]
    whole = plan.is_grid and len(finished) == plan.size
    counts = {status: sum(row["status"] == status for row in found) for status in (*ENDED, "running", "waiting")}
    record = {
        "schema": 1,
        "name": board.folder.resolve().name,
        "study": board.study.study_name,
        "objective": plan.options.objective,
        "direction": plan.options.direction,
        "size": max(plan.size, len(found)),
        "counts": {status: count for status, count in counts.items() if count},
        "seconds": _seconds(found),
        "space": plan.json["space"],
        "options": plan.json["options"],
        "varying": _varying(found),
        "engine": session.about,
        "trials": found,
        "groups": ranked,
        "winner": stats.winner(ranked),
        "importance": stats.importance(
            [row["fields"] for row in finished], [row["value"] for row in finished], grid=whole
        ),
        "best": _best(board, ranked, found),
    }
    run_dir.write_json(board.folder / RECORD, record)
    run_dir.write(board.folder / CSV, _csv(record).encode())
    follow()
    return record


def _seconds(found: list[dict[str, Any]]) -> float:
    """Returns the seconds from the first start of a trial to the last end of one."""
    began = [datetime.datetime.fromisoformat(row["started"]) for row in found if row["started"]]
    over = [datetime.datetime.fromisoformat(row["ended"]) for row in found if row["ended"]]
    return max(0.0, (max(over) - min(began)).total_seconds()) if began and over else 0.0


def _varying(found: list[dict[str, Any]]) -> list[str]:
    named = dict.fromkeys(path for row in found for path in row["fields"])
    return [path for path in named if len({json.dumps(row["fields"].get(path)) for row in found}) > 1]


def _best(board: Board, ranked: list[dict[str, Any]], found: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Returns the best configuration: its best trial, how its config differs from the base, and the command."""
    if not ranked or not ranked[0]["n"]:
        return None
    members = [row for row in found if row["number"] in ranked[0]["trials"] and row["value"] is not None]
    choose = max if board.plan.options.direction == "maximize" else min
    row = choose(members, key=lambda row: row["value"])
    saved = run_dir.completed(run_dir.read_json(board.folder / row["folder"] / run_dir.CONFIG) or {})
    base = board.plan.base_values()
    changed = config.differences(base, saved) if base else [(path, None, new) for path, new in row["fields"].items()]
    diff = [{"path": path, "base": before, "best": now} for path, before, now in changed]
    command = board.plan.again(row["fields"], board.folder.with_name(f"{board.folder.name}-best"))
    return {
        "trial": row["number"],
        "fields": ranked[0]["fields"],
        "diff": diff,
        "command": command,
    }


def _csv(record: dict[str, Any]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    names = ("number", "status", "value", "epochs", "step", "train_seconds", "parameters", "folder", "error")
    writer.writerow([*names, *record["varying"]])
    for row in record["trials"]:
        cells = [*(row[name] for name in names), *(row["fields"].get(path) for path in record["varying"])]
        writer.writerow(["" if cell is None else cell for cell in cells])
    return buffer.getvalue()
