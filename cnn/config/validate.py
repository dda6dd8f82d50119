"""What only several fields together can get wrong, each right by itself."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from cnn import patterns, registry
from cnn.config import sections
from cnn.config.config import ALWAYS, array_paths
from cnn.config.problems import Problems
from cnn.data import sources, splits
from cnn.data.augment import ColorJitter, RandomCrop, RandomResizedCrop
from cnn.data.types import DATASET_NAME
from cnn.expression import ExpressionError, StandIn, written
from cnn.layers.normalisation import BatchNorm
from cnn.losses import Balanced
from cnn.model.summary import Row
from cnn.optim import averages, groups

IDENTIFIER = re.compile(r"\w+\s*\(", re.ASCII)
"""How the name of a source with options begins."""

TO_VALIDATE = 'Set data.valid_fraction above 0 and data.train_on = "train"'
"""How a run comes by a validation split."""


def check(
    data: sections.Data,
    train: sections.Train,
    evaluation: sections.Eval,
    schedule: Any,
    problems: Problems,
    *,
    recorded: bool = False,
) -> None:
    """Notes every contradiction between the fields of some sections, and a dataset's name that can be none.

    In a config that is only read, a name may be that of a user's own source.
    """
    check_reading(data, problems, recorded=recorded)
    for name in ("mean", "std"):
        given, channels = len(getattr(data, name)), data.image_shape[2]
        if given not in (1, channels):
            problems.note(f"data.{name}", f"must have 1 number or one for each of {channels} channels, got {given}.")
    for kind in data.augment:
        if registry.origin_of(kind) == registry.PACKAGE and not isinstance(kind, StandIn):
            _check_augmentation(kind, data, problems)
    if (train.epochs is None) == (train.steps is None):
        both = "set beside config.train.epochs" if train.steps else "not set, nor is config.train.epochs"
        remedy = "Set one of them to None." if train.steps else "Set one of them."
        problems.note("train.steps", f"is {both}, got {train.steps}. {remedy}")
    if train.batch_size % train.accumulate_steps:
        problems.note(
            "train.accumulate_steps",
            f"must divide train.batch_size = {train.batch_size}, got {train.accumulate_steps}.",
        )
    if message := train.class_weights.refusal(data.classes):
        problems.note("train.class_weights", message)
    names = [written(metric) for metric in evaluation.metrics]
    for name in dict.fromkeys(names):
        if name in ALWAYS:
            problems.note("eval.metrics", f"holds what is measured anyway, got {name}. Leave it out.")
        elif names.count(name) > 1:
            problems.note("eval.metrics", f"holds a metric {names.count(name)} times, got {name}. Write it once.")
    side, kinds = min(data.image_shape[:2]), [type(kind) for kind in evaluation.views]
    for kind in evaluation.views:
        if (times := kinds.count(type(kind))) > 1:
            problems.note("eval.views", f"holds a view {times} times, got {kind.kind}. Write it once.")
            break
        if registry.origin_of(kind) == registry.PACKAGE and getattr(kind, "pixels", 0) >= side:
            problems.note("eval.views", f"must move by less than the image's {side} pixels, got {kind.pixels}.")
    if train.renew_statistics and evaluation.weights == "best":
        problems.note(
            "train.renew_statistics",
            'renews at the end of training those of the last or the averaged weights, got eval.weights = "best". '
            "Use last or ema.",
        )
    if evaluation.weights == "ema" and isinstance(train.average, averages.NoAverage):
        problems.note("eval.weights", 'is "ema" but none is kept. Set train.average = "ema(0.999)".')
    if data.balance == "classes" and isinstance(train.class_weights, Balanced):
        problems.note(
            "data.balance",
            'and train.class_weights = "balanced" both make up for rare classes, got "classes". Set one to "none".',
        )
    if not may_validate(data):
        check_without_validation(data, train, evaluation, schedule, problems)


def check_reading(data: sections.Data, problems: Problems, *, recorded: bool = False) -> None:
    """Notes of the fields that say which data are read, and how, what only several of them get wrong.

    In a config that is only read, a name may be that of a user's own source.
    """
    if sources.kind_of(data.name) is not None:
        try:
            sources.parse(data.name)
        except ExpressionError as error:
            problems.note_each("data.name", error)
    elif not DATASET_NAME.fullmatch(data.name) and not (recorded and IDENTIFIER.match(data.name)):
        hint = _hint(data.name)
        known = ", ".join(sorted(registry.of_package(registry.SOURCES)))
        problems.note("data.name", f"must be {known} or a TFDS name, got {data.name!r}.{hint}")
    if data.file and (why := sources.unread(data.name, "file")):
        problems.note("data.file", f"{why}, got {data.file!r}. Set config.data.name to one of these to read it.")
    _check_stored_size(data, problems)
    for field, message in splits.problems(data):
        problems.note(f"data.{field}", message)


def _hint(name: str) -> str:
    """Returns what may be meant by a name that no dataset can have."""
    kinds = registry.of_package(registry.SOURCES)
    suffix = name.rpartition(".")[2].lower()
    if suffix in kinds and suffix != name:
        return f" Set it to {suffix}, and config.data.file to {name!r}."
    if "/" in name or name in (".", ".."):
        return f" For pictures in folders set it to folder, and config.data.data_dir to {name!r}."
    like = re.sub(r"\W+", "_", name, flags=re.ASCII)
    return f" Did you mean {like!r}?" if DATASET_NAME.fullmatch(like) else ""


def check_patterns(built: Mapping[str, Any], rows: Sequence[Row], problems: Problems) -> None:
    """Notes patterns that match no array, and those that leave nothing to train."""
    trained, freeze = array_paths(rows, "params"), built["train"].freeze
    if message := patterns.problem(freeze, trained):
        problems.note("train.freeze", message)
    elif trained and len(patterns.matching(freeze, trained)) == len(trained):
        problems.note("train.freeze", f"leaves nothing to train, got {freeze!r}. Leave a layer out of it.")
    for group in built["train"].groups:
        if isinstance(group, StandIn):
            continue
        if message := registry.blamed(group, "train.groups", group.problem)(trained):
            problems.note("train.groups", f"{written(group)}: {message}")
        optimizer = built["optimizer"]
        decays = optimizer is None or isinstance(optimizer, StandIn) or groups.options_of(optimizer, groups.DECAY)
        if group.decay != 1 and not decays:
            problems.note(
                "train.groups",
                f"{written(group)} multiplies a weight decay that {optimizer.kind} has not, got {group.decay:g}. "
                "Leave it out, or use adamw.",
            )
    source, wanted = built["init_from"], built["init_layers"]
    if not source and wanted == "*":
        return
    if message := patterns.problem(wanted, array_paths(rows, "params", "batch_stats")):
        problems.note("init_layers", message)
    elif not source:
        problems.note("init_layers", f"has no use without config.init_from, got {wanted!r}. Set that too.")
    elif source and not patterns.split(wanted):
        problems.note("init_layers", 'names nothing to start from, got an empty text. Write "*" for all.')


def check_statistics(train: sections.Train, rows: Sequence[Row], problems: Problems) -> None:
    """Notes the first batch normalisation that would see one value a channel at a time, and make 0 of each.

    The statistics are those of a part of the batch, over all devices. One whose parameters are all frozen has none.
    """
    size, parts = train.batch_size, train.accumulate_steps
    frozen = patterns.matching(train.freeze, array_paths(rows, "params"))
    for row in rows:
        height, width = row.input[:2] if len(row.input) == 3 else (1, 1)
        if not isinstance(row.layer, BatchNorm) or size // parts * height * width > 1 or size % parts:
            continue
        if set(array_paths([row], "params")) <= set(frozen):
            continue
        field, got = ("accumulate_steps", parts) if parts > 1 else ("batch_size", size)
        remedy = f"an accumulate_steps of at most {parts // 2}" if parts > 1 else "a batch_size of at least 2"
        problems.note(
            f"train.{field}",
            f"{row.path} would normalise over one value a channel, {size} / {parts} x {height} x {width} = 1 "
            f"(batch_size / accumulate_steps x height x width), got {got}. Use {remedy}, or group_norm.",
        )
        return


def check_renewal(train: sections.Train, rows: Sequence[Row], problems: Problems) -> None:
    """Notes statistics that are to be renewed and cannot be."""
    if not train.renew_statistics:
        return
    frozen = set(patterns.matching(train.freeze, array_paths(rows, "params")))
    measuring = [row for row in rows if array_paths([row], "batch_stats")]
    foreign = [row for row in measuring if not isinstance(row.layer, BatchNorm)]
    if foreign:
        problems.note(
            "train.renew_statistics",
            f"cannot renew what {foreign[0].path} measures, which is no batch_norm of cnn's, got True. Leave it out.",
        )
    elif all(set(array_paths([row], "params")) <= frozen for row in measuring):
        problems.note("train.renew_statistics", "has no batch normalisation that is trained, got True. Leave it out.")


def _check_stored_size(data: sections.Data, problems: Problems) -> None:
    height, width = data.image_shape[:2]
    given = data.stored_size
    if given and (len(given) != 2 or given[0] < height or given[1] < width):
        problems.note(
            "data.stored_size",
            f"must be empty, or a height and a width of at least {height}x{width}, those of data.image_shape, "
            f"got {given}. Make it larger.",
        )


def _check_augmentation(kind: Any, data: sections.Data, problems: Problems) -> None:
    """Notes what an augmentation of ours cannot do with these pictures."""
    height, width, channels = data.image_shape
    side, reach = min(height, width), getattr(kind, "pad", getattr(kind, "pixels", 0))
    if reach >= side:
        problems.note("data.augment", f"must move by less than the image's {side} pixels, got {reach}.")
    if isinstance(kind, RandomCrop) and not kind.pad and tuple(data.stored_size) in ((), (height, width)):
        problems.note(
            "data.augment",
            "random_crop(0) has nothing to crop, got pad=0. Pad, or set data.stored_size to more pixels.",
        )
    if isinstance(kind, RandomResizedCrop) and kind.area_min > kind.area_max:
        problems.note(
            "data.augment",
            f"random_resized_crop.area_min must be at most area_max = {kind.area_max:g}, got {kind.area_min:g}.",
        )
    if isinstance(kind, ColorJitter) and channels != 3:
        for name in ("saturation", "hue"):
            if getattr(kind, name):
                problems.note(
                    "data.augment",
                    f"color_jitter.{name} needs 3 channels, and data.image_shape has {channels}, "
                    f"got {getattr(kind, name):g}. Leave it at 0.",
                )


def may_validate(data: sections.Data) -> bool:
    """Tells whether a run may have a validation split, which of most sources only loading tells."""
    return data.train_on == "train" and (_cuts_validation(data) or sources.may_validate(data.name))


def why_no_validation(data: sections.Data) -> str:
    """Returns why a run has no validation split."""
    return "data.train_on holds the validation split" if data.train_on != "train" else "data.valid_fraction is 0"


def _cuts_validation(data: sections.Data) -> bool:
    """Tells whether the config itself says that there is a validation split."""
    return bool(data.fold) or data.valid == "own" or data.valid_fraction > 0


def check_without_validation(
    data: sections.Data, train: sections.Train, evaluation: sections.Eval, schedule: Any, problems: Problems
) -> None:
    """Notes what needs a validation split, where training leaves none."""
    reason, remedy = why_no_validation(data), f"{TO_VALIDATE}."
    if evaluation.weights == "best":
        problems.note("eval.weights", f'is "best" but nothing chooses it: {reason}. {remedy}')
    if not evaluation.test:
        problems.note("eval.test", f"is False and there is nothing else to evaluate: {reason}. {remedy}")
    if not isinstance(train.stop, StandIn) and train.stop.needs_valid:
        problems.note("train.stop", f"needs a validation split: {reason}. {remedy}")
    if getattr(schedule, "needs_valid", False):
        problems.note("schedule.name", f"{schedule.kind} needs a validation split: {reason}. {remedy}")
