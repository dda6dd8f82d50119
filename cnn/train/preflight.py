"""What is checked and said before a run trains: of its data, its devices and its memory.

What is not wrong but may surprise is said on stderr: see `remarks` and `few_to_validate`.
"""

import functools
import itertools
import math
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnn import hyperparams, registry
from cnn.config import sections, validate
from cnn.config.config import Config, ConfigError, array_paths
from cnn.config.problems import Problems
from cnn.data import datasets, sources, types, views
from cnn.data.loader import Examples
from cnn.fields import MAX_INTEGER
from cnn.layers.module import ModuleLayer
from cnn.layers.normalisation import BatchNorm
from cnn.model.summary import Row
from cnn.runs import recorded_data
from cnn.system import environment, host_memory, multihost, sharding
from cnn.system.text import counted, plain
from cnn.train import init_from, memory_estimate, step, watching
from cnn.train.state import create_shapes, make_step_config

LEFT_OUT = 0.01
"""Up to this share of the training pictures may be left out of each epoch without a remark."""
LOSSES = 8
"""So many examples the loss is asked of; one more where that is the number of classes."""
FEW_TO_VALIDATE = 100
"""With fewer validation pictures than this, one of them is more than 0.01 of accuracy."""
_TRACED: set[str] = set()
"""What of the trials of a sweep was traced already."""
MANY = 10_000
"""So many updates an epoch has where nobody knows: more than a warmup takes."""
MEMORIES = 5
"""A running mean has forgotten its start, but for 1 %, after so many times 1 / (1 - momentum) moves."""


def remarks(values: Config, examples: int) -> list[str]:
    """Returns a line for each thing that may surprise.

    These are examples that each epoch leaves out, running statistics of batch normalisation that will not have settled,
    and a CPU on which bfloat16 is no faster.

    Args:
      values: the whole config.
      examples: how many training pictures there are, at least a batch.
    """
    lines = _left_out(values, examples), unsettled(values, examples), _without_units(values)
    return [line for line in lines if line]


def _without_units(values: Config) -> str:
    cpu = values.train.compute_dtype == "bfloat16" and jax.default_backend() == "cpu"
    if not cpu or environment.bfloat16_units():
        return ""
    return (
        "config.train.compute_dtype: this CPU has no units for bfloat16 (AMX or AVX512-BF16), so what is multiplied is "
        "rounded to it and multiplied in float32, which is no faster than float32"
    )


def _left_out(values: Config, examples: int) -> str:
    size = values.train.batch_size
    left = examples % size
    if left <= LEFT_OUT * examples or values.data.balance != "none":
        return ""
    return (
        f"config.train.batch_size: each epoch leaves out {left:,} of {examples:,} training pictures "
        f"({100 * left / examples:.1f} %), a last batch that is not full; which ones, each epoch draws anew"
    )


def few_to_validate(values: Config, count: int) -> list[str]:
    """Says of so few validation pictures, which are no fold, what cannot be read off them."""
    if values.data.fold or not 0 < count < FEW_TO_VALIDATE:
        return []
    return [
        f"config.data.valid_fraction: {count} validation {'picture' if count == 1 else 'pictures'}: each is "
        f"{1 / count:.2g} of accuracy, so that chance decides between runs that are close. "
        "--grid='data.fold=folds(5)' in a sweep validates every training picture once"
    ]


def unsettled(values: Config, examples: int) -> str:
    """Says of the batch normalisation with the longest memory that the run is too short for it; else empty."""
    if values.train.renew_statistics:
        return ""
    frozen = set(values.frozen)
    rows = [row for row in values.rows if isinstance(row.layer, BatchNorm)]
    momenta = {row.path: row.layer.momentum for row in rows if not set(array_paths([row], "params")) <= frozen}  # type: ignore[attr-defined]
    moves = values.train.total_steps(examples // values.train.batch_size) * values.train.accumulate_steps
    slow = {path: momentum for path, momentum in momenta.items() if moves * (1 - momentum) < MEMORIES * (1 - 1e-9)}
    if not slow:
        return ""
    path = max(slow, key=lambda path: slow[path])
    momentum = slow[path]
    others = f" and {len(slow) - 1} more" if len(slow) > 1 else ""
    enough = math.floor(100 * (1 - MEMORIES / moves) + 1e-9) / 100
    remedy = f"a momentum of at most {enough:g} or more epochs" if enough > 0 else "more epochs"
    return (
        f"config.model.layers: {path}{others}: the running statistics, by which evaluation normalises, will not have "
        f"settled: with momentum {momentum:g} that takes about {math.ceil(MEMORIES / (1 - momentum) - 1e-6):,} moves, "
        f"and the run makes {moves:,}. Use {remedy}"
    )


def load_data(section: sections.Data) -> types.Dataset:
    """Returns the dataset that a config names.

    Raises:
      DataError: it is missing or unlike the config.
    """
    return datasets.load(section, memory_budget(section))


def memory_budget(section: sections.Data) -> float:
    """Returns the bytes that pictures may take: a part of the machine's memory, and of an accelerator's."""
    return section.memory_share * min([host_memory.host_bytes(), *_device_bytes()])


def tell(lines: Iterable[str]) -> None:
    """Says something on stderr, once for all processes."""
    if multihost.leads():
        for line in lines:
            print(plain(line), file=sys.stderr)


def check_still_same(values: Config, workdir: Path, known: types.Dataset | None = None) -> None:
    """Checks that the data of a finished run are those that it was trained with, as far as they are at hand.

    Args:
      values: the run's config.
      workdir: the run's directory.
      known: the config's data, where they are loaded already; otherwise no picture is decoded.

    Raises:
      DataError: they are others, or broken.
    """
    section = values.data
    if known is None and ("identity" not in recorded_data.recorded(workdir) or sources.never_changes(section.name)):
        return
    identity = known.identity if known else datasets.identity(section)
    if identity is not None:
        recorded_data.check_same(workdir, identity)
        return
    where = f" in {plain(section.data_dir)}" if section.data_dir else ""
    print(f"its data are not there any more{where}, so whether they changed is not known", file=sys.stderr)


def _device_bytes() -> list[int]:
    """Returns the memory of the accelerators at hand; a CPU has the host's."""
    statistics = [device.memory_stats() or {} for device in jax.local_devices()]
    return [entry["bytes_limit"] for entry in statistics if "bytes_limit" in entry]


def check_share(values: Config, count: int) -> None:
    """Checks that so many devices can share a batch.

    Raises:
      ConfigError: they do not divide it, or each part of it.
    """
    batch_size, parts = values.train.batch_size, values.train.accumulate_steps
    whole = count * parts
    if batch_size % whole:
        of = f"{count} devices" + (f" x train.accumulate_steps = {parts}, {whole}" if parts > 1 else "")
        below = batch_size // whole * whole
        near = f"{below} or {below + whole}" if below else f"{whole}"
        raise ConfigError(
            [f"config.train.batch_size: must be a multiple of {of}, got {batch_size}. Use {near}, or fewer --devices."]
        )


def mixing_module(values: Config) -> Row | None:
    """Returns the first Flax module that computes with the other images of its batch, of those that are trained.

    It knows nothing of devices; a batch normalisation of ours takes its statistics over all of them.
    """
    frozen = set(values.frozen)
    for row in values.rows:
        if isinstance(row.layer, ModuleLayer) and row.layer.mixes_rows(row.input):
            arrays = array_paths([row], "params")
            if not arrays or not set(arrays) <= frozen:
                return row
    return None


def check_rows(values: Config, count: int) -> None:
    """Checks that so many devices can each compute with its share of a batch.

    Raises:
      ConfigError: a module of the network needs the whole batch.
    """
    row = mixing_module(values) if count > 1 else None
    if row is None:
        return
    assert isinstance(row.layer, ModuleLayer)
    scope = row.path.rpartition("/")[0]
    beside = [each.path for each in values.rows if each.path.rpartition("/")[0] == scope]
    position = f"position {beside.index(row.path) + 1}" + (f" of {scope}" if scope else "")
    raise ConfigError(
        [
            f"config.model.layers: {row.layer.kind} at {position} computes with the other images of its batch "
            f"({row.layer.mixed_by(row.input)}), which on several devices would be those of one device's share, "
            f"got {count} devices. Use --devices=1, or cnn's batch_norm."
        ]
    )


def check_memory(values: Config, dataset: types.Dataset, count: int) -> None:
    """Checks that training can fit; warns on stderr where it may not.

    Raises:
      ConfigError: it cannot.
    """
    shapes = [] if dataset.streams else [split.images.shape for split in (dataset.training, dataset.valid)]
    resident = sum(math.prod(shape) for shape in shapes)
    need = memory_estimate.need(values, jax.default_backend(), devices=count, data=resident)
    available = sharding.memory_limit()
    if problem := memory_estimate.refusal(need, values, available):
        raise ConfigError([problem])
    if line := memory_estimate.warning(need, available):
        tell([line])


def tell_remarks(values: Config, workdir: Path, dataset: types.Dataset) -> None:
    """Says on stderr what may surprise of a run that begins, and of its data."""
    if not init_from.has_begun(workdir):
        tell([*dataset.notes, *remarks(values, len(dataset.train)), *few_to_validate(values, len(dataset.valid))])


def check_splits(values: Config, dataset: types.Dataset) -> None:
    """Checks that the splits are there that a config needs, which of most sources only loading tells.

    Raises:
      ConfigError: there is no test split to evaluate, or no validation split for what needs one, or too few classes in
        one of them for a metric.
    """
    problems = Problems()
    if values.eval.test and not len(dataset.test):
        problems.note(
            "eval.test",
            "the data have no test split, got True. Set eval.test=False, or cut one with data.test_fraction.",
        )
    if not len(dataset.valid):
        validate.check_without_validation(values.data, values.train, values.eval, values.schedule, problems)
    validates = values.data.train_on == "train"
    evaluated = {"valid": dataset.valid if validates else (), "test": dataset.test if values.eval.test else ()}
    for (name, metric), (where, split) in itertools.product(values.metrics.items(), evaluated.items()):
        fewest = getattr(metric, "fewest_classes", 1)
        if fewest > 1 and split and (classes := len(np.unique(split.labels))) < fewest:
            problems.note(
                "train.monitor" if name == values.monitor else "eval.metrics",
                f"{name} needs pictures of {fewest} classes or more in {where}, got {classes}. Leave it out, or choose "
                "other pictures to evaluate.",
            )
    if problems:
        raise ConfigError(problems)


def check_lengths(values: Config, dataset: types.Dataset) -> None:
    """Checks what only the size of the data can tell.

    Raises:
      ConfigError: a batch is larger than the training split, or warmup and cooldown, or what an average waits for, than
        the run.
    """
    examples, batch_size = len(dataset.train), values.train.batch_size
    if batch_size > examples:
        most = counted(examples, "training example")
        raise ConfigError([f"config.train.batch_size: must be at most the {most}, got {batch_size:,}."])
    total = values.train.total_steps(examples // batch_size)
    if total > MAX_INTEGER:
        raise ConfigError([f"config.train.epochs: makes {total:,} steps, more than {MAX_INTEGER:,}. Use fewer."])
    problems = []
    for thing, field in ((values.schedule, "schedule.name"), (values.train.average, "train.average")):
        # A user's own class may have no length that could be too long.
        refusal = getattr(thing, "refusal", lambda total: None)
        if message := registry.blamed(thing, field, refusal)(total):
            problems.append(message)
    if problems:
        raise ConfigError(problems)


def check_loss(values: Config) -> None:
    """Checks that the loss gives one number an example, without computing any.

    Raises:
      ConfigError: it gives something else.
    """
    classes, loss = values.data.classes, values.train.loss
    examples = LOSSES + (classes == LOSSES)
    table = jax.ShapeDtypeStruct((examples, classes), jnp.float32)

    def checked(logits: Any, labels: Any) -> Any:
        found = registry.blamed(loss, "train.loss", loss)(logits, labels)
        wanted = f"one number for each example, shape ({examples},) for a batch of {examples}"
        if not registry.is_array(found) or not jnp.issubdtype(found.dtype, jnp.floating):
            remedy = "Return one array of floats."
        elif found.shape != (examples,):
            remedy = "Sum or average over the classes, not over the examples."
        else:
            return found
        raise ConfigError([str(registry.misfit(loss, "train.loss", wanted, found, remedy))])

    with registry.traced():
        jax.eval_shape(checked, table, table)


def check_code(values: Config, dataset: types.Dataset | None = None, devices: int = 1) -> None:
    """Traces a training step, and asks metrics and rules once, where a user's own code takes part: nothing is written.

    Args:
      values: the whole config.
      dataset: its data; `None` where they are not read yet, and their size stays out of account.
      devices: that share a batch.

    Raises:
      ExtensionError: the code failed; the message names the field of the config, the file, the line and the function.
      ConfigError: a metric returned something else than a number.
    """
    check_loss(values)
    if not values.foreign:
        return
    train = values.train
    steps_per_epoch = MANY if dataset is None else max(1, len(dataset.train) // train.batch_size)
    shape = values.data.image_shape, values.data.stored_shape
    lengths = steps_per_epoch, train.batch_size, train.accumulate_steps, train.compute_dtype, shape, values.frozen
    code = [each.sha256 for each in values.code], sorted(map(id, values.foreign)), [*values.metrics, values.eval.views]
    seen = hyperparams.structure(values), lengths, code
    if repr(seen) in _TRACED:
        return
    step_config = make_step_config(values, values.train.total_steps(steps_per_epoch), steps_per_epoch, devices)
    state = create_shapes(values)
    batch = values.train.batch_size
    images: Any = jax.ShapeDtypeStruct((batch, *values.data.stored_shape), jnp.uint8)
    labels: Any = jax.ShapeDtypeStruct((batch,), jnp.int32)
    examples = Examples(images, labels, None)
    alone = step_config._replace(devices=1)
    with registry.traced():
        jax.eval_shape(functools.partial(step.train_step, step_config=alone), state, examples)
        if train.watch.every and registry.origin_of(train.watch) != registry.PACKAGE:
            watching.check(values, state, examples, alone)
        jax.eval_shape(functools.partial(views.of_all, values.eval.views), images)
    sections.reason_to_stop(train.stop, 0.0, 0.0, 0, values.monitor)
    classes = values.data.classes
    labels = np.arange(4 * classes) % classes
    logits = np.random.default_rng(0).normal(size=(len(labels), classes))
    for metric in values.metrics.values():
        returned = registry.blamed(metric, "eval.metrics", metric)(logits, labels)
        if np.shape(returned) or np.asarray(returned).dtype.kind not in "iuf":
            raise ConfigError([str(registry.misfit(metric, "eval.metrics", "one number", returned))])
    _TRACED.add(repr(seen))
