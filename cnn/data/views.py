"""Views of a picture at test time, over which the logits are averaged.

A view is a class with `@view`: its fields are the options, and `seen` gives what the network sees of pictures, each
with its share of the mean. Views in a chain multiply: each sees what the one before it saw.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from etils import epy

from cnn.fields import Count
from cnn.registry import PACKAGE, ExtensionError, FunctionForm, OfFunction, blamed, misfit, origin_of, view
from cnn.registry import VIEWS as VIEWS

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


class ViewFunction(OfFunction):
    """What a function gives to see."""

    def seen(self, pictures: Pictures) -> list[tuple[float, Pictures]]:
        """Returns what is seen of pictures; see `Mirrored.seen`."""
        return self.call(pictures=pictures)


VIEWS.function = FunctionForm(ViewFunction, ("pictures",))


def of_all(views: Sequence[Any], pictures: Pictures) -> tuple[Float[Array, " views"], Array]:
    """Returns the share of every view in the mean, and what each sees, stacked.

    Raises:
      ExtensionError: a user's own view failed, or returned something else than pictures with their shares.
    """
    seen = [(1.0, pictures)]
    for kind in views:
        seen = [(share * part, picture) for share, before in seen for part, picture in _seen(kind, before)]
    return jnp.asarray([share for share, _ in seen], jnp.float32), jnp.stack([picture for _, picture in seen])


def _seen(kind: Any, pictures: Pictures) -> Sequence[tuple[float, Pictures]]:
    found = blamed(kind, "eval.views", kind.seen)(pictures)
    if origin_of(kind) == PACKAGE:
        return found
    try:
        shares = sum(float(share) for share, _ in found)
        shapes = {(tuple(picture.shape), str(picture.dtype)) for _, picture in found}
    except (TypeError, ValueError, AttributeError):
        raise misfit(kind, "eval.views", "a list of pairs of a share and pictures", found) from None
    if shapes != {(pictures.shape, str(pictures.dtype))}:
        got = " and ".join(f"{dtype} of {shape}" for shape, dtype in sorted(shapes))
        raise ExtensionError(
            f"config.eval.views: {kind.kind} must return pictures of {pictures.dtype} of {pictures.shape}, as it is "
            f"given, got {got}."
        )
    if abs(shares - 1) > 1e-6:
        raise ExtensionError(f"config.eval.views: the shares of {kind.kind} must add up to 1, got {shares:g}.")
    return found
