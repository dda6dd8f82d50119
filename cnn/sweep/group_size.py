"""How many trials train together under `vmap`: as asked, or as many as the memory holds."""

import math
from collections.abc import Mapping

import jax
import numpy as np

from cnn import hyperparams
from cnn.config.config import Config
from cnn.sweep import programs
from cnn.sweep.options import CmaEs, Tpe
from cnn.sweep.session import Session
from cnn.system.sharding import memory_limit
from cnn.train.state import create_state

MOST_LANES_CPU = 8
MOST_LANES = 512
SHARE_OF_MEMORY = 0.6
ROUNDS = 4
"""A sampler that learns is asked in at least so many rounds."""


def most(session: Session, counts: Mapping[str, int]) -> int:
    """Returns how many trials train together at most, a multiple of the devices.

    Args:
      session: of the sweep.
      counts: the trials of a grid by their program; empty where a sampler draws them.
    """
    plan, options, devices = session.plan, session.plan.options, jax.local_device_count()
    if options.lanes:
        return -(-options.lanes // devices) * devices
    example, trials = plan.example, plan.size
    if counts:
        program, trials = max(counts.items(), key=lambda item: item[1])
        example = next(trial for trial in plan.trials if programs.key(trial) == program)
    elif isinstance(options.sampler, Tpe | CmaEs):
        trials = max(1, options.trials // ROUNDS) * len(plan.seeds)
    # Of several workers here each has its share.
    needed = options.workers * trial_bytes(example.values)
    return lanes_for(needed, math.ceil(trials / options.workers), devices)


def lanes_for(trial_bytes: float, trials: int, devices: int) -> int:
    """Returns how many trials train together: as many as fit the memory, in equal groups, a multiple of the devices."""
    sharing = devices if jax.default_backend() != "cpu" else jax.local_device_count()
    limit = memory_limit() * SHARE_OF_MEMORY * sharing
    most = MOST_LANES_CPU if jax.default_backend() == "cpu" else MOST_LANES
    fitting = max(1, min(int(limit // max(1.0, trial_bytes)), most * devices, trials))
    return equal_parts(trials, fitting, devices)


def equal_parts(trials: int, most: int, devices: int) -> int:
    """Returns how many trials each of the fewest equal groups has, a multiple of the devices."""
    groups = math.ceil(trials / most)
    return math.ceil(trials / groups / devices) * devices


def trial_bytes(values: Config) -> float:
    """Returns about how many bytes of memory a trial takes: its state, gradients and updates, and its activations."""
    traced = hyperparams.from_values(values)
    state = jax.eval_shape(lambda traced: create_state(traced, values.data.image_shape, 0, values.frozen), traced)
    numbers = sum(int(np.prod(row.output)) for row in values.rows)
    own = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    return 3.0 * own + 4.0 * 3 * numbers * values.train.batch_size
