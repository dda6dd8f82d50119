"""From a config to what a run starts with: its program, its first state, and what `run.json` says of its data."""

from typing import Any

from cnn import data, hyper, train
from cnn.config import Values
from cnn.data import background


def make_program(values: Values, total_steps: int, steps_per_epoch: int, count: int = 1) -> train.Program:
    """Returns what a config compiles in, given the lengths that follow from the data, and the number of devices."""
    section = values.train
    return train.Program(
        values.data.classes,
        total_steps,
        steps_per_epoch,
        section.accumulate_steps,
        section.compute_dtype,
        devices=count,
        remat=section.remat,
        skips=values.data.on_error == "skip",
        frozen=values.frozen,
    )


def make_state(values: Values, program: train.Program) -> train.TrainState:
    """Returns a config's state before the first update."""
    return train.create_state(hyper.from_values(values), values.data.image_shape, values.seed, program)


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
