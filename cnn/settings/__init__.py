"""The sections of a config: frozen records whose fields are the options, with their units, ranges and defaults.

Real numbers are traced by the compiled step; integers, lengths and names are its structure (see `cnn/hyper.py`). An
optional behaviour is an expression, such as `train.clip = "global_norm(1.0)"`, never a `None`.
"""

from cnn.settings.optimizers import OPTIMIZERS, Adam, AdamW, Lamb, Lion, Momentum, Muon, Nadam, Nesterov, Rmsprop, Sgd
from cnn.settings.rules import (
    AVERAGES,
    CLIPS,
    SCHEDULES,
    STOPS,
    Constant,
    Cosine,
    Ema,
    GlobalNorm,
    Linear,
    Off,
    Patience,
    Step,
    Target,
    Value,
)
from cnn.settings.sections import Checkpoint, Classes, Data, Eval, Seed, Train

__all__ = [
    "AVERAGES",
    "CLIPS",
    "OPTIMIZERS",
    "SCHEDULES",
    "STOPS",
    "Adam",
    "AdamW",
    "Checkpoint",
    "Classes",
    "Constant",
    "Cosine",
    "Data",
    "Ema",
    "Eval",
    "GlobalNorm",
    "Lamb",
    "Linear",
    "Lion",
    "Momentum",
    "Muon",
    "Nadam",
    "Nesterov",
    "Off",
    "Patience",
    "Rmsprop",
    "Seed",
    "Sgd",
    "Step",
    "Target",
    "Train",
    "Value",
]
