"""The three splits: a source's own ones, parts of train, folds, and how much of train is used."""

import importlib
import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from PIL import Image

import cnn
import runs
import sweeps
from cnn.cli import parser
from cnn.config.config import ConfigError
from cnn.data import datasets, splits
from cnn.data.splits import Fold, fold_rows, limited_rows, parse_fold, stratified_rows
from cnn.data.types import DataError, DataSpec
from cnn.registry import SOURCES
from cnn.runs import compare
from cnn.train import experiment, preflight

LABELS = npst.arrays(np.int32, st.integers(1, 200), elements=st.integers(0, 4))
SPEC = {"name": "folder", "image_shape": (2, 2, 1), "classes": 2, "valid_fraction": 0.0}


def write(root, **counts):
    """Writes so many pictures, all different, into each folder, given as train_cat for train/cat."""
    shade = 0
    for folder, count in counts.items():
        path = root / folder.replace("_", "/")
        path.mkdir(parents=True, exist_ok=True)
        for number in range(count):
            Image.fromarray(np.array([[shade % 256, shade // 256], [0, 0]], np.uint8)).save(path / f"{number:03}.png")
            shade += 1
    return root


def load(root, **changes):
    return datasets.load(DataSpec(**{**SPEC, "data_dir": str(root), **changes}))


def pictures(split):
    """Returns what tells each picture of a split apart, in order."""
    images = split.images[np.arange(len(split))]
    return [int(image[0, 0, 0]) + 256 * int(image[0, 1, 0]) for image in images]


def sizes(data):
    return len(data.train), len(data.valid), len(data.test)


# Folds and limits are properties of the labels alone.


@settings(max_examples=40)
@given(LABELS, st.integers(2, 6))
def test_each_row_is_of_one_fold_and_folds_are_of_one_size(labels, of):
    folds = np.array([fold_rows(labels, Fold(number, of)) for number in range(1, of + 1)])
    counts = np.bincount(labels, minlength=5)
    assert np.array_equal(folds.sum(axis=0), counts[labels] > 1)
    for part in [np.ones(len(labels), bool), *(labels == label for label in range(5))]:
        of_fold = folds[:, part].sum(axis=1)
        assert of_fold.max() - of_fold.min() <= 1
    for label in np.unique(labels):
        assert (~folds[:, labels == label]).any(axis=1).all()


def test_the_folds_never_change():
    labels = np.arange(20, dtype=np.int32) % 2
    assert np.flatnonzero(fold_rows(labels, Fold(2, 5))).tolist() == [2, 11, 12, 13]


@settings(max_examples=40)
@given(LABELS, st.data())
def test_a_smaller_limit_is_part_of_a_larger_one_and_keeps_the_proportions(labels, data):
    number = data.draw(st.integers(1, len(labels)))
    chosen = limited_rows(labels, number, splits.LIMIT_KEY)
    counts, classes = np.bincount(labels, minlength=5), len(np.unique(labels))
    assert chosen.sum() == max(number, classes)
    assert not (chosen & ~limited_rows(labels, number + 1, splits.LIMIT_KEY)).any()
    taken = np.bincount(labels[chosen], minlength=5)
    assert np.array_equal(taken > 0, counts > 0)
    if (taken[counts > 0] > 1).all():
        assert np.abs(taken - chosen.sum() * counts / len(labels)).max() < 1 + classes / 2


def test_a_limit_of_equal_classes_takes_equal_parts_and_never_changes():
    labels = np.arange(40, dtype=np.int32) % 4
    for number in (4, 12, 28, 40):
        assert np.bincount(labels[limited_rows(labels, number, splits.LIMIT_KEY)]).tolist() == [number // 4] * 4
    assert np.flatnonzero(limited_rows(labels, 6, splits.LIMIT_KEY)).tolist() == [0, 15, 21, 25, 26, 27]


@settings(max_examples=40)
@given(LABELS, st.floats(0, 0.999))
def test_what_is_spared_leaves_one_of_each_class_and_otherwise_changes_nothing(labels, fraction):
    plain = stratified_rows(labels, fraction, splits.VALID_KEY)
    spared = stratified_rows(labels, fraction, splits.VALID_KEY, spare=True)
    assert np.array_equal(np.unique(labels[~spared]), np.unique(labels))
    for label in np.unique(labels):
        of_class = labels == label
        if not plain[of_class].all():
            assert np.array_equal(spared[of_class], plain[of_class])
        else:
            assert plain[of_class].sum() - spared[of_class].sum() == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0/5", r"must be one of 1/5 to 5/5, got '0/5'\."),
        ("6/5", r"must be one of 1/5 to 5/5, got '6/5'\."),
        ("2/1", r"must be one of at least 2 folds, got '2/1'\."),
        ("a/b", r"must be k/n, the k-th of n folds, such as 2/5, got 'a/b'\."),
        ("2", r"must be k/n"),
        ("-1/5", r"must be k/n"),
    ],
)
def test_what_is_no_fold_is_refused(text, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        parse_fold(text)
    with pytest.raises(ConfigError, match=rf"^config\.data\.fold: {message}"):
        runs.tiny(f"data.fold={text}")
    assert parse_fold("2/5") == Fold(2, 5) and parse_fold("") is None


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["data.limit=2.5"], r"data\.limit: must be a share below 1 or a whole number of pictures, got 2\.5\.$"),
        (["data.limit=9"], r"data\.limit: must leave one picture of each of 10 classes, got 9\. Use more\.$"),
        (["data.limit=-1"], r"data\.limit: must be a finite number of at least 0, got -1\.$"),
        (["data.test_fraction=1"], r"data\.test_fraction: must be a finite number in \[0, 1\), got 1\.$"),
        (["data.valid=other"], r"data\.valid: must be one of 'auto', 'own', 'fraction', got 'other'\.$"),
        (
            ["data.fold=1/5", "data.valid=own"],
            r"data\.fold: cuts valid from train, but data\.valid is \"own\", got '1/5'\. Set data\.valid to \"auto\"",
        ),
        (
            ["data.balance=classes", "train.class_weights=balanced"],
            r"data\.balance: and train\.class_weights = \"balanced\" both make up for rare classes, got \"classes\"\. ",
        ),
    ],
)
def test_a_wrong_field_is_one_line(overrides, message):
    with pytest.raises(ConfigError, match=rf"^config\.{message}"):
        runs.tiny(*overrides)


# The splits of a source.


@pytest.mark.parametrize("name", ["valid", "val", "validation"])
@pytest.mark.parametrize("loading", ["memory", "stream"])
def test_the_folders_own_validation_split_is_used_ignored_or_asked_for(tmp_path, name, loading):
    write(tmp_path, train_cat=10, train_dog=10, test_cat=1, test_dog=1, **{f"{name}_cat": 3, f"{name}_dog": 1})
    auto, own, cut = (
        load(tmp_path, valid=valid, valid_fraction=0.2, loading=loading) for valid in ("auto", "own", "fraction")
    )
    assert sizes(auto) == sizes(own) == (20, 4, 2) and sizes(cut) == (16, 4, 2)
    assert pictures(own.valid) == pictures(auto.valid) == list(range(22, 26))
    assert set(pictures(cut.train) + pictures(cut.valid)) == set(range(20))
    assert auto.identity == own.identity != cut.identity
    assert auto.notes == own.notes
    assert auto.notes[0].startswith(
        "config.data.valid_fraction: is not used, as the folder has a validation split of its own, "
        f"{name}/, which earlier versions passed over; "
    )
    assert cut.notes == (
        "config.data.valid: is 'fraction', so the validation split that folder has of its own is not used: "
        "its 4 pictures are in no split.",
    )


def test_a_validation_split_of_its_own_that_is_not_there_is_refused(tmp_path):
    write(tmp_path, train_cat=4, train_dog=4, test_cat=1, test_dog=1)
    with pytest.raises(
        DataError, match=r"^config\.data\.valid: folder has no validation split .*, got 'own'\. Use 'au"
    ):
        load(tmp_path, valid="own")
    plain, cut = (load(tmp_path, valid=valid, valid_fraction=0.25) for valid in ("auto", "fraction"))
    assert plain.identity == cut.identity and plain.notes == cut.notes == ()


def test_two_validation_folders_are_refused(tmp_path):
    write(tmp_path, train_cat=4, train_dog=4, valid_cat=2, val_cat=2)
    with pytest.raises(
        DataError, match=r"^config\.data\.data_dir: must have one validation split, got valid/ and val/"
    ):
        load(tmp_path)


@pytest.mark.parametrize("loading", ["memory", "stream"])
def test_a_folder_without_test_has_an_empty_one_or_a_part_of_train(tmp_path, loading):
    write(tmp_path, train_cat=20, train_dog=10, valid_cat=1, valid_dog=1)
    assert sizes(load(tmp_path, loading=loading)) == (30, 2, 0)
    cut = load(tmp_path, loading=loading, test_fraction=0.2)
    assert sizes(cut) == (24, 2, 6)
    assert np.bincount(cut.test.labels).tolist() == [4, 2]
    assert sorted(pictures(cut.train) + pictures(cut.test)) == list(range(30))
    assert cut.test.images[:0].shape == (0, 2, 2, 1)
    # Whatever becomes of valid, test stays.
    for changes in ({"valid": "fraction", "valid_fraction": 0.3}, {"fold": "1/3"}, {"limit": 4.0}):
        assert pictures(load(tmp_path, loading=loading, test_fraction=0.2, **changes).test) == pictures(cut.test)


def test_classes_in_the_folder_itself_are_train(tmp_path):
    write(tmp_path / "a", cat=20, dog=10)
    flat = load(tmp_path / "a", test_fraction=0.2, valid_fraction=0.25)
    assert flat.class_names == ("cat", "dog") and flat.notes == ()
    assert sizes(flat) == (18, 6, 6)
    assert sizes(load(tmp_path / "a")) == (30, 0, 0)
    write(tmp_path / "another name", cat=20, dog=10)
    assert load(tmp_path / "another name", test_fraction=0.2, valid_fraction=0.25).identity == flat.identity
    (tmp_path / "a" / "notes.txt").write_text("x")
    (tmp_path / "a" / "cat" / "more").mkdir()
    (note,) = load(tmp_path / "a").notes
    assert note == (
        "config.data.data_dir: 2 files or folders passed over, as no picture of a class: notes.txt, cat/more."
    )


def test_test_is_not_cut_where_there_is_one(tmp_path):
    write(tmp_path, train_cat=4, train_dog=4, test_cat=1, test_dog=1)
    with pytest.raises(DataError, match=r"^config\.data\.test_fraction: folder has a test split .*, got 0\.2\. Set it"):
        load(tmp_path, test_fraction=0.2)


def test_a_part_that_rounds_to_nothing_is_refused(tmp_path):
    write(tmp_path, train_cat=4, train_dog=4)
    with pytest.raises(DataError, match=r"^config\.data\.test_fraction: leaves no picture of the 8 of folder in test"):
        load(tmp_path, test_fraction=0.1)
    write(tmp_path / "few", train_cat=1, train_dog=1)
    with pytest.raises(DataError, match=r"^config\.data\.fold: leaves 2 pictures in train and 0 in valid, got '3/3'"):
        load(tmp_path / "few", fold="3/3")


def test_a_class_that_test_would_empty_stays_in_train(tmp_path):
    write(tmp_path, train_cat=9, train_dog=1)
    data = load(tmp_path, test_fraction=0.5)
    assert data.train.labels.tolist().count(1) == 1 and 1 not in data.test.labels
    assert data.notes == (
        "config.data.test_fraction: 0.5 would take every picture of 1 of 2 classes out of training, so one of each "
        "stays there: dog (1).",
    )


@pytest.mark.parametrize("loading", ["memory", "stream"])
def test_folds_join_the_folders_own_validation_split_and_each_picture_is_valid_once(tmp_path, loading):
    write(tmp_path, train_cat=10, train_dog=7, test_cat=1, test_dog=1, valid_cat=2, valid_dog=1)
    folds = [load(tmp_path, loading=loading, fold=f"{number}/4") for number in range(1, 5)]
    assert sorted(picture for data in folds for picture in pictures(data.valid)) == [*range(17), 19, 20, 21]
    for data in folds:
        assert not set(pictures(data.train)) & set(pictures(data.valid))
        assert len(data.train) + len(data.valid) == 20 and len(data.valid) == 5
        assert data.notes == (
            "config.data.fold: the validation split that folder has of its own is joined to train, 3 pictures, before "
            "train is cut into folds.",
        )
    ignored = load(tmp_path, loading=loading, fold="1/4", valid="fraction")
    assert len(ignored.train) + len(ignored.valid) == 17
    assert len({data.identity for data in (*folds, ignored, load(tmp_path))}) == 6


def test_classes_with_fewer_pictures_than_folds_are_named(tmp_path):
    write(tmp_path, train_cat=10, train_dog=1, train_emu=2)
    notes = load(tmp_path, classes=3, fold="1/4").notes
    assert notes == (
        "config.data.fold: 2 of 3 classes have fewer pictures than there are folds, 4, so some folds validate without "
        "them: dog (1), emu (2).",
        "config.data.fold: the only picture of a class stays in train in every fold: dog.",
    )


@pytest.mark.parametrize("loading", ["memory", "stream"])
@pytest.mark.parametrize("train_on", ["train", "train+valid"])
def test_a_limit_takes_part_of_train_alone(tmp_path, loading, train_on):
    write(tmp_path, train_cat=30, train_dog=10, test_cat=1, test_dog=1)
    how = {"loading": loading, "train_on": train_on, "valid_fraction": 0.2}
    whole, some, half = (load(tmp_path, limit=limit, **how) for limit in (0.0, 6.0, 0.5))
    assert pictures(whole.valid) == pictures(some.valid) == pictures(half.valid)
    assert pictures(whole.test) == pictures(some.test)
    assert set(pictures(some.train)) < set(pictures(half.train)) < set(pictures(whole.train))
    assert len(some.train) == 6 and len(half.train) == len(whole.train) // 2
    assert pictures(some.train) == sorted(pictures(some.train))
    assert len({whole.identity, some.identity, half.identity}) == 3
    more = load(tmp_path, limit=1000.0, **how)
    assert pictures(more.train) == pictures(whole.train)
    assert more.notes == (
        f"config.data.limit: is 1,000, more than the {len(whole.train)} pictures of train, which are all used.",
    )


def test_the_identity_is_what_is_used_and_that_of_before_without_the_new_fields(tmp_path):
    write(tmp_path, train_cat=8, train_dog=8, train_emu=8)
    spec = DataSpec(**{**SPEC, "classes": 3, "data_dir": str(tmp_path)})
    changes = ({}, {"test_fraction": 0.25}, {"fold": "1/4"}, {"fold": "2/4"}, {"limit": 6.0}, {"limit": 0.5})
    each = [datasets.identity(DataSpec(**{**vars(spec), **change})) for change in changes]
    assert len(set(each)) == len(changes)
    loaded = [load(tmp_path, classes=3, **change).identity for change in changes]
    assert loaded == each


def test_copies_are_told_whichever_splits_they_are_in(tmp_path):
    write(tmp_path, cat=4, dog=4)
    for name in ("cat", "dog"):
        for number in range(4):
            (tmp_path / name / f"{number:03}b.png").write_bytes((tmp_path / name / f"{number:03}.png").read_bytes())
    data = load(tmp_path, test_fraction=0.25, valid_fraction=0.25)
    seen: set[int] = set()
    expected = 0
    for split in (data.train, data.valid, data.test):
        expected += sum(picture in seen for picture in pictures(split))
        seen |= set(pictures(split))
    (note,) = data.notes
    assert expected > 1
    assert re.match(
        rf"config\.data\.data_dir: {expected} pictures are in two splits, byte for byte: "
        r"(cat|dog)/\d+b?\.png \((valid|test)\) = (cat|dog)/\d+b?\.png \((train|valid)\)",
        note,
    )
    assert load(tmp_path).notes == ()
    joined = load(tmp_path, valid_fraction=0.25, train_on="train+valid")
    assert joined.notes == ()


def test_copies_between_valid_and_train_are_told_unless_valid_is_not_used(tmp_path):
    write(tmp_path, train_cat=4, train_dog=4, test_cat=1, val_cat=1)
    (tmp_path / "val/cat/copy.png").write_bytes((tmp_path / "train/cat/000.png").read_bytes())
    told = "config.data.data_dir: 1 picture is in two splits, byte for byte: val/cat/copy.png (valid) = "
    assert load(tmp_path).notes[-1].startswith(told + "train/cat/000.png. Accuracy")
    assert not any("byte for byte" in note for note in load(tmp_path, valid="fraction").notes)


@pytest.fixture
def enter():
    yield lambda load: SOURCES.register(load, "given")
    SOURCES.forget("")


def shades(count, first=0):
    images = np.zeros((count, 2, 2), np.uint8)
    images[:, 0, 0] = np.arange(first, first + count)
    return images, np.arange(count) % 2


def test_arrays_may_lack_test_and_bring_valid(enter):
    enter(lambda: cnn.Arrays(train=shades(20), valid=shades(4, 100)))
    data = load("", name="given")
    assert sizes(data) == (20, 4, 0)
    assert data.notes == ("config.data.valid_fraction: is not used, as given has a validation split of its own.",)
    assert sizes(load("", name="given", valid="fraction", valid_fraction=0.2, test_fraction=0.5)) == (8, 2, 10)
    assert sizes(load("", name="given", fold="1/4")) == (18, 6, 0)


# What needs a split that is not there.


def config_of(root, *overrides, **changes):
    data = {**SPEC, "data_dir": str(root), **changes}
    sections = {**runs.SECTIONS, "data": data, "train": {"epochs": 1, "batch_size": 4}}
    return cnn.config.resolve.resolve(sections, [cnn.config.config.Override(*each.split("=", 1)) for each in overrides])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            [],
            r"config\.eval\.test: the data have no test split, got True\. Set eval\.test=False, or cut one with "
            r"data\.test_fraction\.",
        ),
        (
            ["eval.test=False"],
            r"config\.eval\.test: is False and there is nothing else to evaluate: data\.valid_fraction is 0\. Set",
        ),
        (
            ["data.test_fraction=0.25", "eval.weights=best"],
            r'config\.eval\.weights: is "best" but nothing chooses it: data\.valid_fraction is 0\. Set',
        ),
        (
            ["data.test_fraction=0.25", "train.stop=patience(2)"],
            r"config\.train\.stop: needs a validation split: data\.valid_fraction is 0\. Set",
        ),
    ],
)
def test_what_needs_a_split_that_is_not_there_is_refused_before_training(tmp_path, overrides, message):
    write(tmp_path / "data", cat=8, dog=8)
    with pytest.raises(ConfigError, match=rf"^{message}[^\n]*$"):
        experiment.run(config_of(tmp_path / "data", *overrides), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("overrides", [["data.fold=1/4"], ["data.valid_fraction=0.25"]])
@pytest.mark.parametrize("needs", ["eval.weights=best", "train.stop=patience(2)", "eval.test=False"])
def test_a_fold_or_an_own_validation_split_is_enough_for_what_needs_one(tmp_path, overrides, needs):
    write(tmp_path, train_cat=8, train_dog=8, test_cat=1, test_dog=1)
    values = config_of(tmp_path, *overrides, needs)
    preflight.check_splits(values, preflight.load_data(values.data))
    write(tmp_path, val_cat=2)
    values = config_of(tmp_path, "data.valid_fraction=0", needs)
    preflight.check_splits(values, preflight.load_data(values.data))


@pytest.mark.slow(seconds=20)
def test_a_run_without_a_test_split_trains_and_every_command_works_or_says_why(tmp_path, capsys):
    write(tmp_path / "data", cat=16, dog=16)
    data = {**SPEC, "data_dir": str(tmp_path / "data"), "valid_fraction": 0.25}
    sections = {**runs.SECTIONS, "data": data, "eval": {"test": False, "weights": "best"}}
    sections |= {"train": {"epochs": 2, "batch_size": 8}, "report": {"page": "end"}}
    run = tmp_path / "run"
    assert runs.train(run, sections=sections) == 0
    assert "valid accuracy" in capsys.readouterr().out
    assert runs.saved(run, "run.json")["data"]["examples"] == {"train": 24, "valid": 8, "test": 0}
    assert (run / "report.html").is_file() and not (run / "evaluation-test.json").exists()
    for command in (["eval"], ["eval", "--split=test"], ["explain"]):
        assert runs.start(*command, f"--workdir={run}") == 2
        assert capsys.readouterr().err == "--split: test is empty, the data have no test split. Use train or valid\n"
    for command in (["eval", "--split=valid"], ["explain", "--split=valid"], ["report"]):
        assert runs.start(*command, f"--workdir={run}") == 0
    picture = str(tmp_path / "data/cat/000.png")
    assert runs.start("predict", f"--workdir={run}", picture) == 0
    assert runs.start("diff", str(run), str(run)) == 0
    assert f"no paired test: {run} has no test split" in capsys.readouterr().out
    assert runs.train(run, sections=sections) == 0
    assert "is finished" in capsys.readouterr().out


# Balanced classes, and folds, in runs and sweeps.


@pytest.mark.slow(seconds=12)
def test_a_balanced_run_streams_stops_and_goes_on_to_the_same_bytes(tmp_path, fault):
    straight, resumed = runs.stopped_and_resumed(tmp_path, fault, "data.balance=classes")
    assert runs.outcome(straight) == runs.outcome(resumed)
    assert runs.train(tmp_path / "streamed", "data.balance=classes", "data.loading=stream", "data.workers=2") == 0
    assert runs.outcome(tmp_path / "streamed") == runs.outcome(straight)
    assert runs.train(tmp_path / "plain") == 0
    assert runs.outcome(tmp_path / "plain") != runs.outcome(straight)


@pytest.mark.slow(seconds=4)
@pytest.mark.parametrize("loading", ["memory", "stream"])
def test_a_balanced_run_goes_on_without_pictures_that_cannot_be_used(tmp_path, loading):
    write(tmp_path / "data", train_cat=30, train_dog=3, test_cat=2, test_dog=2)
    (tmp_path / "data/train/dog/000.png").write_bytes(b"broken")
    values = config_of(
        tmp_path / "data", "data.balance=classes", "data.on_error=skip", f"data.loading={loading}", "data.workers=0"
    )
    result = experiment.run(values, tmp_path / "run").result
    assert result["bad_pictures"] == 1 and result["status"] == "finished"


@pytest.mark.slow(seconds=12)
def test_trials_of_other_orders_train_together_as_alone(tmp_path):
    space = "data.balance=none,classes;seed=0,1"
    flags = ("config.data.order=shared(7)", "config.eval.test=False", "config.train.epochs=1")
    for engine, more in (("vmap", ("sweep.lanes=4",)), ("map", ())):
        assert sweeps.sweep(tmp_path / engine, space, f"sweep.engine={engine}", *more, *flags) == 0
    for row in sweeps.record(tmp_path / "vmap")["trials"]:
        losses = [sweeps.losses(tmp_path / engine / row["folder"]) for engine in ("vmap", "map")]
        np.testing.assert_allclose(*losses, rtol=1e-4)


@pytest.mark.slow(seconds=12)
def test_a_sweep_over_folds_has_a_mean_and_a_deviation(tmp_path):
    space = "optimizer.learning_rate=0.003,0.03;data.fold=1/3,2/3,3/3"
    assert sweeps.sweep(tmp_path / "sweep", space, "sweep.engine=vmap", "config.train.epochs=1") == 0
    record = sweeps.record(tmp_path / "sweep")
    assert record["counts"] == {"finished": 6}
    values = {
        row["fields"]["data.fold"]: row for row in record["trials"] if row["fields"]["optimizer.learning_rate"] > 0.01
    }
    best = record["groups"][0]
    assert best["fields"] == {"optimizer.learning_rate": 0.03} and best["n"] == 3
    assert sorted(best["values"]) == sorted(row["value"] for row in values.values())
    assert best["sd"] == pytest.approx(np.std(best["values"], ddof=1))
    assert "between folds" in record["winner"]["text"] and "seed" not in record["winner"]["text"]
    identities = set()
    for fold, row in values.items():
        about = runs.saved(tmp_path / "sweep" / row["folder"], "run.json")["data"]
        alone = preflight.load_data(runs.tiny(f"data.fold={fold}").data)
        assert about["identity"] == alone.identity
        assert about["examples"]["valid"] == len(alone.valid)
        identities.add(about["identity"])
    assert len(identities) == 3
    assert runs.start("report", f"--workdir={tmp_path / 'sweep'}") == 0
    page = (tmp_path / "sweep" / "report.html").read_text()
    assert "the mean of 3 folds." in page and "those that differ only in folds count as one" in page


@pytest.mark.slow(seconds=4)
def test_a_sweep_without_a_test_split_says_so_of_each_trial_or_leaves_test_out(tmp_path):
    write(tmp_path / "data", cat=16, dog=16)
    data = {**SPEC, "data_dir": str(tmp_path / "data"), "valid_fraction": 0.25}
    sections = {**runs.SECTIONS, "data": data, "train": {"epochs": 1, "batch_size": 8}}
    sweeps.sweep(tmp_path / "with", "data.limit=8,0.5,0", sections=sections)
    assert all(
        "config.eval.test: the data have no test" in row["error"] for row in sweeps.record(tmp_path / "with")["trials"]
    )
    sweeps.sweep(tmp_path / "sweep", "data.limit=8,0.5,0", "config.eval.test=False", sections=sections)
    found = sweeps.record(tmp_path / "sweep")
    assert found["counts"] == {"finished": 3}
    counts = [runs.saved(tmp_path / "sweep" / row["folder"], "run.json")["data"]["examples"] for row in found["trials"]]
    assert [count["train"] for count in counts] == [8, 12, 24]
    assert {count["valid"] for count in counts} == {8}


def test_two_folds_are_not_compared_example_by_example(tmp_path):
    for name, fold in (("a", "1/2"), ("b", "2/2")):
        values = runs.tiny(f"data.fold={fold}")
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(values.json)
        (tmp_path / name / "evaluation-valid.json").write_text(json.dumps({"data": fold}))
        np.savez(tmp_path / name / "predictions-valid.npz", index=[0, 1], label=[0, 1], logits=np.eye(2))
    assert compare.runs(tmp_path / "a", tmp_path / "a", "valid").paired is not None
    found = compare.runs(tmp_path / "a", tmp_path / "b", "valid")
    assert (found.paired, found.note) == (None, "no paired test: the valid splits hold other examples")


@pytest.mark.thorough
@pytest.mark.slow(seconds=50)
def test_a_rare_class_is_found_more_often_with_weights_and_with_balanced_epochs(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(parser.REPOSITORY / "benchmarks"))
    plain, *helped = importlib.import_module("imbalance").measure(tmp_path, seeds=2, epochs=5).values()
    mean_recall = [np.mean([recall for recall, _ in pairs]) for pairs in (plain, *helped)]
    assert mean_recall[0] < 0.5
    assert min(mean_recall[1:]) > mean_recall[0]
