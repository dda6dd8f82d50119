"""The validation split, cut from the training data; and the test split of a source that has none.

Both are stratified: the same fraction of every class. The rows are chosen by fixed shuffles, so runs of every seed
share their splits. Where a source has a validation split of its own, that one is taken and nothing is cut.
"""

import numpy as np
from jaxtyping import Bool, Int32

from cnn.data.order import permutation
from cnn.data.types import DataError, DataSpec, Source, Split

# The keys of the shuffles, outside the range of ordinary seeds.
VALID_KEY = 0x76616C6964_000001
TEST_KEY = 0x74657374_00000001


def validation_split(whole: Split, source: Source, data: DataSpec) -> tuple[Split, Split]:
    """Returns train and valid.

    Args:
      whole: the source's training data, its own validation split behind them where it has one.
      source: where `whole` is from.
      data: which part of every class becomes valid, where the source has no validation split of its own.

    Raises:
      DataError: if the fraction leaves train, one of its classes, or valid without a picture.
    """
    if source.valid is not None:
        is_valid = np.arange(len(whole)) >= len(source.train)
        return whole if data.train_on == "train+valid" else whole.take(~is_valid), whole.take(is_valid)
    rest, valid = stratified_split(whole, data.valid_fraction, VALID_KEY)
    train = whole if data.train_on == "train+valid" else rest
    if len(train) == 0 or (data.valid_fraction > 0 and len(valid) == 0):
        raise DataError(
            f"config.data.valid_fraction: {data.name} has {len(whole)} training pictures, which leaves {len(train)} "
            f"in train and {len(valid)} in valid, got {data.valid_fraction}. Choose another, or 0 for no valid."
        )
    lost = sorted(set(whole.labels.tolist()) - set(train.labels.tolist()))
    if lost:
        pictures = int((whole.labels == lost[0]).sum())
        raise DataError(
            f"config.data.valid_fraction: takes every picture of class {source.class_names[lost[0]]!r} ({pictures}) "
            f"out of training, got {data.valid_fraction}. Choose a smaller fraction, or add pictures."
        )
    return train, valid


def stratified_split(split: Split, fraction: float, key: int) -> tuple[Split, Split]:
    """Returns the rest and the chosen rows, both in their original order."""
    chosen = stratified_rows(split.labels, fraction, key)
    return split.take(~chosen), split.take(chosen)


def stratified_rows(labels: Int32[np.ndarray, " n"], fraction: float, key: int) -> Bool[np.ndarray, " n"]:
    """Marks `fraction` of the rows of every class, rounded half up.

    Args:
      labels: the class of each row, at least 0.
      fraction: at least 0 and below 1.
      key: which fixed shuffle chooses the rows.
    """
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        number = int(np.floor(fraction * len(rows) + 0.5))
        chosen[rows[permutation(key, int(label), len(rows))[:number]]] = True
    return chosen
