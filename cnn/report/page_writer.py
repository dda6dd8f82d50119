"""Keeps a page up to date while a run trains, or a sweep; whatever goes wrong with it is said, and training goes on."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cnn.system.text import plain

SECONDS, SHARE = 30, 20
"""The least time between two pages, in seconds and in multiples of what one takes: a twentieth of the run at most."""


def of_run(workdir: Path, running: bool) -> None:
    """Writes the page of a run."""
    from cnn.report import run_page  # the libraries that draw take half a second to import

    run_page.write(workdir, running=running)


def of_sweep(folder: Path, running: bool) -> None:
    """Writes the page of a sweep; of one that has ended, also those of its best trials."""
    from cnn.report.sweep import page

    if not running:
        page.write_best(folder)
    page.write(folder, running=running)


def prepare() -> None:
    """Does what the first page of a process would wait for, where there is time for that."""
    from cnn.report import charts, escape

    escape.compile_templates()
    charts.prepare()


class Pages:
    """Writes one page, again and again."""

    def __init__(
        self, workdir: Path, when: str, line: Callable[[str], None], draw: Callable[[Path, bool], None] = of_run
    ) -> None:
        """Writes nothing yet.

        Args:
          workdir: the directory of the run, or of the sweep.
          when: evaluations, end or never.
          line: shows a line to the user.
          draw: writes the page in a directory; told whether what it shows still goes on.
        """
        self._workdir, self._when, self._line, self._draw = workdir, when, line, draw
        self._written, self._cost = time.monotonic(), 0.0

    @property
    def wanted(self) -> bool:
        """Whether there is to be a page at all."""
        return self._when != "never"

    def evaluated(self, record: Mapping[str, Any]) -> None:
        """Writes the page of a run that goes on after an epoch with an evaluation, unless one was written just now."""
        if "valid" in record:
            self.follow()

    def follow(self) -> None:
        """Writes the page of what goes on, unless one was written just now."""
        if self._when == "evaluations" and time.monotonic() - self._written >= max(SECONDS, SHARE * self._cost):
            self._write(running=True)

    def ended(self, look: Callable[[], object] = lambda: None) -> None:
        """Calls `look`, which writes what the page reads, and writes the page of what has ended."""
        if self.wanted:
            self._write(look, running=False)

    def _write(self, look: Callable[[], object] = lambda: None, *, running: bool) -> None:
        started = time.monotonic()
        try:
            look()
            self._draw(self._workdir, running)
        except Exception as error:  # the page is a picture of the run, and no reason to lose it
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            again = f"write it again: python main.py report --workdir={self._workdir}"
            self._line(plain(f"report.html: not written, {reason}. Everything else is whole; {again}"))
        self._written = time.monotonic()
        self._cost = self._written - started
