"""The page of a run, `report.html`: one file, written from the run's files alone, without JAX.

A section is a function of the run's files in a module of its own that returns a `Part`, or `None` where there is
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
    reproduce,
    run_files,
)
from cnn.report.html import Figure, Part
from cnn.report.journey import section
from cnn.report.run_files import Run
from cnn.runs import run_dir

PAGE = "report.html"
FIGURES = "figures"

SECTIONS: tuple[Callable[[Run], Part | None], ...] = (
    curves.build,
    network.build,
    confusion.build,
    mistakes.build,
    calibration.build,
    calibration.build_classes,
    first_layer.build,
    activations.build,
    section.build,
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
    parts = _parts(run, about)
    for part in parts if figures else ():
        write_figures(workdir / FIGURES, part.figures() if callable(part.figures) else part.figures)
    _replace(workdir / PAGE, html.assemble(f"{run.name}", about, parts, kind="run"))
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


def _parts(run: Run, about: Markup) -> list[Part]:
    """Returns the sections; the journey, which may leave images out, is told how large the others are."""
    built = {build: build(run) for build in SECTIONS if build is not section.build}

    def size() -> int:
        others = [part for part in built.values() if part is not None]
        return len(html.assemble(f"{run.name}", about, others, kind="run"))

    built[section.build] = section.build(run, size)
    return [part for build in SECTIONS if (part := built[build]) is not None]


def _replace(path: Path, content: bytes) -> None:
    """Writes a file that differs."""
    if _differs(path, content):
        run_dir.write(path, content)
