"""The sections of a config: frozen records whose fields are the options, with their units, ranges and defaults.

Real numbers are traced by the compiled step; integers, lengths and names are its structure (see `cnn/hyper.py`). An
optional behaviour is an expression, such as `train.clip = "global_norm(1.0)"`, never a `None`.
"""

from cnn.settings.off import Off
from cnn.settings.optimizers import OPTIMIZERS, Adam, AdamW, Lamb, Lion, Momentum, Muon, Nadam, Nesterov, Rmsprop, Sgd
from cnn.settings.rules import CADENCES, ORDERS, STOPS, Epochs, Minutes, Patience, Shared, Steps, Target
from cnn.settings.schedules import SCHEDULES, Constant, Cosine, Linear, Step
from cnn.settings.sections import Checkpoint, Classes, Data, Eval, Report, Seed, Train
from cnn.settings.updates import AVERAGES, CLIPS, Ema, GlobalNorm, Value

__all__ = [
    "AVERAGES",
    "CADENCES",
    "CLIPS",
    "OPTIMIZERS",
    "ORDERS",
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
    "Epochs",
    "Eval",
    "GlobalNorm",
    "Lamb",
    "Linear",
    "Lion",
    "Minutes",
    "Momentum",
    "Muon",
    "Nadam",
    "Nesterov",
    "Off",
    "Patience",
    "Report",
    "Rmsprop",
    "Seed",
    "Sgd",
    "Shared",
    "Step",
    "Steps",
    "Target",
    "Train",
    "Value",
]
