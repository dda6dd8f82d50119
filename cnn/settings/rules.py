"""When to stop, when to save, and which order examples come in."""

import dataclasses
from typing import Annotated, Literal

from cnn.fields import Bounds, Count, Fraction, Positive
from cnn.settings.off import Off


@dataclasses.dataclass(frozen=True)
class Target:
    """Stops after the first epoch whose accuracy is above this."""

    accuracy: Fraction
    split: Literal["train", "valid"] = "train"


@dataclasses.dataclass(frozen=True)
class Patience:
    """Stops after so many evaluations in a row without a better validation accuracy."""

    evaluations: Count


@dataclasses.dataclass(frozen=True)
class Epochs:
    """At the end of every so many epochs."""

    number: Count


@dataclasses.dataclass(frozen=True)
class Steps:
    """After every so many steps."""

    number: Count


@dataclasses.dataclass(frozen=True)
class Minutes:
    """At the first record after so many minutes without a save."""

    number: Positive


@dataclasses.dataclass(frozen=True)
class Shared:
    """The order of this seed, whatever the run's own: runs that share it see the same batches."""

    seed: Annotated[int, Bounds(0, 2**32 - 1)]


ORDERS: dict[str, type] = {"own": Off, "shared": Shared}


STOPS: dict[str, type] = {"never": Off, "target": Target, "patience": Patience}


CADENCES: dict[str, type] = {"epochs": Epochs, "steps": Steps, "minutes": Minutes}
