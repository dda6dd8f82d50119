"""Writes the page of a sweep, `report.html` in its folder: one file, from `sweep.json` alone, without JAX.

A section is a function of the sweep's record in a module of `cnn.report.trials` that returns a `Part`, or `None` where
there is nothing to show; `SECTIONS` lists them in the order of the page.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from cnn import report, rundir
from cnn.report import chart, page, text
from cnn.report.part import Part
from cnn.report.trials import again, curves, figures, findings, head, parallel, ranking, record, single, timeline
from cnn.report.trials.record import Sweep

BEST = 3
"""The best trial of so many configurations gets a page of its own with the sweep's."""

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


def prepare() -> None:
    """Compiles the templates and draws something, which the first page of a process waits for otherwise."""
    text.compile_templates()
    chart.files("axes", (96, 96), _axes)


def _axes(figure: Any, _: chart.Ink) -> None:
    figure.subplots()


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
    sweep = record.read(folder, running=running)
    if not running:
        report.write_figures(folder / report.FIGURES, figures.draw(sweep))
    rundir.write(folder / report.PAGE, drawn(sweep))
    return folder / report.PAGE


def drawn(sweep: Sweep) -> bytes:
    """Returns the page as the bytes of a file."""
    parts = [part for build in SECTIONS if (part := build(sweep)) is not None]
    return page.assemble(sweep.name, head.build(sweep), parts, kind="sweep")


def write_best(folder: Path) -> None:
    """Writes the pages of the best trials, as far as they have none, so that the sweep's links to them.

    Not their figures: these take as long as all else, and are drawn with the page that somebody asks for.

    Raises:
      ConfigError: the directory holds no sweep, or one that nothing was recorded of.
      OSError: a page cannot be written.
    """
    sweep = record.read(folder)
    for group in sweep.groups[:BEST]:
        number = next((number for number in sweep.ranked if number in group["trials"]), None)
        workdir = folder / sweep.by_number[number]["folder"] if number is not None else None
        if workdir and (workdir / rundir.CONFIG).is_file() and not (workdir / report.PAGE).is_file():
            report.write(workdir, figures=False)
