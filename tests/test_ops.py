"""Convolution, pooling and dense products against the oracles; `test_lesson.py` has the facts of the lesson."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.signal
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cnn.model.microbatch import microbatch_size
from cnn.ops import batch_norm, conv, pooling
from cnn.ops.layout import enter, leave
from cnn.ops.noinline import noinline
from cnn.system import compile_times
from tests import oracles

pytestmark = pytest.mark.compiled

CONVS = {
    "one channel": {"size": (7, 9), "kernel": (3, 3, 1, 4)},
    "many channels": {"size": (8, 8), "kernel": (3, 3, 5, 4)},
    "eight channels": {"size": (8, 6), "kernel": (3, 3, 8, 9)},
    "eight channels, odd": {"size": (7, 9), "kernel": (3, 3, 9, 8)},
    "eight channels, odd, same": {"size": (5, 8), "kernel": (3, 3, 8, 8), "padding": "same"},
    "eight channels, one window": {"size": (3, 4), "kernel": (3, 3, 8, 8)},
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
    "eight channels a group": {"size": (5, 6), "kernel": (3, 3, 8, 16), "groups": 2},
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
HALVES = {"window": (2, 2), "strides": (2, 2)}
CONV_POOLS = {
    # How each is computed batch last; pooled by halves where nothing else is said.
    "one channel": {"how": "direct", "size": (8, 10), "kernel": (3, 3, 1, 4)},
    "one channel, odd": {"how": "direct", "size": (9, 11), "kernel": (3, 3, 1, 4)},
    "one channel, five by five": {"how": "direct", "size": (12, 11), "kernel": (5, 5, 1, 3)},
    "one channel, same": {"how": "direct", "size": (7, 8), "kernel": (3, 3, 1, 4), "padding": "same"},
    "two channels, three by two": {
        "how": "direct", "size": (11, 8), "kernel": (3, 3, 2, 3), "pool": {"window": (3, 2), "strides": (3, 2)},
    },
    "three channels, three by two": {
        "how": "im2col", "size": (11, 8), "kernel": (3, 3, 3, 4), "pool": {"window": (3, 2), "strides": (3, 2)},
    },
    "eight channels": {"how": "winograd", "size": (8, 10), "kernel": (3, 3, 8, 8)},
    "eight channels, odd": {"how": "winograd", "size": (9, 7), "kernel": (3, 3, 8, 9)},
    "eight channels, same": {"how": "winograd", "size": (7, 6), "kernel": (3, 3, 9, 8), "padding": "same"},
    "eight channels, three by three": {  # six by six outputs, in blocks of two by two
        "how": "winograd", "size": (8, 8), "kernel": (3, 3, 8, 8), "pool": {"window": (3, 3), "strides": (3, 3)},
    },
    "overlap": {
        "how": "im2col", "size": (10, 9), "kernel": (3, 3, 1, 4), "pool": {"window": (3, 3), "strides": (2, 2)},
    },
    "pooled with padding": {
        "how": "im2col", "size": (9, 7), "kernel": (3, 3, 1, 4), "pool": {**HALVES, "padding": "same"},
    },
    "strides": {"how": "im2col", "size": (11, 12), "kernel": (3, 3, 1, 4), "strides": (2, 2)},
}  # fmt: skip


def each(cases, fast=None):
    """Returns a mark with every case; those that are not named as fast run among the slow tests."""
    chosen = cases if fast is None else fast
    slow = {name: () if name in chosen else pytest.mark.slow for name in cases}
    return pytest.mark.parametrize("case", [pytest.param(cases[name], id=name, marks=slow[name]) for name in cases])


each_conv, each_pool, each_conv_pool = each(CONVS), each(POOLS), each(CONV_POOLS)
each_kind = pytest.mark.parametrize("kind", ["max_pool", "avg_pool"])
each_layout = pytest.mark.parametrize("layout", ["NHWC", "CHWN"])


def normal(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def distinct(*shape, seed=0):
    """Returns numbers without ties, also as bfloat16 for fewer than 256 of them an image."""
    count = int(np.prod(shape[1:]))
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(count) - count // 2 for _ in range(shape[0])]).reshape(shape).astype(np.float32)


def integers(*shape, most, seed=0):
    """Returns small whole numbers: full of ties, and exact in every sum and in the transforms of Winograd."""
    return np.random.default_rng(seed).integers(-most, most, shape, endpoint=True).astype(np.float32)


def slide(images, kernel, layout="NHWC", **options):
    return leave(conv.conv(enter(images, layout), kernel, conv.Window(**options), layout=layout), layout)


def conv_pool(case, layout):
    """Returns the convolution and pooling of a case, of images and kernel: in `NHWC` one after another."""
    window, pool = window_of(case), case.get("pool", HALVES)

    def compute(images, kernel):
        if layout == "NHWC":
            return pooling.max_pool(conv.conv(images, kernel, window), **pool)
        images = enter(images, layout)
        return leave(conv.conv_max_pool(images, kernel, window, conv.Pool(**pool), layout=layout), layout)

    return compute


DEPTHWISE = {
    "plain": {"size": (7, 6), "kernel": (3, 3, 1, 4), "groups": 4},
    "many of each": {"size": (6, 7), "kernel": (3, 2, 1, 6), "groups": 2, "padding": ((1, 0), (2, 1))},
    "strides and dilation": {
        "size": (9, 8), "kernel": (3, 3, 1, 3), "groups": 3, "strides": (2, 1), "dilation": (1, 2), "padding": "same",
    },
    "nineteen rows of outputs, two features a channel": {"size": (21, 5), "kernel": (3, 2, 1, 4), "groups": 2},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", DEPTHWISE.values(), ids=DEPTHWISE)
@each_layout
def test_a_depthwise_convolution_and_its_gradients_are_those_of_loops(case, layout):
    images, kernel, options = conv_case(case)

    def compute(images, kernel):
        window = window_of(case)
        return leave(conv.depthwise(enter(images, layout), kernel, window, layout=layout), layout)

    value, back = jax.vjp(compute, images, kernel)
    grads = normal(*value.shape, seed=2)
    assert_close(value, oracles.conv2d(images, kernel, **options))
    for ours, expected in zip(back(grads), oracles.conv2d_grads(images, kernel, grads, **options), strict=False):
        assert_close(ours, expected)


@pytest.mark.slow
def test_a_depthwise_convolution_that_is_compiled_quickly_is_the_same_within_rounding():
    case = DEPTHWISE["strides and dilation"]
    images, kernel, _ = conv_case(case)
    arguments = enter(images, "CHWN"), kernel

    def traced_anew():
        return lambda images, kernel: conv.depthwise(images, kernel, window_of(case), layout="CHWN")

    (usual, usual_grads), grads = value_and_grads(traced_anew(), *arguments)
    with compile_times.quick():
        assert "feature_group_count=3" in str(jax.make_jaxpr(traced_anew())(*arguments))
        (quick, quick_grads), _ = value_and_grads(traced_anew(), *arguments, grads=grads)
    assert_close(quick, usual)
    for ours, expected in zip(quick_grads, usual_grads, strict=True):
        assert_close(ours, expected)


def window_of(case):
    return conv.Window(**{name: case[name] for name in conv.Window._fields if name in case})


def conv_case(case, lanes=()):
    options = {name: case[name] for name in conv.Window._fields if name in case}
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


@pytest.mark.thorough(16)
@pytest.mark.few(3)
@each_layout
@each(CONVS, fast=("one channel", "strides, same", "dilation, same", "eight channels, odd, same", "groups"))
def test_convolution_agrees_with_the_oracle_in_values_and_gradients(case, layout):
    images, kernel, options = conv_case(case)
    bias = normal(kernel.shape[3], seed=5)
    (value, by), grads = value_and_grads(lambda x, k, b: slide(x, k, layout, **options) + b, images, kernel, bias)
    assert_close(value, oracles.conv2d(images, kernel, bias, **options))
    for ours, expected in zip(by, oracles.conv2d_grads(images, kernel, grads, **options), strict=True):
        assert_close(ours, expected)


@pytest.mark.thorough(4)
@pytest.mark.slow
@each_layout
@each_conv
def test_convolution_agrees_with_the_oracle_in_every_lane(case, layout):
    images, kernels, options = conv_case(case, lanes=(3,))
    (value, by), grads = value_and_grads(lambda x, k: slide(x, k, layout, **options), images, kernels, lanes=True)
    for lane in range(3):
        assert_close(value[lane], oracles.conv2d(images[lane], kernels[lane], **options))
        expected = oracles.conv2d_grads(images[lane], kernels[lane], grads[lane], **options)
        assert_close(by[0][lane], expected[0])
        assert_close(by[1][lane], expected[1])


@pytest.mark.thorough(4)
@pytest.mark.slow
@each_layout
@each_conv
def test_convolution_in_bfloat16_is_close_to_the_oracle(case, layout):
    images, kernel, options = conv_case(case)
    halves = jnp.asarray(images, jnp.bfloat16), jnp.asarray(kernel, jnp.bfloat16)
    (value, by), grads = value_and_grads(lambda x, k: slide(x, k, layout, **options), *halves)
    assert value.dtype == by[0].dtype == by[1].dtype == jnp.bfloat16
    assert_close(value, oracles.conv2d(*halves, **options), 2e-2)
    for ours, expected in zip(by, oracles.conv2d_grads(*halves, grads, **options), strict=False):
        assert_close(ours, expected, 2e-2)


@pytest.mark.few(5)
@pytest.mark.parametrize("name", CONVS)
def test_a_convolution_is_computed_as_suits_its_channels(name):
    kernel, window = jnp.zeros(CONVS[name]["kernel"]), window_of(CONVS[name])
    winograd = name.startswith("eight channels") and "group" not in name
    assert conv.choose(kernel, window, None, "NHWC") == "lax"
    assert conv.choose(kernel, window, None, "CHWN") == ("winograd" if winograd else "im2col")
    assert conv.choose(kernel.astype(jnp.bfloat16), window, None, "CHWN") == "im2col"


def assert_conv_pools_agree(case, images, kernel, tolerance, grads=None, lanes=False):
    pool = case.get("pool", HALVES)
    together = pool["window"] == pool["strides"] and "padding" not in pool
    sample = kernel[0] if lanes else kernel
    if kernel.dtype == jnp.float32:
        how = conv.choose(sample, window_of(case), pool["window"] if together else None, "CHWN")
        assert how == case["how"]
    (value, by), grads = value_and_grads(conv_pool(case, "CHWN"), images, kernel, grads=grads, lanes=lanes)
    (plain, plain_by), _ = value_and_grads(conv_pool(case, "NHWC"), images, kernel, grads=grads, lanes=lanes)
    assert value.dtype == by[0].dtype == by[1].dtype == kernel.dtype
    assert_close(value, plain, tolerance)
    assert_close(by[0], plain_by[0], tolerance)
    assert_close(by[1], plain_by[1], tolerance)


@pytest.mark.thorough(4)
@pytest.mark.slow
@each(CONV_POOLS, fast=("one channel", "eight channels, three by three"))
def test_convolution_with_pooling_is_the_same_in_both_layouts(case):
    images, kernel, _ = conv_case(case)
    assert_conv_pools_agree(case, images, kernel, 1e-5)


@pytest.mark.thorough(3)
@pytest.mark.slow
@each_conv_pool
def test_convolution_with_pooling_is_the_same_in_both_layouts_in_every_lane(case):
    images, kernels, _ = conv_case(case, lanes=(3,))
    assert_conv_pools_agree(case, images, kernels, 1e-5, lanes=True)


@pytest.mark.thorough(3)
@pytest.mark.few(1)
@pytest.mark.parametrize("dtype", [jnp.float32, pytest.param(jnp.bfloat16, marks=pytest.mark.slow)])
@each(CONV_POOLS, fast=("one channel, odd", "eight channels", "overlap"))
def test_ties_after_a_convolution_go_the_same_way_in_both_layouts(case, dtype):
    images, kernel, _ = conv_case(case)
    images, kernel = integers(*images.shape, most=2), integers(*kernel.shape, most=1, seed=1)
    shape = jax.eval_shape(conv_pool(case, "NHWC"), images, kernel).shape
    grads = jnp.asarray(integers(*shape, most=3, seed=2), dtype)
    # All sums are exact in float32; in bfloat16 those of the outputs are, so the same ones win.
    tolerance = 0 if dtype == jnp.float32 else 2e-2
    assert_conv_pools_agree(case, jnp.asarray(images, dtype), jnp.asarray(kernel, dtype), tolerance, grads)


@pytest.mark.thorough(3)
@pytest.mark.slow
@each_conv_pool
def test_convolution_with_pooling_in_bfloat16_is_close_to_that_in_float32(case):
    images, kernel, _ = conv_case(case)
    value = conv_pool(case, "CHWN")(jnp.asarray(images, jnp.bfloat16), jnp.asarray(kernel, jnp.bfloat16))
    assert value.dtype == jnp.bfloat16
    assert_close(value, conv_pool(case, "NHWC")(images, kernel), 3e-2)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(13, 15), (28, 28)])
@pytest.mark.parametrize("batch", [1, 7])
def test_written_out_pooling_finds_the_largest_output_however_sums_are_rounded(size, batch):
    # Worked out a second time, outputs may be rounded otherwise, so none need equal the largest of the first time.
    images, kernel = normal(batch, *size, 1), normal(3, 3, 1, 4, seed=1)
    case = {"how": "direct", "pool": {"window": (3, 2), "strides": (3, 2)}}
    assert_conv_pools_agree(case, images, kernel, 1e-5)


@pytest.mark.parametrize("shape", [(6, 5, 7, 3), (4, 5, 7, 2)])
def test_images_leave_a_layout_as_they_entered_it(shape):
    images = normal(*shape)
    assert enter(images, "CHWN").shape == (shape[3], 5, 7, shape[0])
    assert enter(images, "CHWN", 2).shape == (shape[0] // 2, shape[3], 5, 7, 2)
    for layout, microbatch in ("NHWC", 2), ("CHWN", None), ("CHWN", 2), ("CHWN", shape[0]):
        np.testing.assert_array_equal(leave(enter(images, layout, microbatch), layout), images)


@given(
    examples=st.integers(1, 5000), numbers=st.integers(1, 10_000_000), platform=st.sampled_from(["cpu", "gpu", "tpu"])
)
def test_microbatches_divide_the_batch_and_are_fewer_where_maps_are_larger(examples, numbers, platform):
    size = microbatch_size(examples, numbers, platform)
    assert examples % size == 0
    assert size == examples or (platform == "cpu" and 8 <= size <= 64)
    if platform == "cpu" and examples % 64 == 0:
        assert size == (64 if numbers <= 2**14 else 32 if numbers <= 2**15 else size)
        assert numbers < 2**16 or size == 16
    assert microbatch_size(examples, numbers, platform, devices=2) == microbatch_size(
        examples, -(-numbers // 2), platform
    )


def scaled(images, scale):
    return jnp.tanh(images * scale) + images


@pytest.mark.parametrize("lanes", [False, True])
def test_what_is_compiled_apart_stays_a_call_and_computes_the_same(lanes):
    images, scale = (normal(3, 4, 5), normal(3, seed=1)) if lanes else (normal(4, 5), normal(1, seed=1)[0])

    def run(function):
        twice = lambda images, scale: function(function(images, scale), scale).sum()  # noqa: E731
        gradient = jax.value_and_grad(twice, argnums=(0, 1))
        compiled = jax.jit(jax.vmap(gradient) if lanes else gradient).lower(images, scale).compile()
        return compiled.as_text(), compiled(images, scale)

    text, ours = run(noinline(scaled))
    plain_text, plain = run(scaled)
    assert " call(" in text
    assert " call(" not in plain_text
    jax.tree.map(lambda one, other: assert_close(one, other, 1e-6), ours, plain)


@pytest.mark.thorough(2)
@pytest.mark.slow
@pytest.mark.parametrize("lanes", [(), (2,)])
@pytest.mark.parametrize("name", ["one channel", "eight channels", "three channels, three by two"])
def test_the_passes_over_the_images_stay_calls_of_their_own(name, lanes):
    images, kernel, _ = conv_case(CONV_POOLS[name], lanes)
    gradient = jax.grad(lambda x, k: conv_pool(CONV_POOLS[name], "CHWN")(x, k).sum(), argnums=(0, 1))
    compiled = jax.jit(jax.vmap(gradient) if lanes else gradient).lower(images, kernel).compile()
    assert " call(" in compiled.as_text()


@pytest.mark.few(5)
@each_kind
@each_pool
def test_pooling_agrees_with_the_oracle_in_values_and_gradients(kind, case):
    options = {name: case[name] for name in case if name != "size"}
    images = distinct(2, *case["size"], 3)
    (value, (by,)), grads = value_and_grads(lambda x: getattr(pooling, kind)(x, **options), images)
    assert_close(value, getattr(oracles, kind)(images, **options), 1e-6)
    assert_close(by, getattr(oracles, f"{kind}_grads")(images, grads, **options), 1e-6)


@pytest.mark.thorough(4)
@pytest.mark.slow
@each_kind
@each_pool
def test_pooling_agrees_with_the_oracle_in_every_lane_and_in_bfloat16(kind, case):
    options = {name: case[name] for name in case if name != "size"}
    images = jnp.asarray(distinct(6, *case["size"], 1), jnp.bfloat16).reshape(3, 2, *case["size"], 1)
    (value, (by,)), grads = value_and_grads(lambda x: getattr(pooling, kind)(x, **options), images, lanes=True)
    assert value.dtype == by.dtype == jnp.bfloat16
    for lane in range(3):
        assert_close(value[lane], getattr(oracles, kind)(images[lane], **options), 2e-2)
        assert_close(by[lane], getattr(oracles, f"{kind}_grads")(images[lane], grads[lane], **options), 2e-2)


def test_the_first_of_four_equal_numbers_gets_the_whole_gradient():
    images = jnp.full((2, 4, 6, 3), 7.0)
    grads = normal(2, 2, 3, 3)
    (_, (by,)), _ = value_and_grads(lambda x: pooling.max_pool(x, (2, 2), (2, 2)), images, grads=grads)
    expected = np.zeros(images.shape)
    expected[:, ::2, ::2] = grads
    np.testing.assert_array_equal(by, expected)


def reduced(images, window, strides, padding="valid"):
    return jax.lax.reduce_window(images, -jnp.inf, jax.lax.max, (1, *window, 1), (1, *strides, 1), padding.upper())


@each_pool
@pytest.mark.slow(seconds=1)
def test_ties_go_as_in_select_and_scatter(case):
    options = {name: case[name] for name in case if name != "size"}
    images = integers(4, *case["size"], 2, most=1)
    # Whole numbers, so that the order in which overlapping windows are added does not matter.
    grads = integers(*oracles.max_pool(images, **options).shape, most=9, seed=2)
    (value, (by,)), _ = value_and_grads(lambda x: pooling.max_pool(x, **options), images, grads=grads)
    (plain, (plain_by,)), _ = value_and_grads(lambda x: reduced(x, **options), images, grads=grads)
    np.testing.assert_array_equal(value, plain)
    np.testing.assert_array_equal(by, plain_by)


def test_the_first_largest_pixel_of_an_image_gets_the_whole_gradient():
    images = integers(3, 4, 5, 6, most=2)
    (value, (by,)), grads = value_and_grads(pooling.global_max_pool, images)
    flat = images.reshape(3, 20, 6)
    expected = (np.arange(20)[:, None] == flat.argmax(1)[:, None]) * np.asarray(grads)[:, None]
    np.testing.assert_array_equal(value, flat.max(1))
    np.testing.assert_array_equal(by, expected.reshape(images.shape))


@pytest.mark.parametrize("case", [POOLS[name] for name in ("odd size", "odd size, same", "overlap", "gaps, same")])
def test_tied_gradients_go_to_largest_pixels_only_and_sum_to_the_incoming_ones(case):
    options = {name: case[name] for name in case if name != "size"}
    images = np.random.default_rng(0).integers(0, 3, (4, *case["size"], 2)).astype(np.float32)
    grads = np.abs(normal(*oracles.max_pool(images, **options).shape, seed=2))
    (_, (by,)), _ = value_and_grads(lambda x: pooling.max_pool(x, **options), images, grads=grads)
    np.testing.assert_allclose(by.sum(axis=(1, 2)), grads.sum(axis=(1, 2)), rtol=1e-5)
    # Without ties every largest pixel gets the whole gradient, so that is the most it can get here.
    most = oracles.max_pool_grads(images, grads, **options)
    assert (np.asarray(by) <= most + 1e-5).all()
    assert (np.asarray(by) >= 0).all()


def test_dense_agrees_with_the_oracle_in_values_and_gradients():
    vectors, kernel, bias = normal(5, 7), normal(7, 3, seed=1), normal(3, seed=3)
    (value, by), grads = value_and_grads(lambda x, k, b: conv.dense(x, k) + b, vectors, kernel, bias)
    assert_close(value, oracles.dense(vectors, kernel, bias))
    for ours, expected in zip(by, oracles.dense_grads(vectors, kernel, grads), strict=True):
        assert_close(ours, expected)


@pytest.mark.parametrize(("dtype", "tolerance"), [(jnp.float32, 1e-5), (jnp.bfloat16, 2e-2)])
def test_dense_agrees_with_the_oracle_in_every_lane(dtype, tolerance):
    vectors, kernels = jnp.asarray(normal(3, 5, 7), dtype), jnp.asarray(normal(3, 7, 4, seed=1), dtype)
    (value, by), grads = value_and_grads(conv.dense, vectors, kernels, lanes=True)
    assert value.dtype == dtype
    for lane in range(3):
        assert_close(value[lane], oracles.dense(vectors[lane], kernels[lane]), tolerance)
        expected = oracles.dense_grads(vectors[lane], kernels[lane], grads[lane])
        assert_close(by[0][lane], expected[0], tolerance)
        assert_close(by[1][lane], expected[1], tolerance)


@pytest.mark.slow
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
        for pool in pooling.max_pool, pooling.avg_pool:
            pooled = jax.eval_shape(lambda x, p=pool: p(x, (window,) * 2, (stride,) * 2, padding), image)
            assert pooled.shape == (1, expected, expected, 1)


def test_same_padding_never_wins_a_maximum_and_is_not_averaged():
    image = grey([[-1, -2, -3], [-4, -5, -6], [-7, -8, -9]])
    largest = pooling.max_pool(image, (2, 2), (2, 2), "same")[0, :, :, 0]
    average = pooling.avg_pool(image, (2, 2), (2, 2), "same")[0, :, :, 0]
    np.testing.assert_array_equal(largest, [[-1, -3], [-7, -9]])
    np.testing.assert_array_equal(average, [[-3, -4.5], [-7.5, -9]])


@each_kind
def test_pooling_an_odd_size_rounds_down_and_never_reads_the_last_row_and_column(kind):
    # Four pictures, in each of which another pixel of all windows is the largest.
    images = np.zeros((4, 11, 11, 4), np.float32)
    for number in range(4):
        images[number, number // 2 :: 2, number % 2 :: 2] = 1
    (value, (by,)), _ = value_and_grads(lambda x: getattr(pooling, kind)(x, (2, 2), (2, 2)), images)
    assert value.shape == (4, 5, 5, 4)
    read = np.abs(by).sum(axis=(0, 3)) > 0
    assert not read[10].any()
    assert not read[:, 10].any()
    assert read[:10, :10].all()


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("shape", "channel"),
    [((9, 5), -1), ((4, 3, 5, 6), -1), ((6, 3, 5, 4), -4), ((2, 6, 3, 5, 4), -4)],
    ids=["vectors", "NHWC", "CHWN", "pieces"],
)
@pytest.mark.parametrize("lanes", [(), pytest.param((3,), marks=pytest.mark.slow)], ids=["alone", "lanes"])
def test_batch_norm_agrees_with_the_mean_and_variance_of_float64_and_its_gradients_with_finite_differences(
    shape, channel, lanes
):
    axes = tuple(axis for axis in range(-len(shape), 0) if axis != channel)
    channels = shape[channel]
    arrays = [
        normal(*lanes, *shape) * 3 + 5,
        normal(*lanes, channels, seed=1),
        normal(*lanes, channels, seed=2),
    ]

    def oracle(x, scale, bias):
        middle = x - x.mean(axes, keepdims=True)
        scale, bias = (np.expand_dims(vector, axes) for vector in (scale, bias))
        return middle / np.sqrt((middle**2).mean(axes, keepdims=True) + 0.1) * scale + bias

    def ours(x, scale, bias):
        return batch_norm.batch_norm(x, scale, bias, 0.1, channel, None)[0]

    (value, by), grads = value_and_grads(ours, *arrays, lanes=bool(lanes))
    wide = [array.astype(np.float64) for array in arrays]
    assert_close(value, oracle(*wide))
    for place, array in enumerate(arrays):
        direction, step = normal(*array.shape, seed=3), 1e-4
        ends = [oracle(*wide[:place], wide[place] + sign * step * direction, *wide[place + 1 :]) for sign in (1, -1)]
        slope = (ends[0] - ends[1]) / (2 * step)
        assert_close((np.asarray(by[place], np.float64) * direction).sum(), (slope * grads).sum(), 1e-4)
    if not lanes:
        _, mean, var = batch_norm.batch_norm(*arrays, 0.1, channel, None)
        assert_close(mean, wide[0].mean(axes))
        assert_close(var, wide[0].var(axes))


def test_batch_norm_of_bfloat16_measures_in_float32():
    x = jnp.asarray(normal(512, 4) + 100, jnp.bfloat16)
    normalised, mean, var = batch_norm.batch_norm(x, jnp.ones(4), jnp.zeros(4), 1e-3, -1, None)
    assert normalised.dtype == jnp.bfloat16
    assert mean.dtype == var.dtype == jnp.float32
    assert_close(mean, np.asarray(x, np.float64).mean(0), 1e-6)
    assert_close(var, np.asarray(x, np.float64).var(0))
