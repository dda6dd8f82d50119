"""The network that the layers describe: shapes, names, statistics, dropout, what is captured."""

import functools
import re

import flax.errors
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cnn.layers.base import Layer, LayerError, Shard
from cnn.layers.combine import Branches
from cnn.layers.convolution import Conv, Depthwise
from cnn.layers.dense import Dense
from cnn.layers.normalisation import BatchNorm, GroupNorm
from cnn.layers.pooling import AvgPool, MaxPool
from cnn.model import summary
from cnn.model.network import apply, apply_train, capture, init
from cnn.ops.layout import as_products
from cnn.registry import LAYERS
from tests import networks, oracles

pytestmark = pytest.mark.compiled

SIDE = st.integers(1, 4)
PAIR = st.tuples(SIDE, SIDE)
PADDING = st.sampled_from(["valid", "same", ((1, 1), (1, 1)), ((0, 1), (2, 0))])


@st.composite
def chains(draw, shape, length=5, nesting=2):
    """Draws layers that fit `shape`, one after another; what does not fit is left out."""
    chosen = []
    for _ in range(draw(st.integers(0, length))):
        layer = draw(_layer(shape, nesting))
        try:
            shape = layer.output(shape)
        except LayerError:
            continue
        assume(int(np.prod(shape)) <= 4000)
        chosen.append(layer)
    return tuple(chosen)


@st.composite
def _layer(draw, shape, nesting):
    everywhere = ["relu", "gelu", "silu", "tanh", "sigmoid", "batch_norm", "group_norm", "dropout", "flatten", "dense"]
    everywhere += [
        "leaky_relu",
        "elu",
        "relu6",
        "hard_swish",
        "layer_norm",
        "local_response_norm",
        "scale",
        "drop_path",
    ]
    on_maps = ["conv", "max_pool", "avg_pool", "global_avg_pool", "global_max_pool", "depthwise", "upsample"]
    on_maps += ["adaptive_avg_pool"]
    # The kinds on maps twice, so that the shapes change often.
    names = [*on_maps, *on_maps, *everywhere] if len(shape) == 3 else everywhere
    name = draw(st.sampled_from([*names, "residual", "concat", "multiply"] if nesting else names))
    kind = LAYERS[name]
    divisors = [n for n in range(1, shape[-1] + 1) if shape[-1] % n == 0]
    if name == "conv":
        groups = draw(st.sampled_from(divisors))
        features = groups * draw(st.integers(1, 3))
        return kind(features, draw(PAIR), draw(PAIR), draw(PADDING), draw(PAIR), groups, draw(st.booleans()))
    if name in ("max_pool", "avg_pool"):
        return kind(draw(PAIR), draw(PAIR), draw(PADDING))
    if name == "depthwise":
        return kind(draw(PAIR), draw(SIDE), draw(PAIR), draw(PADDING), draw(PAIR), draw(st.booleans()))
    if name == "upsample":
        return kind(draw(PAIR), draw(st.sampled_from(["nearest", "bilinear"])))
    if name == "adaptive_avg_pool":
        return kind(draw(PAIR))
    if name in ("local_response_norm", "drop_path"):
        return kind(draw(st.sampled_from([1, 3, 5]))) if name == "local_response_norm" else kind(0.5)
    if name == "group_norm":
        return kind(draw(st.sampled_from(divisors)))
    if name in ("dense", "dropout"):
        return kind(draw(st.integers(1, 5))) if name == "dense" else kind(0.5)
    if name in ("residual", "concat", "multiply"):
        body = draw(chains(shape, 3, nesting - 1))
        assume(body)
        if name != "residual":
            return kind((body, (LAYERS["identity"](),), body))
        return kind(body, () if networks.network_output(body, shape) == shape else body)
    return kind()


@st.composite
def networks_on_images(draw):
    shape = draw(st.tuples(st.integers(1, 11), st.integers(1, 11), st.integers(1, 4)))
    return draw(chains(shape)), shape


def declared(rows, collection):
    """Returns the shapes that the rows declare, by path."""
    return {
        f"{row.path}/{parameter.name}": parameter.shape
        for row in rows
        for parameter in row.parameters
        if parameter.collection == collection
    }


def owned(tree):
    """Returns the shapes that the model made, by path."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {"/".join(key.key for key in path): leaf.shape for path, leaf in leaves}


def check_declared_equals_traced(network, shape):
    rows = summary.trace(network, shape)

    captured = []

    def run(key):
        variables = init(network, shape, key)
        images = jnp.zeros((2, *shape))
        outputs = capture(network, variables, images)
        captured.extend(outputs)
        trained, stats = apply_train(network, variables, images, key)
        return variables, outputs, apply(network, variables, images), trained, stats

    variables, outputs, logits, trained, stats = jax.eval_shape(run, jax.random.key(0))
    assert {path: output.shape[1:] for path, output in outputs.items()} == {row.path: row.output for row in rows}
    assert captured == [row.path for row in rows]
    assert logits.shape == trained.shape == (2, *networks.network_output(network, shape))
    assert owned(variables["params"]) == declared(rows, "params")
    assert owned(variables["batch_stats"]) == owned(stats) == declared(rows, "batch_stats")
    counted = [summary.count_parameters(rows, name) for name in ("params", "batch_stats")]
    assert counted == [sum(x.size for x in jax.tree.leaves(variables[name])) for name in ("params", "batch_stats")]


class Strange(Layer):
    """A kind that no table knows."""

    kind = "strange"


def test_a_layer_that_nothing_computes_says_what_it_lacks():
    with pytest.raises(LayerError, match=r"strange is a layer that nothing computes. Give its class Strange a"):
        init((Strange(),), (4, 4, 1), jax.random.key(0))


@settings(max_examples=8, deadline=None)
@given(networks_on_images())
def test_declared_shapes_and_parameters_are_those_that_jax_traces(case):
    check_declared_equals_traced(*case)


@pytest.mark.thorough
@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(networks_on_images())
def test_declared_shapes_and_parameters_of_very_many_networks_are_those_that_jax_traces(case):
    check_declared_equals_traced(*case)


EVERYTHING = (
    "conv(4, 3, padding='same', dilation=2) | batch_norm | relu | max_pool(3, strides=2) | "
    "residual(conv(6, (3, 1), groups=2) | group_norm(3) | gelu | residual(silu | sigmoid), shortcut=conv(6, (3, 1))) | "
    "avg_pool(2, padding='same') | tanh | dropout(0.5) | concat(identity, depthwise(3, 2, padding=1) | layer_norm) | "
    "multiply(elu(0.5), global_avg_pool | dense(18) | hard_sigmoid) | upsample((2, 1), 'bilinear') | "
    "residual(local_response_norm(3, alpha=0.5) | hard_swish | leaky_relu(0.2) | scale(0.5) | drop_path(0.5)) | "
    "relu6 | adaptive_avg_pool((7, 4)) | conv(3, (3, 2), strides=2, padding=((0, 1), (1, 0))) | "
    "residual(flatten | dense(5), shortcut=global_avg_pool | dense(5)) | "
    "residual(relu, shortcut=dense(5)) | dense(3) | softmax"
)


@pytest.mark.slow
def test_one_network_of_all_kinds_is_traced_as_declared():
    network = networks.chain(EVERYTHING)
    assert {row.layer.kind for row in summary.trace(network, (13, 11, 2))} == set(LAYERS) - {"global_max_pool"}
    check_declared_equals_traced(network, (13, 11, 2))


def numpy_layer(layer, arrays, x):
    """Returns what one layer makes of a batch, in float64."""
    arrays = {name: np.asarray(array, np.float64) for name, array in arrays.items()}
    if isinstance(layer, Depthwise):
        layer = layer.conv(x.shape[-1])
    if isinstance(layer, Conv):
        options = {
            "strides": layer.strides,
            "padding": layer.padding,
            "dilation": layer.dilation,
            "groups": layer.groups,
        }
        return oracles.conv2d(x, arrays["kernel"], arrays.get("bias", 0.0), **options)
    if isinstance(layer, (MaxPool, AvgPool)):
        pool = oracles.max_pool if isinstance(layer, MaxPool) else oracles.avg_pool
        return pool(x, layer.window, layer.strides, layer.padding)
    if isinstance(layer, Dense):
        return oracles.dense(x, arrays["kernel"], arrays.get("bias", 0.0))
    if isinstance(layer, BatchNorm):
        return numpy_batch_norm(layer, arrays, x, arrays["mean"], arrays["var"])
    if isinstance(layer, GroupNorm):
        return numpy_group_norm(layer, arrays, x)
    return {
        "global_avg_pool": lambda: x.mean((1, 2)),
        "global_max_pool": lambda: x.max((1, 2)),
        "adaptive_avg_pool": lambda: numpy_adaptive_avg_pool(layer, x),
        "flatten": lambda: x.reshape(len(x), -1),
        "relu": lambda: np.maximum(x, 0),
        "gelu": lambda: x * 0.5 * (1 + np.vectorize(__import__("math").erf)(x / np.sqrt(2))),
        "silu": lambda: x / (1 + np.exp(-x)),
        "tanh": lambda: np.tanh(x),
        "sigmoid": lambda: 1 / (1 + np.exp(-x)),
        "dropout": lambda: x,
        "drop_path": lambda: x,
        "identity": lambda: x,
        "relu6": lambda: np.minimum(np.maximum(x, 0), 6),
        "leaky_relu": lambda: np.where(x > 0, x, layer.slope * x),
        "elu": lambda: np.where(x > 0, x, layer.alpha * (np.exp(x) - 1)),
        "hard_sigmoid": lambda: np.minimum(np.maximum(x + 3, 0), 6) / 6,
        "hard_swish": lambda: x * np.minimum(np.maximum(x + 3, 0), 6) / 6,
        "layer_norm": lambda: numpy_layer_norm(layer, arrays, x),
        "local_response_norm": lambda: numpy_local_response_norm(layer, x),
        "scale": lambda: x * arrays["scale"],
        "upsample": lambda: numpy_upsample(layer, x),
        "softmax": lambda: np.exp(x) / np.exp(x).sum(-1, keepdims=True),
    }[layer.kind]()


def numpy_batch_norm(layer, arrays, x, mean, var):
    return (x - mean) / np.sqrt(var + layer.epsilon) * arrays["scale"] + arrays["bias"]


def numpy_group_norm(layer, arrays, x):
    normal = np.empty_like(x)
    size = x.shape[-1] // layer.groups
    for image in range(len(x)):
        for group in range(layer.groups):
            part = x[image, ..., group * size : (group + 1) * size]
            normal[image, ..., group * size : (group + 1) * size] = (part - part.mean()) / np.sqrt(
                part.var() + layer.epsilon
            )
    return normal * arrays["scale"] + arrays["bias"]


JOINS = {
    "residual": sum,
    "concat": lambda parts: np.concatenate(parts, axis=-1),
    "multiply": lambda parts: parts[0] * (parts[1] if parts[1].ndim == parts[0].ndim else parts[1][:, None, None]),
}


def numpy_adaptive_avg_pool(layer, x):
    """Takes the mean of each window by itself."""
    (height, width), (rows, columns) = x.shape[1:3], layer.size
    parts = [
        [
            x[
                :,
                i * height // rows : -((i + 1) * height // -rows),
                j * width // columns : -((j + 1) * width // -columns),
            ]
            for j in range(columns)
        ]
        for i in range(rows)
    ]
    return np.stack([np.stack([part.mean((1, 2)) for part in row], axis=1) for row in parts], axis=1)


def numpy_upsample(layer, x):
    """Blends the two nearest rows, then the two nearest columns, pixel by pixel."""
    for axis, factor in ((1, layer.factor[0]), (2, layer.factor[1])):
        size, taken = x.shape[axis], []
        for pixel in range(size * factor):
            middle = min(max((pixel + 0.5) / factor - 0.5, 0), size - 1)
            low = int(middle)
            share = middle - low if layer.method == "bilinear" else 0
            low = low if layer.method == "bilinear" else pixel // factor
            taken.append(x.take(low, axis) * (1 - share) + x.take(min(low + 1, size - 1), axis) * share)
        x = np.stack(taken, axis)
    return x


def numpy_layer_norm(layer, arrays, x):
    mean, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    return (x - mean) / np.sqrt(var + layer.epsilon) * arrays["scale"] + arrays["bias"]


def numpy_local_response_norm(layer, x):
    out, half = np.empty_like(x), layer.size // 2
    for channel in range(x.shape[-1]):
        near = x[..., max(0, channel - half) : channel + half + 1]
        out[..., channel] = x[..., channel] / (layer.k + layer.alpha * (near**2).sum(-1)) ** layer.beta
    return out


def numpy_chain(network, variables, x, prefix=""):
    """Returns what every layer produced, by its path."""
    outputs = {}
    for name, layer in summary.named(network):
        if isinstance(layer, Branches):
            inner = {key: tree.get(name, {}) for key, tree in variables.items()}
            ends = []
            for branch in layer.chains:
                scope = {key: tree.get(branch.scope, {}) for key, tree in inner.items()} if branch.scope else inner
                made = numpy_chain(branch.layers, scope, x, branch.prefix(prefix + name))
                ends.append([*made.values()][-1] if made else x)
                outputs |= made
            x = JOINS[layer.kind](ends)
        else:
            x = numpy_layer(layer, {**variables["params"].get(name, {}), **variables["batch_stats"].get(name, {})}, x)
        outputs[prefix + name] = x
    return outputs


@pytest.mark.slow(seconds=2)
def test_every_layer_of_a_network_of_all_kinds_computes_what_numpy_does():
    network, shape = networks.chain(EVERYTHING), (13, 11, 2)
    variables, images = networks.variables(network, shape), networks.pictures(shape)
    outputs, logits = networks.jit(
        lambda images: (capture(network, variables, images), apply(network, variables, images))
    )(images)
    expected = numpy_chain(network, variables, np.asarray(images, np.float64))
    assert set(outputs) == set(expected)
    for path, output in outputs.items():
        np.testing.assert_allclose(output, expected[path], rtol=1e-4, atol=1e-5, err_msg=path)
    np.testing.assert_allclose(outputs["softmax1"], jax.nn.softmax(logits), rtol=1e-5)
    np.testing.assert_allclose(logits, outputs["dense1"], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(outputs["softmax1"].sum(-1), 1, rtol=1e-5)


def test_softmax_changes_what_is_captured_and_not_the_logits():
    bare, shown = networks.chain("flatten | dense(4)"), networks.chain("flatten | dense(4) | softmax")
    variables, images = networks.variables(bare, (3, 3, 1)), networks.pictures((3, 3, 1))
    assert (apply(bare, variables, images) == apply(shown, variables, images)).all()
    captured = capture(shown, variables, images)["softmax1"]
    assert (captured == jax.nn.softmax(apply(shown, variables, images))).all()


@pytest.mark.slow
def test_new_kernels_are_glorot_uniform_biases_zero_scales_one():
    network = networks.chain("conv(32, 3) | batch_norm | flatten | dense(50)")
    variables = networks.jit(lambda key: init(network, (8, 8, 4), key))(jax.random.key(0))
    params = variables["params"]
    for kernel, fans in ((params["conv1"]["kernel"], 9 * 4 + 9 * 32), (params["dense1"]["kernel"], 36 * 32 + 50)):
        limit = np.sqrt(6 / fans)
        assert np.abs(kernel).max() <= limit
        assert abs(float(kernel.std()) / (limit / np.sqrt(3)) - 1) < 0.1
        assert abs(float(kernel.mean())) < 0.1 * limit
    assert not params["conv1"]["bias"].any() and not params["dense1"]["bias"].any()
    assert (params["batch_norm1"]["scale"] == 1).all() and (variables["batch_stats"]["batch_norm1"]["var"] == 1).all()


@pytest.mark.slow
def test_a_network_without_parameters_has_empty_variables():
    network = networks.chain("global_max_pool")
    variables = init(network, (3, 3, 5), jax.random.key(0))
    assert variables == {"params": {}, "batch_stats": {}}
    images = networks.pictures((3, 3, 5))
    assert (apply(network, variables, images) == images.max((1, 2))).all()


NORM = "batch_norm(momentum=0.75, epsilon=0.01)"


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("text", "shape", "axes"), [(NORM, (4, 3, 2), (0, 1, 2)), (f"flatten | {NORM}", (1, 2, 3), (0,))]
)
def test_batch_norm_normalises_by_the_batch_in_training_and_by_running_statistics_after(text, shape, axes):
    network = networks.chain(text)
    layer = network[-1]
    variables = networks.variables(network, shape)
    arrays = {k: np.asarray(v, np.float64) for tree in variables.values() for k, v in tree["batch_norm1"].items()}
    mean, var = arrays["mean"], arrays["var"]
    for step in range(3):
        images = 3 + 2 * networks.pictures(shape, count=5, seed=step)
        x = np.asarray(images, np.float64).reshape((5, *networks.network_output(network, shape)))
        trained, stats = apply_train(network, variables, images, jax.random.key(0))
        np.testing.assert_allclose(
            trained, numpy_batch_norm(layer, arrays, x, x.mean(axes), x.var(axes)), rtol=1e-4, atol=1e-4
        )
        mean, var = 0.75 * mean + 0.25 * x.mean(axes), 0.75 * var + 0.25 * x.var(axes)
        np.testing.assert_allclose(stats["batch_norm1"]["mean"], mean, rtol=1e-5)
        np.testing.assert_allclose(stats["batch_norm1"]["var"], var, rtol=1e-5)
        variables = {**variables, "batch_stats": stats}
        evaluated = apply(network, variables, images)
        np.testing.assert_allclose(evaluated, numpy_batch_norm(layer, arrays, x, mean, var), rtol=1e-4, atol=1e-4)
    assert not np.allclose(trained, evaluated, atol=0.1)


def test_evaluation_of_an_image_does_not_depend_on_the_rest_of_the_batch():
    network = networks.chain("conv(2, 3) | batch_norm | relu | group_norm(2) | dropout(0.5) | flatten | dense(3)")
    variables, images = networks.variables(network, (5, 5, 1)), networks.pictures((5, 5, 1), count=4)
    together, alone = networks.jit(lambda: [apply(network, variables, part) for part in (images, images[2:3])])()
    np.testing.assert_allclose(together[2:3], alone, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_group_norm_is_the_same_in_training_and_has_nothing_to_measure():
    network = networks.chain("group_norm(2, epsilon=0.1)")
    variables, images = networks.variables(network, (4, 3, 6)), networks.pictures((4, 3, 6))
    trained, stats = apply_train(network, variables, images, jax.random.key(0))
    arrays = {name: np.asarray(array, np.float64) for name, array in variables["params"]["group_norm1"].items()}
    np.testing.assert_allclose(
        trained, numpy_group_norm(network[0], arrays, np.asarray(images, np.float64)), rtol=1e-4, atol=1e-5
    )
    assert (trained == apply(network, variables, images)).all()
    assert stats == {}


@functools.cache
def training(text):
    """Returns the compiled network of layers without parameters, as training computes it."""
    network = networks.chain(text)
    return networks.jit(lambda images, key: apply_train(network, {"params": {}}, images, key)[0])


def dropped(text, images, seed=0):
    return np.asarray(training(text)(images, jax.random.key(seed)))


@pytest.mark.slow
def test_dropout_of_rate_zero_and_dropout_in_evaluation_change_nothing():
    images = networks.pictures((4, 4, 2))
    assert (dropped("dropout(0)", images) == images).all()
    assert (apply(networks.chain("dropout(0.9)"), {}, images) == images).all()


@pytest.mark.parametrize("rate", [0.25, 0.9])
def test_dropout_zeroes_its_share_and_keeps_the_mean(rate):
    images = jnp.ones((8, 40, 40, 2))
    found = dropped(f"dropout({rate})", images)
    assert abs((found == 0).mean() - rate) < 0.01
    np.testing.assert_allclose(found[found != 0], 1 / (1 - rate), rtol=1e-5)
    assert abs(found.mean() - 1) < 0.05


@pytest.mark.slow
def test_dropout_draws_by_the_key_and_anew_for_each_layer():
    images = jnp.ones((2, 8, 8, 2))
    once = dropped("dropout(0.5)", images)
    assert (once == dropped("dropout(0.5)", images)).all()
    assert (once != dropped("dropout(0.5)", images, seed=1)).any()
    twice = dropped("dropout(0.5) | dropout(0.5)", images)
    assert 0.15 < (twice != 0).mean() < 0.35
    inside = dropped("residual(dropout(0.5), shortcut=dropout(0.5))", images)
    assert set(np.unique(inside)) == {0, 2, 4}


@pytest.mark.slow
def test_a_residual_is_the_sum_of_its_sides():
    images = networks.pictures((4, 4, 2))
    assert (apply(networks.chain("residual(relu)"), {}, images) == images + jax.nn.relu(images)).all()
    both = apply(networks.chain("residual(relu | max_pool(2), shortcut=avg_pool(2))"), {}, images)
    apart = [apply(networks.chain(text), {}, images) for text in ("relu | max_pool(2)", "avg_pool(2)")]
    assert (both == apart[0] + apart[1]).all()


@pytest.mark.slow
def test_bfloat16_computes_nearly_the_same_and_returns_float32():
    network, shape = networks.chain(EVERYTHING), (13, 11, 2)
    variables, images = networks.variables(network, shape), networks.pictures(shape)
    run = networks.jit(
        lambda images: [apply(network, variables, images, dtype=dtype) for dtype in (jnp.float32, jnp.bfloat16)]
    )
    exact, rough = run(images)
    assert exact.dtype == rough.dtype == jnp.float32
    assert (exact != rough).any()
    networks.agree(rough, exact, 0.05)
    assert (
        jax.eval_shape(lambda: apply_train(network, variables, images, jax.random.key(0), dtype=jnp.bfloat16))[0].dtype
        == jnp.float32
    )


@pytest.mark.slow
def test_drop_path_drops_whole_examples_at_its_rate_keeps_the_mean_and_draws_by_the_row():
    images = jnp.ones((400, 3, 3, 2))
    found = dropped("drop_path(0.25)", images)
    assert set(np.unique(found)) == {0, np.float32(1 / 0.75)}
    kept = found.reshape(400, -1).any(axis=1)
    assert (found.reshape(400, -1).all(axis=1) == kept).all() and abs(kept.mean() - 0.75) < 0.07
    assert (dropped("flatten | drop_path(0.25)", images).any(axis=1) == kept).all()
    assert (apply(networks.chain("drop_path(0.9)"), {}, images) == images).all()
    microbatches = apply_train(
        networks.chain("drop_path(0.25)"), {"params": {}}, images, jax.random.key(0), shard=Shard(microbatch=40)
    )
    assert (np.asarray(microbatches[0]) == found).all()


@pytest.mark.slow(seconds=2)
def test_a_network_of_all_kinds_computes_the_same_in_both_layouts_and_in_microbatches():
    network, shape = networks.chain(EVERYTHING.replace("batch_norm | ", "")), (13, 11, 2)
    variables, images = networks.variables(network, shape), networks.pictures(shape, count=8)

    def trained(platform, microbatch):
        return apply_train(
            network, variables, images, jax.random.key(0), platform=platform, shard=Shard(microbatch=microbatch)
        )[0]

    plain, batch_last, parts = networks.jit(lambda: (trained("gpu", None), trained("cpu", None), trained("cpu", 4)))()
    networks.agree(batch_last, plain, 1e-4)
    networks.agree(parts, plain, 1e-4)


@pytest.mark.slow(seconds=3)
def test_a_network_of_all_kinds_computes_the_same_for_many_trials_at_once():
    network, shape = networks.chain(EVERYTHING), (13, 11, 2)
    trials, images = [networks.variables(network, shape, seed) for seed in (0, 1)], networks.pictures(shape)

    def trained(variables):
        return apply_train(network, variables, images, jax.random.key(0))[0]

    alone = [networks.jit(trained)(variables) for variables in trials]
    with as_products():
        together = networks.jit(jax.vmap(trained))(jax.tree.map(lambda *arrays: jnp.stack(arrays), *trials))
    networks.agree(list(together), alone, 1e-4)


@pytest.mark.slow
def test_images_of_another_size_or_depth_are_refused():
    network = networks.chain("conv(2, 3) | flatten | dense(3)")
    variables = networks.variables(network, (5, 5, 1))
    for shape in ((5, 5, 2), (6, 5, 1)):
        with pytest.raises(flax.errors.ScopeParamShapeError, match=re.escape("expected to generate shape")):
            apply(network, variables, networks.pictures(shape))
