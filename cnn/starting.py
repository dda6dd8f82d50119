"""From a config to what a run starts with: the program that is compiled in, and the first state."""

from cnn import hyper, train
from cnn.config import Values


def make_program(values: Values, total_steps: int, steps_per_epoch: int) -> train.Program:
    """Returns what a config compiles in, given the lengths that follow from the data."""
    section = values.train
    return train.Program(
        values.data.classes, total_steps, steps_per_epoch, section.accumulate_steps, section.compute_dtype
    )


def make_state(values: Values, program: train.Program) -> train.TrainState:
    """Returns a config's state before the first update."""
    return train.create_state(hyper.from_values(values), values.data.image_shape, values.seed, program)
