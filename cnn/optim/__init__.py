"""What makes updates of gradients: optimizers, schedules, clips, averages. Importing it fills their tables.

Optimizers, schedules and losses of Optax are found by their dotted names. None of it loads JAX before it computes, or
before such a name is looked up, so that a config is read and checked without JAX.
"""

from cnn.optim import averages, clips, from_optax, muon, optimizers, schedules
from cnn.registry import AVERAGES, CLIPS, LOSSES, OPTIMIZERS, SCHEDULES

OPTIMIZERS.library = from_optax.optimizer_of
SCHEDULES.library = from_optax.schedule_of
LOSSES.library = from_optax.loss_of

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
