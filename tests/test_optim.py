"""Optimizers, clipping and schedules against closed forms and against plain Optax."""

import itertools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import assume, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from cnn import hyperparams, registry
from cnn.optim import averages, clips, muon, optimizers, schedules
from tests import networks

STEPS = 12
RATES = {"lion": 0.02, "muon": 0.05, "lamb": 0.05, "adam": 0.1, "adamw": 0.1, "nadam": 0.1, "rmsprop": 0.05}
SCHEDULES = {
    "constant": schedules.Constant(),
    "cosine": schedules.Cosine(warmup_steps=2, final=0.1),
    "linear": schedules.Linear(cooldown_steps=3, final=0.5),
    "step": schedules.Step(every_epochs=2, factor=0.5),
}
ELSEWHERE = ("polynomial", "exponential", "piecewise", "one_cycle", "restarts", "plateau")
"""The schedules of `test_schedules.py`."""
CLIPS = {"none": clips.NoClip(), "global_norm": clips.GlobalNorm(1.0), "value": clips.Value(0.5)}


def record(name, **options):
    return registry.OPTIMIZERS[name](learning_rate=RATES.get(name, 0.1), **options)


def problem():
    """Returns the parameters and the loss of a small linear regression."""
    rng = np.random.default_rng(0)
    inputs, truth = rng.normal(size=(32, 4)), rng.normal(size=(4, 3))
    targets = jnp.asarray(inputs @ truth + 0.5, jnp.float32)
    params = {"kernel": jnp.asarray(rng.normal(size=(4, 3)), jnp.float32), "bias": jnp.zeros(3)}

    def loss(params):
        return jnp.square(jnp.asarray(inputs, jnp.float32) @ params["kernel"] + params["bias"] - targets).mean()

    return params, loss


def make(optimizer, schedule=SCHEDULES["constant"], clip=CLIPS["none"]):
    return optimizers.make_tx(optimizer, schedule, clip, total_steps=STEPS, steps_per_epoch=2)[0]


def kernels(params):
    return {"kernel": True, "bias": False}


def plain(name, o, rate):
    """Returns the same optimizer from Optax itself, with Python numbers."""
    if name == "muon":
        # The factor of the two learning rates is one schedule; both are 0.05 here. Optax has NAdam for the bias.
        dimensions = {"kernel": optax.contrib.MuonDimensionNumbers((0,), 1), "bias": None}
        of_kernels = optax.contrib.muon(
            rate, beta=0.95, weight_decay=0.1, weight_decay_mask=kernels, muon_weight_dimension_numbers=dimensions
        )
        return optax.partition(
            {"kernel": of_kernels, "bias": optax.adamw(rate, weight_decay=0.0)}, {"kernel": "kernel", "bias": "bias"}
        )
    decay = {"weight_decay": 0.1, "mask": kernels}
    l2 = optax.add_decayed_weights(0.1, kernels)
    return {
        "sgd": lambda: optax.chain(l2, optax.sgd(rate)),
        "momentum": lambda: optax.chain(l2, optax.sgd(rate, momentum=0.9)),
        "nesterov": lambda: optax.chain(l2, optax.sgd(rate, momentum=0.9, nesterov=True)),
        "rmsprop": lambda: optax.chain(l2, optax.rmsprop(rate, decay=0.9, eps=1e-8)),
        "adam": lambda: optax.adam(rate),
        "nadam": lambda: optax.nadam(rate),
        "adamw": lambda: optax.adamw(rate, **decay),
        "lamb": lambda: optax.lamb(rate, eps=1e-8, **decay),
        "lion": lambda: optax.lion(rate, **decay),
    }[name]()


def plain_rate(schedule_name, peak):
    """Returns the learning rate of each step, from a list written out by NumPy."""
    steps = np.arange(STEPS)
    factors = {
        "constant": np.ones(STEPS),
        "cosine": np.where(steps < 2, (steps + 1) / 2, 0.1 + 0.9 * 0.5 * (1 + np.cos(np.pi * (steps - 2) / 10))),
        "linear": np.where(steps < 9, 1 - 0.5 * steps / 9, 0.5 * (STEPS - steps) / 4),
        "step": 0.5 ** (steps // 4),
    }[schedule_name]
    rates = jnp.asarray(peak * factors, jnp.float32)
    return lambda count: rates[count]


PLAIN_CLIPS = {"none": optax.identity(), "global_norm": optax.clip_by_global_norm(1.0), "value": optax.clip(0.5)}
SOME = list(zip(["nesterov", "adamw", "lamb", "muon"], SCHEDULES, itertools.cycle(CLIPS), strict=False))
ALL = list(itertools.product(registry.OPTIMIZERS, SCHEDULES, CLIPS))


def conform(name, schedule, clip):
    options = {} if name in ("adam", "nadam") else {"weight_decay": 0.1}
    if name == "muon":
        options["adam_learning_rate"] = RATES["muon"]
    if name == "nadam":
        options["momentum_decay"] = 1e9  # Optax has the constant momentum that the schedule so reaches at once
    params, loss = problem()
    records = record(name, **options), SCHEDULES[schedule], CLIPS[clip]
    for one in records:
        hyperparams.make_pytree(type(one))
    hypers = jax.tree.map(jnp.asarray, records)
    reference = optax.chain(PLAIN_CLIPS[clip], plain(name, record(name), plain_rate(schedule, RATES.get(name, 0.1))))

    @networks.jit
    def step(hypers, ours, theirs):
        results = []
        for tx, (params, state) in ((make(*hypers), ours), (reference, theirs)):
            value, grads = jax.value_and_grad(loss)(params)
            updates, state = tx.update(grads, state, params)
            results.append(((optax.apply_updates(params, updates), state), value))
        return results

    ours, theirs = (params, make(*hypers).init(params)), (params, reference.init(params))
    values = []
    for _ in range(STEPS):
        (ours, value), (theirs, _) = step(hypers, ours, theirs)
        values.append(float(value))
    assert step._cache_size() == 1
    assert np.isfinite(values).all()
    assert values[-1] < values[0]
    networks.agree(ours[0], theirs[0], 1e-4)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(ours))


@pytest.mark.few(1)
@pytest.mark.parametrize(("name", "schedule", "clip"), SOME)
def test_an_optimizer_learns_without_recompiling_and_equals_plain_optax(name, schedule, clip):
    conform(name, schedule, clip)


@pytest.mark.thorough(12)
@pytest.mark.slow
@pytest.mark.parametrize(("name", "schedule", "clip"), ALL)
def test_every_optimizer_with_every_schedule_and_clip_conforms(name, schedule, clip):
    conform(name, schedule, clip)


PARAMS = {"kernel": np.array([[1.0, -2.0], [3.0, 0.5]]), "bias": np.array([0.3, -0.7])}
GRADS = [
    {"kernel": np.array([[0.5, 1.0], [-2.0, 0.1]]), "bias": np.array([1.0, -1.5])},
    {"kernel": np.array([[-0.5, 0.3], [1.0, 2.0]]), "bias": np.array([0.2, 0.4])},
]


def moved(optimizer, clip=CLIPS["none"], steps=2):
    """Returns the parameters after the first gradients."""
    tx = make(optimizer, clip=clip)
    params = {name: jnp.asarray(array, jnp.float32) for name, array in PARAMS.items()}
    state = tx.init(params)
    for grads in GRADS[:steps]:
        updates, state = tx.update(
            {name: jnp.asarray(array, jnp.float32) for name, array in grads.items()}, state, params
        )
        params = optax.apply_updates(params, updates)
    return params


def close(found, expected):
    for name in PARAMS:
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-5, atol=1e-6)


def each(formula):
    return {name: formula(PARAMS[name], *(grads[name] for grads in GRADS)) for name in PARAMS}


def test_sgd_subtracts_the_gradient():
    close(moved(optimizers.Sgd(0.1)), each(lambda p, g1, g2: p - 0.1 * g1 - 0.1 * g2))


def test_momentum_adds_up_decaying_gradients():
    close(moved(optimizers.Momentum(0.1, momentum=0.8)), each(lambda p, g1, g2: p - 0.1 * g1 - 0.1 * (g2 + 0.8 * g1)))


def test_nesterov_looks_ahead():
    def formula(p, g1, g2):
        return p - 0.1 * (g1 + 0.8 * g1) - 0.1 * (g2 + 0.8 * (g2 + 0.8 * g1))

    close(moved(optimizers.Nesterov(0.1, momentum=0.8)), each(formula))


def test_adams_first_step_is_the_learning_rate_against_the_sign():
    close(moved(optimizers.Adam(0.1), steps=1), each(lambda p, g1, _: p - 0.1 * np.sign(g1)))


def test_lions_first_step_is_the_learning_rate_against_the_sign():
    close(moved(optimizers.Lion(0.1, weight_decay=0.0), steps=1), each(lambda p, g1, _: p - 0.1 * np.sign(g1)))


def test_rmsprop_divides_by_the_root_of_the_mean_square():
    expected = each(lambda p, g1, _: p - 0.1 * g1 / np.sqrt(0.25 * g1**2 + 1e-8))
    close(moved(optimizers.Rmsprop(0.1, decay=0.75), steps=1), expected)


@pytest.mark.parametrize(("decayed", "bias_decay"), [("kernels", 0.0), ("all", 0.5)])
def test_adamw_shrinks_kernels_and_biases_only_if_asked(decayed, bias_decay):
    found = moved(optimizers.AdamW(0.1, weight_decay=0.5, decayed=decayed), steps=1)
    decays = {"kernel": 0.5, "bias": bias_decay}
    close(found, {n: p - 0.1 * (np.sign(GRADS[0][n]) + decays[n] * p) for n, p in PARAMS.items()})


@pytest.mark.parametrize("decayed", ["kernels", "all"])
def test_muon_moves_biases_as_adamw_does_and_decays_them_only_if_asked(decayed):
    ours = moved(muon.Muon(0.02, adam_learning_rate=0.1, weight_decay=0.5, decayed=decayed))
    of_adamw = moved(optimizers.AdamW(0.1, weight_decay=0.5, decayed=decayed))
    np.testing.assert_allclose(ours["bias"], of_adamw["bias"], rtol=1e-6)
    undecayed = moved(muon.Muon(0.02, adam_learning_rate=0.1, decayed=decayed))
    assert np.array_equal(ours["bias"], undecayed["bias"]) == (decayed == "kernels")
    assert not np.array_equal(ours["kernel"], undecayed["kernel"])


@pytest.mark.parametrize(("decayed", "bias_decay"), [("kernels", 0.0), ("all", 0.5)])
def test_in_sgd_weight_decay_is_part_of_the_gradient(decayed, bias_decay):
    found = moved(optimizers.Sgd(0.1, weight_decay=0.5, decayed=decayed), steps=1)
    decays = {"kernel": 0.5, "bias": bias_decay}
    close(found, {n: p - 0.1 * (GRADS[0][n] + decays[n] * p) for n, p in PARAMS.items()})
    momentum = moved(optimizers.Momentum(0.1, weight_decay=0.5, decayed=decayed, momentum=0.8), steps=2)
    first = {n: GRADS[0][n] + decays[n] * p for n, p in PARAMS.items()}
    middle = {n: p - 0.1 * first[n] for n, p in PARAMS.items()}
    second = {n: GRADS[1][n] + decays[n] * middle[n] + 0.8 * first[n] for n in PARAMS}
    close(momentum, {n: middle[n] - 0.1 * second[n] for n in PARAMS})


@pytest.mark.slow
def test_clipping_by_the_global_norm_scales_all_gradients_together_and_only_down():
    norm = np.sqrt(sum((array**2).sum() for array in GRADS[0].values()))
    close(
        moved(optimizers.Sgd(0.1), clips.GlobalNorm(0.5), 1),
        each(lambda p, g1, _: p - 0.1 * g1 * 0.5 / norm),
    )
    close(moved(optimizers.Sgd(0.1), clips.GlobalNorm(100.0), 1), each(lambda p, g1, _: p - 0.1 * g1))


def test_clipping_by_value_cuts_each_number():
    close(
        moved(optimizers.Sgd(0.1), clips.Value(0.6), 1),
        each(lambda p, g1, _: p - 0.1 * np.clip(g1, -0.6, 0.6)),
    )


def factors(schedule, total_steps, steps_per_epoch=4):
    """Returns the factor of each step of a run."""
    factor = schedule.make_factor(total_steps=total_steps, steps_per_epoch=steps_per_epoch)
    # One length for all, so that nothing compiles anew.
    return np.broadcast_to(np.asarray(factor(jnp.arange(64))), 64)[:total_steps]


def test_a_constant_schedule_is_one_after_warmup_and_before_cooldown():
    assert (factors(schedules.Constant(), 8) == 1).all()
    found = factors(schedules.Constant(warmup_steps=4, cooldown_steps=3), 12)
    np.testing.assert_allclose(found, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25], rtol=1e-6)


def test_a_cosine_schedule_is_one_at_the_start_half_in_the_middle_and_final_at_the_end():
    found = factors(schedules.Cosine(warmup_steps=4), 24)
    np.testing.assert_allclose(found[[0, 3, 4, 14]], [0.25, 1, 1, 0.5], rtol=1e-6)
    np.testing.assert_allclose(found[23], 0.5 * (1 + np.cos(np.pi * 19 / 20)), rtol=1e-4)
    np.testing.assert_allclose(factors(schedules.Cosine(final=0.2), 20)[[0, 10]], [1, 0.6], rtol=1e-6)


def test_a_linear_schedule_is_a_straight_line_to_final():
    np.testing.assert_allclose(factors(schedules.Linear(), 10), 1 - np.arange(10) / 10, rtol=1e-5)
    np.testing.assert_allclose(factors(schedules.Linear(final=0.5), 10), 1 - 0.5 * np.arange(10) / 10, rtol=1e-5)


def test_a_step_schedule_falls_every_so_many_epochs():
    found = factors(schedules.Step(every_epochs=2, factor=0.1), 20, steps_per_epoch=4)
    np.testing.assert_allclose(found, [*[1] * 8, *[0.1] * 8, *[0.01] * 4], rtol=1e-5)
    later = factors(schedules.Step(every_epochs=2, factor=0.1, warmup_steps=3), 20, steps_per_epoch=4)
    np.testing.assert_array_equal(later[3:], found[:17])
    assert "counted from its end" in schedules.Step.__doc__
    assert factors(schedules.Step(factor=0.0, every_epochs=1), 8).tolist() == [1] * 4 + [0] * 4
    assert factors(schedules.Step(every_epochs=2**31 - 1), 8).tolist() == [1] * 8


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_cooldown_ends_almost_at_zero(name):
    kind = registry.SCHEDULES[name]
    found = factors(kind(cooldown_steps=19), 40)
    assert 0 <= found[-1] <= 1 / 20 + 1e-6
    assert (np.diff(found[-20:]) <= 1e-6).all()


SHARES = st.floats(0, 1, width=32)


@pytest.mark.slow
@hypothesis_settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(list(SCHEDULES)),
    SHARES,
    st.integers(1, 64),
    st.integers(0, 40),
    st.integers(0, 40),
    st.integers(1, 9),
)
def test_every_schedule_stays_between_zero_and_one(name, share, total, warmup, cooldown, epoch):
    assume(warmup + cooldown <= total)
    kind = registry.SCHEDULES[name]
    extra = {"constant": {}, "step": {"factor": share, "every_epochs": 2}}.get(name, {"final": share})
    found = factors(kind(warmup_steps=warmup, cooldown_steps=cooldown, **extra), total, epoch)
    assert np.isfinite(found).all()
    assert found.min() >= 0
    assert found.max() <= 1 + 1e-6
    assert (np.diff(found[:warmup]) > 0).all()
    assert (np.diff(found[warmup:]) <= 1e-6).all()


def test_a_schedule_longer_than_the_run_is_refused():
    message = (
        "config.schedule.warmup_steps: warmup and cooldown are longer than the run's 10 steps, got 8 + 3. "
        "Use shorter ones or more epochs."
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        factors(schedules.Cosine(warmup_steps=8, cooldown_steps=3), 10)
    assert factors(schedules.Cosine(warmup_steps=8, cooldown_steps=2), 10).shape == (10,)


def test_every_name_of_a_table_is_tested():
    assert {*SCHEDULES, *ELSEWHERE} == set(registry.SCHEDULES)
    assert set(CLIPS) == set(PLAIN_CLIPS) == set(registry.CLIPS)
    assert all(type(one) is registry.SCHEDULES[name] for name, one in SCHEDULES.items())
    assert all(type(one) is registry.CLIPS[name] for name, one in CLIPS.items())


@pytest.mark.parametrize("clip", CLIPS)
@pytest.mark.parametrize("name", registry.OPTIMIZERS)
def test_the_first_state_needs_no_length_of_a_run(name, clip):
    params, _ = problem()
    found = optimizers.init_opt_state(record(name), CLIPS[clip], params)
    for schedule in SCHEDULES.values():
        expected = make(record(name), schedule, CLIPS[clip]).init(params)
        assert jax.tree.structure(found) == jax.tree.structure(expected)
        jax.tree.map(np.testing.assert_array_equal, found, expected)


def test_the_learning_rate_is_the_peak_times_the_factor():
    schedule = SCHEDULES["cosine"]
    _, learning_rate_fn = optimizers.make_tx(record("muon"), schedule, CLIPS["none"], total_steps=12, steps_per_epoch=2)
    found = np.asarray([learning_rate_fn(jnp.asarray(count)) for count in range(12)])
    np.testing.assert_allclose(found, RATES["muon"] * factors(schedule, 12), rtol=1e-6)


def test_a_moving_average_forgets_its_start():
    average, params = averages.Ema(0.9), {"kernel": jnp.asarray([1.0, 2.0])}
    means = average.init(params)
    assert means["kernel"].unsafe_buffer_pointer() != params["kernel"].unsafe_buffer_pointer()
    for count, decay in ((1, 2 / 11), (2, 3 / 12), (1000, 0.9)):
        expected = decay * np.asarray(means["kernel"]) + (1 - decay) * 5.0
        means = average.update(means, {"kernel": jnp.asarray([5.0, 5.0])}, jnp.asarray(count))
        np.testing.assert_allclose(means["kernel"], expected, rtol=1e-6)


def test_no_average_keeps_nothing():
    params = {"kernel": jnp.ones(2)}
    kept = averages.NoAverage().init(params)
    assert kept == averages.NoAverage().update(kept, params, jnp.asarray(1)) == ()
