"""What a run starts from: its compiled-in part and its state before the first update."""

from cnn import hyper, train
from cnn.config import Values


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
    )


def make_state(values: Values, program: train.Program) -> train.TrainState:
    """Returns a config's state before the first update."""
    return train.create_state(hyper.from_values(values), values.data.image_shape, values.seed, program)
