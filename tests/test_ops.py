"""Convolution, pooling and dense products against the oracles; `test_lesson.py` has the facts of the lesson."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cnn import ops
from tests import oracles

CONVS = {
    "one channel": {"size": (7, 9), "kernel": (3, 3, 1, 4)},
    "many channels": {"size": (8, 8), "kernel": (3, 3, 5, 4)},
    "even kernel, same": {"size": (7, 6), "kernel": (2, 4, 3, 2), "padding": "same"},
    "one by one": {"size": (5, 4), "kernel": (1, 1, 3, 5)},
    "one by five": {"size": (5, 8), "kernel": (1, 5, 2, 3), "padding": "same"},
    "whole image": {"size": (5, 4), "kernel": (5, 4, 2, 3)},
    "strides": {"size": (9, 8), "kernel": (3, 2, 2, 3), "strides": (2, 3)},
    "strides, same": {"size": (8, 9), "kernel": (3, 3, 2, 3), "strides": (2, 2), "padding": "same"},
    "strides beyond the kernel": {"size": (9, 8), "kernel": (2, 1, 2, 3), "strides": (3, 3), "padding": "same"},
    "dilation": {"size": (9, 8), "kernel": (3, 2, 2, 3), "dilation": (2, 3)},
    "dilation, same": {"size": (6, 7), "kernel": (3, 3, 2, 3), "dilation": (2, 2), "padding": "same"},
    "groups": {"size": (6, 5), "kernel": (3, 3, 2, 6), "groups": 3},
    "depthwise, strides, same": {
        "size": (6, 7), "kernel": (3, 3, 1, 4), "groups": 4, "strides": (2, 1), "padding": "same",
    },
}  # fmt: skip
POOLS = {
    "halves": {"size": (8, 6), "window": (2, 2), "strides": (2, 2)},
    "odd size": {"size": (11, 7), "window": (2, 2), "strides": (2, 2)},
    "odd size, same": {"size": (7, 5), "window": (2, 2), "strides": (2, 2), "padding": "same"},
    "three by two": {"size": (9, 8), "window": (3, 2), "strides": (3, 2)},
    "overlap": {"size": (8, 9), "window": (3, 3), "strides": (2, 2)},
    "overlap, same": {"size": (8, 7), "window": (3, 3), "strides": (2, 2), "padding": "same"},
    "stride one, same": {"size": (5, 6), "window": (3, 2), "strides": (1, 1), "padding": "same"},
    "gaps": {"size": (9, 8), "window": (2, 2), "strides": (3, 4)},
    "gaps, same": {"size": (9, 8), "window": (2, 1), "strides": (4, 3), "padding": "same"},
    "whole image": {"size": (5, 3), "window": (5, 3), "strides": (5, 3)},
}


def each(cases, fast=None):
    """Returns a mark with every case; those that are not named as fast run among the slow tests."""
    chosen = cases if fast is None else fast
    slow = {name: () if name in chosen else pytest.mark.slow for name in cases}
    return pytest.mark.parametrize("case", [pytest.param(cases[name], id=name, marks=slow[name]) for name in cases])


each_conv, some_convs = each(CONVS), each(CONVS, fast=("one channel", "dilation, same", "groups"))
each_pool, some_pools = each(POOLS), each(POOLS, fast=("odd size", "overlap, same"))
each_kind = pytest.mark.parametrize("kind", ["max_pool", "avg_pool"])


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def distinct(*shape, seed=0):
    """Returns numbers without ties, also as bfloat16 for fewer than 256 of them an image."""
    count = int(np.prod(shape[1:]))
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(count) - count // 2 for _ in range(shape[0])]).reshape(shape).astype(np.float32)


def slide(images, kernel, **options):
    return ops.conv(images, kernel, ops.Window(**options))


def conv_case(case, lanes=()):
    options = {name: value for name, value in case.items() if name not in ("size", "kernel")}
    channels = case["kernel"][2] * options.get("groups", 1)
    return normal(*lanes, 2, *case["size"], channels), normal(*lanes, *case["kernel"], seed=1), options


def value_and_grads(function, *arguments, grads=None, lanes=False):
    """Returns the value and the gradients of `function`, of every lane of a vmap where there are lanes."""

    def run(grads, *arguments):
        value, back = jax.vjp(function, *arguments)
        return value, back(grads)

    value = jax.eval_shape(jax.vmap(function) if lanes else function, *arguments)
    grads = jnp.asarray(normal(*value.shape, seed=2) if grads is None else grads, value.dtype)
    return jax.jit(jax.vmap(run) if lanes else run)(grads, *arguments), grads


def assert_close(ours, expected, tolerance=1e-5):
    """Compares within a share of the largest number."""
    expected = np.asarray(expected, np.float64)
    ours = np.asarray(ours, np.float64)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=tolerance * max(np.abs(expected).max(), 1))


def grey(image):
    return jnp.asarray(image, jnp.float32)[None, :, :, None]


@each_conv
def test_the_convolution_oracle_has_the_gradients_of_finite_differences(case):
    images, kernel, options = conv_case(case)
    grads = normal(*oracles.conv2d(images, kernel, **options).shape, seed=2)
    by_images, by_kernel, _ = oracles.conv2d_grads(images, kernel, grads, **options)
    # The map is linear in each argument, so one whole step along a direction is exact.
    by_direction = normal(*images.shape, seed=3), normal(*kernel.shape, seed=4)
    along_images = (oracles.conv2d(by_direction[0], kernel, **options) * grads).sum()
    along_kernel = (oracles.conv2d(images, by_direction[1], **options) * grads).sum()
    np.testing.assert_allclose((by_images * by_direction[0]).sum(), along_images, rtol=1e-9)
    np.testing.assert_allclose((by_kernel * by_direction[1]).sum(), along_kernel, rtol=1e-9)


def test_the_convolution_oracle_agrees_with_scipy():
    image, kernel = normal(7, 8), normal(3, 3, seed=1)
    for padding in "valid", "same":
        expected = scipy.signal.correlate2d(image, kernel, mode=padding)
        ours = oracles.conv2d(image[None, :, :, None], kernel[:, :, None, None], padding=padding)
        np.testing.assert_allclose(ours[0, :, :, 0], expected, atol=1e-6)


@each_kind
@each_pool
def test_the_pooling_oracles_have_the_gradients_of_finite_differences(kind, case):
    size, step = case["size"], 1e-3
    pool, options = getattr(oracles, kind), {name: case[name] for name in case if name != "size"}
    images, direction = (array.astype(np.float64) for array in (distinct(2, *size, 3), normal(2, *size, 3, seed=3)))
    grads = normal(*pool(images, **options).shape, seed=2)
    slope = (pool(images + step * direction, **options) - pool(images - step * direction, **options)) / (2 * step)
    ours = getattr(oracles, f"{kind}_grads")(images, grads, **options)
    np.testing.assert_allclose((ours * direction).sum(), (slope * grads).sum(), rtol=1e-6)


@each_conv
def test_convolution_agrees_with_the_oracle_in_values_and_gradients(case):
    images, kernel, options = conv_case(case)
    bias = normal(kernel.shape[3], seed=5)
    (value, by), grads = value_and_grads(lambda x, k, b: slide(x, k, **options) + b, images, kernel, bias)
    assert_close(value, oracles.conv2d(images, kernel, bias, **options))
    for ours, expected in zip(by, oracles.conv2d_grads(images, kernel, grads, **options), strict=True):
        assert_close(ours, expected)


@some_convs
def test_convolution_agrees_with_the_oracle_in_every_lane(case):
    images, kernels, options = conv_case(case, lanes=(3,))
    (value, by), grads = value_and_grads(lambda x, k: slide(x, k, **options), images, kernels, lanes=True)
    for lane in range(3):
        assert_close(value[lane], oracles.conv2d(images[lane], kernels[lane], **options))
        expected = oracles.conv2d_grads(images[lane], kernels[lane], grads[lane], **options)
        assert_close(by[0][lane], expected[0])
        assert_close(by[1][lane], expected[1])


@each(CONVS, fast=("strides, same", "groups"))
def test_convolution_in_bfloat16_is_close_to_the_oracle(case):
    images, kernel, options = conv_case(case)
    halves = jnp.asarray(images, jnp.bfloat16), jnp.asarray(kernel, jnp.bfloat16)
    (value, by), grads = value_and_grads(lambda x, k: slide(x, k, **options), *halves)
    assert value.dtype == by[0].dtype == by[1].dtype == jnp.bfloat16
    assert_close(value, oracles.conv2d(*halves, **options), 2e-2)
    for ours, expected in zip(by, oracles.conv2d_grads(*halves, grads, **options), strict=False):
        assert_close(ours, expected, 2e-2)


@each_kind
@each_pool
def test_pooling_agrees_with_the_oracle_in_values_and_gradients(kind, case):
    options = {name: case[name] for name in case if name != "size"}
    images = distinct(2, *case["size"], 3)
    (value, (by,)), grads = value_and_grads(lambda x: getattr(ops, kind)(x, **options), images)
    assert_close(value, getattr(oracles, kind)(images, **options), 1e-6)
    assert_close(by, getattr(oracles, f"{kind}_grads")(images, grads, **options), 1e-6)


@each_kind
@some_pools
def test_pooling_agrees_with_the_oracle_in_every_lane_and_in_bfloat16(kind, case):
    options = {name: case[name] for name in case if name != "size"}
    images = jnp.asarray(distinct(6, *case["size"], 1), jnp.bfloat16).reshape(3, 2, *case["size"], 1)
    (value, (by,)), grads = value_and_grads(lambda x: getattr(ops, kind)(x, **options), images, lanes=True)
    assert value.dtype == by.dtype == jnp.bfloat16
    for lane in range(3):
        assert_close(value[lane], getattr(oracles, kind)(images[lane], **options), 2e-2)
        assert_close(by[lane], getattr(oracles, f"{kind}_grads")(images[lane], grads[lane], **options), 2e-2)


def test_four_equal_numbers_share_the_gradient_in_quarters():
    images = jnp.full((2, 4, 6, 3), 7.0)
    grads = normal(2, 2, 3, 3)
    (_, (by,)), _ = value_and_grads(lambda x: ops.max_pool(x, (2, 2), (2, 2)), images, grads=grads)
    np.testing.assert_array_equal(by, np.repeat(np.repeat(grads / 4, 2, axis=1), 2, axis=2))


@pytest.mark.parametrize("case", [POOLS[name] for name in ("odd size", "odd size, same", "overlap", "gaps, same")])
def test_tied_gradients_go_to_largest_pixels_only_and_sum_to_the_incoming_ones(case):
    options = {name: case[name] for name in case if name != "size"}
    images = np.random.default_rng(0).integers(0, 3, (4, *case["size"], 2)).astype(np.float32)
    grads = np.abs(normal(*oracles.max_pool(images, **options).shape, seed=2))
    (_, (by,)), _ = value_and_grads(lambda x: ops.max_pool(x, **options), images, grads=grads)
    np.testing.assert_allclose(by.sum(axis=(1, 2)), grads.sum(axis=(1, 2)), rtol=1e-5)
    # Without ties every largest pixel gets the whole gradient, so that is the most it can get here.
    most = oracles.max_pool_grads(images, grads, **options)
    assert (np.asarray(by) <= most + 1e-5).all()
    assert (np.asarray(by) >= 0).all()


def test_dense_agrees_with_the_oracle_in_values_and_gradients():
    vectors, kernel, bias = normal(5, 7), normal(7, 3, seed=1), normal(3, seed=3)
    (value, by), grads = value_and_grads(lambda x, k, b: ops.dense(x, k) + b, vectors, kernel, bias)
    assert_close(value, oracles.dense(vectors, kernel, bias))
    for ours, expected in zip(by, oracles.dense_grads(vectors, kernel, grads), strict=True):
        assert_close(ours, expected)


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-5), (jnp.bfloat16, 2e-2)])
def test_dense_agrees_with_the_oracle_in_every_lane(dtype, tolerance):
    vectors, kernels = jnp.asarray(normal(3, 5, 7), dtype), jnp.asarray(normal(3, 7, 4, seed=1), dtype)
    (value, by), grads = value_and_grads(ops.dense, vectors, kernels, lanes=True)
    assert value.dtype == dtype
    for lane in range(3):
        assert_close(value[lane], oracles.dense(vectors[lane], kernels[lane]), tolerance)
        expected = oracles.dense_grads(vectors[lane], kernels[lane], grads[lane])
        assert_close(by[0][lane], expected[0], tolerance)
        assert_close(by[1][lane], expected[1], tolerance)


@settings(deadline=None, max_examples=60)
@given(
    size=st.integers(1, 40),
    window=st.integers(1, 7),
    stride=st.integers(1, 5),
    dilation=st.integers(1, 3),
    padding=st.sampled_from(["valid", "same"]),
)
def test_output_sizes_follow_their_formulas(size, window, stride, dilation, padding):
    reach = (window - 1) * dilation + 1
    assume(padding == "same" or reach <= size)
    expected = (size - reach) // stride + 1 if padding == "valid" else -(-size // stride)
    image = jax.ShapeDtypeStruct((1, size, size, 1), jnp.float32)
    kernel = jax.ShapeDtypeStruct((window, window, 1, 1), jnp.float32)
    options = {"strides": (stride, stride), "padding": padding, "dilation": (dilation, dilation)}
    assert jax.eval_shape(lambda x, k: slide(x, k, **options), image, kernel).shape == (
        1,
        expected,
        expected,
        1,
    )
    assert len(oracles.taps(size, window, stride, padding, dilation)) == expected
    if dilation == 1:
        for pool in ops.max_pool, ops.avg_pool:
            pooled = jax.eval_shape(lambda x, p=pool: p(x, (window,) * 2, (stride,) * 2, padding), image)
            assert pooled.shape == (1, expected, expected, 1)


def test_same_padding_never_wins_a_maximum_and_is_not_averaged():
    image = grey([[-1, -2, -3], [-4, -5, -6], [-7, -8, -9]])
    largest = ops.max_pool(image, (2, 2), (2, 2), "same")[0, :, :, 0]
    average = ops.avg_pool(image, (2, 2), (2, 2), "same")[0, :, :, 0]
    np.testing.assert_array_equal(largest, [[-1, -3], [-7, -9]])
    np.testing.assert_array_equal(average, [[-3, -4.5], [-7.5, -9]])


@each_kind
def test_pooling_an_odd_size_rounds_down_and_never_reads_the_last_row_and_column(kind):
    # A constant picture, so that every pixel that is read has a share in its maximum.
    images = np.ones((2, 11, 11, 4), np.float32)
    (value, (by,)), _ = value_and_grads(lambda x: getattr(ops, kind)(x, (2, 2), (2, 2)), images)
    assert value.shape == (2, 5, 5, 4)
    read = np.abs(by).sum(axis=(0, 3)) > 0
    assert not read[10].any()
    assert not read[:, 10].any()
    assert read[:10, :10].all()
