"""The loss in the step and on the host: against each other, and where float64 is at its ends."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn import losses

RNG = np.random.default_rng(0)
LOGITS, LABELS = RNG.normal(0, 3, (20, 7)).astype(np.float32), RNG.integers(0, 7, 20)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_the_loss_is_the_cross_entropy_of_labels_blended_with_the_uniform_distribution(smoothing):
    labels = optax.smooth_labels(jax.nn.one_hot(LABELS, 7), smoothing)
    found = losses.SoftmaxCrossEntropy()(jnp.asarray(LOGITS), labels)
    blended = (1 - smoothing) * np.eye(7)[LABELS] + smoothing / 7
    np.testing.assert_allclose(found, -(blended * losses.log_softmax(LOGITS)).sum(1), rtol=1e-5)
    assert found.shape == (20,)


def test_without_smoothing_it_is_the_hosts_cross_entropy():
    found = losses.SoftmaxCrossEntropy()(jnp.asarray(LOGITS), jax.nn.one_hot(LABELS, 7))
    np.testing.assert_allclose(found, losses.cross_entropy(LOGITS, LABELS), rtol=1e-5)


def test_the_softmax_of_a_row_is_that_of_the_row_in_a_table():
    table = losses.softmax(LOGITS)
    assert table.dtype == np.float64
    np.testing.assert_allclose(table.sum(1), 1, rtol=1e-15)
    np.testing.assert_array_equal(table, [losses.softmax(row) for row in LOGITS])
    np.testing.assert_allclose(np.log(table), losses.log_softmax(LOGITS), rtol=1e-12)


def test_the_largest_float32_overflows_nothing():
    logits = np.array([[3e38, 3e38, -3e38]], np.float32)
    np.testing.assert_allclose(losses.log_softmax(logits)[0, :2], -np.log(2), rtol=1e-15)
    assert losses.softmax(logits).tolist() == [[0.5, 0.5, 0.0]]
