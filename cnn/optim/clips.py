"""What is done to gradients before an update.

A clip is a class with `@clip`; its method `make_tx` returns a transformation of Optax's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etils import epy

from cnn.fields import Positive
from cnn.registry import clip

with epy.lazy_imports():
    import optax

if TYPE_CHECKING:
    from optax import GradientTransformation


@clip(name="none")
class NoClip:
    """Leaves gradients as they are."""

    def make_tx(self) -> GradientTransformation:
        return optax.identity()


@clip
class GlobalNorm:
    """Scales all gradients down together where their joint norm is larger: by min(1, max_norm / norm)."""

    max_norm: Positive
    """The largest norm that all gradients together may have."""

    def make_tx(self) -> GradientTransformation:
        return optax.clip_by_global_norm(self.max_norm)


@clip
class Value:
    """Clips every number of the gradients to [-limit, limit]."""

    limit: Positive
    """The largest number, of either sign, that a gradient may have."""

    def make_tx(self) -> GradientTransformation:
        return optax.clip(self.limit)
