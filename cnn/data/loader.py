"""Pictures on the device.

Hands each step its pictures: rows of a split that lies on the device, or what threads read for it meanwhile.

What is read ahead by threads: elements that are pure functions of their number, on Grain.

Threads, no processes: decoding releases the interpreter's lock, a process would import JAX again, inherit or outlive
the run, and hand every batch over once more.

What becomes of the places in a batch whose pictures cannot be used, inside the compiled step.
"""

import functools
import math
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int32, UInt8

from cnn.data import splits, types


class Images(NamedTuple):
    """A split on the device, or a batch."""

    images: UInt8[Array, "examples height width channels"]
    labels: Int[Array, " examples"]
    weights: Float[Array, " examples"] | None = None
    """1 or 0 for each; `None` for all 1."""


AHEAD = 2
"""How many elements a thread may be ahead."""


class _Elements:
    """Random access to the elements, as Grain wants it."""

    def __init__(self, element: Callable[[int], Any], count: int) -> None:
        self._element, self._count = element, count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, number: int) -> Any:
        return self._element(number)


class Stream:
    """Yields `element(first)`, `element(first + 1)`, ... up to `count`, in order, whoever computed them.

    `close` ends the threads with what they are at; nothing of a stream needs saving, since any number can be the first.
    """

    def __init__(self, element: Callable[[int], Any], count: int, *, first: int = 0, workers: int) -> None:
        import grain  # a second to import, and only streaming needs it

        options = grain.ReadOptions(num_threads=workers, prefetch_buffer_size=AHEAD * workers)
        dataset = grain.MapDataset.source(_Elements(element, count)).to_iter_dataset(options)
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
        self._iterator.close()


Place = Callable[[Any], Any]
SCAN_BYTES = 1 << 26
"""How much of a stream goes to the device at a time where many steps are one call."""


class Loader:
    """The training split in the order of a seed: a pure function of the step, wherever the pictures are."""

    def __init__(
        self,
        split: types.Split,
        *,
        seed: int,
        batch_size: int,
        epochs: int,
        workers: int,
        place: Place = jax.device_put,
    ) -> None:
        """Puts the split on the device, unless it streams; reads nothing of one that does.

        Args:
          split: the pictures and classes.
          seed: decides the order.
          batch_size: of every step; the remainder of an epoch is dropped.
          epochs: how often the split is gone through.
          workers: threads that decode ahead, 0 to decode when a batch is asked for.
          place: puts arrays where they are computed with.
        """
        self.steps_per_epoch = len(split) // batch_size
        self.waited = 0.0
        """Seconds that the device had nothing to do for want of pictures."""
        self.streams = isinstance(split.images, types.Stored)
        self._split, self._batch_size, self._workers = split, batch_size, workers
        self._steps = self.steps_per_epoch * epochs
        # Workers are ahead, in the next epoch while the last one ends. Sorting millions of rows takes a second: once.
        self._sorting = threading.Lock()
        self._permutation = functools.lru_cache(2)(lambda epoch: splits.permutation(seed, epoch, len(split)))
        self._place, self._batch_bytes = place, math.prod(split.images.shape[1:]) * batch_size
        self._held = None if self.streams else Images(*place((split.images, split.marked())))
        self._stream: Stream | None = None
        self._running: list[Any] = []

    def rows(self, step: int, count: int) -> Int32[np.ndarray, "count batch"]:
        """Returns the rows of `count` steps of one epoch."""
        epoch, position = divmod(step, self.steps_per_epoch)
        with self._sorting:
            order_of_epoch = self._permutation(epoch)
        rows = order_of_epoch[position * self._batch_size :][: count * self._batch_size]
        return rows.astype(np.int32).reshape(count, self._batch_size)

    def pieces(self, step: int, count: int, most: int | None) -> Iterator[tuple[Images, np.ndarray]]:
        """Yields pictures on the device and the rows of them, (steps, batch), that the steps of a call train on.

        Args:
          step: the first.
          count: how many, all of one epoch.
          most: of a call; `None`: any number. Where pictures stream it is one, or what is moved at a time.
        """
        if self.streams:
            most = 1 if most else max(1, SCAN_BYTES // self._batch_bytes)
        # Equal pieces: each length may compile anew.
        length = -(-count // -(-count // (most or count)))
        for first in range(step, step + count, length):
            if len(self._running) == 2:
                jax.block_until_ready(self._running[0])
            some = min(length, step + count - first)
            yield self._read(first, some) if self._held is None else (self._held, self.rows(first, some))

    def started(self, result: jax.Array) -> None:
        """Notes what the last piece is computed into; no more than two are under way."""
        self._running = [*self._running[-1:], result]

    def close(self) -> None:
        """Stops reading ahead."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _read(self, step: int, count: int) -> tuple[Images, np.ndarray]:
        if self._stream is None or self._stream.next != step:
            self.close()
            self._stream = Stream(self._batch, self._steps, first=step, workers=self._workers)
        batches = [self._next(self._stream) for _ in range(count)]
        images, labels = batches[0] if count == 1 else map(np.concatenate, zip(*batches, strict=True))
        rows = np.arange(count * self._batch_size, dtype=np.int32).reshape(count, self._batch_size)
        return Images(*self._place((images, labels))), rows

    def _batch(self, step: int) -> tuple[np.ndarray, np.ndarray]:
        rows = self.rows(step, 1)[0]
        images = self._split.images[rows]  # first: what cannot be used is known by reading it
        return images, self._split.marked(rows)

    def _next(self, stream: Stream) -> tuple[np.ndarray, np.ndarray]:
        started = time.monotonic()
        batch = next(stream)
        # A device that is at it still did not wait.
        if not self._running or self._running[-1].is_ready():
            self.waited += time.monotonic() - started
        return batch


def in_order(
    images: jax.Array | types.Stored, batch_size: int, workers: int, place: Place = jax.device_put
) -> Iterator[tuple[jax.Array, Int32[np.ndarray, " batch"]]]:
    """Yields pictures on the device and rows of them, in all every row once, in order.

    Args:
      images: on the device, or stored.
      batch_size: the last batch is filled up with repetitions of the last row.
      workers: threads that decode ahead.
      place: puts arrays where they are computed with.
    """
    count = len(images)
    starts = range(0, count, batch_size)
    if not isinstance(images, types.Stored):
        for start in starts:
            yield images, np.minimum(np.arange(start, start + batch_size, dtype=np.int32), count - 1)
        return
    stored = images
    stream = Stream(lambda number: stored[starts[number] : starts[number] + batch_size], len(starts), workers=workers)
    everything = np.arange(batch_size, dtype=np.int32)
    try:
        for batch in stream:
            # Filled up before it goes there: another shape would compile anew.
            yield place(batch[np.minimum(everything, len(batch) - 1)] if len(batch) < batch_size else batch), everything
    finally:
        stream.close()


def stand_in(labels: Int[Array, " batch"]) -> tuple[Int[Array, " batch"], Float[Array, " batch"]]:
    """Chooses the usable example before it for each unusable place, so that mixup and batch statistics see no others.

    Args:
      labels: classes, or `UNUSABLE`.

    Returns:
      For each place, which example to take there, and its weight: 1, or 0 where it only stands in. The first places
      are filled with the last usable example; if there is none at all, every example stays where it is.
    """
    usable = labels >= 0
    places = jnp.arange(len(labels))
    before = jax.lax.cummax(jnp.where(usable, places, -1))
    before = jnp.where(before < 0, jnp.where(before[-1] < 0, places, before[-1]), before)
    return before, usable.astype(jnp.float32)
