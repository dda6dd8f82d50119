"""Sweeps over folds: every training example is predicted once, by a run that did not train with it."""

import csv
import dataclasses
import json
import shutil

import numpy as np
import pytest

import cnn
import runs
import sweeps
from cnn import losses, metrics
from cnn.api import folds as api_folds
from cnn.config.config import ConfigError
from cnn.data import datasets, splits
from cnn.data.types import DataError
from cnn.runs.run_dir import BrokenFile
from cnn.sweep import folds, space_parser

SHORT = ("config.train.epochs=1", "sweep.engine=map")
EXAMPLES = 1438
"""Those of train and of valid, which is cut from train."""


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A sweep of two rates over three folds; the second rate is the better one."""
    folder = tmp_path_factory.mktemp("folds") / "sweep"
    assert sweeps.sweep(folder, "optimizer.learning_rate=0.0001,0.01;data.fold=folds(3)", *SHORT) == 0
    return folder


def test_all_folds_are_written_as_if_each_had_been_named(capsys):
    problems = []
    short = space_parser.read_grid("data.fold=folds(3);seed=0,1", problems)
    assert short == space_parser.read_grid("data.fold=1/3,2/3,3/3;seed=0,1", problems) and not problems
    for wrong in ("1", "0", "x", "-2", "2.5", "99999999999999", ""):
        problems.clear()
        space_parser.read_grid(f"data.fold=folds({wrong})", problems)
        assert problems == [f"--grid: data.fold: folds takes how many, from 2 to 10,000, got {wrong!r}."]


@pytest.mark.slow(seconds=8)
def test_the_best_configuration_is_trained_anew_with_all_examples(swept):
    best = sweeps.record(swept)["best"]
    assert best["diff"] == [], "the better rate is that of the config"
    assert "learning_rate=0.01" in best["command"] and "data.fold" not in best["command"]


@pytest.mark.slow(seconds=8)
def test_every_example_is_predicted_once_by_a_run_that_did_not_train_with_it(swept, capsys):
    made = cnn.load(swept).out_of_fold()
    record = sweeps.record(swept)
    assert [group["n"] for group in record["groups"]] == [3, 3] and record["groups"][0]["sd"] > 0
    assert made.record["trials"] == record["groups"][0]["trials"] == [3, 4, 5]
    assert made.rows.tolist() == list(range(EXAMPLES)) and made.record["left_out"] == 0
    values = runs.tiny()
    whole = datasets.read_source(values.data).train
    assert made.labels.tolist() == whole.labels().tolist()
    pictures, _, _ = whole.read(made.rows, 1)
    for place in (1, 2, 3):
        dataset = datasets.load(dataclasses.replace(values.data, fold=f"{place}/3"))
        of_fold = made.rows[made.folds == place]
        np.testing.assert_array_equal(pictures[of_fold], dataset.valid.images)
        trained = datasets.rows(datasets.read_source(values.data), dataclasses.replace(values.data, fold=f"{place}/3"))
        assert not set(of_fold) & set(trained.cut.train) and len(trained.cut.train) + len(of_fold) == EXAMPLES
        np.testing.assert_array_equal(pictures[trained.cut.train], dataset.train.images)

        run = swept / "trials" / f"{2 + place:04}"
        result, stored = runs.saved(run, "result.json")["valid"], np.load(run / "predictions-valid.npz")
        np.testing.assert_allclose(
            made.probabilities[made.folds == place], losses.softmax(stored["logits"]), rtol=1e-12
        )
        right = made.predictions[made.folds == place] == made.labels[made.folds == place]
        assert int(right.sum()) == result["correct"] and len(right) == result["count"]
        part = made.record["of_folds"][place - 1]
        assert (part["fold"], part["trial"]) == (f"{place}/3", 2 + place)
        assert {name: part[name] for name in ("count", "correct", "accuracy")} == {
            name: result[name] for name in ("count", "correct", "accuracy")
        }
        assert list(part["interval"]) == result["interval"]

    correct = sum(part["correct"] for part in made.record["of_folds"])
    assert made.accuracy == correct / EXAMPLES and made.interval == metrics.wilson(correct, EXAMPLES)
    pooled = losses.cross_entropy(np.log(made.probabilities), made.labels).mean()
    assert made.record["pooled"]["loss"] == pytest.approx(pooled)
    assert f"predicted once, by runs that did not train with it: accuracy {made.accuracy:.4f} (95 % " in repr(made)


@pytest.mark.slow(seconds=2)
def test_the_file_has_a_line_for_each_example_and_the_command_says_so_again(swept, capsys):
    assert sweeps.sweep(swept, "optimizer.learning_rate=0.0001,0.01;data.fold=1/3,2/3,3/3", *SHORT) == 0
    said = capsys.readouterr().out
    record = json.loads((swept / "folds.json").read_text())
    assert f"each of {EXAMPLES:,} training pictures predicted once" in said and str(swept / "folds.csv") in said
    with (swept / "folds.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["row"]) for row in rows] == list(range(EXAMPLES))
    assert list(rows[0])[:5] == ["row", "example", "label", "fold", "prediction"]
    shares = np.array([[float(row[f"p({digit})"]) for digit in range(10)] for row in rows])
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-7)
    assert [str(digit) for digit in shares.argmax(1)] == [row["prediction"] for row in rows]
    assert sum(row["prediction"] == row["label"] for row in rows) == record["pooled"]["correct"]
    assert {row["fold"] for row in rows} == {"1/3", "2/3", "3/3"} and rows[7]["example"] == "picture 7 of train"


@pytest.mark.slow(seconds=8)
def test_with_several_seeds_each_is_told_and_their_mean_probabilities_predict(tmp_path, capsys):
    assert sweeps.sweep(tmp_path / "s", "seed=3,4;data.fold=folds(2)", *SHORT) == 0
    said = capsys.readouterr().out
    made = api_folds.out_of_fold(tmp_path / "s")
    (group,) = sweeps.record(tmp_path / "s")["groups"]
    assert group["n"] == 4 and made.rows.tolist() == list(range(EXAMPLES))
    stored = [np.load(tmp_path / "s" / "trials" / f"{number:04}" / "predictions-valid.npz") for number in range(4)]
    means = [np.mean([losses.softmax(stored[n + seed]["logits"]) for seed in (0, 2)], axis=0) for n in (0, 1)]
    for place in (1, 2):
        np.testing.assert_allclose(made.probabilities[made.folds == place], means[place - 1], rtol=1e-12)
    parts = {(part["seed"], part["fold"]): part for part in made.record["of_folds"]}
    assert list(parts) == [(3, "1/2"), (4, "1/2"), (3, "2/2"), (4, "2/2")]
    for seed in made.record["of_seeds"]:
        both = [parts[seed["seed"], fold]["correct"] for fold in ("1/2", "2/2")]
        assert (seed["count"], seed["correct"]) == (EXAMPLES, sum(both))
    assert ", by the mean probabilities of 2 seeds: accuracy" in said and "out of fold, one seed alone: " in said


@pytest.mark.slow
def test_what_cannot_be_told_out_of_fold_is_one_line(swept, tmp_path, capsys):
    with pytest.raises(ConfigError, match=r"^--workdir: .* holds no sweep with a record \(no sweep.json\)"):
        api_folds.out_of_fold(tmp_path)
    folder = tmp_path / "s"
    shutil.copytree(swept, folder)
    record = sweeps.record(folder)

    def changed(**fields):
        (folder / "sweep.json").write_text(json.dumps({**record, **fields}))

    changed(varying=["seed"])
    with pytest.raises(ConfigError, match=r"does not sweep data.fold. Write --grid='data.fold=folds\(5\)'$"):
        api_folds.out_of_fold(folder)
    trials = [{**row, "status": "diverged"} if row["number"] == 4 else row for row in record["trials"]]
    changed(trials=trials)
    with pytest.raises(ConfigError, match=r"has no finished run of fold 2/3. Run them$"):
        api_folds.out_of_fold(folder)
    changed(trials=trials, options={**record["options"], "sampler": "random"})
    with pytest.raises(ConfigError, match=r"fold 2/3. Sweep its folds, --grid='data.fold=folds\(3\)'$"):
        api_folds.out_of_fold(folder)
    other = [{**row, "fields": {**row["fields"], "data.fold": "1/2"}} if row["number"] == 4 else row for row in trials]
    changed(trials=other)
    with pytest.raises(ConfigError, match=r"^space.data.fold: must hold folds of one number, got \[2, 3\]"):
        api_folds.out_of_fold(folder)
    changed()
    data = dataclasses.replace(runs.tiny().data, train_on="train+valid")
    with pytest.raises(ConfigError, match=r"^config.data.train_on: trains with the folds too"):
        folds.write(record, folder, data)
    with pytest.raises(DataError, match=r"^config.data: the data are not those that .*trials/0003 was trained with"):
        folds.write(record, folder, dataclasses.replace(data, train_on="train", test_fraction=0.0, resize="pad"))
    (folder / "trials/0004/predictions-valid.npz").write_bytes(b"none")
    (folder / "folds.json").unlink(missing_ok=True)
    with pytest.raises(
        BrokenFile, match=r"predictions-valid.npz: cannot be read .* main.py eval --workdir=.*0004 --spl"
    ):
        api_folds.out_of_fold(folder)
    assert sweeps.sweep(folder, "optimizer.learning_rate=0.0001,0.01;data.fold=folds(3)", *SHORT) == 0
    assert "no folds.csv: " in capsys.readouterr().out


def test_folds_and_the_rows_of_their_trainings_part_the_examples_whatever_else_is_cut():
    values = runs.tiny("data.test_fraction=0", "data.limit=100")
    source = datasets.read_source(values.data)
    seen = []
    for place in range(1, 6):
        found = datasets.rows(source, dataclasses.replace(values.data, fold=f"{place}/5"))
        assert not set(found.cut.train) & set(found.cut.valid) and len(found.cut.train) == 100
        seen += found.cut.valid.tolist()
        assert found.identity == datasets.identity(dataclasses.replace(values.data, fold=f"{place}/5"))
    assert sorted(seen) == list(range(found.total)) and splits.parse_fold("5/5").of == 5
