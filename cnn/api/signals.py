"""Ctrl-C, or a notebook's stop button: what is worth keeping is saved, and Python's own handlers come back."""

import contextlib
from collections.abc import Iterator

from cnn import runtime
from cnn.config import ConfigError
from cnn.interruption import Interruption, Preempted


@contextlib.contextmanager
def interruptible() -> Iterator[Interruption]:
    """Turns a first signal within the block into a `KeyboardInterrupt` once all is saved, a second one at once.

    In any thread but the main one, which alone hears signals, it changes nothing.

    Raises:
      ConfigError: the environment is wrong; it is completed where it says nothing and JAX has not read it yet.
      KeyboardInterrupt: a signal came.
    """
    runtime.prepare()
    if problems := runtime.problems():
        raise ConfigError(problems)
    with Interruption(leaves=False) as interruption:
        try:
            yield interruption
        except Preempted:
            raise KeyboardInterrupt("interrupted and saved; the same call continues from there") from None
