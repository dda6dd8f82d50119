"""The training loop: order, dispatch, records, evaluation, checkpoints. Never forked; a new idea is a config."""

import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnn import checkpoint, data, evaluate, hyper, metrics, rundir, train
from cnn.config import Values
from cnn.data import order
from cnn.journal import Journal
from cnn.progress import Progress, Sums
from cnn.reporter import Interruption, Reporter


class Preempted(Exception):
    """A signal asked to stop; the state is saved and the same command continues."""


class Trainer:
    """One run's training, from its last checkpoint to its end."""

    def __init__(self, values: Values, workdir: Path, dataset: data.Dataset) -> None:
        self.values, self.workdir, self.dataset = values, workdir, dataset
        self.steps_per_epoch = len(dataset.train) // values.train.batch_size
        self.total_steps = self.steps_per_epoch * values.train.epochs
        self.judged = len(dataset.valid) > 0 and values.data.train_on == "train"
        """Whether there is a validation split that training does not see."""
        self.program = make_program(values, self.total_steps, self.steps_per_epoch)
        self.scan = {"auto": jax.default_backend() != "cpu", "scan": True, "step": False}[values.train.dispatch]
        self.split = train.Images(jnp.asarray(dataset.train.images), jnp.asarray(dataset.train.labels))
        self.valid_images = jnp.asarray(dataset.valid.images)
        self.state = make_state(values, self.program)
        self.progress = Progress()
        restored = checkpoint.restore(workdir / rundir.CHECKPOINTS, self.state)
        if restored is not None:
            if restored.meta["data"] != dataset.identity:
                raise data.DataError(
                    f"config.data: the data are not those of step {restored.step:,} in {workdir}, "
                    f"got {dataset.identity[:12]}. Restore them, or choose another --workdir."
                )
            self.state, self.progress = restored.state, Progress.from_json(restored.meta["progress"])
        self.step = int(self.state.step)
        self.bad_step: int | None = self.progress.bad_step

    def train(self) -> None:
        """Trains to the end of the last epoch, or to where a rule stops it.

        Raises:
          Preempted: a signal asked to stop.
        """
        batch_size = self.values.train.batch_size
        with (
            checkpoint.open_manager(self.workdir / rundir.CHECKPOINTS) as self.manager,
            Journal(self.workdir, step=self.step, metrics_bytes=self.progress.metrics_bytes) as self.journal,
            Reporter(total=self.total_steps, done=self.step, batch_size=batch_size) as self.reporter,
            Interruption() as self.interruption,
        ):
            self.journal.event("resume" if self.step else "start", step=self.step)
            while self.step < self.total_steps and self.progress.stopped is None and self.bad_step is None:
                self._advance()
            self.save()
            self.journal.event("end", step=self.step, images_per_second=round(self.reporter.images_per_second(), 1))

    def save(self) -> None:
        """Saves the state and the progress under the current step."""
        meta = {"progress": self.progress.to_json(), "seed": self.values.seed, "data": self.dataset.identity}
        best = self.progress.best_step == self.step
        checkpoint.save(self.manager, self.state, meta, score=self.progress.best_accuracy if best else None)

    def _advance(self) -> None:
        """Makes the steps up to the next boundary and what is due there."""
        started = time.monotonic()
        stacked = self._dispatch(self._next_rows())
        self.progress.seconds += time.monotonic() - started
        self._record(stacked)
        if int(self.state.bad_step) >= 0:
            self._diverge(int(self.state.bad_step))
        elif self.step % self.steps_per_epoch == 0:
            self._end_epoch(self.step // self.steps_per_epoch)
        if self.interruption.requested and self.step < self.total_steps:
            self.save()
            self.journal.event("preempted", step=self.step)
            raise Preempted

    def _next_rows(self) -> np.ndarray:
        """Returns the rows of the following steps, (steps, batch): up to the next record, or to the epoch's end."""
        epoch, position = divmod(self.step, self.steps_per_epoch)
        batch_size, every = self.values.train.batch_size, self.values.train.log_every_steps
        count = self.steps_per_epoch - position
        if not self.scan:
            count = min(count, every - self.step % every)
        rows = order.permutation(self.values.seed, epoch, len(self.dataset.train)).astype(np.int32)
        return rows[position * batch_size : (position + count) * batch_size].reshape(count, batch_size)

    def _dispatch(self, rows: np.ndarray) -> dict[str, np.ndarray]:
        """Runs the steps; returns their metrics, stacked."""
        if self.scan:
            self.state, metrics_of_steps = train.run_scan(self.state, self.split, rows, program=self.program)
            stacked = jax.device_get(metrics_of_steps)
            self.reporter.advance(len(rows))
            return stacked
        collected = []
        for batch in rows:
            self.state, metrics_of_step = train.run_step(self.state, self.split, batch, program=self.program)
            collected.append(metrics_of_step)
            self.reporter.advance(1)
            if self.interruption.requested:
                break
        return jax.tree.map(lambda *steps: np.stack(steps), *jax.device_get(collected))

    def _record(self, stacked: dict[str, np.ndarray]) -> None:
        progress, every = self.progress, self.values.train.log_every_steps
        for index in range(len(stacked["loss"])):
            if not all(np.isfinite(stacked[name][index]) for name in ("loss", "grad_norm")):
                break
            progress.window.add(stacked, index)
            progress.epoch.add(stacked, index)
            self.step += 1
            if self.step % every == 0:
                values = {**progress.window.means(), "learning_rate": float(stacked["learning_rate"][index])}
                self._write("train", self._epoch(), values)
                progress.window = Sums()

    def _epoch(self) -> int:
        """Returns the epoch that the last step belongs to, from 1."""
        return -(-self.step // self.steps_per_epoch)

    def _write(self, kind: str, epoch: int, values: dict[str, Any]) -> None:
        self.progress.metrics_bytes = self.journal.metrics(kind, self.step, epoch, values)

    def _end_epoch(self, epoch: int) -> None:
        progress, values = self.progress, self.values
        trained = progress.epoch.means()
        last = self.step == self.total_steps
        record: dict[str, Any] = {"train": trained}
        if self.judged and (epoch % values.eval.every_epochs == 0 or last):
            try:
                record["valid"] = self._validate()
            except FloatingPointError:
                self._diverge(self.step)
                return
            progress.judge(record["valid"]["accuracy"], self.step)
        valid_accuracy = record.get("valid", {}).get("accuracy")
        reason = progress.reason_to_stop(values.train.stop, trained["accuracy"], valid_accuracy)
        if not last:
            progress.stopped = reason
        progress.last_epoch, progress.epoch = trained, Sums()
        self._write("epoch", epoch, record)
        self.reporter.line(self._line(epoch, record, reason))
        if epoch % values.checkpoint.every_epochs == 0 or progress.best_step == self.step:
            self.save()

    def _validate(self) -> dict[str, float]:
        averaged = self.values.eval.weights == "ema"
        logits = evaluate.predict_logits(
            self.state.hyper,
            evaluate.variables_of(self.state, averaged=averaged),
            self.valid_images,
            batch_size=self.values.eval.batch_size,
            compute_dtype=self.values.train.compute_dtype,
        )
        evaluation = metrics.evaluate(logits, self.dataset.valid.labels, class_names=self.dataset.class_names)
        return {"loss": evaluation.loss, "accuracy": evaluation.accuracy}

    def _line(self, epoch: int, record: dict[str, Any], reason: str | None) -> str:
        parts = [f"epoch {epoch}/{self.values.train.epochs}"]
        for split, means in record.items():
            parts.append(f"{split} loss {means['loss']:.4f} accuracy {means['accuracy']:.4f}")
        parts.append(f"{self.reporter.images_per_second():,.0f} images/s")
        return "  ".join(parts) + (f"\nstopped: {reason}" if reason else "")

    def _diverge(self, bad_step: int) -> None:
        """Ends training; the state is that before the bad step, under that step's number."""
        self.bad_step = self.progress.bad_step = self.step = bad_step
        self.state = self.state._replace(step=jnp.asarray(bad_step, jnp.int32))
        self.reporter.line(f"diverged: the loss or a gradient of step {bad_step} is not finite")
        self.journal.event("diverged", step=bad_step)


def make_program(values: Values, total_steps: int, steps_per_epoch: int) -> train.Program:
    """Returns what a config compiles in, given the lengths that follow from the data."""
    section = values.train
    return train.Program(
        values.data.classes, total_steps, steps_per_epoch, section.accumulate_steps, section.compute_dtype
    )


def make_state(values: Values, program: train.Program) -> train.TrainState:
    """Returns a config's state before the first update."""
    return train.create_state(hyper.from_values(values), values.data.image_shape, values.seed, program)
