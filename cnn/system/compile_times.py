"""How long XLA takes to compile a program of ours, as JAX itself measures it; and how what runs once is compiled."""

import contextlib
from collections import defaultdict
from collections.abc import Iterator

import jax

ONCE = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
"""Compiler options for what is computed once: compiled in a quarter of the time, it computes slower. The last digits
may be others than without them: those of normal draws are, those of uniform ones are not."""

_EVENT = "/jax/core/compile/backend_compile_duration"

_quick = False


@contextlib.contextmanager
def switched_on(option: str) -> Iterator[bool]:
    """Switches an option of JAX on within the block; yields what it was before and is afterwards."""
    before: bool = jax.config.values[option]
    jax.config.update(option, True)
    try:
        yield before
    finally:
        jax.config.update(option, before)


@contextlib.contextmanager
def quick() -> Iterator[None]:
    """Compiles what is compiled within the block, in any thread, in a fraction of the time, and forgets it afterwards.

    What computes the same by fewer operations is traced in place of what computes it faster, see `is_quick`.
    """
    global _quick
    before, _quick = _quick, True
    try:
        with switched_on("jax_disable_most_optimizations"):
            yield
    finally:
        _quick = before
        jax.clear_caches()


def is_quick() -> bool:
    """Tells whether what is traced now runs a few times at most, so that compiling it is what takes the time."""
    return _quick


class Compilations:
    """The seconds of every compilation from the moment that this is made, by the name of the compiled function."""

    def __init__(self) -> None:
        self._seconds: defaultdict[str, float] = defaultdict(float)
        jax.monitoring.register_event_duration_secs_listener(self._listen)

    def _listen(self, event: str, duration_secs: float, **kwargs: str | int) -> None:
        if event == _EVENT:
            self._seconds[str(kwargs.get("fun_name", ""))] += duration_secs

    def seconds(self, *functions: str) -> float:
        """Returns how long all programs of these functions took; reading a compile cache counts too."""
        return sum(self._seconds[name] + self._seconds[f"jit({name})"] for name in functions)


compilations = Compilations()
