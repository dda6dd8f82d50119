"""The training loop: order, dispatch, records, evaluation, checkpoints. Never forked; a new idea is a config."""

import contextlib
import functools
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from cnn import evaluate
from cnn.config.config import Config
from cnn.data import loader, types
from cnn.report.page_writer import Pages
from cnn.runs import bad_examples_file
from cnn.system import fault_injection, multihost, sharding
from cnn.system.preemption import Preempted, Preemption
from cnn.train import load_init_from
from cnn.train.callbacks import Callbacks
from cnn.train.checkpointer import Checkpointer
from cnn.train.loop_state import LoopState, Sums
from cnn.train.multi_step import dispatch_of, joined
from cnn.train.state import create_train_state, make_step_config


class Trainer:
    """One run's training, from its last checkpoint to its end."""

    def __init__(
        self,
        values: Config,
        workdir: Path,
        dataset: types.Dataset,
        interruption: Preemption,
        *,
        count: int = 1,
        watch: Callbacks = Callbacks(),  # noqa: B008
        how: str = "",
    ) -> None:
        """Opens nothing yet; `count` devices share each batch; `how` names who dispatches the steps, if not this."""
        self.count, self.watch = count, watch
        self.values, self.workdir, self.dataset, self.interruption = values, workdir, dataset, interruption
        lengths = {"batch_size": values.train.batch_size, "epochs": values.train.epochs, "workers": values.data.workers}
        place = functools.partial(sharding.replicate, count=count)
        self.feed = loader.Loader(dataset.train, seed=values.order_seed, **lengths, place=place)
        self.steps_per_epoch = self.feed.steps_per_epoch
        self.total_steps = self.steps_per_epoch * values.train.epochs
        self.judged = len(dataset.valid) > 0 and values.data.train_on == "train"
        """Whether there is a validation split that training does not see."""
        self.program = make_step_config(values, self.total_steps, self.steps_per_epoch, count)
        self.dispatch = dispatch_of(values)
        self.valid_images = evaluate.placed(dataset.valid, count)
        self.state = create_train_state(values, count)
        self.step, self.progress = 0, LoopState()
        self.reporter = watch.reporter(total=self.total_steps, batch_size=values.train.batch_size)
        pages = values.report.page if watch.pages and multihost.leads() else "never"
        self.pages = Pages(workdir, pages, self.reporter.line)
        self.keeper = Checkpointer(
            values,
            workdir,
            data=dataset.identity,
            dispatch=how or self.dispatch.how,
            count=count,
            steps_per_epoch=self.steps_per_epoch,
            line=self.reporter.line,
        )

    def train(self) -> None:
        """Trains to the end of the last epoch, or to where a rule stops it.

        Raises:
          Preempted: a signal asked to stop; the state is saved.
          OSError: the state could not be saved.
        """
        with self.opened():
            while self.more():
                with self.watch.turn:
                    self._advance()
                    while 0 < self.progress.epoch.steps < self.steps_per_epoch and self.more():
                        self._advance()
            self.close()
        self.interruption.check()

    def more(self) -> bool:
        """Ends the epoch if it is whole; tells whether there are steps to make."""
        while not self.progress.ended and not self.interruption.asked():
            # An epoch that is whole but not ended is one whose evaluation a signal prevented.
            if self.progress.epoch.steps < self.steps_per_epoch:
                return self.step < self.total_steps
            self._end_epoch(self.step // self.steps_per_epoch)
        return False

    def _advance(self) -> None:
        started, waited = time.monotonic(), self.feed.waited
        stacked = self._dispatch(self.next_steps())
        self.progress.wait_seconds += self.feed.waited - waited
        self.reporter.took(len(stacked["loss"]), seconds := time.monotonic() - started)
        self.settle(stacked, seconds)

    def close(self) -> None:
        """Saves what training ended with."""
        self.keeper.save_or_fail(self.state, self.progress)
        fault_injection.point("after_last_step")
        event = "preempted" if self.interruption.requested else "end"
        speed, waiting = self.reporter.images_per_second(), self.progress.waiting()
        self.keeper.tell(event, step=self.step, images_per_second=round(speed, 1), waiting=round(waiting, 4))

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Opens the run at its newest whole step; meanwhile signals wait for a boundary."""
        with self.keeper.writer or contextlib.nullcontext():
            self.state, self.progress = self.keeper.open(self.state, load_init_from.load_init_from(self.values))
            self.step = int(self.state.step)
            before = self.interruption.defer(True)
            self.journal = self.keeper.records(self.step)
            written = self.journal or contextlib.nullcontext()
            with contextlib.closing(self.feed), written, self.reporter.running(self.step):
                fault_injection.point("opened")
                yield
        self.interruption.defer(before)

    def settle(self, stacked: dict[str, np.ndarray], seconds: float) -> None:
        """Records the steps since the last boundary, of which `state` is the outcome: metrics of each, and seconds."""
        self.progress.seconds += seconds
        bad_examples_file.keep(self.workdir, self.dataset, self.keeper.tell)
        bad_step = int(self.state.bad_step)
        self._record(stacked, len(stacked["loss"]) if bad_step < 0 else bad_step - self.step)
        if bad_step >= 0:
            self._diverge(bad_step)
        elif self.progress.epoch.steps < self.steps_per_epoch and self.keeper.due(self.step):
            self.keeper.save(self.state, self.progress)

    def next_steps(self) -> int:
        """Returns how many steps there are up to the next record, save or end of the epoch."""
        count = self.steps_per_epoch - self.step % self.steps_per_epoch
        lengths = [self.keeper.steps, self.dispatch.most and self.values.train.log_every_steps]
        return min([count, *(length - self.step % length for length in lengths if length)])

    def _dispatch(self, count: int) -> dict[str, np.ndarray]:
        """Runs so many steps; returns their metrics, stacked."""
        collected, lengths = [], []
        for split, rows in self.feed.chunks(self.step, count, self.dispatch.most):
            run, arguments = self.dispatch.call(rows)
            self.state, metrics = run(self.state, split, *arguments, program=self.program)
            self.feed.started(metrics["loss"])
            collected.append(metrics)
            lengths.append(len(rows))
            self.reporter.advance(len(rows))
            for _ in rows:
                fault_injection.point("step")
            if self.interruption.asked():
                break
        return joined(collected, lengths)

    def _record(self, stacked: dict[str, np.ndarray], count: int) -> None:
        """Adds the first `count` of the steps to the sums, and what is due to the records."""
        progress, every = self.progress, self.values.train.log_every_steps
        for index in range(count):
            progress.window.add(stacked, index)
            progress.epoch.add(stacked, index)
            self.step += 1
            if self.step % every == 0:
                values = {**progress.window.means(), "learning_rate": float(stacked["learning_rate"][index])}
                self._write("train", -(-self.step // self.steps_per_epoch), values)
                progress.window = Sums()

    def _write(self, kind: str, epoch: int, values: dict[str, Any]) -> None:
        if self.journal is not None:
            self.progress.metrics_bytes = self.journal.metrics(kind, self.step, epoch, values)

    def _end_epoch(self, epoch: int) -> None:
        """Evaluates, records and saves; a signal meanwhile leaves the epoch to be ended by whoever continues."""
        progress, values = self.progress, self.values
        trained, last = progress.epoch.means(), self.step == self.total_steps
        record: dict[str, Any] = {"train": trained}
        if self.judged and (epoch % values.eval.every_epochs == 0 or last):
            try:
                record["valid"] = self._validate()
            except Preempted:
                return
            except FloatingPointError:
                self._diverge(self.step)
                return
            progress.judge(record["valid"]["accuracy"], self.step)
        bad_examples_file.keep(self.workdir, self.dataset, self.keeper.tell)
        accuracies = trained["accuracy"], record.get("valid", {}).get("accuracy")
        progress.stopped = values.train.stop.reason(*accuracies, progress.stale_evaluations)
        if "valid" in record:
            verdict = self.watch.judge(epoch, record["valid"])
            progress.stopped = progress.stopped or (None if last else verdict)
        progress.last_epoch, progress.epoch = trained, Sums()
        self._write("epoch", epoch, record)
        self.reporter.epoch(epoch, values.train.epochs, record, progress.stopped)
        if progress.best_step == self.step:
            # At the next boundary it would be too late: the weights are others by then.
            self.keeper.save_or_fail(self.state, progress, again=True)
        elif self.keeper.due(self.step):
            self.keeper.save(self.state, progress, again=True)
        self.pages.evaluated(record)

    def _validate(self) -> dict[str, float]:
        classifier = self.state.classifier(averaged=self.values.eval.weights == "ema")
        config = evaluate.EvalConfig.of(self.values, self.count)
        logits = evaluate.predict_logits(classifier, self.valid_images, config, check=self.interruption.check)
        evaluation = evaluate.score(logits, self.dataset.valid, self.dataset)[1]
        return {"loss": evaluation.loss, "accuracy": evaluation.accuracy}

    def _diverge(self, bad_step: int) -> None:
        """Ends training; the state is that before the bad step, under that step's number."""
        self.progress.bad_step = self.step = bad_step
        self.state = self.state._replace(step=sharding.replicate(np.int32(bad_step), self.count))
        self.keeper.tell("diverged", step=bad_step)
