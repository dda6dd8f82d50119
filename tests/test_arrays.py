"""A source of the user's own: arrays that a function returns, by its name in `config.data.name`."""

import json

import numpy as np
import pytest

import cnn
import runs
from cnn.config import extensions, files
from cnn.config.config import ConfigError
from cnn.data import datasets, sources
from cnn.data.sources import hashing
from cnn.data.types import DataError, DataSpec
from cnn.registry import SOURCES

SHAPE = (4, 4, 1)
CODE = """
import numpy as np
import cnn

@cnn.source
def shades(levels: cnn.Count = 2, seed: int = 0):
    rng = np.random.default_rng(seed)
    def split(n):
        labels = np.arange(n) % levels
        return (40 * labels[:, None, None] + rng.integers(0, 9, (n, 4, 4))).astype(np.uint8), labels
    return cnn.Arrays(train=split(60), test=split(12))
"""
SECTIONS = {
    **runs.SECTIONS,
    "data": {"name": "shades(levels=3)", "image_shape": SHAPE, "classes": 3, "valid_fraction": 0.2},
    "train": {"epochs": 2, "batch_size": 8},
}


@pytest.fixture
def enter():
    def entered(load):
        SOURCES.register(load, "given")

    yield entered
    SOURCES.forget("")
    extensions.use([])


def load(name="given", **changes):
    options = {"data_dir": "", "manual_dir": "", "image_shape": SHAPE, "classes": 2, "resize": "exact"}
    return datasets.load(DataSpec(**{"name": name, **options, "valid_fraction": 0.25, **changes}))


def pictures(n=8, dtype=np.uint8, high=255):
    return np.linspace(0, high, n * 16).reshape(n, 4, 4).astype(dtype)


def split(n=8, **how):
    return pictures(n, **how), np.arange(n) % 2


@pytest.mark.slow(seconds=3)
def test_a_run_on_ones_own_arrays_trains_evaluates_and_knows_its_data_again(tmp_path, capsys):
    path, workdir = tmp_path / "mine.py", tmp_path / "run"
    path.write_text(CODE)
    flags = [f"extensions={path}"]
    assert runs.train(workdir, *flags, sections=SECTIONS) == 0
    about = runs.saved(workdir, "run.json")
    assert about["data"]["examples"] == {"train": 48, "valid": 12, "test": 12}
    assert about["data"]["classes"] == ["0", "1", "2"]
    before = (workdir / "evaluation-test.json").read_bytes()
    assert runs.start("eval", f"--workdir={workdir}") == 0
    assert (workdir / "evaluation-test.json").read_bytes() == before
    extensions.use([])
    assert runs.start("report", f"--workdir={workdir}") == 0
    capsys.readouterr()
    assert runs.train(tmp_path / "b", *flags, "data.name=shades(levels=2.5)", sections=SECTIONS) == 2
    assert "config.data.name: shades: levels must be an integer of at least 1, got 2.5" in capsys.readouterr().err
    assert runs.train(tmp_path / "b", *flags, "data.name=shades(level=2)", sections=SECTIONS) == 2
    assert "shades has no argument 'level'. Did you mean 'levels'?" in capsys.readouterr().err


def test_its_identity_is_that_of_the_numbers(enter):
    enter(lambda: cnn.Arrays(split(), split(4)))
    first = load()
    assert first.identity == load().identity
    enter(lambda: cnn.Arrays(split(high=254), split(4)))
    assert load().identity != first.identity


@pytest.mark.parametrize(
    ("dtype", "high", "factor", "note"),
    [
        (np.float32, 1, 255, "its float32 numbers, 0 to 1, are read as shares of full intensity: they lie in [0, 1]"),
        (np.float64, 200, 1, "its float64 numbers, 0 to 200, are read as intensities from 0 to 255"),
        (np.int64, 255, 1, "its int64 numbers, 0 to 255, are read as intensities from 0 to 255"),
    ],
)
def test_other_numbers_are_read_as_shares_or_as_intensities_and_it_is_said(dtype, high, factor, note, enter):
    enter(lambda: cnn.Arrays(split(dtype=dtype, high=high), split(4, dtype=dtype, high=high)))
    data = load(valid_fraction=0.0)
    np.testing.assert_array_equal(data.train.images[..., 0], np.round(pictures(dtype=dtype, high=high) * factor))
    np.testing.assert_array_equal(data.test.images[..., 0], np.round(pictures(4, dtype, high) * factor))
    assert data.notes == (f"train of given: {note}", f"test of given: {note}")


def test_one_range_is_decided_over_all_splits(enter):
    black = (np.zeros((4, 4, 4)), np.arange(4) % 2)
    enter(lambda: cnn.Arrays(split(dtype=float, high=200), black))
    assert load().test.images.max() == 0
    enter(lambda: cnn.Arrays(split(dtype=float, high=1), split(4, dtype=float, high=200)))
    with pytest.raises(DataError, match=r"train and test of given must lie in one range, .*, got 0 to 1 and 0 to 200"):
        load()


def test_bytes_that_may_be_shares_are_told(enter):
    enter(lambda: cnn.Arrays(split(high=1), split(4)))
    said, copies = load().notes
    assert said == "train of given: no number is above 1, and bytes are read as intensities from 0 to 255"
    assert copies.startswith("config.data.name: 2 pictures are in two splits")  # all of them black


def test_there_may_be_no_test_split(enter):
    enter(lambda: cnn.Arrays(split()))
    assert (len(load().train), len(load().valid), len(load().test)) == (6, 2, 0)


def test_names_as_labels_are_the_classes_and_a_validation_split_is_taken(enter):
    named = np.array(["dog", "cat"] * 4)
    enter(lambda: cnn.Arrays((pictures(), named), (pictures(4), named[:4]), valid=(pictures(2), named[:2])))
    data = load()
    assert data.class_names == ("cat", "dog")
    assert data.train.labels.tolist() == [1, 0] * 4 and data.valid.labels.tolist() == [1, 0]


WRONG = {
    "a list": (lambda: [1], r"config.data.name: given must return cnn.Arrays, got list"),
    "no pair": (lambda: cnn.Arrays(pictures(), split()), r"train of given must be \(images, labels\), got ndarray"),
    "other shapes": (
        lambda: cnn.Arrays((pictures(), np.arange(3)), split()),
        r"train of given must hold images .* and n labels, got shapes \(8, 4, 4, 1\) and \(3,\)",
    ),
    "standardised": (lambda: cnn.Arrays((pictures(dtype=float) - 99, split()[1]), split()), r"got -99 to 156. Return"),
    "not finite": (
        lambda: cnn.Arrays((np.full((8, 4, 4), np.nan), split()[1]), split()),
        r"images must be finite numbers, got float64",
    ),
    "pictures of several sizes": (
        lambda: cnn.Arrays(([np.zeros((4, 4)), np.zeros((3, 4))], np.arange(2)), split()),
        r"train of given: images must be one array, got .*inhomogeneous",
    ),
    "objects": (
        lambda: cnn.Arrays((np.array([None] * 8), np.arange(8)), split()),
        r"train of given: images must be numbers of one type, got an array of Python objects. Return one array",
    ),
    "objects as labels": (
        lambda: cnn.Arrays((pictures(), np.array([None] * 8)), split()),
        r"train of given: labels must be numbers or names of one type, got an array of Python objects",
    ),
    "no numbers": (
        lambda: cnn.Arrays((pictures() > 9, split()[1]), split()),
        r"train of given: images must be finite numbers, got bool",
    ),
    "rows for labels": (
        lambda: cnn.Arrays((pictures(), np.eye(8)), split()),
        r"got shapes \(8, 4, 4, 1\) and \(8, 8\). Of a row of numbers for each label take labels.argmax\(1\)",
    ),
    "NaN labels": (
        lambda: cnn.Arrays((pictures(), np.array([0, np.nan] * 4)), split()),
        r"labels must be whole numbers or names, got float64, NaN in row 1 \(4 such rows\)",
    ),
    "names and numbers": (
        lambda: cnn.Arrays((pictures(2), np.array(["a", "b"])), split()),
        r"given has names as labels of train and numbers as those of test. Return labels of one kind",
    ),
    "more labels than names": (
        lambda: cnn.Arrays((pictures(), np.arange(8) % 4), split(), class_names=("a", "c")),
        r"labels of train of given must lie in 0..1, a number for each of 2 class names, got 2 in row 2 \(4 such rows",
    ),
    "a negative label": (
        lambda: cnn.Arrays(split(), (pictures(), np.arange(8) % 2 - 1)),
        r"labels of test of given must lie in 0..1, the classes counted from 0, got -1 in row 0",
    ),
    "negative labels alone": (
        lambda: cnn.Arrays((pictures(), np.full(8, -1)), (pictures(), np.full(8, -1))),
        r"labels of train of given must lie in 0..0, the classes counted from 0, got -1 in row 0 \(8 such rows\)",
    ),
    "pictures of two values": (
        lambda: cnn.Arrays((pictures() > 9, np.arange(8) % 2), split()),
        r"images must be finite numbers, got bool\. Return images\.astype\('uint8'\) \* 255\.$",
    ),
    "labels of two values": (
        lambda: cnn.Arrays((pictures(), np.arange(8) % 2 > 0), split()),
        r"labels must be whole numbers or names, got bool\. Return labels\.astype\(int\)\.$",
    ),
    "16 bits": (
        lambda: cnn.Arrays((pictures(8, np.uint16, 65535), np.arange(8) % 2), split()),
        r"in 0..255, got 0 to 65535\. Return them scaled to that, such as \(images // 256\)\.astype\('uint8'\)\.$",
    ),
    "a label that is none": (
        lambda: cnn.Arrays((pictures(), np.arange(8) * 10**9), split()),
        r"labels of given must be below 1,000,000, got 7000000000",
    ),
    "a name twice": (
        lambda: cnn.Arrays(split(), split(), class_names=("a", "a")),
        r"class_names of given must have a name of its own for each class, got 'a' twice",
    ),
    "labels from 1": (
        lambda: cnn.Arrays((pictures(), np.arange(8) % 2 + 1), (pictures(), np.ones(8, int))),
        r"config.data.classes: the labels of given are 1 to 2 and are used as they are, which makes 3 classes",
    ),
    "no train": (lambda: cnn.Arrays(None, split()), r"train of given must be \(images, labels\), got NoneType"),
    "no labels": (
        lambda: cnn.Arrays((pictures(0), []), (pictures(0), [])),
        r"given holds no pictures, got 0 in train and test\. Return some\.$",
    ),
    "labels of a half": (
        lambda: cnn.Arrays((pictures(), np.arange(8) / 2), split()),
        r"train of given: labels must be whole numbers or names, got float64",
    ),
    "shares overshot": (
        lambda: cnn.Arrays((pictures() / 255 * 1.01, np.arange(8) % 2), split()),
        r"train of given: images must lie in \[0, 1\] or in 0..255, got .*, which are neither. .* np.clip\(",
    ),
    "a mask": (
        lambda: cnn.Arrays((np.ma.masked_greater(pictures(), 0), np.arange(8) % 2), split()),
        r"train of given: images must be a plain array, got one with a mask. Return images.filled\(0\)\.$",
    ),
    "an unknown name": (
        lambda: cnn.Arrays((pictures(2), np.array(["a", "b"])), split(), class_names=("a", "c")),
        r"train of given has the label 'b', which is none of its class_names",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_is_no_pictures_and_labels_is_one_line(case, enter):
    make, message = WRONG[case]
    enter(make)
    with pytest.raises(DataError, match=message):
        load()


def test_names_that_are_spelt_in_two_unicode_forms_or_with_blanks_are_one_class(enter):
    names = ["caf\u00e9", "cafe\u0301", " tea", "tea"]
    enter(lambda: cnn.Arrays((pictures(4), names), (pictures(4), names)))
    found = load()
    assert found.class_names == ("caf\u00e9", "tea") and found.test.labels.tolist() == [0, 0, 1, 1]


def test_channels_that_come_first_are_told_also_where_no_config_says_a_shape(tmp_path):
    first = np.zeros((8, 3, 12, 12), np.uint8), np.arange(8) % 2
    sections = {name: section for name, section in runs.SECTIONS.items() if name != "data"}
    with pytest.raises(
        DataError, match=r"train of cnn.Arrays has its channels first, 3x12x12, got \(12, 12, 3\)\. Put"
    ):
        cnn.run(sections, tmp_path / "run", data=cnn.Arrays(first, first))


@pytest.mark.parametrize("shape", [(28, 28, 1), (4, 4, 1), (12, 12, 3)])
def test_channels_that_come_first_are_told_whatever_the_config_expects(shape, enter):
    first = np.zeros((8, 3, 12, 12), np.uint8), np.arange(8) % 2
    enter(lambda: cnn.Arrays(first, first))
    with pytest.raises(DataError, match=r"has its channels first, 3x12x12, got \(.*\). Put them last"):
        load(image_shape=shape)


def test_channels_that_come_first_are_told_where_they_belong(enter):
    first = np.zeros((8, 3, 4, 4), np.uint8), np.arange(8) % 2
    enter(lambda: cnn.Arrays(first, first))
    with pytest.raises(DataError, match=r"train of given has its channels first, 3x4x4, got \(4, 4, 3\). Put them"):
        load(image_shape=(4, 4, 3))


@pytest.mark.parametrize(
    "labels",
    [
        np.array([b"cat", b"d\xc3\xb6g"] * 4),
        np.array(["cat", "d\u00f6g"] * 4, dtype=object),
        np.array([["cat"], ["d\u00f6g"]] * 4),
        ["cat", "d\u00f6g"] * 4,
    ],
    ids=["bytes", "objects", "a column", "a list"],
)
def test_names_may_be_of_any_kind_of_text(labels, enter):
    enter(lambda: cnn.Arrays((pictures(), labels), (pictures(), labels)))
    assert load().class_names == ("cat", "d\u00f6g") and load().test.labels.tolist() == [0, 1] * 4


def test_pictures_stream_and_come_of_the_size_wanted(enter):
    enter(lambda: cnn.Arrays(split(dtype=float, high=1), split(4, dtype=float, high=0.5)))
    for changes in ({}, {"image_shape": (6, 8, 1), "resize": "pad"}, {"image_shape": (3, 3, 1), "resize": "bicubic"}):
        whole, streamed = load(**changes), load(**changes, loading="stream")
        assert streamed.streams and streamed.identity == whole.identity
        for name in ("train", "valid", "test"):
            np.testing.assert_array_equal(getattr(streamed, name).images[:], getattr(whole, name).images)


def test_equal_pictures_in_two_splits_are_told_of_arrays_that_python_hands_over(monkeypatch):
    given = sources.handed_over(cnn.Arrays(split(), (pictures()[3:5], np.arange(2))))
    (note,) = load(given).notes
    assert note.startswith("data: 2 pictures are in two splits, byte for byte: picture 0 of test = picture 3 of train")
    monkeypatch.setattr(hashing, "HASHED_WHOLE", 9)
    assert load(given).notes == ()


def test_names_that_a_source_has_itself_are_not_replaced_in_silence(enter):
    enter(lambda: cnn.Arrays(split(), split(4), class_names=("a", "b")))
    data = load(class_names=("c", "d"))
    assert data.class_names == ("a", "b")
    assert data.notes == ("config.data.class_names: is not used, as given names its classes, a, b",)


def test_classes_without_pictures_and_a_class_alone_are_told(enter):
    enter(lambda: cnn.Arrays((pictures(), np.arange(8) % 2 * 2), split()))
    notes = load(classes=3).notes
    assert notes[:2] == (
        "config.data.name: train has no pictures of 1 of 3 classes, which are never learnt: 1.",
        "config.data.name: test has no pictures of 1 of 3 classes, of which its results say nothing: 2.",
    )
    SOURCES.forget("")
    enter(lambda: cnn.Arrays((pictures(), np.zeros(8, int)), (pictures(4), np.zeros(4, int))))
    assert load(classes=1).notes[0] == (
        "config.data.classes: all pictures are of one class, 0: there is nothing to tell apart"
    )


def test_the_identity_of_arrays_never_changes(enter):
    enter(lambda: cnn.Arrays(split(), split(4), valid=split(2, dtype=np.float32, high=1)))
    assert load().identity == "255244359ca5fd8fb94ee1a88d584540fc2844c2b9c125cc0c274aef66190910"


def test_what_fails_in_it_names_its_place(enter):
    def broken():
        return undefined

    enter(broken)
    with pytest.raises(cnn.ExtensionError, match=r"config.data.name: given failed in .*test_arrays.py, line \d+, in b"):
        load()


def test_a_name_without_its_source_is_refused_as_any_other():
    with pytest.raises(ConfigError, match=r"must be arrays, csv, digits, .* or a TFDS name, got 'shad"):
        files.resolved({**SECTIONS, "data": json.loads(json.dumps(SECTIONS["data"]))})


def test_a_function_and_a_class_are_told_what_the_config_says_of_the_data(enter):
    def given(data):
        assert data.image_shape == SHAPE and data.data_dir == "somewhere"
        return cnn.Arrays(train=split(), test=split())

    enter(given)
    assert len(load(data_dir="somewhere").test) == 8
    SOURCES.forget("")

    class Given:
        """A source with an option."""

        count: int = 4

        def load(self, data):
            return cnn.Arrays(train=split(), test=split(self.count), class_names=("a", data.data_dir))

    enter(Given)
    assert len(load("given(count=6)", data_dir="b").test) == 6
    assert load(data_dir="b").class_names == ("a", "b")


def test_names_of_classes_may_stand_in_the_config(enter):
    enter(lambda: cnn.Arrays(train=split(), test=split()))
    assert load(class_names=("cat", "dog")).class_names == ("cat", "dog")


@pytest.mark.slow
@pytest.mark.parametrize("channels", [2, 4, 5])
def test_pictures_of_any_number_of_channels_train_and_have_their_page(channels, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8, channels), dtype=np.uint8)
    labels = np.arange(60) % 3
    data = cnn.Arrays(train=(images, labels), test=(images[:20], labels[:20]))
    changes = {"model.layers": "conv(4, 3) | relu | max_pool(2) | flatten | dense(classes) | softmax"}
    config = cnn.configure(**changes, **{"data.image_shape": (8, 8, channels), "data.classes": 3, "train.epochs": 1})
    cnn.run(config, tmp_path / "run", data=data)
    assert (tmp_path / "run" / "report.html").is_file()
