"""The page of a run, `report.html`: one file, written from the run's files alone, without JAX.

A section is a function of the run's files in a module of its own that returns a `PageSection`, or `None` where there is
nothing to show; `SECTIONS` lists them in the order of the page.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from markupsafe import Markup

from cnn.report import (
    activations,
    calibration,
    confusion,
    curves,
    filter_bench,
    first_layer,
    headline,
    html,
    mistakes,
    network,
    per_class,
    reproduce,
    run_files,
    watched,
)
from cnn.report.html import Figure, PageSection
from cnn.report.journey import practice
from cnn.report.journey import section as journey_section
from cnn.report.run_files import RunFiles
from cnn.runs import run_dir

PAGE, FIGURES = run_dir.PAGE, run_dir.FIGURES

SECTIONS: tuple[Callable[[RunFiles], PageSection | None], ...] = (
    curves.build,
    watched.build,
    network.build,
    confusion.build,
    mistakes.build,
    calibration.build,
    per_class.build,
    first_layer.build,
    activations.build,
    journey_section.build,
    practice.build,
    filter_bench.build,
    reproduce.build,
)


def write(workdir: Path, *, running: bool = False, figures: bool = True) -> Path:
    """Writes a run's page and its figures, each file at once; equal files of the run give equal bytes.

    Args:
      workdir: the run's directory.
      running: whether a process trains it.
      figures: whether to write the files for papers, too.

    Returns:
      The page's path.

    Raises:
      ConfigError: the directory holds no run, or its config is not valid.
      OSError: the page cannot be written.
    """
    run = run_files.read(workdir, running=running)
    about = headline.build(run)
    sections = _sections(run, about)
    if figures:
        write_figures(workdir / FIGURES, html.figures(sections))
    _replace(workdir / PAGE, html.assemble(run.name, about, sections, kind="run"))
    return workdir / PAGE


def write_figures(folder: Path, figures: Mapping[str, Figure]) -> None:
    """Writes files that differ; what takes long to draw only where the same drawing in another format changed.

    Raises:
      OSError: one cannot be written.
    """
    folder.mkdir(exist_ok=True)
    ready = {name: content for name, content in figures.items() if not callable(content)}
    changed = {Path(name).stem for name, content in ready.items() if _differs(folder / name, content)}
    # What is drawn goes first: if it cannot be written, the old file beside it still says that it is missing.
    for name, draw in figures.items():
        if callable(draw) and (Path(name).stem in changed or not (folder / name).is_file()):
            run_dir.write(folder / name, draw())
    for name, content in ready.items():
        if Path(name).stem in changed:
            _replace(folder / name, content)


def _differs(path: Path, content: bytes) -> bool:
    return not path.is_file() or path.read_bytes() != content


def _sections(run: RunFiles, about: Markup) -> list[PageSection]:
    """Returns the sections; the journey, which may leave images out, is told how large the others are."""
    built = {build: build(run) for build in SECTIONS if build is not journey_section.build}

    def size() -> int:
        others = [section for section in built.values() if section is not None]
        return len(html.assemble(run.name, about, others, kind="run"))

    built[journey_section.build] = journey_section.build(run, size)
    return [section for build in SECTIONS if (section := built[build]) is not None]


def _replace(path: Path, content: bytes) -> None:
    """Writes a file that differs."""
    if _differs(path, content):
        run_dir.write(path, content)
