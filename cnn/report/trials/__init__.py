"""The page of a sweep, `report.html` in its folder: one file, written from `sweep.json` alone, without JAX."""

from collections.abc import Callable
from pathlib import Path

from cnn import rundir
from cnn.report import page
from cnn.report.part import Part
from cnn.report.trials import again, curves, findings, head, parallel, ranking, record, single, timeline
from cnn.report.trials.record import Sweep

PAGE = "report.html"

SECTIONS: tuple[Callable[[Sweep], Part | None], ...] = (
    ranking.build,
    parallel.build,
    curves.build,
    single.build,
    findings.build_mattered,
    findings.build_winner,
    timeline.build,
    again.build_failures,
    again.build_again,
)


def write(folder: Path, *, running: bool = False) -> Path:
    """Writes a sweep's page at once; equal files of the sweep give equal bytes.

    Args:
      folder: the sweep's directory.
      running: whether a process works at it.

    Returns:
      The page's path.

    Raises:
      ConfigError: the directory holds no sweep, or one that nothing was recorded of.
      BrokenFile: its record is damaged.
      OSError: the page cannot be written.
    """
    sweep = record.read(folder, running=running)
    parts = [part for build in SECTIONS if (part := build(sweep)) is not None]
    rundir.write(folder / PAGE, page.assemble(sweep.name, head.build(sweep), parts, kind="sweep"))
    return folder / PAGE


def best(folder: Path, count: int) -> list[Path]:
    """Returns the directories of the best trial of each of the best configurations, so many at most."""
    sweep = record.read(folder)
    firsts = [
        next((number for number in sweep.ranked if number in group["trials"]), None) for group in sweep.groups[:count]
    ]
    return [folder / sweep.by_number[number]["folder"] for number in firsts if number is not None]
