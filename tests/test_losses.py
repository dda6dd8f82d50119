"""The losses against their closed forms, on the device and on the host, and what the examples of a class weigh."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from cnn import losses
from cnn.expression import build_one

RNG = np.random.default_rng(0)
LOGITS, LABELS = RNG.normal(0, 3, (20, 7)).astype(np.float32), RNG.integers(0, 7, 20)
SOFT = RNG.dirichlet(np.ones(7), 20).astype(np.float32)
COUNTS = np.array([6, 0, 3, 1])


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


def test_the_sigmoid_loss_is_the_mean_over_the_classes_of_their_binary_cross_entropies():
    labels = RNG.integers(0, 2, (20, 7)).astype(np.float32)  # several classes a picture, or none
    found = losses.SigmoidCrossEntropy()(jnp.asarray(LOGITS), jnp.asarray(labels))
    shares = 1 / (1 + np.exp(-LOGITS.astype(np.float64)))
    expected = -(labels * np.log(shares) + (1 - labels) * np.log(1 - shares)).mean(1)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0, 5.0])
@pytest.mark.parametrize("labels", [np.eye(7, dtype=np.float32)[LABELS], SOFT], ids=["one-hot", "soft"])
def test_the_focal_loss_is_its_closed_form(gamma, labels):
    found = losses.Focal(gamma)(jnp.asarray(LOGITS), jnp.asarray(labels))
    shares = losses.softmax(LOGITS)
    np.testing.assert_allclose(found, -(labels * (1 - shares) ** gamma * np.log(shares)).sum(1), rtol=2e-4, atol=1e-7)


@pytest.mark.parametrize("labels", [np.eye(7, dtype=np.float32)[LABELS], SOFT], ids=["one-hot", "soft"])
def test_the_gradient_of_the_focal_loss_with_gamma_0_is_that_of_the_softmax_cross_entropy(labels):
    def gradient(loss):
        return jax.grad(lambda logits: loss(logits, jnp.asarray(labels)).sum())(jnp.asarray(LOGITS))

    np.testing.assert_allclose(gradient(losses.Focal(0.0)), gradient(losses.SoftmaxCrossEntropy()), atol=1e-6)


@pytest.mark.few(3)
@pytest.mark.parametrize("gamma", [0.0, 0.001, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("right", [True, False])
def test_the_focal_loss_of_what_is_sure_has_a_finite_slope(gamma, right):
    logits = jnp.asarray([[200.0, 0.0, -200.0]])
    labels = jax.nn.one_hot(jnp.asarray([0 if right else 2]), 3)
    value, slope = jax.value_and_grad(lambda logits: losses.Focal(gamma)(logits, labels).sum())(logits)
    assert float(value) == pytest.approx(0 if right else 400)
    assert np.isfinite(slope).all()


@pytest.mark.parametrize("name", losses.LOSSES)
def test_each_loss_is_one_number_an_example_and_least_where_the_network_is_right(name):
    loss, labels = losses.LOSSES[name](), jax.nn.one_hot(LABELS, 7)
    found = loss(jnp.asarray(LOGITS), labels)
    assert (found.shape, found.dtype) == ((20,), jnp.float32)
    assert (loss(20 * labels - 10, labels) < found).all()


def test_what_an_example_of_each_class_weighs():
    def weights(text):
        return build_one(text, losses.WEIGHTINGS).of(COUNTS)

    assert weights("none") is None
    np.testing.assert_allclose(weights("balanced"), [10 / 24, 0, 10 / 12, 10 / 4])
    assert weights("balanced") @ COUNTS == pytest.approx(10 * 3 / 4)  # one of the four classes has no example
    assert weights("weights((1, 2, 0.5, 0))").tolist() == [1, 2, 0.5, 0]


def test_the_softmax_of_the_log_of_a_mean_of_softmaxes_is_that_mean_even_of_the_largest_logits():
    members = [LOGITS, 5 * LOGITS[::-1], np.where(LOGITS > 0, np.float32(3e38), np.float32(-3e38))]
    found = losses.log_mean_softmax(iter(members))
    assert found.dtype == np.float64 and np.isfinite(found).all()
    mean = np.mean([losses.softmax(logits) for logits in members], axis=0)
    np.testing.assert_allclose(losses.softmax(found), mean, rtol=1e-12)
    np.testing.assert_allclose(np.exp(found), mean, rtol=1e-12)
    np.testing.assert_array_equal(losses.log_mean_softmax([LOGITS]), losses.log_softmax(LOGITS))
