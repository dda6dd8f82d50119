"""IDX files, as MNIST and its relatives are published in: four of them in a folder, gzipped or not.

A file that is not gzipped is mapped, so that large ones stream.
"""

from __future__ import annotations

import gzip
import math
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np

from cnn.data.sources import split_files
from cnn.data.sources.arrays import Arrays, note_held
from cnn.data.sources.split_files import SPLIT
from cnn.data.types import DataError, DataSpec, Source
from cnn.fields import shorten
from cnn.registry import source
from cnn.system import host_memory

BROKEN = (OSError, EOFError, zlib.error, struct.error)
WORDS = {**split_files.WORDS, "test": (*split_files.WORDS["test"], "t10k")}
"""What files call the splits."""
NAME = re.compile(
    rf"(?P<prefix>.*?)(?P<word>{'|'.join(word for words in WORDS.values() for word in words)})"
    r"[-_.]?(?P<kind>images|labels)[-_.]idx(?P<dimensions>[134])[-_.]ubyte(?P<gz>\.gz)?"
)
LAYOUT = "Put train-images-idx3-ubyte, train-labels-idx1-ubyte and those of t10k or test there, or their .gz"


class DamagedIdx(ValueError):
    """Says why a file is no IDX file of bytes, or not a whole one."""


class _File(NamedTuple):
    """A file whose name says what it holds."""

    path: Path
    prefix: str
    split: str
    kind: str
    dimensions: int
    gz: bool


def read_idx(path: Path, dimensions: int, *, gz: bool = True, most: float = math.inf) -> np.ndarray:
    """Reads an IDX file of unsigned bytes: of one that is not gzipped, what is needed and when it is.

    Args:
      path: the file.
      dimensions: how many its header must announce.
      gz: whether it is gzipped.
      most: so many bytes may be in it.

    Raises:
      DamagedIdx: it is no such file, or holds more or less than its header says.

    Source:
      LeCun et al. 1998, http://yann.lecun.com/exdb/mnist, "The IDX file format".
    """
    try:
        with gzip.open(path, "rb") if gz else open(path, "rb") as file:
            if file.read(4) != bytes([0, 0, 8, dimensions]):
                raise DamagedIdx(f"no IDX file of bytes in {dimensions} dimension(s)")
            shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
            count = math.prod(shape)
            if count > most:
                raise DamagedIdx(f"a header that announces {count} bytes")
            body = file.read(count + 1) if gz else b""
        found = len(body) if gz else path.stat().st_size - 4 - 4 * dimensions
    except BROKEN as error:
        raise DamagedIdx(str(error)) from error
    if found != count:
        raise DamagedIdx(f"{'more' if found > count else 'fewer'} bytes than the {count} its header announces")
    if gz or not count:
        return np.frombuffer(body, dtype=np.uint8).reshape(shape)
    return np.memmap(path, np.uint8, "r", offset=4 + 4 * dimensions, shape=shape)


def folder_of(data: DataSpec) -> Path:
    """Returns the folder of the files."""
    given = Path(data.file or data.data_dir).expanduser()
    return given.parent if SPLIT in given.name else given


@source
class Idx:
    """MNIST's four files, `train-images-idx3-ubyte` and so on, gzipped or not, in the folder that `file` names.

    Source:
      LeCun et al. 1998, http://yann.lecun.com/exdb/mnist, "The IDX file format".
    """

    of_numbers: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = ("file", "data_dir")

    def at_hand(self, data: DataSpec) -> bool:
        return folder_of(data).is_dir()

    def load(self, data: DataSpec) -> Source:
        folder = folder_of(data)
        if not data.file and not data.data_dir:
            raise DataError(f"config.data.file: must name the folder of the IDX files, got ''. {LAYOUT}.")
        if not folder.is_dir():
            what = "is a file, where the folder of the IDX files is needed" if folder.is_file() else "no such folder"
            raise DataError(f"config.data.file: {what}, got {str(folder)!r}. {LAYOUT}.")
        present = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
        files = list(_named(present, Path(data.file).name if SPLIT in Path(data.file).name else ""))
        prefixes = sorted({file.prefix for file in files})
        if len(prefixes) > 1:
            one = f"{folder}/{prefixes[-1]}{SPLIT}"
            raise DataError(
                f"config.data.file: the folder holds {len(prefixes)} sets of IDX files, got "
                f"{shorten(list(map(repr, prefixes)))}. Name one: --config.data.file='{one}'"
            )
        chosen = {split: _pair(files, split, folder) for split in WORDS}
        if chosen["train"] is None:
            raise DataError(
                f"config.data.file: holds no IDX files of train, got {data.file or data.data_dir!r}. {LAYOUT}."
            )
        pairs = {split: (_read(pair[0]), _read(pair[1])) for split, pair in chosen.items() if pair is not None}
        for split, (images, labels) in pairs.items():
            if len(images) != len(labels):
                raise DataError(
                    f"config.data.file: {split} has {len(images)} pictures and {len(labels)} labels in "
                    f"{str(folder)!r}, got files that do not belong together. Fetch both again."
                )
        used = {file.path for pair in chosen.values() if pair is not None for file in pair}
        notes = [*_note_unused([path.name for path in present if path not in used])]
        if prefixes[0].startswith("emnist"):
            notes.append("config.data.file: EMNIST's files hold their pictures transposed; they are used as they are")
        packed = [pair[0] for pair in chosen.values() if pair is not None and pair[0].gz]
        size = sum(pairs[file.split][0].nbytes for file in packed)
        notes += note_held(size, packed[0].path.name, data, "Unpack it by gunzip to stream it.") if packed else ()
        arrays = Arrays(pairs["train"], pairs.get("test"), pairs.get("valid"))
        return arrays.as_source(str(folder), data, field="config.data.file", give="Use", notes=notes)


def _named(paths: Iterable[Path], pattern: str) -> Iterator[_File]:
    """Yields the files whose names say what they hold; only those that a pattern means, where there is one."""
    before, _, after = pattern.partition(SPLIT)
    for path in paths:
        match = NAME.fullmatch(path.name)
        if match is None or (pattern and match["prefix"] != before):
            continue
        rest = path.name[match.end("word") :]
        if after and rest.replace("labels", "images").replace("idx1", "idx3") != after:
            continue
        split = next(split for split, words in WORDS.items() if match["word"] in words)
        gz = match["gz"] is not None
        yield _File(path, match["prefix"], split, match["kind"], int(match["dimensions"]), gz)


def _pair(files: Sequence[_File], split: str, folder: Path) -> tuple[_File, _File] | None:
    """Returns the files of a split's images and labels; of a file and its packed copy, the one that can be mapped."""
    of_split = [file for file in files if file.split == split]
    found = {kind: [file for file in of_split if file.kind == kind] for kind in ("images", "labels")}
    for kind, candidates in found.items():
        unpacked = {file.path.name for file in candidates if not file.gz}
        left = [file for file in candidates if not file.gz or file.path.name.removesuffix(".gz") not in unpacked]
        if len(left) > 1:
            names = ", ".join(repr(file.path.name) for file in left)
            pattern = f"{folder}/{left[0].path.name.replace(left[0].split, SPLIT, 1)}".replace("labels", "images")
            raise DataError(
                f"config.data.file: {kind} of {split} are in {len(left)} files, got {names}. "
                f"Name those that are meant by a pattern: --config.data.file='{pattern}'"
            )
        found[kind] = left
    if not of_split:
        return None
    for kind, other in (("images", "labels"), ("labels", "images")):
        if not found[kind]:
            raise DataError(
                f"config.data.file: {split} has no {kind} in {str(folder)!r}, got {found[other][0].path.name!r} alone. "
                "Put both there."
            )
    return found["images"][0], found["labels"][0]


def _read(file: _File) -> np.ndarray:
    try:
        return read_idx(file.path, file.dimensions, gz=file.gz, most=host_memory.host_bytes() if file.gz else math.inf)
    except DamagedIdx as error:
        raise DataError(
            f"config.data.file: the file is damaged, got {str(file.path)!r}: {error}. Fetch it again."
        ) from error


def _note_unused(names: Sequence[str]) -> Iterator[str]:
    if names:
        yield f"config.data.file: {len(names)} file{'s' * (len(names) > 1)} passed over: {shorten(names)}"
