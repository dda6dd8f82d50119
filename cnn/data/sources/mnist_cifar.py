"""The published files of MNIST's family and of CIFAR-10: found or fetched, and read by the standard library alone.

They are looked for in a folder where the user put them, or fetched from the network, and must be the files that TFDS
knows. Nothing is unpickled, and no more is decompressed than a file's header announces and a sane dataset holds.
"""

from __future__ import annotations

import hashlib
import http.client
import math
import os
import ssl
import struct
import sys
import tarfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from cnn.data.sources.idx import DamagedIdx, read_idx
from cnn.data.types import DataError, Split

TIMEOUT_SECONDS = 30
BLOCK_BYTES = 1 << 20
NO_NETWORK = "--config=configs/digits.py needs no network."
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


@dataclass(frozen=True)
class Remote:
    """Describes a file on the network: its address, its length in bytes and its SHA-256."""

    url: str
    size: int
    sha256: str


def locate(name: str, remotes: Mapping[str, Remote], manual_dir: str, download_dir: Path) -> dict[str, Path]:
    """Returns where each source file lies, fetching it where no `manual_dir` is given.

    Args:
      name: the dataset.
      remotes: file names, with what is known of each file.
      manual_dir: a folder that holds the files, or holds them in a folder called `name`; empty to fetch them.
      download_dir: where fetched files are kept; those that are there already are not fetched again.

    Raises:
      DataError: if a file is missing, cannot be fetched, or is not the one that TFDS knows.
    """
    if manual_dir:
        return _from_folder(name, remotes, Path(manual_dir).expanduser())
    return {file: _from_network(name, file, remotes, download_dir) for file in remotes}


def _from_folder(name: str, remotes: Mapping[str, Remote], folder: Path) -> dict[str, Path]:
    # Several datasets use the same file names, so each may have its own folder.
    found = {
        file: next((path for path in (folder / name / file, folder / file) if path.is_file()), None) for file in remotes
    }
    missing = [file for file, path in found.items() if path is None]
    if missing:
        raise DataError(
            f"config.data.manual_dir: lacks {len(missing)} source file(s) of {name}, got {str(folder)!r}. "
            f"Put there {_addresses(missing, remotes)}; or {NO_NETWORK}"
        )
    paths = {file: path for file, path in found.items() if path is not None}
    for file, path in paths.items():
        if not _is_genuine(path, remotes[file]):
            raise DataError(
                f"config.data.manual_dir: not the file that TFDS knows as {file} of {name}, got {str(path)!r} with "
                f"SHA-256 {_sha256(path)}. Fetch {remotes[file].url} again, whose SHA-256 is {remotes[file].sha256}."
            )
    return paths


def _from_network(name: str, file: str, remotes: Mapping[str, Remote], download_dir: Path) -> Path:
    remote, path = remotes[file], download_dir / file
    if path.is_file() and _is_genuine(path, remote):
        return path
    download_dir.mkdir(parents=True, exist_ok=True)
    partial = download_dir / f"{file}.{os.getpid()}.part"
    print(f"fetching {remote.url} ({remote.size / 1e6:.1f} MB) into {download_dir}", file=sys.stderr)
    try:
        _download(remote, partial)
        if not _is_genuine(partial, remote):
            raise _unreachable(name, remotes, f"{remote.url} sent another file than TFDS knows")
        os.replace(partial, path)
    except (urllib.error.URLError, http.client.HTTPException, TimeoutError, ConnectionError, ssl.SSLError) as error:
        raise _unreachable(name, remotes, _reason(error)) from error
    finally:
        partial.unlink(missing_ok=True)
    return path


def _download(remote: Remote, path: Path) -> None:
    request = urllib.request.Request(remote.url, headers={"User-Agent": "Mozilla/5.0"})
    with urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS) as response, open(path, "wb") as file:
        left = remote.size + 1
        while left > 0 and (block := response.read(min(left, BLOCK_BYTES))):
            file.write(block)
            left -= len(block)


def _is_genuine(path: Path, remote: Remote) -> bool:
    return path.stat().st_size == remote.size and _sha256(path) == remote.sha256


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _reason(error: Exception) -> str:
    """Returns what went wrong, in the system's words where there are some."""
    inner = getattr(error, "reason", error)
    return getattr(inner, "strerror", None) or str(inner)


def _unreachable(name: str, remotes: Mapping[str, Remote], reason: str) -> DataError:
    return DataError(
        f"config.data.manual_dir: {name} is not prepared and could not be fetched ({reason}). "
        f"Put {_addresses(list(remotes), remotes)} into a folder DIR and add --config.data.manual_dir=DIR; "
        f"or {NO_NETWORK}"
    )


def _addresses(files: list[str], remotes: Mapping[str, Remote]) -> str:
    """Names the files, and once for all that lie together where that is."""
    by_address: dict[str, list[str]] = {}
    for file in files:
        folder, _, last = remotes[file].url.rpartition("/")
        by_address.setdefault(f"{folder}/" if last == file else remotes[file].url, []).append(file)
    return ", ".join(f"{', '.join(names)} (from {address})" for address, names in by_address.items())


def read_mnist(files: Mapping[str, Path]) -> tuple[dict[str, Split], tuple[str, ...]]:
    """Reads the four IDX files; they name no classes.

    Raises:
      DataError: if a file is damaged, or holds another number of labels than of pictures.
    """
    splits = {}
    for part, (images_file, labels_file) in IDX_FILES.items():
        images, labels = _read_idx(files[images_file], 3), _read_idx(files[labels_file], 1)
        if len(images) != len(labels):
            raise _broken(files[labels_file], f"{len(labels)} labels for {len(images)} pictures")
        splits[part] = Split(images[..., None], labels.astype(np.int32))
    return splits, ()


def _read_idx(path: Path, dimensions: int) -> np.ndarray:
    try:
        return read_idx(path, dimensions, most=MAX_BYTES)
    except DamagedIdx as error:
        raise _broken(path, str(error)) from error


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
