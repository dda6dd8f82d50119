"""The sections of a config whose options do not depend on a name, and the rules that they name.

Each rule is a class. A `@stop`, early stopping, says in `reason` why training ends after an epoch, and in `needs_valid`
whether that takes a validation split. A `@cadence` says in `due` whether a checkpoint is due, in `steps` after how many
steps one is, where that is fixed, and in `best_waits` whether that of a better evaluation is written with the next. An
`@order` says in `seed_of` which seed shuffles the epochs.
"""

import dataclasses
from typing import Annotated, Any, ClassVar, Literal

from cnn.config.watches import WATCHES
from cnn.data.augment import AUGMENTATIONS
from cnn.data.types import DataSpec
from cnn.data.views import VIEWS
from cnn.fields import Bounds, Count, Fraction, Language, Natural, OrNone, Positive, Rate
from cnn.losses import LOSSES, WEIGHTINGS
from cnn.metrics import METRICS
from cnn.optim import AVERAGES, CLIPS, GRADIENTS, GROUPS
from cnn.registry import CADENCES, ORDERS, STOPS, blamed, cadence, misfit, order, stop

Seed = Annotated[int, Bounds(0, 2**32 - 1)]


@stop(name="never")
class Never:
    """Trains all epochs."""

    needs_valid: ClassVar[bool] = False

    def reason(
        self, train_accuracy: float, valid_accuracy: float | None, stale_evaluations: int, monitor: str = "accuracy"
    ) -> str | None:
        del train_accuracy, valid_accuracy, stale_evaluations, monitor
        return None


@stop
class Target:
    """Stops after the first epoch whose accuracy is above this."""

    accuracy: Fraction
    """Above which training stops."""
    split: Literal["train", "valid"] = "train"
    """Whose accuracy: the mean over the epoch's steps (train), or that of the evaluation (valid)."""

    @property
    def needs_valid(self) -> bool:
        """Whether it can only end a run that has a validation split."""
        return self.split == "valid"

    def reason(
        self, train_accuracy: float, valid_accuracy: float | None, stale_evaluations: int, monitor: str = "accuracy"
    ) -> str | None:
        """Returns why training ends after an epoch, `None` where it does not.

        Args:
          train_accuracy: the mean over the epoch's steps.
          valid_accuracy: after the epoch; `None` where it was not evaluated.
          stale_evaluations: so many in a row in which the monitored metric of the validation split was not better.
          monitor: that metric's name.
        """
        del stale_evaluations, monitor
        accuracy = train_accuracy if self.split == "train" else valid_accuracy
        if accuracy is not None and accuracy > self.accuracy:
            return f"{self.split} accuracy {accuracy:.4f} is above the target {self.accuracy:g}"
        return None


@stop
class Patience:
    """Stops after so many evaluations in a row that did not better `train.monitor` on the validation split."""

    evaluations: Count
    """How many in a row without a better value."""

    needs_valid: ClassVar[bool] = True

    def reason(
        self, train_accuracy: float, valid_accuracy: float | None, stale_evaluations: int, monitor: str = "accuracy"
    ) -> str | None:
        """Returns why training ends after an epoch, `None` where it does not; see `Target.reason`."""
        del train_accuracy, valid_accuracy
        if stale_evaluations >= self.evaluations:
            return f"no better validation {monitor} in {self.evaluations} evaluations"
        return None


def reason_to_stop(
    rule: Any, train_accuracy: float, valid_accuracy: float | None, stale_evaluations: int, monitor: str
) -> str | None:
    """Asks a rule why training ends after an epoch; see `Target.reason`.

    Raises:
      ExtensionError: a user's own rule failed, or returned something else.
    """
    asked = blamed(rule, "train.stop", rule.reason)
    reason: Any = asked(train_accuracy, valid_accuracy, stale_evaluations, monitor)
    if reason is not None and not isinstance(reason, str):
        raise misfit(rule, "train.stop", "why training ends, in words, or None", reason)
    return reason


@cadence
class Epochs:
    """At the end of every so many epochs."""

    number: Count
    """From one checkpoint to the next."""

    steps: ClassVar[int | None] = None
    best_waits: ClassVar[bool] = False

    def due(self, step: int, steps_per_epoch: int, seconds: float, cost: float) -> bool:
        """Tells whether a checkpoint is due.

        Args:
          step: the updates made.
          steps_per_epoch: the updates of one epoch.
          seconds: since the last save.
          cost: how many seconds that took.
        """
        del seconds, cost
        return step % (self.number * steps_per_epoch) == 0


@cadence
class Steps:
    """After every so many steps."""

    number: Count
    """From one checkpoint to the next."""

    best_waits: ClassVar[bool] = False

    @property
    def steps(self) -> int:
        """After how many steps a save is due, also within an epoch; `None` in the other cadences."""
        return self.number

    def due(self, step: int, steps_per_epoch: int, seconds: float, cost: float) -> bool:
        """Tells whether a checkpoint is due; see `Epochs.due`."""
        del steps_per_epoch, seconds, cost
        return step % self.number == 0


@cadence
class Minutes:
    """At the first record after so many minutes without a save."""

    number: Positive
    """Since the last save."""

    steps: ClassVar[int | None] = None
    best_waits: ClassVar[bool] = False

    def due(self, step: int, steps_per_epoch: int, seconds: float, cost: float) -> bool:
        """Tells whether a checkpoint is due; see `Epochs.due`."""
        del step, steps_per_epoch, cost
        return seconds >= 60 * self.number


@cadence
class Share:
    """At the first record after so much time that saving took at most this share of it, better evaluations included."""

    most: Annotated[float, Bounds(0, 1, open_low=True)]
    """Of the time, that saving may take."""

    steps: ClassVar[int | None] = None
    best_waits: ClassVar[bool] = True

    def due(self, step: int, steps_per_epoch: int, seconds: float, cost: float) -> bool:
        """Tells whether a checkpoint is due; see `Epochs.due`."""
        del step, steps_per_epoch
        return cost <= self.most * seconds


@order(name="own")
class Own:
    """The order of the run's own seed."""

    def seed_of(self, run_seed: int) -> int:
        """Returns the seed that shuffles the epochs of a run."""
        return run_seed


@order
class Shared:
    """The order of this seed, whatever the run's own: runs that share it see the same batches."""

    seed: Seed
    """Of the order."""

    def seed_of(self, run_seed: int) -> int:
        """Returns the seed that shuffles the epochs of a run."""
        del run_seed
        return self.seed


@dataclasses.dataclass(frozen=True)
class Data(DataSpec):
    """Which images, and what happens to them before the network."""

    mean: tuple[float, ...] = (0.0,)
    """Subtracted from intensities in [0, 1]; one number, or one a channel."""
    std: Annotated[tuple[float, ...], Bounds(0, open_low=True)] = (1.0,)
    """Divides them after that."""
    augment: Annotated[Any, Language(AUGMENTATIONS, chain=True)] = ""
    """What is done to the training pictures, drawn anew for each picture and epoch, in this order."""
    order: Annotated[Any, Language(ORDERS)] = "own"
    """Whose seed shuffles the epochs: the run's own, or one that runs share."""
    balance: Literal["none", "classes"] = "none"
    """Whether an epoch takes every picture once (none), or as many of each class, rare ones repeatedly (classes)."""
    workers: Natural = 4
    """Threads that read and decode ahead what streams; with 0 the loop does so itself."""


@dataclasses.dataclass(frozen=True)
class Train:
    """How the network is trained."""

    batch_size: Count = 32
    """Pictures of one step; what is left at the end of an epoch and makes no full batch is left out of that epoch, and
    differs from epoch to epoch."""
    epochs: OrNone[Count] = 5
    """How often training goes through the training pictures; `None` where `steps` is set. A run may be made longer
    later, unless its schedule follows from its length."""
    steps: OrNone[Count] = None  # type: ignore[assignment]
    """How many updates training makes, instead of `epochs`; the last epoch may be a part of one."""
    loss: Annotated[Any, Language(LOSSES)] = "softmax_cross_entropy"
    """What training minimises, of each example."""
    class_weights: Annotated[Any, Language(WEIGHTINGS)] = "none"
    """How much an example of each class counts in the loss, whose mean is that by weight; a mixture of labels counts as
    much as its parts."""
    label_smoothing: Rate = 0.0
    """With s, the loss is given (1 - s) label + s / classes: Szegedy et al. 2016, https://arxiv.org/abs/1512.00567,
    section 7."""
    clip: Annotated[Any, Language(CLIPS)] = "none"
    """What is done to gradients that are too large."""
    gradient: Annotated[Any, Language(GRADIENTS)] = "plain"
    """At which parameters the gradient is taken."""
    groups: Annotated[Any, Language(GROUPS, chain=True)] = ""
    """What multiplies the learning rate and the weight decay of which parameters, such as
    `group("*/bias", rate=64, decay=0)`; factors of several multiply."""
    average: Annotated[Any, Language(AVERAGES)] = "none"
    """What is kept beside the parameters, and evaluated where `eval.weights` is "ema", whichever average it is."""
    renew_statistics: bool = False
    """Whether training ends with a pass over the training pictures, which gives batch normalisation the statistics of
    the weights that `eval.weights` names: averaged ones were never trained with."""
    freeze: str = ""
    """Which parameters stay as they start, as patterns over their paths, such as "conv* !conv1/bias"; empty:
    none. A batch normalisation all of whose parameters are frozen normalises as in evaluation and keeps its
    statistics."""
    accumulate_steps: Count = 1
    """The batch is computed in so many equal parts, one after another, to save memory. A batch normalisation normalises
    each part by its own statistics, and its running ones move so many times a step."""
    remat: Literal["none", "layers", "blocks"] = "none"
    """What the gradients need of each layer is kept (none), computed a second time from the layer's input (layers), or
    from the input of every block of about the square root of the number of layers (blocks): less memory, more time."""
    compute_dtype: Literal["float32", "bfloat16"] = "float32"
    """The type of what lies between the layers and of what they multiply. On a CPU bfloat16 is the type of what
    convolutions and dense layers multiply alone: sums, what lies between, statistics and gradients are float32.
    Parameters and the optimizer are float32 always."""
    monitor: Annotated[Any, Language(METRICS)] = "accuracy"
    """The metric of the validation split that patience, the best weights and sweeps follow."""
    stop: Annotated[Any, Language(STOPS)] = "never"
    """What ends training before `epochs` or `steps` are over."""
    dispatch: Literal["auto", "step", "loop", "scan"] = "auto"
    """One call a step, as many steps a call as a second or so allows (loop), or all up to the end of the epoch or the
    next save (scan); auto is loop on a CPU and scan elsewhere."""
    log_every_steps: Count = 100
    """How many steps a line of `metrics.jsonl` is the mean of."""
    watch: Annotated[Any, Language(WATCHES)] = "none"
    """What is recorded of the layers while they are trained, by a program of its own that changes no bit of training:
    `layers(every=100)` the norms of weights, gradients and updates and the dead units, which takes the time of about
    two steps more in a hundred."""

    def total_steps(self, steps_per_epoch: int) -> int:
        """Returns how many updates training makes."""
        return self.steps or (self.epochs or 0) * steps_per_epoch


@dataclasses.dataclass(frozen=True)
class Eval:
    """When and how the network is evaluated."""

    batch_size: Count = 500
    """Pictures that are evaluated at a time; the numbers do not depend on it."""
    every_epochs: Count = 1
    """How many epochs lie between two evaluations of the validation split."""
    metrics: Annotated[Any, Language(METRICS, chain=True)] = ""
    """What validations and evaluations measure besides accuracy, loss and `train.monitor`."""
    views: Annotated[Any, Language(VIEWS, chain=True)] = ""
    """What the network sees of each picture, over which its logits are averaged, at the end of training and in `eval`
    and `predict`; validations while it trains see each as it is."""
    weights: Literal["last", "best", "ema"] = "last"
    """Whose weights `eval`, `predict` and `export` take: the last, the best evaluation's, or the average (ema)."""
    test: bool = True
    """Whether the end of training reads the test split; False while choices are made on valid."""


@dataclasses.dataclass(frozen=True)
class Report:
    """When the run's report is written."""

    page: Literal["evaluations", "end", "never"] = "evaluations"
    """After evaluations (as long as that takes less than a twentieth of the time) and at the end, or only there."""


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """When the state is saved, besides the end, a better evaluation and a signal."""

    every: Annotated[Any, Language(CADENCES)] = "share(0.05)"
    """How often, apart from these."""
