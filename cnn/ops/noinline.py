"""Functions that XLA compiles as no-inline calls, without fusing them into what surrounds them."""

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import jax
from jax.experimental.xla_metadata import set_xla_metadata

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def noinline(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Returns the function as a call of its own in the compiled program.

    On a CPU, XLA merges what is elementwise into whatever reads it, and computes it again for each reader:
    `lax.optimization_barrier` is gone by then. A call that may not be inlined stays. Values are the same either way.

    Args:
      function: takes and returns arrays. Its results should have the axes in which it computes them: a reshape
        belongs outside, where it costs nothing; inside it would put a division into the innermost loop.
    """

    @functools.wraps(function)
    def inside(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with set_xla_metadata(inlineable=None):
            return function(*args, **kwargs)

    compiled = jax.jit(inside)

    @functools.wraps(function)
    def call(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with set_xla_metadata(inlineable="false"):
            return compiled(*args, **kwargs)

    return call
