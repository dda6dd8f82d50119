"""Writes the page of a sweep, `report.html` in its folder: one file, from `sweep.json` alone, without JAX.

A section is a function of the sweep's record in a module of this folder that returns a `PageSection`, or `None` where
there is nothing to show; `SECTIONS` lists them in the order of the page.
"""

from collections.abc import Callable
from pathlib import Path

from cnn.report import html, run_page
from cnn.report.html import PageSection
from cnn.report.sweep import again, curves, findings, headline, parallel, ranking, single, sweep_files, timeline
from cnn.report.sweep.sweep_files import SweepFiles
from cnn.runs import run_dir

BEST = 3
"""The best trial of so many configurations gets a page of its own with the sweep's."""

SECTIONS: tuple[Callable[[SweepFiles], PageSection | None], ...] = (
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
    """Writes a sweep's page, each file at once; equal files of the sweep give equal bytes.

    Args:
      folder: the sweep's directory.
      running: whether a process works at it; figures for papers are drawn when it has ended.

    Returns:
      The page's path.

    Raises:
      ConfigError: the directory holds no sweep, or one that nothing was recorded of.
      BrokenFile: its record is damaged.
      OSError: the page cannot be written.
    """
    sweep = sweep_files.read(folder, running=running)
    sections = built(sweep)
    if not running:
        run_page.write_figures(folder / run_dir.FIGURES, html.figures(sections))
    run_dir.write(folder / run_dir.PAGE, drawn(sweep, sections))
    return folder / run_dir.PAGE


def built(sweep: SweepFiles) -> list[PageSection]:
    """Returns the sections that have something to show."""
    return [section for build in SECTIONS if (section := build(sweep)) is not None]


def drawn(sweep: SweepFiles, sections: list[PageSection]) -> bytes:
    """Returns the page as the bytes of a file."""
    return html.assemble(sweep.name, headline.build(sweep), sections, kind="sweep")


def write_best(folder: Path) -> None:
    """Writes the pages of the best trials, as far as they have none, so that the sweep's links to them.

    Not their figures: these take as long as all else, and are drawn with the page that the user asks for.

    Raises:
      ConfigError: the directory holds no sweep, or one that nothing was recorded of.
      OSError: a page cannot be written.
    """
    sweep = sweep_files.read(folder)
    for group in sweep.groups[:BEST]:
        number = next((number for number in sweep.ranked if number in group["trials"]), None)
        workdir = folder / sweep.by_number[number]["folder"] if number is not None else None
        if workdir and (workdir / run_dir.CONFIG).is_file() and not (workdir / run_dir.PAGE).is_file():
            run_page.write(workdir, figures=False)
