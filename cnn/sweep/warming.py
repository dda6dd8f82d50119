"""Compiles beside other work what the first trial of a program would otherwise wait for. It computes nothing new."""

import contextlib

from cnn import evaluate
from cnn.fingerprint import fingerprint
from cnn.starting import describe, make_program, make_state
from cnn.sweep.plan import Plan
from cnn.sweep.programs import Datasets
from cnn.train import TrainState


def before_steps(plan: Plan, datasets: Datasets) -> TrainState | None:
    """Reads the data and compiles the first state of the sweep's example; returns that, `None` where it is refused."""
    values = plan.example.values
    with contextlib.suppress(Exception):  # which the trial itself will meet, and tell
        dataset = datasets.of(values)
        describe(dataset)
        length = len(dataset.train) // values.train.batch_size
        return make_state(values, make_program(values, length * values.train.epochs, length))
    return None


def after_steps(plan: Plan, datasets: Datasets) -> None:
    """Compiles what the trial needs when its steps are made."""
    values = plan.example.values
    if (state := before_steps(plan, datasets)) is None:
        return
    with contextlib.suppress(Exception):
        images = evaluate.placed(datasets.of(values).valid)
        variables = evaluate.variables_of(state)
        evaluate.predict_logits(state.hyper, variables, images, **evaluate.options(values, 1))
        fingerprint(state)
