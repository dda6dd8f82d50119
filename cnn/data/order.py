"""The order of batches: which examples each step trains on, a pure function of the seed and the step.

Every epoch takes all examples in an order of its own, cut into batches; what is left over at its end is not trained on.
Or, where classes are to be seen equally often, it takes as many of each. Either way a run that goes on in the middle of
an epoch needs to know nothing but its step.
"""

import functools
import threading
from collections.abc import Callable, Sequence

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


def permutations(seed: int, first: int, count: int, n: int) -> Int64[np.ndarray, "count n"]:
    """Shuffles the numbers from 0 to n - 1 so many times, from the `first` shuffle of a seed on."""
    # A Philox generator makes four words for each number it counts, and can begin at any.
    counts = -(-n // 4)
    words = np.random.Philox(key=np.array([seed, 0], dtype=np.uint64), counter=first * counts)
    return np.argsort(words.random_raw(count * counts * 4).reshape(count, counts * 4)[:, :n], axis=1, kind="stable")


def rows_of_each(labels: Int32[np.ndarray, " n"]) -> list[Int64[np.ndarray, " rows"]]:
    """Returns the rows of each class that occurs, both in ascending order."""
    counts = np.unique(labels, return_counts=True)[1]
    return np.split(np.argsort(labels, kind="stable"), np.cumsum(counts)[:-1]) if len(labels) else []


def balanced_epoch(
    rows_of_class: Sequence[Int64[np.ndarray, " rows"]], seed: int, epoch: int, n: int
) -> Int64[np.ndarray, " n"]:
    """Returns the rows of an epoch that takes as many of each class, give or take one.

    Of C classes, draw d from the beginning of the run on is one of class d mod C, and an epoch takes the next n draws
    and shuffles them: so the classes that have one more change from epoch to epoch. A class's k-th draw is the k-th row
    of shuffles of its rows, one after another: over the epochs each is drawn as often as any other, give or take one.

    Args:
      rows_of_class: of each class, at least one.
      seed: at least 0 and below 2**32.
      epoch: from 0 on.
      n: how many rows.
    """
    classes = len(rows_of_class)
    first, last = n * epoch, n * (epoch + 1)
    drawn = []
    for number, rows in enumerate(rows_of_class):
        start, stop = (-(-(end - number) // classes) for end in (first, last))
        passes = range(start // len(rows), -(-stop // len(rows)))
        # Ordinary seeds have 32 bits; the shuffles of a class have keys of their own above them.
        shuffles = permutations(seed | (number + 1) << 32, passes.start, len(passes), len(rows)).ravel()
        drawn.append(rows[shuffles[start - passes.start * len(rows) :][: stop - start]])
    return np.concatenate(drawn)[permutation(seed, epoch, n)]


class BatchOrder:
    """The rows of every step's batch, from any thread."""

    def __init__(
        self, examples: int, *, seed: int, batch_size: int, balanced: Int32[np.ndarray, " examples"] | None = None
    ) -> None:
        """Shuffles nothing yet.

        Args:
          examples: how many there are.
          seed: at least 0 and below 2**32.
          batch_size: of every step.
          balanced: the class of each example, where classes are to be seen equally often.
        """
        self.steps_per_epoch = examples // batch_size
        self._batch_size = batch_size

        order_of: Callable[[int], Int64[np.ndarray, " n"]] = functools.partial(permutation, seed, n=examples)
        if balanced is not None:
            # Those of full batches alone, so that what is left over takes nothing from the balance.
            order_of = functools.partial(
                balanced_epoch, rows_of_each(balanced), seed, n=self.steps_per_epoch * batch_size
            )
        # Threads that read ahead are in the next epoch while the last one ends. To sort millions of rows takes a
        # second, so it is done once, and the lock keeps two threads from doing it at the same time.
        self._sorting = threading.Lock()
        self._order = functools.lru_cache(2)(order_of)

    def rows(self, step: int, steps: int = 1) -> Int32[np.ndarray, "steps batch"]:
        """Returns the rows of so many steps from one on, all of one epoch."""
        epoch, position = divmod(step, self.steps_per_epoch)
        with self._sorting:
            order_of_epoch = self._order(epoch)
        rows = order_of_epoch[position * self._batch_size :][: steps * self._batch_size]
        return rows.astype(np.int32).reshape(steps, self._batch_size)
