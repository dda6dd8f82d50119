"""What training minimises: the loss of each example, and what a class weighs; and parts of it in float64 on the host.

A loss is a class with `@loss`; called in the compiled step, it takes logits and labels, both [batch, classes], and
returns one number an example. A class with `@weighting` says in `of` what an example of each class weighs. The
functions below are NumPy's, for what is evaluated, recorded and shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated

import numpy as np
from etils import epy
from jaxtyping import Float, Float64, Integer

from cnn.fields import Bounds, NonNegative
from cnn.registry import LOSSES, FunctionForm, OfFunction, loss, weighting
from cnn.registry import WEIGHTINGS as WEIGHTINGS

with epy.lazy_imports():
    import jax
    import jax.numpy as jnp
    import optax

if TYPE_CHECKING:
    from jaxtyping import Array

_LEAST = 1e-8
"""What the focal loss takes for 1 - p at least: less than any other such number that float32 tells from 0."""


@loss
class SoftmaxCrossEntropy:
    """The cross-entropy of the labels and the softmax of the logits, in nats."""

    def __call__(
        self, logits: Float[Array, "batch classes"], labels: Float[Array, "batch classes"]
    ) -> Float[Array, " batch"]:
        """Returns the loss of each example.

        Args:
          logits: unnormalised log-probabilities.
          labels: probabilities: one-hot rows, or a mixture of them.
        """
        return optax.softmax_cross_entropy(logits, labels)


@loss
class SigmoidCrossEntropy:
    """The binary cross-entropy of the sigmoid of each logit, the mean over the classes, in nats.

    Each class is told from all others by itself, so a picture may be of one class, of several or of none.
    """

    def __call__(
        self, logits: Float[Array, "batch classes"], labels: Float[Array, "batch classes"]
    ) -> Float[Array, " batch"]:
        """Returns the loss of each example; see `SoftmaxCrossEntropy`; each label is in [0, 1]."""
        return optax.sigmoid_binary_cross_entropy(logits, labels).mean(axis=-1)


@loss
class Focal:
    """The softmax cross-entropy in which what is sure of itself counts less: the sum of -y (1 - p)^gamma log p.

    With gamma 0 it is the softmax cross-entropy.

    Source:
      Lin et al. 2017, https://arxiv.org/abs/1708.02002, section 3.2.
    """

    gamma: NonNegative = 2.0
    """How much less sure examples count."""

    def __call__(
        self, logits: Float[Array, "batch classes"], labels: Float[Array, "batch classes"]
    ) -> Float[Array, " batch"]:
        """Returns the loss of each example; see `SoftmaxCrossEntropy`."""
        log_p = jax.nn.log_softmax(logits)
        # At p = 1 a power below 1 has no finite slope.
        unsure = jnp.maximum(-jnp.expm1(log_p), _LEAST)
        return -(labels * unsure**self.gamma * log_p).sum(axis=-1)


@weighting(name="none")
class Unweighted:
    """All examples count alike."""

    def of(self, counts: Integer[np.ndarray, " classes"]) -> Float64[np.ndarray, " classes"] | None:
        """Returns what an example of each class weighs, `None` where all weigh alike.

        Args:
          counts: the examples of each class in the training split, unusable pictures included.
        """
        del counts
        return None

    def refusal(self, classes: int) -> str:
        """Returns what is wrong with it for so many classes, empty where nothing is."""
        del classes
        return ""


@weighting
class Balanced:
    """Every class that has examples counts alike: one of n examples among N of C classes weighs N / (C n)."""

    def of(self, counts: Integer[np.ndarray, " classes"]) -> Float64[np.ndarray, " classes"] | None:
        """Returns the weights; 0 for a class without examples. See `Unweighted.of`."""
        return np.where(counts > 0, counts.sum() / (len(counts) * np.maximum(counts, 1)), 0.0)

    def refusal(self, classes: int) -> str:
        """Returns nothing; see `Unweighted.refusal`."""
        del classes
        return ""


@weighting
class Weights:
    """An example counts as much as these numbers say, one for each class in their order."""

    numbers: Annotated[tuple[float, ...], Bounds(0)]
    """A weight for each class."""

    def of(self, counts: Integer[np.ndarray, " classes"]) -> Float64[np.ndarray, " classes"] | None:
        """Returns the weights. See `Unweighted.of`."""
        del counts
        return np.asarray(self.numbers, np.float64)

    def refusal(self, classes: int) -> str:
        """Returns what is wrong with it; see `Unweighted.refusal`."""
        if len(self.numbers) != classes:
            return f"must have one number for each of {classes} classes, got {len(self.numbers)}."
        return "" if any(self.numbers) else f"must hold a number above 0, got {self.numbers}."


class LossFunction(OfFunction):
    """A loss that a function computes."""

    def __call__(
        self, logits: Float[Array, "batch classes"], labels: Float[Array, "batch classes"]
    ) -> Float[Array, " batch"]:
        return self.call(logits=logits, labels=labels)


LOSSES.function = FunctionForm(LossFunction, ("logits", "labels"))


def log_softmax(logits: Float[np.ndarray, "*n classes"]) -> Float64[np.ndarray, "*n classes"]:
    """Returns the logarithm of the softmax along the last axis, in float64."""
    # Subtracting the largest logit first keeps log(2) visible beside logits of 1e38.
    shifted = _shifted(logits)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def softmax(logits: Float[np.ndarray, "*n classes"]) -> Float64[np.ndarray, "*n classes"]:
    """Returns the softmax along the last axis, in float64."""
    powers = np.exp(_shifted(logits))
    return powers / powers.sum(axis=-1, keepdims=True)


def log_mean_softmax(members: Iterable[Float[np.ndarray, "*n classes"]]) -> Float64[np.ndarray, "*n classes"]:
    """Returns the logarithm of the mean of several softmaxes along the last axis, in float64; its softmax is that mean.

    Args:
      members: the logits of each, at least one; taken one after another, so that not all of them are held.
    """
    waiting = iter(members)
    total, count = log_softmax(next(waiting)), 1
    for logits in waiting:
        total, count = np.logaddexp(total, log_softmax(logits)), count + 1
    return total - np.log(count)


def cross_entropy(
    logits: Float[np.ndarray, "n classes"], labels: Integer[np.ndarray, " n"]
) -> Float64[np.ndarray, " n"]:
    """Returns the cross-entropy of each example with the index of its class, in nats and float64."""
    return -log_softmax(logits)[np.arange(len(labels)), labels]


def _shifted(logits: np.ndarray) -> np.ndarray:
    logits = np.asarray(logits).astype(np.float64)
    return logits - logits.max(axis=-1, keepdims=True)
