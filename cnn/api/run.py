"""Runs from Python: a config's summary, a run trained or opened, and the run as an object.

Ctrl-C, or a notebook's stop button, saves what is worth keeping, and Python's own signal handlers come back.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import UInt8
from markupsafe import Markup
from ml_collections import ConfigDict

from cnn.api import export, reading
from cnn.api.data import LoadedData, loaded
from cnn.api.results import Curve, Curves, ImageJourney, Maps, Predictions, SplitEvaluation, Summary
from cnn.config import files
from cnn.config.config import Config, ConfigError, renamed
from cnn.config.files import ConfigLike
from cnn.data.sources.arrays import Arrays
from cnn.data.types import DataError
from cnn.data.user_images import UnreadableImage
from cnn.layers.base import Shape, show
from cnn.layers.convolution import Conv
from cnn.report import curves, headline, run_files, run_page
from cnn.report.journey import walkthrough
from cnn.runs import lock, recorded_code, recorded_data, run_dir
from cnn.runs import receipt as receipts
from cnn.runs.records import OnRecord
from cnn.system import environment
from cnn.system.preemption import Preempted, Preemption

if TYPE_CHECKING:
    from cnn.evaluate import Prediction
    from cnn.model.network import Variables
    from cnn.train.verify import Verdict

Pictures = str | os.PathLike[str] | Sequence[str | os.PathLike[str]] | np.ndarray
"""Files and folders of pictures, or intensities 0..255 as uint8: one image, or many along the first axis."""


def summary(config: ConfigLike = "digits") -> Summary:
    """Returns what every layer of a config's network makes of an image, without its data.

    >>> table = summary("fashion_mnist")
    >>> f"{table.parameters:,} parameters, {table.macs:,} multiply-accumulates"
    '243,786 parameters, 5,056,000 multiply-accumulates'

    Raises:
      ConfigError: lists everything that is wrong with the config.
    """
    values = files.resolved(config)
    return Summary(values.data.image_shape, values.rows)


@contextlib.contextmanager
def interruptible() -> Iterator[Preemption]:
    """Turns a first signal within the block into a `KeyboardInterrupt` once all is saved, a second one at once.

    In any thread but the main one, which alone hears signals, it changes nothing.

    Raises:
      ConfigError: the environment is wrong; it is completed where it says nothing and JAX has not read it yet.
      KeyboardInterrupt: a signal came.
    """
    environment.prepare()
    if problems := environment.problems():
        raise ConfigError(problems)
    with Preemption(leaves=False) as interruption:
        try:
            yield interruption
        except Preempted:
            raise KeyboardInterrupt("interrupted and saved; the same call continues from there") from None


class Run:
    """A run that is on disk; what needs its parameters reads the newest checkpoint, or the one that is asked for."""

    def __init__(self, workdir: Path, extensions: str | Sequence[str] = (), data: Arrays | None = None) -> None:
        """Opens the run in a directory; see `cnn.load`."""
        self.workdir = workdir
        self._extensions, self._arrays = extensions, data
        self._recorded = run_files.read(workdir).config

    @cached_property
    def _values(self) -> Config:
        """The config with the run's own code, executed."""
        return reading.read_run(self.workdir, self._extensions, self._arrays)

    @property
    def config(self) -> ConfigDict:
        """Every field of the run's config; a copy, of which another run can be made.

        Of its extensions those that lie in the directory of a run are left out: name them yourself.
        """
        saved = renamed(run_dir.read_config(self.workdir))
        saved["extensions"] = [path for path in saved.get("extensions", []) if recorded_code.may_be_imported(path)]
        return ConfigDict(saved)

    @property
    def result(self) -> Mapping[str, Any] | None:
        """What `result.json` holds; `None` of a run that has not ended."""
        return self._files.result

    @property
    def _files(self) -> run_files.RunFiles:
        return run_files.RunFiles(self.workdir, self._recorded, running=lock.is_held(self.workdir))

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, one for each logit."""
        return tuple(recorded_data.class_names(self.workdir, self._recorded.data.classes))

    @property
    def curves(self) -> Curves:
        """The learning curves, raw."""
        recorded = curves.read(self._files)
        points = {f"{split} loss": recorded.loss[split] for split in ("train", "valid")}
        points |= {f"{split} accuracy": recorded.accuracy[split] for split in ("train", "valid")}
        points["learning rate"] = recorded.learning_rate
        points |= {f"valid {name}": line for name, line in recorded.further.items()}
        arrays = {name: Curve(*map(np.asarray, zip(*line, strict=True))) for name, line in points.items() if line}
        return Curves(arrays)

    @property
    def evaluations(self) -> dict[str, SplitEvaluation]:
        """The evaluations that are written already, by split; those of other weights than the config's `test-best`."""
        return {name: SplitEvaluation(record) for name, record in self._files.evaluations.items()}

    def summary(self) -> Summary:
        """Returns what every layer makes of an image."""
        return Summary(self._recorded.data.image_shape, self._recorded.rows)

    def variables(self, weights: str | None = None) -> "Variables":
        """Returns `params` and `batch_stats` as NumPy arrays, by layer and name.

        Args:
          weights: last, best or ema; `None` for what the config says.

        Raises:
          ConfigError: nothing is saved yet, or not these weights.
        """
        import jax

        with interruptible():
            return jax.tree.map(np.asarray, reading.classifier(self._values, self.workdir, weights)[1].variables)

    @cached_property
    def params(self) -> dict[str, Any]:
        """The parameters, by layer and name: `params["conv1"]["kernel"]`, (height, width, channels, features)."""
        return self.variables()["params"]

    @property
    def filters(self) -> Maps:
        """The kernels of the first convolution; of several channels, those of a filter follow one another.

        Raises:
          ConfigError: the network has no convolution.
        """
        row = next((row for row in self._recorded.rows if isinstance(row.layer, Conv)), None)
        if row is None:
            raise ConfigError(["config.model.layers: no convolution, so there are no filters to see"])
        arrays: Any = self.params
        for part in row.path.split("/"):
            arrays = arrays[part]
        kernel = arrays["kernel"].transpose(0, 1, 3, 2)
        return Maps(kernel.reshape(*kernel.shape[:2], -1), f"kernels of {row.path}")

    @cached_property
    def data(self) -> LoadedData:
        """The pictures and labels that the run was made with; see `cnn.load_data`."""
        return recorded_data.in_order(self.workdir, loaded(self._values.data, self._values.seed))

    def save_data(self, path: str | os.PathLike[str] = "data.npz") -> Path:
        """Writes the run's data into a file for the source `npz`, and returns its path.

        Arrays that Python code handed over, and those of npz and IDX files, are the same data there: the run goes on
        with the file (`--config.data.name=npz --config.data.file=data.npz`) and is evaluated on it (`eval
        --data_file=data.npz`). Of other sources the pictures are written as the network gets them, which are other
        data to a run, with the same numbers. Either way a validation split that is cut from train stays in train, from
        which the same one is cut again.

        Raises:
          DataError: the data are missing or unlike the config, or a picture cannot be used.
          OSError: the file cannot be written.
        """
        from cnn.data import datasets
        from cnn.data.sources import npz  # reading takes what looking at a run does not

        data, written = self._values.data, Path(path)
        npz.write(written, datasets.read_source(data), data.stored_shape)
        return written

    def evaluate(
        self,
        split: str = "test",
        weights: str | None = None,
        data_dir: str | None = None,
        data_file: str | None = None,
    ) -> SplitEvaluation:
        """Evaluates every example of a split, once, as `main.py eval` does; writes the same files.

        Args:
          split: train, valid or test.
          weights: see `variables`.
          data_dir: where the data are, if they have moved.
          data_file: their file; of a run without one, an npz file.

        Raises:
          ConfigError: the split is empty, nothing is saved yet, or not these weights.
          DataError: the data are missing or unlike the config.
        """
        with interruptible():
            return SplitEvaluation(reading.evaluate(self._values, self.workdir, split, weights, data_dir, data_file))

    def predict(self, pictures: Pictures, weights: str | None = None, invert: str = "auto") -> Predictions:
        """Returns what the network takes pictures for.

        Args:
          pictures: files or folders, brought to size as `main.py predict` does; or arrays of the run's own size.
          weights: see `variables`.
          invert: whether files are turned light for dark: yes, no, or auto, where their background is the opposite.

        Raises:
          ConfigError: the arrays are no such images, nothing is saved yet, or not these weights.
          DataError: files cannot be read; all of them are named.
        """
        paths = as_paths(pictures)
        with interruptible():
            if paths is None:
                return self._predict_arrays(np.asarray(pictures), weights)
            outcomes = list(reading.predict_files(self._values, self.workdir, paths, weights, invert))
        return predictions_of(outcomes, self.classes)

    def _predict_arrays(self, given: np.ndarray, weights: str | None) -> Predictions:
        from cnn import evaluate

        pixels = checked_images(given, self._values.data.image_shape)
        _, classifier = reading.classifier(self._values, self.workdir, weights)
        logits = evaluate.predict_images(self._values, classifier, pixels)
        names = tuple(f"image {row}" for row in range(len(pixels)))
        return Predictions(pixels, logits, self.classes, names, ((),) * len(pixels))

    def journey(self, picture: Pictures, weights: str | None = None) -> ImageJourney:
        """Follows one image through the network, layer by layer.

        Args:
          picture: a file, or an array of the run's own size.
          weights: see `variables`.

        Raises:
          ConfigError: it is no such image, or nothing is saved yet.
          DataError: the file cannot be read.
          FloatingPointError: an output is not finite.
        """
        from cnn.explain import journey

        given = self.predict(picture).images if as_paths(picture) else np.asarray(picture)
        image = checked_images(given, self._values.data.image_shape)
        with interruptible():
            _, classifier = reading.classifier(self._values, self.workdir, weights)
            chosen = [journey.Chosen("image", "your own picture", image[0])]
            followed = journey.capture(self._values, classifier, chosen, self.classes, {}, attributes=False)
        outputs = walkthrough.forward(followed, followed.pictures[0])
        (name, _), *_ = walkthrough.chances(followed, outputs)
        return ImageJourney(image[0], outputs, name, followed.about["numbers"])

    def export(
        self,
        format: str,
        path: str | os.PathLike[str] | None = None,
        weights: str | None = None,
        input: Literal["uint8", "float32"] = "uint8",
    ) -> export.Exported:
        """Writes the network as one file that other programs open, and its description beside it, as `main.py export`.

        Args:
          format: stablehlo, onnx or safetensors.
          path: the file; by default `exports/model.<format>` in the run's directory, `model-<weights>` for weights
            other than the config's.
          weights: see `variables`.
          input: what pictures are given as: uint8, or float32, 0..255 too.

        Raises:
          ConfigError: the format or `input` is unknown, a package is missing, the format cannot hold the network, or
            nothing is saved yet.
          FloatingPointError: the export differs from what `predict` computes.
          OSError: the file cannot be written.
        """
        with interruptible():
            return export.of_run(self._values, self.workdir, format, os.fspath(path or ""), weights, input)[0]

    def verify(
        self,
        start: int = 0,
        steps: int | None = None,
        receipt: str | None = None,
        data_dir: str | None = None,
        data_file: str | None = None,
    ) -> "Verdict":
        """Makes the run's steps again, compares every bit, and writes nothing; as `main.py verify` does.

        Args:
          start: a step that is kept as a checkpoint, from which to go on; 0 is the run's own start.
          steps: so many at most; `None` for all.
          receipt: the line that the run must have, where it was verified before.
          data_dir: where the data are, if they have moved.
          data_file: their file.

        Raises:
          ConfigError: nothing is saved yet, `start` is not kept, or the receipt is none.
          DataError: the data are missing or unlike the config.
        """
        from cnn.train import verify

        stated = None if receipt is None else receipts.parse(receipt)
        with interruptible() as interruption:
            return verify.verify(
                self._values,
                self.workdir,
                start=start,
                steps=steps,
                stated=stated,
                data_dir=data_dir,
                data_file=data_file,
                preemption=interruption,
                quiet=True,
            )

    def write_page(self) -> Path:
        """Writes `report.html` again from the run's files, as `main.py report` does, and returns its path."""
        return run_page.write(self.workdir, running=lock.is_held(self.workdir))

    def __repr__(self) -> str:
        state, reason = headline.status(self._files)
        return f"{self.workdir}: {state}{f', {reason}' if reason else ''}. {headline.sentence(self._files)}"

    def _repr_html_(self) -> str:
        return Markup("<p>{}</p>{}").format(repr(self), Markup(self.curves._repr_html_()))


def as_paths(pictures: Pictures) -> list[str] | None:
    """Returns the files that are meant; `None` for arrays."""
    given = [pictures] if isinstance(pictures, (str, os.PathLike)) else pictures
    if isinstance(given, (list, tuple)) and given and all(isinstance(each, (str, os.PathLike)) for each in given):
        return [os.fspath(each) for each in given]
    return None


def predictions_of(outcomes: "Iterable[Prediction | UnreadableImage]", classes: tuple[str, ...]) -> Predictions:
    """Returns what files were taken for.

    Raises:
      DataError: some cannot be read; all of them are named.
    """
    outcomes = list(outcomes)
    if unread := [outcome for outcome in outcomes if isinstance(outcome, UnreadableImage)]:
        raise DataError("\n".join(f"picture {outcome.path!r}: {outcome.reason}" for outcome in unread))
    read = [outcome for outcome in outcomes if not isinstance(outcome, UnreadableImage)]
    seen, logits = (np.stack(arrays) for arrays in zip(*((each.image, each.logits) for each in read), strict=True))
    names, notes = tuple(each.path for each in read), tuple(each.notes for each in read)
    return Predictions(seen, logits, classes, names, notes)


def checked_images(images: np.ndarray, shape: Shape) -> UInt8[np.ndarray, "n height width channels"]:
    """Returns one image or many as many.

    Raises:
      ConfigError: they are no intensities, or not of this shape.
    """
    shape = tuple(shape)
    if images.dtype != np.uint8:
        remedy = "Convert them"
        if images.dtype.kind == "f" and images.size and 0 <= images.min() <= images.max() <= 1:
            remedy = "Of shares of full intensity give np.rint(255 * images).astype('uint8')"
        raise ConfigError([f"images: must be uint8, intensities 0 to 255, got {images.dtype}. {remedy}"])
    images = images[None] if images.shape == shape else images
    if images.shape[1:] != shape or not len(images):
        remedy = "Add the channel axis, images[..., None]" if images.shape[-2:] == shape[:2] else "Resize them"
        got = show(images.shape) if images.ndim else "a number"
        raise ConfigError([f"images: must be {show(shape)}, one or many along a first axis, got {got}. {remedy}"])
    return images


def run(
    config: ConfigLike = "digits",
    workdir: str | os.PathLike[str] | None = None,
    *,
    data: Arrays | None = None,
    devices: int | None = None,
    on_record: OnRecord | None = None,
) -> Run:
    """Trains, evaluates and writes a run, as `python main.py` does; continues one that was interrupted.

    A finished run of the same config is only read. An interruption (`KeyboardInterrupt`) leaves a run that the same
    call continues, to the same bits. A run that diverged is returned, too: its `result` says so.

    Args:
      config: a name, a file or a `ConfigDict`.
      workdir: the run's directory; `runs/<name>` for a config that has one.
      data: arrays in place of the data that the config names, whose `data.name` becomes "arrays"; of a config without
        a section `data` they are described, too.
      devices: how many share each batch; `None` for as many as `main.py` takes.
      on_record: called with a dict for each record as it is made, see `cnn.runs.records.OnRecord`; a finished
        run makes none. `cnn.trackers` has some.

    Raises:
      ConfigError: lists everything that is wrong, or says what other run the directory holds.
      DataError: the data are missing or unlike the config.
      Held: another process holds the run.
      NoValidCheckpoint: what was saved is damaged.
      OnRecordError: a `ValueError`: `on_record` failed; the same call continues from what is saved.
      OSError: the disk is full, or the directory cannot be written.
      KeyboardInterrupt: a signal asked to stop, and what was done is saved.
    """
    values, folder = files.resolved(config, data), _folder(config, workdir)
    from cnn.train import experiment

    with interruptible() as interruption:
        experiment.run_on(values, folder, devices, interruption, on_record)
    return Run(folder, (), data)


def _folder(config: ConfigLike, workdir: str | os.PathLike[str] | None) -> Path:
    if workdir is not None:
        return Path(workdir)
    if isinstance(config, (str, os.PathLike)):
        return Path("runs") / Path(files.path_of(config)).stem
    raise ConfigError(["workdir: a config without a name needs a directory, got None. Name one, such as 'runs/a'"])
