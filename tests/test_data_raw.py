"""Published files that are damaged or lie."""

import gzip
import struct

import numpy as np
import pytest

from cnn.data.sources import mnist_cifar
from cnn.data.types import DataError
from data_files import IMAGES, NAMES, idx, prepare_from, write_cifar10, write_mnist


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
    cut_short(tmp_path / "files" / mnist_cifar.CIFAR_FILE, 50_000)
    with pytest.raises(DataError, match=r"the source file is damaged, got .*cifar-10-binary\.tar\.gz'"):
        prepare_from(tmp_path / "files", tmp_path / "root", "cifar10")
