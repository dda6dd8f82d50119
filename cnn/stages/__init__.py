"""A network as the stages of one image's journey: what each reads, how its numbers follow, and what is stored."""

from cnn.stages.graph import EXACT, Stage, build, reach_back
from cnn.stages.oracle import Disagreement, Verdict, expected, verify
from cnn.stages.record import JOURNEY, Journey, Picture, read, write

__all__ = [
    "EXACT",
    "JOURNEY",
    "Disagreement",
    "Journey",
    "Picture",
    "Stage",
    "Verdict",
    "build",
    "expected",
    "reach_back",
    "read",
    "verify",
    "write",
]
