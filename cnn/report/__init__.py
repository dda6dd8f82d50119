"""The page of a run, `report.html`: one file, written from the run's files alone, without JAX.

A section is a function of the run's files in a module of its own that returns a `Part`, or `None` where there is
nothing to show; `SECTIONS` lists them in the order of the page.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

from markupsafe import Markup

from cnn import rundir
from cnn.report import (
    activations,
    bench,
    calibration,
    confusion,
    curves,
    files,
    filters,
    head,
    journey,
    mistakes,
    network,
    page,
    reproduce,
)
from cnn.report.files import Run
from cnn.report.part import Figure, Part

PAGE = "report.html"
FIGURES = "figures"

SECTIONS: tuple[Callable[[Run], Part | None], ...] = (
    curves.build,
    network.build,
    confusion.build,
    mistakes.build,
    calibration.build,
    calibration.build_classes,
    filters.build,
    activations.build,
    journey.build,
    bench.build,
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
    run = files.read(workdir, running=running)
    about = head.build(run)
    parts = _parts(run, about)
    for part in parts if figures else ():
        write_figures(workdir / FIGURES, part.figures() if callable(part.figures) else part.figures)
    _replace(workdir / PAGE, page.assemble(f"{run.name}", about, parts, kind="run"))
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
            rundir.write(folder / name, draw())
    for name, content in ready.items():
        if Path(name).stem in changed:
            _replace(folder / name, content)


def _differs(path: Path, content: bytes) -> bool:
    return not path.is_file() or path.read_bytes() != content


def _parts(run: Run, about: Markup) -> list[Part]:
    """Returns the sections; the journey, which may leave images out, is told how large the others are."""
    built = {build: build(run) for build in SECTIONS if build is not journey.build}

    def size() -> int:
        others = [part for part in built.values() if part is not None]
        return len(page.assemble(f"{run.name}", about, others, kind="run"))

    built[journey.build] = journey.build(run, size)
    return [part for build in SECTIONS if (part := built[build]) is not None]


def _replace(path: Path, content: bytes) -> None:
    """Writes a file that differs."""
    if _differs(path, content):
        rundir.write(path, content)
