"""The results that the README and the configs report, as floors, for what trains within a minute or so."""

import os
import statistics

import pytest

import main
import runs
from cnn.commands import flags, launch

NEEDS_DATA = pytest.mark.skipif("TFDS_DATA_DIR" not in os.environ, reason="TFDS_DATA_DIR names no prepared data")


def trained(workdir, config, *overrides):
    """Returns the result of a config's run, started as a person starts it."""
    arguments = [f"--config=configs/{config}.py", f"--workdir={workdir}", *(f"--config.{text}" for text in overrides)]
    assert launch.launch(flags.parse(arguments), main._read_config) == 0
    return runs.saved(workdir, "result.json")


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(flags.REPOSITORY)


@pytest.mark.slow
def test_digits_reach_the_accuracy_that_the_readme_reports(tmp_path):
    results = [trained(tmp_path / str(seed), "digits", f"seed={seed}") for seed in range(3)]
    accuracies = [result["test"]["accuracy"] for result in results]
    assert accuracies[0] >= 0.975
    assert statistics.fmean(accuracies) >= 0.98


@NEEDS_DATA
@pytest.mark.slow
def test_the_dense_baseline_reaches_what_the_course_printed(tmp_path):
    result = trained(tmp_path / "run", "dense_baseline", "data.train_on=train+valid")
    assert result["test"]["count"] == 10_000
    assert result["test"]["accuracy"] >= 0.8744


@NEEDS_DATA
@pytest.mark.slow
def test_one_convolution_stops_by_itself_above_its_target_and_says_so(tmp_path, capsys):
    # A lower target than the config's, which takes ten epochs; the rule is the same.
    result = trained(tmp_path / "run", "one_conv", "train.stop=target(0.95)", "train.epochs=4", "eval.test=False")
    assert result["train"]["accuracy"] > 0.95
    assert result["epochs"] < 4
    said = capsys.readouterr()
    assert "is above the target 0.95" in said.out
    assert f"stopped after {result['epochs']:g} epoch" in said.out
