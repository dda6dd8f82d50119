"""Reading TFDS datasets: what is found, and what is refused."""

import json
import os
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds

from cnn.data.sources import tfds_catalog
from cnn.data.types import DataError
from data_files import load_from

TEST_SHARD = "mnist-test.array_record-00000-of-00001"
NEEDS_DATA = pytest.mark.skipif("TFDS_DATA_DIR" not in os.environ, reason="TFDS_DATA_DIR names no prepared data")


@pytest.fixture
def root(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path / "root")
    return tmp_path / "root"


def edit_info(folder, change):
    path = folder / tfds_catalog.INFO_FILE
    info = json.loads(path.read_text())
    change(info)
    path.write_text(json.dumps(info))


def test_the_folder_may_come_from_the_environment(prepared, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    assert load_from("").identity == load_from(prepared).identity


def test_pictures_are_fitted(prepared):
    plain, padded = load_from(prepared), load_from(prepared, image_shape=(32, 32, 1), resize="pad")
    assert np.array_equal(padded.train.images[:, 2:30, 2:30], plain.train.images)
    assert plain.identity != padded.identity
    message = r"config\.data\.image_shape: mnist \(train\) is 28x28x1, got \(32, 32, 1\)\. Set it to \(28, 28, 1\), or"
    with pytest.raises(DataError, match=message):
        load_from(prepared, image_shape=(32, 32, 1))
    with pytest.raises(DataError, match=r"mnist \(train\) is 28x28x1, got \(28, 28, 3\)\. Set its last number to 1"):
        load_from(prepared, image_shape=(28, 28, 3))
    with pytest.raises(DataError, match=r"config\.data\.classes: mnist has 10 classes, got 11\. Set it to 10"):
        load_from(prepared, classes=11)


def test_the_identity_follows_the_stored_files(root):
    identity = load_from(root).identity
    edit_info(root / "mnist/3.0.1", lambda info: info.update(description="changed"))
    assert load_from(root).identity != identity


def shorten(path):
    path.write_bytes(path.read_bytes()[:-1000])


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.unlink(), "no such file"),
        (lambda path: path.write_bytes(b""), "ArrayRecord file should be at least 64KB big"),
        (shorten, "Corrupted Riegeli/records file: .*"),
    ],
)
def test_a_damaged_shard_is_named(root, damage, reason):
    damage(root / "mnist/3.0.1" / TEST_SHARD)
    with pytest.raises(
        DataError, match=rf"data_dir: a shard of mnist is damaged, got .*{TEST_SHARD}': {reason}\. Copy"
    ):
        load_from(root)


def test_a_flipped_bit_is_found_where_it_lies(root):
    path = root / "mnist/3.0.1" / TEST_SHARD
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 50] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        DataError, match=rf"a shard of mnist is damaged, got .*{TEST_SHARD}': Corrupted .* hash mismatch"
    ):
        load_from(root)


def test_a_count_unlike_the_info_is_refused(root):
    edit_info(root / "mnist/3.0.1", lambda info: info["splits"][1].update(shardLengths=["21"]))
    with pytest.raises(DataError, match=rf"got .*{TEST_SHARD}': 20 records where dataset_info\.json says 21"):
        load_from(root)


def test_a_broken_description_is_refused(root):
    info = root / "mnist/3.0.1" / tfds_catalog.INFO_FILE
    info.write_text("{")
    with pytest.raises(
        DataError, match=r"data_dir: dataset_info\.json of mnist cannot be parsed, got .*mnist'\. Remove"
    ):
        load_from(root)
    info.unlink()
    with pytest.raises(DataError, match=r"data_dir: the folder of mnist lacks dataset_info\.json, got .*3\.0\.1'"):
        load_from(root)


def test_another_format_and_missing_splits_are_refused(root):
    edit_info(root / "mnist/3.0.1", lambda info: info["splits"].pop())
    whole = load_from(root)
    assert (len(whole.train), len(whole.test)) == (40, 0)
    cut = load_from(root, test_fraction=0.25)
    assert (len(cut.train), len(cut.test)) == (30, 10) and cut.identity != whole.identity
    edit_info(root / "mnist/3.0.1", lambda info: info["splits"][0].update(name="test"))
    with pytest.raises(DataError, match=r"config\.data\.name: mnist must have the split train, got test\. "):
        load_from(root)


def test_data_stored_for_tensorflow_are_refused(root):
    edit_info(root / "mnist/3.0.1", lambda info: info.update(fileFormat="tfrecord"))
    with pytest.raises(DataError, match=r"data_dir: mnist is stored as tfrecord, which needs TensorFlow to read, got"):
        load_from(root)


def without_code(root, classes, change=lambda info: None):
    """Makes of the prepared MNIST a dataset that TFDS knows from its files alone."""
    folder = root / "blobs/1.0.0"
    shutil.copytree(root / "mnist/3.0.1", folder)
    for shard in folder.glob("mnist-*"):
        shard.rename(folder / shard.name.replace("mnist", "blobs"))
    features = json.loads((folder / "features.json").read_text())
    features["featuresDict"]["features"]["label"]["classLabel"]["numClasses"] = str(classes)
    (folder / "features.json").write_text(json.dumps(features))
    edit_info(folder, lambda info: info.update(name="blobs", version="1.0.0"))
    edit_info(folder, change)


def test_a_dataset_is_known_from_its_files_alone(root):
    without_code(root, 12)
    data = load_from(root, "blobs", classes=12)
    assert len(data.class_names) == 12
    assert np.array_equal(data.train.images, load_from(root).train.images)


def test_labels_out_of_range_are_refused(root):
    without_code(root, 5)
    with pytest.raises(
        DataError, match=r"labels of blobs must lie in 0\.\.4, got \d in row \d+ of train \(20 such rows"
    ):
        load_from(root, "blobs", classes=5)


def test_an_empty_split_is_refused(root):
    without_code(root, 10, lambda info: info["splits"][1].update(shardLengths=["0"]))
    (root / "blobs/1.0.0/blobs-test.array_record-00000-of-00001").unlink()
    with pytest.raises(DataError, match=r"config\.data\.name: the test split of blobs is empty, got 0 pictures"):
        load_from(root, "blobs")


def test_validation_stands_in_for_a_missing_test_split(root):
    def rename(info):
        info["splits"][1]["name"] = "validation"

    without_code(root, 10, rename)
    shard = root / "blobs/1.0.0/blobs-test.array_record-00000-of-00001"
    shard.rename(shard.with_name(shard.name.replace("test", "validation")))
    assert np.array_equal(load_from(root, "blobs").test.images, load_from(root).test.images)


def test_validation_beside_a_test_split_is_the_validation_split(root):
    def add(info):
        info["splits"].append(info["splits"][1] | {"name": "validation"})

    plain = load_from(root)
    without_code(root, 10, add)
    shard = root / "blobs/1.0.0/blobs-test.array_record-00000-of-00001"
    shutil.copy(shard, shard.with_name(shard.name.replace("test", "validation")))
    data = load_from(root, "blobs", valid_fraction=0.1)
    assert np.array_equal(data.valid.images, plain.test.images)
    assert np.array_equal(data.test.images, plain.test.images)
    assert len(data.train) == len(plain.train) + len(plain.valid)
    assert data.notes[0].startswith(
        "config.data.valid_fraction: is not used, as blobs has a validation split of its own"
    )


@NEEDS_DATA
@pytest.mark.slow
@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_the_real_datasets_are_read_whole(name):
    data = load_from(os.environ["TFDS_DATA_DIR"], name, valid_fraction=0.1)
    assert (len(data.train), len(data.valid), len(data.test)) == (54_000, 6_000, 10_000)
    source = tfds.data_source(name, split="test", data_dir=os.environ["TFDS_DATA_DIR"])
    for row in range(0, 10_000, 97):
        assert np.array_equal(source[row]["image"], data.test.images[row])
        assert source[row]["label"] == data.test.labels[row]
