"""Preparing TFDS datasets from their published files, without TensorFlow and without a network."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow_datasets as tfds

from cnn.data.sources import tfds_catalog
from cnn.data.sources.tfds_prepare import prepare
from cnn.data.types import DataError
from data_files import NAMES, load_from, pairs, prepare_from, remotes_of, write_cifar10, write_mnist


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "kmnist"])
def test_a_prepared_mnist_holds_what_its_files_hold(tmp_path, name):
    splits = write_mnist(tmp_path / "files")
    prepare_from(tmp_path / "files", tmp_path / "root", name)
    data = load_from(tmp_path / "root", name)
    assert pairs(data.train.images, data.train.labels) == pairs(*splits["train"])
    assert pairs(data.test.images, data.test.labels) == pairs(*splits["test"])
    assert (len(data.class_names), data.class_names[1]) == (10, {"mnist": "1", "kmnist": "ki"}.get(name, "Trouser"))


def test_a_prepared_cifar10_holds_what_its_archive_holds(tmp_path):
    splits = write_cifar10(tmp_path / "files")
    prepare_from(tmp_path / "files", tmp_path / "root", "cifar10")
    data = load_from(tmp_path / "root", "cifar10", image_shape=(32, 32, 3))
    assert pairs(data.train.images, data.train.labels) == pairs(*splits["train"])
    assert pairs(data.test.images, data.test.labels) == pairs(*splits["test"])
    assert data.class_names == NAMES


def test_tfds_itself_reads_what_was_prepared(tmp_path):
    splits = write_mnist(tmp_path / "files")
    prepare_from(tmp_path / "files", tmp_path / "root")
    source = tfds.data_source("mnist", split="train", data_dir=str(tmp_path / "root"))
    assert pairs(*zip(*[(example["image"], example["label"]) for example in source], strict=True)) == pairs(
        *splits["train"]
    )


def test_what_was_interrupted_does_not_count_as_prepared(tmp_path, monkeypatch):
    write_mnist(tmp_path / "files")
    builder = tfds_catalog.find("mnist", tmp_path / "root")
    finish = type(builder)._download_and_prepare

    def interrupt(self, *args, **kwargs):
        finish(self, *args, **kwargs)
        assert any(Path(self.data_dir).iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr(type(builder), "_download_and_prepare", interrupt)
    with pytest.raises(KeyboardInterrupt):
        prepare(builder, "mnist", tmp_path / "root", str(tmp_path / "files"), remotes_of(tmp_path / "files"))
    assert not tfds_catalog.is_prepared(tfds_catalog.find("mnist", tmp_path / "root"))
    monkeypatch.undo()
    (tmp_path / "root/mnist/incomplete.ABCDEF_3.0.1").mkdir(parents=True)
    prepare_from(tmp_path / "files", tmp_path / "root")
    assert len(load_from(tmp_path / "root").train) == 40


def test_two_may_prepare_the_same_at_once(tmp_path, monkeypatch):
    write_mnist(tmp_path / "files")
    slow = tfds_catalog.find("mnist", tmp_path / "root")
    finish = type(slow)._download_and_prepare

    def overtaken(self, *args, **kwargs):
        finish(self, *args, **kwargs)
        monkeypatch.undo()
        prepare_from(tmp_path / "files", tmp_path / "root")

    monkeypatch.setattr(type(slow), "_download_and_prepare", overtaken)
    prepare(slow, "mnist", tmp_path / "root", str(tmp_path / "files"), remotes_of(tmp_path / "files"))
    assert len(load_from(tmp_path / "root").train) == 40
    assert [path.name for path in (tmp_path / "root/mnist").iterdir()] == ["3.0.1"]


def test_preparing_where_one_may_not_write_is_refused(tmp_path):
    write_mnist(tmp_path / "files")
    (tmp_path / "root").write_text("a file, no folder")
    with pytest.raises(
        DataError, match=r"config\.data\.data_dir: cannot prepare mnist there, got .*root' \(Not a direc"
    ):
        prepare_from(tmp_path / "files", tmp_path / "root")


WITHOUT_TENSORFLOW = """
import importlib.abc, importlib.util, pathlib, sys

class Tensorflow(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    # Libraries may ask whether TensorFlow is there, and hear that it is; importing it is what fails.
    def find_spec(self, name, path=None, target=None):
        return importlib.util.spec_from_loader(name, self) if name.partition(".")[0] == "tensorflow" else None

    def create_module(self, spec):
        raise AssertionError("imported " + spec.name)

    def exec_module(self, module):
        raise AssertionError("imported " + module.__name__)

sys.meta_path.insert(0, Tensorflow())
from data_files import load_from, prepare_from
files, root = map(pathlib.Path, sys.argv[1:])
prepare_from(files / "mnist", root)
prepare_from(files / "cifar10", root, "cifar10")
print(len(load_from(root).train), len(load_from(root, "cifar10", image_shape=(32, 32, 3)).train))
assert "tensorflow" not in sys.modules
"""


@pytest.mark.slow(seconds=2)
def test_tensorflow_is_never_imported(tmp_path):
    write_mnist(tmp_path / "files" / "mnist")
    write_cifar10(tmp_path / "files" / "cifar10")
    here = Path(__file__).parent
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, str(tmp_path / "files"), str(tmp_path / "root")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "40 40\n"
