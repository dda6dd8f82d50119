"""How `valid` is cut from `train`, and `test` from a source that has none.

The order of examples: a pure function of the seed and the epoch.
"""

import numpy as np
from jaxtyping import Bool, Int32, Int64

from cnn.data.types import Split


def permutation(seed: int, epoch: int, n: int) -> Int64[np.ndarray, " n"]:
    """Shuffles the numbers from 0 to n - 1.

    NumPy promises that the raw words of a bit generator never change, which it does not promise of
    `Generator.permutation`; so the words are sorted here.

    Args:
      seed: at least 0 and below 2**64.
      epoch: at least 0 and below 2**64; every (seed, epoch) is its own stream.
      n: how many.
    """
    words = np.random.Philox(key=np.array([seed, epoch], dtype=np.uint64)).random_raw(n)
    return np.argsort(words, kind="stable").astype(np.int64)


# Fixed words outside the range of ordinary seeds: runs of every seed share their splits.
VALID_KEY = 0x76616C6964_000001
TEST_KEY = 0x74657374_00000001


def stratified(labels: Int32[np.ndarray, " n"], fraction: float, key: int) -> Bool[np.ndarray, " n"]:
    """Marks `fraction` of the rows of every class, rounded half up.

    Args:
      labels: the class of each row, at least 0.
      fraction: at least 0 and below 1.
      key: which fixed shuffle chooses the rows.
    """
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        count = int(np.floor(fraction * len(rows) + 0.5))
        chosen[rows[permutation(key, int(label), len(rows))[:count]]] = True
    return chosen


def cut(split: Split, fraction: float, key: int) -> tuple[Split, Split]:
    """Splits rows into the rest and the chosen ones, both in their original order."""
    chosen = stratified(split.labels, fraction, key)
    return split.take(~chosen), split.take(chosen)
