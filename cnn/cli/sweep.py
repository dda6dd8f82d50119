"""`sweep`: the trials of a space, run and ranked; again, it continues or reports."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cnn.api.folds import out_of_fold
from cnn.cli import parser, printing
from cnn.config.config import ConfigError
from cnn.data.types import DataError
from cnn.registry import ExtensionError
from cnn.runs import run_dir
from cnn.runs.sweep_record import FOLDS_CSV, RECORD, SweepJson
from cnn.sweep import declaration, folds, local_workers
from cnn.sweep.plan import Plan, check, lines
from cnn.system.exit_codes import DIFFERS, DONE
from cnn.system.preemption import Preemption
from cnn.system.text import plain


def run(plan: Plan, workdir: Path, flags: Mapping[str, str]) -> int:
    """Runs what is missing of a sweep and prints the ranking; with `sweep.print` only lists the trials.

    A command that says more than the folder declares lets the sweep grow.

    Returns:
      0; or 1 where a trial could not be run; of several workers the worst exit code.
    """
    grown = declaration.joined(plan, workdir)
    if flags.get("sweep.print") == "true":
        print("\n".join(plain(line) for line in lines(grown, workdir)))
        return 0
    check(grown, workdir)
    if plan.request.note:
        print(plain(plan.request.note), file=sys.stderr)
    on_record = parser.tracker(flags)
    sys.stdout.flush()
    if plan.options.workers > 1 and not local_workers.is_copy():
        declaration.declare(plan, workdir)  # once for all: a copy that begins late adds nothing again
        codes = local_workers.run(plan.options.workers)
        written: Any = run_dir.read_json(workdir / RECORD)
        if written and min(codes) <= DIFFERS:  # to whom nothing was left to do
            printing.ranking(written, workdir)
            _out_of_fold(written, workdir)
        return max(codes)
    from cnn.sweep import run as sweep_run  # JAX takes seconds to import

    with Preemption() as interruption:
        if local_workers.is_copy():
            local_workers.follow(interruption)
        record = sweep_run.run(plan, workdir, flags.get("storage", ""), interruption, on_record)
    printing.ranking(record, workdir)
    if not local_workers.is_copy():
        _out_of_fold(record, workdir)
    return DIFFERS if record["counts"].get("failed") else DONE


def _out_of_fold(record: SweepJson, workdir: Path) -> None:
    """Writes and says what a sweep over folds predicted out of fold, or why it cannot."""
    if not folds.is_over_folds(record):
        return
    try:
        lines = folds.said(folds.known(record, workdir) or out_of_fold(workdir).record)
    except (ConfigError, DataError, ExtensionError, run_dir.BrokenFile, OSError) as error:
        print(plain(f"no {FOLDS_CSV}: {error}"))
        return
    for line in lines:
        print(line)
    print(plain(f"each of them, with its probabilities, is in {workdir / FOLDS_CSV}"))
