"""The pictures that cannot be used, as a file of the run, `bad-pictures.json`: a run that goes on tells each once."""

from collections.abc import Callable
from pathlib import Path

from cnn.data.types import Dataset
from cnn.runs import recorded_data, run_dir
from cnn.system import multihost

SHOWN = 10


def recall(workdir: Path, dataset: Dataset) -> None:
    """Adds what an earlier process of this run listed of the same data."""
    saved = run_dir.read_json(workdir / _file(workdir, dataset))
    if saved is not None:
        dataset.bad_examples.recall(saved["pictures"])


def keep(workdir: Path, dataset: Dataset, tell: Callable[..., None] | None = None) -> None:
    """Writes the list, if there is anything new on it, and tells about that.

    Args:
      workdir: the run's directory.
      dataset: the run's; another has a list of its own.
      tell: takes the name of an event and its details.

    Raises:
      OSError: the file cannot be written.
    """
    fresh = dataset.bad_examples.fresh()
    if not fresh or not multihost.leads():
        return
    listed = dataset.bad_examples.to_json()
    run_dir.write_json(workdir / _file(workdir, dataset), {"count": len(listed), "pictures": listed})
    if tell is not None:
        names = [f"{example.picture} ({example.reason})" for example in fresh[:SHOWN]]
        more = [f"and {len(fresh) - SHOWN} more in {run_dir.BAD_PICTURES}"] if len(fresh) > SHOWN else []
        tell("bad pictures", count=len(fresh), reason="; ".join(names + more))


def _file(workdir: Path, dataset: Dataset) -> str:
    name = Path(run_dir.BAD_PICTURES)
    return recorded_data.file_name(workdir, name.stem, dataset.identity) + name.suffix
