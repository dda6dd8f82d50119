"""Optimizers, schedules, clipping and averaging, built from their records with Optax.

The records' real numbers may be tracers: the transformation is built inside the compiled step, so that another value
compiles nothing. Integers, such as the lengths of a schedule, are structure.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from cnn import fields
from cnn.optim import muon, nadam, optimizer_specs, schedule_specs, update_specs

Schedule = Callable[[jax.Array], jax.Array]


def make_tx(
    optimizer: Any, schedule: Any, clip: Any, *, total_steps: int, steps_per_epoch: int
) -> optax.GradientTransformation:
    """Returns clipping followed by the optimizer, its learning rate following the schedule.

    Args:
      optimizer: a record of `settings.OPTIMIZERS`.
      schedule: a record of `settings.SCHEDULES`.
      clip: a record of `settings.CLIPS`.
      total_steps: the updates of the whole run.
      steps_per_epoch: the updates of one epoch.
    """
    factor = make_factor(schedule, total_steps=total_steps, steps_per_epoch=steps_per_epoch)
    return optax.chain(_CLIPS[type(clip)](clip), _OPTIMIZERS[type(optimizer)](optimizer, factor))


def make_factor(schedule: Any, *, total_steps: int, steps_per_epoch: int) -> Schedule:
    """Returns the multiple of the learning rate as a function of the number of updates made.

    Raises:
      ValueError: warmup and cooldown together are longer than the run.
    """
    warmup, cooldown = schedule.warmup_steps, schedule.cooldown_steps
    main_steps = total_steps - warmup - cooldown
    if main_steps < 0:
        raise ValueError(
            f"config.schedule.warmup_steps: warmup and cooldown are longer than the run's {total_steps} steps, "
            f"got {warmup} + {cooldown}. Use shorter ones or more epochs."
        )
    main = _SCHEDULES[type(schedule)](schedule, max(1, main_steps), steps_per_epoch)

    def factor(count: jax.Array) -> jax.Array:
        value = main(jnp.maximum(count - warmup, 0))
        if warmup:
            value = value * jnp.minimum(1.0, (count + 1) / warmup)
        if cooldown:
            left = (total_steps - count) / (cooldown + 1)
            value = jnp.where(left < 1, main(jnp.asarray(main_steps)) * left, value)
        return value

    return factor


def _step(schedule: schedule_specs.Step, _: int, steps_per_epoch: int) -> Schedule:
    # The counter of steps holds no more, so no run reaches it.
    length = min(schedule.every_epochs * steps_per_epoch, fields.MAX_INTEGER)
    return lambda count: jnp.asarray(schedule.factor, jnp.float32) ** (count // length)


_SCHEDULES: dict[type, Callable[[Any, int, int], Schedule]] = {
    schedule_specs.Constant: lambda *_: lambda count: jnp.ones(()),
    schedule_specs.Cosine: lambda schedule, steps, _: optax.cosine_decay_schedule(1.0, steps, alpha=schedule.final),
    schedule_specs.Linear: lambda schedule, steps, _: optax.linear_schedule(1.0, schedule.final, steps),
    schedule_specs.Step: _step,
}

_CLIPS: dict[type, Callable[[Any], optax.GradientTransformation]] = {
    update_specs.Off: lambda _: optax.identity(),
    update_specs.GlobalNorm: lambda clip: optax.clip_by_global_norm(clip.max_norm),
    update_specs.Value: lambda clip: optax.clip(clip.limit),
}


def _rate(optimizer: Any, factor: Schedule) -> Any:
    return lambda count: optimizer.learning_rate * factor(count)


def _mask(optimizer: Any) -> Callable[[Any], Any] | None:
    """Returns which arrays decay: kernels, that is all with more than one axis, or all."""
    if optimizer.decayed == "all":
        return None
    return lambda params: jax.tree.map(lambda array: array.ndim > 1, params)


def _coupled(optimizer: optimizer_specs.Sgd, rule: optax.GradientTransformation) -> optax.GradientTransformation:
    return optax.chain(optax.add_decayed_weights(optimizer.weight_decay, _mask(optimizer)), rule)


def _betas(optimizer: Any) -> dict[str, Any]:
    return {"b1": optimizer.b1, "b2": optimizer.b2}


def _decoupled(optimizer: Any) -> dict[str, Any]:
    return {"weight_decay": optimizer.weight_decay, "mask": _mask(optimizer), **_betas(optimizer)}


def _adamw_step(optimizer: optimizer_specs.Muon) -> optax.GradientTransformation:
    """Returns AdamW before its learning rate, with Adam's state alone, so that finished runs of old still open."""
    rule = optax.scale_by_adam(**_betas(optimizer))
    decay = optax.add_decayed_weights(optimizer.weight_decay, _mask(optimizer))

    def update(grads: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        steps, state = rule.update(grads, state, params)
        return decay.update(steps, decay.init(params), params)[0], state

    return optax.GradientTransformation(rule.init, update)


def _muon(optimizer: optimizer_specs.Muon, factor: Schedule) -> optax.GradientTransformation:
    rate = optax.scale_by_learning_rate(lambda count: optimizer.adam_learning_rate * factor(count))
    return muon.make_muon(
        _rate(optimizer, factor),
        momentum=optimizer.momentum,
        weight_decay=optimizer.weight_decay,
        mask=_mask(optimizer),
        others=optax.chain(_adamw_step(optimizer), rate),
    )


def _rmsprop(optimizer: optimizer_specs.Rmsprop, factor: Schedule) -> optax.GradientTransformation:
    how = {"decay": optimizer.decay, "eps": optimizer.eps, "eps_in_sqrt": optimizer.eps_place == "inside"}
    return _coupled(optimizer, optax.rmsprop(_rate(optimizer, factor), **how))


def _nadam(optimizer: optimizer_specs.Nadam, factor: Schedule) -> optax.GradientTransformation:
    rule = nadam.scale_by_nadam(eps=optimizer.eps, momentum_decay=optimizer.momentum_decay, **_betas(optimizer))
    return optax.chain(rule, optax.scale_by_learning_rate(_rate(optimizer, factor)))


_OPTIMIZERS: dict[type, Callable[[Any, Schedule], optax.GradientTransformation]] = {
    optimizer_specs.Sgd: lambda o, factor: _coupled(o, optax.sgd(_rate(o, factor))),
    optimizer_specs.Momentum: lambda o, factor: _coupled(o, optax.sgd(_rate(o, factor), momentum=o.momentum)),
    optimizer_specs.Nesterov: lambda o, factor: _coupled(
        o, optax.sgd(_rate(o, factor), momentum=o.momentum, nesterov=True)
    ),
    optimizer_specs.Rmsprop: _rmsprop,
    optimizer_specs.Adam: lambda o, factor: optax.adam(_rate(o, factor), eps=o.eps, **_betas(o)),
    optimizer_specs.Nadam: _nadam,
    optimizer_specs.AdamW: lambda o, factor: optax.adamw(_rate(o, factor), eps=o.eps, **_decoupled(o)),
    optimizer_specs.Lamb: lambda o, factor: optax.lamb(_rate(o, factor), eps=o.eps, **_decoupled(o)),
    optimizer_specs.Lion: lambda o, factor: optax.lion(_rate(o, factor), **_decoupled(o)),
    optimizer_specs.Muon: _muon,
}
