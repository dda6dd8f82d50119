"""Loading by name, fitting to the image shape, and cutting `valid` from `train`."""

import dataclasses
from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from sklearn.datasets import load_digits

from cnn import fields
from cnn.config.sections import Data
from cnn.data.datasets import load
from cnn.data.resize import FILTERS, RESIZES, fit_images
from cnn.data.splits import VALID_KEY, stratified_rows
from cnn.data.types import DataError, DataSpec, Split

DIGITS = {
    "name": "digits",
    "data_dir": "",
    "manual_dir": "",
    "image_shape": (8, 8, 1),
    "classes": 10,
    "resize": "exact",
    "valid_fraction": 0.1,
    "train_on": "train",
}
LABELS = npst.arrays(np.int32, st.integers(0, 200), elements=st.integers(0, 4))


def load_digits_with(**changes):
    return load(DataSpec(**{**DIGITS, **changes}))


def rows_of(split):
    return [image.tobytes() + bytes([label]) for image, label in zip(split.images, split.labels, strict=True)]


def test_digits_have_the_shapes_and_types_promised():
    data = load_digits_with()
    assert (len(data.train), len(data.valid), len(data.test)) == (1293, 145, 359)
    for split in (data.train, data.valid, data.test):
        assert split.images.shape == (len(split), 8, 8, 1)
        assert (split.images.dtype, split.labels.dtype) == (np.uint8, np.int32)
    assert data.class_names == tuple("0123456789")


def test_names_that_the_data_have_themselves_are_not_replaced_in_silence():
    names = ("a", "b")
    data = load_digits_with(class_names=names)
    assert data.class_names == tuple("0123456789")
    (told,) = data.notes
    assert told.startswith("config.data.class_names: is not used, as digits names its classes, 0, 1, 2")
    assert load_digits_with(class_names=tuple("0123456789")).notes == ()


def test_a_folder_that_a_source_does_not_read_is_told_also_where_the_classes_are_not_its_own():
    told = (
        "config.data.data_dir: is not read by digits, but by csv, folder, idx, TFDS, got 'pictures'. "
        "Set config.data.name to one of these to read it."
    )
    assert load_digits_with(data_dir="pictures").notes == (told,)
    with pytest.raises(DataError) as refused:
        load_digits_with(data_dir="pictures", classes=3)
    assert str(refused.value).splitlines() == [
        "config.data.classes: digits has 10 classes, got 3. Set it to 10.",
        told,
    ]


def test_digits_keep_every_picture_once_and_use_the_whole_range_of_grey():
    data = load_digits_with()
    bunch = load_digits()
    given = np.round(bunch.images * 255 / 16).astype(np.uint8)
    expected = sorted(image.tobytes() + bytes([label]) for image, label in zip(given, bunch.target, strict=True))
    assert sorted(rows_of(data.train) + rows_of(data.valid) + rows_of(data.test)) == expected
    assert (data.train.images.min(), data.train.images.max()) == (0, 255)


def test_every_class_of_digits_gives_a_fifth_to_test():
    data = load_digits_with()
    counts = np.bincount(load_digits().target)
    assert np.abs(np.bincount(data.test.labels) - counts / 5).max() <= 0.5


def test_training_on_valid_too_keeps_the_rows_in_order_and_valid_as_it_was():
    apart, together = load_digits_with(), load_digits_with(train_on="train+valid")
    assert rows_of(together.valid) == rows_of(apart.valid)
    assert rows_of(together.train) == rows_of(load_digits_with(valid_fraction=0.0).train)
    assert rows_of(together.test) == rows_of(apart.test)


def test_a_fraction_of_zero_leaves_valid_empty():
    data = load_digits_with(valid_fraction=0.0)
    assert (len(data.train), len(data.valid)) == (1438, 0)


@given(LABELS, st.floats(0, 0.99))
def test_valid_holds_its_fraction_of_every_class_and_rows_keep_their_order(labels, fraction):
    split = Split(np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1), labels)
    chosen = stratified_rows(labels, fraction, VALID_KEY)
    rest, valid = split.take(~chosen), split.take(chosen)
    for label in np.unique(labels):
        assert abs((valid.labels == label).sum() - fraction * (labels == label).sum()) <= 0.5
    kept, taken = rest.images.ravel().tolist(), valid.images.ravel().tolist()
    assert kept == sorted(kept) and taken == sorted(taken) and sorted(kept + taken) == list(range(len(labels)))


def test_the_cut_never_changes():
    chosen = stratified_rows(np.arange(40, dtype=np.int32) % 4, 0.2, VALID_KEY)
    assert np.flatnonzero(chosen).tolist() == [3, 9, 10, 12, 19, 21, 22, 32]


@pytest.mark.parametrize(
    "changes",
    [{"image_shape": (9, 8, 1), "resize": "pad"}, {"valid_fraction": 0.2}, {"train_on": "train+valid"}],
)
def test_the_identity_tells_data_apart(changes):
    identity = load_digits_with().identity
    assert len(identity) == 64
    assert identity == load_digits_with().identity
    assert identity != load_digits_with(**changes).identity


def test_the_identity_of_digits_never_changes():
    assert load_digits_with().identity == "da45c4976e74d50c7f35d8a75532dec4faafdb93a3458929abb15e155b72c879"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"classes": 9}, r"config\.data\.classes: digits has 10 classes, got 9\. Set it to 10"),
        (
            {"image_shape": (32, 32, 1)},
            r"config\.data\.image_shape: digits is 8x8x1, got \(32, 32, 1\)\. Set it to \(8, 8, 1\), "
            r"or choose config\.data\.resize=pad or nearest or bilinear or bicubic or lanczos",
        ),
        (
            {"image_shape": (8, 8, 3)},
            r"config\.data\.image_shape: digits is 8x8x1, got \(8, 8, 3\)\. Set its last number to 1",
        ),
        (
            {"image_shape": (7, 9, 1), "resize": "pad"},
            r"config\.data\.resize: 'pad' cannot shrink, and digits is 8x8x1",
        ),
        ({"valid_fraction": 0.001}, r"config\.data\.valid_fraction: digits has 1438 .* 0 in valid, got 0\.001"),
    ],
)
def test_a_config_unlike_the_data_is_refused_by_field(changes, message):
    with pytest.raises(DataError, match=message):
        load_digits_with(**changes)


def test_a_config_may_name_every_fit_and_no_other():
    assert get_args(fields.options(Data)["resize"]) == RESIZES


@pytest.mark.parametrize("resize", RESIZES)
@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_of_the_right_size_stay_as_they_are(resize, channels):
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 4, channels), dtype=np.uint8)
    fitted = fit_images(images, image_shape=(5, 4, channels), resize=resize, what="x")
    assert fitted.tobytes() == images.tobytes()


@pytest.mark.parametrize("resize", [*FILTERS, "cover"])
@pytest.mark.parametrize("channels", [2, 4, 5])
def test_no_channel_of_a_picture_is_taken_for_its_opacity(resize, channels):
    images = np.random.default_rng(0).integers(0, 256, (3, 9, 7, channels), dtype=np.uint8)
    images[..., -1] = 0
    fitted = fit_images(images, image_shape=(6, 4, channels), resize=resize, what="x")
    for channel in range(channels):
        alone = fit_images(images[..., channel, None], image_shape=(6, 4, 1), resize=resize, what="x")
        assert fitted[..., channel].tobytes() == alone.tobytes()


@given(st.integers(0, 7), st.integers(0, 7))
def test_padding_puts_zeros_around_the_picture_with_an_odd_one_after_it(rows, columns):
    images = np.full((2, 3, 4, 1), 7, np.uint8)
    fitted = fit_images(images, image_shape=(3 + rows, 4 + columns, 1), resize="pad", what="x")
    before, left = rows // 2, columns // 2
    edges = ((0, 0), (before, rows - before), (left, columns - left), (0, 0))
    assert np.array_equal(fitted, np.pad(images, edges))


@pytest.mark.parametrize("resize", FILTERS)
@pytest.mark.parametrize("channels", [1, 3])
def test_resizing_keeps_a_plain_picture_plain(resize, channels):
    fitted = fit_images(
        np.full((2, 8, 8, channels), 99, np.uint8), image_shape=(11, 5, channels), resize=resize, what="x"
    )
    assert fitted.shape == (2, 11, 5, channels)
    assert np.all(fitted == 99)


def test_nearest_doubles_every_pixel():
    images = np.arange(12, dtype=np.uint8).reshape(1, 2, 2, 3)
    fitted = fit_images(images, image_shape=(4, 4, 3), resize="nearest", what="x")
    assert np.array_equal(fitted, images.repeat(2, axis=1).repeat(2, axis=2))


def test_a_dataset_is_frozen():
    data = load_digits_with()
    with pytest.raises(dataclasses.FrozenInstanceError):
        data.train.labels = data.test.labels
