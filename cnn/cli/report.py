"""`report`: the page of a run or of a sweep again, from its files alone."""

from collections.abc import Mapping
from pathlib import Path

from cnn.config.config import Config
from cnn.report import run_page
from cnn.runs import lock
from cnn.system.text import plain


def run(config: Config | None, workdir: Path, flags: Mapping[str, str]) -> int:
    """Writes `report.html`, a run's with `figures/`; reads no data and imports no JAX.

    Args:
      config: the run's config; `None` where the directory is a sweep's.
      workdir: the run's directory, or the sweep's.
      flags: not used.

    Raises:
      ConfigError: the directory holds no run, or its config is not valid.
    """
    del flags
    page = _sweep(workdir) if config is None else run_page.write(workdir, running=lock.is_held(workdir))
    print(plain(str(page)))
    return 0


def _sweep(folder: Path) -> Path:
    from cnn.report.sweep.page import write, write_best
    from cnn.sweep import ranking, workers

    ranking.recount(folder)
    write_best(folder)
    return write(folder, running=workers.any_alive(folder))
