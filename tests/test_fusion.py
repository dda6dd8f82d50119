"""Fused layers compute what they compute one by one: logits, gradients, names."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from cnn.layers.activation import Relu
from cnn.layers.convolution import Conv
from cnn.layers.pooling import MaxPool
from cnn.model import fusion, summary
from cnn.model.network import _Chain
from cnn.model.network import apply as network_apply
from tests import networks

pytestmark = pytest.mark.compiled

TAIL = " | flatten | dense(3)"
FUSED = {
    # expression: (image shape, operations of more than one layer)
    "conv(4, 3) | relu | max_pool(2)": (8, 7, 2),
    "conv(4, 3, use_bias=False) | relu | max_pool(2)": (9, 8, 2),
    "conv(4, 3) | tanh | max_pool(2)": (8, 8, 1),
    "conv(4, 3) | sigmoid | max_pool(3)": (12, 9, 1),
    "conv(4, 3) | max_pool(2)": (8, 8, 1),
    "conv(4, 3) | relu | tanh | max_pool(2)": (8, 8, 1),
    "conv(4, 3) | tanh | relu | sigmoid | max_pool(2)": (8, 8, 1),
    "conv(4, 3) | relu | max_pool(3, strides=2)": (10, 9, 1),
    "conv(4, 3) | relu | max_pool(2, strides=3)": (12, 11, 1),
    "conv(4, 3, strides=2) | relu | max_pool(2)": (12, 15, 1),
    "conv(4, 3, dilation=2) | relu | max_pool(2)": (11, 12, 1),
    "conv(4, (1, 3), dilation=(3, 1)) | relu | max_pool((2, 1))": (7, 9, 1),
    "conv(4, 3, padding='same') | relu | max_pool(2)": (7, 9, 1),
    "conv(4, 3) | relu | max_pool(2, padding='same')": (7, 9, 1),
    "conv(4, 3, padding='same', strides=2) | tanh | max_pool(3, strides=1, padding='same')": (9, 7, 1),
    "conv(4, 3, groups=2) | relu | max_pool(2)": (9, 7, 2),
    "conv(4, 3, padding=1) | leaky_relu(0.1) | max_pool(2)": (8, 7, 2),
    "conv(8, 3, padding=((0, 2), (1, 0))) | relu6 | max_pool(2)": (9, 8, 8),
    "conv(4, 3, strides=2, padding=1) | elu | max_pool(3, 2, padding=1)": (9, 11, 2),
    "conv(4, 3, padding=1) | hard_sigmoid | max_pool(2, padding=((0, 1), (1, 0)))": (9, 8, 2),
}
APART = {
    "conv(4, 3) | gelu | max_pool(2)": (8, 8, 1),
    "conv(4, 3) | silu | max_pool(2)": (8, 8, 1),
    "conv(4, 3) | relu | gelu | max_pool(2)": (8, 8, 1),
    "conv(4, 3) | relu | avg_pool(2)": (9, 8, 1),
    "conv(4, 3) | batch_norm | relu | max_pool(2)": (8, 8, 1),
    "conv(4, 3) | dropout(0) | max_pool(2)": (8, 8, 1),
    "relu | max_pool(2)": (8, 8, 1),
    "depthwise(3, padding=1) | relu | max_pool(2)": (8, 8, 4),
    "conv(4, 3) | hard_swish | max_pool(2)": (8, 8, 1),
    "conv(4, 3) | relu": (8, 8, 1),
}
NESTED = {
    "conv(4, 3) | relu | max_pool(2) | residual(conv(4, 3, padding='same') | relu | max_pool(1), shortcut=relu)": (
        10, 9, 1,
    ),
    "conv(4, 3) | conv(4, 2) | tanh | max_pool(2) | conv(2, 2) | relu | max_pool(2, padding='same')": (11, 10, 2),
}  # fmt: skip


def chain(text):
    return networks.chain(text + TAIL)


def setup(text, shape):
    network = chain(text)
    return network, networks.variables(network, shape), networks.pictures(shape)


def values_and_grads(network, variables, images, *, fused, dtype=jnp.float32):
    """Returns the logits and the gradients of a weighted sum of them, of layers fused or one by one."""

    def loss(params):
        module = _Chain(network, fused=fused)
        logits = module.apply({**variables, "params": params}, images.astype(dtype)).astype(jnp.float32)
        return (logits * jnp.cos(jnp.arange(logits.size)).reshape(logits.shape)).sum(), logits

    (_, logits), grads = jax.value_and_grad(loss, has_aux=True)(variables["params"])
    return logits, grads


INDEPENDENT = {
    "conv(4, 3) | group_norm(2) | relu | dropout(0.5) | max_pool(2)": True,
    "residual(conv(4, 3, padding='same') | relu, shortcut=conv(4, 1))": True,
    "conv(4, 3) | batch_norm | relu": False,
    "residual(conv(4, 3, padding='same') | batch_norm, shortcut=conv(4, 1))": False,
    "residual(conv(4, 3, padding='same'), shortcut=conv(4, 1) | batch_norm)": False,
    "residual(residual(batch_norm) | relu) | relu": False,
}


@pytest.mark.parametrize("text", INDEPENDENT)
def test_examples_depend_on_each_other_only_through_the_statistics_of_a_batch(text):
    assert fusion.independent(chain(text), (8, 8, 4)) == INDEPENDENT[text]


# The rest of the cases run with the slow tests.
FAST = (
    "conv(4, 3) | relu | max_pool(2)",
    "conv(4, 3, use_bias=False) | relu | max_pool(2)",
    "conv(4, 3) | relu | tanh | max_pool(2)",
    "conv(4, 3) | relu | max_pool(3, strides=2)",
    "conv(4, 3, padding='same') | relu | max_pool(2)",
    "conv(4, 3, dilation=2) | relu | max_pool(2)",
)


def all_cases():
    return [text if text in FAST else pytest.param(text, marks=pytest.mark.slow) for text in (*FUSED, *APART, *NESTED)]


@pytest.mark.thorough(8)
@pytest.mark.parametrize("text", all_cases())
@pytest.mark.slow(seconds=1)
def test_logits_and_gradients_are_those_of_layers_one_by_one(text):
    network, variables, images = setup(text, {**FUSED, **APART, **NESTED}[text])

    @networks.jit
    def both(variables, images):
        return [values_and_grads(network, variables, images, fused=fused) for fused in (True, False)]

    fast, plain = both(variables, images)
    networks.agree(fast, plain, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("text", ["conv(4, 3) | relu | max_pool(2)"])
def test_fused_and_unfused_agree_under_vmap_over_parameters(text):
    shape = (9, 8, 1)
    network, variables, images = setup(text, shape)
    lanes = jax.tree.map(lambda array: jnp.stack([array, 0.5 * array, -array]), variables)

    @networks.jit
    def both(lanes, images):
        return [
            jax.vmap(lambda variables, fused=fused: values_and_grads(network, variables, images, fused=fused))(lanes)
            for fused in (True, False)
        ]

    fast, plain = both(lanes, images)
    networks.agree(fast, plain, 1e-5)


@pytest.mark.slow(seconds=1)
def test_in_bfloat16_the_logits_are_the_same_and_the_gradients_nearer_to_those_of_float32():
    # Adding a bias before pooling rounds different numbers to equal ones, which then share a gradient.
    network, shape = chain("conv(4, 3, padding='same') | sigmoid | max_pool(2)"), (8, 7, 2)
    variables, images = networks.variables(network, shape), networks.pictures(shape, count=16)

    @networks.jit
    def run():
        return [
            values_and_grads(network, variables, images, fused=fused, dtype=dtype)
            for fused, dtype in ((False, jnp.float32), (True, jnp.bfloat16), (False, jnp.bfloat16))
        ]

    (exact, exact_grads), (fast, fast_grads), (plain, plain_grads) = run()
    assert (fast == plain).all()
    networks.agree(fast, exact, 1e-2)
    assert distance(fast_grads, exact_grads) < distance(plain_grads, exact_grads) < 0.1


def distance(found, expected):
    found, expected = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)]) for tree in (found, expected))
    return np.linalg.norm(found - expected) / np.linalg.norm(expected)


def fused(text):
    return [group for group in fusion.fuse(chain(text)) if isinstance(group, fusion.ConvPool)]


@pytest.mark.parametrize("text", FUSED)
def test_a_convolution_with_functions_that_never_decrease_is_pooled_first(text):
    (group,) = fused(text)
    written = [group.conv, *group.activations, group.pool]
    assert tuple(written) == chain(text)[: len(written)]
    assert group.name == "conv1"


@pytest.mark.parametrize("text", APART)
def test_what_does_not_commute_stays_apart(text):
    assert fused(text) == []
    assert fusion.fuse(chain(text)) == fusion.singles(chain(text))


def test_unfused_is_one_operation_a_layer_under_its_stable_name():
    network = chain("conv(4, 3) | relu | max_pool(2) | conv(4, 1)")
    assert [(group.name, group.layer) for group in fusion.singles(network)] == summary.named(network)


def test_fusing_holds_every_layer_once_and_in_order():
    network = chain("relu | conv(4, 3) | relu | max_pool(2) | conv(4, 1) | conv(4, 1) | max_pool(1) | relu")
    held = []
    for group in fusion.fuse(network):
        held += [group.conv, *group.activations, group.pool] if isinstance(group, fusion.ConvPool) else [group.layer]
    assert tuple(held) == network
    assert [group.name for group in fusion.fuse(network)] == [
        "relu1",
        "conv1",
        "conv2",
        "conv3",
        "relu3",
        "flatten1",
        "dense1",
    ]
    assert fusion.fuse(()) == ()


@pytest.mark.few(4)
@pytest.mark.parametrize("text", [*FUSED, *NESTED])
def test_fused_or_not_a_network_owns_the_same_parameters(text):
    network, shape = chain(text), {**FUSED, **NESTED}[text]

    def init(fused):
        return jax.eval_shape(
            lambda key: _Chain(network, fused=fused).init(key, jnp.zeros((1, *shape))),
            jax.random.key(0),
        )

    assert init(True) == init(False)


def test_rows_and_columns_that_the_pooling_leaves_unread_are_not_computed():
    pool = MaxPool((2, 2))
    assert fusion.ConvPool("conv1", Conv(4, (3, 3)), (Relu(),), pool).crop((13, 13, 1)) == (12, 12)
    assert fusion.ConvPool("conv1", Conv(4, (3, 3)), (Relu(),), pool).crop((28, 27, 1)) == (28, 26)
    assert fusion.ConvPool("conv1", Conv(4, (3, 3), (2, 2)), (), pool).crop((12, 15, 1)) == (9, 13)
    assert fusion.ConvPool("conv1", Conv(4, (3, 3), padding="same"), (), pool).crop((13, 13, 1)) == (13, 13)
    assert fusion.ConvPool("conv1", Conv(4, (3, 3)), (), MaxPool((2, 2), padding="same")).crop((13, 13, 1)) == (13, 13)


@pytest.mark.slow
def test_unread_rows_do_not_reach_the_logits():
    network, variables, images = setup("conv(4, 3) | relu | max_pool(2)", (9, 9, 1))
    changed = images.at[:, 8].set(1e6).at[:, :, 8].set(-1e6)
    apply = networks.jit(lambda images: network_apply(network, variables, images))
    assert (apply(images) == apply(changed)).all()


@pytest.mark.slow
def test_a_picture_that_is_not_finite_is_not_hidden_by_the_pooling():
    network, variables, images = setup("conv(4, 3) | relu | max_pool(2)", (8, 8, 1))
    apply = networks.jit(lambda images: network_apply(network, variables, images))
    logits = apply(images.at[0, 3, 3].set(jnp.nan))
    assert np.isnan(logits[0]).all()
    assert np.isfinite(logits[1:]).all()


@pytest.mark.parametrize(
    ("text", "shape", "largest"),
    [
        ("conv(4, 3) | relu | max_pool(2) | flatten | dense(3)", (8, 8, 1), 8 * 8),
        ("conv(8, 3) | relu | max_pool(2) | flatten | dense(3)", (8, 8, 1), 8 * 9),
        ("conv(4, 3) | gelu | max_pool(2) | flatten | dense(3)", (8, 8, 1), 4 * 36),
        ("flatten | dense(100) | dense(3)", (4, 4, 3), 100),
        ("residual(conv(5, 1) | relu | conv(3, 1)) | flatten | dense(2)", (4, 4, 3), 5 * 16),
        ("residual(conv(3, 1), shortcut=conv(6, 1) | conv(3, 1)) | flatten", (4, 4, 3), 6 * 16),
    ],
)
def test_the_widest_map_is_that_between_two_groups(text, shape, largest):
    assert fusion.widest(chain(text), shape) == largest
