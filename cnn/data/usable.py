"""What becomes of the places in a batch whose pictures cannot be used, inside the compiled step."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


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
