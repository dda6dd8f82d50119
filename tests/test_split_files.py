"""Which files hold train, valid and test: one file, a folder, or a pattern."""

import os

import pytest

from cnn.data.sources import split_files
from cnn.data.types import DataError


def write(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    return root


def found(file, *suffixes, root=None):
    splits = split_files.find(str(file), suffixes or (".csv",)).splits
    return {
        split: [str(path.relative_to(root)) if root else path.name for path in paths] for split, paths in splits.items()
    }


def test_one_file_is_train_and_a_relative_one_is_looked_for_in_the_working_directory(tmp_path, monkeypatch):
    write(tmp_path, "a/one.csv", "test.csv")
    monkeypatch.chdir(tmp_path / "a")
    assert found("one.csv") == found(tmp_path / "a/one.csv") == {"train": ["one.csv"]}
    assert found(tmp_path / "test.csv") == {"train": ["test.csv"]}
    assert [split_files.any_of(file) for file in ("one.csv", "{split}.csv", "../{split}.csv", "two.csv", "")] == [
        *(True, False, True, False, False)
    ]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train.csv", "test.csv"], {"train": ["train.csv"], "test": ["test.csv"]}),
        (["mnist_train.csv", "mnist_test.csv"], {"train": ["mnist_train.csv"], "test": ["mnist_test.csv"]}),
        (["training.csv", "val.csv"], {"train": ["training.csv"], "valid": ["val.csv"]}),
        (
            ["train-1.csv", "train-2.csv", "dev.csv", "x.txt"],
            {"train": ["train-1.csv", "train-2.csv"], "valid": ["dev.csv"]},
        ),
        (["data/train.csv", "README.md"], {"train": ["data/train.csv"]}),
        (
            ["train/0.csv", "train/1.csv", "validation/0.csv"],
            {"train": ["train/0.csv", "train/1.csv"], "valid": ["validation/0.csv"]},
        ),
        (["only.csv"], {"train": ["only.csv"]}),
    ],
)
def test_the_files_of_a_folder_are_told_by_their_names(tmp_path, names, expected):
    assert found(write(tmp_path, *names), root=tmp_path) == expected


def test_files_that_name_no_split_are_passed_over(tmp_path):
    write(tmp_path, "train.csv", "sample_submission.csv", ".train.csv")
    (note,) = split_files.find(str(tmp_path), (".csv",)).notes
    assert note == "config.data.file: 1 file passed over, as the name speaks of no split: sample_submission.csv."


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("{split}-*.tar", {"train": ["train-000.tar", "train-001.tar"], "valid": ["val-000.tar"]}),
        ("{split}-{000..001}.tar", {"train": ["train-000.tar", "train-001.tar"], "valid": ["val-000.tar"]}),
        ("train-{001..001}.tar", {"train": ["train-001.tar"]}),
        ("*.tar", {"train": ["train-000.tar", "train-001.tar"], "valid": ["val-000.tar"]}),
        ("v?l-*.tar", {"valid": ["val-000.tar"]}),
    ],
)
def test_a_pattern_names_the_files_of_every_split(tmp_path, pattern, expected):
    write(tmp_path, "train-000.tar", "train-001.tar", "val-000.tar")
    if "train" in expected:
        assert found(tmp_path / pattern, ".tar") == expected
    else:
        with pytest.raises(DataError, match=r"config\.data\.file: no file of train"):
            found(tmp_path / pattern, ".tar")


def test_words_of_one_split_that_name_the_same_files_name_them_once(tmp_path):
    write(tmp_path, "training-0.csv", "training-1.csv", "valid-0.csv")
    expected = {"train": ["training-0.csv", "training-1.csv"], "valid": ["valid-0.csv"]}
    assert found(tmp_path / "{split}*.csv") == expected


def test_a_range_that_another_split_does_not_fill_is_said(tmp_path):
    write(tmp_path, "train-0.tar", "train-1.tar", "test-0.tar")
    (note,) = split_files.find(str(tmp_path / "{split}-{0..1}.tar"), (".tar",)).notes
    assert note.startswith("config.data.file: test has 1 of the 2 files of the range, without ")


@pytest.mark.parametrize(
    ("names", "file", "message"),
    [
        ([], "", r"^config\.data\.file: no file of train in .*, got no \.csv file\. Call it train\.csv, or name the"),
        (["a.csv", "b.csv"], "", r"no file of train in .*, got a\.csv, b\.csv\. Call it train\.csv"),
        (["test.csv", "x.csv"], "", r"no file of train in .*, got test\.csv, x\.csv\. Call it"),
        (
            ["train.csv"],
            "trian.csv",
            r"no such file or folder, got '.*trian\.csv'\. Did you mean 'train\.csv'\? Name a",
        ),
        (["train.csv"], "a/train.csv", r"no such folder as '.*/a', got '.*'\. Name a \.csv file or their folder\.$"),
        (
            ["a/train.csv", "b/train.csv"],
            "",
            r"2 folders in .* hold files of train, got .*a, .*b\. Name one of them\.$",
        ),
        (
            ["train-00000-of-00002.csv"],
            "",
            r"1 of 2 shards are missing, got no 'train-00001-of-00002\.csv' in .* Fetch",
        ),
        (
            ["train-0.csv"],
            "train-{0..2}.csv",
            r"2 of the 3 files of the range are missing, got .*train-1\.csv, .*2\.csv",
        ),
        (["train-0.csv"], "train-{2..0}.csv", r"a range must rise, by less than 100,000, got \{2\.\.0\}\. Write it"),
        (
            ["x-0.csv"],
            "{split}-0.csv",
            r"no file of train matches, got '.*\{split\}-0\.csv'\. In a pattern \{split\} st",
        ),
        (
            ["train.csv", "training.csv"],
            "{split}.csv",
            r"\{split\} stands for train and training alike, got '.*'\. Leave",
        ),
    ],
)
def test_files_that_are_not_there_are_named_with_what_would_be_right(tmp_path, names, file, message):
    write(tmp_path, *names)
    with pytest.raises(DataError, match=message) as caught:
        found(tmp_path / file)
    assert "\n" not in str(caught.value)


def test_no_file_and_what_is_no_regular_file_are_refused(tmp_path):
    with pytest.raises(
        DataError, match=r"^config\.data\.file: must name a file, a folder or a pattern .*, got ''\. Se"
    ):
        found("")
    os.mkfifo(tmp_path / "train.csv")
    with pytest.raises(DataError, match=r"config\.data\.file: is no regular file, got '.*train\.csv'\. Make it a file"):
        found(tmp_path / "train.csv")
