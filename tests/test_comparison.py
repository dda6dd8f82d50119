"""Two runs side by side, and the paired test on their predictions."""

import json

import pytest

import runs
from cnn import comparison


def test_mcnemars_test_is_the_exact_binomial():
    assert comparison.mcnemar(0, 0) == 1
    assert comparison.mcnemar(1, 5) == pytest.approx(2 * (1 + 6) / 2**6)
    assert comparison.mcnemar(5, 1) == comparison.mcnemar(1, 5)
    assert comparison.mcnemar(40, 10) < 1e-4


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("other") / "run"
    assert runs.train(workdir, "optimizer.learning_rate=0.001", "train.epochs=1") == 0
    return workdir


def test_two_runs_are_compared_on_the_same_examples(finished, other, capsys):
    assert runs.start("diff", finished, other, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["config"] == [["optimizer.learning_rate", 0.01, 0.001], ["train.epochs", 3, 1]]
    assert found["data"] == []
    valid, test = found["paired"]
    assert (valid["n"], test["n"]) == (runs.EXAMPLES["valid"], runs.EXAMPLES["test"])
    saved = [runs.saved(workdir, "evaluation-test.json")["correct"] for workdir in (finished, other)]
    assert test["n10"] - test["n01"] == saved[0] - saved[1]
    assert test["p"] == comparison.mcnemar(test["n10"], test["n01"])
    assert runs.start("diff", finished, other) == 0
    said = capsys.readouterr().out
    assert "optimizer.learning_rate" in said
    assert f"McNemar's exact test p = {test['p']:.3g}" in said


def test_other_data_examples_or_no_predictions_make_no_test(finished, other, tmp_path, capsys):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(other, copy)
    record = runs.saved(copy, "evaluation-test.json")
    (copy / "evaluation-test.json").write_text(json.dumps({**record, "data": "else"}))
    (copy / "predictions-valid.npz").unlink()
    (copy / "result.json").unlink()
    assert runs.start("diff", finished, copy) == 0
    said = capsys.readouterr().out
    assert "test: no paired test: the data are not the same" in said
    assert f"valid: no paired test: {copy} keeps no predictions of valid: python main.py eval" in said
    assert "not finished" in said


@pytest.mark.parametrize("words", [("nosuch", "nowhere"), ("nosuch",), ()])
def test_a_wrong_path_is_a_line(words, capsys):
    assert runs.start("diff", *words) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == max(1, len(words))
    assert all(line.startswith("diff: ") for line in lines)
