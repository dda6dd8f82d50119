"""The list of pictures that cannot be used, as a file of the run: `bad-pictures.json`."""

from collections.abc import Callable
from pathlib import Path

from cnn import hosts, rundir
from cnn.data.rejects import Rejects

SHOWN = 10


def recall(workdir: Path, rejects: Rejects) -> None:
    """Adds what an earlier process of this run listed."""
    saved = rundir.read_json(workdir / rundir.BAD_PICTURES)
    if saved is not None:
        rejects.recall(saved["pictures"])


def keep(workdir: Path, rejects: Rejects, tell: Callable[..., None] | None = None) -> None:
    """Writes the list, if there is anything new on it, and tells about that.

    Args:
      workdir: the run's directory.
      rejects: of its dataset.
      tell: takes the name of an event and its details.

    Raises:
      OSError: the file cannot be written.
    """
    fresh = rejects.fresh()
    if not fresh or not hosts.leads():
        return
    rundir.write_json(workdir / rundir.BAD_PICTURES, {"count": len(rejects), "pictures": rejects.to_json()})
    if tell is not None:
        names = [f"{reject.picture} ({reject.reason})" for reject in fresh[:SHOWN]]
        more = [f"and {len(fresh) - SHOWN} more in {rundir.BAD_PICTURES}"] if len(fresh) > SHOWN else []
        tell("bad pictures", count=len(fresh), reason="; ".join(names + more))
