"""Captures what every layer made of chosen images: on a CPU, in float32, one by one; checked in float64."""

import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float, Float32, UInt8

from cnn import evaluate, losses, metrics
from cnn.config.config import Config
from cnn.data import types
from cnn.explain import attribution, first_layer, practice
from cnn.model import network
from cnn.model.classifier import Classifier
from cnn.report.journey import journey_file, reference
from cnn.report.journey.graph import Stage, build
from cnn.report.journey.journey_file import Attribution, Journey, Picture
from cnn.runs import predictions, recorded_data, run_dir
from cnn.runs.run_dir import BrokenFile

IMAGES = 8
"""How many are followed where nobody says."""
UNEVALUATED = 1000
"""Of a split that was never evaluated, so many are looked at."""


class Chosen(NamedTuple):
    """An image to follow, before it has been followed."""

    name: str
    why: str
    pixels: UInt8[np.ndarray, "height width channels"]
    label: int | None = None
    recorded: int | None = None


def choose(
    kind: str, split: str, examples: types.Split, logits: Float[np.ndarray, "examples classes"], count: int
) -> list[Chosen]:
    """Returns images of a split that are worth following.

    Args:
      kind: `confused`, the largest loss first; or `classes`, of each class in turn the image with the smallest.
      split: its name.
      examples: the split.
      logits: of every example.
      count: the most images.
    """
    if kind == "confused":
        rows = metrics.most_confused(logits, examples.labels)[:count].tolist()
    else:
        surest = np.argsort(losses.cross_entropy(logits, examples.labels), kind="stable")
        labels = examples.labels[surest].tolist()
        rows = [int(surest[labels.index(label)]) for label in sorted(set(labels))][:count]
    seen = logits.argmax(1)
    chosen = []
    for row in rows:
        label = int(examples.labels[row])
        why = (
            "mistaken" if seen[row] != label else "the surest of its class" if kind == "classes" else "right, not sure"
        )
        chosen.append(Chosen(f"{split}/{row}", why, examples.images[row], label, int(seen[row])))
    return chosen


def follow_split(
    values: Config,
    workdir: Path,
    classifier: Classifier,
    dataset: types.Dataset,
    split: str,
    about: Mapping[str, Any],
    *,
    kind: str = "confused",
    count: int = IMAGES,
) -> Journey:
    """Follows images of a split and writes `journey.npz`.

    Args:
      values: the run's config.
      workdir: the run's directory; its predictions of the split are read where there are any.
      classifier: the run's network.
      dataset: holds the split, which is not empty.
      split: train, valid or test.
      about: see `capture`.
      kind: see `choose`.
      count: the most images.

    Raises:
      FloatingPointError: a logit or a layer's output is not finite.
    """
    examples = dataset.splits[split]
    name = recorded_data.file_name(workdir, split, dataset.identity)
    logits = _predictions(workdir / run_dir.predictions(name), examples)
    if logits is None:
        examples = examples.take(np.arange(min(len(examples), UNEVALUATED)))
        logits = evaluate.predict_logits(classifier, evaluate.placed(examples), evaluate.EvalConfig.of(values))
    chosen = choose(kind, split, examples, logits, count)
    journey = capture(values, classifier, chosen, dataset.class_names, about)
    journey_file.write(workdir / journey_file.JOURNEY, journey)
    return journey


def _predictions(path: Path, examples: types.Split) -> np.ndarray | None:
    """Returns the logits that an evaluation of these very examples left."""
    try:
        stored = predictions.read(path)
    except (OSError, BrokenFile):  # the network says it anew
        return None
    if stored is None or not np.array_equal(stored.labels, examples.labels) or not np.isfinite(stored.logits).all():
        return None
    return stored.logits


def capture(
    values: Config,
    classifier: Classifier,
    chosen: Sequence[Chosen],
    classes: Sequence[str],
    about: Mapping[str, Any],
    *,
    attributes: bool = True,
) -> Journey:
    """Follows the images through the network and checks every number.

    Args:
      values: the run's config.
      classifier: the run's network.
      chosen: at least one image, of the config's shape.
      classes: their names.
      about: what else the page shall say: the step, the weights.
      attributes: whether to find out, too, which parts of the images spoke for a class.

    Raises:
      FloatingPointError: a layer's output is not finite.
      Disagreement: a number does not follow from what it is made of.
    """
    graph = build(values.layers, values.data.image_shape)
    with jax.default_device(jax.devices("cpu")[0]), jax.default_matmul_precision("highest"):
        local = jax.tree.map(_local, classifier)
        table, arrays, outputs = _captured(local, graph, np.stack([each.pixels for each in chosen]))
        attributions, about_them = (
            _attributions(values, local, graph, table, outputs, chosen) if attributes else ([()] * len(chosen), None)
        )
    pictures = []
    numbers, worst = 0, 0.0
    for row, each in enumerate(chosen):
        own = {name: output[row] for name, output in outputs.items()}
        numbers, share = _checked(graph, own, arrays, each.name)
        worst = max(worst, share)
        pictures.append(_picture(each, graph, own, attributions[row]))
    own_words = {
        "backend": "cpu",
        "precision": "highest",
        "jax": jax.__version__,
        "trained": values.train.compute_dtype,
    }
    found = {**about, **own_words, "numbers": numbers, "worst": worst}
    if about_them is not None:
        found["looked"] = about_them
    return Journey(graph, arrays, table, tuple(pictures), tuple(classes), found)


def _attributions(
    values: Config,
    classifier: Classifier,
    graph: Sequence[Stage],
    table: Float32[np.ndarray, "channels 256"],
    outputs: dict[str, np.ndarray],
    chosen: Sequence[Chosen],
) -> tuple[list[tuple[Attribution, ...]], dict[str, Any]]:
    """Returns what spoke for the class that was predicted, and for the true one where that is another."""
    logits = next(outputs[stage.name] for stage in reversed(graph) if stage.op != "softmax")
    labels = [
        list(dict.fromkeys(label for label in (predicted, each.label) if label is not None))
        for each, predicted in zip(chosen, logits.argmax(1).tolist(), strict=True)
    ]
    black = np.broadcast_to(table[:, 0], values.data.image_shape)
    return attribution.attribute(classifier, values.rows, outputs, black, labels)


def _captured(
    classifier: Classifier, graph: Sequence[Stage], pixels: UInt8[np.ndarray, "n height width channels"]
) -> tuple[np.ndarray, dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Returns what the network reads for each intensity, its arrays, and what every stage made of the images."""
    table = practice.read_for(classifier.mean, classifier.std, pixels.shape[-1])
    images = np.stack([table[channel][pixels[..., channel]] for channel in range(len(table))], axis=-1)
    captured = network.capture(classifier.layers, classifier.variables, jax.device_put(images), apart=True)
    outputs = {"input": images, **{name: np.asarray(output) for name, output in captured.items()}}
    arrays = {
        f"{stage.name}/{name}": _array(classifier.variables, stage.name, name)
        for stage in graph
        for name in stage.arrays
    }
    return table, arrays, outputs


def _local(array: Any) -> jax.Array:
    """Returns an array on the CPU, real numbers in float32."""
    numbers = np.asarray(array)
    # Not by `jnp.asarray`, which compiles a program for each shape.
    return jax.device_put(numbers if numbers.dtype.kind in "iub" else numbers.astype(np.float32))


def _array(variables: Mapping[str, Any], path: str, name: str) -> np.ndarray:
    for collection in ("params", "batch_stats"):
        place: Any = variables.get(collection, {})
        for part in (*path.split("/"), name):
            place = place.get(part) if isinstance(place, Mapping) else None
        if place is not None:
            return np.asarray(place)
    raise KeyError(f"{path}/{name}")


def _checked(
    graph: Sequence[Stage], outputs: Mapping[str, np.ndarray], arrays: Mapping[str, np.ndarray], image: str
) -> tuple[int, float]:
    """Returns how many numbers the page will check, and the largest part of an allowed difference."""
    numbers, worst = 0, 0.0
    for stage in graph[1:]:
        output = outputs[stage.name]
        if not np.isfinite(output).all():
            raise FloatingPointError(
                f"{stage.name}: not finite for image {image}. The run has diverged; explain another"
            )
        own = {name: arrays[f"{stage.name}/{name}"] for name in stage.arrays}
        verdict = reference.verify(stage, [outputs[graph[source].name] for source in stage.sources], output, own)
        if not stage.exact and stage.op != "softmax":
            numbers += verdict.numbers
        worst = max(worst, verdict.worst)
    return numbers, worst


def _picture(
    each: Chosen, graph: Sequence[Stage], outputs: Mapping[str, np.ndarray], attributions: tuple[Attribution, ...]
) -> Picture:
    stored = {stage.name: outputs[stage.name] for stage in graph[1:] if not stage.exact}
    digests = {stage.name: zlib.crc32((outputs[stage.name] + 0.0).tobytes()) for stage in graph[1:] if stage.exact}
    return Picture(*each, outputs=stored, digests=digests, attributions=attributions)


def capture_for_report(
    values: Config,
    workdir: Path,
    classifier: Classifier,
    dataset: types.Dataset,
    *,
    step: int,
    validates: bool,
    count: int = IMAGES,
) -> None:
    """Writes `first_layer.npz`, `journey.npz`, from the split that the run was evaluated on last, and `practice.npz`.

    Args:
      values: the run's config.
      workdir: the run's directory.
      classifier: with the weights that the config chose.
      dataset: the run's.
      step: the updates behind them.
      validates: whether there is a validation split that training did not see.
      count: the most images that are followed.

    Raises:
      FloatingPointError: a layer's output is not finite.
      Disagreement: a number does not follow from what it is made of.
    """
    name = "test" if values.eval.test else "valid" if validates else "train"
    first_layer.write(values, workdir, classifier, dataset.splits[name].images)
    about = {"step": step, "weights": values.eval.weights}
    follow_split(values, workdir, classifier, dataset, name, about, count=count)
    practice.write(values, workdir, dataset)
