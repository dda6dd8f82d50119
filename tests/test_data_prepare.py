"""Preparing TFDS datasets from their published files, without TensorFlow and without a network."""

import functools
import gzip
import hashlib
import http.server
import io
import os
import struct
import subprocess
import sys
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from cnn.data import DataError, catalog, load, raw
from cnn.data.fetch import Remote
from cnn.data.prepare import prepare

COUNTS = {"train": 40, "test": 20}
CLOSED = "http://127.0.0.1:9/"
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def idx(array):
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes())


def write_mnist(folder, seed=0):
    """Writes the four files of a tiny MNIST and returns the pictures and labels in them."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    splits = {}
    for part, (images_file, labels_file) in raw.IDX_FILES.items():
        images = random.integers(0, 256, (COUNTS[part], 28, 28), dtype=np.uint8)
        labels = np.arange(COUNTS[part], dtype=np.uint8) % 10
        (folder / images_file).write_bytes(idx(images))
        (folder / labels_file).write_bytes(idx(labels))
        splits[part] = (images[..., None], labels)
    return splits


def write_cifar10(folder, names=NAMES, leave_out=""):
    """Writes the archive of a tiny CIFAR-10 and returns the pictures and labels in it."""
    random = np.random.default_rng(1)
    folder.mkdir(parents=True, exist_ok=True)
    splits: dict = {"train": ([], []), "test": ([], [])}
    with tarfile.open(folder / raw.CIFAR_FILE, "w:gz") as archive:
        members = {raw.CIFAR_NAMES: "\n".join(names).encode() + b"\n\n"}
        for part, files in raw.CIFAR_BATCHES.items():
            for file in files:
                images = random.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
                labels = random.integers(0, 10, 8, dtype=np.uint8)
                splits[part][0].extend(images)
                splits[part][1].extend(labels)
                planes = images.transpose(0, 3, 1, 2).reshape(8, -1)
                members[file] = np.concatenate([labels[:, None], planes], axis=1).tobytes()
        for file, body in members.items():
            if file != leave_out:
                entry = tarfile.TarInfo(raw.CIFAR_FOLDER + file)
                entry.size = len(body)
                archive.addfile(entry, io.BytesIO(body))
    return splits


def remotes_of(folder, address=CLOSED):
    """Describes all files of a folder as if they were published."""
    return {
        path.name: Remote(address + path.name, path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
        for path in sorted(folder.iterdir())
        if path.is_file()
    }


def prepare_from(folder, root, name="mnist", **options):
    options = {"manual_dir": str(folder), "remotes": remotes_of(folder), **options}
    prepare(catalog.find(name, root), name, root, **options)


def load_from(root, name="mnist", **changes):
    fields = {
        "name": name,
        "data_dir": str(root),
        "manual_dir": "",
        "image_shape": (28, 28, 1),
        "classes": 10,
        "fit": "exact",
        "valid_fraction": 0.0,
        "train_on": "train",
    }
    return load(**{**fields, **changes})


def pairs(images, labels):
    return sorted(np.asarray(image).tobytes() + bytes([label]) for image, label in zip(images, labels, strict=True))


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


def test_each_dataset_may_have_its_own_folder_in_the_manual_one(tmp_path):
    remotes = {}
    for seed, name in enumerate(("mnist", "kmnist")):
        write_mnist(tmp_path / "files" / name, seed)
        remotes[name] = remotes_of(tmp_path / "files" / name)
    for name, known in remotes.items():
        prepare_from(tmp_path / "files", tmp_path / "root", name, remotes=known)
    first, second = (load_from(tmp_path / "root", name) for name in remotes)
    assert first.identity != second.identity


def test_files_are_fetched_once_and_checked(tmp_path):
    splits = write_mnist(tmp_path / "files")
    handler = functools.partial(QuietHandler, directory=str(tmp_path / "files"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        remotes = remotes_of(tmp_path / "files", f"http://127.0.0.1:{server.server_address[1]}/")
        prepare_from(tmp_path / "files", tmp_path / "root", manual_dir="", remotes=remotes)
        wrong = {**remotes, "t10k-labels-idx1-ubyte.gz": Remote(remotes[IMAGES].url, 5, "0" * 64)}
        with pytest.raises(
            DataError, match=r"manual_dir: mnist .*images-idx3-ubyte\.gz sent another file than TFDS kn"
        ):
            prepare_from(tmp_path / "files", tmp_path / "other", manual_dir="", remotes=wrong)
        server.shutdown()
    train = load_from(tmp_path / "root").train
    assert pairs(train.images, train.labels) == pairs(*splits["train"])
    downloads = tmp_path / "root/downloads/mnist"
    assert sorted(path.name for path in downloads.iterdir()) == sorted(remotes)
    (tmp_path / "again").mkdir()
    downloads.parent.rename(tmp_path / "again/downloads")
    prepare_from(tmp_path / "files", tmp_path / "again", manual_dir="", remotes=remotes_of(tmp_path / "files"))
    assert len(load_from(tmp_path / "again").test) == 20


IMAGES = "train-images-idx3-ubyte.gz"


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):  # noqa: A002
        pass


def test_without_a_network_the_error_says_all_that_helps(tmp_path):
    write_mnist(tmp_path / "files")
    with pytest.raises(DataError) as caught:
        prepare_from(tmp_path / "files", tmp_path / "root", manual_dir="")
    for part in ("config.data.manual_dir: mnist is not prepared", "Connection refused", "--config.data.manual_dir=DIR"):
        assert part in str(caught.value)
    for file in remotes_of(tmp_path / "files"):
        assert f"{file} ({CLOSED}{file})" in str(caught.value)
    assert "--config=configs/digits.py needs no network" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_load_looks_for_the_files_that_tfds_knows(tmp_path):
    write_mnist(tmp_path / "files")
    with pytest.raises(
        DataError, match=r"not the file that TFDS knows as .*gz of mnist, got .*gz' with SHA-256 [0-9a-f]"
    ):
        load_from(tmp_path / "root", manual_dir=str(tmp_path / "files"))
    address = r"https://www\.cs\.toronto\.edu/~kriz/cifar-10-binary\.tar\.gz"
    with pytest.raises(
        DataError, match=rf"lacks 1 source file\(s\) of cifar10, got .*Put there cifar-10.*\({address}\)"
    ):
        load_from(tmp_path / "root", "cifar10", manual_dir=str(tmp_path / "files"))


def cut_short(path, count=30):
    path.write_bytes(path.read_bytes()[:-count])


def lie(path, shape):
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 3]) + struct.pack(">3I", *shape) + b"\0" * 28 * 28 * 40))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_short, "ended before the end-of-stream|CRC|invalid"),
        (lambda path: path.write_bytes(b""), "no IDX file of bytes in 3 dimension"),
        (lambda path: path.write_bytes(b"plain"), "Not a gzipped file"),
        (lambda path: path.write_bytes(gzip.compress(b"\0\0\x08\x03\0\0")), "unpack requires"),
        (lambda path: lie(path, (39, 28, 28)), "more bytes than the 30576"),
        (lambda path: lie(path, (41, 28, 28)), "fewer bytes than the 32144"),
        (lambda path: lie(path, (2**32 - 1, 2**31, 28)), "a header that announces"),
    ],
)
def test_a_damaged_source_file_is_named_and_nothing_is_prepared(tmp_path, damage, message):
    write_mnist(tmp_path / "files")
    damage(tmp_path / "files" / IMAGES)
    with pytest.raises(DataError, match=rf"manual_dir: the source file is damaged, got .*{IMAGES}': .*({message})"):
        prepare_from(tmp_path / "files", tmp_path / "root")
    assert not (tmp_path / "root" / "mnist").exists()


def test_files_that_do_not_belong_together_are_refused(tmp_path):
    write_mnist(tmp_path / "files")
    labels = tmp_path / "files" / "train-labels-idx1-ubyte.gz"
    labels.write_bytes(idx(np.zeros(39, np.uint8)))
    with pytest.raises(DataError, match=r"source file is damaged, got .*labels.*: 39 labels for 40 pictures"):
        prepare_from(tmp_path / "files", tmp_path / "root")
    labels.write_bytes(idx(np.full(40, 10, np.uint8)))
    with pytest.raises(DataError, match=r"train files of mnist must hold \(28, 28, 1\) .* got .* labels up to 10"):
        prepare_from(tmp_path / "files", tmp_path / "root")


def test_a_damaged_archive_is_refused(tmp_path):
    write_cifar10(tmp_path / "files", leave_out="data_batch_3.bin")
    with pytest.raises(DataError, match=r"damaged, got .*: an archive without cifar-10-batches-bin/data_batch_3\.bin"):
        prepare_from(tmp_path / "files", tmp_path / "root", "cifar10")
    write_cifar10(tmp_path / "files", names=NAMES[:9])
    with pytest.raises(DataError, match=r"files of cifar10 must name 10 classes, got 9"):
        prepare_from(tmp_path / "files", tmp_path / "root", "cifar10")
    cut_short(tmp_path / "files" / raw.CIFAR_FILE, 50_000)
    with pytest.raises(DataError, match=r"the source file is damaged, got .*cifar-10-binary\.tar\.gz'"):
        prepare_from(tmp_path / "files", tmp_path / "root", "cifar10")


def test_what_was_interrupted_does_not_count_as_prepared(tmp_path, monkeypatch):
    write_mnist(tmp_path / "files")
    builder = catalog.find("mnist", tmp_path / "root")
    finish = type(builder)._download_and_prepare

    def interrupt(self, *args, **kwargs):
        finish(self, *args, **kwargs)
        assert any(Path(self.data_dir).iterdir())
        raise KeyboardInterrupt

    monkeypatch.setattr(type(builder), "_download_and_prepare", interrupt)
    with pytest.raises(KeyboardInterrupt):
        prepare(builder, "mnist", tmp_path / "root", str(tmp_path / "files"), remotes_of(tmp_path / "files"))
    assert not catalog.is_prepared(catalog.find("mnist", tmp_path / "root"))
    monkeypatch.undo()
    (tmp_path / "root/mnist/incomplete.ABCDEF_3.0.1").mkdir(parents=True)
    prepare_from(tmp_path / "files", tmp_path / "root")
    assert len(load_from(tmp_path / "root").train) == 40


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
from test_data_prepare import load_from, prepare_from
files, root = map(pathlib.Path, sys.argv[1:])
prepare_from(files / "mnist", root)
prepare_from(files / "cifar10", root, "cifar10")
print(len(load_from(root).train), len(load_from(root, "cifar10", image_shape=(32, 32, 3)).train))
assert "tensorflow" not in sys.modules
"""


def test_tensorflow_is_never_imported(tmp_path):
    write_mnist(tmp_path / "files" / "mnist")
    write_cifar10(tmp_path / "files" / "cifar10")
    here = Path(__file__).parent
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, str(tmp_path / "files"), str(tmp_path / "root")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(here), str(here.parent)])}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "40 40\n"
