"""The data that a run was made with: their identity and the names of their classes, and which cannot be used."""

import dataclasses
import unicodedata
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, TypedDict, TypeVar

import numpy as np

from cnn.config import sections
from cnn.config.config import ConfigError
from cnn.data import sources, types
from cnn.data.user_images import ImageSpec
from cnn.runs import run_dir
from cnn.system import multihost

Loaded = TypeVar("Loaded", bound=types.Dataset)

SHOWN, SHOWN_BAD = 5, 10
DIGITS = 12
"""How many digits of an identity tell it in a message or the name of a file."""


class RecordedData(TypedDict, total=False):
    """The section `data` of `run.json`; what earlier versions did not record is not there."""

    identity: str
    classes: list[str]
    examples: dict[str, int]
    loading: str
    background: int | None


def moved(section: sections.Data, data_dir: str | None, data_file: str | None = None) -> sections.Data:
    """Returns which data are read, and how, if they are in another folder or file now.

    Args:
      section: of the run's config.
      data_dir: the folder; `None` where it is the config's.
      data_file: the file, likewise; of a run without one, an npz file, as `save_data` writes it of arrays.

    Raises:
      ConfigError: there is no such folder, into which a source might fetch other data, or the data are in none.
    """
    if data_file:
        section = dataclasses.replace(section, name=section.name if section.file else "npz", file=data_file)
    if not data_dir:
        return section
    if "://" not in data_dir and not Path(data_dir).expanduser().is_dir():
        raise ConfigError([f"--data_dir: must be the folder where the data are now, got {data_dir!r}, which is none"])
    if why := sources.unread(section.name, "data_dir"):
        raise ConfigError([f"--data_dir: {why}, got {data_dir!r}. Name a file of other data by --data_file"])
    return dataclasses.replace(section, data_dir=data_dir)


def lacks(workdir: Path, split: str) -> bool:
    """Tells whether a run says that its data have no such split."""
    return recorded(workdir).get("examples", {}).get(split) == 0


def recorded(workdir: Path) -> RecordedData:
    """Returns what a run says of its data; nothing where it does not say.

    Raises:
      BrokenFile: `run.json` is not what this software wrote.
    """
    return (run_dir.read_json(workdir / run_dir.RUN) or {}).get("data", {})


def class_names(workdir: Path, count: int) -> list[str]:
    """Returns a name for each of so many logits; numbers where the run does not say.

    Raises:
      BrokenFile: `run.json` is not what this software wrote.
    """
    names = recorded(workdir).get("classes", ())
    return list(names) if len(names) == count else list(map(str, range(count)))


def image_spec(workdir: Path, data: sections.Data, invert: str) -> ImageSpec:
    """Returns what a run's network expects of a picture that is not of its data.

    Args:
      workdir: the run's directory.
      data: of the run's config.
      invert: see `ImageSpec`.

    Raises:
      BrokenFile: `run.json` is not what this software wrote.
    """
    background = recorded(workdir).get("background")
    return ImageSpec(data.image_shape, data.resize, background, invert, data.stored_shape)


def validates(workdir: Path, data: sections.Data) -> bool:
    """Tells whether a run's data had a validation split; where it does not say, whether its config cut one."""
    return bool(recorded(workdir).get("examples", {}).get("valid", data.valid_fraction))


def seen_in_training(split: str, *trained_with: sections.Data) -> str | None:
    """Returns what must be said of an evaluation of a split that any of these trained with; `None` of another."""
    if split == "train" or (split == "valid" and any(data.train_on != "train" for data in trained_with)):
        return f"training saw the {split} split: this is no estimate for new pictures"
    return None


def is_other(workdir: Path, identity: str) -> bool:
    """Tells whether data are known to be others than those of the run."""
    return recorded(workdir).get("identity", identity) != identity


def check_same(workdir: Path, identity: str) -> None:
    """Refuses other data than the run began with.

    Raises:
      DataError: they are others.
    """
    if is_other(workdir, identity):
        raise types.DataError(
            f"config.data: the data are not those that {workdir} was trained with, got {identity[:DIGITS]}. "
            "Restore them, or choose another --workdir."
        )


def file_name(workdir: Path, name: str, identity: str) -> str:
    """Returns the name for what is written about data: others than the run's do not replace what it says of its own."""
    return f"{name}-{identity[:DIGITS]}" if is_other(workdir, identity) else name


def in_order(workdir: Path, dataset: Loaded) -> Loaded:
    """Returns a dataset whose labels count the classes in the order in which the run learned them.

    Raises:
      DataError: the classes have other names than the run's.
    """
    dataset = dataclasses.replace(dataset, class_names=_composed(dataset.class_names))
    names = check_classes(workdir, dataset.class_names)
    if names == dataset.class_names:
        return dataset
    new_label = np.array([names.index(name) for name in dataset.class_names], dtype=np.int32)
    splits = {**dataset.splits, "stored_train": dataset.stored_train}
    renumbered: dict[str, Any] = {
        part: dataclasses.replace(split, labels=new_label[split.labels])
        for part, split in splits.items()
        if split is not None
    }
    return dataclasses.replace(dataset, class_names=names, **renumbered)


def check_classes(workdir: Path, found: Iterable[str]) -> tuple[str, ...]:
    """Returns the names of a run's classes, in its order; where it does not say, those that were found.

    Raises:
      DataError: what was found are others.
    """
    found = _composed(found)
    names = _composed(recorded(workdir).get("classes", ())) or found
    if sorted(names) != sorted(found):
        lacking, unknown = (set(names) - set(found)), (set(found) - set(names))
        parts = [f"the run has {_some(lacking)}, which they lack"] * bool(lacking)
        parts += [f"they have {_some(unknown)}, which the run lacks"] * bool(unknown)
        said = "; ".join(parts) or f"the run has {len(names)} and they have {len(found)}"
        raise types.DataError(
            f"config.data: the classes are not those that {workdir} was trained with: {said}. "
            "Name the classes as the run does, or train another run on these data."
        )
    return names


def _composed(names: Iterable[str]) -> tuple[str, ...]:
    """Returns names in NFC: earlier versions recorded them as the disk spells them."""
    return tuple(unicodedata.normalize("NFC", str(name)) for name in names)


def _some(names: Collection[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(map(repr, sorted(names)[:SHOWN]))}{more}"


def recall_bad_examples(workdir: Path, dataset: types.Dataset) -> None:
    """Adds what an earlier process of this run listed of the same data."""
    saved = run_dir.read_json(workdir / _bad_examples(workdir, dataset))
    if saved is not None:
        dataset.bad_examples.recall(saved["pictures"], workdir)


def record_bad_examples(workdir: Path, dataset: types.Dataset, event: Callable[..., None] | None = None) -> None:
    """Writes the list, if there is anything new on it, and says so in an event.

    Args:
      workdir: the run's directory.
      dataset: the run's; another has a list of its own.
      event: takes the name of an event and its details.

    Raises:
      OSError: the file cannot be written.
    """
    fresh = dataset.bad_examples.fresh(workdir)
    if not fresh or not multihost.leads():
        return
    listed = dataset.bad_examples.to_json()
    run_dir.write_json(workdir / _bad_examples(workdir, dataset), {"count": len(listed), "pictures": listed})
    if event is not None:
        names = [f"{example.picture} ({example.reason})" for example in fresh[:SHOWN_BAD]]
        more = [f"and {len(fresh) - SHOWN_BAD} more in {run_dir.BAD_PICTURES}"] if len(fresh) > SHOWN_BAD else []
        event("bad pictures", count=len(fresh), reason="; ".join(names + more))


def _bad_examples(workdir: Path, dataset: types.Dataset) -> str:
    name = Path(run_dir.BAD_PICTURES)
    return file_name(workdir, name.stem, dataset.identity) + name.suffix
