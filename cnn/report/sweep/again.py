"""What failed and how to try it alone; how to get the best trial, and the whole sweep, again."""

import json
import shlex
from collections.abc import Mapping
from typing import Any

from cnn.report import escape
from cnn.report.html import PageSection
from cnn.report.reproduce import HIDDEN, SECRET, hidden_words
from cnn.report.sweep.sweep_files import SweepFiles
from cnn.runs.sweep_record import DIVERGED, FAILED, SEED
from cnn.system import redaction

MOST = 200
"""So many trials that failed are listed; the rest is counted."""


def build_failures(sweep: SweepFiles) -> PageSection | None:
    """Returns the trials that failed or diverged, each with the command that runs it alone; `None` without any."""
    found = [trial for trial in sweep.trials if trial["status"] in (FAILED, DIVERGED)]
    if not found:
        return None
    rows = [
        {
            "number": trial["number"],
            "status": trial["status"],
            "error": escape.visible(trial["error"] or "nothing was said"),
            "step": trial["step"],
            "attempts": trial["attempts"],
            "command": hidden(trial["command"]),
        }
        for trial in found[:MOST]
    ]
    html = escape.render("sweep_failures.html.j2", rows=rows, left_out=len(found) - len(rows))
    return PageSection("failures", "What failed", html, short="Failures")


def build_again(sweep: SweepFiles) -> PageSection:
    """Returns the best configuration as a difference and a command, and what the sweep was asked for."""
    best = sweep.about.get("best")
    diff = [(f"config.{row['path']}", _shown(row, "base"), _shown(row, "best")) for row in (best or {}).get("diff", [])]
    asked = {"space": sweep.about.get("space"), **(sweep.about.get("options") or {})}
    html = escape.render(
        "sweep_again.html.j2",
        best=best and best["trial"],
        trial=best and sweep.by_number[best["trial"]]["folder"],
        diff=[row for row in diff if row[0] != f"config.{SEED}"] or diff,
        command=hidden(best["command"]) if best else "",
        asked=escape.visible_lines(json.dumps(asked, indent=2, ensure_ascii=False)),
        folder=escape.visible(sweep.folder),
        study=escape.visible(sweep.about.get("study", "")),
    )
    return PageSection("reproduce", "Reproduce", html)


def hidden(command: str) -> str:
    """Returns a command for a shell with secrets hidden; in one that cannot be split, the passwords in URLs."""
    try:
        return escape.visible(shlex.join(hidden_words(shlex.split(command))))
    except ValueError:
        return escape.visible(redaction.hide(command))


def _shown(row: Mapping[str, Any], key: str) -> str:
    if SECRET.search(row["path"]):
        return HIDDEN
    return escape.shortened(escape.value(row[key]), 400)
