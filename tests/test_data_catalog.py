"""Names of datasets."""

import json

import pytest
import tensorflow_datasets as tfds

from cnn.data import tfds_catalog
from cnn.data.types import DataError
from data_files import load_from


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fashion_mnits", r"config\.data\.name: unknown name, got 'fashion_mnits'\. Did you mean 'fashion_mnist'\?"),
        (
            "digit",
            r"config\.data\.name: unknown name, got 'digit'\. Did you mean 'digits'\? Known: arrays, csv, digits, ",
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


@pytest.mark.skipif(tfds_catalog.has_tensorflow(), reason="TensorFlow is installed")
def test_a_dataset_that_needs_tensorflow_says_what_to_install(tmp_path):
    message = r"config\.data\.name: eurosat is not prepared in .* got 'eurosat'\. Run pip install tensorflow and .* "
    with pytest.raises(DataError, match=message + r"with tfds build eurosat --file_format=array_record"):
        load_from(tmp_path, "eurosat")
    with pytest.raises(
        DataError, match=r"lacks a package for it, got 'coco_captions' \(No .*\. Run pip install tensorf"
    ):
        load_from(tmp_path, "coco_captions")


def test_a_dataset_without_pictures_is_refused(tmp_path):
    folder = tmp_path / "words/1.0.0"
    folder.mkdir(parents=True)
    features = tfds.features.FeaturesDict(
        {"text": tfds.features.Text(), "label": tfds.features.ClassLabel(num_classes=2)}
    )
    features.save_config(str(folder))
    info = {"name": "words", "version": "1.0.0", "fileFormat": "array_record", "splits": []}
    (folder / tfds_catalog.INFO_FILE).write_text(json.dumps(info))
    with pytest.raises(
        DataError, match=r"config\.data\.name: not a dataset of 8-bit pictures .* got 'words' with the "
    ):
        load_from(tmp_path, "words")
