"""`predict`: the classes of the user's own pictures."""

import csv
import io
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cnn.api import reading
from cnn.cli import parser, printing
from cnn.config.config import Config, ConfigError
from cnn.data.user_images import UnreadableImage
from cnn.runs import recorded_data
from cnn.system.exit_codes import DONE, WRONG
from cnn.system.text import plain

if TYPE_CHECKING:
    from cnn.evaluate import Prediction

FORMULA_STARTS = ("=", "+", "-", "@")


def run(values: Config, workdir: Path, flags: Mapping[str, str], *, words: Sequence[str]) -> int:
    """Prints what the network takes each picture for; a picture that cannot be read stops no other.

    Returns:
      0, or 2 where a picture could not be read.

    Raises:
      ConfigError: no picture is named, a flag is wrong, or nothing is saved yet.
      BrokenFile: `run.json` is not what this software wrote.
    """
    top = _checked(values, flags, words)
    names = recorded_data.class_names(workdir, values.data.classes)
    outcomes = reading.predict_files(values, workdir, words, flags.get("weights"), flags.get("invert", "auto"))
    if "csv" in flags:
        _print_row(
            "picture", *(f"{what}{n}" for n in range(1, top + 1) for what in ("class", "probability")), "notes", "error"
        )
    failed = False
    for outcome in outcomes:
        if isinstance(outcome, UnreadableImage):
            failed = True
            sys.stdout.flush()
            print(f"picture {plain(repr(outcome.path))}: {plain(outcome.reason)}", file=sys.stderr)
        _report(outcome, names, top, flags)
    return WRONG if failed else DONE


def _checked(values: Config, flags: Mapping[str, str], words: Sequence[str]) -> int:
    """Returns how many classes to show."""
    problems = []
    classes, channels = values.data.classes, values.data.image_shape[2]
    if not words:
        problems.append("predict: names no picture. Write python main.py predict --workdir=DIR PICTURE_OR_FOLDER...")
    if "json" in flags and "csv" in flags:
        problems.append("--csv: is given with --json. Keep one")
    text = flags.get("top", "5")
    if not parser.is_number(text):
        problems.append(f"--top: must be a whole number from 1, got {text!r}")
    if channels not in (1, 3):
        problems.append(f"--workdir: pictures have 1 channel (grey) or 3 (colour), and the run's images {channels}")
    if problems:
        raise ConfigError(problems)
    return min(int(text), classes)


def _report(outcome: "Prediction | UnreadableImage", names: Sequence[str], top: int, flags: Mapping[str, str]) -> None:
    best: list[tuple[int, str, float]] = []
    notes: Sequence[str] = ()
    error: str | None = None
    if isinstance(outcome, UnreadableImage):
        error = outcome.reason
    else:
        shares = outcome.probabilities
        best = [(index, names[index], float(shares[index])) for index in outcome.best(top)]
        notes = outcome.notes
    if "json" in flags:
        _print_json(outcome, best, notes, error)
    elif "csv" in flags:
        cells = [cell for _, name, share in best for cell in (name, f"{share:.6f}")]
        _print_row(outcome.path, *cells, *[""] * (2 * (top - len(best))), "; ".join(notes), error or "")
    elif not isinstance(outcome, UnreadableImage):
        printing.prediction(outcome.path, outcome.image, notes, [(name, share) for _, name, share in best])


def _print_json(
    outcome: "Prediction | UnreadableImage",
    best: Sequence[tuple[int, str, float]],
    notes: Sequence[str],
    error: str | None,
) -> None:
    record: dict[str, object] = {"picture": outcome.path}
    if isinstance(outcome, UnreadableImage):
        record["error"] = error
    else:
        record["class"], record["probability"] = best[0][1:]
        record["best"] = [
            {"class": name, "index": index, "probability": share, "logit": float(outcome.logits[index])}
            for index, name, share in best
        ]
        record["logits"] = [float(logit) for logit in outcome.logits]
        record["notes"] = list(notes)
    # JSON leaves the control character DEL as it is.
    print(json.dumps(record, allow_nan=False).replace("\x7f", "\\u007f"))


def _print_row(*cells: str) -> None:
    """Prints a line of CSV; no cell can steer a terminal, or is a formula to a spreadsheet."""
    line = io.StringIO()
    safe = [plain(cell) for cell in cells]
    csv.writer(line, lineterminator="").writerow(
        [f"'{cell}" if cell.startswith(FORMULA_STARTS) else cell for cell in safe]
    )
    print(line.getvalue())
