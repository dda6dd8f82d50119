"""What is read ahead by threads: elements that are pure functions of their number, on Grain.

Threads, no processes: decoding releases the interpreter's lock, a process would import JAX again, inherit or outlive
the run, and hand every batch over once more.
"""

from collections.abc import Callable, Iterator
from typing import Any

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
