"""A run as its directory tells it: its config, its classes, its weights, an evaluation. Imports no JAX by itself."""

import dataclasses
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cnn.config import files, resolve, sections
from cnn.config.config import Config, ConfigError
from cnn.data import user_images
from cnn.data.sources.arrays import Arrays
from cnn.data.types import SPLITS, CannotSplit, OtherClasses
from cnn.data.user_images import UnreadableImage
from cnn.report.run_files import WEIGHTS, EvaluationRecord
from cnn.runs import recorded_code, recorded_data, run_dir

if TYPE_CHECKING:
    from cnn.data.types import Dataset
    from cnn.evaluate import Prediction
    from cnn.model.classifier import Classifier


def listed(text: str) -> list[str]:
    """Returns the parts of a flag that takes several, between commas."""
    return [part.strip() for part in text.split(",") if part.strip()]


def read_run(workdir: Path, extensions: str | Sequence[str] = (), data: Arrays | None = None) -> Config:
    """Returns the config of a run, from its `config.json`; no config file is executed, and its extensions are.

    Args:
      workdir: the run's directory.
      extensions: files with the run's own code, or one, where they are not what and where they were.
      data: arrays in place of the data that the config names.

    Raises:
      ConfigError: the directory holds no run, its config is not valid, or its extensions are not what they were.
      DataError: `data` are no `cnn.Arrays`.
    """
    saved = run_dir.read_config(workdir)
    paths = (extensions,) if isinstance(extensions, str) else extensions
    code = recorded_code.to_import(workdir, saved, paths)
    try:
        raw = saved if data is None else files.with_arrays(saved, data)
        return resolve.resolve({**raw, "extensions": code}, recorded=True)
    except ConfigError as error:
        raise ConfigError([f"{workdir / run_dir.CONFIG}: {problem}" for problem in error.problems]) from None


def dataset(
    values: Config, workdir: Path, split: str, data_dir: str | None = None, data_file: str | None = None
) -> "Dataset":
    """Returns the data of a run, or others with the same classes, whose labels count them as the run does.

    Args:
      values: the run's config.
      workdir: the run's directory.
      split: train, valid or test: the one that is wanted.
      data_dir: where the data are, if they have moved.
      data_file: their file; of a run without one, an npz file.

    Raises:
      ConfigError: the split is empty, there is no such folder, or the run's data have none.
      DataError: the data are missing or unlike the config, or their classes have other names than the run's.
    """
    from cnn.train import preflight  # JAX takes seconds to import

    _one_of("split", split, SPLITS)
    section = recorded_data.moved(values.data, data_dir, data_file)
    try:
        found = preflight.load_data(section) if section == values.data else _as_split(section)
    except OtherClasses as error:
        recorded_data.check_classes(workdir, error.class_names)
        raise
    found = recorded_data.in_order(workdir, found)
    if not len(found.splits[split]):
        why = "the data have no test split"
        if split == "valid":
            why = "the data have none" if values.data.valid_fraction else "config.data.valid_fraction is 0"
        others = [name for name, examples in found.splits.items() if len(examples)]
        raise ConfigError([f"--split: {split} is empty, {why}. Use {' or '.join(others)}"])
    recorded_data.recall_bad_examples(workdir, found)
    return found


def _as_split(section: sections.Data) -> "Dataset":
    """Loads data that may be others than a run's; those that cannot be split as the run's are keep their own splits."""
    from cnn.train import preflight  # JAX takes seconds to import

    while True:
        try:
            return preflight.load_data(section)
        except CannotSplit as error:
            if section == (uncut := dataclasses.replace(section, **error.uncut)):
                raise
            section = uncut


def classifier(values: Config, workdir: Path, weights: str | None = None) -> "tuple[int, Classifier]":
    """Returns the step and the network of a run.

    Args:
      values: the run's config.
      workdir: the run's directory.
      weights: last, best or ema; `None` for what the config says.

    Raises:
      ConfigError: nothing is saved yet, or not these weights.
    """
    from cnn.train import checkpointer  # JAX takes seconds to import

    return checkpointer.restore_classifier(values, workdir, check_weights(weights or values.eval.weights))


def evaluate(
    values: Config,
    workdir: Path,
    split: str = "test",
    weights: str | None = None,
    data_dir: str | None = None,
    data_file: str | None = None,
) -> EvaluationRecord:
    """Evaluates a run on every example of a split, once; writes and returns what `evaluation-<split>.json` holds.

    Other data than the run's get files of their own; see `evaluate.evaluate_split`.

    Args:
      values: the run's config.
      workdir: the run's directory.
      split: train, valid or test.
      weights: see `classifier`.
      data_dir: where the data are, if they have moved.
      data_file: their file; of a run without one, an npz file.

    Raises:
      ConfigError: the split is empty, nothing is saved yet, or not these weights.
      DataError: the data are missing or unlike the config, or their classes have other names than the run's.
    """
    from cnn import evaluate
    from cnn.runs import numerics

    _one_of("split", split, SPLITS)
    numerics.tell(values, workdir)
    weights = weights or values.eval.weights
    step, found = classifier(values, workdir, weights)
    given = dataset(values, workdir, split, data_dir, data_file)
    record: Any = evaluate.evaluate_split(values, workdir, found, given, split, step=step, weights=weights)
    return record


def predict_files(
    values: Config, workdir: Path, pictures: Iterable[str], weights: str | None = None, invert: str = "auto"
) -> "Iterator[Prediction | UnreadableImage]":
    """Yields what a run's network makes of each picture, in order, and why where one cannot be read.

    Args:
      values: the run's config.
      workdir: the run's directory.
      pictures: files, and folders of them.
      weights: see `classifier`.
      invert: see `ImageSpec`.

    Raises:
      ConfigError: nothing is saved yet, or not these weights.
    """
    from cnn import evaluate

    spec = recorded_data.image_spec(workdir, values.data, check_invert(invert))
    _, found = classifier(values, workdir, weights)
    return evaluate.predict(values, found, user_images.find_images(pictures), spec)


def check_weights(weights: str) -> str:
    """Returns the name of weights.

    Raises:
      ConfigError: there are no such.
    """
    return _one_of("weights", weights, WEIGHTS)


def check_input(name: str) -> str:
    """Returns what an exported network takes pictures as, uint8 or float32.

    Raises:
      ConfigError: it is none of them.
    """
    return _one_of("input", name, ("uint8", "float32"))


def check_invert(invert: str) -> str:
    """Returns whether pictures are turned light for dark.

    Raises:
      ConfigError: it is none of the answers that there are.
    """
    return _one_of("invert", invert, user_images.INVERT)


def _one_of(name: str, given: str, known: tuple[str, ...]) -> str:
    if given not in known:
        raise ConfigError([f"--{name}: must be one of {', '.join(known)}, got {given!r}"])
    return given
