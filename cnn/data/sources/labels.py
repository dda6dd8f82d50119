"""The classes of labels that are written down, as names or as numbers; and rows that lack one."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32

from cnn.data.types import MOST_CLASSES, DataError
from cnn.fields import shorten

MISSING = ("", "nan")
"""What is no label, in lower case; "none" may well be the name of a class."""
_WHOLE = re.compile(r"(\d+)(\.0+)?", re.ASCII)
Label = str | int
Numbers = Int32[np.ndarray, " n"]
"""The class of every row."""


class Numbered(NamedTuple):
    """The names of the classes, and the class of every row by split."""

    class_names: tuple[str, ...]
    labels: dict[str, Numbers]


def number(labels: Mapping[str, Sequence[Label]], names: tuple[str, ...] = ()) -> Numbered:
    """Makes indices of labels.

    Where all are of type int they are indices already, of 0 to the largest of train. Texts are names: their classes are
    those of train, sorted; where all texts are whole numbers, by these.

    Args:
      labels: of train, and of the other splits that there are.
      names: those of the classes, in their order, where the user gives them: texts must then be among these, or be
        whole numbers that are indices of them, or as many different ones as there are names.

    Raises:
      DataError: a label is none of the classes, or no index.
    """
    if all(isinstance(label, int) for of_split in labels.values() for label in of_split):
        return _indices({split: [int(label) for label in of_split] for split, of_split in labels.items()}, names)
    texts = {split: [name_of(label) for label in of_split] for split, of_split in labels.items()}
    if names and all(text in names for of_split in texts.values() for text in of_split):
        return _looked_up(texts, {name: index for index, name in enumerate(names)}, names)
    if all(_WHOLE.fullmatch(text) for of_split in texts.values() for text in of_split):
        numbers = {split: [int(text.split(".")[0]) for text in of_split] for split, of_split in texts.items()}
        known = sorted(set(numbers["train"]))
        if not names:
            return _looked_up(numbers, {known: index for index, known in enumerate(known)}, tuple(map(str, known)))
        if known[-1] < len(names) or len(known) != len(names):
            return _indices(numbers, names)
        return _looked_up(numbers, {known: index for index, known in enumerate(known)}, names)
    if names:
        text = next(text for of_split in texts.values() for text in of_split if text not in names)
        raise DataError(
            f"config.data.class_names: lacks a label of the data, got {text!r}. It has {shorten(names)}; "
            "add that, or leave class_names empty for the names of the data."
        )
    known_texts = sorted(set(texts["train"]))
    return _looked_up(texts, {text: index for index, text in enumerate(known_texts)}, tuple(known_texts))


def is_missing(label: str) -> bool:
    """Tells whether a text stands for a label that is not there."""
    return label.strip().lower() in MISSING


def lacking(numbered: Numbered, field: str = "config.data.file") -> Iterator[str]:
    """Yields a note for each split that has no pictures of some classes."""
    for split, labels in numbered.labels.items():
        counts = np.bincount(labels, minlength=len(numbered.class_names))
        names = [name for name, count in zip(numbered.class_names, counts, strict=True) if not count]
        if names:
            so = "which are never learnt" if split == "train" else "of which its results say nothing"
            yield (
                f"{field}: {split} has no pictures of {len(names)} of {len(counts)} classes, {so}: {shorten(names)}."
            )


def leave_out(rows: Sequence[str], total: int, wrong: str, remedy: str, on_error: str) -> tuple[str, ...]:
    """Returns the note of rows that are left out, or refuses them.

    Args:
      rows: which they are, such as "line 3 of train.csv"; of none, nothing is said.
      total: of how many.
      wrong: what is wrong with them, such as "rows have no label".
      remedy: what would be right, such as "Give them one".
      on_error: "skip" to leave them out, "stop" to refuse them.

    Raises:
      DataError: they are refused.
    """
    if not rows:
        return ()
    if on_error == "skip" and len(rows) < total:
        return (f"config.data.file: {len(rows)} of {total} {wrong} and are left out: {shorten(rows)}.",)
    raise DataError(
        f"config.data.file: {len(rows)} of {total} {wrong}, got {shorten(rows)}. "
        f"{remedy}, or leave them out by config.data.on_error=skip."
    )


def name_of(label: Label) -> str:
    """Returns a label as the name of a class: other systems write the same letters in other ways."""
    return unicodedata.normalize("NFC", str(label).strip())


def _indices(numbers: Mapping[str, Sequence[int]], names: tuple[str, ...]) -> Numbered:
    classes = len(names) or 1 + max(numbers["train"])
    for split, of_split in numbers.items():
        wrong = [number for number in of_split if not 0 <= number < min(classes, MOST_CLASSES)]
        if wrong:
            field, of = ("class_names", "are named") if names else ("file", "train has")
            below = min(classes, MOST_CLASSES)
            raise DataError(
                f"config.data.{field}: labels that are numbers must be from 0 on and below {below}, as "
                f"many classes as {of}, got {wrong[0]} in {split} ({len(wrong)} such). "
                "Number the classes from 0, or write names in place of numbers."
            )
    labels = {split: np.array(of_split, dtype=np.int32) for split, of_split in numbers.items()}
    return Numbered(names or tuple(map(str, range(classes))), labels)


def _looked_up(labels: Mapping[str, Sequence[Label]], index: Mapping[Label, int], names: tuple[str, ...]) -> Numbered:
    for split, of_split in labels.items():
        unknown = sorted({str(label) for label in of_split if label not in index})
        if unknown:
            raise DataError(
                f"config.data.file: every class of {split} must also be in train, got {unknown[0]!r} "
                f"({len(unknown)} such). Classes of train: {shorten(names)}."
            )
    found = {split: np.array([index[each] for each in of_split], np.int32) for split, of_split in labels.items()}
    return Numbered(names, found)
