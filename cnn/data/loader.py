"""The loader: hands the training steps and an evaluation their examples, on the device.

A split that was read into memory lies on the device whole, and a step is given rows of it. One that streams stays on
disk: threads read and decode batches ahead, and each goes to the device as its step comes. Both ways the same step gets
the same examples, in the order of `cnn.data.order`.

Threads, not processes: decoding releases Python's global lock, while a process would import JAX again, could outlive a
run that is killed, and would have to send every batch.
"""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int, Int32, UInt8

from cnn.data import types
from cnn.data.order import BatchOrder


class Examples(NamedTuple):
    """Examples on the device: a whole split, or a batch."""

    images: UInt8[Array, "examples height width channels"]
    labels: Int[Array, " examples"]
    weights: Float[Array, " examples"] | None = None
    """1 or 0 for each; `None` for all 1."""
    rows: Int[Array, " examples"] | None = None
    """Of each in the training split; `None` where nothing depends on it."""


Place = Callable[[Any], Any]
"""Puts arrays where they are computed with."""
PREFETCH = 2
"""How many batches each thread may be ahead."""
CHUNK_BYTES = 1 << 26
"""How much of a stream goes to the device at a time where one call computes many steps."""


def whole(split: types.Split, *, by_example: bool = False, place: Place = jax.device_put) -> Examples:
    """Returns a split that does not stream as the compiled step takes it; see `Loader`."""
    images, labels = place((split.images, split.marked()))
    return Examples(images, labels, rows=place(np.arange(len(split), dtype=np.int32)) if by_example else None)


class Loader:
    """The examples of every training step: a pure function of the step, wherever the pictures are."""

    def __init__(
        self,
        split: types.Split,
        *,
        seed: int,
        batch_size: int,
        epochs: int,
        workers: int,
        balanced: bool = False,
        by_example: bool = False,
        place: Place = jax.device_put,
    ) -> None:
        """Puts the split on the device, unless it streams; reads nothing of one that does.

        Args:
          split: the pictures and classes.
          seed: decides the order.
          batch_size: of every step; the remainder of an epoch is dropped.
          epochs: how often the split is gone through.
          workers: threads that decode ahead, 0 to decode when a batch is asked for.
          balanced: whether classes are seen equally often; pictures that cannot be used count as any other.
          by_example: whether examples are handed over with their rows in the split.
          place: puts arrays where they are computed with.
        """
        classes = split.labels if balanced else None
        self.order = BatchOrder(len(split), seed=seed, batch_size=batch_size, balanced=classes)
        self.steps_per_epoch = self.order.steps_per_epoch
        self.waited = 0.0
        """Seconds that the device had nothing to do for want of pictures."""
        self.streams = isinstance(split.images, types.Stored)
        self._split, self._batch_size, self._workers, self._place = split, batch_size, workers, place
        self._steps = self.steps_per_epoch * epochs
        self._batch_bytes = math.prod(split.images.shape[1:]) * batch_size
        self._by_example = by_example
        self._on_device = None if self.streams else whole(split, by_example=by_example, place=place)
        self._prefetcher: Prefetcher | None = None
        self._computing: list[Any] = []

    def chunks(self, step: int, steps: int, most: int | None) -> Iterator[tuple[Examples, np.ndarray]]:
        """Yields, for each call that computes some of the steps, examples and the rows of them, (steps, batch).

        Args:
          step: the first.
          steps: how many, all of one epoch.
          most: how many steps a call may compute; `None` for any number. Where pictures stream a call is one step, or
            as many as `CHUNK_BYTES` hold.
        """
        if self.streams:
            most = 1 if most else max(1, CHUNK_BYTES // self._batch_bytes)
        # Chunks of one length, but for the last: every other length of a call would be compiled anew.
        calls = math.ceil(steps / (most or steps))
        length = math.ceil(steps / calls)
        for first in range(step, step + steps, length):
            # No more than two calls under way: JAX returns at once, and a loop that ran ahead would fill the memory.
            if len(self._computing) == 2:
                jax.block_until_ready(self._computing[0])
            steps_of_call = min(length, step + steps - first)
            if self._on_device is None:
                yield self._stream(first, steps_of_call)
            else:
                yield self._on_device, self.order.rows(first, steps_of_call)

    def started(self, result: jax.Array) -> None:
        """Notes what the last chunk is computed into, by which `chunks` knows what is still under way."""
        self._computing = [*self._computing[-1:], result]

    def close(self) -> None:
        """Stops reading ahead."""
        if self._prefetcher is not None:
            self._prefetcher.close()
            self._prefetcher = None

    def _stream(self, step: int, steps: int) -> tuple[Examples, np.ndarray]:
        """Returns the examples of some steps, sent to the device now, and their rows there."""
        if self._prefetcher is None or self._prefetcher.next != step:
            self.close()
            self._prefetcher = Prefetcher(self._read_batch, self._steps, first=step, workers=self._workers)
        batches = [self._next_batch(self._prefetcher) for _ in range(steps)]
        images, labels = batches[0] if steps == 1 else map(np.concatenate, zip(*batches, strict=True))
        rows = np.arange(steps * self._batch_size, dtype=np.int32).reshape(steps, self._batch_size)
        examples = Examples(*self._place((images, labels)))
        if self._by_example:
            examples = examples._replace(rows=self._place(self.order.rows(step, steps).ravel()))
        return examples, rows

    def _read_batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self.order.rows(step)[0]
        images = self._split.images[rows]  # first: what cannot be used is known by reading it
        return images, self._split.marked(rows)

    def _next_batch(self, batches: "Prefetcher") -> tuple[np.ndarray, np.ndarray]:
        started = time.monotonic()
        batch = next(batches)
        # While the device still computes, it did not wait.
        if not self._computing or self._computing[-1].is_ready():
            self.waited += time.monotonic() - started
        return batch


def in_order(
    images: jax.Array | types.Stored, batch_size: int, workers: int, place: Place = jax.device_put
) -> Iterator[tuple[jax.Array, Int32[np.ndarray, " batch"]]]:
    """Yields pictures on the device and rows of them, in all every row once, in order: what an evaluation goes through.

    Args:
      images: on the device, or stored.
      batch_size: the last batch is filled up with repetitions of the last row.
      workers: threads that decode ahead.
      place: puts arrays where they are computed with.
    """
    examples = len(images)
    starts = range(0, examples, batch_size)
    if not isinstance(images, types.Stored):
        for start in starts:
            yield images, np.minimum(np.arange(start, start + batch_size, dtype=np.int32), examples - 1)
        return
    stored = images
    batches = Prefetcher(
        lambda number: stored[starts[number] : starts[number] + batch_size], len(starts), workers=workers
    )
    every_row = np.arange(batch_size, dtype=np.int32)
    try:
        for batch in batches:
            # Filled up on the host: on the device another shape would be compiled anew.
            yield place(batch[np.minimum(every_row, len(batch) - 1)] if len(batch) < batch_size else batch), every_row
    finally:
        batches.close()


class _Source:
    """What Grain reads at random: `read` by number."""

    def __init__(self, read: Callable[[int], Any], count: int) -> None:
        self._read, self._count = read, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> Any:
        return self._read(number)


class Prefetcher:
    """Yields `read(first)`, `read(first + 1)`, ... up to `count`, in order; threads of Grain read ahead.

    Nothing of it needs saving, since any number can be the first.
    """

    def __init__(self, read: Callable[[int], Any], count: int, *, first: int = 0, workers: int) -> None:
        import grain  # a second to import, and only streaming needs it

        options = grain.ReadOptions(num_threads=workers, prefetch_buffer_size=PREFETCH * workers)
        dataset = grain.MapDataset.source(_Source(read, count)).to_iter_dataset(options)
        self._iterator = iter(dataset)
        self.next = first
        grain.experimental.set_next_index(self._iterator, first)

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        element = next(self._iterator)
        self.next += 1
        return element

    def close(self) -> None:
        """Ends the threads, and what they are reading."""
        self._iterator.close()
