"""Tiny datasets in the form they are published in, and how the tests prepare and load them."""

import gzip
import hashlib
import io
import struct
import tarfile

import numpy as np

from cnn.data.datasets import load
from cnn.data.sources import mnist_cifar, tfds_catalog
from cnn.data.sources.mnist_cifar import Remote
from cnn.data.sources.tfds_prepare import prepare
from cnn.data.types import DataSpec

COUNTS = {"train": 40, "test": 20}
CLOSED = "http://127.0.0.1:9/"
IMAGES = "train-images-idx3-ubyte.gz"
NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


def idx(array):
    return gzip.compress(bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes())


def write_mnist(folder, seed=0):
    """Writes the four files of a tiny MNIST and returns the pictures and labels in them."""
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    splits = {}
    for part, (images_file, labels_file) in mnist_cifar.IDX_FILES.items():
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
    with tarfile.open(folder / mnist_cifar.CIFAR_FILE, "w:gz") as archive:
        members = {mnist_cifar.CIFAR_NAMES: "\n".join(names).encode() + b"\n\n"}
        for part, files in mnist_cifar.CIFAR_BATCHES.items():
            for file in files:
                images = random.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
                labels = random.integers(0, 10, 8, dtype=np.uint8)
                splits[part][0].extend(images)
                splits[part][1].extend(labels)
                planes = images.transpose(0, 3, 1, 2).reshape(8, -1)
                members[file] = np.concatenate([labels[:, None], planes], axis=1).tobytes()
        for file, body in members.items():
            if file != leave_out:
                entry = tarfile.TarInfo(mnist_cifar.CIFAR_FOLDER + file)
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
    prepare(tfds_catalog.find(name, root), name, root, **options)


def load_from(root, name="mnist", **changes):
    fields = {
        "name": name,
        "data_dir": str(root),
        "manual_dir": "",
        "image_shape": (28, 28, 1),
        "classes": 10,
        "resize": "exact",
        "valid_fraction": 0.0,
        "train_on": "train",
    }
    return load(DataSpec(**{**fields, **changes}))


def pairs(images, labels):
    return sorted(np.asarray(image).tobytes() + bytes([label]) for image, label in zip(images, labels, strict=True))
