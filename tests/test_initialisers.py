"""How kernels begin: their variances, what copies, what is orthogonal, and whitening by the training images."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import networks
import runs
from cnn import hyperparams
from cnn.config.config import ConfigError, Override
from cnn.config.resolve import resolve
from cnn.data.types import Split
from cnn.layers.base import written
from cnn.layers.initialisers import INITIALISERS, Default
from cnn.model import summary
from cnn.model.network import apply_train, init
from cnn.ops.layout import as_products
from cnn.train import preflight
from cnn.train.checkpointer import restore_classifier
from cnn.train.state import create_state, create_train_state

SIDE = (8, 8, 16)
FAN_IN, FAN_OUT = 9 * 16, 9 * 64
VARIANCES = {
    "glorot": 2 / (FAN_IN + FAN_OUT),
    "glorot('normal')": 2 / (FAN_IN + FAN_OUT),
    "he": 2 / FAN_IN,
    "he(fan='out', distribution='normal')": 2 / FAN_OUT,
    "he('in', uniform)": 2 / FAN_IN,
    "lecun": 1 / FAN_IN,
    "lecun(uniform, gain=0.3333333)": 1 / 3 / FAN_IN,
    "normal(0.1, False)": 0.01,
    "normal(0.1)": 0.01 * 0.7737,
}


def kernel(layer, shape=SIDE, name="kernel"):
    variables = networks.jit(lambda key: init(networks.chain(layer), shape, key))(jax.random.key(0))
    (arrays,) = variables["params"].values()
    return np.asarray(arrays[name], np.float64)


@pytest.mark.parametrize("text", VARIANCES)
def test_numbers_have_the_variance_of_their_initialiser(text):
    found = kernel(f"conv(64, 3, init={text})")
    assert abs(found.var() / VARIANCES[text] - 1) < 0.05
    assert abs(found.mean()) < 0.05 * found.std()


def test_a_layer_that_says_nothing_and_one_that_says_glorot_begin_with_the_same_bits():
    assert (kernel("conv(8, 3)") == kernel("conv(8, 3, init=glorot)")).all()
    assert (kernel("flatten | dense(8)") == kernel("flatten | dense(8, init=glorot)")).all()


@pytest.mark.slow
def test_orthogonal_features_are_orthogonal_and_of_one_length():
    flat = kernel("conv(16, 3, init=orthogonal(2.0))").reshape(-1, 16)
    np.testing.assert_allclose(flat.T @ flat, 4 * np.eye(16), atol=1e-5)
    flat = kernel("flatten | dense(16, init=orthogonal)", (2, 2, 2))
    np.testing.assert_allclose(flat @ flat.T, np.eye(8), atol=1e-5)


def test_zeros_are_zeros_also_of_the_scale_of_a_normalisation():
    assert not kernel("conv(8, 3, init=zeros)").any() and not kernel("flatten | dense(8, init=zeros)").any()
    for norm in ("batch_norm", "group_norm(4", "layer_norm"):
        text = f"{norm}, init=zeros)" if "(" in norm else f"{norm}(init=zeros)"
        assert not kernel(text, name="scale").any()
    assert (kernel("scale(0.25)", name="scale") == 0.25).all()


@pytest.mark.slow
def test_dirac_hands_on_its_input_and_draws_the_rest():
    images = networks.pictures(SIDE)
    for text in (
        "conv(24, 3, padding=1, init=dirac)",
        "depthwise(3, padding=1, init=dirac)",
        "conv(16, 1, init=dirac)",
    ):
        network = networks.chain(text)
        variables = init(network, SIDE, jax.random.key(0))
        made = networks.jit(lambda v, network=network: jnp.asarray(network[0].apply(images, v, "NHWC")))(
            next(iter(variables["params"].values()))
        )
        assert (made[..., :16] == images).all() and not made[..., 16:].any()
    grouped = kernel("conv(32, 3, groups=2, init=dirac)")
    assert [tuple(np.argwhere(grouped[..., f])[0]) for f in (0, 7, 16, 23)] == [(1, 1, 0), (1, 1, 7)] * 2
    mixed = kernel("conv(64, 3, init=dirac(rest=he))")
    assert mixed[..., :16].sum() == 16 and abs(mixed[..., 16:].var() / (2 / FAN_IN) - 1) < 0.05


def test_initialisers_are_written_out_and_read_back():
    for text in ("conv(8, 3, init=he)", "conv(8, 3, init=dirac(rest=lecun))", "dense(3, init=normal(std=0.5))"):
        (layer,) = summary.parse(text, {}).items
        assert written(layer) == text
    assert summary.parse("conv(8, 3, init='he')", {}).items == summary.parse("conv(8, 3, init=he)", {}).items
    assert set(INITIALISERS) == {
        *("default", "glorot", "he", "lecun", "normal", "orthogonal", "zeros", "dirac", "whiten")
    }


def config(layers, *overrides, shape=(8, 8, 3), **model):
    data = {"name": "tiny", "image_shape": shape, "classes": 2, "mean": [0.5] * shape[2], "std": [0.25] * shape[2]}
    raw = {"model": {"layers": layers, **model}, "data": data, "optimizer": {"name": "sgd", "learning_rate": 0.1}}
    return resolve(raw, overrides)


def test_the_default_is_that_of_the_config_at_any_depth_where_a_layer_says_nothing():
    text = "residual(conv(3, 1) | conv(3, 1, init=zeros)) | concat(depthwise(1), identity) | flatten | dense(classes)"
    values = config(text, init="he(fan='out')")
    inits = {row.path: written(row.layer.init) for row in values.rows if hasattr(row.layer, "init")}
    assert inits == {
        "residual1/conv1": 'he(fan="out")',
        "residual1/conv2": "zeros",
        "concat1/branch1/depthwise1": 'he(fan="out")',
        "dense1": 'he(fan="out")',
    }
    assert json.loads(values.json)["model"]["init"] == "he(fan='out')"
    assert isinstance(config(text).rows[0].layer.init, Default)
    assert written(config(text, Override("model.init", "lecun")).rows[0].layer.init) == "lecun"


REFUSED = {
    "conv(4, 2, init=xavier) | flatten | dense(classes)": "unknown name 'xavier'. Did you mean 'glorot'? Known: ",
    "conv(4, 2, init=he | zeros) | flatten | dense(classes)": "conv: init must be one of default, glorot, he,",
    "conv(4, 2, init=3) | flatten | dense(classes)": "expected calls joined by '|', got 3",
    "conv(4, 2, init='lecum') | flatten | dense(classes)": "conv: init: unknown name 'lecum'. Did you mean 'lecun'?",
    "conv(4, 2, init=normal(0)) | flatten | dense(classes)": "normal: std must be a finite number above 0, got 0",
    "relu | conv(4, 2, init=whiten) | flatten | dense(classes)": "conv(4, 2, init=whiten) at position 2 begins with "
    "init=whiten, which may only stand first",
    "residual(conv(4, 1, init=whiten), shortcut=conv(4, 1)) | flatten | dense(classes)": "which may only stand first",
    "conv(26, 2, init=whiten) | flatten | dense(classes)": "begins with init=whiten, which takes an even number of at "
    "most 24 features of all channels, got 26 in 1 group",
    "conv(3, 2, init=whiten) | flatten | dense(classes)": "got 3 in 1 group",
    "conv(3, 2, groups=3, init=whiten) | flatten | dense(classes)": "at most 8 features of all channels, got 3 in 3 gr",
}


@pytest.mark.parametrize("text", REFUSED)
def test_refuses(text):
    with pytest.raises(ConfigError, match=rf"^config\.model\.layers: .*{re.escape(REFUSED[text])}"):
        config(text)


def test_a_wrong_default_is_told_at_its_field():
    with pytest.raises(
        ConfigError, match=r"config\.model\.init: unknown name 'kaiming'\. Did you mean 'he'\? Known: def"
    ):
        config("flatten | dense(classes)", init="kaiming")
    with pytest.raises(
        ConfigError, match=r"config\.model\.init: is for all layers, got whiten\. Write conv\(24, 2, init"
    ):
        config("flatten | dense(classes)", init="whiten")


@pytest.mark.slow
def test_whitened_patches_are_uncorrelated():
    rng = np.random.default_rng(0)
    smooth = rng.normal(size=(40, 12, 12, 3)).cumsum(axis=1).cumsum(axis=2)
    pictures = np.clip(128 + 10 * smooth, 0, 255).astype(np.uint8)
    values = config(
        "conv(24, 2, use_bias=False, init=whiten(40, epsilon=1e-6)) | flatten | dense(classes)", shape=(12, 12, 3)
    )
    state = create_train_state(values, train=Split(pictures, np.zeros(40, np.int32)))
    filters = np.asarray(state.params["conv1"]["kernel"], np.float64)
    assert (filters[..., :12] == -filters[..., 12:]).all()
    assert (jax.tree.leaves(state.average) == []) or (state.average["conv1"]["kernel"] == filters).all()
    images = (pictures / 255 - 0.5) / 0.25
    patches = np.concatenate([images[:, i : i + 11, j : j + 11] for i in (0, 1) for j in (0, 1)], axis=-1).reshape(
        -1, 12
    )
    made = patches @ filters[..., :12].reshape(12, 12)
    eigenvalues = np.linalg.eigvalsh(patches.T @ patches / len(patches))[::-1]
    np.testing.assert_allclose(made.T @ made / len(made), np.diag(eigenvalues / (eigenvalues + 1e-6)), atol=1e-3)
    bare = create_train_state(values)
    assert not np.asarray(bare.params["conv1"]["kernel"]).any(), "where nothing is trained, only its shape matters"
    assert (np.asarray(bare.params["dense1"]["kernel"]) == np.asarray(state.params["dense1"]["kernel"])).all()


@pytest.mark.slow(seconds=8)
def test_a_run_begins_whitened_keeps_the_frozen_filters_and_resumes_with_the_same_bits(tmp_path, fault):
    layers = "conv(4, 2, init=whiten(50)) | relu | flatten | dense(classes)"
    overrides = [f"model.layers={layers}", "train.freeze=conv1/kernel", "eval.test=False"]
    straight, resumed = runs.stopped_and_resumed(tmp_path, fault, *overrides)
    one, other = (runs.saved(folder, "result.json")["fingerprint"] for folder in (straight, resumed))
    assert one == other
    values = runs.tiny(*overrides)
    _, classifier = restore_classifier(values, straight, "last")
    first = create_train_state(values, train=preflight.load_data(values.data).train)
    filters = np.asarray(classifier.params["conv1"]["kernel"])
    assert filters.any() and (filters == np.asarray(first.params["conv1"]["kernel"])).all()
    assert (classifier.params["dense1"]["kernel"] != first.params["dense1"]["kernel"]).any()


@pytest.mark.slow(seconds=3)
def test_numbers_of_layers_and_initialisers_are_traced_so_that_trials_of_a_sweep_share_a_program():
    text = (
        "conv(4, 2, init=normal({a})) | leaky_relu({a}) | elu({b}) | local_response_norm(3, alpha={a}) | scale({b}) | "
        "drop_path({a}) | flatten | dense(classes, init=dirac(rest=lecun(gain={b})))"
    )
    trials = [
        hyperparams.from_values(config(text.format(a=a, b=b), shape=(5, 5, 3))) for a, b in ((0.1, 0.5), (0.3, 2.0))
    ]
    assert jax.tree.structure(trials[0]) == jax.tree.structure(trials[1])
    images = networks.pictures((5, 5, 3), count=16)

    def logits(hyper):
        state = create_state(hyper, (5, 5, 3), 0)
        return apply_train(hyper.layers, {"params": state.params}, images, jax.random.key(1))[0]

    alone = [networks.jit(logits)(hyper) for hyper in trials]
    with as_products():
        together = networks.jit(jax.vmap(logits))(jax.tree.map(lambda *leaves: jnp.stack(leaves), *trials))
    networks.agree(list(together), alone, 1e-5)
    assert (alone[0] != alone[1]).any()
