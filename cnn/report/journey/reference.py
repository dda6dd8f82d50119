"""Whether every stage made of its sources what its layer should, in float64: see `cnn.layers.base.Reference`."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from cnn import expression
from cnn.layers.base import Arrays, Reference
from cnn.layers.combine import JOINS
from cnn.registry import LAYERS
from cnn.report.journey.graph import Stage


class Disagreement(FloatingPointError):
    """A number that the float64 arithmetic does not give."""


class Verdict(NamedTuple):
    """What came of comparing a stage: how many numbers, and the largest part of the allowed difference."""

    numbers: int
    worst: float


def expected(stage: Stage, sources: Sequence[np.ndarray], arrays: Arrays) -> Reference | None:
    """Returns a stage's numbers in float64 and the difference allowed to each; `None` for a kind that has no reference.

    Args:
      stage: which.
      sources: the float32 numbers of the stages it reads, one image's.
      arrays: its parameters and statistics, float32.
    """
    wide = [np.asarray(source, np.float64) for source in sources]
    if stage.op in JOINS:
        return JOINS[stage.op].join_reference(wide)
    if stage.op not in LAYERS:
        return None
    return expression.build_one(stage.text, LAYERS).reference(wide[0], arrays)


def verify(stage: Stage, sources: Sequence[np.ndarray], output: np.ndarray, arrays: Arrays) -> Verdict:
    """Compares every number of a stage with the float64 arithmetic.

    Raises:
      Disagreement: a number is outside the bound; it names the first.
    """
    answer = expected(stage, sources, arrays)
    if answer is None:
        return Verdict(0, 0.0)
    right, allowed = answer
    difference = np.abs(right - np.asarray(output, np.float64))
    bad = np.argwhere(~(difference <= allowed))
    if len(bad):
        place = tuple(bad[0])
        raise Disagreement(
            f"{stage.name}: {len(bad):,} of {output.size:,} numbers do not follow from what they are made of, the "
            f"first at {', '.join(map(str, place))}: float64 gives {right[place]:.9g}, got {output[place]:.9g}, "
            f"{allowed[place]:.2g} may differ. Please report this with your versions of jax and jaxlib"
        )
    share = np.divide(difference, allowed, out=np.zeros_like(difference), where=allowed > 0)
    return Verdict(output.size, float(share.max(initial=0.0)))
