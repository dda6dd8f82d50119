"""The evaluation against closed forms, hand-made examples, scikit-learn and its own invariants."""

import dataclasses
import json
import math
import re
from typing import Any

import ml_dtypes
import numpy as np
import pytest
import sklearn.metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cnn import metrics
from cnn.losses import softmax
from cnn.metrics import METRICS, Evaluation, evaluate, wilson


def scores(logits, labels, names=None) -> Evaluation:
    logits = np.asarray(logits)
    return evaluate(logits, np.asarray(labels), class_names=names or [f"c{i}" for i in range(logits.shape[1])])


def random_case(count=500, classes=8, seed=0):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, count)
    logits = rng.normal(size=(count, classes)).astype(np.float32)
    logits[np.arange(count), labels] += 1
    return logits, labels


def from_confidences(confidences, hits):
    """Returns two-class logits that are this sure of class 0, and labels that are 0 where it hits."""
    confidences = np.asarray(confidences)
    return np.stack([np.log(confidences), np.log1p(-confidences)], axis=1), 1 - np.asarray(hits, int)


@st.composite
def cases(draw):
    count, classes = draw(st.integers(1, 30)), draw(st.integers(1, 9))
    # Few distinct values, so that ties are common.
    values = st.one_of(st.integers(-3, 3), st.floats(-1e4, 1e4, width=32))
    logits = draw(hnp.arrays(np.float32, (count, classes), elements=values))
    return logits, draw(hnp.arrays(np.int32, count, elements=st.integers(0, classes - 1)))


@pytest.mark.parametrize(
    ("correct", "count", "low", "high"),
    [
        # Newcombe 1998, https://doi.org/10.1002/(SICI)1097-0258(19980430)17:8<857::AID-SIM777>3.0.CO;2-E, table I.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_intervals_are_the_published_ones(correct, count, low, high):
    assert wilson(correct, count) == pytest.approx((low, high), abs=5e-5)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_ends_of_a_wilson_interval_are_1_96_standard_deviations_away(case):
    correct, count = case
    low, high = wilson(correct, count)
    share = correct / count
    assert 0 <= low <= share <= high <= 1
    for end in low, high:
        # The interval's definition, solved the other way round.
        assert (share - end) ** 2 == pytest.approx(1.959963984540054**2 * end * (1 - end) / count, rel=1e-6, abs=1e-12)
    assert wilson(count - correct, count) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@pytest.mark.parametrize(("count", "classes"), [(500, 8), (200, 3), (50, 12), (1, 7)])
def test_scores_agree_with_scikit_learn(count, classes):
    logits, labels = random_case(count, classes)
    ours, names = scores(logits, labels), np.arange(classes)
    predictions = logits.argmax(axis=1)
    probabilities = np.exp(logits.astype(np.float64))
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    assert ours.accuracy == sklearn.metrics.accuracy_score(labels, predictions)
    assert np.array_equal(ours.confusion, sklearn.metrics.confusion_matrix(labels, predictions, labels=names))
    assert ours.loss == pytest.approx(sklearn.metrics.log_loss(labels, probabilities, labels=names), rel=1e-12)
    if classes > 5:
        top5 = sklearn.metrics.top_k_accuracy_score(labels, logits, k=5, labels=names)
        assert ours.top5_accuracy == pytest.approx(top5)
    # The stubs know neither the numbers that `zero_division` takes nor that the results are arrays.
    undefined: Any = np.nan
    expected: Any = sklearn.metrics.precision_recall_fscore_support(
        labels, predictions, labels=names, zero_division=undefined
    )
    for score, *values in zip(ours.classes, *expected, strict=True):
        for value, other in zip((score.precision, score.recall, score.f1, score.support), values, strict=True):
            assert (value is None and np.isnan(other)) or value == pytest.approx(other)
    assert ours.macro_f1 == pytest.approx(sklearn.metrics.f1_score(labels, predictions, average="macro"))


def test_each_metric_of_the_table_is_a_field_of_the_evaluation_and_says_which_way_is_better():
    logits, labels = random_case(50, 12)
    ours = scores(logits, labels)
    for name, kind in METRICS.items():
        if name not in ("balanced_accuracy", "auroc"):
            assert kind()(logits, labels) == getattr(ours, name)
    assert {name: kind.better for name, kind in METRICS.items()} == {
        "accuracy": "higher",
        "top5_accuracy": "higher",
        "loss": "lower",
        "macro_f1": "higher",
        "balanced_accuracy": "higher",
        "auroc": "higher",
    }


@pytest.mark.parametrize(("count", "classes"), [(500, 8), (200, 3), (60, 2)])
def test_metrics_of_imbalance_and_of_ranks_agree_with_scikit_learn(count, classes):
    logits, labels = random_case(count, classes)
    logits = np.round(logits)  # so that there are ties
    predictions, shares = logits.argmax(axis=1), np.round(softmax(logits), 12)  # ties whatever the sums' order
    recalls = sklearn.metrics.balanced_accuracy_score(labels, predictions)
    assert METRICS["balanced_accuracy"]()(logits, labels) == pytest.approx(recalls, rel=1e-12)
    binary: Any = {"multi_class": "ovr", "average": "macro"} if classes > 2 else {}
    area = sklearn.metrics.roc_auc_score(labels, shares if classes > 2 else shares[:, 1], **binary)
    assert METRICS["auroc"]()(logits, labels) == pytest.approx(area, rel=1e-12)


def test_what_is_all_but_certain_is_ranked_by_its_margin():
    logits = np.array([[50.0, 0.0, -90.0], [40.0, 0.0, -90.0], [39.0, 0.0, -90.0], [-1.0, 0.0, -90.0]])
    auroc = METRICS["auroc"]()
    # Of the first class three pairs of three are right, of the second too; a softmax gives three of the four the same.
    assert auroc(logits, np.array([0, 1, 1, 1])) == 1.0
    assert auroc(logits[:, ::-1], np.array([2, 1, 1, 1])) == 1.0
    assert auroc(logits, np.array([1, 0, 1, 1])) == pytest.approx(2 / 3)


def test_classes_that_do_not_occur_are_left_out_of_the_means():
    logits = np.array([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0], [1.0, 0.0, 0.5], [0.0, 3.0, 0.0]])
    labels = np.array([0, 0, 1, 1])
    assert METRICS["balanced_accuracy"]()(logits, labels) == 0.5
    # Of the pairs of a 0 and a 1 one tells them right, one wrong, and two are told right by the other class's share.
    shares = softmax(logits)
    pairs = [
        [(np.sign(shares[i, c] - shares[j, c]) + 1) / 2 for i in own for j in other]
        for c, own, other in ((0, (0, 1), (2, 3)), (1, (2, 3), (0, 1)))
    ]
    assert METRICS["auroc"]()(logits, labels) == pytest.approx(np.mean(pairs))
    assert np.isnan(METRICS["auroc"]()(logits, np.zeros(4, int)))


@pytest.mark.parametrize(
    ("returned", "got"),
    [
        (float("nan"), "nan"),
        (np.float32("inf"), "np.float32(inf)"),
        (np.ones(3), "shape (3,)"),
        (None, "None"),
        (True, "True"),
        ("0.5", "'0.5'"),
        (1j, "1j"),
    ],
)
def test_a_metric_that_returns_something_else_than_a_finite_number_is_named(returned, got):
    message = re.escape(f"odd must return one finite number, got {got}.")
    with pytest.raises(metrics.NotANumber, match=message) as error:
        metrics.measure({"odd": lambda logits, labels: returned}, *random_case(5, 3))
    assert error.value.name == "odd"


def test_metrics_are_given_float64_and_integers_and_give_plain_numbers():
    seen = []

    def kind(logits, labels):
        seen.append((logits.dtype, labels.dtype))
        return np.int32(3)

    assert metrics.measure({"of_three": kind}, *random_case(5, 3)) == {"of_three": 3.0}
    assert seen == [(np.float64, np.int64)]


@pytest.mark.slow
@settings(deadline=None)
@given(cases())
def test_sums_and_weighted_means_add_up(case):
    logits, labels = case
    ours = scores(logits, labels)
    confusion = np.array(ours.confusion)
    assert confusion.sum() == ours.count == len(labels)
    assert confusion.trace() == ours.correct
    assert ours.accuracy == ours.correct / ours.count
    assert confusion.sum(axis=1).tolist() == [score.support for score in ours.classes]
    recalls = [score.recall * score.support for score in ours.classes if score.recall is not None]
    assert ours.accuracy == pytest.approx(sum(recalls) / ours.count)
    assert sum(entry.count for entry in ours.bins) == ours.count
    assert 0 <= ours.ece <= 1
    assert ours.loss >= 0
    assert ours.top5_accuracy is None or ours.top5_accuracy >= ours.accuracy
    assert (ours.top5_accuracy is None) == (logits.shape[1] <= 5)


@pytest.mark.slow
@settings(deadline=None)
@given(cases(), st.randoms())
def test_the_order_of_the_examples_changes_nothing_at_all(case, random):
    logits, labels = case
    order = list(range(len(labels)))
    random.shuffle(order)
    assert scores(logits[order], labels[order]) == scores(logits, labels)


@pytest.mark.slow
@settings(deadline=None)
@given(cases())
def test_json_holds_every_field_and_no_nan(case):
    ours = scores(*case)
    record = json.loads(json.dumps(ours.to_json(), allow_nan=False))
    assert record == ours.to_json()
    assert set(record) == {field.name for field in dataclasses.fields(Evaluation)}
    assert set(record["classes"][0]) == {"name", "precision", "recall", "f1", "support"}
    assert set(record["bins"][0]) == {"low", "high", "count", "confidence", "accuracy"}


def test_a_constant_row_is_no_free_win():
    # Eight labels, all logits equal: only label 0 is hit, and labels 0 to 4 are among the first five.
    ours = scores(np.zeros((8, 8)), np.arange(8))
    assert ours.correct == 1
    assert ours.top5_accuracy == 5 / 8
    assert ours.loss == pytest.approx(math.log(8))


@pytest.mark.slow
@settings(deadline=None)
@given(cases())
def test_the_five_best_are_the_first_of_a_stable_sort(case):
    logits, labels = case
    ours = scores(logits, labels)
    first = np.argsort(-logits.astype(np.float64), axis=1, kind="stable")
    assert ours.correct == (first[:, 0] == labels).sum()
    if ours.top5_accuracy is not None:
        assert ours.top5_accuracy == (first[:, :5] == labels[:, None]).any(axis=1).mean()


def test_calibration_error_of_a_hand_made_example():
    # Bin (9/15, 10/15]: 0.62 and 0.66 with one hit; bin (13/15, 14/15]: 0.9 four times with three hits.
    ours = scores(*from_confidences([0.62, 0.66, 0.9, 0.9, 0.9, 0.9], [1, 0, 1, 1, 1, 0]))
    filled = {place: entry for place, entry in enumerate(ours.bins) if entry.count}
    assert list(filled) == [9, 13]
    assert (filled[9].count, filled[9].accuracy, filled[9].confidence) == (2, 0.5, pytest.approx(0.64))
    assert (filled[13].count, filled[13].accuracy, filled[13].confidence) == (4, 0.75, pytest.approx(0.9))
    assert (filled[13].low, filled[13].high) == (13 / 15, 14 / 15)
    assert ours.ece == pytest.approx((2 * 0.14 + 4 * 0.15) / 6)
    assert ours.bins[0].confidence is None
    assert ours.bins[0].accuracy is None


def test_bins_are_fifteen_and_include_their_upper_end():
    ours = scores([[0.0, -1e4], [0.0, 0.0]], [0, 0])
    assert [entry.high for entry in ours.bins] == pytest.approx([i / 15 for i in range(1, 16)])
    assert ours.bins[14].count == 1
    # Three equal logits: a confidence of a third, the upper end of (4/15, 5/15], give or take a rounding error.
    assert sum(entry.count for entry in scores(np.zeros((1, 3)), [0]).bins[4:6]) == 1


@pytest.mark.parametrize("size", [88.0, 1e4, 3e38])
def test_extreme_logits_keep_exact_losses(size):
    sure = scores(np.array([[size, -size], [-size, size]], np.float32), [0, 1])
    assert (sure.loss, sure.ece, sure.accuracy) == (pytest.approx(0, abs=1e-30), pytest.approx(0, abs=1e-30), 1)
    wrong = scores(np.array([[size, -size]], np.float32), [1])
    assert wrong.loss == pytest.approx(2 * float(np.float32(size)))
    tied = scores(np.array([[size, size]], np.float32), [1])
    assert tied.loss == pytest.approx(math.log(2))


def test_one_example_is_enough():
    ours = scores([[0.0, 1.0]], [1], ["cat", "dog"])
    assert (ours.count, ours.correct, ours.accuracy) == (1, 1, 1.0)
    assert ours.interval == (pytest.approx(0.20654931), 1.0)
    assert [score.name for score in ours.classes] == ["cat", "dog"]
    assert dataclasses.astuple(ours.classes[0]) == ("cat", None, None, None, 0)
    assert dataclasses.astuple(ours.classes[1]) == ("dog", 1.0, 1.0, 1.0, 1)
    assert ours.macro_f1 == 1


def test_what_has_no_denominator_is_undefined_and_not_zero():
    # Class 1 is never predicted, class 2 has no examples, class 3 neither.
    ours = scores(np.eye(4)[[0, 0, 2]], [0, 1, 1])
    assert dataclasses.astuple(ours.classes[0])[1:] == (0.5, 1.0, pytest.approx(2 / 3), 1)
    assert dataclasses.astuple(ours.classes[1])[1:] == (None, 0.0, 0.0, 2)
    assert dataclasses.astuple(ours.classes[2])[1:] == (0.0, None, 0.0, 0)
    assert dataclasses.astuple(ours.classes[3])[1:] == (None, None, None, 0)
    assert ours.macro_f1 == pytest.approx(2 / 9)


def test_a_classifier_that_says_one_class_only_is_scored():
    logits = np.tile([1.0, 0.0, 0.0], (6, 1))
    ours = scores(logits, [0, 0, 1, 1, 2, 2])
    assert ours.accuracy == pytest.approx(1 / 3)
    assert [sum(column) for column in zip(*ours.confusion, strict=True)] == [6, 0, 0]
    assert ours.macro_f1 == pytest.approx(0.5 / 3)


def test_bfloat16_logits_are_scored_like_their_values():
    logits, labels = random_case(50)
    halves = logits.astype(ml_dtypes.bfloat16)
    assert scores(halves, labels) == scores(halves.astype(np.float64), labels)


@pytest.mark.parametrize(
    ("logits", "labels", "names", "error", "message"),
    [
        (np.zeros(3), [0], "ab", ValueError, r"logits: not a filled table, got shape \(3,\)\. Pass one row of s"),
        (np.zeros((0, 2)), [], "ab", ValueError, r"logits: not a filled table, got shape \(0, 2\)\. Pass one row o"),
        (np.zeros((2, 0)), [0, 0], "", ValueError, r"logits: not a filled table, got shape \(2, 0\)\. Pass one row "),
        (
            np.zeros((2, 2)),
            [0],
            "ab",
            ValueError,
            r"labels: not one for each of 2 rows, got shape \(1,\)\. Pass one in",
        ),
        (np.zeros((2, 2)), [[0], [1]], "ab", ValueError, r"labels: not one for each of 2 rows, got shape \(2, 1\)\. "),
        (np.zeros((1, 3)), [0], "ab", ValueError, r"class_names: not one for each of 3 columns, got 2\. Pass one a"),
        (np.zeros((1, 2)), [2], "ab", ValueError, r"labels: outside 0\.\.1 in row 0, got 2\. Check the classes"),
        (np.zeros((2, 2)), [0, -1], "ab", ValueError, r"labels: outside 0\.\.1 in row 1, got -1\. Check the clas"),
        (np.array([[0, 0], [0, np.nan]]), [0, 0], "ab", ValueError, r"logits: not finite in row 1, column 1, got nan"),
        (np.array([[np.inf, 0]]), [0], "ab", ValueError, r"logits: not finite in row 0, column 0, got inf\. Evaluate"),
        (np.zeros((1, 2)), [0.0], "ab", TypeError, r"labels: not integers, got float64\. Pass class indices"),
        (np.zeros((1, 2)), [True], "ab", TypeError, r"labels: not integers, got bool\. Pass class indices"),
        (np.zeros((1, 2), complex), [0], "ab", TypeError, r"logits: not real numbers, got complex128\. Pass the sc"),
        (np.zeros((1, 2), bool), [0], "ab", TypeError, r"logits: not real numbers, got bool\. Pass the scores bef"),
        (np.array([["a", "b"]]), [0], "ab", TypeError, r"logits: not real numbers, got <U1\. Pass the scores befo"),
    ],
)
def test_what_cannot_be_scored_is_refused(logits, labels, names, error, message):
    with pytest.raises(error, match=message):
        evaluate(logits, np.array(labels), class_names=list(names))
