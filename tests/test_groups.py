"""Groups of parameters, SAM, Lookahead, SWA and schedule-free against NumPy, PyTorch and what a run does with them."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import runs
from cnn import hyperparams
from cnn.config.config import ConfigError
from cnn.config.resolve import resolve
from cnn.data import loader
from cnn.optim import averages, clips, gradients, groups, optimizers, schedules
from cnn.runs import run_dir
from cnn.train import multi_step, step
from tests import networks, tiny

STEPS = 20
ARRAYS = {"conv1/kernel": (3, 3, 1, 2), "conv1/bias": (2,), "dense1/kernel": (8, 3), "dense1/bias": (3,)}
LAYERS = ["conv1", "relu1", "flatten1", "dense1"]


def tree(rng):
    return {
        "conv1": {"kernel": rng.normal(size=(3, 2)), "bias": rng.normal(size=2)},
        "dense1": {"kernel": rng.normal(size=(2, 3)), "bias": rng.normal(size=3)},
    }


def trees():
    """Returns parameters and the gradients of twenty steps."""
    rng = np.random.default_rng(0)
    return tree(rng), [tree(rng) for _ in range(STEPS)]


def float32(tree):
    return jax.tree.map(lambda array: jnp.asarray(array, jnp.float32), tree)


def moved(optimizer, chosen, clip=clips.NoClip()):  # noqa: B008
    """Returns the parameters after the gradients of twenty steps."""
    params, grads = trees()
    lengths = {"total_steps": STEPS, "steps_per_epoch": 5}
    schedule = schedules.Linear(final=0.5)
    tx, _ = optimizers.make_tx(optimizer, schedule, clip, **lengths, groups=chosen, layers=LAYERS)
    params = float32(params)
    state = optimizers.init_opt_state(optimizer, clip, params, chosen, LAYERS)

    @networks.jit
    def update(params, state, grads):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    for grad in grads:
        params, state = update(params, state, float32(grad))
    return params


def factor(count):
    return 1 - 0.5 * count / STEPS


GROUPS = (groups.Matching("*/bias", rate=4.0, decay=0.25), groups.Matching("dense1", rate=0.5), groups.Layerwise(0.1))
RATES = {"conv1/kernel": 0.1, "conv1/bias": 0.4, "dense1/kernel": 0.5, "dense1/bias": 2.0}
DECAYS = {"conv1/kernel": 1.0, "conv1/bias": 0.25, "dense1/kernel": 1.0, "dense1/bias": 0.25}


def of_path(tree):
    return {f"{layer}/{name}": array for layer, arrays in tree.items() for name, array in arrays.items()}


def test_each_group_moves_by_its_own_rate_and_decay_in_twenty_steps_of_numpy():
    params, grads = trees()
    expected = of_path(params)
    velocity = {path: np.zeros_like(array) for path, array in expected.items()}
    for count, grad in enumerate(grads):
        for path, array in of_path(grad).items():
            velocity[path] = 0.9 * velocity[path] + array + 0.05 * DECAYS[path] * expected[path]
            expected[path] = expected[path] - 0.1 * RATES[path] * factor(count) * velocity[path]
    found = of_path(moved(optimizers.Momentum(0.1, weight_decay=0.05, decayed="all"), GROUPS))
    for path in expected:
        np.testing.assert_allclose(found[path], expected[path], rtol=2e-5, atol=1e-6)


def test_groups_are_pytorchs_parameter_groups():
    torch = pytest.importorskip("torch")
    params, grads = trees()
    tensors = {path: torch.nn.Parameter(torch.tensor(array)) for path, array in of_path(params).items()}
    given = [
        {"params": [tensor], "lr": 0.01 * RATES[path], "weight_decay": 0.1 * DECAYS[path]}
        for path, tensor in tensors.items()
    ]
    reference = torch.optim.AdamW(given)
    rates = [group["lr"] for group in reference.param_groups]
    for count, grad in enumerate(grads):
        for path, array in of_path(grad).items():
            tensors[path].grad = torch.tensor(array)
        for group, rate in zip(reference.param_groups, rates, strict=True):
            group["lr"] = rate * factor(count)
        reference.step()
    found = of_path(moved(optimizers.AdamW(0.01, weight_decay=0.1, decayed="all"), GROUPS))
    for path, tensor in tensors.items():
        np.testing.assert_allclose(found[path], tensor.detach().numpy(), rtol=2e-4, atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", [optimizers.Adam(0.05), optimizers.Lamb(0.05)])
def test_factors_of_one_change_nothing_and_clipping_sees_all_gradients(optimizer):
    alike = (groups.Matching("conv1", rate=1.0), groups.Layerwise(1.0))
    clip = clips.GlobalNorm(0.5)
    networks.agree(moved(optimizer, alike, clip), moved(optimizer, (), clip), 1e-6)


def test_every_rate_of_an_optimizer_with_two_is_multiplied():
    from cnn.optim.muon import Muon

    still = moved(Muon(0.1, adam_learning_rate=0.1), (groups.Matching("conv1", rate=0.0),))
    params, _ = trees()
    networks.agree(still["conv1"], float32(params)["conv1"], 0)
    assert not np.array_equal(still["dense1"]["bias"], float32(params)["dense1"]["bias"])


def test_a_layers_factor_is_a_power_of_its_distance_from_the_last():
    arrays = {"batch_norm1/scale": (1,), "conv1/kernel": (3, 3, 1, 2), "batch_norm2/scale": (2,)}
    arrays |= {"residual1/conv1/kernel": (3, 3, 2, 2), "residual1/conv2/kernel": (3, 3, 2, 2), "dense1/bias": (3,)}
    arrays |= {"dense1/kernel": (8, 3)}
    layers = ["batch_norm1", "conv1", "batch_norm2", "relu1", "residual1", "flatten1", "dense1"]
    found = groups.Layerwise(0.65).powers(arrays, layers)
    depths = {"batch_norm1": 2, "conv1": 2, "batch_norm2": 2, "residual1": 1, "dense1": 0}
    assert found == {path: depths[path.split("/")[0]] for path in arrays}
    assert set(groups.Layerwise(0.65).powers({"batch_norm1/scale": (2,)}, layers).values()) == {0}


GROUPED = {"train__groups": "group('*/bias', rate=8) | layerwise(0.5)", "optimizer__name": "adamw"}


@pytest.mark.slow(seconds=4)
def test_another_factor_of_a_group_compiles_nothing_and_is_not_ignored():
    before, _ = tiny.run(tiny.resolve(**GROUPED), 1)
    count = multi_step.run_step._cache_size()
    other = tiny.resolve(**{**GROUPED, "train__groups": "group('*/bias', rate=2, decay=3) | layerwise(0.1)"})
    after, _ = tiny.run(other, 1)
    assert multi_step.run_step._cache_size() == count
    assert not np.array_equal(before.params["conv1"]["bias"], after.params["conv1"]["bias"])
    assert not np.array_equal(before.params["conv1"]["kernel"], after.params["conv1"]["kernel"])
    assert np.array_equal(before.params["dense1"]["kernel"], after.params["dense1"]["kernel"])


def test_other_patterns_are_another_program():
    texts = ["", "group('*/bias', rate=8)", "group('conv1', rate=8)", "layerwise(0.5)"]
    found = {hyperparams.structure(tiny.resolve(train__groups=text)) for text in texts}
    assert len(found) == len(texts)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("group('conv7', rate=2)", r"config\.train\.groups: group\(\"conv7\", rate=2\): matches nothing, got 'conv7'"),
        ("group('', rate=2)", r"config\.train\.groups: .*names nothing"),
        (
            "group('conv1', decay=0)",
            r"config\.train\.groups: group\(\"conv1\", decay=0\) multiplies a weight decay that adam has not, got 0\.",
        ),
        ("group('conv1', rate=-1)", "config.train.groups: group: rate must be a finite number of at least 0, got -1"),
        ("layerwise", r"layerwise needs rate: layerwise\(rate\)"),
    ],
)
def test_a_wrong_group_is_refused_in_a_line(text, message):
    with pytest.raises(ConfigError, match=message):
        tiny.resolve(train__groups=text, optimizer__name="adam")


def quadratic(params):
    """Returns the gradient of a loss that is steeper in some directions."""
    steep = {"conv1": {"kernel": 3.0, "bias": 1.0}, "dense1": {"kernel": 0.5, "bias": 2.0}}
    return {
        layer: {name: steep[layer][name] * array**3 for name, array in arrays.items()}
        for layer, arrays in params.items()
    }


def descended(take, params, rate=0.02):
    return jax.tree.map(lambda array, grad: array - rate * grad, params, take(params))


def test_sam_takes_the_gradient_where_the_loss_is_worst_in_twenty_steps_of_numpy():
    @networks.jit
    def ours(params, radius):
        return descended(lambda params: quadratic(gradients.Sam(radius).place(params, quadratic(params))), params)

    def theirs(params):
        grads = quadratic(params)
        norm = np.sqrt(sum((array**2).sum() for array in jax.tree.leaves(grads)))
        return quadratic(jax.tree.map(lambda array, grad: array + 0.3 * grad / norm, params, grads))

    expected, _ = trees()
    found = float32(expected)
    for _ in range(STEPS):
        expected, found = descended(theirs, expected), ours(found, jnp.float32(0.3))
    networks.agree(found, float32(expected), 1e-5)
    assert ours._cache_size() == 1


@pytest.mark.slow
def test_sam_stays_where_the_gradient_is_zero():
    params = float32(trees()[0])
    place = gradients.Sam(0.1).place(params, jax.tree.map(jnp.zeros_like, params))
    assert all(map(np.array_equal, jax.tree.leaves(place), jax.tree.leaves(params)))


@pytest.mark.slow(seconds=6)
def test_sam_in_a_step_keeps_the_loss_and_what_is_frozen_and_radius_zero_is_the_plain_gradient():
    given = {"model__layers": "conv(2, 3) | batch_norm | tanh | flatten | dense(classes)", "train__freeze": "conv1"}
    plain, (of_plain, *_) = tiny.run(tiny.resolve(**given), 2)
    zero, _ = tiny.run(tiny.resolve(**given, train__gradient="sam(0)"), 2)
    networks.agree(zero.params, plain.params, 1e-6)
    sam, (of_sam, *_) = tiny.run(tiny.resolve(**given, train__gradient="sam(0.5)"), 2)
    assert float(of_plain["loss"]) == float(of_sam["loss"]) and float(of_plain["grad_norm"]) != float(
        of_sam["grad_norm"]
    )
    assert np.array_equal(sam.params["conv1"]["kernel"], plain.params["conv1"]["kernel"])
    assert not np.array_equal(sam.params["dense1"]["kernel"], plain.params["dense1"]["kernel"])


@pytest.mark.slow(seconds=4)
def test_sam_takes_the_whole_batch_whatever_its_parts():
    given = {"train__gradient": "sam(0.5)", "model__layers": "conv(2, 3) | tanh | flatten | dense(classes)"}
    whole, _ = tiny.run(tiny.resolve(**given), 3)
    parts, _ = tiny.run(tiny.resolve(**given, train__accumulate_steps=4), 3)
    networks.agree(parts.params, whole.params, 1e-5)


def test_lookahead_goes_back_to_slow_weights_in_twenty_steps_of_numpy():
    average = averages.Lookahead(every=3, rate=0.4)
    fast, (grads) = trees()
    slow, params = fast, float32(fast)
    means = average.init(params)

    @networks.jit
    def ours(params, means, grads, count):
        params = jax.tree.map(lambda array, grad: array - 0.1 * grad, params, grads)
        means = average.update(means, params, count)
        return average.sync(means, params, count), means

    for count, grad in enumerate(grads, 1):
        fast = jax.tree.map(lambda array, grad: array - 0.1 * grad, fast, grad)
        if count % 3 == 0:
            slow = fast = jax.tree.map(lambda slow, fast: slow + 0.4 * (fast - slow), slow, fast)
        params, means = ours(params, means, float32(grad), jnp.int32(count))
    networks.agree(params, float32(fast), 1e-5)
    networks.agree(means, float32(slow), 1e-5)


@pytest.mark.slow(seconds=3)
def test_lookahead_may_go_another_part_of_the_way_at_the_end_of_a_run_than_at_its_start():
    changing = averages.Lookahead(every=2, rate=1.0, final=0.25, power=3.0)
    rates = [float(changing.at(jnp.float32(share)).rate) for share in (0, 0.5, 1)]
    np.testing.assert_allclose(rates, [1, 1 - 0.75 / 8, 0.25], rtol=1e-6)
    given = {"model__layers": "flatten | dense(classes)", "optimizer__name": "sgd"}
    values = {
        text: tiny.resolve(**given, train__average=text) for text in ("lookahead(2, 1, 0.25, 3)", "lookahead(2, 1)")
    }
    (changed, _), (fast, _) = (tiny.run(each, 2) for each in values.values())
    total = tiny.step_config(next(iter(values.values()))).total_steps
    rate = 1 - 0.75 * (2 / total) ** 3
    start, _ = tiny.start(values["lookahead(2, 1)"])
    # Two updates with the whole way are those of plain descent.
    expected = jax.tree.map(lambda slow, fast: slow + rate * (fast - slow), start.params, fast.params)
    networks.agree(changed.params, expected, 1e-5)
    networks.agree(changed.average, expected, 1e-5)


def test_a_run_whose_lookahead_follows_its_length_is_not_trained_longer(tmp_path):
    flags = ["train.average=lookahead(5, 1, 0.25)", "train.epochs=4"]
    before = json.loads(runs.tiny(flags[0], "train.epochs=3").json)
    (tmp_path / "config.json").write_text(json.dumps(before))
    with pytest.raises(ConfigError, match=r"here config\.train\.average=lookahead\(rate=1, final=0\.25\) does"):
        run_dir.check_same_config(runs.tiny(*flags), tmp_path)
    before = runs.tiny("train.average=lookahead(5)", "train.epochs=3")
    (tmp_path / "config.json").write_text(before.json)
    changed = run_dir.check_same_config(runs.tiny("train.average=lookahead(5)", "train.epochs=4"), tmp_path)
    assert changed == [("train.epochs", 3, 4)]


def test_swa_is_the_mean_of_every_so_many_parameters_from_a_step_on():
    average = averages.Swa(start=8, every=3)
    values = np.random.default_rng(0).normal(size=(STEPS + 1, 2))
    means = average.init({"kernel": jnp.asarray(values[0], jnp.float32)})
    for count in range(1, STEPS + 1):
        means = average.update(means, {"kernel": jnp.asarray(values[count], jnp.float32)}, jnp.int32(count))
        taken = values[8 : count + 1 : 3] if count >= 8 else values[count : count + 1]
        np.testing.assert_allclose(means["kernel"], taken.mean(axis=0), rtol=1e-5, atol=1e-6)


def schedule_free(params, grads, b1=0.9, rate=0.1):
    """Returns what training and evaluation have after each step, by NumPy."""
    y = z = x = params
    for count, grad in enumerate(grads, 1):
        z = jax.tree.map(lambda z, grad: z - rate * grad, z, grad)
        x = jax.tree.map(lambda x, z: x + (z - x) / count, x, z)  # noqa: B023
        y = jax.tree.map(lambda x, z: b1 * x + (1 - b1) * z, x, z)
        yield y, x


@pytest.mark.slow
def test_a_schedule_free_optimizer_is_evaluated_with_its_mean_in_twenty_steps_of_numpy():
    from cnn.optim import from_optax

    optimizer = from_optax.optimizer_of("optax.contrib.schedule_free_sgd")(learning_rate=0.1)
    params, grads = trees()
    tx, _ = optimizers.make_tx(
        optimizer,
        schedules.Constant(),
        clips.NoClip(),
        total_steps=STEPS,
        steps_per_epoch=5,
        groups=GROUPS[:1],
        layers=[],
    )
    found = float32(params)
    state = tx.init(found)
    rates = {"kernel": 0.1, "bias": 0.4}
    steps = {name: schedule_free(params, grads, rate=rate) for name, rate in rates.items()}
    for grad in grads:
        updates, state = tx.update(float32(grad), state, found)
        found = optax.apply_updates(found, updates)
        expected = {name: next(each) for name, each in steps.items()}
        evaluated = optimizers.eval_params(state, found)
        for layer, arrays in found.items():
            for name in arrays:
                y, x = (one[layer][name] for one in expected[name])
                np.testing.assert_allclose(found[layer][name], y, rtol=1e-4, atol=1e-5)
                np.testing.assert_allclose(evaluated[layer][name], x, rtol=1e-4, atol=1e-5)


def test_other_optimizers_are_evaluated_with_what_they_train():
    params = float32(trees()[0])
    state = optimizers.init_opt_state(optimizers.Adam(0.1), clips.NoClip(), params)
    assert optimizers.eval_params(state, params) is params


FREE = ("optimizer.name=optax.contrib.schedule_free_sgd", "optimizer.learning_rate=1", "train.freeze=*/bias")
ONE = "model.layers=flatten | dense(classes)"


@pytest.mark.slow(seconds=8)
def test_a_schedule_free_run_resumes_to_the_bit_and_another_starts_from_what_it_evaluates(tmp_path, fault):
    straight, resumed = runs.stopped_and_resumed(tmp_path, fault, *FREE)
    assert runs.outcome(straight) == runs.outcome(resumed)
    values = runs.tiny(*FREE)
    _, _, arrays = runs.final(values, straight)
    assert (
        runs.train(tmp_path / "tuned", f"init_from={straight}", "optimizer.learning_rate=1e-30", "train.epochs=1") == 0
    )
    _, _, of_tuned = runs.final(runs.tiny(f"init_from={straight}"), tmp_path / "tuned")
    for one, other in zip(arrays, of_tuned, strict=True):
        np.testing.assert_allclose(np.frombuffer(one, np.float32), np.frombuffer(other, np.float32), atol=1e-6)


@pytest.mark.slow(seconds=10)
@pytest.mark.parametrize(
    "given",
    [
        (
            "train.gradient=sam(0.1)",
            "train.groups=group('*/bias', rate=8)",
            "train.average=lookahead(5)",
            "eval.weights=ema",
        ),
        (
            "optimizer.name=optax.adafactor",
            "train.groups=layerwise(0.5)",
            "train.average=swa(12, 5)",
            "eval.weights=ema",
        ),
    ],
    ids=lambda given: given[0].split("=")[1],
)
def test_a_run_resumes_to_the_bit(given, tmp_path, fault):
    straight, resumed = runs.stopped_and_resumed(tmp_path, fault, ONE, *given)
    assert runs.outcome(straight) == runs.outcome(resumed)


@pytest.mark.slow(seconds=6)
def test_groups_gradients_and_lookahead_train_side_by_side_as_they_do_alone():
    given = {"train__gradient": "sam(0.1)", "train__average": "lookahead(2)"}
    every = [tiny.resolve(**given, train__groups=f"group('*/bias', rate={rate})") for rate in (1, 4)]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(tiny.start(values)[0] for values in every))
    step_config, images = tiny.step_config(every[0]), tiny.split()

    @networks.jit
    def together(states, rows):
        batch = loader.Examples(images.images[rows], images.labels[rows])
        return jax.vmap(step.train_step, in_axes=(0, None, None))(states, batch, step_config)

    for number in range(3):
        stacked, _ = together(stacked, tiny.rows(number))
    for lane, values in enumerate(every):
        alone, _ = tiny.run(values, 3)
        networks.agree(jax.tree.map(lambda array, lane=lane: array[lane], stacked.params), alone.params, 1e-4)


def test_an_unknown_gradient_is_refused_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"config\.train\.gradient: unknown name 'samm'. Did you mean 'sam'\?"):
        resolve({**tiny.RAW, "train": {"gradient": "samm"}})
