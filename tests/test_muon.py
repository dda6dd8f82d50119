"""Muon: its iteration on the Gram matrix against the same written out, and against the polar factor it approaches."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn.optim import muon

SHAPES = [
    (1, 1),
    (9, 32),
    (25, 6),
    (64, 64),
    *(pytest.param(shape, marks=pytest.mark.slow) for shape in [(400, 120), (1600, 128)]),
]
orthogonalise = jax.jit(muon.orthogonalise)


def matrix(shape, smallest):
    """Returns singular vectors by chance, with singular values from 1 down to the smallest."""
    left, _, right = np.linalg.svd(np.random.default_rng(0).normal(size=shape), full_matrices=False)
    return left * np.geomspace(1, smallest, len(right)) @ right, left @ right


@jax.jit
def written_out(kernel):
    rule = optax.contrib.scale_by_muon(muon.COEFFICIENTS, muon.STEPS, beta=0.0, nesterov=False)
    return rule.update(kernel, rule.init(kernel))[0]


@pytest.mark.few(4)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("smallest", [1, 1e-2, 1e-6, 0])
def test_the_iteration_on_the_gram_matrix_equals_that_on_the_kernel(shape, smallest):
    kernel, _ = matrix(shape, smallest or 1e-30)
    kernel = jnp.asarray(kernel, jnp.float32)
    expected = written_out(kernel)
    error = np.linalg.norm(orthogonalise(kernel) - expected) / np.linalg.norm(expected)
    assert error < (1e-5 if smallest == 1 else 1e-3)


@pytest.mark.parametrize("shape", SHAPES)
def test_singular_values_come_near_one_and_vectors_stay(shape):
    kernel, polar = matrix(shape, 0.05)
    values = np.linalg.svd(polar.T @ np.asarray(orthogonalise(jnp.asarray(kernel, jnp.float32))))[1]
    values = values[: min(shape)]
    assert values.min() > 0.65
    assert values.max() < 1.25


@pytest.mark.parametrize("scale", [0, 1e-25, 1e-12, 1e12])
def test_kernels_of_any_size_keep_their_direction(scale):
    kernel = jnp.asarray(scale * matrix((25, 6), 0.1)[0], jnp.float32)
    np.testing.assert_allclose(orthogonalise(kernel), written_out(kernel), atol=1e-3)


def test_it_is_the_same_in_a_batch_of_kernels():
    kernels = jnp.stack([jnp.asarray(matrix((25, 6), low)[0], jnp.float32) for low in (1, 1e-1, 1e-3)])
    alone = jnp.stack([orthogonalise(kernel) for kernel in kernels])
    np.testing.assert_allclose(jax.vmap(orthogonalise)(kernels), alone, atol=1e-5)


@pytest.mark.slow(seconds=2)
def test_the_momentum_is_corrected_for_its_start_at_zero():
    rule, b = muon.scale_by_muon(0.95), 0.95
    gradients = np.random.default_rng(1).normal(size=(3, 4, 3)).astype(np.float32)
    state, mean = rule.init(jnp.zeros((4, 3))), np.zeros((4, 3))
    for t, grad in enumerate(gradients, 1):
        found, state = rule.update(jnp.asarray(grad), state)
        mean = b * mean + (1 - b) * grad
        ahead = b * mean / (1 - b ** (t + 1)) + (1 - b) * grad / (1 - b**t)
        np.testing.assert_allclose(found, orthogonalise(jnp.asarray(ahead, jnp.float32)), atol=1e-4)


def test_no_product_is_of_the_long_side_but_two():
    text = orthogonalise.lower(jnp.zeros((1600, 128))).as_text()
    products = [line for line in text.splitlines() if "dot_general" in line]
    assert sum("1600" in line for line in products) == 2
    assert all("HIGHEST" in line for line in products)
