"""Two devices made of one CPU, for networks that cannot take a batch in pieces.

Batch normalisation ties the examples of a batch together: each layer is done for all of them before the next one
begins, by thousands of small operations, after each of which the threads meet. As two devices that share the threads,
each with half of the batch, one half computes while the other one waits. In turns on two cores, networks with it
trained 1.06 to 1.2 times as fast so; the lesson's network, which needs no such thing, 0.93 times.
"""

import contextlib
import os

import jax

from cnn.config.config import Config
from cnn.model import fusion
from cnn.system import environment
from cnn.train import preflight

HALVES = 2
OPTION = "jax_num_cpu_devices"


def prepare(values: Config) -> None:
    """Makes two devices of the CPU if this config gains, unless the user said how many, or JAX has started already."""
    said = _said_by_environment() or jax.config.values[OPTION] != -1
    if _wanted(values) == 1 or said or jax.distributed.is_initialized():
        return
    with contextlib.suppress(RuntimeError):
        jax.config.update(OPTION, HALVES)


def is_halved() -> bool:
    """Tells whether JAX computes on a CPU of which nobody said as how many devices."""
    return jax.default_backend() == "cpu" and not _said_by_environment()


def count(values: Config) -> int:
    """Returns how many devices share a batch of this config where nobody says so: all, but halves only if it gains."""
    available = jax.device_count()
    halves = is_halved() and jax.config.values[OPTION] == HALVES == available
    return _wanted(values) if halves else available


def _said_by_environment() -> bool:
    """Tells whether the user said how many devices a CPU is, which what `prepare` sets does not change."""
    return OPTION.upper() in os.environ or "host_platform_device_count" in os.environ.get("XLA_FLAGS", "")


def _wanted(values: Config) -> int:
    divides = values.train.batch_size % (HALVES * values.train.accumulate_steps) == 0
    tied = not fusion.independent(values.layers, values.data.image_shape)
    spreads = preflight.mixing_module(values) is None
    return HALVES if tied and spreads and divides and environment.threads() >= HALVES else 1
