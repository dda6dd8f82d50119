"""Which layer made the first number that is not finite: the step that ended a training is looked into once more."""

import contextlib
import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from cnn.data.augment import all_rows
from cnn.data.loader import Examples, in_order
from cnn.model import network
from cnn.model.classifier import Classifier, by_path
from cnn.model.summary import NOTHING
from cnn.system.compile_times import ONCE
from cnn.train.multi_step import taken
from cnn.train.run import Run
from cnn.train.state import StepConfig, TrainState
from cnn.train.step import StepInternals, draws, prepared, train_step
from cnn.train.watching import forward

SHOWN = 3
"""So many of the layers before are told with their ranges; `result.json` has all."""


class Cause(TypedDict):
    """Where a training met the first number that is not finite."""

    layer: str | None
    """Its path; `None` where it is no layer's."""
    what: str
    """`start` where a parameter never was finite, `input`, `output`, `loss`, `gradient`, `rate`, `update`, or `nothing`
    where the step, made again, is finite."""
    said: str
    """All of it in a line."""
    ranges: dict[str, list[float]]
    """The least and the greatest number of each layer that was finite, up to there."""


Ranges = Mapping[str, tuple[Any, Any]]
"""The least and the greatest number that each layer made, by path and in the network's order."""


class _Looked(NamedTuple):
    """What one part of a batch gave, by path and in the network's order."""

    ranges: dict[str, tuple[Array, Array]]
    finite: dict[str, Array]
    loss: Array
    handed_back: dict[str, Array]
    """Whether the gradient of what each layer made is finite."""


def find(run: Run, state: TrainState) -> Cause:
    """Looks for the first number that is not finite in the step that follows a state, which is the bad one.

    Layers are computed one by one here and together in training, so that a number at the very edge of float32 may be
    finite here.

    Args:
      run: the run; its loader is closed afterwards.
      state: as training left it; it is not consumed.
    """
    with contextlib.closing(run.loader):
        if int(state.step) == 0 and (cause := _of_start(state)):
            return cause
        ((split, rows),) = run.loader.chunks(int(state.step), 1, 1)
        given = jax.device_get(_given(state, split, rows[0], step_config=run.step_config))
        if cause := _of_input(run, given):
            return cause
        for part in range(run.step_config.accumulate_steps):
            looked = jax.device_get(_looked(state, split, rows[0], part, step_config=run.step_config))
            ranges = {row.path: looked.ranges[row.path] for row in run.config.rows if row.path in looked.ranges}
            if cause := _of_part(looked, ranges):
                return cause
        update, rate = jax.device_get(_update(state, split, rows[0], step_config=run.step_config))
    if cause := _of_update(run, update, rate, ranges):
        return cause
    said = "made again, layer by layer, the step is finite: it is at the edge of float32"
    return _cause(None, "nothing", said, ranges)


def _of_start(state: TrainState) -> Cause | None:
    params = by_path(jax.device_get(state.params))
    first = next((path for path, array in params.items() if not np.isfinite(array).all()), None)
    return None if first is None else _cause(first.rpartition("/")[0], "start", f"{first} is not finite as it begins")


def _of_input(run: Run, given: list[Array]) -> Cause | None:
    for kind, finite in zip(run.config.data.augment, given, strict=True):
        if not finite:
            said = f"the first number that is not finite is in what {kind.kind} of config.data.augment makes"
            return _cause(None, "input", said)
    return None


def _of_part(looked: _Looked, ranges: Ranges) -> Cause | None:
    order = list(ranges)
    for index, path in enumerate(order):
        if not looked.finite[path]:
            said = f"the first number that is not finite is what {path} makes"
            return _cause(path, "output", said, {before: ranges[before] for before in order[:index]})
    if not np.isfinite(looked.loss):
        return _cause(None, "loss", "what every layer makes is finite, and the loss is not", ranges)
    for index, path in reversed(list(enumerate(order))):
        if not looked.handed_back[path]:
            after = order[index + 1] if index + 1 < len(order) else None
            by = f"the gradient that {after or 'the loss'} hands back to {path}"
            said = f"what every layer makes is finite; the first number that is not is in {by}"
            return _cause(after, "gradient", said, ranges)
    return None


def _of_update(run: Run, update: dict[str, dict[str, Array]], rate: Array, ranges: Ranges) -> Cause | None:
    if all(update["gradient"].values()) and not np.isfinite(rate):
        name = run.config.schedule.kind
        said = f"the gradient is finite, and the learning rate, by the factor of config.schedule {name}, is not"
        return _cause(None, "rate", said, ranges)
    for what, finite in update.items():
        if bad := [path for path, fine in finite.items() if not fine]:
            layer = bad[-1].rpartition("/")[0]
            said = f"the {what} of {bad[-1]} is not finite, all that {layer} makes is"
            return _cause(layer, what, said, ranges)
    return None


def of_evaluation(run: Run, classifier: Classifier, split: str) -> Cause | None:
    """Looks for the layer that gives a number which is not finite for a picture of a split; `None` if none does."""
    images = getattr(run.dataset, split).images
    batch = min(run.config.eval.batch_size, len(images))
    for pictures, rows in in_order(images, batch, 0):
        found = jax.device_get(_evaluated(classifier, pictures, rows))
        order = [row.path for row in run.config.rows if row.path in found]
        bad = next((path for path in order if not all(map(math.isfinite, found[path]))), None)
        if bad is not None:
            said = f"in the evaluation of {split} the first number that is not finite is what {bad} makes"
            ranges = {path: found[path] for path in order[: order.index(bad)]}
            return _cause(bad, "output", said, ranges)
    return None


def _cause(layer: str | None, what: str, said: str, ranges: Ranges = NOTHING) -> Cause:
    plain = {path: [float(low), float(high)] for path, (low, high) in ranges.items()}
    shown = [f"{path} {low:.3g} to {high:.3g}" for path, (low, high) in plain.items()][-SHOWN:]
    return Cause(
        layer=layer, what=what, said=said + (f"; before it: {', '.join(shown)}" if shown else ""), ranges=plain
    )


@functools.partial(jax.jit, static_argnames="step_config", compiler_options=ONCE)
def _looked(
    state: TrainState, split: Examples, rows: Int[Array, " batch"], part: Int[Array, ""], *, step_config: StepConfig
) -> _Looked:
    _, shapes = jax.eval_shape(lambda: forward(state, split, rows, part, step_config))
    zeros = {path: jnp.zeros(shape.shape, shape.dtype) for path, shape in shapes.items()}

    def loss_fn(offsets: Any) -> Any:
        return forward(state, split, rows, part, step_config, offsets)

    (loss, outputs), grads = jax.value_and_grad(loss_fn, has_aux=True)(zeros)
    return _Looked(
        {path: (output.min(), output.max()) for path, output in outputs.items()},
        {path: jnp.isfinite(output).all() for path, output in outputs.items()},
        loss,
        {path: jnp.isfinite(grad).all() for path, grad in grads.items()},
    )


@functools.partial(jax.jit, static_argnames="step_config", compiler_options=ONCE)
def _given(state: TrainState, split: Examples, rows: Int[Array, " batch"], *, step_config: StepConfig) -> list[Array]:
    """Tells whether the batch is finite behind each augmentation."""
    hyper, alone = state.hyper, step_config._replace(devices=1)
    batch = taken(split, rows, alone)
    key, passes = draws(state, batch, alone)

    def finite(count: int) -> Array:
        shortened = hyper._replace(augment=hyper.augment[:count])
        made = prepared(shortened, batch.images, batch.labels, key, all_rows(len(rows)), passes, alone)
        return jnp.isfinite(made[0]).all() & jnp.isfinite(made[1]).all()

    return [finite(count + 1) for count in range(len(hyper.augment))]


@functools.partial(jax.jit, static_argnames="step_config", compiler_options=ONCE)
def _update(
    state: TrainState, split: Examples, rows: Int[Array, " batch"], *, step_config: StepConfig
) -> tuple[dict[str, dict[str, Array]], Array]:
    """Tells of which arrays the gradient and the update are finite, and returns the learning rate."""
    internals: StepInternals = {}
    _, metrics = train_step(state, taken(split, rows, step_config), step_config, internals)
    finite = {
        what: {path: jnp.isfinite(array).all() for path, array in by_path(tree).items()}
        for what, tree in (("gradient", internals["grads"]), ("update", internals["params"]))
    }
    return finite, metrics["learning_rate"]


@functools.partial(jax.jit, compiler_options=ONCE)
def _evaluated(classifier: Classifier, images: Array, rows: Int[Array, " batch"]) -> dict[str, tuple[Array, Array]]:
    pictures = classifier.preprocess(images[rows])
    outputs = network.capture(classifier.layers, classifier.variables, pictures)
    return {path: (output.min(), output.max()) for path, output in outputs.items()}
