"""`verify`: a run's steps once more, compared bit by bit, and its receipt."""

import sys
from collections.abc import Mapping
from pathlib import Path

from cnn.cli import parser
from cnn.config.config import Config, ConfigError
from cnn.runs import receipt
from cnn.system.exit_codes import DIFFERS, DONE, WRONG
from cnn.system.text import plain


def run(config: Config, workdir: Path, flags: Mapping[str, str]) -> int:
    """Verifies, and prints what came of it; returns 0 for the same, 1 for another, 2 where that cannot be told here.

    Raises:
      ConfigError: nothing is saved yet, no such step is kept, or the receipt is none.
      DataError: the data are missing or unlike the config.
    """
    start, steps, stated = _checked(flags)
    from cnn.train import verify  # JAX takes a second to import

    found = verify.verify(
        config,
        workdir,
        start=start,
        steps=steps,
        stated=stated,
        data_dir=flags.get("data_dir"),
        data_file=flags.get("data_file"),
    )
    name, made = plain(str(workdir)), f"steps {found.first + 1:,} to {found.last:,}"
    if not found.comparable:
        print(f"{name}: not comparable: {plain(str(found.difference))}", file=sys.stderr)
        return WRONG
    if found.difference is not None:
        print(f"{name}: not the same: {plain(found.difference)}")
        return DIFFERS
    if not found.whole:
        print(f"{name}: the same, bit for bit, in {made}")
        return DONE
    print(f"{name}: the same, bit for bit, in all {found.last:,} steps and its evaluations")
    print(found.receipt)
    return DONE


def _checked(flags: Mapping[str, str]) -> tuple[int, int | None, receipt.Receipt | None]:
    problems = []
    for name, least in (("from", 0), ("steps", 1)):
        text = flags.get(name, str(least))
        if not parser.is_number(text, least):
            problems.append(f"--{name}: must be a number of steps, at least {least}, got {text!r}")
    if problems:
        raise ConfigError(problems)
    stated = receipt.parse(flags["receipt"]) if "receipt" in flags else None
    return int(flags.get("from", 0)), int(flags["steps"]) if "steps" in flags else None, stated
