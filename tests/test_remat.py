"""What is computed a second time for the gradients: the same gradients, less kept."""

import jax
import numpy as np
import pytest

from cnn.model import fusion
from cnn.model.network import apply_train
from tests import networks, tiny

pytestmark = pytest.mark.compiled

LAYERS = (
    "4 * (conv(4, 3, padding='same') | batch_norm(0.9) | gelu) | max_pool(2) | "
    "residual(conv(4, 3, padding='same') | batch_norm | gelu | dropout(0.3)) | flatten | dense(3)"
)
SHAPE = (8, 8, 1)


def loss(network, variables, remat, platform):
    def compute(params):
        logits, batch_stats = apply_train(
            network,
            {**variables, "params": params},
            networks.pictures(SHAPE, count=4),
            jax.random.key(0),
            remat=remat,
            platform=platform,
        )
        return (logits**2).sum(), batch_stats

    return compute


@pytest.mark.thorough(2)
@pytest.mark.slow
@pytest.mark.parametrize("platform", ["cpu", "gpu"])
def test_gradients_and_statistics_are_the_same(platform):
    network = networks.chain(LAYERS)
    variables = networks.variables(network, SHAPE)
    found = {
        remat: networks.jit(jax.value_and_grad(loss(network, variables, remat, platform), has_aux=True))(
            variables["params"]
        )
        for remat in ("none", "layers", "blocks")
    }
    for remat in "layers", "blocks":
        jax.tree.map(
            lambda one, other: np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4),
            found[remat],
            found["none"],
        )


@pytest.mark.slow
def test_less_is_kept_between_forward_and_backward():
    network = networks.chain(LAYERS)
    variables = networks.variables(network, SHAPE)

    def kept(remat):
        # What `vjp` returns is a tree of what the backward pass reads.
        backward = jax.eval_shape(
            lambda params: jax.vjp(lambda p: loss(network, variables, remat, "gpu")(p)[0], params)[1],
            variables["params"],
        )
        return sum(leaf.size for leaf in jax.tree.leaves(backward))

    none, layers, blocks = (kept(remat) for remat in ("none", "layers", "blocks"))
    assert blocks < layers < none
    assert blocks < none / 2


@pytest.mark.slow
def test_the_compiler_of_an_accelerator_is_told_to_compute_it_again():
    network = networks.chain(LAYERS)
    variables = networks.variables(network, SHAPE)
    for remat, barriers in ("none", False), ("blocks", True):
        step = jax.jit(jax.grad(loss(network, variables, remat, "gpu"), has_aux=True))
        text = step.trace(variables["params"]).lower(lowering_platforms=("cuda",)).as_text()
        assert ("optimization_barrier" in text) == barriers


def test_blocks_are_about_the_square_root_of_the_layers():
    def lengths(count, remat):
        return [
            len(block) for block in fusion.blocks(fusion.singles(networks.chain(" | ".join(["relu"] * count))), remat)
        ]

    assert lengths(9, "none") == [9]
    assert lengths(3, "layers") == [1, 1, 1]
    assert lengths(9, "blocks") == [3, 3, 3]
    assert lengths(10, "blocks") == [4, 4, 2]
    assert fusion.blocks((), "blocks") == fusion.blocks((), "none") == []


@pytest.mark.slow
def test_a_run_that_computes_again_trains_the_same():
    plain, history = tiny.run(tiny.resolve(), 3)
    again, other = tiny.run(tiny.resolve(train__remat="blocks"), 3)
    networks.agree(again.params, plain.params, 1e-5)
    networks.agree(other, history, 1e-5)
