"""Reads the published files of MNIST's family and of CIFAR-10 with the standard library alone.

Nothing is unpickled, and no more is decompressed than a file's header announces and a sane dataset holds.
"""

import gzip
import math
import struct
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from cnn.data.types import DataError, Split

MAX_BYTES = 1 << 30
BROKEN = (OSError, EOFError, zlib.error, tarfile.TarError, struct.error, UnicodeDecodeError)
IDX_FILES = {
    "train": ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    "test": ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}
CIFAR_FILE = "cifar-10-binary.tar.gz"
CIFAR_FOLDER = "cifar-10-batches-bin/"
CIFAR_BATCHES = {"train": tuple(f"data_batch_{n}.bin" for n in range(1, 6)), "test": ("test_batch.bin",)}
CIFAR_NAMES = "batches.meta.txt"
CIFAR_SHAPE = (3, 32, 32)


def read_mnist(files: Mapping[str, Path]) -> tuple[dict[str, Split], tuple[str, ...]]:
    """Reads the four IDX files; they name no classes.

    Raises:
      DataError: if a file is damaged, or holds another number of labels than of pictures.

    Source:
      LeCun et al. 1998, http://yann.lecun.com/exdb/mnist, "The IDX file format".
    """
    splits = {}
    for part, (images_file, labels_file) in IDX_FILES.items():
        images, labels = read_idx(files[images_file], 3), read_idx(files[labels_file], 1)
        if len(images) != len(labels):
            raise _broken(files[labels_file], f"{len(labels)} labels for {len(images)} pictures")
        splits[part] = Split(images[..., None], labels.astype(np.int32))
    return splits, ()


def read_idx(path: Path, dimensions: int) -> np.ndarray:
    """Reads one gzipped IDX file of unsigned bytes.

    Raises:
      DataError: if it is no such file, or holds more or less than its header says.
    """
    try:
        with gzip.open(path, "rb") as file:
            if file.read(4) != bytes([0, 0, 8, dimensions]):
                raise _broken(path, f"no IDX file of bytes in {dimensions} dimension(s)")
            shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
            count = math.prod(shape)
            if count > MAX_BYTES:
                raise _broken(path, f"a header that announces {count} bytes")
            body = file.read(count + 1)
    except BROKEN as error:
        raise _broken(path, str(error)) from error
    if len(body) != count:
        raise _broken(path, f"{'more' if len(body) > count else 'fewer'} bytes than the {count} its header announces")
    return np.frombuffer(body, dtype=np.uint8).reshape(shape)


def read_cifar10(files: Mapping[str, Path]) -> tuple[dict[str, Split], tuple[str, ...]]:
    """Reads CIFAR-10's binary version: in each record a label, then red, green and blue planes.

    Raises:
      DataError: if the archive is damaged or lacks a file.

    Source:
      Krizhevsky 2009, https://www.cs.toronto.edu/~kriz/cifar.html, "Binary version".
    """
    path = files[CIFAR_FILE]
    wanted = [CIFAR_NAMES, *(file for batch in CIFAR_BATCHES.values() for file in batch)]
    members = _members(path, [CIFAR_FOLDER + file for file in wanted])
    record = 1 + math.prod(CIFAR_SHAPE)
    splits = {}
    for part, batch in CIFAR_BATCHES.items():
        body = b"".join(members[CIFAR_FOLDER + file] for file in batch)
        if len(body) % record:
            raise _broken(path, f"{part} batches that are no whole number of records")
        rows = np.frombuffer(body, dtype=np.uint8).reshape(-1, record)
        images = rows[:, 1:].reshape(-1, *CIFAR_SHAPE).transpose(0, 2, 3, 1)
        splits[part] = Split(np.ascontiguousarray(images), rows[:, 0].astype(np.int32))
    try:
        names = members[CIFAR_FOLDER + CIFAR_NAMES].decode("ascii").split()
    except UnicodeDecodeError as error:
        raise _broken(path, str(error)) from error
    return splits, tuple(names)


def _members(path: Path, wanted: list[str]) -> dict[str, bytes]:
    """Reads the wanted files of an archive into memory; nothing is written to disk."""
    found: dict[str, bytes] = {}
    left = MAX_BYTES
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                left -= member.size
                if left < 0:
                    raise _broken(path, f"more than {MAX_BYTES} bytes when unpacked")
                file = archive.extractfile(member) if member.isfile() and member.name in wanted else None
                if file is not None:
                    found[member.name] = file.read()
    except BROKEN as error:
        raise _broken(path, str(error)) from error
    missing = [name for name in wanted if name not in found]
    if missing:
        raise _broken(path, f"an archive without {missing[0]}")
    return found


def _broken(path: Path, reason: str) -> DataError:
    return DataError(
        f"config.data.manual_dir: the source file is damaged, got {str(path)!r}: {reason}. Fetch it again."
    )
