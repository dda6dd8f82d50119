"""A run that is about to train: its config, its directory, its data, and what loads, shows, records and saves."""

import functools
import json
from pathlib import Path

import jax

from cnn import evaluate
from cnn.config.config import Config
from cnn.data import types
from cnn.data.loader import Loader, Place
from cnn.report.page_writer import Pages
from cnn.runs import recorded_data
from cnn.runs.metric_writer import MetricWriter
from cnn.system import multihost, sharding
from cnn.system.preemption import Preemption
from cnn.train import watching
from cnn.train.callbacks import Callbacks
from cnn.train.checkpointer import Checkpointer
from cnn.train.multi_step import dispatch_of
from cnn.train.state import TrainState, create_train_state, make_step_config


def batches(config: Config, dataset: types.Dataset, epochs: int, place: Place = jax.device_put) -> Loader:
    """Returns the batches that a config trains with.

    Args:
      config: what it says of the order, the batch and the workers.
      dataset: the config's.
      epochs: how often its training split is gone through.
      place: puts arrays where they are computed with.
    """
    return Loader(
        dataset.training,
        seed=config.order_seed,
        batch_size=config.train.batch_size,
        epochs=epochs,
        workers=config.data.workers,
        balanced=config.data.balance == "classes",
        by_example=config.by_example,
        place=place,
    )


class Run:
    """One run in its directory, which this process has locked."""

    def __init__(
        self,
        config: Config,
        workdir: Path,
        dataset: types.Dataset,
        preemption: Preemption,
        *,
        devices: int = 1,
        callbacks: Callbacks = Callbacks(),  # noqa: B008
        dispatched: str = "",
    ) -> None:
        """Restores and writes nothing yet.

        Args:
          config: the whole config.
          workdir: the run's directory.
          dataset: the config's.
          preemption: tells when to stop.
          devices: how many share each batch.
          callbacks: of whoever starts the run.
          dispatched: how its steps are made, where that is not `dispatch`; the last digits depend on it.
        """
        self.config, self.workdir, self.dataset, self.preemption = config, workdir, dataset, preemption
        self.devices, self.callbacks = devices, callbacks
        self.steps_per_epoch = len(dataset.training) // config.train.batch_size
        self.total_steps = config.train.total_steps(self.steps_per_epoch)
        self.epochs = -(-self.total_steps // self.steps_per_epoch)
        """The last of them may be a part of one."""
        place = functools.partial(sharding.replicate, count=devices)
        self.loader = batches(config, dataset, self.epochs, place)
        self.step_config = make_step_config(config, self.total_steps, self.steps_per_epoch, devices)
        self.dispatch = dispatch_of(config)
        self.validates = len(dataset.valid) > 0 and config.data.train_on == "train"
        """Whether there is a validation split that training does not see."""
        self.evaluates_average = config.eval.weights == "ema"
        """Whether the average of the parameters is evaluated in their place."""
        self._valid_images = evaluate.placed(dataset.valid, devices)
        self.progress_bar = callbacks.progress_bar(total=self.total_steps, batch_size=config.train.batch_size)
        page = config.report.page if callbacks.alone and multihost.leads() else "never"
        self.page = Pages(workdir, page, self.progress_bar.line)
        self.metric_writer = MetricWriter(
            workdir,
            self.progress_bar.line,
            settings=json.loads(config.json),
            on_record=callbacks.on_record,
            leads=multihost.leads(),
        )
        self.checkpointer = Checkpointer(
            config,
            workdir,
            self.metric_writer,
            data=dataset.identity,
            dispatch=dispatched or self.dispatch.mode,
            devices=devices,
            steps_per_epoch=self.steps_per_epoch,
        )

    def create_state(self) -> TrainState:
        """Returns the state before the first update, on all of its devices."""
        train = self.dataset.train
        return create_train_state(self.config, self.devices, train.counts(self.config.data.classes), train)

    def steps_to_boundary(self, step: int) -> int:
        """Returns how many steps there are from `step` to the next record, save or end of the epoch or the run."""
        # A loop may end anywhere; other ways of dispatching compile a program for each number of steps.
        record = self.config.train.log_every_steps if self.dispatch.most else None
        lengths = (self.steps_per_epoch, self.checkpointer.steps, record, self.config.train.watch.every)
        return min([self.total_steps - step, *(length - step % length for length in lengths if length)])

    def watched(self, state: TrainState, step: int) -> dict[str, float | None]:
        """Returns what is watched of the step that follows so many updates; nothing where none is due."""
        every = self.config.train.watch.every
        if every is None or step % every:
            return {}
        ((split, rows),) = self.loader.chunks(step, 1, 1)
        return watching.watched(self.config, state, split, rows[0], self.step_config)

    def ends_epoch(self, step: int) -> bool:
        """Tells whether an epoch ends with that many updates, which may be a part of one at the end of the run."""
        return step % self.steps_per_epoch == 0 or step == self.total_steps

    def validate(self, state: TrainState) -> dict[str, float]:
        """Returns the loss, the accuracy and the config's further metrics of the validation split.

        Raises:
          ConfigError: a metric gives no finite number.
          FloatingPointError: a logit is not finite.
          Preempted: a signal asked to stop meanwhile.
        """
        classifier = state.classifier(averaged=self.evaluates_average)
        config = evaluate.EvalConfig.of(self.config, self.devices)
        logits = evaluate.predict_logits(classifier, self._valid_images, config, check=self.preemption.check)
        return evaluate.validation(self.config, logits, self.dataset.valid)

    def record_bad_examples(self) -> None:
        """Writes which examples cannot be used, where there are new ones."""
        recorded_data.record_bad_examples(self.workdir, self.dataset, self.metric_writer.event)
