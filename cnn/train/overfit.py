"""Whether a network can learn a few examples by heart, which any that works can in seconds; if not, why.

One batch is trained on, again and again, with everything off that is there to hold a network back. What does not fit
one batch fits no data; and what goes wrong shows here in a few hundred steps of a few pictures.
"""

import dataclasses
import functools
import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Int

from cnn import hyperparams
from cnn.config.config import Config, ConfigError, array_paths
from cnn.config.sections import Never
from cnn.config.watches import Layers
from cnn.data import types
from cnn.data.loader import Examples
from cnn.expression import written
from cnn.hyperparams import Hyperparams, make_pytree
from cnn.layers.activation import Softmax
from cnn.layers.combine import Dropout, DropPath
from cnn.layers.initialisers import Whiten
from cnn.layers.normalisation import BatchNorm, Scale
from cnn.model import network
from cnn.model.classifier import by_path, standardise
from cnn.optim import freeze
from cnn.optim.schedules import Constant
from cnn.system.compile_times import ONCE
from cnn.system.text import counted
from cnn.train import load_init_from, multi_step, preflight, watching
from cnn.train.state import StepConfig, TrainState, create_state, make_step_config, whitened

STEPS = 300
"""The most that one learning rate is given."""
CALL = 25
"""Steps between two looks at the loss."""
NEAR = 0.05
"""A batch fits once the loss has come so near to the least that it can be, as a part of where guessing starts."""
LOWER, HIGHER = (0.1, 0.01, 1e-3, 1e-4), (10.0, 100.0, 1e3)
"""What the learning rate is multiplied by where the config's own does not fit."""
LEARNED, OTHERS = 256, 512
"""Examples of which is asked whether what is learned helps with others, and at most so many others."""
LEAST, NUMBERS = 64, 1 << 25
"""Of large pictures there are fewer others: so many at least, and in all so many intensities."""
EACH = 8
"""Of each class so many are learned at least, or that is not asked."""
LARGE, SMALL = 4.0, 0.02
"""What a network is given should lie around zero with a deviation of about one: at most, and at least, so much."""
VANISHED, RECOVERED = 1e-4, 1e-2
"""The gradient of a layer beside the largest of all: below the first at the first step, it learns nothing, unless it is
above the second some steps later."""
EXPLODED = 20.0
"""How many times the loss of guessing a network may begin with."""
DEAD = 0.95
"""The share of units from where on a layer is called dead."""
RATE_IS_NO_REMEDY = {"labels", "one class", "loss"}
"""Where these are found, no other learning rates are tried."""
DEVIATIONS = 3.0
"""How far above chance an accuracy must lie to be none."""


class Finding(NamedTuple):
    """Something that is wrong, or may be."""

    kind: str
    """One of `inputs`, `one class`, `labels`, `loss`, `logits`, `frozen`, `batch norm`, `dead`, `exploding`,
    `vanishing`, `gradient`, `update` and `rate`."""
    said: str
    """What it is, in a line, with the remedy."""


class Attempt(NamedTuple):
    """What came of training on the batch with one learning rate."""

    rate: float
    examples: int
    fits: bool
    steps: int
    loss: float
    """The last that is finite, in nats."""
    right: int
    """Examples of the batch that are taken for what they are, then."""
    finite: bool
    state: TrainState


class Overfit(NamedTuple):
    """What came of `overfit`."""

    fits: bool
    """Whether the batch fits with the config's own learning rate."""
    examples: int
    steps: int
    loss: float
    right: int
    """Of these examples, at the end."""
    least: float
    """The least that the loss can be, which is above 0 where labels are smoothed."""
    rate: float
    off: tuple[str, ...]
    """What of the config was off."""
    findings: tuple[Finding, ...]
    """What is wrong, the cause before what follows from it."""


def told(found: Overfit) -> list[str]:
    """Returns what came of it in lines."""
    off = f"off for this: {', '.join(found.off)}" if found.off else "nothing of the config is off for this"
    least = f" of at least {found.least:.3g}" if found.least > 1e-3 else ""
    result = f"{'fits' if found.fits else 'does not fit'} in {found.steps} steps"
    lines = [
        f"{counted(found.examples, 'training example')}, learning rate {found.rate:.3g}; {off}",
        f"{result}: loss {found.loss:.3g}{least}, {found.right} of {found.examples} right",
        *(f"{finding.kind}: {finding.said}" for finding in found.findings),
    ]
    if not found.fits and not found.findings:
        tried = f"from {found.rate * min(LOWER):.1g} to {found.rate * max(HIGHER):.1g}"
        lines.append(f"no cause found, and no learning rate {tried} fits: try fewer examples, or a wider network")
    return lines


class _LayerStats(NamedTuple):
    """What the layers do in one step, all on the host."""

    loss: float
    numbers: dict[str, float]
    """See `cnn.config.watches.Layers`."""
    sizes: dict[str, float]
    """The root of the mean square of what each layer makes, in order."""


def overfit(values: Config, examples: int) -> Overfit:
    """Trains on so many examples until they fit, and says why where they do not.

    Args:
      values: the whole config.
      examples: of the training split, as many of each class as there may be; at most all of them.

    Raises:
      ConfigError: there are not as many examples, or none is asked for.
      DataError: the data are missing or unlike the config.
    """
    if not isinstance(examples, (int, np.integer)) or examples < 1:
        raise ConfigError([f"--overfit: must be a number of examples, at least 1, got {examples!r}. Use 32"])
    section = dataclasses.replace(values.data, loading="stream")
    dataset = preflight.load_data(section)
    preflight.check_code(values, dataset, 1)
    if examples > len(dataset.train):
        there = counted(len(dataset.train), "training example")
        raise ConfigError([f"--overfit: train holds {there}, got {examples:,}. Use fewer"])
    batch = _pictures(dataset.train.few(examples))
    run = _OverfitRun(values, dataset, batch)
    findings = [*_of_data(values, run.inputs, batch, dataset), *_of_loss(values, run), *_of_network(values)]

    def known() -> set[str]:
        return {finding.kind for finding in findings}

    first, early = (run.layer_stats(state) for state in run.begun())
    attempt = run.attempt(1.0)
    findings += _of_layers(values, run, attempt, first, early, known())
    if not attempt.fits and not known() & RATE_IS_NO_REMEDY:
        findings += _of_rate(run, attempt, known())
    if attempt.fits and not findings:
        findings += _of_labels(values, run, dataset)
    if attempt.finite:
        findings += _of_updates(values, run, attempt, known())
    return Overfit(
        attempt.fits,
        len(batch.labels),
        attempt.steps,
        attempt.loss,
        attempt.right,
        run.floor,
        attempt.rate,
        run.off,
        tuple(findings),
    )


class _OverfitRun:
    """A config, stripped of what holds a network back, and one batch of its data."""

    def __init__(self, values: Config, dataset: types.Dataset, batch: types.Split) -> None:
        self.values = values
        self.hyper, self.off = _bare(values, dataset.train.counts(values.data.classes))
        self.step_config = make_step_config(values, STEPS, STEPS)._replace(
            accumulate_steps=1, skips=False, image_size=None, remat="none"
        )
        self.given = whitened(self.hyper, values.rows, dataset.train)
        self.learned = _pictures(dataset.train.few(LEARNED))
        # In one split, as the same program makes the steps on either.
        both = [np.concatenate(pair) for pair in zip(_arrays(batch), _arrays(self.learned), strict=True)]
        self.split, self.count = Examples(*map(jnp.asarray, both)), len(batch)
        """The batch, and after it what is learned otherwise."""
        self.inputs = np.asarray(_inputs(self.hyper, jnp.asarray(batch.images)))
        self.guess, self.floor = _bounds(self.hyper, np.asarray(batch.labels), values.data.classes)

    @property
    def near(self) -> float:
        """The loss below which the batch fits."""
        return self.floor + NEAR * max(0.0, self.guess - self.floor)

    def start(self, factor: float) -> TrainState:
        """Returns the state before the first step, with so many times the config's learning rate."""
        optimizer = self.hyper.optimizer
        rate = jnp.asarray(optimizer.learning_rate * factor, jnp.float32)
        hyper = self.hyper._replace(optimizer=dataclasses.replace(optimizer, learning_rate=rate))
        values = self.values
        state = create_state(hyper, values.data.image_shape, values.seed, values.frozen, self.given)
        return load_init_from.begin(values, state)[0] if values.init_from else state

    def begun(self) -> Iterator[TrainState]:
        """Yields the state before the first step, and that after so many as one call makes."""
        yield self.start(1.0)
        state, _ = multi_step.run_loop(
            self.start(1.0), self.split, self.rows(), np.int32(CALL), step_config=self.step_config
        )
        yield state

    def rows(self) -> Int[np.ndarray, "steps batch"]:
        """Returns those of the batch, for each step of a call."""
        return np.tile(np.arange(self.count, dtype=np.int32), (CALL, 1))

    def attempt(self, factor: float) -> Attempt:
        """Trains on the batch until it fits, the loss is not finite, or `STEPS` are made."""
        rows = self.rows()
        state, loss, right, steps = self.start(factor), math.inf, 0, 0
        rate = float(state.hyper.optimizer.learning_rate)
        fits, finite = False, True
        while steps < STEPS and finite and not fits:
            state, metrics = multi_step.run_loop(state, self.split, rows, np.int32(CALL), step_config=self.step_config)
            for mean, correct in _by_step(jax.device_get(metrics)):
                finite = math.isfinite(mean)
                if not finite:
                    break
                loss, right, steps = mean, int(correct), steps + 1
                fits = loss <= self.near and right == self.count
                if fits:
                    break
            finite = finite and (fits or int(state.bad_step) < 0)
        return Attempt(
            rate=rate,
            examples=self.count,
            fits=fits,
            steps=steps,
            loss=loss,
            right=right,
            finite=finite,
            state=state,
        )

    def layer_stats(self, state: TrainState) -> _LayerStats:
        """Returns what the layers do in the step that follows; the state is not consumed."""
        rows = np.arange(self.count, dtype=np.int32)
        names = watching.activations(self.values.rows)
        loss, numbers, sizes = jax.device_get(
            _looked(state, self.split, rows, step_config=self.step_config, activations=names)
        )
        order = [row.path for row in self.values.rows if row.path in sizes]
        plain = {name: float(number) for name, number in numbers.items()}
        mean = float(loss) / len(rows)
        return _LayerStats(mean, plain, {path: float(sizes[path]) for path in order})


def _by_step(metrics: dict[str, np.ndarray]) -> Iterator[tuple[float, float]]:
    weight = metrics.get("weight", metrics["count"])
    return zip((metrics["loss"] / np.maximum(weight, 1e-30)).tolist(), metrics["correct"].tolist(), strict=True)


@functools.partial(jax.jit, static_argnames=("step_config", "activations"), compiler_options=ONCE)
def _looked(
    state: TrainState,
    split: Examples,
    rows: Int[Array, " batch"],
    *,
    step_config: StepConfig,
    activations: tuple[str, ...],
) -> tuple[Array, dict[str, Array], dict[str, Array]]:
    loss, seen = watching.seen(state, split, rows, step_config, activations)
    sizes = {path: jnp.sqrt(jnp.square(output.astype(jnp.float32)).mean()) for path, output in seen.outputs.items()}
    return loss, Layers().measure(seen), sizes


@functools.partial(jax.jit, compiler_options=ONCE)
def _inputs(hyper: Hyperparams, images: Array) -> network.Images:
    return standardise(images.astype(jnp.float32) / 255, hyper.mean, hyper.std)


def _arrays(split: types.Split) -> tuple[np.ndarray, np.ndarray]:
    return np.asarray(split.images), split.labels


def _pictures(split: types.Split) -> types.Split:
    """Returns a split's pictures in memory, without those that cannot be used."""
    images = np.asarray(split.images[:])
    usable = split.marked() != types.UNUSABLE
    return types.Split(images[usable], split.labels[usable])


def _bare(values: Config, counts: np.ndarray) -> tuple[Hyperparams, tuple[str, ...]]:
    """Returns the hyperparameters with everything off that holds a network back, and what that was."""
    hyper, off = hyperparams.from_values(values, counts), []
    if values.data.augment:
        off.append(f"data.augment ({written(values.data.augment[0])}{', ...' * (len(values.data.augment) > 1)})")
        hyper = hyper._replace(augment=())
    drops = (Dropout, DropPath)
    if any(isinstance(row.layer, drops) for row in values.rows):
        off.append("dropout")
        layers = jax.tree.map(_undropped, hyper.layers, is_leaf=lambda node: isinstance(node, drops))
        hyper = hyper._replace(layers=layers)
    if getattr(values.optimizer, "weight_decay", 0):
        off.append(f"optimizer.weight_decay ({values.optimizer.weight_decay:g})")
        hyper = hyper._replace(optimizer=dataclasses.replace(hyper.optimizer, weight_decay=jnp.zeros(())))
    if type(values.schedule) is not Constant or values.schedule.warmup_steps or values.schedule.cooldown_steps:
        off.append(f"schedule ({values.schedule.kind})")
        make_pytree(Constant)
        hyper = hyper._replace(schedule=Constant())
    if values.train.stop.needs_valid or not isinstance(values.train.stop, Never):
        off.append("train.stop")
    return hyper, tuple(off)


def _undropped(layer: Any) -> Any:
    drops: Any = layer if isinstance(layer, (Dropout, DropPath)) else None
    return layer if drops is None else dataclasses.replace(drops, rate=jnp.zeros(()))


def _bounds(hyper: Hyperparams, labels: np.ndarray, classes: int) -> tuple[float, float]:
    """Returns the mean loss of logits that are all alike, and the least of logits that are right."""
    right = jax.nn.one_hot(labels, classes)
    margins = jnp.asarray([0.0, *np.geomspace(1e-3, 100, 60)])
    smooth = optax.smooth_labels(right, hyper.label_smoothing)
    losses = np.asarray(jax.jit(jax.vmap(lambda margin: hyper.loss(margin * right, smooth).mean()))(margins))
    finite = losses[np.isfinite(losses)]
    return float(losses[0]), float(finite.min()) if len(finite) else math.nan


def _of_data(values: Config, inputs: np.ndarray, batch: types.Split, dataset: types.Dataset) -> Iterator[Finding]:
    """Says what is wrong with what goes in."""
    mean, deviation = float(inputs.mean()), float(inputs.std())
    told = f"they lie in {inputs.min():.3g} to {inputs.max():.3g}, mean {mean:.3g}, deviation {deviation:.3g}"
    intensities = np.asarray(batch.images, np.float64) / 255
    remedy = (
        f"set config.data.mean={intensities.mean():.3g} and config.data.std={max(intensities.std(), 1e-3):.3g}, "
        "those of intensities from 0 to 1"
    )
    if abs(mean) > LARGE or deviation > LARGE:
        yield Finding(
            "inputs", f"the inputs are not scaled: {told}, where weights are initialised for about 0 and 1; {remedy}"
        )
    elif deviation < SMALL:
        yield Finding(
            "inputs", f"the inputs hardly differ: {told}, where weights are initialised for about 0 and 1; {remedy}"
        )
    found = np.unique(dataset.train.labels)
    if len(found) == 1 and values.data.classes > 1:
        name = dataset.class_names[int(found[0])]
        yield Finding(
            "one class",
            f"all {len(dataset.train):,} training examples are of one class, {name}: there is nothing to tell apart; "
            "look at how labels are read (python main.py data)",
        )
    if clash := _contradiction(batch):
        first, second = (dataset.class_names[int(batch.labels[row])] for row in clash)
        yield Finding(
            "labels", f"the same picture is labelled {first} and {second}: nothing can learn both; mend the labels"
        )


def _contradiction(batch: types.Split) -> tuple[int, int] | None:
    """Returns two rows with the same picture and other labels."""
    seen: dict[bytes, int] = {}
    for row, image in enumerate(batch.images):
        other = seen.setdefault(image.tobytes(), row)
        if batch.labels[other] != batch.labels[row]:
            return other, row
    return None


def _of_loss(values: Config, run: _OverfitRun) -> Iterator[Finding]:
    """Says what is wrong with what is minimised: being right must be better than guessing, and by how much."""
    gain = run.guess - run.floor
    if gain > 0.1 * abs(run.guess):
        return
    smoothing = values.train.label_smoothing
    why = (
        f"config.train.label_smoothing={smoothing:g} leaves next to nothing of the labels; use 0.1 or less"
        if smoothing > 0.5
        else f"config.train.loss={written(values.train.loss)} does not fall as the right logit rises"
    )
    yield Finding(
        "loss",
        f"being right hardly pays: guessing costs {run.guess:.4g} and the best logits {run.floor:.4g}; {why}",
    )


def _of_network(values: Config) -> Iterator[Finding]:
    """Says what is wrong with the layers and with what of them is trained."""
    rows = [row for row in values.rows if not row.depth and not isinstance(row.layer, Softmax)]
    if rows[-1].path in watching.activations(values.rows):
        yield Finding(
            "logits",
            f"the logits come out of {rows[-1].path}, which cannot give every number: no class can be ruled out, and "
            f"where it is flat nothing is learned; take {written(rows[-1].layer)} off the end of config.model.layers",
        )
    frozen, freeze_flag = set(values.frozen), f"config.train.freeze={values.train.freeze!r}"
    for row in values.rows:
        arrays = array_paths([row], "params")
        if values.init_from or not arrays or not frozen.issuperset(arrays):
            continue
        if isinstance(row.layer, BatchNorm):
            yield Finding(
                "batch norm",
                f"{row.path} is frozen with the statistics it begins with, mean 0 and variance 1, so it normalises "
                f"nothing: {freeze_flag} matches it and config.init_from names no run; leave it out of freeze",
            )
        elif not _is_whitened(row):
            yield Finding(
                "frozen",
                f"{row.path} stays at its random start: {freeze_flag} matches it and config.init_from is empty",
            )


def _is_whitened(row: Any) -> bool:
    return isinstance(getattr(row.layer, "init", None), Whiten) or isinstance(row.layer, Scale)


def _of_layers(
    values: Config, run: _OverfitRun, attempt: Attempt, first: _LayerStats, early: _LayerStats, known: set[str]
) -> Iterator[Finding]:
    """Says what is wrong with what the layers do at the first step and, but for the loss, some steps later, too.

    What begins with zeros on purpose, such as the last scale of a residual, hands nothing back at the first step alone.
    """
    order, alive = list(first.sizes), watching.activations(values.rows)
    # Of one picture alone every number of a vector is the same for all.
    several = attempt.examples > 1
    dead = [path for path in alive if several and min(_of(first, "dead")[path], _of(early, "dead")[path]) >= DEAD]
    if dead and not ("logits" in known and dead == [alive[-1]]):
        before = order[order.index(dead[0]) - 1] if order.index(dead[0]) else "the input"
        share = 100 * _of(first, "dead")[dead[0]]
        yield Finding(
            "dead",
            f"{dead[0]} is dead: {share:.0f} % of its units give one number for all {attempt.examples} pictures, so "
            f"what comes before it is not trained; look at the weights and biases of {before}",
        )
        return
    if not known & {"inputs", "loss"} and not first.loss <= EXPLODED * max(run.guess, 1e-3):
        yield Finding(
            "exploding",
            f"the network begins with a loss of {first.loss:.3g}, where guessing costs {run.guess:.3g}: what the "
            f"layers make grows to {max(first.sizes.values()):.3g}, most in {_steepest(first.sizes)}; initialise "
            "it smaller (config.model.init)",
        )
        return
    grads, later = _of(first, "gradient"), _of(early, "gradient")
    if attempt.fits or not grads or known & {"one class", "inputs", "logits", "loss"}:
        return
    if not any(grads.values()) and not any(later.values()):
        yield Finding("gradient", "no gradient reaches any layer: the loss does not depend on what is trained")
        return
    high = max(grads, key=lambda path: grads[path])
    gone = [
        path
        for path in grads
        if grads[path] <= VANISHED * max(grads.values()) and later[path] <= RECOVERED * max(later.values())
    ]
    if gone:
        low = min(gone, key=lambda path: grads[path])
        through = sorted({row.layer.kind for row in values.rows if row.path in alive} - {"relu"})
        yield Finding(
            "vanishing",
            f"the gradient vanishes on its way back: {grads[high]:.2g} in {high} and {grads[low]:.2g} in {low}"
            f"{' through ' + ', '.join(through) if through else ''}; use relu, normalisation or residuals",
        )


def _of(stats: _LayerStats, quantity: str) -> dict[str, float]:
    return {name.partition("/")[2]: number for name, number in stats.numbers.items() if name.startswith(f"{quantity}/")}


def _steepest(sizes: dict[str, float]) -> str:
    """Returns the layer that makes its input largest."""
    paths, before = list(sizes), [1.0, *list(sizes.values())[:-1]]
    return max(zip(paths, before, strict=True), key=lambda pair: sizes[pair[0]] / max(pair[1], 1e-30))[0]


def _of_rate(run: _OverfitRun, attempt: Attempt, known: set[str]) -> Iterator[Finding]:
    """Tries other learning rates, and says which one fits."""
    worse = not attempt.finite or attempt.loss > 0.9 * run.guess
    factors = (*LOWER, *HIGHER) if not attempt.finite else (*HIGHER[:1], *LOWER[:2], *HIGHER[1:], *LOWER[2:])
    for factor in factors if worse or not known else factors[:3]:
        other = run.attempt(factor)
        if not other.fits:
            continue
        was = f"does not fit in {attempt.steps} steps" if attempt.finite else f"diverges after {attempt.steps} steps"
        what = "high" if factor < 1 else "low"
        yield Finding(
            "rate",
            f"the learning rate is too {what}: {attempt.rate:.3g} {was}, {other.rate:.3g} fits in {other.steps}; "
            f"set config.optimizer.learning_rate={other.rate:.3g}",
        )
        return


def _of_labels(values: Config, run: _OverfitRun, dataset: types.Dataset) -> Iterator[Finding]:
    """Learns some hundred examples, and says whether that helps with others: of shuffled labels it does not."""
    learned, others = run.learned, _others(dataset)
    if others is None or len(learned.labels) < EACH * values.data.classes:
        return
    accuracy, of_learned = _carried_over(run, others)
    chance = float(np.bincount(others.labels, minlength=values.data.classes).max()) / len(others.labels)
    margin = DEVIATIONS * math.sqrt(chance * (1 - chance) / len(others.labels))
    if of_learned > chance + margin and accuracy <= chance + margin:
        yield Finding(
            "labels",
            f"what is learned does not carry over: {len(learned.labels)} training examples are learned "
            f"({100 * of_learned:.0f} % right), and {100 * accuracy:.0f} % of {len(others.labels)} others are right, "
            f"where guessing gets {100 * chance:.0f} %; labels of other pictures do this: look at them with "
            "python main.py data --sheet=FILE",
        )


def _others(dataset: types.Dataset) -> types.Split | None:
    """Returns examples that are not learned: of valid, else of test."""
    for split in (dataset.valid, dataset.test):
        if len(split):
            return _pictures(split.few(min(OTHERS, max(LEAST, NUMBERS // math.prod(split.images.shape[1:])))))
    return None


def _carried_over(run: _OverfitRun, others: types.Split) -> tuple[float, float]:
    """Returns the accuracy on other examples, and on those that were learned, after some passes over these."""
    learned, state, rng = run.learned, run.start(1.0), np.random.default_rng(0)
    for _ in range(STEPS // CALL):
        rows = run.count + rng.integers(0, len(learned), (CALL, run.count)).astype(np.int32)
        state, _ = multi_step.run_loop(state, run.split, rows, np.int32(CALL), step_config=run.step_config)
    seen = [
        float(np.mean(np.asarray(_guessed(state, jnp.asarray(each.images), run.step_config)) == each.labels))
        for each in (others, learned)
    ]
    return seen[0], seen[1]


@functools.partial(jax.jit, static_argnames="step_config", compiler_options=ONCE)
def _guessed(state: TrainState, images: Array, step_config: StepConfig) -> Int[Array, " images"]:
    """Returns the classes as in training: running statistics need longer than this to settle."""
    logits, _ = network.capture_train(
        state.hyper.layers,
        {"params": state.params, "batch_stats": state.batch_stats},
        standardise(images.astype(jnp.float32) / 255, state.hyper.mean, state.hyper.std),
        jax.random.key(0),
        dtype=jnp.dtype(step_config.compute_dtype),
        rows=jnp.arange(len(images)),
        frozen_batch_norm=freeze.layers(state.params, step_config.frozen),
    )
    return logits.argmax(-1)


def _of_updates(values: Config, run: _OverfitRun, attempt: Attempt, known: set[str]) -> Iterator[Finding]:
    """Says what never moved."""
    if known & {"frozen", "dead", "one class", "logits"}:
        return
    start = run.start(1.0)
    moved = {
        path: float(np.abs(np.asarray(now) - np.asarray(before)).max(initial=0))
        for now_tree, before_tree in (
            (attempt.state.params, start.params),
            (attempt.state.batch_stats, start.batch_stats),
        )
        for (path, now), before in zip(by_path(now_tree).items(), by_path(before_tree).values(), strict=True)
    }
    frozen = set(values.frozen)
    for row in values.rows:
        trained = [path for path in array_paths([row], "params") if path not in frozen]
        if trained and not any(moved[path] for path in trained):
            yield Finding(
                "update",
                f"{row.path} never moves, though it is trained: look at config.train.groups and config.train.clip",
            )
            return
        measured = array_paths([row], "batch_stats")
        if (
            isinstance(row.layer, BatchNorm)
            and trained
            and attempt.steps >= 10
            and not any(moved[p] > 1e-6 for p in measured)
        ):
            yield Finding("batch norm", f"the running statistics of {row.path} never move: lower its momentum")
            return
