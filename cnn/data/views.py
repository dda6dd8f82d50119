"""Views of a picture at test time, over which the logits are averaged.

A view is a class with `@view`: its fields are the options, and `seen` gives what the network sees of pictures, each
with its share of the mean. Views in a chain multiply: each sees what the one before it saw.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from etils import epy

from cnn.fields import Count
from cnn.registry import VIEWS as VIEWS
from cnn.registry import view

with epy.lazy_imports():
    import jax.numpy as jnp

if TYPE_CHECKING:
    from jaxtyping import Array, Float, UInt8

    Pictures = UInt8[Array, "batch height width channels"]


@view(name="flip")
class Mirrored:
    """The picture, and mirrored left and right: half each."""

    def seen(self, pictures: Pictures) -> list[tuple[float, Pictures]]:
        """Returns what is seen of pictures, with the share of each view in the mean."""
        return [(0.5, pictures), (0.5, pictures[:, :, ::-1])]


@view(name="shift")
class Moved:
    """The picture for one half; moved up and to the left, and down and to the right, for a quarter each.

    What comes from outside is the picture mirrored at its edge.

    Attributes:
      pixels: how far.

    Source:
      Jordan 2024, https://arxiv.org/abs/2404.00498, section 3.5.
    """

    pixels: Count = 1

    def seen(self, pictures: Pictures) -> list[tuple[float, Pictures]]:
        """Returns what is seen of pictures; see `Mirrored.seen`."""
        height, width = pictures.shape[1:3]
        around = (self.pixels, self.pixels)
        padded = jnp.pad(pictures, ((0, 0), around, around, (0, 0)), mode="reflect")
        far = 2 * self.pixels
        return [
            (0.5, pictures),
            (0.25, padded[:, far : far + height, far : far + width]),
            (0.25, padded[:, :height, :width]),
        ]


def of_all(views: Sequence[Any], pictures: Pictures) -> tuple[Float[Array, " views"], Array]:
    """Returns the share of every view in the mean, and what each sees, stacked."""
    seen = [(1.0, pictures)]
    for kind in views:
        seen = [(share * part, picture) for share, before in seen for part, picture in kind.seen(before)]
    return jnp.asarray([share for share, _ in seen], jnp.float32), jnp.stack([picture for _, picture in seen])
