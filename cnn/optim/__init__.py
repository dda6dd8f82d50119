"""What makes updates of gradients: optimizers, schedules, clips, averages. Importing it fills their tables.

None of it loads JAX before it computes, so that a config is read and checked without JAX.
"""

from cnn.optim import averages, clips, from_optax, muon, optimizers, schedules
from cnn.registry import AVERAGES, CLIPS, OPTIMIZERS, SCHEDULES

__all__ = [
    "AVERAGES",
    "CLIPS",
    "OPTIMIZERS",
    "SCHEDULES",
    "averages",
    "clips",
    "from_optax",
    "muon",
    "optimizers",
    "schedules",
]
