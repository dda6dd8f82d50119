"""The order of examples: a pure function of the seed and the epoch."""

import numpy as np
from jaxtyping import Int64


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
