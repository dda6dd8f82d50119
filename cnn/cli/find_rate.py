"""`find-rate`: short trainings at many learning rates, and which one to begin with."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from cnn.api import find_rate
from cnn.cli import parser, tables
from cnn.config.config import Config, ConfigError
from cnn.sweep import rate_curve
from cnn.system.console import Console
from cnn.system.exit_codes import DIVERGED, DONE
from cnn.system.text import plain


class _Asked(NamedTuple):
    rates: tuple[float, ...] | None
    steps: int | None
    seeds: int | None


def run(config: Config, workdir: Path, flags: Mapping[str, str]) -> int:
    """Prints the losses by rate and the suggestion, and writes them with a picture.

    Returns:
      0, or 3 where no rate is suggested.

    Raises:
      ConfigError: a flag is wrong, the optimizer has no traced learning rate, or the directory is that of a run.
      DataError: the data are missing or unlike the config.
    """
    asked = _asked(flags)
    with _bar() as bar:
        task = bar.add_task("")

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        found = find_rate.find(config, **asked._asdict(), workdir=workdir, progress=progress)
    found.save(workdir)
    header, rows = found.rows()
    curve = found.curve
    print(
        f"{len(curve.rates)} rates x {len(curve.seeds)} seeds, each trained for {curve.steps:,} of a run's "
        f"{curve.whole:,} steps, with its whole schedule; {curve.measured} before training: {curve.untrained:.4f}"
    )
    tables.table(header, rows, right=header[:-1], title=1)
    print(found.said())
    if found.suggestion is not None:
        print(f"    --config.optimizer.learning_rate={found.suggestion:.3g}")
    print(plain(f"the picture and the numbers are in {workdir}"))
    return DONE if found.suggestion is not None else DIVERGED


def _bar() -> Progress:
    console = Console(stderr=True, highlight=False)
    return Progress(
        TextColumn("trainings"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        disable=not console.is_terminal,
        transient=True,
    )


def _asked(flags: Mapping[str, str]) -> _Asked:
    """Returns what the flags ask for; all that is wrong with them is raised together."""
    problems: list[str] = []
    numbers: dict[str, int | None] = {"steps": None, "seeds": None}
    for name, example in (("steps", 300), ("seeds", 3)):
        if name in flags:
            if parser.is_number(flags[name]):
                numbers[name] = int(flags[name])
            else:
                problems.append(f"--{name}: must be a number above 0, got {flags[name]!r}. Write --{name}={example}")
    rates = None
    if "rates" in flags:
        rates = _rates(flags["rates"])
        if rates is None:
            problems.append(
                f"--rates: must be FROM:TO, two learning rates with 0 < FROM < TO, or FROM:TO:HOW_MANY with at most "
                f"{rate_curve.MOST_RATES}, got {flags['rates']!r}. Write --rates=1e-4:1e-1"
            )
    if problems:
        raise ConfigError(problems)
    return _Asked(rates, numbers["steps"], numbers["seeds"])


def _rates(text: str) -> tuple[float, ...] | None:
    """Returns the rates that a flag asks for, `None` where it is wrong."""
    low, _, rest = text.partition(":")
    high, counted, count = rest.partition(":")
    try:
        ends = float(low), float(high)
    except ValueError:
        return None
    if not 0 < ends[0] < ends[1] < float("inf") or (counted and not parser.is_number(count, 2)):
        return None
    if counted and int(count) > rate_curve.MOST_RATES:
        return None
    rates = rate_curve.ladder(*ends, int(count) if counted else None)
    return rates if len(set(rates)) == len(rates) <= rate_curve.MOST_RATES else None
