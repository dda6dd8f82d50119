"""What the host remembers: sums, the best so far, patience."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnn.config import sections
from cnn.train.loop_state import LoopState, Sums


def stacked(**series):
    return {name: np.asarray(values, np.float32) for name, values in series.items()}


def test_means_divide_sums_once():
    sums = Sums()
    metrics = stacked(loss=[30, 2], correct=[5, 0], count=[10, 2], grad_norm=[1, 4])
    for step in range(2):
        sums.add(metrics, step)
    assert sums.means() == {"loss": 32 / 12, "accuracy": 5 / 12, "grad_norm": 2.5}


def test_sums_are_in_float64():
    sums = Sums()
    metrics = stacked(loss=[2**24, 1], correct=[0, 0], count=[1, 1], grad_norm=[0, 0])
    for step in range(2):
        sums.add(metrics, step)
    assert sums.loss == 2**24 + 1


def test_it_survives_json():
    progress = LoopState(seconds=1.5, stopped="why", last_epoch={"loss": 0.1}, metrics_bytes=7)
    progress.validated(0.5, 12)
    progress.validated(0.4, 24)
    progress.window.add(stacked(loss=[1 / 3], correct=[1], count=[3], grad_norm=[0.1]), 0)
    assert LoopState.from_json(json.loads(json.dumps(progress.to_json(), allow_nan=False))) == progress


def test_equal_is_not_better():
    progress = LoopState()
    for step, accuracy in enumerate([0.5, 0.5, 0.4], 1):
        progress.validated(accuracy, step)
    assert (progress.best_value, progress.best_step, progress.stale_evaluations) == (0.5, 1, 2)
    progress.validated(0.6, 4)
    assert (progress.best_value, progress.best_step, progress.stale_evaluations) == (0.6, 4, 0)


@given(st.lists(st.floats(0, 1), min_size=1))
def test_the_best_is_the_first_largest(accuracies):
    progress = LoopState()
    for step, accuracy in enumerate(accuracies):
        progress.validated(accuracy, step)
    assert progress.best_value == max(accuracies)
    assert progress.best_step == accuracies.index(max(accuracies))
    assert progress.best_step is not None
    assert progress.stale_evaluations == len(accuracies) - 1 - progress.best_step


def test_of_a_metric_of_which_less_is_better_the_best_is_the_first_smallest():
    progress = LoopState()
    for step, loss in enumerate([0.5, 0.4, 0.4, 0.6], 1):
        progress.validated(loss, step, "lower")
    assert (progress.best_value, progress.best_step, progress.stale_evaluations) == (0.4, 2, 2)


def test_what_an_earlier_version_saved_is_read():
    sums = {"loss": 1.5, "correct": 2.0, "count": 3.0, "grad_norm": 0.1, "steps": 1}
    saved = {**LoopState(best_step=12).to_json(), "window": sums, "epoch": sums, "best_accuracy": 0.5}
    del saved["best_value"]
    progress = LoopState.from_json(saved)
    assert (progress.best_value, progress.best_step) == (0.5, 12)
    assert progress.epoch.weight == 3
    assert progress.epoch.means() == {"loss": 0.5, "accuracy": 2 / 3, "grad_norm": 0.1}


def test_the_mean_loss_is_by_weight_and_the_accuracy_is_not():
    sums = Sums()
    metrics = stacked(loss=[3, 1], correct=[1, 2], count=[2, 2], grad_norm=[0, 0], weight=[0.5, 1.5])
    for step in range(2):
        sums.add(metrics, step)
    assert sums.means() == {"loss": 2.0, "accuracy": 0.75, "grad_norm": 0.0}


@pytest.mark.parametrize("monitor", ["loss", "f_beta(2)"])
def test_patience_names_what_it_follows(monitor):
    said = sections.Patience(2).reason(1.0, 1.0, 2, monitor)
    assert said == f"no better validation {monitor} in 2 evaluations"


@pytest.mark.parametrize(
    ("rule", "train", "valid", "reason"),
    [
        (sections.Never(), 1.0, 1.0, None),
        (sections.Target(0.998), 0.998, 1.0, None),
        (sections.Target(0.998), math.nextafter(0.998, 1), None, "train accuracy 0.9980 is above the target 0.998"),
        (sections.Target(0.9, "valid"), 1.0, None, None),
        (sections.Target(0.9, "valid"), 1.0, 0.9, None),
        (sections.Target(0.9, "valid"), 0.0, 0.95, "valid accuracy 0.9500 is above the target 0.9"),
        (sections.Patience(3), 1.0, 1.0, None),
        (sections.Patience(2), 1.0, 1.0, "no better validation accuracy in 2 evaluations"),
    ],
)
def test_rules_stop_when_they_say(rule, train, valid, reason):
    assert rule.reason(train, valid, stale_evaluations=2) == reason
