"""The sections of a config: frozen records whose fields are the options, with their units, ranges and defaults.

Real numbers are traced by the compiled step; integers, lengths and names are its structure (see `cnn/hyper.py`). An
optional behaviour is an expression, such as `train.clip = "global_norm(1.0)"`, never a `None`.
"""

import dataclasses
from typing import Annotated, Any, Literal

from cnn.data.augment_kinds import AUGMENTATIONS
from cnn.fields import Bounds, Count, Fraction, Language, Natural, NonNegative, Positive, Rate

Seed = Annotated[int, Bounds(0, 2**32 - 1)]
Classes = Annotated[int, Bounds(1, 1_000_000)]
Decayed = Literal["kernels", "all"]


@dataclasses.dataclass(frozen=True)
class Sgd:
    """Plain gradient descent; the weight decay is added to the gradient."""

    learning_rate: Positive
    weight_decay: NonNegative = 0.0
    decayed: Decayed = "kernels"


@dataclasses.dataclass(frozen=True)
class Momentum(Sgd):
    """Gradient descent with heavy-ball momentum."""

    momentum: Rate = 0.9


@dataclasses.dataclass(frozen=True)
class Nesterov(Momentum):
    """Gradient descent with Nesterov's momentum."""


@dataclasses.dataclass(frozen=True)
class Rmsprop(Sgd):
    """Gradients divided by the root of their running mean square."""

    decay: Rate = 0.9
    eps: Positive = 1e-8


@dataclasses.dataclass(frozen=True)
class Adam:
    """Kingma and Ba 2015, https://arxiv.org/abs/1412.6980."""

    learning_rate: Positive
    b1: Rate = 0.9
    b2: Rate = 0.999
    eps: Positive = 1e-8


@dataclasses.dataclass(frozen=True)
class Nadam(Adam):
    """Adam with Nesterov's momentum (Dozat 2016)."""


@dataclasses.dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay, https://arxiv.org/abs/1711.05101."""

    weight_decay: NonNegative = 1e-4
    decayed: Decayed = "kernels"


@dataclasses.dataclass(frozen=True)
class Lamb(AdamW):
    """AdamW scaled by each array's norm, for large batches, https://arxiv.org/abs/1904.00962."""


@dataclasses.dataclass(frozen=True)
class Lion:
    """The sign of an interpolated momentum, https://arxiv.org/abs/2302.06675."""

    learning_rate: Positive
    b1: Rate = 0.9
    b2: Rate = 0.99
    weight_decay: NonNegative = 1e-3
    decayed: Decayed = "kernels"


@dataclasses.dataclass(frozen=True)
class Muon:
    """Orthogonalised momentum for every kernel, seen as a matrix inputs x features; AdamW for biases and scales.

    Source:
      Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/.
    """

    learning_rate: Positive
    momentum: Rate = 0.95
    adam_learning_rate: Positive = 1e-3
    b1: Rate = 0.9
    b2: Rate = 0.999
    weight_decay: NonNegative = 0.0
    decayed: Decayed = "kernels"


OPTIMIZERS: dict[str, type] = {
    "sgd": Sgd,
    "momentum": Momentum,
    "nesterov": Nesterov,
    "rmsprop": Rmsprop,
    "adam": Adam,
    "adamw": AdamW,
    "nadam": Nadam,
    "lamb": Lamb,
    "lion": Lion,
    "muon": Muon,
}


@dataclasses.dataclass(frozen=True)
class Constant:
    """The learning rate as it is, after a linear warmup from zero and before a linear cooldown to zero."""

    warmup_steps: Natural = 0
    cooldown_steps: Natural = 0


@dataclasses.dataclass(frozen=True)
class Cosine(Constant):
    """Half a cosine down to `final` times the learning rate."""

    final: Fraction = 0.0


@dataclasses.dataclass(frozen=True)
class Linear(Constant):
    """A straight line down to `final` times the learning rate."""

    final: Fraction = 0.0


@dataclasses.dataclass(frozen=True)
class Step(Constant):
    """Multiplied by `factor` every so many epochs."""

    every_epochs: Count = 10
    factor: Fraction = 0.1


SCHEDULES: dict[str, type] = {"constant": Constant, "cosine": Cosine, "linear": Linear, "step": Step}


@dataclasses.dataclass(frozen=True)
class Off:
    """Nothing."""


@dataclasses.dataclass(frozen=True)
class GlobalNorm:
    """Scales all gradients down together where their joint norm is larger."""

    max_norm: Positive


@dataclasses.dataclass(frozen=True)
class Value:
    """Clips every number of the gradients to [-limit, limit]."""

    limit: Positive


@dataclasses.dataclass(frozen=True)
class Ema:
    """Keeps an exponential moving average of the parameters, for `eval.weights = "ema"`.

    The average after n updates uses the decay min(decay, (1 + n) / (10 + n)), so that the start is forgotten.
    """

    decay: Rate


@dataclasses.dataclass(frozen=True)
class Target:
    """Stops after the first epoch whose accuracy is above this."""

    accuracy: Fraction
    split: Literal["train", "valid"] = "train"


@dataclasses.dataclass(frozen=True)
class Patience:
    """Stops after so many evaluations in a row without a better validation accuracy."""

    evaluations: Count


CLIPS: dict[str, type] = {"none": Off, "global_norm": GlobalNorm, "value": Value}
AVERAGES: dict[str, type] = {"none": Off, "ema": Ema}
STOPS: dict[str, type] = {"never": Off, "target": Target, "patience": Patience}


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
    valid_fraction: Rate = 0.1
    train_on: Literal["train", "train+valid"] = "train"
    data_dir: str = ""
    manual_dir: str = ""


@dataclasses.dataclass(frozen=True)
class Train:
    """How the network is trained."""

    batch_size: Count = 32
    epochs: Count = 5
    label_smoothing: Rate = 0.0
    clip: Annotated[Any, Language(CLIPS)] = "none"
    average: Annotated[Any, Language(AVERAGES)] = "none"
    accumulate_steps: Count = 1
    """The batch is computed in so many equal parts, one after another, to save memory."""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    stop: Annotated[Any, Language(STOPS)] = "never"
    dispatch: Literal["auto", "step", "scan"] = "auto"
    """One call a step, or many steps in one call; auto is step on a CPU and scan elsewhere."""
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
class Checkpoint:
    """When the state is saved, besides the end."""

    every_epochs: Count = 1
