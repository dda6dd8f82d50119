"""A source of the user's own: arrays that a function returns, by its name in `config.data.name`."""

import json

import numpy as np
import pytest

import cnn
import runs
from cnn.config import extensions, files
from cnn.config.config import ConfigError
from cnn.data import datasets
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


def test_floats_are_read_as_shares_or_as_intensities_and_it_is_said(enter):
    enter(lambda: cnn.Arrays(split(dtype=np.float32, high=1), split(4, dtype=np.float64, high=200)))
    data = load(valid_fraction=0.0)
    np.testing.assert_array_equal(data.train.images[..., 0], np.round(pictures(dtype=np.float32, high=1) * 255))
    np.testing.assert_array_equal(data.test.images[..., 0], np.round(pictures(4, np.float64, 200)))
    assert data.notes == (
        "train of given: its float32 numbers, 0 to 1, are read as shares of full intensity: they lie in [0, 1]",
        "test of given: its float64 numbers, 0 to 200, are read as intensities from 0 to 255",
    )


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
    "labels of a half": (
        lambda: cnn.Arrays((pictures(), np.arange(8) / 2), split()),
        r"train of given: labels must be whole numbers or names, got float64",
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


def test_what_fails_in_it_names_its_place(enter):
    def broken():
        return undefined

    enter(broken)
    with pytest.raises(cnn.ExtensionError, match=r"config.data.name: given failed in .*test_arrays.py, line \d+, in b"):
        load()


def test_a_name_without_its_source_is_refused_as_any_other():
    with pytest.raises(ConfigError, match=r"config.data.name: must be csv, digits, .* or a TFDS name"):
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
