"""The training step: sums, accumulation, scan, averages, what is not finite, seeds, types."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import runs
from cnn import hyperparams
from cnn.data import loader
from cnn.layers.base import Shard
from cnn.model.microbatch import microbatch_size
from cnn.model.network import apply, apply_train
from cnn.optim import OPTIMIZERS, averages
from cnn.train import multi_step
from cnn.train.state import _create
from cnn.train.step import gradient_fn, train_step
from tests import networks, tiny

pytestmark = pytest.mark.compiled

RICH = {
    **tiny.RAW,
    "model": {"layers": "conv(2, 3) | relu | max_pool(2) | flatten | dropout(0.25) | dense(classes)"},
    "data": {**tiny.RAW["data"], "augment": "shift(1) | mixup(0.4)"},
    "optimizer": {"name": "momentum", "learning_rate": 0.05},
    "train": {"batch_size": 8, "average": "ema(0.8)"},
}


def host(tree):
    return jax.tree.map(np.asarray, tree)


def same_bits(one, other):
    one, other = jax.tree.leaves(host(one)), jax.tree.leaves(host(other))
    return len(one) == len(other) and all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))


def learned(state):
    return state.params, state.batch_stats, state.opt_state, state.average


def finite(tree):
    return all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(host(tree)))


def forward(values, params, images):
    return apply(values.layers, {"params": params}, images.astype(jnp.float32) / 255)


@functools.cache
def plain():
    """Returns the tiny config, its state before the first update, its metrics and the state after 5 updates."""
    values = tiny.resolve()
    state, _ = tiny.start(values)
    before = host(state)
    after, history = tiny.run(values, 5)
    return values, before, host(after), host(history)


def test_the_loss_goes_down_and_the_step_counts_updates():
    values, before, after, _ = plain()
    assert (int(before.step), int(after.step)) == (0, 5)
    assert int(after.bad_step) == -1
    assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(after.params))
    _, history = tiny.run(values, 20)
    assert sum(float(m["loss"]) for m in history[-4:]) < 0.7 * sum(float(m["loss"]) for m in history[:4])


@pytest.mark.slow
def test_metrics_are_sums_with_their_count():
    values, before, _, history = plain()
    images = tiny.split()
    logits = forward(values, before.params, images.images[:8])
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, images.labels[:8])
    first = history[0]
    np.testing.assert_allclose(first["loss"], losses.sum(), rtol=1e-5)
    assert first["correct"] == (logits.argmax(-1) == images.labels[:8]).sum()
    assert first["count"] == 8
    assert first["learning_rate"] == np.float32(0.1)
    assert set(first) == {"loss", "correct", "count", "grad_norm", "learning_rate"}
    change = jax.tree.map(lambda a, b: (a - b) / 0.1, before.params, host(tiny.run(values, 1)[0]).params)
    np.testing.assert_allclose(first["grad_norm"], optax.tree.norm(change), rtol=1e-4)


@pytest.mark.slow
def test_the_state_holds_arrays_only():
    state, _ = tiny.start(tiny.resolve(RICH))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
    assert not any(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in jax.tree.leaves(state))
    assert state.step.dtype == state.bad_step.dtype == jnp.int32


@pytest.mark.slow
@pytest.mark.parametrize("parts", [2, 4])
def test_accumulating_parts_equals_one_batch_within_rounding(parts):
    _, _, after, history = plain()
    parted, parted_history = tiny.run(tiny.resolve(train__accumulate_steps=parts), 5)
    networks.agree(parted.params, after.params, 1e-5)
    networks.agree(parted_history, history, 1e-5)


CUT = "conv(2, 3) | tanh | max_pool(2) | flatten | dense(classes)"
WHOLE = "conv(2, 3) | batch_norm(0.9) | tanh | max_pool(2) | flatten | dense(classes)"


def gradients(text, count):
    """Returns the gradients of a step on so many examples, with the rest of what the step sums; and of them at once."""
    values = tiny.resolve({**tiny.RAW, "model": {"layers": text}})
    compiled, images = tiny.step_config(values), tiny.split(count)
    variables = networks.variables(values.layers, tiny.SHAPE)
    state = _create(
        hyperparams.from_values(values),
        jax.random.key_data(jax.random.key(0)),
        image_shape=tiny.SHAPE,
        frozen=(),
    )._replace(**variables)
    pictures, labels = state.classifier().preprocess(images.images), jax.nn.one_hot(images.labels, tiny.CLASSES)

    def loss_fn(params):
        logits, batch_stats = apply_train(
            values.layers, {**variables, "params": params}, pictures, jax.random.key(0), platform="gpu"
        )
        correct = (logits.argmax(-1) == images.labels).sum(dtype=jnp.float32)
        loss = optax.softmax_cross_entropy(logits, labels).sum()
        return loss / count, (batch_stats, loss, correct)

    @networks.jit
    def both(params):
        grads, others = jax.grad(loss_fn, has_aux=True)(params)
        given = {**variables, "params": params}
        ours = gradient_fn(compiled)(state.hyper, given, *images[:3], jax.random.key(0))
        return tuple(ours), (grads, *others, None)

    return both(variables["params"])


@pytest.mark.thorough(2)
@pytest.mark.few(1)
@pytest.mark.parametrize(
    "text",
    [
        CUT,
        WHOLE,
        pytest.param(
            "residual(conv(2, 3, padding='same'), shortcut=conv(2, 1) | batch_norm) | relu | " + CUT,
            marks=pytest.mark.slow,
        ),
    ],
)
@pytest.mark.parametrize("count", [96, pytest.param(67, marks=pytest.mark.slow)])
def test_gradients_by_microbatches_are_those_of_the_whole_batch(text, count):
    assert microbatch_size(96, 1000, "cpu") == 48
    assert microbatch_size(67, 1000, "cpu") == 67
    ours, whole = gradients(text, count)
    # Not relative to each leaf: the bias before a batch normalisation has no gradient but rounding.
    jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5), ours, whole)


LAYERS = (
    "conv(8, 3, padding='same') | batch_norm | relu | max_pool(2) | group_norm(2) | "
    "residual(conv(8, 3, padding='same') | batch_norm | dropout(0.5), shortcut=conv(8, 1)) | silu | "
    "max_pool(2, strides=1) | avg_pool(2) | dropout(0.25) | {end} | dense(3)"
)


@pytest.mark.thorough(1)
@pytest.mark.slow
@pytest.mark.parametrize("end", ["global_max_pool", "global_avg_pool", "flatten"])
def test_layers_that_take_a_batch_by_microbatches_compute_and_draw_what_they_do_at_once(end):
    shape = (9, 8, 2)
    network = networks.chain(LAYERS.format(end=end))
    variables, images = networks.variables(network, shape), networks.pictures(shape, count=6)

    @networks.jit
    def run(variables, images):
        def loss(params, **options):
            logits, batch_stats = apply_train(
                network, {**variables, "params": params}, images, jax.random.key(0), **options
            )
            return (logits * jnp.cos(jnp.arange(logits.size)).reshape(logits.shape)).sum(), batch_stats

        gradient = jax.value_and_grad(loss, has_aux=True)
        ways = {"shard": Shard(microbatch=2), "platform": "cpu"}, {"platform": "cpu"}, {"platform": "gpu"}
        return [gradient(variables["params"], **options) for options in ways]

    pieces, at_once, plain = run(variables, images)
    # Not relative to each leaf, for the same reason.
    for (value, stats), grads in pieces, at_once:
        networks.agree((value, stats), plain[0], 1e-5)
        jax.tree.map(lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4), grads, plain[1])


@pytest.mark.slow
@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_a_step_scatters_nothing(platform, monkeypatch):
    # Scatters are slow on a CPU, and their sums are in no fixed order on a GPU.
    monkeypatch.setattr(jax, "default_backend", lambda: {"cuda": "gpu"}.get(platform, platform))
    layers = (
        "conv(8, 3) | batch_norm | relu | max_pool(2) | conv(8, 3, padding='same') | relu | max_pool(3, strides=2) | "
        "dropout(0.1) | conv(8, 1) | max_pool(2, strides=1) | avg_pool(2) | {end} | dense(classes)"
    )
    for end, augment in ("global_max_pool", "flip(0.5)"), ("global_avg_pool", "shift(1) | mixup(0.4)"):
        raw = {**tiny.RAW, "model": {"layers": layers.format(end=end)}}
        raw["data"] = {**tiny.RAW["data"], "image_shape": (17, 16, 3), "augment": augment}
        values = tiny.resolve(raw)
        compiled = tiny.step_config(values)
        abstract = functools.partial(_create, image_shape=(17, 16, 3), frozen=())
        state = jax.eval_shape(abstract, hyperparams.from_values(values), jax.random.key_data(jax.random.key(0)))
        batch = loader.Examples(
            jax.ShapeDtypeStruct((64, 17, 16, 3), jnp.uint8), jax.ShapeDtypeStruct((64,), jnp.int32)
        )
        step = jax.jit(functools.partial(train_step, step_config=compiled))
        text = step.trace(state, batch).lower(lowering_platforms=(platform,)).as_text()
        assert "stablehlo.convolution" in text or platform == "cpu"
        assert "scatter" not in text


@pytest.mark.slow
def test_a_scan_of_steps_equals_the_steps_one_by_one_within_rounding():
    values, _, after, history = plain()
    state, compiled = tiny.start(values)
    rows = jnp.stack([tiny.rows(step) for step in range(5)])
    scanned, metrics = multi_step.run_scan(state, tiny.split(), rows, step_config=compiled)
    networks.agree(host(scanned.params), after.params, 1e-5)
    stacked = jax.tree.map(lambda *numbers: np.stack(numbers), *history)
    networks.agree(host(metrics), stacked, 1e-5)
    assert int(scanned.step) == 5


@pytest.mark.slow
def test_label_smoothing_is_its_closed_form():
    values, before, _, history = plain()
    _, smoothed = tiny.run(tiny.resolve(train__label_smoothing=0.2), 1)
    images = tiny.split()
    log = jax.nn.log_softmax(forward(values, before.params, images.images[:8]))
    targets = 0.8 * jax.nn.one_hot(images.labels[:8], 3) + 0.2 / 3
    np.testing.assert_allclose(smoothed[0]["loss"], -(targets * log).sum(), rtol=1e-5)
    assert smoothed[0]["correct"] == history[0]["correct"]


WEIGHTS = np.array([1.0, 3.0, 0.2])


@pytest.mark.thorough(2)
@pytest.mark.slow
@pytest.mark.parametrize("parts", [1, 2])
@pytest.mark.parametrize("unusable", [0, 3])
def test_a_weighted_loss_is_divided_by_the_sum_of_the_weights(parts, unusable):
    chosen = {"train__class_weights": "weights((1, 3, 0.2))", "train__label_smoothing": 0.2, "optimizer__name": "sgd"}
    skips = {"data__on_error": "skip"} if unusable else {}
    values = tiny.resolve(**chosen, **skips, train__accumulate_steps=parts)
    state, compiled = tiny.start(values)
    before, images = host(state.params), tiny.split()
    usable = np.arange(8) >= unusable
    marked = images._replace(labels=images.labels.at[:unusable].set(-1))
    after, metrics = multi_step.run_step(state, marked, tiny.rows(0), step_config=compiled)
    labels = np.eye(3)[np.asarray(images.labels[:8])]
    weights = (labels @ WEIGHTS)[usable]

    def mean(params):
        log = jax.nn.log_softmax(forward(values, params, images.images[:8]))
        losses = -((0.8 * labels + 0.2 / 3) * log).sum(1)[usable]
        return (losses * weights).sum() / weights.sum(), losses

    (expected, losses), grads = jax.value_and_grad(mean, has_aux=True)(before)
    np.testing.assert_allclose(metrics["loss"], (np.asarray(losses) * weights).sum(), rtol=1e-5)
    np.testing.assert_allclose(metrics["weight"], weights.sum(), rtol=1e-6)
    assert metrics["count"] == usable.sum()
    np.testing.assert_allclose(metrics["loss"] / metrics["weight"], expected, rtol=1e-5)
    rate = values.optimizer.learning_rate
    networks.agree(host(after.params), jax.tree.map(lambda old, grad: old - rate * grad, before, grads), 1e-5)


@pytest.mark.slow
def test_a_batch_that_weighs_nothing_changes_nothing():
    values = tiny.resolve(train__class_weights="weights((0, 0, 1))", optimizer__name="sgd")
    state, compiled = tiny.start(values)
    before, images = host(state.params), tiny.split()
    images = images._replace(labels=jnp.zeros_like(images.labels))
    after, metrics = multi_step.run_step(state, images, tiny.rows(0), step_config=compiled)
    assert (float(metrics["loss"]), float(metrics["weight"]), int(after.bad_step)) == (0, 0, -1)
    networks.agree(host(after.params), before, 0)


@pytest.mark.slow
def test_weights_average_as_a_loop_in_numpy_does():
    values = tiny.resolve(train__average="ema(0.3)")
    state, compiled = tiny.start(values)
    mean = host(state.average)
    assert same_bits(mean, state.params)
    for step in range(5):
        state, _ = multi_step.run_step(state, tiny.split(), tiny.rows(step), step_config=compiled)
        decay = min(0.3, (2 + step) / (11 + step))
        mean = jax.tree.map(lambda old, new, d=decay: d * old + (1 - d) * np.asarray(new), mean, state.params)
        networks.agree(host(state.average), mean, 1e-6)
    assert not same_bits(state.average, state.params)
    assert averages.Ema(0.3) == values.train.average


def test_no_average_is_kept_unless_asked():
    assert plain()[2].average == ()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bits_and_another_one_others():
    values = tiny.resolve(RICH)
    one, history = tiny.run(values, 3, seed=7)
    other, other_history = tiny.run(values, 3, seed=7)
    assert same_bits(one, other)
    assert same_bits(history, other_history)
    assert not same_bits(one.params, tiny.run(values, 3, seed=8)[0].params)


def poisoned(step):
    """Returns batches as the step sees them, the pictures of one of them NaN."""
    images = tiny.split()
    for number in itertools.count():
        rows = tiny.rows(number)
        pictures = images.images[rows].astype(jnp.float32)
        yield loader.Examples(jnp.where(number == step, jnp.nan, pictures), images.labels[rows])


@functools.cache
def float_step(compiled):
    return networks.jit(lambda state, batch: train_step(state, batch, compiled))


@pytest.mark.few(1)
@pytest.mark.parametrize("bad", [0, 2])
def test_a_batch_that_is_not_finite_leaves_the_last_finite_state_and_its_number(bad):
    state, compiled = tiny.start(tiny.resolve({**tiny.RAW, "train": {"batch_size": 8, "average": "ema(0.9)"}}))
    states = [host(state)]
    for number, batch in zip(range(5), poisoned(bad), strict=False):
        state, metrics = float_step(compiled)(state, batch)
        states.append(host(state))
        assert int(state.bad_step) == (bad if number >= bad else -1)
        assert bool(np.isnan(metrics["loss"])) == (number == bad)
    assert finite(learned(state))
    for later in states[bad + 1 :]:
        assert same_bits(learned(later), learned(states[bad]))
    if bad:
        assert not same_bits(states[bad].params, states[bad - 1].params)


def test_a_huge_learning_rate_leaves_the_last_finite_state_and_its_number():
    state, compiled = tiny.start(tiny.resolve(optimizer__learning_rate="3e38"))
    for step in range(4):
        kept = host(learned(state))
        state, _ = multi_step.run_step(state, tiny.split(), tiny.rows(step), step_config=compiled)
        assert finite(learned(state))
        if int(state.bad_step) >= 0:
            break
    assert int(state.bad_step) == step
    assert same_bits(learned(state), kept)
    again, _ = multi_step.run_step(state, tiny.split(), tiny.rows(0), step_config=compiled)
    assert int(again.bad_step) == step
    assert same_bits(learned(again), kept)


@pytest.mark.slow
def test_an_update_that_would_overflow_is_not_made():
    # The loss and the gradient are finite here; only the product with the learning rate is not.
    raw = {**tiny.RAW, "model": {"layers": "flatten | dense(classes)"}}
    state, compiled = tiny.start(tiny.resolve(raw, optimizer__learning_rate="3e38", data__std="(0.01,)"))
    kept = host(state.params)
    batch = loader.Examples(tiny.split().images[:8].astype(jnp.float32), tiny.split().labels[:8])
    after, metrics = float_step(compiled)(state, batch)
    assert np.isfinite([metrics["loss"], metrics["grad_norm"]]).all()
    assert int(after.bad_step) == 0
    assert same_bits(after.params, kept)


@pytest.mark.slow
def test_bfloat16_computes_nearly_the_same_and_keeps_float32():
    _, _, after, history = plain()
    state, rough = tiny.run(tiny.resolve(train__compute_dtype="bfloat16"), 5)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((state.params, rough)))
    assert not same_bits(state.params, after.params)
    networks.agree(host(state.params), after.params, 0.05)
    np.testing.assert_allclose(rough[-1]["loss"], history[-1]["loss"], rtol=0.02)


@pytest.mark.slow(seconds=2)
def test_augmentation_and_dropout_draw_anew_at_each_step_and_nowhere_else():
    values = tiny.resolve(RICH)
    compiled = tiny.step_config(values)
    batch = loader.Examples(tiny.split().images[:8], tiny.split().labels[:8])

    @networks.jit
    def metrics_at(step, seed):
        key = jax.random.key_data(jax.random.key(0))
        state = _create(hyperparams.from_values(values), key, image_shape=tiny.SHAPE, frozen=())
        state = state._replace(step=step, key=jax.random.key_data(jax.random.key(seed)))
        return train_step(state, batch, compiled)[1]["loss"]

    losses = [float(metrics_at(step, 1)) for step in range(4)]
    assert len(set(losses)) == 4
    assert float(metrics_at(2, 1)) == losses[2]
    assert float(metrics_at(2, 2)) != losses[2]


def standardised(values, images):
    return networks.make_classifier(values, {"params": {}, "batch_stats": {}}).preprocess(images)


@pytest.mark.slow
def test_pictures_are_standardised_by_mean_and_deviation():
    values = tiny.resolve(data__mean="(0.25,)", data__std="(0.5,)")
    images = tiny.split().images
    found = standardised(values, images)
    np.testing.assert_allclose(found, (np.asarray(images) / 255 - 0.25) / 0.5, rtol=1e-5, atol=1e-6)
    raw = {**tiny.RAW, "data": {**tiny.RAW["data"], "image_shape": (8, 8, 2), "mean": (0.1, 0.2), "std": (1.0, 2.0)}}
    found = standardised(tiny.resolve(raw), jnp.full((1, 8, 8, 2), 255, jnp.uint8))
    np.testing.assert_allclose(found[0, 0, 0], [0.9, 0.4], rtol=1e-6)


@pytest.mark.slow
def test_batch_statistics_move_with_the_batches_and_stand_still_once_diverged():
    raw = {**tiny.RAW, "model": {"layers": "flatten | batch_norm(0.5) | dense(classes)"}}
    values = tiny.resolve(raw)
    state, compiled = tiny.start(values)
    images = tiny.split()
    before = host(state.batch_stats["batch_norm1"])
    step = float_step(compiled)
    pictures = images.images[:8].astype(jnp.float32)
    state, _ = step(state, loader.Examples(pictures, images.labels[:8]))
    flat = np.asarray(pictures).reshape(8, -1) / 255
    found = host(state.batch_stats["batch_norm1"])
    np.testing.assert_allclose(found["mean"], 0.5 * before["mean"] + 0.5 * flat.mean(0), rtol=1e-4)
    np.testing.assert_allclose(found["var"], 0.5 * before["var"] + 0.5 * flat.var(0), rtol=1e-4)
    state, _ = step(state, loader.Examples(pictures * jnp.nan, images.labels[:8]))
    assert same_bits(state.batch_stats["batch_norm1"], found)


@pytest.mark.thorough(4)
@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_trains_a_network_with_convolutions(name):
    rate = {"sgd": 0.1, "momentum": 0.1, "nesterov": 0.1, "muon": 0.05}.get(name, 0.02)
    raw = {**tiny.RAW, "optimizer": {"name": name, "learning_rate": rate}}
    state, history = tiny.run(tiny.resolve(raw), 20)
    assert finite(learned(state))
    assert sum(float(m["loss"]) for m in history[-4:]) < sum(float(m["loss"]) for m in history[:4])


@pytest.mark.slow
def test_a_network_without_parameters_can_be_stepped():
    raw = {**tiny.RAW, "model": {"layers": "global_avg_pool"}}
    raw["data"] = {**tiny.RAW["data"], "image_shape": (8, 8, 3)}
    state, compiled = tiny.start(tiny.resolve(raw))
    images = loader.Examples(jnp.zeros((8, 8, 8, 3), jnp.uint8), jnp.zeros(8, jnp.int32))
    state, metrics = multi_step.run_step(state, images, tiny.rows(0), step_config=compiled)
    assert int(state.bad_step) == -1
    assert float(metrics["loss"]) == pytest.approx(8 * np.log(3), rel=1e-5)


@pytest.mark.parametrize(
    "layers", [tiny.RAW["model"]["layers"], "conv(8, 3) | batch_norm | relu | flatten | dense(classes)"]
)
@pytest.mark.slow(seconds=2)
def test_where_the_calls_of_a_loop_end_leaves_no_trace(layers):
    values = tiny.resolve(model__layers=layers)
    rows = np.stack([tiny.rows(step) for step in range(6)]).astype(np.int32)
    way = multi_step.Dispatch("loop", 6)
    outcomes = []
    for ends in (6,), (2, 3, 6), (1, 2, 3, 4, 5, 6):
        state, compiled = tiny.start(values)
        before, calls, lengths = 0, [], []
        for end in ends:
            run, arguments = way.call(rows[before:end])
            state, metrics = run(state, tiny.split(), *arguments, step_config=compiled)
            calls.append(metrics)
            lengths.append(end - before)
            before = end
        outcomes.append((host(state), multi_step.joined(calls, lengths)))
    assert int(outcomes[0][0].step) == 6
    assert outcomes[0][1]["loss"].shape == (6,)
    for outcome in outcomes[1:]:
        assert same_bits(outcome, outcomes[0])


@pytest.mark.parametrize(
    ("overrides", "way"),
    [
        ({}, ("loop", 64)),
        ({"train__log_every_steps": 5}, ("loop", 64)),  # recording more often is no other program
        ({"train__dispatch": "step"}, ("step", 1)),
        ({"train__dispatch": "scan"}, ("scan", None)),
        # 62 * 62 * 64 * 9 * 64 + 62 * 62 * 64 * 3 products an image, six operations each, 64 images: 55 GFLOP.
        ({"data__image_shape": (64, 64, 64), "model__layers": "conv(64, 3) | flatten | dense(classes)"}, ("loop", 5)),
        ({"data__image_shape": (256, 256, 64), "model__layers": "conv(64, 3) | flatten | dense(classes)"}, ("loop", 1)),
    ],
)
def test_a_call_makes_as_many_steps_as_take_a_moment(overrides, way):
    assert multi_step.dispatch_of(tiny.resolve(train__batch_size=64, **overrides)) == way


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_epoch_in_one_dispatch_moves_nothing_between_host_and_device_and_reuses_the_state(dtype):
    values = tiny.resolve(train__compute_dtype=dtype)
    state, step_config = tiny.start(values)
    split, rows = tiny.split(), jnp.stack([tiny.rows(step) for step in range(4)])
    state, _ = multi_step.run_scan(state, split, rows, step_config=step_config)
    with jax.transfer_guard("disallow"):
        after, metrics = multi_step.run_scan(state, split, rows, step_config=step_config)
        with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
            jax.block_until_ready(jnp.add(rows, np.ones(2, np.int32)[0]))
    assert metrics["loss"].shape == (4,)
    assert int(after.step) == 8
    assert all(leaf.is_deleted() for leaf in jax.tree.leaves((state.params, state.opt_state)))


@pytest.mark.parametrize(
    ("average", "said"),
    [
        ("lookahead(every=37)", "config.train.average: lookahead's slow parameters take no step in the run's 36 steps"),
    ],
)
def test_an_average_that_waits_for_longer_than_the_run_is_refused(average, said, tmp_path, capsys):
    assert runs.train(tmp_path / "run", f"train.average={average}") == 2
    assert said in capsys.readouterr().err
