"""Evaluation and prediction: every example of a split exactly once, and what a network takes a user's pictures for."""

import functools
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Float32, Int, Int32, Int64, UInt8

from cnn import losses, metrics
from cnn.config.config import Config, ConfigError
from cnn.data import decode, loader, types, user_images
from cnn.data.user_images import ImageSpec, UnreadableImage, UserImage
from cnn.data.views import of_all
from cnn.expression import written
from cnn.metrics import most_confused
from cnn.model import fusion
from cnn.model.classifier import Classifier
from cnn.model.microbatch import microbatch_size
from cnn.runs import recorded_data, run_dir
from cnn.system import fault_injection, multihost, sharding


class EvalConfig(NamedTuple):
    """How logits are computed.

    Attributes:
      batch_size: the last batch is filled up with repetitions, which are dropped again.
      compute_dtype: the type of the activations.
      workers: threads that decode stored images ahead.
      devices: each computes its share of every batch, which is made longer where they do not divide it.
      views: of each picture, over which the logits are averaged, see `cnn.data.views`.
    """

    batch_size: int
    compute_dtype: str = "float32"
    workers: int = 0
    devices: int = 1
    views: tuple[Any, ...] = ()

    @classmethod
    def of(cls, values: Config, devices: int = 1) -> "EvalConfig":
        """Returns how a config validates on so many devices while it trains; at the end it has its views, too."""
        return cls(values.eval.batch_size, values.train.compute_dtype, values.data.workers, devices)

    @classmethod
    def at_end(cls, values: Config, devices: int = 1) -> "EvalConfig":
        """Returns how what was trained is evaluated, and predicts."""
        return cls.of(values, devices)._replace(views=values.eval.views)


def predict_logits(
    classifier: Classifier,
    images: UInt8[Array, "examples height width channels"] | types.Stored,
    config: EvalConfig,
    *,
    check: Callable[[], None] = lambda: None,
) -> Float32[np.ndarray, "examples classes"]:
    """Returns the logits of every image, in order.

    Args:
      classifier: its arrays lie where the images do.
      images: intensities 0..255, on the device or stored.
      config: the size of a batch, and what computes it.
      check: called before every batch; whatever it raises ends the evaluation.

    Raises:
      FloatingPointError: a logit is not finite.
    """
    examples, devices, size = len(images), config.devices, _batch(len(images), config)
    place = functools.partial(sharding.replicate, count=devices)
    parts = []
    for pictures, rows in loader.in_order(images, size, config.workers, place):
        fault_injection.point("evaluate")
        check()
        logits = _forward(
            classifier, pictures, rows, compute_dtype=config.compute_dtype, devices=devices, views=config.views
        )
        parts.append(np.asarray(logits))
    logits = np.concatenate(parts)[:examples]
    if not np.isfinite(logits).all():
        row = int(np.flatnonzero(~np.isfinite(logits).all(axis=1))[0])
        raise FloatingPointError(f"logits: not finite, first for image {row}. The run has diverged; evaluate another.")
    return logits


def compile_ahead(
    classifier: Classifier,
    images: UInt8[Array | np.ndarray, "examples height width channels"] | types.Stored,
    config: EvalConfig,
) -> None:
    """Compiles what `predict_logits` calls for these images, of which none is read; that compiles nothing then.

    Args:
      classifier: its arrays may be consumed already.
      images: as in `predict_logits`, or on the host.
      config: the same.
    """
    size = _batch(len(images), config)
    shape = (size, *images.shape[1:]) if isinstance(images, types.Stored) else images.shape
    placed = sharding.replicated_shape(shape, np.uint8, config.devices)
    rows = np.zeros(size, np.int32)
    described = jax.tree.map(sharding.shape_of, classifier)
    how = {"compute_dtype": config.compute_dtype, "devices": config.devices, "views": config.views}
    _forward.lower(described, placed, rows, **how).compile()


def _batch(examples: int, config: EvalConfig) -> int:
    return -(-min(config.batch_size, examples) // config.devices) * config.devices


@functools.partial(jax.jit, static_argnames=("compute_dtype", "devices", "views"))
def _forward(
    classifier: Classifier,
    images: jax.Array,
    rows: Int[Array, " batch"],
    *,
    compute_dtype: str,
    devices: int,
    views: tuple[Any, ...],
) -> Float[Array, "batch classes"]:
    def logits_of(classifier: Classifier, images: jax.Array, rows: jax.Array) -> Float[Array, "batch classes"]:
        def logits_of_piece(rows: jax.Array) -> jax.Array:
            # As in training: the same bits, whether the images are a whole split or a batch that was streamed.
            pictures = jax.lax.optimization_barrier(images[rows])
            if not views:
                return classifier.logits(pictures, jnp.dtype(compute_dtype))
            shares, seen = of_all(views, pictures)
            # A loop: the network compiles once.
            logits = jax.lax.map(lambda view: classifier.logits(view, jnp.dtype(compute_dtype)), seen)
            return (shares[:, None, None] * logits).sum(0)

        size = microbatch_size(len(rows), fusion.widest(classifier.layers, images.shape[1:]), jax.default_backend())
        return jax.lax.map(logits_of_piece, rows.reshape(-1, size)).reshape(len(rows), -1)

    if devices == 1:
        return logits_of(classifier, images, rows)
    return sharding.each_share(logits_of, devices)(classifier, images, rows)


def placed(split: types.Split, devices: int = 1) -> jax.Array | types.Stored:
    """Returns a split's pictures, whole on each of so many devices, or stored if they stream."""
    return split.images if isinstance(split.images, types.Stored) else sharding.replicate(split.images, devices)


def score(
    values: Config, logits: Float32[np.ndarray, "examples classes"], split: types.Split, dataset: types.Dataset
) -> tuple[Int64[np.ndarray, " usable"], metrics.Evaluation, dict[str, float]]:
    """Compares logits with the labels, now that the pictures were read.

    Returns:
      The rows that count, the evaluation, and the further metrics that the config names.

    Raises:
      DataError: no picture could be used.
      ConfigError: a metric gives no finite number.
    """
    index = usable_rows(split)
    logits, labels = logits[index], split.labels[index]
    evaluation = metrics.evaluate(logits, labels, class_names=dataset.class_names)
    return index, evaluation, _measured(values, values.metrics, logits, labels)


def validation(values: Config, logits: Float32[np.ndarray, "examples classes"], valid: types.Split) -> dict[str, float]:
    """Returns the loss, the accuracy and the further metrics that the config names: what an epoch records.

    Raises:
      DataError: no picture could be used.
      ConfigError: a metric gives no finite number.
    """
    index = usable_rows(valid)
    kinds = {"loss": metrics.Loss(), "accuracy": metrics.Accuracy(), **values.metrics}
    return _measured(values, kinds, logits[index], valid.labels[index])


def _measured(
    values: Config,
    kinds: Mapping[str, Any],
    logits: Float32[np.ndarray, "examples classes"],
    labels: Int32[np.ndarray, " examples"],
) -> dict[str, float]:
    try:
        return metrics.measure(kinds, logits, labels)
    except metrics.NotANumber as error:
        field = "train.monitor" if error.name == values.monitor else "eval.metrics"
        raise ConfigError([f"config.{field}: {error} Use another metric."]) from None


def usable_rows(split: types.Split) -> Int64[np.ndarray, " usable"]:
    """Returns the rows whose pictures could be read, once all were asked for.

    Raises:
      DataError: there are none.
    """
    labels = split.marked()
    index = np.flatnonzero(labels != types.UNUSABLE)
    if not len(index):
        raise types.DataError(
            f"config.data.on_error: none of {len(labels)} pictures can be used, got 'skip'. Use other data."
        )
    return index


def evaluate_split(
    values: Config,
    workdir: Path,
    classifier: Classifier,
    dataset: types.Dataset,
    split: str,
    *,
    step: int,
    weights: str,
    devices: int = 1,
    event: Callable[..., None] | None = None,
    check: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Evaluates every example of a split, once; writes and returns the evaluation, and the predictions beside it.

    Args:
      values: the run's config.
      workdir: where `evaluation-<split>.json`, `predictions-<split>.npz` (index, label, logits) and
        `confused-<split>.npz` (index, images: those most worth a look) go.
      classifier: the run's network.
      dataset: holds the split; others than the run's do not replace its files, see `written_as`.
      split: train, valid or test.
      step: the updates behind its arrays.
      weights: their name; others than the config's do not replace its files either.
      devices: how many share each batch; of several processes only the first one writes.
      event: takes an event and its details: pictures that cannot be used and were not listed before.
      check: called before every batch; whatever it raises ends the evaluation.

    Raises:
      ConfigError: a metric gives no finite number.
    """
    examples = dataset.splits[split]
    images, config = placed(examples, devices), EvalConfig.at_end(values, devices)
    logits = predict_logits(classifier, images, config, check=check)
    index, evaluation, further = score(values, logits, examples, dataset)
    name = written_as(values, workdir, split, weights, dataset.identity)
    record = {"split": split, "weights": weights, "step": step, "data": dataset.identity, **evaluation.to_json()}
    record |= views_of(values)
    record |= {"skipped": len(examples) - len(index), **({"metrics": further} if further else {})}
    if multihost.leads():
        recorded_data.record_bad_examples(workdir, dataset, event)
        _keep(workdir, name, index, logits[index], examples)
        run_dir.write_json(workdir / run_dir.evaluation(name), record)
    return record


def views_of(values: Config) -> dict[str, str]:
    """Returns what is recorded of the views that the logits are means of, where there are any."""
    return {"views": " | ".join(map(written, values.eval.views))} if values.eval.views else {}


def written_as(values: Config, workdir: Path, split: str, weights: str, identity: str) -> str:
    """Returns what stands for `<split>` in the names of an evaluation's files.

    `<split>-<weights>` with other weights than the config's; of other data than the run's, their identity follows.
    """
    name = split if weights == values.eval.weights else f"{split}-{weights}"
    return recorded_data.file_name(workdir, name, identity)


def _keep(workdir: Path, name: str, index: np.ndarray, logits: np.ndarray, examples: types.Split) -> None:
    """Writes what every example that counts was taken for, and the images most worth a look."""
    labels = examples.labels[index]
    rows = index[most_confused(logits, labels)]
    files = {
        run_dir.predictions(name): {"index": index, "label": labels, "logits": logits},
        run_dir.confused(name): {"index": rows, "images": types.take_images(examples.images, rows)},
    }
    for file, arrays in files.items():
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        run_dir.write(workdir / file, buffer.getvalue())


class Prediction(NamedTuple):
    """The logits of one picture.

    Attributes:
      path: the file.
      image: what the network got.
      notes: what was done to the picture, in words.
      logits: one a class.
    """

    path: str
    image: UInt8[np.ndarray, "height width channels"]
    notes: tuple[str, ...]
    logits: Float[np.ndarray, " classes"]

    @property
    def probabilities(self) -> Float[np.ndarray, " classes"]:
        """Softmax of the logits, in float64."""
        return losses.softmax(self.logits)

    def best(self, count: int) -> list[int]:
        """Returns the classes with the largest logits, largest first; of equal ones the first."""
        return np.argsort(-self.logits, kind="stable")[:count].tolist()


def predict(
    values: Config, classifier: Classifier, files: Iterable[str | UnreadableImage], spec: ImageSpec
) -> Iterator[Prediction | UnreadableImage]:
    """Yields what the network makes of each picture, in order, and why where one cannot be read.

    The logits are computed as evaluation computes them, of the files of a whole split to the bit; at most
    `eval.batch_size` pictures are held at a time.

    Args:
      values: the run's config.
      classifier: its network.
      files: pictures, and what is known to be none.
      spec: what the run's network expects of a picture.

    Raises:
      FloatingPointError: a logit is not finite.
    """
    config = EvalConfig.at_end(values)

    def logits_of(images: UInt8[np.ndarray, "n height width channels"]) -> Float32[np.ndarray, "n classes"]:
        return predict_logits(classifier, jnp.asarray(images), config._replace(batch_size=len(images)))

    return predict_with(logits_of, files, spec, config.batch_size)


def predict_with(
    logits_of: Callable[[UInt8[np.ndarray, "n height width channels"]], Float[np.ndarray, "n classes"]],
    files: Iterable[str | UnreadableImage],
    spec: ImageSpec,
    batch_size: int,
) -> Iterator[Prediction | UnreadableImage]:
    """Yields as `predict` what a function of pictures makes of each; it is always given as many, at most a batch.

    Args:
      logits_of: returns the logits, or what is like them: the logarithms of probabilities.
      files: pictures, and what is known to be none.
      spec: what it expects of a picture.
      batch_size: how many it is given at most.
    """
    waiting, size = iter(files), 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        while chunk := list(islice(waiting, batch_size)):
            with decode.bombs_are_errors():
                read = list(pool.map(lambda file: user_images.read_user_image(file, spec), chunk))
            # All chunks have the size of the first, so that only that is compiled.
            size = size or len(chunk)
            logits = _logits(logits_of, read, spec.image_shape, size)
            for outcome, row in zip(read, logits, strict=True):
                if isinstance(outcome, UnreadableImage):
                    yield outcome
                else:
                    yield Prediction(outcome.path, outcome.image, outcome.notes, row)


def predict_images(
    values: Config, classifier: Classifier, images: UInt8[np.ndarray, "n height width channels"]
) -> Float32[np.ndarray, "n classes"]:
    """Returns the logits of pictures that have the run's own size, as evaluation computes them.

    Raises:
      FloatingPointError: a logit is not finite.
    """
    return predict_logits(classifier, jnp.asarray(images), EvalConfig.at_end(values))


def _logits(
    logits_of: Callable[[np.ndarray], np.ndarray],
    read: list[UserImage | UnreadableImage],
    image_shape: tuple[int, int, int],
    size: int,
) -> Float[np.ndarray, "read classes"]:
    """Computes so many at a time; a black picture stands in for what cannot be read, as in evaluation."""
    if not any(isinstance(outcome, UserImage) for outcome in read):
        return np.empty((len(read), 0), np.float32)
    black = np.zeros(image_shape, np.uint8)
    images = np.stack([outcome.image if isinstance(outcome, UserImage) else black for outcome in read])
    return logits_of(images[np.minimum(np.arange(size), len(images) - 1)])[: len(images)]
