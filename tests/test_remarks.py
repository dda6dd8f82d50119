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


@pytest.mark.slow(seconds=4)
def test_a_run_says_so_at_its_start_and_a_sweep_does_not(tmp_path, capsys):
    flags = ("--config.train.epochs=1", "--config.train.batch_size=700")
    assert runs.start(*flags, f"--workdir={tmp_path}/a") == 0
    assert "each epoch leaves out " in capsys.readouterr().err
    assert runs.start("sweep", *flags, "--grid=seed=0", "--sweep.engine=map", f"--workdir={tmp_path}/s") == 0
    assert "leaves out" not in capsys.readouterr().err
