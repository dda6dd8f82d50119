"""`report`: a run's page and figures again, from its files alone."""

from collections.abc import Mapping
from pathlib import Path

from cnn import lock, report, terminal
from cnn.config import Values


def run(values: Values, workdir: Path, flags: Mapping[str, str]) -> int:
    """Writes `report.html` and `figures/`; reads no data and imports no JAX.

    Raises:
      ConfigError: the directory holds no run, or its config is not valid.
    """
    del values, flags
    print(terminal.plain(str(report.write(workdir, running=lock.is_held(workdir)))))
    return 0
