"""What logits and labels say about a classifier: every example counted once, sums divided at the end, in float64.

A metric of one number is a class with `@metric`: called with the logits (float64) and labels (indices of classes) of a
split, it returns the number, and its attribute `better` says which way is better. `evaluate` computes a publishable
evaluation, `measure` further metrics of the same examples; `most_confused` says which of them are worth a look.
"""

import dataclasses
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Integer

from cnn import fields
from cnn.losses import cross_entropy, log_softmax
from cnn.registry import METRICS, FunctionForm, OfFunction, blamed, metric

BINS = 15
TOP = 5
CONFIDENCE = 0.95
DEVIATIONS = statistics.NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
"""So many standard deviations to both sides of the mean hold a share of `CONFIDENCE` of a normal distribution."""


Better = Literal["higher", "lower"]


@metric
class Accuracy:
    """The share of the examples whose largest logit is that of their label; of equal logits the first counts."""

    better: ClassVar[Better] = "higher"

    def __call__(self, logits: Float[np.ndarray, "n classes"], labels: Integer[np.ndarray, " n"]) -> float:
        return int((logits.argmax(axis=1) == labels).sum()) / len(labels)


@metric(name="top5_accuracy")
class Top5Accuracy:
    """The share of the labels among the five largest logits; of equal logits the first counts."""

    better: ClassVar[Better] = "higher"

    def __call__(self, logits: Float[np.ndarray, "n classes"], labels: Integer[np.ndarray, " n"]) -> float:
        return float((_ranks(logits, labels) < TOP).mean())


@metric
class Loss:
    """The mean cross-entropy, in nats; without label smoothing, whatever training minimised."""

    better: ClassVar[Better] = "lower"

    def __call__(self, logits: Float[np.ndarray, "n classes"], labels: Integer[np.ndarray, " n"]) -> float:
        return math.fsum(cross_entropy(logits, labels)) / len(labels)


class MetricFunction(OfFunction):
    """A metric that a function computes; which way is better, the decorator notes on the function."""

    better: ClassVar[Better]

    def __init_subclass__(cls) -> None:
        cls.better = getattr(cls.function, "better", "higher")

    def __call__(self, logits: Float[np.ndarray, "n classes"], labels: Integer[np.ndarray, " n"]) -> float:
        return self.call(logits=logits, labels=labels)


METRICS.function = FunctionForm(MetricFunction, ("logits", "labels"))


@metric
class MacroF1:
    """The plain mean of F1 over the classes that occur among the labels or the predictions."""

    better: ClassVar[Better] = "higher"

    def __call__(self, logits: Float[np.ndarray, "n classes"], labels: Integer[np.ndarray, " n"]) -> float:
        return _mean(score.f1 for score in _class_scores(_confusion(logits, labels)))


@metric
class BalancedAccuracy:
    """The mean recall of the classes that occur among the labels: accuracy, were each of them as frequent."""

    better: ClassVar[Better] = "higher"

    def __call__(self, logits: Float[np.ndarray, "n classes"], labels: Integer[np.ndarray, " n"]) -> float:
        return _mean(score.recall for score in _class_scores(_confusion(logits, labels)))


@metric
class Auroc:
    """The mean area under the ROC curve of each class against all others, ranked by its softmax probability.

    That area is the share of the pairs of an example of the class and one of another in which the former is thought
    likelier to be of the class; a tie counts half. It is the mean over the classes of which there are both kinds, and
    not a number where there is no such class.

    Source:
      Fawcett 2006, https://doi.org/10.1016/j.patrec.2005.10.010, sections 7 and 9.2.
    """

    better: ClassVar[Better] = "higher"
    fewest_classes: ClassVar[int] = 2
    """Classes without which there is no such number."""

    def __call__(self, logits: Float[np.ndarray, "n classes"], labels: Integer[np.ndarray, " n"]) -> float:
        return _mean(_area(likeliness, labels == index) for index, likeliness in enumerate(_likeliness(logits).T))


@dataclasses.dataclass(frozen=True)
class ClassScore:
    """How one class fared; a ratio whose denominator is zero is None."""

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


@dataclasses.dataclass(frozen=True)
class Bin:
    """The examples whose confidence lies in (low, high]; an empty bin has no means."""

    low: float
    high: float
    count: int
    confidence: float | None
    accuracy: float | None

    @property
    def gap(self) -> float:
        """Distance between mean confidence and accuracy, 0 for an empty bin."""
        return 0.0 if self.accuracy is None or self.confidence is None else abs(self.accuracy - self.confidence)


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """A publishable evaluation of one classifier on one split.

    Attributes:
      count: examples.
      correct: examples whose largest logit is that of their label.
      accuracy: correct / count.
      interval: Wilson's 95 % interval of the accuracy, (low, high).
      top5_accuracy: share of labels among the five largest logits; None with five classes or fewer.
      loss: mean cross-entropy, in nats.
      macro_f1: plain mean of F1 over the classes that occur among the labels or the predictions.
      ece: expected calibration error, the mean gap between confidence and accuracy over `bins`: Guo et al. 2017,
        https://arxiv.org/abs/1706.04599, section 2.
      confusion: counts, a row for each true class and a column for each predicted one.
      classes: one score for each class, in the order of the logits.
      bins: the reliability diagram, by rising confidence.
    """

    count: int
    correct: int
    accuracy: float
    interval: tuple[float, float]
    top5_accuracy: float | None
    loss: float
    macro_f1: float
    ece: float
    confusion: tuple[tuple[int, ...], ...]
    classes: tuple[ClassScore, ...]
    bins: tuple[Bin, ...]

    def to_json(self) -> dict[str, Any]:
        """Returns plain dicts, lists, strings and finite numbers; what is undefined is None, JSON's null."""
        return fields.to_json(self)


def evaluate(
    logits: Float[np.ndarray, "n classes"], labels: Integer[np.ndarray, " n"], *, class_names: Sequence[str]
) -> Evaluation:
    """Scores every example once; the result does not depend on the order of the examples.

    The prediction is the largest logit, of equal ones that with the lowest index. A label's rank counts the larger
    logits and the equal ones at a lower index, so a row of equal logits wins only by its index.

    Args:
      logits: unnormalised log-probabilities, finite.
      labels: indices in [0, classes).
      class_names: one name for each column of `logits`.

    Raises:
      ValueError: if the shapes do not fit, there is no example, a logit is not finite or a label is out of range.
      TypeError: if the logits are not real numbers or the labels are not integers.
    """
    logits, labels = _checked(np.asarray(logits), np.asarray(labels), class_names)
    count, classes = logits.shape
    hits = logits.argmax(axis=1) == labels
    correct = int(hits.sum())
    confusion = _confusion(logits, labels)
    scores = _class_scores(confusion, class_names)
    bins = _reliability(np.exp(log_softmax(logits).max(axis=1)), hits)
    return Evaluation(
        count=count,
        correct=correct,
        accuracy=Accuracy()(logits, labels),
        interval=wilson(correct, count),
        top5_accuracy=Top5Accuracy()(logits, labels) if classes > TOP else None,
        loss=Loss()(logits, labels),
        macro_f1=MacroF1()(logits, labels),
        ece=math.fsum(b.count * b.gap for b in bins) / count,
        confusion=tuple(tuple(row) for row in confusion.tolist()),
        classes=scores,
        bins=bins,
    )


def measure(
    kinds: Mapping[str, Any], logits: Float[np.ndarray, "n classes"], labels: Integer[np.ndarray, " n"]
) -> dict[str, float]:
    """Returns the number of each metric, by name.

    Args:
      kinds: metrics by name.
      logits: unnormalised log-probabilities, finite.
      labels: indices in [0, classes).

    Raises:
      NotANumber: a metric returns something else than one finite number.
    """
    logits, labels = np.asarray(logits).astype(np.float64), np.asarray(labels).astype(np.int64)
    returned = {name: blamed(kind, "eval.metrics", kind)(logits, labels) for name, kind in kinds.items()}
    return {name: _number(name, value) for name, value in returned.items()}


class NotANumber(ValueError):
    """A metric that returned something else than one finite number; `name` is the metric's."""

    def __init__(self, name: str, returned: str) -> None:
        self.name = name
        super().__init__(f"{name} must return one finite number, got {returned}.")


def _number(name: str, value: Any) -> float:
    number = np.asarray(value)
    if number.shape:
        raise NotANumber(name, f"shape {number.shape}")
    if number.dtype.kind not in "iuf" or not np.isfinite(number):
        raise NotANumber(name, repr(value)[:80])
    return float(number)


def wilson(correct: int, count: int) -> tuple[float, float]:
    """Bounds a proportion with 95 % confidence, sensibly also at 0, at 1 and for few examples.

    Args:
      correct: successes, in [0, count].
      count: trials, at least 1.

    Source:
      Wilson 1927, https://doi.org/10.1080/01621459.1927.10502953.
    """
    share, spread = correct / count, DEVIATIONS**2 / count
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(spread * (share * (1 - share) + spread / 4)) / (1 + spread)
    # The formula reaches 0 and 1 exactly; floating point misses them by a rounding error.
    return (0.0 if correct == 0 else centre - half, 1.0 if correct == count else centre + half)


def _checked(logits: np.ndarray, labels: np.ndarray, class_names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    if logits.ndim != 2 or 0 in logits.shape:
        raise ValueError(f"logits: not a filled table, got shape {logits.shape}. Pass one row of scores an example.")
    rows, columns = logits.shape
    if labels.shape != (rows,):
        raise ValueError(f"labels: not one for each of {rows} rows, got shape {labels.shape}. Pass one index a row.")
    if len(class_names) != columns:
        raise ValueError(
            f"class_names: not one for each of {columns} columns, got {len(class_names)}. Pass one a column."
        )
    if not np.issubdtype(labels.dtype, np.integer):
        raise TypeError(f"labels: not integers, got {labels.dtype}. Pass class indices, not one-hot rows.")
    # bfloat16 is no subtype of np.floating, so the test is whether the values survive the way to float64.
    if not np.can_cast(logits.dtype, np.float64, "same_kind") or logits.dtype == bool:
        raise TypeError(f"logits: not real numbers, got {logits.dtype}. Pass the scores before softmax.")
    logits = logits.astype(np.float64)
    if not np.isfinite(logits).all():
        row, column = (int(i) for i in np.argwhere(~np.isfinite(logits))[0])
        value = f"in row {row}, column {column}, got {logits[row, column]}"
        raise ValueError(f"logits: not finite {value}. Evaluate the last finite parameters.")
    outside = (labels < 0) | (labels >= columns)
    if outside.any():
        row = int(outside.argmax())
        raise ValueError(f"labels: outside 0..{columns - 1} in row {row}, got {labels[row]}. Check the classes.")
    return logits, labels.astype(np.int64)


def _ranks(logits: Float64[np.ndarray, "n classes"], labels: Int64[np.ndarray, " n"]) -> Int64[np.ndarray, " n"]:
    own = logits[np.arange(len(labels)), labels][:, None]
    ahead = np.arange(logits.shape[1]) < labels[:, None]
    return ((logits > own) | ((logits == own) & ahead)).sum(axis=1)


def _confusion(
    logits: Float[np.ndarray, "n classes"], labels: Integer[np.ndarray, " n"]
) -> Int64[np.ndarray, "true predicted"]:
    classes = logits.shape[1]
    return np.bincount(labels * classes + logits.argmax(axis=1), minlength=classes**2).reshape(classes, classes)


def _mean(numbers: Iterable[float | None]) -> float:
    """Returns the mean of those that are defined, NaN where none is."""
    defined = [number for number in numbers if number is not None]
    return statistics.fmean(defined) if defined else math.nan


def _likeliness(logits: Float[np.ndarray, "n classes"]) -> Float64[np.ndarray, "n classes"]:
    """Returns numbers that order all examples of a class as softmax does, and also where that rounds to 1.

    A probability up to a half as it is, one above as one over what the other classes have.
    """
    below = logits.astype(np.float64) - logits.max(axis=1, keepdims=True)
    # Sorted, so that equal logits in another order have equal sums: those examples tie.
    rest = np.exp(np.sort(below, axis=1)[:, :-1]).sum(axis=1, keepdims=True)
    shares = np.exp(below) / (1 + rest)
    with np.errstate(divide="ignore"):
        return np.where(shares > 0.5, (1 + rest) / rest, shares)


def _area(likeliness: Float64[np.ndarray, " n"], own: Bool[np.ndarray, " n"]) -> float | None:
    """Returns the area under the ROC curve, `None` where all examples are of the class or none is."""
    positives = int(own.sum())
    negatives = len(own) - positives
    if not positives or not negatives:
        return None
    return (math.fsum(mean_ranks(likeliness)[own]) - positives * (positives + 1) / 2) / (positives * negatives)


def mean_ranks(numbers: Float[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Returns the rank of each number in ascending order, from 1; equal ones share the mean of theirs."""
    _, places, counts = np.unique(numbers, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[places]


def _class_scores(
    confusion: Int64[np.ndarray, "true predicted"], names: Sequence[str] | None = None
) -> tuple[ClassScore, ...]:
    def ratio(top: int, bottom: int) -> float | None:
        return top / bottom if bottom else None

    sums = confusion.diagonal().tolist(), confusion.sum(axis=1).tolist(), confusion.sum(axis=0).tolist()
    return tuple(
        ClassScore(str(name), ratio(hits, guessed), ratio(hits, support), ratio(2 * hits, guessed + support), support)
        for name, hits, support, guessed in zip(names or range(len(confusion)), *sums, strict=True)
    )


def _reliability(confidences: Float64[np.ndarray, " n"], hits: Bool[np.ndarray, " n"]) -> tuple[Bin, ...]:
    edges = np.arange(BINS + 1) / BINS
    places = np.searchsorted(edges, confidences, side="left") - 1
    bins = []
    for place in range(BINS):
        inside = places == place
        count = int(inside.sum())
        confidence = math.fsum(confidences[inside]) / count if count else None
        accuracy = int(hits[inside].sum()) / count if count else None
        bins.append(Bin(float(edges[place]), float(edges[place + 1]), count, confidence, accuracy))
    return tuple(bins)


MOST, LEAST_SURE = 96, 24
"""How many are kept where some are mistaken, and where none is."""


def most_confused(
    logits: Float[np.ndarray, "n classes"], labels: Integer[np.ndarray, " n"]
) -> Int64[np.ndarray, " rows"]:
    """Returns the rows with the greatest cross-entropy, worst first, equal ones in their order; in float64.

    Args:
      logits: finite.
      labels: indices of classes.
    """
    most = MOST if (logits.argmax(axis=1) != labels).any() else LEAST_SURE
    return np.argsort(-cross_entropy(logits, labels), kind="stable")[:most]
