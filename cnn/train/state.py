"""From a config to what a run starts with: its program, its first state, and what `run.json` says of its data."""

from typing import Any

from cnn import hyperparams
from cnn.config.config import Config
from cnn.data import types, user_images
from cnn.train import gradient, step


def make_step_config(values: Config, total_steps: int, steps_per_epoch: int, count: int = 1) -> gradient.StepConfig:
    """Returns what a config compiles in, given the lengths that follow from the data, and the number of devices."""
    section = values.train
    return gradient.StepConfig(
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


def create_train_state(values: Config, program: gradient.StepConfig) -> step.TrainState:
    """Returns a config's state before the first update."""
    return step.create_state(hyperparams.from_values(values), values.data.image_shape, values.seed, program)


def describe(dataset: types.Dataset) -> dict[str, Any]:
    """Returns what `run.json` says about the data."""
    sizes = {name: len(getattr(dataset, name)) for name in ("train", "valid", "test")}
    shade = user_images.background_shade(dataset.train.images)
    return {
        "identity": dataset.identity,
        "classes": list(dataset.class_names),
        "examples": sizes,
        "loading": "stream" if dataset.streams else "memory",
        "background": shade,
    }
