"""Pictures and labels in a file of NumPy's, `.npz`: read, and written so that it is the same data.

What `numpy.savez` writes is mapped, so that large files stream; what `numpy.savez_compressed` writes is unpacked into
memory. Nothing is unpickled.
"""

from __future__ import annotations

import os
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, ClassVar, NamedTuple

import numpy as np

from cnn.data.decode import bombs_are_errors
from cnn.data.parts import CHUNK_BYTES, NumbersPart
from cnn.data.sources import split_files
from cnn.data.sources.arrays import Arrays, note_held
from cnn.data.sources.split_files import SPLIT, WORDS
from cnn.data.types import DataError, DataSpec, Part, Source
from cnn.fields import shorten
from cnn.registry import source
from cnn.system import host_memory

BROKEN = (OSError, EOFError, zlib.error, zipfile.BadZipFile, ValueError, NotImplementedError)
KINDS = {
    "images": ("x", "images", "image", "imgs", "img", "pictures", "data"),
    "labels": ("y", "labels", "label", "targets", "target"),
}
"""How arrays are called: a word of a kind and of a split, in either order: `x_train`, `train_images`, `Xtrain`."""
NAMES = ("class_names", "classes", "label_names", "target_names", "names")
WRITTEN = "Write it by numpy.savez(file, x_train=..., y_train=..., x_test=..., y_test=...)"


class Role(NamedTuple):
    """What an array is; `split` is empty where its name does not say."""

    split: str
    kind: str


class _Array(NamedTuple):
    numbers: np.ndarray
    packed: bool
    """Whether it was compressed."""


def files_of(data: DataSpec) -> list[tuple[str, Path]]:
    """Returns the files that are there, each with the split that a pattern says it holds: "" where it says none.

    Raises:
      DataError: a pattern names files of other splits and none of train.
    """
    if SPLIT in data.file:
        found = split_files.find(data.file, (".npz",)).splits if split_files.any_of(data.file) else {}
        return [(split, path) for split, paths in found.items() for path in paths]
    path = Path(data.file).expanduser()
    return [("", path)] if data.file and path.is_file() else []


@source
class Npz:
    """A file of NumPy's: `file` holds x_train, y_train, x_test, y_test, ..., or train_images, train_labels, ..."""

    of_numbers: ClassVar[bool] = True
    reads: ClassVar[tuple[str, ...]] = ("file",)

    def at_hand(self, data: DataSpec) -> bool:
        return bool(files_of(data))

    def load(self, data: DataSpec) -> Source:
        files = files_of(data)
        if not files:
            got = "is a folder" if Path(data.file).expanduser().is_dir() and data.file else "no such file"
            what = got if data.file else "must name the npz file"
            raise DataError(f"config.data.file: {what}, got {data.file!r}. {WRITTEN}.")
        found: dict[Role, _Array] = {}
        notes: list[str] = []
        for split, path in files:
            arrays, unknown = _read(path, split)
            if twice := found.keys() & arrays.keys() - {Role("", "names")}:
                role = min(twice)
                raise DataError(
                    f"config.data.file: {role.kind} of {role.split} are in two files, got {data.file!r}. "
                    "Write them into one."
                )
            found = {**arrays, **found}
            if unknown:
                notes.append(f"config.data.file: arrays of {path.name} passed over: {shorten(unknown)}")
        name = Path(data.file).name
        pairs = {split: pair for split in WORDS if (pair := _pair(found, split, name)) is not None}
        if "train" not in pairs:
            held = ", ".join(f"{role.kind} of {role.split}" for role in found if role.split) or "none that is known"
            raise DataError(f"config.data.file: {name} lacks the arrays x_train and y_train, got {held}. {WRITTEN}.")
        packed = sum(array.numbers.nbytes for role, array in found.items() if role.kind == "images" and array.packed)
        notes += note_held(packed, name, data, "Write it by numpy.savez to stream it.") if packed else ()
        names = found.get(Role("", "names"))
        class_names = None if names is None else [_text(name) for name in names.numbers.ravel()]
        given = Arrays(pairs["train"], pairs.get("test"), pairs.get("valid"), class_names)
        return given.as_source(name, data, field="config.data.file", give="Save", notes=notes)


def _pair(found: Mapping[Role, _Array], split: str, name: str) -> tuple[np.ndarray, np.ndarray] | None:
    images, labels = (found.get(Role(split, kind)) for kind in KINDS)
    if images is None and labels is None:
        return None
    if images is None or labels is None:
        lacking, other = ("labels", "images") if labels is None else ("images", "labels")
        raise DataError(f"config.data.file: {name} has {other} of {split} and no {lacking}, got one alone. {WRITTEN}.")
    return images.numbers, labels.numbers


def _text(name: object) -> str:
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def _role(key: str) -> Role | None:
    """Returns what an array of this name is; `None` where the name says nothing."""
    key = key.lower()
    if key in NAMES:
        return Role("", "names")
    for kind, words in KINDS.items():
        if key in words:
            return Role("", kind)
        for split, of_split in WORDS.items():
            one, other = "|".join(words), "|".join(of_split)
            if re.fullmatch(rf"(?:{one})[-_. ]?(?:{other})|(?:{other})[-_. ]?(?:{one})", key):
                return Role(split, kind)
    return None


def _read(path: Path, split: str) -> tuple[dict[Role, _Array], list[str]]:
    """Returns the arrays of a file by what they are, and the names of the others.

    Args:
      path: the file.
      split: which it holds, where it is one of several; then it holds no other.
    """
    roles: dict[Role, str] = {}
    unknown = []
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            for key in members:
                role = _role(key)
                if role is None or (split and role.split not in ("", split)):
                    unknown.append(key)
                    continue
                role = role if role.kind == "names" else Role(role.split or split, role.kind)
                if role in roles:
                    raise DataError(
                        f"config.data.file: {path.name} has two arrays of {role.split or 'all'} {role.kind}, got "
                        f"{roles[role]!r} and {key!r}. Leave one of them out."
                    )
                roles[role] = key
            # A file of one split only says so by having no other.
            alone = {role: Role("train", role.kind) for role in roles if not role.split and role.kind != "names"}
            if clash := [roles[role] for role, meant in alone.items() if meant in roles]:
                raise DataError(
                    f"config.data.file: {path.name} has arrays of train and others whose names say no split, got "
                    f"{clash[0]!r}. Leave them out, or name their split: x_test."
                )
            named = {alone.get(role, role): key for role, key in roles.items()}
            return {role: _array(archive, members[key], path) for role, key in named.items()}, unknown
    except DataError:
        raise
    except BROKEN as error:
        said = " ".join(str(error).split())[:160]
        raise DataError(
            f"config.data.file: is no npz file, or a damaged one, got {str(path)!r} ({said}). {WRITTEN}."
        ) from error


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> _Array:
    with archive.open(info) as file:
        shape, fortran, dtype = _header(file)
        begins = file.tell()
    if dtype.hasobject:
        raise DataError(
            f"config.data.file: {info.filename} of {path.name} is an array of Python objects, which would have to be "
            f"unpickled, got {dtype}. Save one array of numbers, such as np.stack(list_of_pictures), or of texts, "
            "labels.astype(str)."
        )
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    if info.file_size != begins + size:
        raise ValueError(f"{info.filename} has {info.file_size - begins:,} bytes of numbers, not {size:,}")
    if info.compress_type == zipfile.ZIP_STORED and size:
        offset = _offset(path, info) + begins
        return _Array(np.memmap(path, dtype, "r", offset, shape, "F" if fortran else "C"), packed=False)
    if size > host_memory.host_bytes():
        raise DataError(
            f"config.data.file: {info.filename} of {path.name} is compressed and does not fit the memory, got "
            f"{size:,} bytes. Write it by numpy.savez, which does not compress."
        )
    with archive.open(info) as file:
        return _Array(np.lib.format.read_array(file, allow_pickle=False), packed=info.compress_type != 0)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    return np.lib.format.read_array_header_2_0(file)


def _offset(path: Path, info: zipfile.ZipInfo) -> int:
    """Returns where the bytes of a member begin: behind its own header, whose lengths may differ from the index's."""
    with open(path, "rb") as file:
        file.seek(info.header_offset + 26)
        lengths = file.read(4)
    return info.header_offset + 30 + int.from_bytes(lengths[:2], "little") + int.from_bytes(lengths[2:], "little")


def write(path: Path, given: Source, image_shape: tuple[int, int, int]) -> None:
    """Writes a source's splits: of arrays the pictures as they are, of others as they were fitted to the image shape.

    A few pictures at a time, so they need not fit the memory. The file is whole or not there.

    Args:
      path: of the file, which is replaced.
      given: the source; its pictures are read here.
      image_shape: the height, width and channels that it was read for.

    Raises:
      DataError: a picture cannot be used.
      OSError: the file cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    parts = {"train": given.train, "valid": given.valid, "test": given.test}
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive, bombs_are_errors():
            for name, part in parts.items():
                if part is None:
                    continue
                own = part.shape[1:] if isinstance(part, NumbersPart) else image_shape
                header = {"descr": "|u1", "fortran_order": False, "shape": (len(part), *map(int, own))}
                with _member(archive, f"x_{name}") as file:
                    np.lib.format.write_array_header_1_0(file, header)
                    for images in _pictures(part, image_shape):
                        file.write(np.ascontiguousarray(images).data)
                with _member(archive, f"y_{name}") as file:
                    np.lib.format.write_array(file, part.labels(), allow_pickle=False)
            with _member(archive, "class_names") as file:
                np.lib.format.write_array(file, np.array(given.class_names, dtype=str), allow_pickle=False)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    # Of one date, so that the same data are the same file.
    return archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True)


def _pictures(part: Part, image_shape: tuple[int, int, int]) -> Iterator[np.ndarray]:
    if isinstance(part, NumbersPart):
        yield from part.intensities()
        return
    step = max(1, CHUNK_BYTES // int(np.prod(image_shape)))
    for start in range(0, len(part), step):
        images, _, errors = part.read(np.arange(start, min(start + step, len(part))), os.cpu_count() or 1)
        if errors:
            raise part.refusal(errors)
        yield images
