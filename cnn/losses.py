"""What training minimises: the loss of each example; and its parts in float64 on the host.

A loss is a class with `@loss`; called in the compiled step, it takes logits and labels, both [batch, classes], and
returns one number an example. The functions below it are NumPy's, for what is evaluated, recorded and shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from etils import epy
from jaxtyping import Float, Float64, Integer

from cnn.fields import Rate
from cnn.registry import LOSSES, FunctionForm, OfFunction, loss

with epy.lazy_imports():
    import optax

if TYPE_CHECKING:
    from jaxtyping import Array


@loss
class SoftmaxCrossEntropy:
    """The cross-entropy of the labels and the softmax of the logits, in nats.

    With label smoothing s, a label of c classes is blended with the uniform distribution: (1 - s) label + s / c.

    Source:
      Szegedy et al. 2016, https://arxiv.org/abs/1512.00567, section 7.
    """

    label_smoothing: Rate = 0.0

    def __call__(
        self, logits: Float[Array, "batch classes"], labels: Float[Array, "batch classes"]
    ) -> Float[Array, " batch"]:
        """Returns the loss of each example.

        Args:
          logits: unnormalised log-probabilities.
          labels: probabilities: one-hot rows, or a mixture of them.
        """
        return optax.softmax_cross_entropy(logits, optax.smooth_labels(labels, self.label_smoothing))


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


def cross_entropy(
    logits: Float[np.ndarray, "n classes"], labels: Integer[np.ndarray, " n"]
) -> Float64[np.ndarray, " n"]:
    """Returns the cross-entropy of each example with the index of its class, in nats and float64."""
    return -log_softmax(logits)[np.arange(len(labels)), labels]


def _shifted(logits: np.ndarray) -> np.ndarray:
    logits = np.asarray(logits).astype(np.float64)
    return logits - logits.max(axis=-1, keepdims=True)
