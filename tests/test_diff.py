"""`diff`: what two runs differ in, and McNemar's test on the same examples."""

import json
import shutil

import numpy as np
import pytest
from scipy import stats

import runs
from cnn.cli import diff
from cnn.runs import compare

pytestmark = pytest.mark.slow  # they train runs


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two runs of 1 and 3 epochs, on train and on train+valid."""
    root = tmp_path_factory.mktemp("pair")
    assert runs.train(root / "a", "train.epochs=1") == 0
    assert runs.train(root / "b", "data.train_on=train+valid", "optimizer.learning_rate=0.02") == 0
    return root / "a", root / "b"


def right(workdir):
    with np.load(workdir / "predictions-test.npz") as arrays:
        return arrays["logits"].argmax(1) == arrays["label"]


def test_the_paired_test_counts_what_only_one_got_right(pair, capsys):
    assert runs.start("diff", *pair, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    a, b = map(right, pair)
    first, second = np.flatnonzero(a & ~b), np.flatnonzero(b & ~a)
    found = said["paired"]
    assert (found["examples"], found["both"]) == (359, int((a & b).sum()))
    assert (found["only_a"], found["only_b"]) == (len(first), len(second)) and len(second) > len(first)
    assert found["rows"] == [first.tolist(), second.tolist()]
    # The exact test is a sum of binomial probabilities: heads as often as that, or less, from either side.
    less = stats.binom.cdf(len(first), len(first) + len(second), 0.5)
    assert found["p"] == pytest.approx(min(1, 2 * less))
    assert found["difference"] == pytest.approx(b.mean() - a.mean())
    assert found["interval"][0] < found["difference"] < found["interval"][1]
    assert "split otherwise" in said["note"], "the identity of train+valid is another one"
    assert {each["name"] for each in said["config"]} == {"data.train_on", "optimizer.learning_rate", "train.epochs"}
    assert [each for each in said["data"] if each["name"] == "train examples"] == [
        {"name": "train examples", "a": 1293, "b": 1438}
    ]


def test_the_text_names_both_runs_and_every_difference(pair, capsys):
    assert runs.start("diff", *pair) == 0
    text = capsys.readouterr().out
    assert text.startswith(f"a  {pair[0]}\nb  {pair[1]}\n")
    for words in ("optimizer.learning_rate   0.01", "train.epochs", "software: the same", "test accuracy"):
        assert words in text
    assert "b is better on these examples" in text and "McNemar's exact p" in text
    assert "fingerprint" not in text


def test_numbers_that_differ_are_shown_apart():
    assert diff._texts(0.123456, 0.123457) == ("0.123456", "0.123457")
    assert diff._texts(0.5, 0.25) == ("0.5", "0.25")
    assert diff._texts(["a", "b"], ["a", "c"]) == ("a, b", "a, c")


def test_a_run_and_itself_differ_in_nothing(pair, capsys):
    assert runs.start("diff", pair[0], pair[0]) == 0
    text = capsys.readouterr().out
    assert "config: the same" in text and "data: the same" in text
    assert "0 only a, 0 only b" in text and "p = 1:" in text
    assert "the trained parameters are the same, bit for bit" in text


def test_networks_that_are_equally_good_are_told_apart_as_often_as_chance_says():
    rng = np.random.default_rng(0)
    found = [compare.paired(*(rng.random((2, 500)) < 0.9)).p < 0.05 for _ in range(400)]
    assert 0.01 < np.mean(found) < 0.06, "the exact test errs on the safe side"
    better = compare.paired(rng.random(2000) < 0.85, rng.random(2000) < 0.95)
    assert better.p < 1e-6 and better.interval[0] > 0.05 and better.interval[1] < 0.15


def test_without_predictions_the_command_that_makes_them_is_named(pair, tmp_path, capsys):
    shutil.copytree(pair[0], tmp_path / "run")
    (tmp_path / "run" / "predictions-test.npz").unlink()
    (tmp_path / "run" / "result.json").unlink()
    assert runs.start("diff", pair[1], tmp_path / "run") == 0
    text = capsys.readouterr().out
    assert f"python main.py eval --workdir={tmp_path / 'run'} --split=test" in text
    assert "not finished" in text


def test_of_a_run_without_the_split_no_command_is_named_that_cannot_evaluate_it(pair, tmp_path, capsys):
    shutil.copytree(pair[1], tmp_path / "run")
    made = runs.saved(tmp_path / "run", "run.json")
    made["data"]["examples"]["valid"] = 0
    (tmp_path / "run" / "run.json").write_text(json.dumps(made))
    assert runs.start("diff", pair[0], tmp_path / "run", "--split=valid") == 0
    text = capsys.readouterr().out
    assert f"no paired test: {tmp_path / 'run'} has no valid split" in text
    assert "python main.py eval" not in text


def test_other_examples_are_not_compared(pair, tmp_path, capsys):
    shutil.copytree(pair[0], tmp_path / "run")
    with np.load(tmp_path / "run" / "predictions-test.npz") as arrays:
        changed = dict(arrays, label=np.roll(arrays["label"], 1))
    np.savez(tmp_path / "run" / "predictions-test.npz", **changed)
    assert runs.start("diff", pair[0], tmp_path / "run") == 0
    assert "no paired test: the test splits hold other examples" in capsys.readouterr().out
    saved = runs.saved(tmp_path / "run", "config.json")
    saved["data"]["name"] = "mnist"
    (tmp_path / "run" / "config.json").write_text(json.dumps(saved))
    assert runs.start("diff", pair[0], tmp_path / "run") == 0
    assert "no paired test: the runs read other data (digits and mnist)" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["folder", "npz", "csv", "csv(separator=';')", "tar", "idx", "parquet", "arrays"])
def test_other_files_with_equal_labels_are_not_compared(name, pair, tmp_path, capsys):
    for index, run in enumerate(pair[:2]):
        folder = tmp_path / str(index)
        shutil.copytree(run, folder)
        saved = runs.saved(folder, "config.json")
        saved["data"]["name"] = name
        (folder / "config.json").write_text(json.dumps(saved))
    evaluation = runs.saved(folder, "evaluation-test.json")
    (folder / "evaluation-test.json").write_text(json.dumps({**evaluation, "data": "another"}))
    assert runs.start("diff", tmp_path / "0", tmp_path / "1") == 0
    assert f"no paired test: the runs read other data ({name} and {name})" in capsys.readouterr().out


def test_wrong_words_are_one_line_each(pair, tmp_path, capsys):
    assert runs.start("diff", pair[0]) == 2
    assert capsys.readouterr().err == "diff: takes two runs, got 1. Write python main.py diff runs/a runs/b\n"
    assert runs.start("diff", pair[0], tmp_path / "none") == 2
    assert "none does not exist. Name a run's directory, or train one there first" in capsys.readouterr().err
    shutil.copytree(pair[0], tmp_path / "s" / "trials" / "0000")
    assert runs.start("diff", pair[0], tmp_path / "s") == 2
    assert f"Name a run's directory, such as {tmp_path / 's' / 'trials' / '0000'}" in capsys.readouterr().err
    (tmp_path / "s" / "trials" / "0000" / "predictions-test.npz").write_bytes(b"PK")
    assert runs.start("diff", pair[0], tmp_path / "s" / "trials" / "0000") == 2
    assert "predictions-test.npz: cannot be read" in capsys.readouterr().err
