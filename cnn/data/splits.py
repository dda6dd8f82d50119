"""The three splits: a source's own ones, or stratified parts of its train; folds, and how much of train is used.

Rows are chosen by fixed shuffles, class by class, so that runs of every seed share their splits. Test is cut first,
then valid, and of what is left as many as `limit` says: test is the same for every fold, and both are for every limit.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int32, Int64

from cnn.data.order import permutation, rows_of_each
from cnn.data.types import CannotSplit, DataSpec, Source
from cnn.fields import shorten

# The keys of the shuffles, outside the range of ordinary seeds.
VALID_KEY = 0x76616C6964_000001
TEST_KEY = 0x74657374_00000001
FOLD_KEY = 0x666F6C64_00000001
LIMIT_KEY = 0x6C696D6974_000001


class Fold(NamedTuple):
    """The `number`-th, from 1 on, of so many equal parts of train."""

    number: int
    of: int


class Cut(NamedTuple):
    """Rows of the source's train, its own validation split behind them where it is used, in their order.

    `test` are the rows cut as test, none where the source has a test split. `notes` are for the user, a line each.
    """

    train: Int64[np.ndarray, " train"]
    valid: Int64[np.ndarray, " valid"]
    test: Int64[np.ndarray, " test"]
    notes: tuple[str, ...]


def parse_fold(text: str) -> Fold | None:
    """Returns what `config.data.fold` says, `None` for an empty text.

    Raises:
      ValueError: it is no fold.
    """
    if not text:
        return None
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text, re.ASCII)
    if found is None:
        raise ValueError(f"must be k/n, the k-th of n folds, such as 2/5, got {text!r}.")
    fold = Fold(*map(int, found.groups()))
    if fold.of < 2:
        raise ValueError(f"must be one of at least 2 folds, got {text!r}.")
    if not 1 <= fold.number <= fold.of:
        raise ValueError(f"must be one of 1/{fold.of} to {fold.of}/{fold.of}, got {text!r}.")
    return fold


def problems(data: DataSpec) -> Iterator[tuple[str, str]]:
    """Yields the field and what is wrong with it, of the fields that say how splits are cut."""
    try:
        if parse_fold(data.fold) and data.valid == "own":
            yield (
                "fold",
                f'cuts valid from train, but data.valid is "own", got {data.fold!r}. Set data.valid to "auto".',
            )
    except ValueError as error:
        yield "fold", str(error)
    if data.limit >= 1 and data.limit % 1:
        yield "limit", f"must be a share below 1 or a whole number of pictures, got {data.limit!r}."
    elif 1 <= data.limit < data.classes:
        yield "limit", f"must leave one picture of each of {data.classes} classes, got {data.limit:.0f}. Use more."


def chosen(source: Source, data: DataSpec) -> Source:
    """Returns the source without what the config does not use of it; its notes say which validation split is used.

    Raises:
      CannotSplit: it lacks a validation split of its own that is asked for, or has a test split where one is to be cut.
    """
    if source.test is not None and data.test_fraction:
        raise CannotSplit(
            f"config.data.test_fraction: {data.name} has a test split of its own, got {data.test_fraction:g}. "
            "Set it to 0.",
            {"test_fraction": 0.0},
        )
    if source.valid is None:
        if data.valid == "own":
            raise CannotSplit(
                f"config.data.valid: {data.name} has no validation split of its own, got 'own'. "
                "Use 'auto' or 'fraction' to cut one from train.",
                {"valid": "auto", "valid_fraction": 0.0},
            )
        return source
    if data.valid == "fraction":
        note = (
            f"config.data.valid: is 'fraction', so the validation split that {data.name} has of its own is not used: "
            f"its {len(source.valid):,} pictures are in no split."
        )
        kept = {part: hashes for part, hashes in source.contents.items() if part != "valid"}
        return dataclasses.replace(source, valid=None, contents=kept, notes=(note, *source.notes))
    note = source.valid_note or (
        f"config.data.valid_fraction: is not used, as {data.name} has a validation split of its own."
    )
    if data.fold:
        note = (
            f"config.data.fold: the validation split that {data.name} has of its own is joined to train, "
            f"{len(source.valid):,} pictures, before train is cut into folds."
        )
    return dataclasses.replace(source, notes=(note, *source.notes))


def facts(source: Source, data: DataSpec) -> list[object]:
    """Returns all that the splits depend on besides the stored pictures, for the identity of a dataset.

    Args:
      source: as `chosen` returns it.
      data: how the splits are cut.
    """
    fold, own = parse_fold(data.fold), source.valid is not None
    if fold is not None:
        validation: list[object] = ["fold", FOLD_KEY, *fold, own, data.train_on]
    elif own:
        validation = ["own", data.train_on]
    else:
        validation = ["stratified", VALID_KEY, float(data.valid_fraction), data.train_on]
    test = [["test", TEST_KEY, float(data.test_fraction)]] if data.test_fraction else []
    limit = [["limit", LIMIT_KEY, float(data.limit)]] if data.limit else []
    return [validation, *test, *limit]


def cut(labels: Int32[np.ndarray, " n"], source: Source, data: DataSpec) -> Cut:
    """Says which rows are train, valid and test.

    Args:
      labels: of the source's train, its own validation split behind them where it has one.
      source: as `chosen` returns it.
      data: how the splits are cut.

    Raises:
      CannotSplit: train, valid or test would be left without a picture.
    """
    notes: list[str] = []
    is_own = np.arange(len(labels)) >= len(source.train)
    is_test, is_valid = np.zeros((2, len(labels)), bool)
    if data.test_fraction:
        is_test[~is_own] = stratified_rows(labels[~is_own], data.test_fraction, TEST_KEY, spare=True)
        notes += _note_spared("test_fraction", labels[~is_own], data.test_fraction, source.class_names)
    fold, rest, alone = parse_fold(data.fold), ~is_test, data.train_on == "train"
    if fold is not None:
        is_valid[rest] = fold_rows(labels[rest], fold)
        notes += _note_small(labels[rest], fold, source.class_names)
    elif source.valid is not None:
        is_valid = is_own
    else:
        is_valid[rest] = stratified_rows(labels[rest], data.valid_fraction, VALID_KEY, spare=alone)
        notes += _note_spared("valid_fraction", labels[rest], data.valid_fraction, source.class_names) if alone else []
    is_train = rest & ~is_valid if alone else rest
    _check(is_train, is_valid, is_test, source, data)
    train = np.flatnonzero(is_train)
    if data.limit:
        wanted = int(data.limit) if data.limit >= 1 else int(np.floor(data.limit * len(train) + 0.5))
        if wanted > len(train):
            notes.append(
                f"config.data.limit: is {wanted:,}, more than the {len(train):,} pictures of train, which are all used."
            )
        train = train[limited_rows(labels[train], wanted, LIMIT_KEY)]
    return Cut(train, np.flatnonzero(is_valid), np.flatnonzero(is_test), tuple(notes))


def _check(
    is_train: Bool[np.ndarray, " n"],
    is_valid: Bool[np.ndarray, " n"],
    is_test: Bool[np.ndarray, " n"],
    source: Source,
    data: DataSpec,
) -> None:
    train, valid = int(is_train.sum()), int(is_valid.sum())
    if data.test_fraction and not is_test.any():
        raise CannotSplit(
            f"config.data.test_fraction: leaves no picture of the {len(source.train)} of {data.name} in test, "
            f"got {data.test_fraction:g}. Choose a larger one, or 0 for no test.",
            {"test_fraction": 0.0},
        )
    if data.fold and not (train and valid):
        raise CannotSplit(
            f"config.data.fold: leaves {train} pictures in train and {valid} in valid, got {data.fold!r}. "
            "Use fewer folds, or more pictures.",
            {"fold": ""},
        )
    if train == 0 or (source.valid is None and data.valid_fraction > 0 and valid == 0):
        raise CannotSplit(
            f"config.data.valid_fraction: {data.name} has {len(is_test) - int(is_test.sum())} training pictures, which "
            f"leaves {train} in train and {valid} in valid, got {data.valid_fraction}. "
            "Choose another, or 0 for no valid.",
            {"valid_fraction": 0.0},
        )


def stratified_rows(
    labels: Int32[np.ndarray, " n"], fraction: float, key: int, *, spare: bool = False
) -> Bool[np.ndarray, " n"]:
    """Marks `fraction` of the rows of every class, rounded half up.

    Args:
      labels: the class of each row, at least 0.
      fraction: at least 0 and below 1.
      key: which fixed shuffle chooses the rows.
      spare: whether one row of each class is left, however large the fraction.
    """
    marked = np.zeros(len(labels), dtype=bool)
    for rows in _shuffled(labels, key):
        marked[rows[: min(_part(fraction, len(rows)), len(rows) - spare)]] = True
    return marked


def fold_rows(labels: Int32[np.ndarray, " n"], fold: Fold) -> Bool[np.ndarray, " n"]:
    """Marks the rows of a fold.

    Each row is of one fold, and the folds are of one size, give or take a row, of every class and in all. A row that is
    the only one of its class is of none, as training would lack the class.
    """
    marked = np.zeros(len(labels), dtype=bool)
    before = 0
    for rows in _shuffled(labels, FOLD_KEY):
        if len(rows) > 1:
            # Going on where the class before ended, not every class with the first fold, whose rows would be the most.
            marked[rows] = (before + np.arange(len(rows))) % fold.of == fold.number - 1
            before += len(rows)
    return marked


def limited_rows(labels: Int32[np.ndarray, " n"], number: int, key: int) -> Bool[np.ndarray, " n"]:
    """Marks so many rows, of each class at least one and otherwise as many as is its part of all of them.

    The rows of a smaller number are among those of a larger one. With fewer than there are classes, one of each.

    Source:
      The method of Webster and Sainte-Lague for seats in a parliament, each party having one; it takes away no seat as
      the parliament grows. Balinski and Young 1982, Fair Representation, chapter 9.
    """
    turn = np.empty(len(labels))
    classes = 0
    for rows in _shuffled(labels, key):
        turn[rows] = (np.arange(len(rows)) + 0.5) / len(rows)
        turn[rows[0]] = 0
        classes += 1
    marked = np.zeros(len(labels), dtype=bool)
    marked[np.argsort(turn, kind="stable")[: max(number, classes)]] = True
    return marked


def _shuffled(labels: Int32[np.ndarray, " n"], key: int) -> Iterator[Int64[np.ndarray, " rows"]]:
    """Yields the rows of each class, in a fixed order that only the key and the class decide."""
    for rows in rows_of_each(labels):
        yield rows[permutation(key, int(labels[rows[0]]), len(rows))]


def _part(fraction: float, count: int) -> int:
    return int(np.floor(fraction * count + 0.5))


def _note_spared(field: str, labels: Int32[np.ndarray, " n"], fraction: float, names: Sequence[str]) -> Iterable[str]:
    counts = np.bincount(labels, minlength=len(names))
    named = zip(names, counts, strict=True)
    spared = [(name, count) for name, count in named if count and _part(fraction, count) == count]
    if spared:
        yield (
            f"config.data.{field}: {fraction:g} would take every picture of {len(spared)} of {len(names)} classes out "
            f"of training, so one of each stays there: {_counted(spared)}."
        )


def _note_small(labels: Int32[np.ndarray, " n"], fold: Fold, names: Sequence[str]) -> Iterable[str]:
    counts = np.bincount(labels, minlength=len(names))
    small = [(name, count) for name, count in zip(names, counts, strict=True) if 0 < count < fold.of]
    if small:
        yield (
            f"config.data.fold: {len(small)} of {len(names)} classes have fewer pictures than there are folds, "
            f"{fold.of}, so some folds validate without them: {_counted(small)}."
        )
    if single := [name for name, count in small if count == 1]:
        yield f"config.data.fold: the only picture of a class stays in train in every fold: {shorten(single)}."


def _counted(classes: Sequence[tuple[str, int]]) -> str:
    return shorten([f"{name} ({count})" for name, count in classes])
