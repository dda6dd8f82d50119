"""From a config to what a run starts with: its data, the program that is compiled in, and the first state."""

from typing import Any

import jax

from cnn import data, hyper, memory, settings, train
from cnn.config import ConfigError, Values
from cnn.data import background
from cnn.fields import MAX_INTEGER


def make_program(values: Values, total_steps: int, steps_per_epoch: int) -> train.Program:
    """Returns what a config compiles in, given the lengths that follow from the data."""
    section = values.train
    return train.Program(
        values.data.classes,
        total_steps,
        steps_per_epoch,
        section.accumulate_steps,
        section.compute_dtype,
        skips=values.data.on_error == "skip",
    )


def make_state(values: Values, program: train.Program) -> train.TrainState:
    """Returns a config's state before the first update."""
    return train.create_state(hyper.from_values(values), values.data.image_shape, values.seed, program)


def load_data(section: settings.Data) -> data.Dataset:
    """Returns the dataset that a config names.

    Raises:
      DataError: it is missing or unlike the config.
    """
    names = ("name", "data_dir", "manual_dir", "image_shape", "classes", "fit", "valid_fraction", "train_on")
    fields = {name: getattr(section, name) for name in (*names, "loading", "on_error")}
    return data.load(**fields, room=section.memory_share * min([memory.host_bytes(), *_device_bytes()]))


def _device_bytes() -> list[int]:
    """Returns the memory of the accelerators at hand; a CPU has the host's."""
    statistics = [device.memory_stats() or {} for device in jax.local_devices()]
    return [entry["bytes_limit"] for entry in statistics if "bytes_limit" in entry]


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


def describe(dataset: data.Dataset) -> dict[str, Any]:
    """Returns what `run.json` says about the data."""
    sizes = {name: len(getattr(dataset, name)) for name in ("train", "valid", "test")}
    shade = background.of_pictures(dataset.train.images)
    return {
        "identity": dataset.identity,
        "classes": list(dataset.class_names),
        "examples": sizes,
        "loading": "stream" if dataset.streams else "memory",
        "background": shade,
    }
