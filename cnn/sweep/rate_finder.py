"""Finds a learning rate: trains fresh networks for a few hundred steps at each of many rates, with a few seeds.

A learning rate and a seed are traced values, so all these trainings are one compiled program: one after another on a
CPU and where the data stream, many at once on an accelerator, as the trials of a sweep.

The schedule is the config's own, its whole shape within the short training: what a config calls its learning rate is
the schedule's peak. At a constant rate the noise of the last steps, which a schedule that ends low takes away, would
count against the higher rates.
"""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from cnn import evaluate, fields, metrics
from cnn.config.config import Config, ConfigError
from cnn.data import types
from cnn.data.loader import Loader
from cnn.optim.schedules import Factor, factor_of
from cnn.sweep import programs, vmapped
from cnn.sweep.options import choose_engine
from cnn.sweep.rate_curve import RateCurve, around, beyond
from cnn.train import load_init_from, multi_step, preflight
from cnn.train.run import batches
from cnn.train.state import TrainState, create_train_state, make_step_config

STEPS, SEEDS = 300, 3
"""Of each training, and how many there are at each rate."""
MOST_VALID = 2_000
"""So many validation pictures measure a training, evenly taken."""
LAST = 0.1
"""The share of the steps whose mean training loss measures a training without a validation split."""
HARMLESS = 1.1
"""Up to so many times the loss before training, a loss says that its rate changed next to nothing."""
MOST_WIDER = 2
"""So often rates are added where the best one is at an end, and nobody said which to try."""


class WithinSteps:
    """A schedule's whole shape within fewer steps than it was made for."""

    def __init__(self, schedule: Any, whole: int, steps_per_epoch: int, steps: int) -> None:
        self.schedule, self.lengths = schedule, (whole, steps_per_epoch, steps)

    def make_factor(self, *, total_steps: int, steps_per_epoch: int) -> Factor:
        """Returns the multiple of the learning rate; the lengths are those that it was made with."""
        del total_steps, steps_per_epoch
        whole, per_epoch, steps = self.lengths
        factor = factor_of(self.schedule, whole, per_epoch)
        if whole == steps:
            return factor
        # Whole steps: a schedule of the user's may look a rate up in a table.
        return lambda count: factor((jnp.asarray(count) * np.float32(whole / steps)).astype(jnp.int32))


jax.tree_util.register_pytree_node(
    WithinSteps,
    lambda node: ((node.schedule,), node.lengths),
    lambda lengths, children: WithinSteps(*children, *lengths),
)


def find(
    values: Config,
    rates: Sequence[float] | None = None,
    *,
    steps: int = STEPS,
    seeds: int = SEEDS,
    engine: str = "auto",
    progress: Callable[[int, int], None] = lambda done, of: None,
) -> RateCurve:
    """Trains at each rate with each seed, and returns the losses at the end.

    Args:
      values: the config; what it says of evaluation, checkpoints and stopping early is left out.
      rates: ascending; `None` for two factors of ten on either side of the config's, and more where the best of these
        is at an end.
      steps: updates of each training; at most those of a whole run.
      seeds: how many, from the config's own on.
      engine: auto, map or vmap, as of a sweep.
      progress: called with the trainings that ended, and those to be made.

    Raises:
      ConfigError: the optimizer's learning rate is compiled in, or the config does not suit its data or this machine.
      DataError: the data are missing or unlike the config.
    """
    _check_traced(values)
    trainings = _Trainings(values, steps, seeds, engine)
    tried, wider = tuple(rates or around(values.optimizer.learning_rate)), 0
    losses = trainings.losses(tried, progress)
    while True:
        curve = trainings.curve(tried, losses, widened=wider > 0)
        above = _wanting(curve)
        if rates is not None or above is None or wider == MOST_WIDER:
            return curve
        wider += 1
        more = beyond(tried, above=above)
        found = trainings.losses(more, progress)
        tried, losses = ((*tried, *more), [*losses, *found]) if above else ((*more, *tried), [*found, *losses])


def _wanting(curve: RateCurve) -> bool | None:
    """Tells whether higher rates are wanting, or lower ones; `None` where neither are."""
    if curve.best is None:
        # Where none learns, the highest either changes next to nothing yet, or does harm as all others do.
        return bool(curve.medians[-1] < HARMLESS * curve.untrained)
    return {0: False, len(curve.rates) - 1: True}.get(curve.best)


def _check_traced(values: Config) -> None:
    annotation = fields.options(type(values.optimizer)).get("learning_rate")
    if annotation is None or not fields.is_real(annotation) or values.optimizer.learning_rate is None:
        name = getattr(values.optimizer, "kind", type(values.optimizer).__name__)
        raise ConfigError(
            [
                f"config.optimizer.name: a learning rate is found for an optimizer whose learning_rate is a traced "
                f"number, got {name}, whose learning rate is compiled in. Annotate it as cnn.Positive"
            ]
        )


class _Trainings:
    """What all trainings share: the data, the program, and what measures them."""

    def __init__(self, values: Config, steps: int, seeds: int, engine: str) -> None:
        preflight.check_rows(values, 1)
        self.dataset = programs.Datasets().of(values)
        preflight.check_lengths(values, self.dataset)
        preflight.check_code(values, self.dataset, 1)
        preflight.check_memory(values, self.dataset, 1)
        self.per_epoch = len(self.dataset.training) // values.train.batch_size
        self.whole = values.train.total_steps(self.per_epoch)
        self.steps = min(steps, self.whole)
        self.seeds = tuple((values.seed + number) % 2**32 for number in range(seeds))
        self.values = dataclasses.replace(
            values, train=dataclasses.replace(values.train, steps=self.steps, renew_statistics=False)
        )
        self.step_config = make_step_config(self.values, self.steps, self.per_epoch)
        self.dispatch = multi_step.dispatch_of(self.values)
        self.valid = self._validation()
        streams = self.dataset.streams
        self.vmapped = choose_engine(engine, jax.default_backend(), streams=streams, name="engine") == "vmap"
        self._untrained: dict[int, float] = {}

    @property
    def measured(self) -> str:
        """What the losses are."""
        return "training loss" if self.valid is None else "validation loss"

    def _validation(self) -> types.Split | None:
        """Returns what measures the trainings; `None` where there is none, or none that so few steps allow."""
        split = self.dataset.valid
        # Statistics that have not settled say more of how they began than of the rate.
        if not len(split) or preflight.unsettled(self.values, len(self.dataset.train)):
            return None
        count = min(len(split), MOST_VALID)
        return split if count == len(split) else split.take(np.arange(count) * len(split) // count)

    def curve(self, rates: tuple[float, ...], losses: list[list[float]], *, widened: bool) -> RateCurve:
        """Returns the losses, with what they are."""
        untrained = float(np.median(list(self._untrained.values())))
        return RateCurve(
            rates, self.seeds, np.asarray(losses), untrained, self.measured, self.steps, self.whole, widened
        )

    def losses(self, rates: Sequence[float], progress: Callable[[int, int], None]) -> list[list[float]]:
        """Trains at each rate with each seed; returns the losses at the end, NaN of those that diverged."""
        found: dict[tuple[float, int], float] = {}
        pairs = [(rate, seed) for seed in self.seeds for rate in rates]
        train = self._together if self.vmapped else self._one_by_one
        progress(0, len(pairs))
        for pair, loss in train(pairs):
            found[pair] = loss
            progress(len(found), len(pairs))
        return [[found[rate, seed] for seed in self.seeds] for rate in rates]

    def _one_by_one(self, pairs: Sequence[tuple[float, int]]) -> Any:
        for rate, seed in pairs:
            with contextlib.closing(self._loader(seed)) as loader:
                state = self._begin(rate, seed)
                calls, lengths = [], []
                for first, count in self._stretches():
                    for split, rows in loader.chunks(first, count, self.dispatch.most):
                        make_steps, arguments = self.dispatch.call(rows)
                        state, of_steps = make_steps(state, split, *arguments, step_config=self.step_config)
                        loader.started(of_steps["loss"])
                        calls.append(of_steps)
                        lengths.append(len(rows))
                    if int(state.bad_step) >= 0:
                        break
                yield (rate, seed), self._measured(state, multi_step.joined(calls, lengths), seed)

    def _together(self, pairs: Sequence[tuple[float, int]]) -> Any:
        devices = vmapped.mesh()
        size = vmapped.trials_together(vmapped.trial_bytes(self.values), len(pairs), jax.local_device_count())
        split = programs.images(self.dataset, self.values)
        for start in range(0, len(pairs), size):
            group = pairs[start : start + size]
            orders = {}
            for _, seed in group:
                if seed not in orders:
                    with contextlib.closing(self._loader(seed)) as loader:
                        orders[seed] = np.concatenate([loader.order.rows(*stretch) for stretch in self._stretches()])
            # Idle places compute the first training again, unread: equal sizes are one program.
            places = [*group, *[group[0]] * (size - len(group))]
            state = vmapped.stack([self._begin(*pair) for pair in places], devices)
            rows = np.stack([orders[seed] for _, seed in places], axis=1)
            state, of_steps = vmapped.run_scan(
                state, split, rows, step_config=self.step_config, devices=devices, shared=False
            )
            of_steps = jax.device_get(of_steps)
            for place, (rate, seed) in enumerate(group):
                own = {name: values[place] for name, values in of_steps.items()}
                yield (rate, seed), self._measured(vmapped.take(state, place, devices), own, seed)

    def _stretches(self) -> list[tuple[int, int]]:
        """Returns the first of the steps of each epoch, and how many they are."""
        starts = range(0, self.steps, self.per_epoch)
        return [(first, min(self.per_epoch, self.steps - first)) for first in starts]

    def _loader(self, seed: int) -> Loader:
        return batches(dataclasses.replace(self.values, seed=seed), self.dataset, -(-self.steps // self.per_epoch))

    def _begin(self, rate: float, seed: int) -> TrainState:
        """Returns the state before the first update."""
        optimizer = dataclasses.replace(self.values.optimizer, learning_rate=rate)
        values = dataclasses.replace(self.values, seed=seed, optimizer=optimizer)
        state = create_train_state(values, 1, self.dataset.train.counts(values.data.classes), self.dataset.train)
        if values.init_from:
            state, _, _ = load_init_from.begin(values, state)
        if self.valid is not None and seed not in self._untrained:
            self._untrained[seed] = self._validated(state)
        schedule = WithinSteps(state.hyper.schedule, self.whole, self.per_epoch, self.steps)
        return state._replace(hyper=state.hyper._replace(schedule=schedule))

    def _measured(self, state: TrainState, of_steps: dict[str, np.ndarray], seed: int) -> float:
        """Returns the loss at the end of a training, NaN where it diverged."""
        weights = of_steps.get("weight", of_steps["count"])
        if self.valid is None:
            self._untrained.setdefault(seed, float(of_steps["loss"][0] / weights[0]))
        if int(state.bad_step) >= 0:
            return float("nan")
        if self.valid is not None:
            return self._validated(state)
        last = max(1, round(LAST * self.steps))
        return float(of_steps["loss"][-last:].sum() / weights[-last:].sum())

    def _validated(self, state: TrainState) -> float:
        assert self.valid is not None
        images = evaluate.placed(self.valid)
        try:
            logits = evaluate.predict_logits(state.classifier(), images, evaluate.EvalConfig.of(self.values))
        except FloatingPointError:
            return float("nan")
        usable = evaluate.usable_rows(self.valid)
        # Not what else the config measures: of a rate that is too high it may be no number.
        return metrics.measure({"loss": metrics.Loss()}, logits[usable], self.valid.labels[usable])["loss"]
