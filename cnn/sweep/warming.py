"""Compiles beside other work what the first trial of a program would otherwise wait for. It computes nothing new."""

import contextlib
import threading
import time

import jax

from cnn import evaluate, train
from cnn.feed import Feed
from cnn.fingerprint import fingerprint
from cnn.starting import describe, make_program, make_state, scans
from cnn.sweep import programs
from cnn.sweep.plan import Plan
from cnn.sweep.programs import Datasets
from cnn.train import Program, TrainState


class Warming(threading.Thread):
    """Compiles the first state of the sweep's example, and its training step where every trial makes the same one."""

    def __init__(self, plan: Plan, datasets: Datasets) -> None:
        """Compiles nothing yet."""
        super().__init__(name="warming")
        self.plan, self.datasets = plan, datasets
        self.seconds = 0.0
        """What a step took whose result is thrown away: the compilation that the trials share."""
        self.opened = threading.Event()
        """What a trial opens with is compiled."""
        self._traced = threading.Event()

    def begin(self) -> None:
        """Starts, unless it has been, and returns when the rest is up to XLA, which leaves the interpreter to others.

        Whatever else needed the interpreter meanwhile would make both late.
        """
        if self.ident is None:
            self.start()
            self._traced.wait()

    def finish(self) -> float:
        """Waits for the end, if it was started; returns `seconds`."""
        if self.ident is not None:
            self.join()
        return self.seconds

    def run(self) -> None:
        """Compiles, and then ends."""
        try:
            begun = before_steps(self.plan, self.datasets)
            self.opened.set()
            if begun is not None and self._is_sure():
                with contextlib.suppress(Exception):  # which the trial itself will meet, and tell
                    self._make_step(*begun)
        finally:
            self.opened.set()
            self._traced.set()

    def _is_sure(self) -> bool:
        """Tells whether the first step of whatever trial comes first is this one."""
        values = self.plan.example.values
        if self.plan.options.engine not in ("auto", "map") or scans(values) or self.datasets.of(values).streams:
            return False
        key = programs.key(self.plan.example)
        return all(programs.key(trial) == key for trial in self.plan.checked)

    def _make_step(self, program: Program, state: TrainState) -> None:
        values = self.plan.example.values
        size, epochs = values.train.batch_size, values.train.epochs
        feed = Feed(self.datasets.of(values).train, seed=values.order_seed, batch_size=size, epochs=epochs, workers=0)
        split, rows = next(feed.pieces(0, 1, scan=False))
        started = time.monotonic()
        train.run_step.lower(state, split, rows, program=program)
        self._traced.set()
        jax.block_until_ready(train.run_step(state, split, rows, program=program))
        self.seconds = time.monotonic() - started


def before_steps(plan: Plan, datasets: Datasets) -> tuple[Program, TrainState] | None:
    """Reads the data and compiles the first state of the sweep's example; `None` where that is refused."""
    values = plan.example.values
    with contextlib.suppress(Exception):  # which the trial itself will meet, and tell
        dataset = datasets.of(values)
        describe(dataset)
        length = len(dataset.train) // values.train.batch_size
        program = make_program(values, length * values.train.epochs, length)
        return program, make_state(values, program)
    return None


def after_steps(plan: Plan, datasets: Datasets) -> None:
    """Compiles what the trial needs when its steps are made."""
    values = plan.example.values
    if (begun := before_steps(plan, datasets)) is None:
        return
    with contextlib.suppress(Exception):
        images = evaluate.placed(datasets.of(values).valid)
        variables = evaluate.variables_of(begun[1])
        evaluate.predict_logits(begun[1].hyper, variables, images, **evaluate.options(values, 1))
        fingerprint(begun[1])
