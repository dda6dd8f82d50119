"""Which examples of an evaluation are worth a look."""

import numpy as np
from jaxtyping import Float, Float64, Int64, Integer

MOST, LEAST_SURE = 96, 24
"""How many are kept where some are mistaken, and where none is."""


def most_confused(
    logits: Float[np.ndarray, "n classes"], labels: Integer[np.ndarray, " n"]
) -> Int64[np.ndarray, " rows"]:
    """Returns the rows with the greatest cross-entropy, worst first, equal ones in their order; in float64.

    Args:
      logits: finite.
      labels: indices of classes.
    """
    most = MOST if (logits.argmax(axis=1) != labels).any() else LEAST_SURE
    return np.argsort(-losses(logits, labels), kind="stable")[:most]


def losses(logits: Float[np.ndarray, "n classes"], labels: Integer[np.ndarray, " n"]) -> Float64[np.ndarray, " n"]:
    """Returns the cross-entropy of each example, in nats and float64."""
    logits = logits.astype(np.float64)
    shifted = logits - logits.max(axis=1, keepdims=True)
    return np.log(np.exp(shifted).sum(axis=1)) - shifted[np.arange(len(labels)), labels]
