"""Masking of unusable examples inside the compiled step: they weigh nothing, and others stand in for their pictures.

So a batch keeps its shape, and neither mixup nor batch statistics see the pictures that cannot be used.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def mask_unusable(labels: Int[Array, " batch"]) -> tuple[Int[Array, " batch"], Float[Array, " batch"]]:
    """Chooses which example to take in each position of a batch: itself, or for an unusable one the usable one before.

    Args:
      labels: classes, or `UNUSABLE`.

    Returns:
      For each position, the position of the example to take, and its weight: 1, or 0 where it only stands in. Before
      the first usable example the last one stands in; if there is none at all, every example stays where it is.
    """
    usable = labels >= 0
    positions = jnp.arange(len(labels))
    taken = jax.lax.cummax(jnp.where(usable, positions, -1))
    taken = jnp.where(taken < 0, jnp.where(taken[-1] < 0, positions, taken[-1]), taken)
    return taken, usable.astype(jnp.float32)
