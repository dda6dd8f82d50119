"""IDX files of one's own: found by their names, checked, and the same data as the arrays in them."""

import gzip
import struct

import numpy as np
import pytest

import cnn
from cnn.data import datasets, idx
from cnn.data.types import DataError, DataSpec
from cnn.registry import SOURCES

SHAPE = (6, 5, 1)
COUNTS = {"train": 20, "valid": 6, "test": 10}


def content(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def split(name, labels_from=0):
    count = COUNTS[name]
    images = np.random.default_rng(count).integers(0, 256, (count, *SHAPE[:2]), dtype=np.uint8)
    return images, (np.arange(count) % 2 + labels_from).astype(np.uint8)


def put(folder, name, array):
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(gzip.compress(content(array)) if name.endswith(".gz") else content(array))


def write(folder, template="{}-{}-idx{}-ubyte", *, words=("train", "t10k"), labels_from=0):
    names = {"train": "train", "t10k": "test", "test": "test", "val": "valid"}
    for word in words:
        images, labels = split(names[word], labels_from)
        put(folder, template.format(word, "images", 3), images)
        put(folder, template.format(word, "labels", 1), labels)
    return folder


def spec(file, **changes):
    fields = {"name": "idx", "file": str(file), "image_shape": SHAPE, "classes": 2, "valid_fraction": 0.2}
    return DataSpec(**{**fields, **changes})


def load(file, **changes):
    return datasets.load(spec(file, **changes))


@pytest.mark.parametrize(
    "template",
    ["{}-{}-idx{}-ubyte", "{}-{}-idx{}-ubyte.gz", "{}-{}.idx{}-ubyte", "set-{}-{}-idx{}-ubyte.gz", "{}_{}_idx{}_ubyte"],
)
def test_the_usual_names_are_found_and_what_is_in_them_is_read(tmp_path, template):
    for loading in ("memory", "stream"):
        data = load(write(tmp_path / "files", template), loading=loading, valid_fraction=0.0)
        for name in ("train", "test"):
            images, labels = split(name)
            np.testing.assert_array_equal(getattr(data, name).images[:][..., 0], images)
            np.testing.assert_array_equal(getattr(data, name).labels, labels)
        packed = [note for note in data.notes if "is compressed" in note]
        assert len(packed) == (loading == "stream" and template.endswith(".gz"))
        assert data.streams == (loading == "stream") and len(data.notes) == len(packed)


def test_the_folder_may_be_named_as_other_sources_name_theirs(tmp_path):
    folder = write(tmp_path / "files")
    assert load("", data_dir=str(folder)).identity == load(folder).identity


def test_its_own_validation_split_is_taken(tmp_path):
    assert len(load(write(tmp_path / "files", words=("train", "val", "test"))).valid) == 6


def test_the_arrays_in_them_are_the_same_data(tmp_path):
    def given():
        return cnn.Arrays(train=split("train"), test=split("test"))

    SOURCES.register(given, "given")
    (x_train, y_train), (x_test, y_test) = split("train"), split("test")
    np.savez(tmp_path / "data.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
    try:
        identities = {
            load(write(tmp_path / "files")).identity,
            load(write(tmp_path / "packed", "{}-{}-idx{}-ubyte.gz"), loading="stream").identity,
            load(tmp_path / "data.npz", name="npz").identity,
            load("", name="given").identity,
        }
    finally:
        SOURCES.forget("")
    assert len(identities) == 1


def test_an_unpacked_file_goes_before_its_packed_copy_and_what_is_left_is_named(tmp_path):
    folder = write(write(tmp_path / "files"), "{}-{}-idx{}-ubyte.gz")
    (folder / "readme.txt").write_text("")
    data = load(folder, loading="stream")
    assert data.notes == (
        "config.data.file: 5 files passed over: readme.txt, t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz, "
        "train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz",
    )


def test_of_several_sets_a_pattern_names_one(tmp_path):
    folder = write(tmp_path / "files", "emnist-letters-{}-{}-idx{}-ubyte.gz")
    write(folder, "emnist-digits-{}-{}-idx{}-ubyte.gz")
    with pytest.raises(DataError, match=r"holds 2 sets of IDX files, got 'emnist-digits-', .*emnist-letters-{split}'"):
        load(folder)
    for pattern in ("emnist-digits-{split}", "emnist-digits-{split}-images-idx3-ubyte.gz"):
        data = load(folder / pattern)
        assert (
            "4 files passed over" in data.notes[0] and "EMNIST's files hold their pictures transposed" in data.notes[1]
        )


def test_of_two_spellings_of_one_split_a_pattern_names_one(tmp_path):
    folder = write(write(tmp_path / "files"), "{}-{}.idx{}-ubyte")
    with pytest.raises(DataError, match=r"images of train are in 2 files, got 'train-images-idx3-ubyte', 'train-ima"):
        load(folder)
    assert len(load(folder / "{split}-images.idx3-ubyte").test) == 10


def test_labels_from_1_are_used_as_they_are_and_it_is_said(tmp_path):
    folder = write(tmp_path / "files", labels_from=1)
    with pytest.raises(DataError, match=r"data.classes: the labels of .*files are 1 to 2 and are used as they are"):
        load(folder)
    data = load(folder, classes=3)
    assert data.class_names == ("0", "1", "2") and set(data.train.labels.tolist()) == {1, 2}
    assert load(folder, classes=3, class_names=("none", "a", "b")).class_names == ("none", "a", "b")


def damage(path, change):
    path.write_bytes(change(path.read_bytes()))


WRONG = {
    "truncated": (lambda c: c[:-1], "fewer bytes than the 600 its header announces"),
    "longer": (lambda c: c + b"0", "more bytes than the 600 its header announces"),
    "no IDX": (lambda c: b"\x89PNG" + c, "no IDX file of bytes in 3 dimension"),
    "of shorts": (lambda c: b"\0\0\x0b" + c[3:], "no IDX file of bytes in 3 dimension"),
    "no header": (lambda c: c[:7], "unpack requires"),
    "empty": (lambda c: b"", "no IDX file of bytes"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_damaged_file_is_one_line(tmp_path, case):
    change, message = WRONG[case]
    damage(write(tmp_path / "files") / "train-images-idx3-ubyte", change)
    with pytest.raises(DataError, match=rf"config\.data\.file: the file is damaged, got '.*train-.*': .*{message}"):
        load(tmp_path / "files")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c[:-20], "ended before the end-of-stream|CRC|invalid"),
        (lambda c: gzip.compress(gzip.decompress(c)[:-1]), "fewer bytes than the 600"),
        (lambda c: gzip.compress(gzip.decompress(c)[:4] + b"\xff" * 12), "a header that announces"),
        (gzip.decompress, "Not a gzipped file"),
    ],
)
def test_a_damaged_packed_file_is_one_line(tmp_path, change, message):
    damage(write(tmp_path / "files", "{}-{}-idx{}-ubyte.gz") / "train-images-idx3-ubyte.gz", change)
    with pytest.raises(DataError, match=rf"config\.data\.file: the file is damaged, got '.*': .*({message})"):
        load(tmp_path / "files")


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    folder = write(tmp_path / "files")
    put(folder, "t10k-labels-idx1-ubyte", np.zeros(9, np.uint8))
    with pytest.raises(DataError, match=r"config.data.file: test has 10 pictures and 9 labels in "):
        load(folder)
    (folder / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(DataError, match=r"test has no labels in '.*', got 't10k-images-idx3-ubyte' alone"):
        load(folder)


def test_a_folder_without_such_files_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    for file, message in (
        ("", "must name the folder of the IDX files, got ''"),
        (tmp_path / "no", "no such folder, got '.*no'"),
        (tmp_path / "file", "is a file, where the folder of the IDX files is needed, got '.*file'"),
        (tmp_path, "holds no IDX files of train, got "),
        (tmp_path / "a-{split}", "holds no IDX files of train, got "),
        (write(tmp_path / "files", words=("t10k",)), "holds no IDX files of train, got "),
    ):
        with pytest.raises(DataError, match=rf"config\.data\.file: {message}.* Put train-images-idx3-ubyte"):
            load(file)
    assert datasets.identity(spec(tmp_path / "no")) is None


def test_an_empty_array_is_read(tmp_path):
    put(tmp_path, "labels", np.zeros(0, np.uint8))
    assert idx.read_idx(tmp_path / "labels", 1, gz=False).shape == (0,)
