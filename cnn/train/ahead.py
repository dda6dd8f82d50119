"""What a run needs after its first steps, made ready while XLA compiles these.

A step takes XLA seconds, in which it uses one core; meanwhile another one compiles the evaluations and imports what
draws the page. Nothing else is computed than without it, where all of that happens when it is needed.
"""

import contextlib
import threading
from collections.abc import Iterator

from cnn import evaluate
from cnn.report import page_writer
from cnn.system import environment
from cnn.train.run import Run
from cnn.train.state import TrainState


@contextlib.contextmanager
def made_ready(run: Run, state: TrainState) -> Iterator[None]:
    """Makes ready what follows, in a thread that has ended when the block does; with one core, does nothing.

    Args:
      run: the run, which trains within the block.
      state: its first; it may be consumed within the block.
    """
    if environment.threads() == 1:
        yield
        return
    classifier = state.classifier(averaged=run.evaluates_average)
    # No daemon: XLA's own threads must not outlive the interpreter.
    thread = threading.Thread(target=_make_ready, args=(run, classifier))
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _make_ready(run: Run, classifier: evaluate.Classifier) -> None:
    # Whatever is wrong will be met, and said, where it is needed.
    with contextlib.suppress(Exception):
        between = evaluate.EvalConfig.of(run.config, run.devices)
        last = evaluate.EvalConfig.at_end(run.config, run.devices)
        if run.validates:
            evaluate.compile_ahead(classifier, run.dataset.valid.images, between)
        if run.config.eval.test:
            evaluate.compile_ahead(classifier, run.dataset.test.images, last)
        if run.page.wanted:
            page_writer.prepare()
