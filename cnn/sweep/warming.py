"""Compiles beside other work what the first trial of a program would otherwise wait for. It computes nothing new."""

import concurrent.futures
import contextlib
import threading
import time

import jax

from cnn import evaluate
from cnn.data.loader import Loader
from cnn.runs.checksum import fingerprint
from cnn.sweep import programs
from cnn.sweep.plan import Plan
from cnn.sweep.programs import Datasets
from cnn.train.experiment import describe
from cnn.train.multi_step import dispatch_of
from cnn.train.state import StepConfig, TrainState, create_train_state, make_step_config


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
        values = self.plan.example.values
        try:
            with contextlib.suppress(Exception), concurrent.futures.ThreadPoolExecutor(1) as beside:
                program = program_of(self.plan, self.datasets)
                shapes = jax.eval_shape(lambda: create_train_state(values))
                state = beside.submit(create_train_state, values)
                state.add_done_callback(lambda _: self.opened.set())
                if self._is_sure():
                    self._make_step(program, shapes, state)
        finally:  # what was suppressed the trial itself will meet, and tell
            self.opened.set()
            self._traced.set()

    def _is_sure(self) -> bool:
        """Tells whether the first step of whatever trial comes first is this one."""
        values = self.plan.example.values
        if (
            self.plan.options.engine not in ("auto", "map")
            or dispatch_of(values).mode == "scan"
            or self.datasets.of(values).streams
        ):
            return False
        key = programs.key(self.plan.example)
        return all(programs.key(trial) == key for trial in self.plan.checked)

    def _make_step(self, program: StepConfig, shapes: TrainState, state: concurrent.futures.Future[TrainState]) -> None:
        """Compiles the step while the state, of these shapes, is compiled and made; then makes the step."""
        values = self.plan.example.values
        size, epochs = values.train.batch_size, values.train.epochs
        feed = Loader(self.datasets.of(values).train, seed=values.order_seed, batch_size=size, epochs=epochs, workers=0)
        split, rows = next(feed.pieces(0, 1, 1))
        run, arguments = dispatch_of(values).call(rows)
        started = time.monotonic()
        lowered = run.lower(shapes, split, *arguments, program=program)
        self._traced.set()
        lowered.compile()  # which the call finds
        jax.block_until_ready(run(state.result(), split, *arguments, program=program))
        self.seconds = time.monotonic() - started


def program_of(plan: Plan, datasets: Datasets) -> StepConfig:
    """Returns what the sweep's example compiles in; its data are read and described."""
    values = plan.example.values
    dataset = datasets.of(values)
    describe(dataset)
    length = len(dataset.train) // values.train.batch_size
    return make_step_config(values, length * values.train.epochs, length)


def after_steps(plan: Plan, datasets: Datasets) -> None:
    """Compiles what the trial needs when its steps are made."""
    values = plan.example.values
    with contextlib.suppress(Exception):  # which the trial itself will meet, and tell
        state = create_train_state(values)
        images = evaluate.placed(datasets.of(values).valid)
        evaluate.predict_logits(state.classifier(), images, evaluate.EvalConfig.of(values))
        fingerprint(state)
