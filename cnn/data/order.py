"""The order of batches: which examples each step trains on, a pure function of the seed and the step.

Every epoch takes all examples in an order of its own, cut into batches; what is left over at its end is not trained on.
So a run that goes on in the middle of an epoch needs to know nothing but its step.
"""

import functools
import threading

import numpy as np
from jaxtyping import Int32, Int64


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


class BatchOrder:
    """The rows of every step's batch, from any thread."""

    def __init__(self, examples: int, *, seed: int, batch_size: int) -> None:
        self.steps_per_epoch = examples // batch_size
        self._batch_size = batch_size
        # Threads that read ahead are in the next epoch while the last one ends. To sort millions of rows takes a
        # second, so it is done once, and the lock keeps two threads from doing it at the same time.
        self._sorting = threading.Lock()
        self._permutation = functools.lru_cache(2)(lambda epoch: permutation(seed, epoch, examples))

    def rows(self, step: int, steps: int = 1) -> Int32[np.ndarray, "steps batch"]:
        """Returns the rows of so many steps from one on, all of one epoch."""
        epoch, position = divmod(step, self.steps_per_epoch)
        with self._sorting:
            order_of_epoch = self._permutation(epoch)
        rows = order_of_epoch[position * self._batch_size :][: steps * self._batch_size]
        return rows.astype(np.int32).reshape(steps, self._batch_size)
