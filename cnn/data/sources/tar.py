"""Tar files with pictures and labels side by side, as WebDataset has them: 000.png and 000.cls are one picture.

Reading the headers alone gives an index, the place of every picture; a picture's bytes are read as they are needed.
"""

from __future__ import annotations

import collections
import gzip
import hashlib
import io
import json
import os
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, NamedTuple

from cnn.data.decode import SUFFIXES, UNREAD_SUFFIXES, check_channels
from cnn.data.encoded import EncodedPart
from cnn.data.sources import labels, split_files
from cnn.data.sources.hashing import Listed, listed_source
from cnn.data.types import DataError, DataSpec, Source
from cnn.fields import shorten
from cnn.registry import source

LABELS = (".cls", ".json", ".txt")
"""The members that hold labels, the first that does counts."""
JSON_KEYS = ("label", "class", "cls")
MAX_LABEL = 1 << 20
"""The bytes that a member with a label may have."""
_GZIP = b"\x1f\x8b"
_COMPRESSED = {b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


@dataclass(frozen=True)
class Shard:
    """One tar file; `content` is all of it where it was compressed."""

    path: Path
    content: bytes | None = None

    def open(self) -> IO[bytes]:
        return io.BytesIO(self.content) if self.content is not None else open(self.path, "rb", buffering=0)

    def damaged(self, why: object) -> DataError:
        return DataError(
            f"config.data.file: a damaged tar file, got {str(self.path)!r}: {why}. Fetch or write it again."
        )


class Member(NamedTuple):
    """A file in a tar file."""

    shard: Shard
    name: str
    offset: int
    size: int

    def read(self) -> bytes:
        with self.shard.open() as file:
            file.seek(self.offset)
            found = file.read(self.size)
        if len(found) != self.size:
            raise self.shard.damaged(f"{self.name!r} is cut short")
        return found

    def __str__(self) -> str:
        return f"{self.name} of {self.shard.path.name}"


@dataclass
class Index:
    """What the headers of a split's tar files tell.

    Attributes:
      samples: the members of each picture by their suffixes, by the picture's name, in the order of the files.
      others: how many members there are besides, by what they are.
    """

    samples: dict[tuple[Path, str], dict[str, Member]] = field(default_factory=dict)
    others: collections.Counter[str] = field(default_factory=collections.Counter)


@source
class Tar(split_files.OfFiles):
    """Tar files with pictures and their labels side by side, as WebDataset has them: `config.data.file`."""

    label: str = ""
    """The key of the label in the JSON beside each picture; empty: .cls, label, class or cls in .json, or .txt."""

    def load(self, data: DataSpec) -> Source:
        check_channels(data.image_shape[2], "tar")
        found = split_files.find(data.file, (".tar", ".tar.gz", ".tgz"))
        shards = {split: [_opened(path, data.loading) for path in paths] for split, paths in found.splits.items()}
        indexes = {split: _index(of_split) for split, of_split in shards.items()}
        pictures: dict[str, list[Member]] = {}
        written: dict[str, list[labels.Label]] = {}
        notes = list(found.notes)
        for split, index in indexes.items():
            pictures[split], written[split], lacking = _labelled(split, index, self.label, data.on_error)
            notes += [*lacking, *_others(split, index)]
        numbered = labels.number(written, data.class_names)
        listed = {split: _listed(split, pictures[split], numbered.labels[split], data) for split in pictures}
        return listed_source("tar", numbered.class_names, listed, (*notes, *labels.lacking(numbered)))


def _opened(path: Path, loading: str) -> Shard:
    with open(path, "rb") as file:
        first = file.read(6)
        for magic, name in _COMPRESSED.items():
            if first.startswith(magic):
                raise DataError(f"config.data.file: is compressed by {name}, got {str(path)!r}. Decompress it.")
        if not first.startswith(_GZIP):
            return Shard(path)
        if loading == "stream":
            raise DataError(
                f"config.data.file: is compressed, so that its pictures cannot be read one by one, got {str(path)!r}. "
                "Decompress it (gunzip), or set config.data.loading=memory."
            )
        file.seek(0)
        try:
            with gzip.GzipFile(fileobj=file) as plain:
                return Shard(path, plain.read())
        except (OSError, EOFError, zlib.error) as error:
            raise Shard(path).damaged(error) from error


def _index(shards: Sequence[Shard]) -> Index:
    index = Index()
    for shard in shards:
        for member in _members(shard):
            base = os.path.basename(member.name)
            stem, dot, suffix = base.partition(".")
            if not member.isreg() or member.issparse():
                if not member.isdir():
                    index.others["links" if member.issym() or member.islnk() else "devices and the like"] += 1
                continue
            if not stem or not dot:
                index.others["without a suffix" if stem else "hidden"] += 1
                continue
            key = shard.path, os.path.join(os.path.dirname(member.name), stem)
            sample, suffix = index.samples.setdefault(key, {}), f".{suffix.lower()}"
            found = Member(shard, member.name, member.offset_data, member.size)
            if suffix in UNREAD_SUFFIXES:
                raise DataError(
                    f"config.data.file: {suffix} pictures are not read, got {found}. "
                    f"Convert them to {', '.join(SUFFIXES)}, or take them away."
                )
            if suffix in sample:
                raise DataError(
                    f"config.data.file: two members of {shard.path.name} are of one name, got {member.name!r} and "
                    f"{sample[suffix].name!r}. Rename one."
                )
            sample[suffix] = found
    return index


def _members(shard: Shard) -> Iterator[tarfile.TarInfo]:
    """Yields what the headers tell, and checks that they end as they should: tarfile itself takes any end for one."""
    with shard.open() as file:
        try:
            with tarfile.open(fileobj=file, mode="r:") as tar:
                while (member := tar.next()) is not None:
                    tar.members.clear()  # type: ignore[attr-defined]  # it would keep them all
                    yield member
                end = tar.offset
        except (tarfile.TarError, ValueError, OverflowError) as error:
            raise shard.damaged(error) from error
        file.seek(end)
        block = file.read(tarfile.BLOCKSIZE)
    if len(block) < tarfile.BLOCKSIZE:
        raise shard.damaged(f"it ends at byte {end} without a mark of its end")
    if block.strip(b"\0"):
        raise shard.damaged(f"no header at byte {end}")


def _labelled(
    split: str, index: Index, json_key: str, on_error: str
) -> tuple[list[Member], list[labels.Label], tuple[str, ...]]:
    """Returns the pictures with their labels, and what is said of those without one; uses up the index's members."""
    pictures, written = [], []
    alone, unlabelled = [], []
    for sample in index.samples.values():
        suffix = next((suffix for suffix in SUFFIXES if suffix in sample), None)
        label, used = _label(sample, json_key)
        if suffix is not None and label is not None:
            pictures.append(sample.pop(suffix))
            written.append(label)
            del sample[used]
        elif suffix is not None:
            unlabelled.append(str(sample.pop(suffix)))
        elif label is not None:
            alone.append(str(sample.pop(used)))
    total = len(pictures) + len(unlabelled) + len(alone)
    if not total:
        raise DataError(
            f"config.data.file: {split} holds no picture with a label, such as 000.png and 000.cls, "
            f"got {sum(map(len, index.samples.values())) + index.others.total()} other members. Name other files."
        )
    key = f"{', '.join(LABELS)}" + (f" ({json_key!r} in it)" if json_key else "")
    notes = (
        *labels.leave_out(unlabelled, total, "pictures have no label", f"Give each a {key}", on_error),
        *labels.leave_out(alone, total, "labels are of no picture", "Add the pictures", on_error),
    )
    return pictures, written, notes


def _label(sample: Mapping[str, Member], json_key: str) -> tuple[labels.Label | None, str]:
    """Returns a picture's label, and the suffix of the member that holds it; `None` where none does."""
    for suffix in (".json",) if json_key else LABELS:
        member = sample.get(suffix)
        if member is None:
            continue
        if member.size > MAX_LABEL:
            raise DataError(f"config.data.file: a label of {member.size} bytes, got {member}. Write names or numbers.")
        try:
            text = member.read().decode("utf-8-sig").strip()
            label: Any = _in_json(json.loads(text), json_key) if suffix == ".json" else text
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"config.data.file: a label that cannot be read, got {member}: {error}. Mend it."
            ) from error
        if isinstance(label, str) and label.isdecimal() and label.isascii() and suffix != ".json":
            return int(label), suffix
        if isinstance(label, float) and label.is_integer():
            return int(label), suffix
        if isinstance(label, bool) or not isinstance(label, str | int | None):
            raise DataError(
                f"config.data.file: a label must be a name or a whole number, got {label!r:.80} in {member}. Mend it."
            )
        if label is not None and not labels.is_missing(str(label)):
            return label, suffix
    return None, ""


def _in_json(found: Any, json_key: str) -> Any:
    if not isinstance(found, dict):
        return None if json_key else found
    return next((found[key] for key in ((json_key,) if json_key else JSON_KEYS) if key in found), None)


def _others(split: str, index: Index) -> Iterator[str]:
    """Yields a note of the members that are neither a picture nor its label."""
    counts = index.others + collections.Counter(suffix for sample in index.samples.values() for suffix in sample)
    if counts:
        kinds = shorten([f"{kind} ({count})" for kind, count in counts.most_common()])
        members = f"{counts.total()} {'member' if counts.total() == 1 else 'members'} of {split}"
        yield f"config.data.file: {members} passed over, neither picture nor label: {kinds}."


def _listed(split: str, pictures: Sequence[Member], numbers: labels.Numbers, data: DataSpec) -> Listed:
    def title(row: int) -> str:
        return str(pictures[row])

    part = EncodedPart(split, numbers, lambda row: pictures[row].read(), title, data, field="config.data.file")
    return Listed(
        part,
        lambda: (f"{picture.size} {picture.name}" for picture in pictures),
        lambda rows: (hashlib.sha256(pictures[row].read()).digest() for row in rows),
    )
