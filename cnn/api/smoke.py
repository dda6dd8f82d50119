"""A smoke test: every stage of a config's real run, on a few steps and examples, in a folder that is gone afterwards.

What would end a run of hours in its last minute ends this one in its first: data that cannot be read, a step that does
not compile, an evaluation, a checkpoint that does not come back to the bit, a page, an export.
"""

import contextlib
import dataclasses
import functools
import importlib
import json
import math
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from cnn.api.run import interruptible
from cnn.config import files
from cnn.config.config import Config, ConfigError
from cnn.config.files import ConfigLike
from cnn.config.sections import Steps, reason_to_stop
from cnn.data.parts import should_stream
from cnn.data.sources.arrays import Arrays
from cnn.data.types import Dataset, Split, Stored
from cnn.runs import run_dir
from cnn.system import compile_times
from cnn.system.preemption import Preemption


class Amount(NamedTuple):
    """How much of everything."""

    batch: int
    """Pictures of a step, or as few more as the devices and `train.accumulate_steps` divide."""
    steps: int
    """Of the one epoch."""
    stop: int
    """After so many steps a checkpoint is saved, and copied for a run that continues from there."""
    evaluated: int
    """Pictures of each split that is evaluated, at most."""
    compared: tuple[int, ...]
    """The batches with which an export is compared; each is compiled."""
    journeys: bool
    """Whether the report follows pictures through the network, unless it has more than `MOST_LAYERS`."""


USUAL = Amount(8, 3, 2, 16, (1, 7), journeys=True)
LARGE = Amount(2, 2, 1, 2, (2,), journeys=False)
"""Of a network that makes more than `NUMBERS` of a picture: seconds go into a step of few pictures."""
NUMBERS = 3_000_000
"""Five times those of the cifar10 config, a third of those of ResNet-18 for photographs."""
EXPORTS = ("stablehlo", "onnx_graph")
FOLLOWED = 2
"""Pictures whose journeys are checked number by number."""
MOST_LAYERS = 60
"""Networks of more have no journeys here, where each layer would be compiled alone."""


class Stage(NamedTuple):
    """One stage that passed."""

    name: str
    seconds: float
    """By the clock, its compilations included."""
    said: str
    """What it did, in a line."""


Show = Callable[[str], None]


def smoke(config: ConfigLike = "digits", *, data: Arrays | None = None, devices: int | None = None) -> list[Stage]:
    """Goes through every stage of a config's run in seconds, and leaves nothing behind; see `main.py train --smoke`.

    What it compiles is compiled quickly, and forgotten afterwards: a run in the same process compiles it anew.

    Args:
      config: a name, a file or a `ConfigDict`.
      data: arrays in place of the data that the config names.
      devices: how many share each batch; `None` for as many as `main.py` takes.

    Returns:
      The stages in order, once all have passed.

    Raises:
      ConfigError: the config is wrong, or the run does not continue to the same bits.
      FloatingPointError: a number is not finite, or an export differs from the network.
      Exception: whatever the first stage that fails raises in a real run.
    """
    values = files.resolved(config, data)
    with interruptible() as interruption:
        return stages(values, devices, interruption)


def stages(
    values: Config, devices: int | None, interruption: Preemption, show: Show = lambda line: None
) -> list[Stage]:
    """Goes through every stage, showing a line of each as it passes; see `smoke`."""
    passed: list[Stage] = []

    @contextlib.contextmanager
    def stage(name: str, facts: list[str]) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        except Exception:
            show(f"{name:<10}{time.monotonic() - started:5.1f} s  fails")
            raise
        passed.append(Stage(name, time.monotonic() - started, ", ".join(facts)))
        show(f"{name:<10}{passed[-1].seconds:5.1f} s  {passed[-1].said}")

    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="cnn-smoke-")))
        stack.enter_context(compile_times.quick())
        _go_through(values, devices, interruption, folder, stage)
    return passed


def _go_through(values: Config, devices: int | None, interruption: Preemption, folder: Path, stage: Any) -> None:
    from cnn import export
    from cnn.explain import journey
    from cnn.model.summary import count_parameters
    from cnn.report import run_page
    from cnn.runs.checksum import fingerprint
    from cnn.train import checkpointer, cpu_devices, experiment, loop, preflight
    from cnn.train.callbacks import Callbacks
    from cnn.train.progress_bar import ProgressBar
    from cnn.train.run import Run

    with stage("data", facts := []):
        # A CPU as two devices computes faster and compiles longer.
        count = experiment.device_count(values, 1 if devices is None and cpu_devices.is_halved() else devices)
        preflight.check_share(values, count)
        preflight.check_rows(values, count)
        dataset = preflight.load_data(_streamed(values).data)
        experiment.check(values, dataset, count)
        amount = _amount(values)
        batch = _batch(values, amount, count, len(dataset.train))
        pictures = sum(map(len, dataset.splits.values()))
        budget = preflight.memory_budget(values.data)
        streams = should_stream(values.data.loading, pictures, values.data.stored_shape, budget)
        cut = _cut(dataset, batch, amount, streams=streams)
        sizes = [(name, len(split), len(cut.splits[name])) for name, split in dataset.splits.items()]
        facts += [f"{taken} of {there:,} {name}" for name, there, taken in sizes if there]
    small = _small(values, batch, amount, len(dataset.train))

    def opened(name: str) -> Run:
        workdir = folder / name
        workdir.mkdir(exist_ok=True)
        experiment.prepare(small, workdir, cut)
        callbacks = Callbacks(functools.partial(ProgressBar, quiet=True))
        return Run(small, workdir, cut, interruption, devices=count, callbacks=callbacks)

    resumed = folder / "resumed"

    def copy_once_saved(asked: loop.StepsRequest) -> loop.StepsRequest:
        if asked.first >= amount.stop and not resumed.exists():
            shutil.copytree(run.workdir, resumed)
        return asked

    with stage("train", facts := []):
        run = opened("run")
        trained = loop.train(run, copy_once_saved)
        if trained.loop.bad_step is not None:
            raise FloatingPointError(f"step {trained.loop.bad_step}: {_cause(run, trained.state)}")
        steps = int(trained.state.step)
        facts += [f"{count_parameters(values.rows):,} parameters", f"{steps} steps of {batch}", _losses(run.workdir)]
    with stage("resume", facts := []):
        if not resumed.exists():  # there are pictures for so few steps only
            shutil.copytree(run.workdir, resumed)
        stop = min(amount.stop, steps)
        again = loop.train(opened(resumed.name))
        if fingerprint(again.state) != fingerprint(trained.state):
            raise ConfigError([_unlike(stop, "the state")])
        if _metrics(resumed) != _metrics(run.workdir):
            raise ConfigError([_unlike(stop, run_dir.METRICS)])
        facts += [f"saved after step {stop}", "the same bits from there"]
        shutil.rmtree(resumed)
    with stage("evaluate", facts := []):
        result = experiment.finish(run, trained)
        if result["status"] == "diverged":
            raise FloatingPointError("a logit of the evaluation is not finite. Lower config.optimizer.learning_rate")
        facts += [f"{name} loss {result[name]['loss']:.4g}" for name in ("valid", "test") if name in result]
        step, classifier = checkpointer.restore_classifier(small, run.workdir, values.eval.weights)
    with stage("report", facts := []):
        followed = len(values.rows) <= MOST_LAYERS and amount.journeys
        if followed:
            journey.capture_for_report(
                small, run.workdir, classifier, cut, step=step, validates=run.validates, count=FOLLOWED
            )
        written = run_page.write(run.workdir)
        facts += [f"{written.name} of {written.stat().st_size:,} bytes"]
        facts += [] if followed else ["no journeys of so large a network"]
    made = export.Trained(small, classifier, cut.class_names, step, values.eval.weights, compared=amount.compared)
    for name in EXPORTS:
        with stage(name.partition("_")[0], facts := []):
            facts.append(_exported(made, f"cnn.export.{name}"))


def _cause(run: Any, state: Any) -> str:
    from cnn.train import blame

    if int(state.bad_step) >= 0:
        return blame.find(run, state)["said"]
    return "a logit of the validation is not finite. Lower config.optimizer.learning_rate"


def _exported(trained: Any, module: str) -> str:
    """Returns what came of an export; training needs none, so that what a format cannot hold is only said."""
    try:
        artefact = importlib.import_module(module).write(trained)
    except ImportError as error:
        return f"left out: needs the package {error.name}"
    except ConfigError as error:
        return f"left out: {error.problems[0].removeprefix('--format: ')}"
    return f"{len(artefact.content):,} bytes, probabilities within {artefact.about['difference']:.1g}"


def _amount(values: Config) -> Amount:
    numbers = sum(math.prod(row.output) for row in values.rows)
    return LARGE if numbers > NUMBERS else USUAL


def _batch(values: Config, amount: Amount, devices: int, examples: int) -> int:
    whole = devices * values.train.accumulate_steps
    return min(values.train.batch_size, whole * max(1, amount.batch // whole), examples)


def _small(values: Config, batch: int, amount: Amount, examples: int) -> Config:
    """Returns the config of a run that ends after its first epoch; what follows from its length is as in the real run.

    Args:
      values: the real run's.
      batch: pictures of a step.
      amount: of everything else.
      examples: training pictures of the real run.
    """
    train = values.train
    steps = max(amount.steps + 1, train.total_steps(examples // train.batch_size))
    changes: dict[str, dict[str, Any]] = {
        "train": {"batch_size": batch, "epochs": None, "steps": steps, "log_every_steps": 1, "dispatch": "step"},
        "eval": {"batch_size": min(values.eval.batch_size, amount.batch), "every_epochs": 1},
        "checkpoint": {"every": f"steps({amount.stop})"},
        "report": {"page": "never"},
    }
    text = json.loads(values.json)
    for section, fields in changes.items():
        text[section] |= fields
    return dataclasses.replace(
        values,
        train=dataclasses.replace(train, **changes["train"], stop=_FirstEpoch(train.stop)),
        eval=dataclasses.replace(values.eval, **changes["eval"]),
        checkpoint=dataclasses.replace(values.checkpoint, every=Steps(amount.stop)),
        report=dataclasses.replace(values.report, **changes["report"]),
        json=json.dumps(text, indent=2, sort_keys=True) + "\n",
    )


@dataclasses.dataclass(frozen=True)
class _FirstEpoch:
    """Ends training after an epoch, once the config's own rule was asked."""

    own: Any

    @property
    def needs_valid(self) -> bool:
        return bool(self.own.needs_valid)

    def reason(self, *measured: Any) -> str:
        return reason_to_stop(self.own, *measured) or "the smoke test ends here"


def _streamed(values: Config) -> Config:
    """Returns the config whose pictures are decoded when they are asked for: a few of them."""
    return dataclasses.replace(values, data=dataclasses.replace(values.data, loading="stream"))


def _cut(dataset: Dataset, batch: int, amount: Amount, *, streams: bool) -> Dataset:
    """Returns a few pictures of each split, as many of each class as there may be; in memory unless they stream."""

    def some(split: Split, most: int) -> Split:
        taken = split.few(most)
        if streams or not isinstance(taken.images, Stored):
            return taken
        return Split(taken.images[:], taken.labels, taken.images.unusable(slice(None)))

    steps = min(amount.steps, len(dataset.train) // batch)
    stored = dataset.stored_train
    return dataclasses.replace(
        dataset,
        train=some(dataset.train, steps * batch),
        valid=some(dataset.valid, amount.evaluated),
        test=some(dataset.test, amount.evaluated),
        stored_train=None if stored is None else some(stored, steps * batch),
    )


def _losses(workdir: Path) -> str:
    lines = map(json.loads, _metrics(workdir).splitlines())
    losses = [record["loss"] for record in lines if record["kind"] == "train"]
    return f"loss {losses[0]:.4g} to {losses[-1]:.4g}"


def _metrics(workdir: Path) -> bytes:
    return (workdir / run_dir.METRICS).read_bytes()


def _unlike(step: int, what: str) -> str:
    return (
        f"--smoke: {what} of a run that continues from step {step} must be that of one that was never left, got other "
        "bits. Look for what a step takes from elsewhere than its state, such as random numbers of one's own"
    )
