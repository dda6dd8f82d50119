"""Optax's optimizers, schedules and losses by dotted name: one conformance suite over every usable one."""

import dataclasses
import functools
import json
import re
import subprocess
import sys
import typing
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
import optax.contrib
import pytest
from safetensors.numpy import save_file

from cnn import fields, hyperparams
from cnn.cli import fields as fields_command
from cnn.config.config import ConfigError, Override
from cnn.config.resolve import resolve
from cnn.optim import clips, from_optax, optimizers, schedules
from cnn.train import load_init_from
from cnn.train.state import create_train_state
from tests import networks, tiny

NAMES = {
    "optimizer": """
        adabelief adadelta adafactor adagrad adam adamax adamaxw adamw adan amsgrad fromage lamb lars lion nadam nadamw
        novograd optimistic_adam_v2 optimistic_gradient_descent radam rmsprop sgd sign_sgd signum yogi contrib.acprop
        contrib.ademamix contrib.adopt contrib.cocob contrib.dadapt_adamw contrib.dog contrib.dowg contrib.galore
        contrib.madgrad contrib.muon contrib.prodigy contrib.schedule_free_adamw contrib.schedule_free_sgd
        contrib.simplified_ademamix""",
    "schedule": """
        constant_schedule cosine_decay_schedule cosine_onecycle_schedule exponential_decay linear_onecycle_schedule
        linear_schedule piecewise_constant_schedule piecewise_interpolate_schedule polynomial_schedule
        warmup_constant_schedule warmup_cosine_decay_schedule warmup_exponential_decay_schedule""",
    "loss": """
        huber_loss l2_loss log_cosh safe_softmax_cross_entropy sigmoid_binary_cross_entropy sigmoid_focal_loss
        softmax_cross_entropy squared_error losses.binary_dice_loss losses.dice_loss losses.poly_loss_cross_entropy""",
}
"""Of the version of Optax that CI installs."""
OPTIMIZER_NAMES, SCHEDULE_NAMES, LOSS_NAMES = ([f"optax.{name}" for name in NAMES[kind].split()] for kind in NAMES)
RATE, TOTAL = 1e-3, 50
PARAMS = {"kernel": np.linspace(-1, 1, 24).reshape(6, 4), "conv": np.linspace(-2, 1, 36).reshape(3, 3, 2, 2)}
REQUIRED = {
    "decay_rate": 0.5,
    "end_value": 0.1,
    "power": 2.0,
    "warmup_steps": 5,
    "boundaries": (10, 30),
    "scales": (0.5, 0.2),
    "interpolate_type": "cosine",
}


def function(name):
    return functools.reduce(getattr, name.split(".")[1:], optax)


def made(kind, **given):
    """Returns a record with what it requires, and its real numbers as arrays."""
    defaults = fields.defaults(kind)
    required = {name: REQUIRED[name] for name in defaults if defaults[name] is fields.REQUIRED and name in REQUIRED}
    record = kind(**{**required, **given})
    hyperparams.make_pytree(kind)
    return jax.tree.map(lambda number: jnp.asarray(number, jnp.float32), record)


def others(record):
    """Yields the record with another value of each traced number that is given."""
    for name, annotation in fields.options(type(record)).items():
        if fields.is_real(annotation) and getattr(record, name) is not None:
            yield dataclasses.replace(record, **{name: getattr(record, name) * 0.9 + 1e-4})


def variants(kind):
    """Yields the values of each option that is not a number always given: flags, choices, optional numbers."""
    for name, annotation in fields.options(kind).items():
        base, default = fields.split(annotation)[0], fields.defaults(kind)[name]
        if base is bool:
            yield {name: not default}
        elif typing.get_origin(base) is typing.Literal:
            yield from ({name: choice} for choice in typing.get_args(base))
        elif fields.may_be_none(annotation) and base is float:
            yield {name: 0.5}
            yield {name: None}


def trees():
    params = {name: jnp.asarray(array, jnp.float32) for name, array in PARAMS.items()} | {"bias": jnp.ones(4)}
    rng = np.random.default_rng(0)
    grads = [jax.tree.map(lambda array: jnp.asarray(rng.normal(size=array.shape), jnp.float32), params) for _ in "ab"]
    return params, grads


def init(hyper, params):
    return optimizers.init_opt_state(hyper, clips.NoClip(), params)


def update(hyper, params, state, grads):
    tx, _ = optimizers.make_tx(hyper, schedules.Constant(), clips.NoClip(), total_steps=TOTAL, steps_per_epoch=5)
    updates, new = tx.update(grads, state, params)
    fine = jnp.isfinite(grads["bias"]).all()
    return optax.apply_updates(params, updates), jax.tree.map(lambda n, o: jnp.where(fine, n, o), new, state)


@networks.jit
def first_update(hyper, params, grads):
    return update(hyper, params, init(hyper, params), grads)[0]


def finite(tree):
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(tree))


def bits(tree):
    return [np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(tree)]


def conform(name):
    kind = from_optax.optimizer_of(name)
    hyper, step = made(kind, learning_rate=RATE), networks.jit(lambda *arguments: update(*arguments))
    (params, grads), reference = trees(), function(name)(learning_rate=lambda count: RATE)
    states, theirs, their_state = [networks.jit(init)(hyper, params)], params, reference.init(params)
    plain = networks.jit(reference.update)
    assert all(isinstance(leaf, jax.Array) and not leaf.weak_type for leaf in jax.tree.leaves(states[0]))
    ours = params
    for grad in grads:
        ours, state = step(hyper, ours, states[-1], grad)
        states.append(state)
        updates, their_state = plain(grad, their_state, theirs)
        theirs = optax.apply_updates(theirs, updates)
    assert finite(ours)
    # Without a rate that fits, the first step of `dog` is below the resolution of float32.
    assert bits((ours, states[2])) != bits((params, states[0]))
    networks.agree(ours, theirs, 1e-5)
    for other in others(hyper):
        assert jax.tree.structure(step(other, params, states[0], grads[0])) == jax.tree.structure((params, states[0]))
    leaves, structure = jax.tree.flatten(states[1])
    restored = jax.tree.unflatten(structure, [jnp.asarray(np.array(leaf)) for leaf in leaves])
    first, _ = step(hyper, params, states[0], grads[0])
    assert bits(step(hyper, first, restored, grads[1])) == bits((ours, states[2]))
    assert step._cache_size() == 1

    several = jax.tree.map(lambda number: jnp.stack([number, number]), hyper)
    several = dataclasses.replace(several, learning_rate=jnp.asarray([RATE, 2 * RATE]))
    found = networks.jit(jax.vmap(first_update.__wrapped__, in_axes=(0, None, None)))(several, params, grads[0])
    networks.agree(jax.tree.map(lambda array: array[0], found), first, 1e-5)
    second, _ = step(dataclasses.replace(hyper, learning_rate=jnp.float32(2 * RATE)), params, states[0], grads[0])
    networks.agree(jax.tree.map(lambda array: array[1], found), second, 1e-5)


@pytest.mark.slow(seconds=6)
@pytest.mark.parametrize("kind", NAMES)
def test_every_name_is_known(kind):
    assert from_optax.names(kind) == sorted(from_optax.names(kind), key=lambda name: (name.count("."), name))
    assert set(from_optax.names(kind)) == {f"optax.{name}" for name in NAMES[kind].split()}


@pytest.mark.thorough(12)
@pytest.mark.slow(seconds=2)
@pytest.mark.parametrize("name", OPTIMIZER_NAMES)
def test_every_optimizer_conforms(name):
    conform(name)


@pytest.mark.slow(seconds=3)
@pytest.mark.parametrize("name", OPTIMIZER_NAMES)
def test_every_option_of_an_optimizer_can_be_set(name):
    kind, (params, grads) = from_optax.optimizer_of(name), trees()
    for given in variants(kind):
        hyper = made(kind, learning_rate=RATE, **given)
        assert finite(first_update(hyper, params, grads[0])), given


def test_the_same_name_is_the_same_class_and_another_name_another():
    assert from_optax.optimizer_of("optax.adam") is from_optax.optimizer_of("optax.adam")
    assert from_optax.loss_of("optax.l2_loss") is not from_optax.loss_of("optax.losses.l2_loss")
    assert from_optax.loss_of("optax.losses.l2_loss").kind == "optax.losses.l2_loss"


@pytest.mark.parametrize("find", [from_optax.optimizer_of, from_optax.schedule_of, from_optax.loss_of])
@pytest.mark.parametrize("name", ["adam", "os.system", "optax", "numpy.mean"])
def test_a_name_that_is_not_of_optax_is_left_to_others(find, name):
    assert find(name) is None


@pytest.mark.slow(seconds=2)
def test_options_are_the_arguments_of_optax():
    kind = from_optax.optimizer_of("optax.adabelief")
    assert list(fields.options(kind)) == ["learning_rate", "b1", "b2", "eps", "eps_root", "nesterov"]
    assert fields.defaults(kind)["eps"] == 1e-16
    assert fields.options(kind)["learning_rate"] == fields.Positive
    assert fields.options(kind)["b1"] is float and fields.options(kind)["nesterov"] is bool
    momentum = fields.options(from_optax.optimizer_of("optax.sgd"))["momentum"]
    assert fields.is_real(momentum) and fields.may_be_none(momentum)
    muon = from_optax.optimizer_of("optax.contrib.muon")
    assert fields.options(muon)["ns_steps"] == fields.Natural
    assert not fields.is_real(fields.options(muon)["ns_coeffs"])
    decay_rate = fields.options(from_optax.schedule_of("optax.exponential_decay"))["decay_rate"]
    assert decay_rate == fields.Static[float]


def test_weight_decay_keeps_the_meaning_of_optax():
    assert "biases" in from_optax.optimizer_of("optax.adamw").__doc__
    assert "biases" not in from_optax.optimizer_of("optax.adam").__doc__
    hyper = made(from_optax.optimizer_of("optax.adamw"), learning_rate=1.0, weight_decay=0.5)
    params = {"bias": jnp.ones(4)}
    assert first_update(hyper, params, {"bias": jnp.zeros(4)})["bias"].tolist() == [0.5] * 4


def test_a_default_of_the_learning_rate_is_told_and_not_used():
    kind = from_optax.optimizer_of("optax.contrib.dowg")
    assert "Optax has a learning_rate of 1 by default." in kind.__doc__
    assert fields.defaults(kind)["learning_rate"] is fields.REQUIRED


@pytest.mark.slow(seconds=2)
def test_another_learning_rate_of_optax_follows_the_schedule_too():
    kind, (params, grads) = from_optax.optimizer_of("optax.contrib.muon"), trees()
    hyper = made(kind, learning_rate=RATE, adam_learning_rate=0.5, nesterov=False)
    tx, _ = optimizers.make_tx(hyper, schedules.Linear(), clips.NoClip(), total_steps=2, steps_per_epoch=1)
    state = tx.init(params)
    first, state = tx.update(grads[0], state, params)
    second, _ = tx.update(grads[0], state, params)
    np.testing.assert_allclose(np.abs(first["bias"]), 0.5, rtol=1e-3)
    np.testing.assert_allclose(second["bias"] / first["bias"], 0.5, rtol=1e-3)


@pytest.mark.parametrize(
    ("name", "given", "slots"),
    [
        ("optax.sgd", {}, 0),
        ("optax.sgd", {"momentum": 0.9}, 1),
        ("optax.adabelief", {}, 2),
        ("optax.novograd", {}, 1),
        ("optax.contrib.ademamix", {}, 3),
        ("optax.contrib.cocob", {}, 5),
    ],
)
def test_slots_count_the_arrays_that_are_kept(name, given, slots):
    assert from_optax.optimizer_of(name)(learning_rate=RATE, **given).slots == slots


@pytest.mark.slow(seconds=5)  # the first lists all that are usable
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("optax.lbfgs", "optax.lbfgs needs 'value', 'grad', and 'value_fn' with each update, and a .* alone. Known"),
        ("optax.contrib.momo", "optax.contrib.momo needs 'value' with each update"),
        ("optax.sm3", "optax.sm3 takes a fixed learning rate, and a schedule gives one of each step"),
        ("optax.rprop", "optax.rprop takes a fixed learning rate"),
        ("optax.optimistic_adam", "takes a fixed learning rate, .* Did you mean 'optax.optimistic_adam_v2'?"),
        ("optax.contrib.schedule_free", "needs base_optimizer, which no config can write"),
        ("optax.contrib.sophia", "optax.contrib.sophia cannot be traced: obj_fn must be provided"),
        ("optax.contrib.dpsgd", "optax.contrib.dpsgd cannot be traced: Unlike other transforms"),
        ("optax.noisy_sgd", "optax.noisy_sgd keeps a random key, which no checkpoint holds"),
        ("optax.polyak_sgd", "optax.polyak_sgd is no whole optimizer"),
        ("optax.lookahead", "optax.lookahead is no whole optimizer"),
        ("optax.chain", "optax.chain is no whole optimizer"),
        ("optax.scale_by_adam", "is no whole optimizer. Did you mean 'optax.adam'?"),
        ("optax.scale_by_learning_rate", "is no whole optimizer"),
        ("optax.l2_loss", "is no whole optimizer"),
        ("optax.adabelif", "unknown name 'optax.adabelif'. Did you mean 'optax.adabelief'"),
        ("optax.GradientTransformation", "unknown name"),
        ("optax.__builtins__", "unknown name"),
        ("optax.contrib._muon.muon", "unknown name"),
        ("optax.contrib.np.load", "unknown name"),
    ],
)
def test_what_is_no_usable_optimizer_is_refused_with_a_remedy(name, message):
    for _ in "twice":
        with pytest.raises(ValueError, match=message) as error:
            from_optax.optimizer_of(name)
        assert "\n" not in str(error.value) and "Known: optax.adabelief, " in str(error.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("optax.sgdr_schedule", "needs cosine_kwargs, which no config can write. Did you mean"),
        ("optax.join_schedules", "needs schedules, which no config can write"),
        ("optax.adam", "optax.adam is no schedule"),
        ("optax.cosine_schedule", "unknown name 'optax.cosine_schedule'. Did you mean 'optax.cos"),
    ],
)
def test_what_is_no_usable_schedule_is_refused_with_a_remedy(name, message):
    with pytest.raises(ValueError, match=message):
        from_optax.schedule_of(name)


INTEGERS = "takes labels as integers, and gets a probability of each class. Use optax.softmax_cross_entropy.$"


@pytest.mark.slow(seconds=5)  # the first lists all that are usable
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("optax.softmax_cross_entropy_with_integer_labels", INTEGERS),
        ("optax.losses.multiclass_hinge_loss", INTEGERS),
        ("optax.losses.multiclass_perceptron_loss", INTEGERS),
        ("optax.losses.multiclass_sparsemax_loss", INTEGERS),
        ("optax.hinge_loss", "takes labels of -1 and 1, and gets probabilities. Use optax.softmax_cross_entropy"),
        ("optax.losses.sparsemax_loss", "tells labels of 0 from others alone, .* Use optax.sigmoid_binary_cross"),
        ("optax.kl_divergence", "takes log-probabilities, and gets logits. Use optax.softmax_cross_entropy"),
        ("optax.cosine_distance", "compares the directions of two vectors, which logits of 0 have not. Use optax"),
        ("optax.ctc_loss", "is for sequences"),
        ("optax.losses.triplet_margin_loss", "compares embeddings"),
        ("optax.ntxent", "compares embeddings"),
        ("optax.losses.make_fenchel_young_loss", "makes a loss of a function"),
        ("optax.losses.ranking_softmax_loss", "gives one number for the whole batch, and each example needs its own"),
        ("optax.losses.multiclass_generalized_dice_loss", "gives one number for the whole batch"),
        ("optax.smooth_labels", "is no loss of logits and labels"),
        ("optax.sigmoid_focal", "unknown name 'optax.sigmoid_focal'. Did you mean 'optax.sigmoid_focal_loss'?"),
    ],
)
def test_what_is_no_usable_loss_is_refused_with_a_remedy(name, message):
    with pytest.raises(ValueError, match=message):
        from_optax.loss_of(name)


@pytest.mark.few(4)
@pytest.mark.parametrize("name", SCHEDULE_NAMES)
def test_every_schedule_is_a_factor_of_the_learning_rate(name):
    record = made(from_optax.schedule_of(name))
    assert type(record)(**{f.name: getattr(record, f.name) for f in dataclasses.fields(record)}).refusal(TOTAL) is None

    @networks.jit
    def factors(record):
        return jax.vmap(record.make_factor(total_steps=TOTAL, steps_per_epoch=5))(jnp.arange(TOTAL))

    found = np.asarray(factors(record))
    assert found.shape == (TOTAL,) and found.dtype == np.float32
    assert np.isfinite(found).all() and found.min() >= 0 and found.max() <= 1 + 1e-6
    assert found.max() > 0.9
    for other in others(record):
        factors(other)
    assert factors._cache_size() == 1


@pytest.mark.slow(seconds=2)
@pytest.mark.parametrize("name", SCHEDULE_NAMES)
def test_every_option_of_a_schedule_can_be_set(name):
    kind = from_optax.schedule_of(name)
    for given in variants(kind):
        factor = made(kind, **given).make_factor(total_steps=TOTAL, steps_per_epoch=5)
        assert np.isfinite(jax.vmap(factor)(jnp.arange(TOTAL))).all(), given


def factors_of(name, total=TOTAL, **given):
    factor = made(from_optax.schedule_of(name), **given).make_factor(total_steps=total, steps_per_epoch=5)
    return np.asarray(jax.vmap(factor)(jnp.arange(total)))


@pytest.mark.slow(seconds=1)
def test_a_schedule_of_optax_equals_ours_with_warmup_and_cooldown():
    ours = schedules.Cosine(warmup_steps=4, cooldown_steps=6, final=0.2)
    expected = jax.vmap(ours.make_factor(total_steps=TOTAL, steps_per_epoch=5))(jnp.arange(TOTAL))
    found = factors_of("optax.cosine_decay_schedule", warmup_steps=4, cooldown_steps=6, alpha=0.2)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_lengths_that_are_set_are_kept():
    found = factors_of("optax.linear_schedule", end_value=0.5, transition_steps=10, transition_begin=5)
    np.testing.assert_allclose(found[[0, 5, 10, 15, 49]], [1, 1, 0.75, 0.5, 0.5], rtol=1e-6)


@pytest.mark.slow(seconds=1)
def test_the_warmup_of_optax_takes_the_place_of_ours():
    found = factors_of("optax.warmup_cosine_decay_schedule", warmup_steps=10, cooldown_steps=5, end_value=0.5)
    expected = optax.warmup_cosine_decay_schedule(0.0, 1.0, 10, TOTAL - 5, 0.5)(jnp.arange(TOTAL - 5))
    np.testing.assert_allclose(found[:45], expected, rtol=1e-5)
    np.testing.assert_allclose(found[46:], 0.5 * np.arange(4, 0, -1) / 6, rtol=1e-5)
    decay = factors_of("optax.warmup_exponential_decay_schedule", warmup_steps=10, decay_rate=0.5)
    np.testing.assert_allclose(decay[[0, 5, 10, 30]], [0, 0.5, 1, 0.5**0.5], rtol=1e-5)


def test_boundaries_and_scales_are_two_lists():
    found = factors_of("optax.piecewise_constant_schedule", boundaries=(10, 30), scales=(0.5, 0.2))
    np.testing.assert_allclose(found[[0, 9, 11, 29, 31]], [1, 1, 0.5, 0.5, 0.1], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("piecewise_constant_schedule", {"boundaries": (5,), "scales": (1.0, 0.1)}, "a scale for each boundary, got 1"),
        ("piecewise_constant_schedule", {"boundaries": (9, 5)}, r"boundaries must rise, got \(9, 5\). Set others.$"),
        ("warmup_cosine_decay_schedule", {"decay_steps": 5}, "requires positive decay_steps"),
        ("warmup_constant_schedule", {"warmup_steps": 51}, "warmup and cooldown are longer than the run's 50 steps"),
    ],
)
def test_a_schedule_that_cannot_be_built_is_refused_before_training(name, given, message):
    record = made(from_optax.schedule_of(f"optax.{name}"), **given)
    said = record.refusal(TOTAL)
    assert re.match(r"config\.schedule\.\w+: ", said) and re.search(message, said) and "\n" not in said


def examples():
    logits = jnp.asarray(np.random.default_rng(0).normal(size=(6, 3)) * 4, jnp.float32)
    return logits.at[0].set(0), jax.nn.one_hot(jnp.asarray([0, 1, 2, 0, 1, 2]), 3) * 0.9 + 0.1 / 3


@pytest.mark.slow(seconds=1)
@pytest.mark.parametrize("name", LOSS_NAMES)
def test_every_loss_gives_a_number_and_a_gradient_of_each_example(name):
    record, (logits, labels) = made(from_optax.loss_of(name)), examples()

    @networks.jit
    def run(record, logits, labels):
        losses, backward = jax.vjp(lambda logits: record(logits, labels), logits)
        return losses, *backward(jnp.ones_like(losses))

    for given in (labels, jnp.round(labels)):
        losses, gradient = run(record, logits, given)
        assert losses.shape == (6,) and finite((losses, gradient)) and np.abs(gradient).sum() > 0
    plain = np.asarray(function(name)(logits, labels))
    expected = plain.mean(-1) if plain.ndim == 2 else plain
    np.testing.assert_allclose(record(logits, labels), expected, rtol=1e-5)
    for other in others(record):
        run(other, logits, labels)
    assert run._cache_size() == 1
    for given in variants(type(record)):
        assert made(type(record), **given)(logits, labels).shape == (6,)


@pytest.mark.slow(seconds=1)
def test_a_loss_takes_its_arguments_by_place_and_by_name():
    kind, (logits, labels) = from_optax.loss_of("optax.sigmoid_focal_loss"), examples()
    plain = optax.sigmoid_focal_loss(logits, labels, alpha=0.25, gamma=3.0).mean(-1)
    np.testing.assert_allclose(kind(alpha=0.25, gamma=3.0)(logits, labels), plain)
    np.testing.assert_allclose(kind(0.25, 3.0)(logits, labels), plain)
    assert "mean over its classes" in kind.__doc__


@pytest.mark.slow(seconds=4)
@pytest.mark.parametrize("name", ["optax.adabelief", "optax.contrib.cocob"])
def test_a_network_is_trained_by_name(name):
    schedule = "optax.cosine_decay_schedule"
    options = {"optimizer__learning_rate": "0.01", "train__loss": "optax.sigmoid_focal_loss(alpha=0.25, gamma=2)"}
    values = tiny.resolve(optimizer__name=name, schedule__name=schedule, **options)
    _, history = tiny.run(values, 12)
    assert history[-1]["loss"] < history[0]["loss"]


def test_what_is_not_given_survives_the_recorded_config():
    values = tiny.resolve(optimizer__name="optax.sgd", schedule__name="optax.cosine_decay_schedule")
    again = resolve(json.loads(values.json))
    assert again.optimizer == values.optimizer and again.optimizer.momentum is None
    assert again.schedule == values.schedule and again.schedule.decay_steps is None
    given = tiny.resolve(json.loads(values.json), optimizer__momentum="0.9", schedule__decay_steps="7")
    assert given.optimizer.momentum == 0.9 and given.schedule.decay_steps == 7
    assert tiny.resolve(json.loads(given.json), optimizer__momentum="None").optimizer.momentum is None
    with pytest.raises(ValueError, match=r"config\.optimizer\.momentum: must be a finite number or None, got 'much'"):
        tiny.resolve(json.loads(values.json), optimizer__momentum="much")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("optimizer__name", "optax.sm3", "config.optimizer.name: optax.sm3 takes a fixed learning rate"),
        ("optimizer__name", "os.system", "config.optimizer.name: unknown name 'os.system'"),
        ("schedule__name", "optax.join_schedules", "config.schedule.name: optax.join_schedules needs schedules"),
        ("train__loss", "optax.hinge_loss", "config.train.loss: .*optax.hinge_loss takes labels of -1 and 1"),
        ("train__loss", "optax.l2_loss(2)", "config.train.loss: .*takes at most 0 arguments"),
    ],
)
@pytest.mark.slow(seconds=5)
def test_a_config_names_the_field_of_what_is_refused(field, value, message):
    with pytest.raises(ConfigError, match=message):
        tiny.resolve(**{field: value})


def test_the_help_tells_the_fields():
    told = fields_command.text(["optimizer"], [Override("optimizer.name", "optax.sgd")])
    assert "momentum = None" in told and "a finite number or None" in told
    assert "decay_steps" in fields_command.text(
        ["schedule"], [Override("schedule.name", "optax.cosine_decay_schedule")]
    )


@pytest.mark.slow(seconds=2)
def test_an_optimizer_that_keeps_its_first_parameters_keeps_those_that_are_loaded(tmp_path):
    state = create_train_state(tiny.resolve())
    arrays = {
        jax.tree_util.keystr(path, simple=True, separator="/"): np.full(leaf.shape, 0.25, np.float32)
        for path, leaf in jax.tree_util.tree_leaves_with_path(state.params)
    }
    save_file(arrays, tmp_path / "a.safetensors")
    values = tiny.resolve(optimizer__name="optax.contrib.cocob", init_from=str(tmp_path / "a.safetensors"))
    begun, _, _ = load_init_from.begin(values, create_train_state(values))
    kept = [leaf for leaf in jax.tree.leaves(begun.opt_state) if leaf.size and (np.asarray(leaf) == 0.25).all()]
    assert len(kept) == len(arrays)


@pytest.mark.slow(seconds=2)
def test_importing_it_loads_no_optax():
    code = (
        "import sys, cnn.optim.from_optax as f; f.optimizer_of('adam'); assert not {'jax', 'optax'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow(seconds=2)
def test_finding_out_is_silent():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ValueError, match="random key"):
            from_optax.optimizer_of("optax.noisy_sgd")
