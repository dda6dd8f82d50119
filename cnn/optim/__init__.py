"""What makes gradients and updates of them: optimizers, schedules, groups, ... Importing it fills their tables.

None of it loads JAX before it computes, so that a config is read and checked without JAX.
"""

from cnn.optim import averages, clips, from_optax, gradients, groups, muon, optimizers, schedules
from cnn.registry import AVERAGES, CLIPS, GRADIENTS, GROUPS, OPTIMIZERS, SCHEDULES

__all__ = [
    "AVERAGES",
    "CLIPS",
    "GRADIENTS",
    "GROUPS",
    "OPTIMIZERS",
    "SCHEDULES",
    "averages",
    "clips",
    "from_optax",
    "gradients",
    "groups",
    "muon",
    "optimizers",
    "schedules",
]
