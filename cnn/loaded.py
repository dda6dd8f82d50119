"""Pictures on the device."""

from typing import NamedTuple

from jaxtyping import Array, Float, Int, UInt8


class Images(NamedTuple):
    """A split on the device, or a batch."""

    images: UInt8[Array, "examples height width channels"]
    labels: Int[Array, " examples"]
    weights: Float[Array, " examples"] | None = None
    """1 or 0 for each; `None` for all 1."""
