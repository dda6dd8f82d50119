"""What a person should hear of a run before it trains: what it leaves out, and what it will not have learnt. No JAX."""

import math

from cnn import layers
from cnn.config import Values, array_paths

LEFT_OUT = 0.01
"""So large a part of the training pictures may be left out of each epoch without a word."""
MEMORIES = 5
"""A running mean has forgotten its start, but for 1 %, after so many times 1 / (1 - momentum) moves."""


def remarks(values: Values, examples: int) -> list[str]:
    """Returns a line for each thing that may surprise.

    Args:
      values: the whole config.
      examples: how many training pictures there are, at least a batch.
    """
    return [line for line in (_left_out(values, examples), _unsettled(values, examples)) if line]


def _left_out(values: Values, examples: int) -> str:
    size = values.train.batch_size
    left = examples % size
    if left <= LEFT_OUT * examples:
        return ""
    return (
        f"config.train.batch_size: each epoch leaves out {left:,} of {examples:,} training pictures "
        f"({100 * left / examples:.1f} %), a last batch that is not full; which ones, each epoch draws anew"
    )


def _unsettled(values: Values, examples: int) -> str:
    """Says of the batch normalisation with the longest memory that the run is too short for it."""
    frozen = set(values.frozen)
    rows = [row for row in values.rows if isinstance(row.layer, layers.BatchNorm)]
    momenta = {row.path: row.layer.momentum for row in rows if not set(array_paths([row], "params")) <= frozen}  # type: ignore[attr-defined]
    moves = values.train.epochs * (examples // values.train.batch_size) * values.train.accumulate_steps
    slow = {path: momentum for path, momentum in momenta.items() if moves * (1 - momentum) < MEMORIES * (1 - 1e-9)}
    if not slow:
        return ""
    path = max(slow, key=lambda path: slow[path])
    momentum = slow[path]
    others = f" and {len(slow) - 1} more" if len(slow) > 1 else ""
    enough = math.floor(100 * (1 - MEMORIES / moves) + 1e-9) / 100
    remedy = f"a momentum of at most {enough:g} or more epochs" if enough > 0 else "more epochs"
    return (
        f"config.model.layers: {path}{others}: the running statistics, by which evaluation normalises, will not have "
        f"settled: with momentum {momentum:g} that takes about {math.ceil(MEMORIES / (1 - momentum) - 1e-6):,} moves, "
        f"and the run makes {moves:,}. Use {remedy}"
    )
