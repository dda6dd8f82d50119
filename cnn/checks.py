"""The data of a config, and what only they and the machine can tell to be wrong with it."""

import math
import sys
from collections.abc import Iterable
from pathlib import Path

import jax

from cnn import data, devices, donor, footprint, hosts, memory, origin, remarks, settings
from cnn.config import ConfigError, Values
from cnn.fields import MAX_INTEGER
from cnn.plaintext import plain


def load_data(section: settings.Data) -> data.Dataset:
    """Returns the dataset that a config names.

    Raises:
      DataError: it is missing or unlike the config.
    """
    names = ("name", "data_dir", "manual_dir", "image_shape", "classes", "fit", "valid_fraction", "train_on")
    fields = {name: getattr(section, name) for name in (*names, "loading", "on_error")}
    return data.load(**fields, room=section.memory_share * min([memory.host_bytes(), *_device_bytes()]))


def tell(lines: Iterable[str]) -> None:
    """Says something on stderr, once for all processes."""
    if hosts.leads():
        for line in lines:
            print(plain(line), file=sys.stderr)


def check_still_same(values: Values, workdir: Path, known: data.Dataset | None = None) -> None:
    """Checks that the data of a finished run are those that it was trained with, as far as they are at hand.

    Args:
      values: the run's config.
      workdir: the run's directory.
      known: the config's data, where they are loaded already; otherwise no picture is decoded.

    Raises:
      DataError: they are others, or broken.
    """
    section = values.data
    if known is None and ("identity" not in origin.recorded(workdir) or data.never_changes(section.name)):
        return
    names = ("name", "data_dir", "manual_dir", "image_shape", "fit", "valid_fraction", "train_on")
    identity = known.identity if known else data.identity(**{name: getattr(section, name) for name in names})
    if identity is not None:
        origin.check_same(workdir, identity)
        return
    where = f" in {plain(section.data_dir)}" if section.data_dir else ""
    print(f"its data are not there any more{where}, so whether they changed is not known", file=sys.stderr)


def _device_bytes() -> list[int]:
    """Returns the memory of the accelerators at hand; a CPU has the host's."""
    statistics = [device.memory_stats() or {} for device in jax.local_devices()]
    return [entry["bytes_limit"] for entry in statistics if "bytes_limit" in entry]


def check_share(values: Values, count: int) -> None:
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


def check_memory(values: Values, dataset: data.Dataset, count: int) -> None:
    """Checks that training can fit; warns on stderr where it may not.

    Raises:
      ConfigError: it cannot.
    """
    shapes = [] if dataset.streams else [split.images.shape for split in (dataset.train, dataset.valid)]
    resident = sum(math.prod(shape) for shape in shapes)
    need = footprint.need(values, jax.default_backend(), devices=count, data=resident)
    available = devices.memory_limit()
    if problem := footprint.refusal(need, values, available):
        raise ConfigError([problem])
    line = footprint.warning(need, available)
    if line and hosts.leads():
        print(line, file=sys.stderr)


def tell_remarks(values: Values, workdir: Path, dataset: data.Dataset) -> None:
    """Says on stderr what may surprise of a run that begins, and of its data, see `cnn.remarks`."""
    if not donor.has_begun(workdir):
        tell([*dataset.notes, *remarks.remarks(values, len(dataset.train))])


def check_lengths(values: Values, dataset: data.Dataset) -> None:
    """Checks what only the size of the data can tell.

    Raises:
      ConfigError: a batch is larger than the training split, or warmup and cooldown than the run.
    """
    examples, batch_size = len(dataset.train), values.train.batch_size
    if batch_size > examples:
        raise ConfigError(
            [f"config.train.batch_size: must be at most the {examples} training examples, got {batch_size}."]
        )
    total = values.train.epochs * (examples // batch_size)
    if total > MAX_INTEGER:
        raise ConfigError([f"config.train.epochs: makes {total:,} steps, more than {MAX_INTEGER:,}. Use fewer."])
    schedule = values.schedule
    if schedule.warmup_steps + schedule.cooldown_steps > total:
        raise ConfigError(
            [
                f"config.schedule.warmup_steps: warmup and cooldown are longer than the run's {total} steps, "
                f"got {schedule.warmup_steps} + {schedule.cooldown_steps}. Use shorter ones or more epochs."
            ]
        )
