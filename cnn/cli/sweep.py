"""`sweep`: the trials of a space, run and ranked; again, it continues or reports."""

import sys
from collections.abc import Mapping
from pathlib import Path

from cnn.cli import printing
from cnn.sweep import listing, starts
from cnn.sweep.plan import Plan
from cnn.system.text import plain


def run(plan: Plan, workdir: Path, flags: Mapping[str, str]) -> int:
    """Runs what is missing of a sweep and prints the ranking; with `sweep.print` only lists the trials.

    Returns:
      0; or 1 where a trial could not be run.
    """
    if flags.get("sweep.print") == "true":
        print("\n".join(plain(line) for line in listing.lines(plan, workdir)))
        return 0
    starts.check(plan, workdir)
    sys.stdout.flush()
    from cnn.sweep import driver  # JAX takes seconds to import

    record = driver.run(plan, workdir, flags.get("storage", ""))
    printing.ranking(record, workdir)
    return 1 if record["counts"].get("failed") else 0
