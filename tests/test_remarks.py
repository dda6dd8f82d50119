"""What is said of a run before it trains."""

import pytest

import runs
from cnn.train import preflight

NORMED = "model.layers=flatten | dense(4) | batch_norm(momentum=0.99) | dense(4) | batch_norm(0.9) | dense(classes)"


@pytest.mark.parametrize(
    ("examples", "said"),
    [
        (1000, []),
        (1010, []),
        (
            1011,
            [
                "config.train.batch_size: each epoch leaves out 11 of 1,011 training pictures (1.1 %), a last batch "
                "that is not full; which ones, each epoch draws anew"
            ],
        ),
    ],
)
def test_pictures_that_an_epoch_leaves_out_are_counted(examples, said):
    assert preflight.remarks(runs.tiny("train.batch_size=100"), examples) == said


def test_running_statistics_that_the_run_is_too_short_for_are_told():
    (said,) = preflight.remarks(runs.tiny(NORMED, "train.batch_size=100", "train.epochs=10"), 1000)
    assert said == (
        "config.model.layers: batch_norm1: the running statistics, by which evaluation normalises, will not have "
        "settled: with momentum 0.99 that takes about 500 moves, and the run makes 100. "
        "Use a momentum of at most 0.95 or more epochs"
    )
    (said,) = preflight.remarks(runs.tiny(NORMED, "train.batch_size=100", "train.epochs=1"), 400)
    assert said.startswith("config.model.layers: batch_norm1 and 1 more: ") and said.endswith("Use more epochs")


@pytest.mark.parametrize(
    "enough",
    [
        ["train.epochs=50"],
        ["train.epochs=10", "train.accumulate_steps=5"],
        ["train.epochs=5", "train.freeze=batch_norm1"],
        ["train.epochs=5", "model.layers=flatten | batch_norm(0.9) | dense(classes)"],
    ],
)
def test_running_statistics_that_settle_or_stay_are_not_told(enough):
    assert preflight.remarks(runs.tiny(NORMED, "train.batch_size=100", *enough), 1000) == []


def test_so_few_validation_pictures_that_one_counts_are_told():
    assert preflight.few_to_validate(runs.tiny(), 0) == preflight.few_to_validate(runs.tiny(), 100) == []
    (said,) = preflight.few_to_validate(runs.tiny(), 9)
    assert preflight.few_to_validate(runs.tiny("data.fold=1/5"), 9) == []
    assert said == (
        "config.data.valid_fraction: 9 validation pictures: each is 0.11 of accuracy, so that chance decides between "
        "runs that are close. --grid='data.fold=folds(5)' in a sweep validates every training picture once"
    )


@pytest.mark.slow(seconds=4)
def test_a_run_says_so_at_its_start_and_a_sweep_does_not(tmp_path, capsys):
    flags = ("--config.train.epochs=1", "--config.train.batch_size=700", "--config.data.valid_fraction=0.01")
    assert runs.start(*flags, f"--workdir={tmp_path}/a") == 0
    said = capsys.readouterr().err
    assert "each epoch leaves out " in said and "10 validation pictures" in said
    assert runs.start("sweep", *flags, "--grid=seed=0", "--sweep.engine=map", f"--workdir={tmp_path}/s") == 0
    said = capsys.readouterr().err
    assert "leaves out" not in said and said.count("10 validation pictures") == 1
