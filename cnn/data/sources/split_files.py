"""Which files hold train, valid and test, for the sources that are read from `config.data.file`.

That is one file, a folder whose files bear the names of their splits, or a pattern: `{split}` stands for a split,
`{000..012}` for a range of numbers, and `*`, `?` and `[...]` for what they stand for in a shell.
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NoReturn

from cnn.data.types import DataError, DataSpec
from cnn.fields import shorten, suggestion

SPLIT = "{split}"
"""What stands for a split in a pattern."""
WORDS = {
    "train": ("train", "training"),
    "valid": ("valid", "val", "validation", "dev"),
    "test": ("test", "testing"),
}
"""What a split is called in the names of files and folders."""
SHOWN = 5
"""How many names a message lists."""
MAX_RANGE = 100_000
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_OF = re.compile(r"-(\d{4,})-of-(\d{4,})(?=\.)")


class OfFiles:
    """A source that reads `config.data.file`."""

    reads: ClassVar[tuple[str, ...]] = ("file",)

    def at_hand(self, data: DataSpec) -> bool:
        return any_of(data.file)


@dataclass(frozen=True)
class SplitFiles:
    """The files of each split, in order; valid and test may be missing."""

    splits: Mapping[str, tuple[Path, ...]]
    notes: tuple[str, ...] = ()
    """What the user should hear about them, a line each."""


def split_of(name: str) -> str | None:
    """Returns the split that a file's name speaks of: train of "mnist_train.csv", `None` where it speaks of none."""
    word = word_of(name)
    return next((split for split, known in WORDS.items() if word in known), None)


def word_of(name: str) -> str | None:
    """Returns the first word of a name that is one for a split; the name is taken apart at all that is no letter."""
    words = {word for known in WORDS.values() for word in known}
    return next((word for word in re.split(r"[^a-z]+", name.lower()) if word in words), None)


def find(file: str, suffixes: Sequence[str]) -> SplitFiles:
    """Finds the files of each split.

    Args:
      file: a file, which is train; a folder, whose files are told by their names, or by the folders train, valid and
        test in it, or that has them in one folder such as data; or a pattern.
      suffixes: the files to look for in folders, such as ".csv", the first of them for messages.

    Raises:
      DataError: there is no file of train, one of several shards is missing, or one cannot be read.
    """
    if not file:
        raise DataError(
            "config.data.file: must name a file, a folder or a pattern such as 'shards/{split}-*.tar', got ''. Set it."
        )
    path = Path(file).expanduser()
    if path.is_dir():
        found = _in_folder(path, suffixes)
    elif path.exists():
        found = SplitFiles({"train": (path,)})
    else:
        found = _matching(str(path), suffixes)
    for path in (each for files in found.splits.values() for each in files):
        if not path.is_file() or not os.access(path, os.R_OK):
            why = "may not be read" if path.is_file() else "is no regular file"
            raise DataError(f"config.data.file: {why}, got {str(path)!r}. Make it a file that this account may read.")
    _check_complete(found.splits)
    return found


def any_of(file: str) -> bool:
    """Tells whether anything is there to be read."""
    path = Path(file).expanduser()
    return bool(file) and (path.exists() or any(map(_exists, _alternatives(str(path)))))


def _exists(pattern: str) -> bool:
    return next(glob.iglob(pattern, recursive=True), None) is not None


def _in_folder(folder: Path, suffixes: Sequence[str]) -> SplitFiles:
    found = _by_name(folder, suffixes)
    if "train" in found.splits:
        return found
    inner = [each for each in _entries(folder) if each.is_dir() and not each.name.startswith(".")]
    below = [each for each in (_by_name(path, suffixes) for path in inner) if "train" in each.splits]
    if len(below) == 1:
        return below[0]
    if below:
        names = shorten([str(each.splits["train"][0].parent) for each in below], SHOWN)
        raise DataError(
            f"config.data.file: {len(below)} folders in {str(folder)!r} hold files of train, got {names}. "
            "Name one of them."
        )
    files = _with_suffix(folder, suffixes)
    if len(files) != 1:
        raise _no_train(str(folder), files, suffixes)
    return SplitFiles({"train": tuple(files)})


def _by_name(folder: Path, suffixes: Sequence[str]) -> SplitFiles:
    """Sorts the files of a folder, and of the folders in it that are called as a split is, by their splits."""
    named = [(path.name, path) for path in _with_suffix(folder, suffixes)]
    words = {word for known in WORDS.values() for word in known}
    for inner in _entries(folder):
        if inner.name.lower() in words and inner.is_dir():
            named += [(inner.name, path) for path in _with_suffix(inner, suffixes)]
    return _sorted_out(named)


def _sorted_out(named: Iterable[tuple[str, Path]]) -> SplitFiles:
    splits: dict[str, list[Path]] = {split: [] for split in WORDS}
    passed_over = []
    for name, path in named:
        split = split_of(name)
        if split is None:
            passed_over.append(path.name)
        else:
            splits[split].append(path)
    notes: tuple[str, ...] = ()
    if passed_over:
        notes = (
            f"config.data.file: {len(passed_over)} {'file' if len(passed_over) == 1 else 'files'} passed over, as the "
            f"name speaks of no split: {shorten(passed_over, SHOWN)}.",
        )
    return SplitFiles({split: tuple(paths) for split, paths in splits.items() if paths}, notes)


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise DataError(
            f"config.data.file: cannot read the folder, got {str(folder)!r} ({error.strerror}). Name one that can be."
        ) from error


def _with_suffix(folder: Path, suffixes: Sequence[str]) -> list[Path]:
    names = [path for path in _entries(folder) if not path.name.startswith(".") and not path.is_dir()]
    return [path for path in names if path.name.lower().endswith(tuple(suffixes))]


def _matching(pattern: str, suffixes: Sequence[str]) -> SplitFiles:
    if SPLIT not in pattern:
        files = [Path(path) for path in _expanded(pattern, required=True)[0]]
        if not files:
            _nothing(pattern, suffixes)
        found = _sorted_out((path.name, path) for path in files)
        if found.splits and "train" not in found.splits:
            raise _no_train(pattern, files, suffixes)
        return found if found.splits else SplitFiles({"train": tuple(files)})
    splits, notes = {}, []
    for split, words in WORDS.items():
        expanded = {word: _expanded(pattern.replace(SPLIT, word), required=split == "train") for word in words}
        # train*.csv and training*.csv may be the same files.
        matched = {tuple(paths): word for word, (paths, _) in reversed(expanded.items()) if paths}
        if len(matched) > 1:
            alike = " and ".join(reversed(matched.values()))
            raise DataError(
                f"config.data.file: {{split}} stands for {alike} alike, got {pattern!r}. "
                "Leave the files of one of them, or name another pattern."
            )
        for paths, word in matched.items():
            splits[split] = tuple(map(Path, paths))
            if missing := expanded[word][1]:
                notes.append(
                    f"config.data.file: {split} has {len(paths)} of the {len(paths) + len(missing)} files of the "
                    f"range, without {shorten(missing, SHOWN)}."
                )
    if "train" not in splits:
        _nothing(pattern, suffixes)
    return SplitFiles(splits, tuple(notes))


def _expanded(pattern: str, *, required: bool) -> tuple[list[str], list[str]]:
    """Returns the files of a pattern without {split}, and the names of its ranges that match none.

    Raises:
      DataError: some of a range are missing where all are `required`.
    """
    names = list(_ranges(pattern))
    matches = {name: sorted(glob.glob(name, recursive=True)) for name in names}
    missing = [name for name, paths in matches.items() if not paths]
    if required and missing and len(missing) < len(names):
        raise DataError(
            f"config.data.file: {len(missing)} of the {len(names)} files of the range are missing, "
            f"got {shorten(missing, SHOWN)}. Fetch them, or shorten the range."
        )
    return list(dict.fromkeys(path for paths in matches.values() for path in paths)), missing


def _alternatives(pattern: str) -> Iterator[str]:
    """Yields a pattern for every split's words and the numbers of its ranges."""
    for word in (word for words in WORDS.values() for word in words) if SPLIT in pattern else ("",):
        yield from _ranges(pattern.replace(SPLIT, word))


def _ranges(pattern: str) -> Iterator[str]:
    match = _RANGE.search(pattern)
    if match is None:
        yield pattern
        return
    first, last = match.groups()
    if not int(first) <= int(last) < int(first) + MAX_RANGE:
        raise DataError(
            f"config.data.file: a range must rise, by less than {MAX_RANGE:,}, got {match.group()}. "
            "Write it as in {000..012}."
        )
    width = len(first) if first.startswith("0") else 0
    for number in range(int(first), int(last) + 1):
        yield from _ranges(f"{pattern[: match.start()]}{number:0{width}}{pattern[match.end() :]}")


def _check_complete(splits: Mapping[str, Sequence[Path]]) -> None:
    """Refuses shards called train-00000-of-00002 of which one is not there."""
    for files in splits.values():
        numbered = [match for path in files if (match := _OF.search(path.name))]
        for total in {match.group(2) for match in numbered}:
            there = {int(match.group(1)) for match in numbered if match.group(2) == total}
            missing = sorted(set(range(int(total))) - there)
            if missing:
                match = next(match for match in numbered if match.group(2) == total)
                width = len(match.group(1))
                name = match.string.replace(match.group(), f"-{missing[0]:0{width}}-of-{total}")
                raise DataError(
                    f"config.data.file: {len(missing)} of {int(total)} shards are missing, got no {name!r} in "
                    f"{str(files[0].parent)!r}. Fetch them."
                )


def _nothing(pattern: str, suffixes: Sequence[str]) -> NoReturn:
    if any(letter in pattern for letter in "{}*?["):
        known = "{split} stands for train, valid and test, {000..012} for a range"
        raise DataError(
            f"config.data.file: no file of train matches, got {pattern!r}. In a pattern {known}, * for all."
        )
    path = Path(pattern)
    beside = [each.name for each in _entries(path.parent)] if path.parent.is_dir() else []
    hint = suggestion(path.name, beside) or (f"It holds {shorten(beside, SHOWN)}. " if beside else "")
    where = "no such file or folder" if path.parent.is_dir() else f"no such folder as {str(path.parent)!r}"
    raise DataError(f"config.data.file: {where}, got {pattern!r}. {hint}Name a {suffixes[0]} file or their folder.")


def _no_train(where: str, files: Sequence[Path], suffixes: Sequence[str]) -> DataError:
    got = shorten([path.name for path in files], SHOWN) if files else f"no {suffixes[0]} file"
    return DataError(
        f"config.data.file: no file of train in {where!r}, got {got}. "
        f"Call it train{suffixes[0]}, or name the file itself or a pattern with {{split}}."
    )
