"""When to stop, when to save, and which order examples come in.

The sections of a config whose options do not depend on a name.
"""

import dataclasses
from typing import Annotated, Any, Literal

from cnn.data.augment import AUGMENTATIONS
from cnn.fields import Bounds, Count, Fraction, Language, Natural, Positive, Rate
from cnn.optim.update_specs import AVERAGES, CLIPS, Off


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


Seed = Annotated[int, Bounds(0, 2**32 - 1)]
Classes = Annotated[int, Bounds(1, 1_000_000)]


@dataclasses.dataclass(frozen=True)
class Data:
    """Which images, and what happens to them before the network."""

    name: str
    image_shape: Annotated[tuple[int, int, int], Bounds(1, 16_384)]
    """Height, width, channels."""
    classes: Classes
    fit: Literal["exact", "pad", "nearest", "bilinear", "bicubic", "lanczos"] = "exact"
    """How a picture of another size becomes `image_shape`."""
    mean: tuple[float, ...] = (0.0,)
    """Subtracted from intensities in [0, 1]; one number, or one a channel."""
    std: Annotated[tuple[float, ...], Bounds(0, open_low=True)] = (1.0,)
    """Divides them after that."""
    augment: Annotated[Any, Language(AUGMENTATIONS, chain=True)] = ""
    order: Annotated[Any, Language(ORDERS)] = "own"
    """Whose seed shuffles the epochs: the run's own, or one that runs share."""
    valid_fraction: Rate = 0.1
    train_on: Literal["train", "train+valid"] = "train"
    data_dir: str = ""
    manual_dir: str = ""
    loading: Literal["auto", "memory", "stream"] = "auto"
    """Read once into memory, or batch by batch while training; auto streams what needs more than `memory_share`."""
    memory_share: Fraction = 0.25
    """The part of the machine's memory, and of an accelerator's, that the pictures may fill when `loading` is auto."""
    workers: Natural = 4
    """Threads that read and decode ahead what streams; with 0 the loop does so itself."""
    on_error: Literal["stop", "skip"] = "stop"
    """Whether a picture that cannot be used ends the run, or is listed and weighs nothing."""


@dataclasses.dataclass(frozen=True)
class Train:
    """How the network is trained."""

    batch_size: Count = 32
    """Pictures of one step; what is left at the end of an epoch and makes no full batch is left out of it."""
    epochs: Count = 5
    label_smoothing: Rate = 0.0
    clip: Annotated[Any, Language(CLIPS)] = "none"
    average: Annotated[Any, Language(AVERAGES)] = "none"
    freeze: str = ""
    """Which parameters stay as they start, as patterns over their paths, see `cnn.patterns`; empty: none. A batch
    normalisation all of whose parameters are frozen normalises as in evaluation and keeps its statistics."""
    accumulate_steps: Count = 1
    """The batch is computed in so many equal parts, one after another, to save memory. A batch normalisation normalises
    each part by its own statistics, and its running ones move so many times a step."""
    remat: Literal["none", "layers", "blocks"] = "none"
    """What the gradients need of each layer is kept (none), computed a second time from the layer's input (layers), or
    from the input of every block of about the square root of the number of layers (blocks): less memory, more time."""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    stop: Annotated[Any, Language(STOPS)] = "never"
    dispatch: Literal["auto", "step", "loop", "scan"] = "auto"
    """One call a step, as many steps a call as a second or so allows (loop), or all up to the end of the epoch or the
    next save (scan); auto is loop on a CPU and scan elsewhere."""
    log_every_steps: Count = 100


@dataclasses.dataclass(frozen=True)
class Eval:
    """When and how the network is evaluated."""

    batch_size: Count = 500
    every_epochs: Count = 1
    weights: Literal["last", "best", "ema"] = "last"
    test: bool = True
    """Whether the end of training reads the test split; False while choices are made on valid."""


@dataclasses.dataclass(frozen=True)
class Report:
    """When the run's page is written."""

    page: Literal["evaluations", "end", "never"] = "evaluations"
    """After evaluations (as long as that takes less than a twentieth of the time) and at the end, or only there."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """When the state is saved, besides the end, a better evaluation and a signal."""

    every: Annotated[Any, Language(CADENCES)] = "epochs(1)"
