"""Reading TFDS datasets: what is found, and what is refused."""

import io
import json
import os
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from test_data_prepare import load_from, prepare_from, write_mnist

from cnn.data import DataError, catalog
from cnn.data.encoded import decode_all

TEST_SHARD = "mnist-test.array_record-00000-of-00001"
NEEDS_DATA = pytest.mark.skipif("TFDS_DATA_DIR" not in os.environ, reason="TFDS_DATA_DIR names no prepared data")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    root = tmp_path_factory.mktemp("prepared")
    write_mnist(root / "files")
    prepare_from(root / "files", root / "root")
    return root / "root"


@pytest.fixture
def root(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path / "root")
    return tmp_path / "root"


def encoded(array, kind="PNG"):
    Image.fromarray(array).save(buffer := io.BytesIO(), format=kind)
    return buffer.getvalue()


def edit_info(folder, change):
    path = folder / catalog.INFO_FILE
    info = json.loads(path.read_text())
    change(info)
    path.write_text(json.dumps(info))


def test_the_folder_may_come_from_the_environment(prepared, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(prepared))
    assert load_from("").identity == load_from(prepared).identity


def test_pictures_are_fitted(prepared):
    plain, padded = load_from(prepared), load_from(prepared, image_shape=(32, 32, 1), fit="pad")
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


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fashion_mnits", r"config\.data\.name: unknown name, got 'fashion_mnits'\. Did you mean 'fashion_mnist'\?"),
        (
            "digit",
            r"config\.data\.name: unknown name, got 'digit'\. Did you mean 'digits'\? Known: digits, folder, and",
        ),
        ("../mnist", r"config\.data\.name: unknown name, got '\.\./mnist'"),
        ("huggingface:mnist", r"config\.data\.name: unknown name, got 'huggingface:mnist'"),
        ("emnist/lettres", r"config\.data\.name: TFDS refuses it, got 'emnist/lettres'\. BuilderConfig lettres not"),
        (
            "mnist:9.9.9",
            r"config\.data\.name: TFDS refuses it, got 'mnist:9\.9\.9'\. Dataset mnist cannot be loaded at",
        ),
    ],
)
def test_an_unknown_name_is_refused(tmp_path, name, message):
    with pytest.raises(DataError, match=message):
        load_from(tmp_path, name)


@pytest.mark.skipif(catalog.has_tensorflow(), reason="TensorFlow is installed")
def test_a_dataset_that_needs_tensorflow_says_what_to_install(tmp_path):
    message = r"config\.data\.name: eurosat is not prepared in .* got 'eurosat'\. Run pip install tensorflow and .* "
    with pytest.raises(DataError, match=message + r"with tfds build eurosat --file_format=array_record"):
        load_from(tmp_path, "eurosat")
    with pytest.raises(
        DataError, match=r"lacks a package for it, got 'coco_captions' \(No .*\. Run pip install tensorf"
    ):
        load_from(tmp_path, "coco_captions")


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
    info = root / "mnist/3.0.1" / catalog.INFO_FILE
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
    with pytest.raises(DataError, match=r"config\.data\.name: mnist must have the splits train and test, got train\. "):
        load_from(root)
    edit_info(root / "mnist/3.0.1", lambda info: info["splits"][0].update(name="test"))
    with pytest.raises(DataError, match=r"config\.data\.name: mnist must have the splits train and test, got test\. "):
        load_from(root)


def test_data_stored_for_tensorflow_are_refused(root):
    edit_info(root / "mnist/3.0.1", lambda info: info.update(fileFormat="tfrecord"))
    with pytest.raises(DataError, match=r"data_dir: mnist is stored as tfrecord, which needs TensorFlow to read, got"):
        load_from(root)


def test_a_dataset_without_pictures_is_refused(tmp_path):
    folder = tmp_path / "words/1.0.0"
    folder.mkdir(parents=True)
    features = tfds.features.FeaturesDict(
        {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(num_classes=2)}
    )
    features.save_config(str(folder))
    info = {"name": "words", "version": "1.0.0", "fileFormat": "array_record", "splits": []}
    (folder / catalog.INFO_FILE).write_text(json.dumps(info))
    with pytest.raises(
        DataError, match=r"config\.data\.name: not a dataset of 8-bit pictures .* got 'words' with the "
    ):
        load_from(tmp_path, "words")


def test_pictures_of_many_sizes_are_fitted_one_by_one():
    arrays = [np.full((height, 9, 3), height, np.uint8) for height in (4, 9, 12)]
    images = decode_all(
        [encoded(array) for array in arrays], shape=(None, None, 3), image_shape=(6, 6, 3), fit="bilinear", what="x"
    )
    assert images[:, 0, 0, 0].tolist() == [4, 9, 12]
    with pytest.raises(DataError, match=r"picture 1 of x is 9x9x3, got \(4, 9, 3\)"):
        decode_all(
            [encoded(array) for array in arrays], shape=(None, None, 3), image_shape=(4, 9, 3), fit="exact", what="x"
        )


@pytest.mark.parametrize("shape", [(4, 9, 3), (None, None, 3)])
def test_a_picture_that_cannot_be_decoded_is_named(shape):
    good = encoded(np.zeros((4, 9, 3), np.uint8))
    with pytest.raises(
        DataError, match=r"config\.data\.data_dir: picture 1 of x cannot be read.* Prepare the dataset ag"
    ):
        decode_all([good, good[:-30]], shape=shape, image_shape=(4, 9, 3), fit="exact", what="x")


def test_a_picture_unlike_the_features_is_named():
    pictures = [encoded(np.zeros((9, 4, 3), np.uint8))]
    with pytest.raises(DataError, match=r"picture 0 of x cannot be read, got: \(9, 4, 3\) in place of \(4, 9, 3\)"):
        decode_all(pictures, shape=(4, 9, 3), image_shape=(4, 9, 3), fit="exact", what="x")
    with pytest.raises(DataError, match=r"config\.data\.name: pictures must have 1 or 3 channels, x got 4"):
        decode_all([], shape=(4, 9, 4), image_shape=(4, 9, 4), fit="exact", what="x")


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
