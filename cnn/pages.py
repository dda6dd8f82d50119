"""Keeps a run's page up to date while it trains; whatever goes wrong with it is said, and training goes on."""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from cnn import terminal

SECONDS, SHARE = 30, 20
"""The least time between two pages, in seconds and in multiples of what one takes: a twentieth of the run at most."""


class Pages:
    """Writes the page of one run."""

    def __init__(self, workdir: Path, when: str, line: Callable[[str], None]) -> None:
        """Writes nothing yet.

        Args:
          workdir: the run's directory.
          when: evaluations, end or never.
          line: shows a line to the person.
        """
        self._workdir, self._when, self._line = workdir, when, line
        self._written, self._cost = time.monotonic(), 0.0

    def evaluated(self, record: Mapping[str, Any]) -> None:
        """Writes the page of a run that goes on after an epoch with an evaluation, unless one was written just now."""
        if (
            self._when == "evaluations"
            and "valid" in record
            and time.monotonic() - self._written >= max(SECONDS, SHARE * self._cost)
        ):
            self._write(running=True)

    def ended(self, look: Callable[[], object]) -> None:
        """Calls `look`, which writes what the page reads, and writes the page of a run that has its result."""
        if self._when != "never":
            self._write(look, running=False)

    def _write(self, look: Callable[[], object] = lambda: None, *, running: bool) -> None:
        started = time.monotonic()
        try:
            look()
            from cnn import report  # the libraries that draw take half a second to import

            report.write(self._workdir, running=running)
        except Exception as error:  # the page is a picture of the run, and no reason to lose it
            reason = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            again = f"write it again: python main.py report --workdir={self._workdir}"
            self._line(terminal.plain(f"report.html: not written, {reason}. The run itself is whole; {again}"))
        self._written = time.monotonic()
        self._cost = self._written - started
