"""Finds the source files of a dataset: in a folder where a person put them, or on the network."""

import hashlib
import http.client
import os
import ssl
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cnn.data.types import DataError

TIMEOUT_SECONDS = 30
BLOCK_BYTES = 1 << 20
NO_NETWORK = "--config=configs/digits.py needs no network."


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
    places: dict[str, list[str]] = {}
    for file in files:
        place, _, last = remotes[file].url.rpartition("/")
        places.setdefault(f"{place}/" if last == file else remotes[file].url, []).append(file)
    return ", ".join(f"{', '.join(names)} (from {place})" for place, names in places.items())
