"""Products of bfloat16 on a CPU: by units for it, which XLA emulates where there are none, and in float32.

The oracle works in float64 on operands that are rounded to bfloat16. Their products are exact in float32, so that only
the order of the sums differs: by at most gamma_n times the sum of the terms' sizes, see `cnn.layers.base.Reference`.
"""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import networks
import runs
from cnn.cli import launch
from cnn.config import files
from cnn.layers.base import TINY, gamma
from cnn.model.network import _Chain, apply, apply_train
from cnn.ops import conv, mixed, pooling
from cnn.ops.layout import enter, leave
from cnn.runs import run_dir
from cnn.system import environment
from cnn.train import preflight
from tests import oracles
from tests.test_ops import CONV_POOLS, CONVS, HALVES, assert_close, conv_case, normal, value_and_grads, window_of

OTHERS = {
    "eight channels, dilation, same": {"size": (7, 9), "kernel": (3, 2, 8, 4), "dilation": (2, 3), "padding": "same"},
    "eight channels, even kernel, same": {"size": (6, 7), "kernel": (4, 2, 9, 5), "padding": "same"},
    "eight channels, one by three": {"size": (5, 8), "kernel": (1, 3, 8, 4), "padding": "same"},
    "eight channels, three by one": {"size": (5, 8), "kernel": (3, 1, 8, 4)},
    "eight channels, strides, same": {
        "size": (7, 9), "kernel": (3, 3, 8, 4), "strides": (2, 2), "padding": "same",
    },
    "eight channels, zeros at the start": {"size": (5, 6), "kernel": (3, 3, 8, 4), "padding": ((2, 0), (1, 2))},
    "eight channels, strides, zeros at the start": {
        "size": (5, 6), "kernel": (3, 3, 8, 4), "strides": (2, 1), "padding": ((2, 0), (1, 2)),
    },
    "one by one, strides": {"size": (6, 5), "kernel": (1, 1, 8, 3), "strides": (2, 2)},
}  # fmt: skip
ALL = {**CONVS, **OTHERS}
NETWORK = """
    conv(4, 3) | relu | max_pool(2) |
    residual(conv(12, 3, padding='same', use_bias=False) | batch_norm | relu, shortcut=conv(12, 1)) |
    conv(8, 3, strides=2, padding='same') | tanh | conv(8, 3, padding='same', groups=2) | max_pool(3, strides=2) |
    flatten | dropout(0.1) | dense(16) | relu | dense(classes)
"""


@pytest.fixture
def units(monkeypatch):
    """Makes this a CPU with units for bfloat16, which compute products of every size."""
    monkeypatch.setenv(environment.UNITS, "AMX")
    monkeypatch.setattr(conv, "LEAST", 0)


@pytest.fixture(params=["units", "float32"])
def either(request, monkeypatch):
    """Returns which of the two ways to multiply is taken."""
    monkeypatch.setenv(environment.UNITS, "AMX" if request.param == "units" else "none")
    monkeypatch.setattr(conv, "LEAST", 0)
    return request.param


def each(cases, fast):
    slow = {name: () if name in fast else pytest.mark.slow for name in cases}
    return pytest.mark.parametrize("name", [pytest.param(name, marks=slow[name]) for name in cases])


def rounding(function):
    """Returns a function as a CPU computes it that is asked for bfloat16."""

    def compute(*arguments):
        with mixed.products_of(jnp.bfloat16, "cpu") as between:
            assert between == jnp.float32
            return function(*arguments)

    return compute


def convolved(options, microbatch=None, layout="CHWN"):
    def compute(images, kernel):
        images = enter(images, layout, microbatch)
        return leave(conv.conv(images, kernel, conv.Window(**options), layout=layout), layout)

    return rounding(compute)


def bfloat16(x):
    return np.asarray(jnp.asarray(x).astype(jnp.bfloat16), np.float64)


def close(found, expected, sizes, terms, either):
    """Checks sums of so many terms, whose sizes add up to `sizes`."""
    assert found.dtype == jnp.float32
    if either == "units":
        assert (np.abs(found - expected) <= gamma(terms) * sizes + terms * TINY).all()
    else:
        assert_close(found, expected)  # as all that is computed in float32, of which Winograd's bound is another


def check_convolution(value, by, images, kernel, grads, options, either):
    exact = [bfloat16(array) for array in (images, kernel, grads)]
    sizes = [np.abs(array) for array in exact]
    expected = oracles.conv2d(*exact[:2], **options), *oracles.conv2d_grads(*exact, **options)
    allowed = oracles.conv2d(*sizes[:2], **options), *oracles.conv2d_grads(*sizes, **options)
    height, width, channels, features = kernel.shape
    terms = height * width * channels, height * width * features, grads[..., 0].size
    for found, *rest in zip((value, *by), expected, allowed, terms, strict=False):
        close(found, *rest, either)


@pytest.mark.thorough(12)
@each(
    ALL, fast=("one channel", "eight channels, odd, same", "strides, same", "eight channels, dilation, same", "groups")
)
def test_a_convolution_and_its_gradients_are_those_of_rounded_numbers(name, either):
    images, kernel, options = conv_case(ALL[name])
    (value, by), grads = value_and_grads(convolved(options), images, kernel)
    check_convolution(value, by, images, kernel, grads, options, either)


@pytest.mark.thorough(3)
@pytest.mark.slow
@pytest.mark.parametrize("name", ALL)
def test_so_they_are_in_every_lane(name, either):
    images, kernels, options = conv_case(ALL[name], lanes=(3,))
    (value, by), grads = value_and_grads(convolved(options), images, kernels, lanes=True)
    for lane in range(3):
        check_convolution(
            value[lane], [each[lane] for each in by], images[lane], kernels[lane], grads[lane], options, either
        )


@pytest.mark.parametrize("count", [2, pytest.param(6, marks=pytest.mark.slow)])
def test_so_they_are_in_microbatches(count, either):
    images, kernel = normal(2 * count, 7, 6, 8), normal(3, 3, 8, 4, seed=1)
    options = {"padding": "same"}
    (value, by), grads = value_and_grads(convolved(options, microbatch=2), images, kernel)
    check_convolution(value, by, images, kernel, grads, options, either)


@pytest.mark.thorough(3)
@each(CONV_POOLS, fast=("one channel, same", "eight channels, odd", "overlap"))
@pytest.mark.parametrize("lanes", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_a_convolution_with_pooling_is_that_of_rounded_numbers(name, lanes, either):
    case = CONV_POOLS[name]
    images, kernel, _ = conv_case(case, (2,) if lanes else ())
    window, pool = window_of(case), case.get("pool", HALVES)

    @rounding
    def fused(images, kernel):
        images = enter(images, "CHWN")
        return leave(conv.conv_max_pool(images, kernel, window, conv.Pool(**pool), layout="CHWN"), "CHWN")

    @rounding
    def plain(images, kernel):
        return pooling.max_pool(conv.conv(images, kernel, window), **pool)

    (value, by), grads = value_and_grads(fused, images, kernel, lanes=lanes)
    (expected, expected_by), _ = value_and_grads(plain, images, kernel, grads=grads, lanes=lanes)
    for found, right in zip((value, *by), (expected, *expected_by), strict=True):
        assert found.dtype == jnp.float32
        assert_close(found, right)


def test_a_depthwise_convolution_is_that_of_rounded_numbers(either):
    images, kernel, options = conv_case(CONVS["depthwise, strides, same"])
    window = conv.Window(**options)

    @rounding
    def depthwise(images, kernel):
        return leave(conv.depthwise(enter(images, "CHWN"), kernel, window, layout="CHWN"), "CHWN")

    (value, by), grads = value_and_grads(depthwise, images, kernel)
    check_convolution(value, by, images, kernel, grads, options, either)


@pytest.mark.parametrize("lanes", [(), (3,)])
def test_a_dense_product_and_its_gradients_are_those_of_rounded_numbers(lanes, either):
    vectors, kernel = normal(*lanes, 5, 37), normal(*lanes, 37, 3, seed=1)
    (value, by), grads = value_and_grads(rounding(conv.dense), vectors, kernel, lanes=bool(lanes))
    arrays = vectors, kernel, np.asarray(grads), value, *by
    for vectors, kernel, grads, value, by_vectors, by_kernel in zip(*arrays, strict=True) if lanes else [arrays]:
        exact = [bfloat16(array) for array in (vectors, kernel, grads)]
        sizes = [np.abs(array) for array in exact]
        close(value, oracles.dense(*exact[:2]), oracles.dense(*sizes[:2]), 37, either)
        expected, allowed = oracles.dense_grads(*exact), oracles.dense_grads(*sizes)
        close(by_vectors, expected[0], allowed[0], 3, either)
        close(by_kernel, expected[1], allowed[1], 5, either)


def test_what_is_summed_is_not_rounded(either):
    images, kernel = normal(4, 8, 8, 8), normal(3, 3, 8, 8, seed=1)
    (value, by), _ = value_and_grads(convolved({}), images, kernel)
    for array in (value, *by):
        assert (bfloat16(array) != array).mean() > 0.9


@pytest.mark.slow
def test_without_bfloat16_nothing_is_rounded(units):
    images, kernel, options = conv_case(ALL["eight channels"])
    images, kernel = jnp.asarray(images), jnp.asarray(kernel)
    for dtype, platform in ((jnp.float32, "cpu"), (jnp.float32, "gpu"), (jnp.bfloat16, "gpu"), (jnp.bfloat16, "tpu")):
        with mixed.products_of(dtype, platform) as between:
            assert between == dtype
            value = conv.conv(enter(images, "CHWN"), kernel, conv.Window(**options), layout="CHWN")
        assert_close(leave(value, "CHWN"), oracles.conv2d(images, kernel, **options))


@pytest.mark.parametrize("name", ALL)
def test_units_compute_a_convolution_as_suits_its_channels(name):
    kernel, window = jnp.zeros(ALL[name]["kernel"]), window_of(ALL[name])
    height, _, channels, _ = kernel.shape
    columns = channels >= 8 and height > 1 and window.strides == (1, 1)
    assert conv.choose(kernel, window, None, "CHWN", units=True) == ("columns" if columns else "im2col")
    assert conv.choose(kernel, window, None, "NHWC", units=True) == "lax"


def products(layers, image_shape, count=2):
    """Returns (types, contracted axes) of every matrix product of a step's gradient, as XLA is given it."""
    variables, images = networks.variables(layers, image_shape), networks.pictures(image_shape, count)

    def loss(params):
        given = {**variables, "params": params}
        logits, _ = apply_train(layers, given, images, jax.random.key(0), dtype=jnp.bfloat16, platform="cpu")
        return (logits**2).sum()

    text = jax.jit(jax.grad(loss)).lower(variables["params"]).as_text()
    pattern = r"stablehlo\.dot_general .*contracting_dims = \[(\d)\] x \[(\d)\].* : \((.*)\) -> tensor<\S*?(bf16|f32)>"
    return [
        (set(re.findall(r"(bf16|f32)>", types)), result, (int(left), int(right)))
        for left, right, types, result in re.findall(pattern, text)
    ]


def test_units_sum_products_of_bfloat16_in_float32_and_transpose_no_left_matrix(units):
    layers = networks.chain("conv(8, 3) | conv(8, 3, padding='same') | conv(8, 3, strides=2) | flatten | dense(10)")
    found = products(layers, (9, 8, 3))
    assert len(found) == 3 * 4 - 1, "nobody needs the gradient by the images themselves"
    assert all(types == {"bf16"} and result == "f32" for types, result, _ in found)
    # XLA computes the products of a transposed matrix by slower code.
    assert {axes for *_, axes in found} == {(1, 0), (1, 1)}


@pytest.mark.slow(seconds=2)
@pytest.mark.parametrize(
    ("name", "expected"),
    [("lenet5", 0), ("fashion_mnist", 4), ("cifar10", 26)],
)
def test_units_compute_products_of_some_size(name, expected, monkeypatch):
    # Of the lesson's network the kernel's gradient of the first convolution, and all of the second.
    monkeypatch.setenv(environment.UNITS, "AMX")
    values = files.resolved(name)
    found = products(values.layers, values.data.image_shape)
    assert sum(types == {"bf16"} for types, *_ in found) == expected
    monkeypatch.setenv(environment.UNITS, "none")
    assert not any("bf16" in types for types, *_ in products(values.layers, values.data.image_shape))


@pytest.mark.slow(seconds=10)
@pytest.mark.parametrize("lanes", [False, True])
def test_a_network_is_that_of_its_layers_one_by_one(lanes, either):
    layers, shape = networks.chain(NETWORK, classes=3), (19, 17, 2)
    variables, images = networks.variables(layers, shape), networks.pictures(shape, 4)
    one_by_one = rounding(lambda variables, images: _Chain(layers, fused=False).apply(variables, images))

    def loss(logits):
        return (logits * jnp.cos(jnp.arange(logits.size)).reshape(logits.shape)).sum()

    def both(variables):
        def ours(params):
            given = {**variables, "params": params}
            return apply(layers, given, images, dtype=jnp.bfloat16, platform="cpu")

        def plain(params):
            return one_by_one({**variables, "params": params}, images)

        return [
            (function(variables["params"]), jax.grad(lambda params, f=function: loss(f(params)))(variables["params"]))
            for function in (ours, plain)
        ]

    if lanes:
        variables = jax.tree.map(lambda array: jnp.stack([array, 0.5 * array]), variables)
    fast, plain = networks.jit(jax.vmap(both) if lanes else both)(variables)
    # Another order of a sum may round the next product's operand to its neighbour, 2**-8 away.
    networks.agree(fast, plain, 2e-2)
    assert fast[0].dtype == jnp.float32


def test_what_a_cpu_has_is_read_from_what_the_system_says_and_the_environment_wins(tmp_path, monkeypatch):
    for flags, name in (
        ("fpu avx512_bf16 amx_bf16 amx_tile", "AMX"),
        ("fpu avx512_bf16", "AVX512-BF16"),
        ("fpu avx2 amx_tile", ""),
    ):
        file = tmp_path / flags
        file.write_text(f"processor\t: 0\nmodel name\t: a CPU\nflags\t\t: {flags}\n")
        assert environment.units_in(file) == name
    assert environment.units_in(tmp_path / "missing") == ""
    monkeypatch.delenv(environment.UNITS, raising=False)
    assert environment.bfloat16_units() == environment.units_in(environment.CPUINFO)
    monkeypatch.setenv(environment.UNITS, "AVX512-BF16")
    assert environment.bfloat16_units() == "AVX512-BF16"
    monkeypatch.setenv(environment.UNITS, "none")
    assert environment.bfloat16_units() == ""
    monkeypatch.setenv(environment.UNITS, "amx")
    assert environment.problems() == [f"{environment.UNITS}: must be AMX, AVX512-BF16 or none, got 'amx'. Unset it"]


def test_what_is_computed_is_said_in_words(units, monkeypatch):
    assert environment.arithmetic("float32", "cpu") == "float32"
    assert environment.arithmetic("bfloat16", "gpu") == "bfloat16"
    assert environment.arithmetic("bfloat16", "cpu") == "products of bfloat16, sums of float32, on AMX"
    monkeypatch.setenv(environment.UNITS, "none")
    assert environment.arithmetic("bfloat16", "cpu") == "products of numbers rounded to bfloat16, in float32"


NARROW = "train.compute_dtype=bfloat16"


def test_a_cpu_without_units_says_so_before_a_run(monkeypatch):
    monkeypatch.setenv(environment.UNITS, "none")
    (said,) = preflight.remarks(runs.tiny(NARROW), 1000)
    assert said == (
        "config.train.compute_dtype: this CPU has no units for bfloat16 (AMX or AVX512-BF16), so what is multiplied is "
        "rounded to it and multiplied in float32, which is no faster than float32"
    )
    assert preflight.remarks(runs.tiny(), 1000) == []
    monkeypatch.setenv(environment.UNITS, "AMX")
    assert preflight.remarks(runs.tiny(NARROW), 1000) == []


def test_the_summary_says_what_computes(units, capsys):
    line = "computes on an accelerator in bfloat16, on this CPU products of bfloat16, sums of float32, on AMX"
    assert runs.start("summary", f"--config.{NARROW}") == 0
    assert line in capsys.readouterr().out.splitlines()
    assert runs.start("summary") == 0
    assert "on this CPU" not in capsys.readouterr().out


@pytest.mark.slow(seconds=5)
def test_a_run_on_another_kind_of_cpu_says_that_its_bits_are_no_longer_the_same(
    tmp_path, units, monkeypatch, fault, capsys
):
    fault("step:term:10")
    assert runs.train(tmp_path / "run", NARROW, "train.epochs=1") == launch.PREEMPTED
    assert runs.saved(tmp_path / "run", "run.json")["arithmetic"] == "products of bfloat16, sums of float32, on AMX"
    fault("")
    monkeypatch.setenv(environment.UNITS, "none")
    capsys.readouterr()
    assert runs.train(tmp_path / "run", NARROW, "train.epochs=1") == 0
    other = "products of numbers rounded to bfloat16, in float32"
    assert runs.saved(tmp_path / "run", "run.json")["arithmetic"] == other
    said = [line for line in capsys.readouterr().err.splitlines() if "not bit-identical" in line]
    reason = f"arithmetic products of bfloat16, sums of float32, on AMX -> {other}"
    assert said == [f"not bit-identical from here: step 10, reason {reason}"]


@pytest.mark.slow(seconds=2)
def test_a_run_of_a_version_that_computed_bfloat16_otherwise_says_so(tmp_path, capsys):
    assert runs.train(tmp_path / "run", NARROW, "train.epochs=1") == 0
    assert runs.start("eval", f"--workdir={tmp_path / 'run'}") == 0
    assert "not bit-identical" not in capsys.readouterr().err
    made = runs.saved(tmp_path / "run", "run.json")
    del made["arithmetic"]
    run_dir.write_json(tmp_path / "run" / "run.json", made)
    assert runs.start("eval", f"--workdir={tmp_path / 'run'}") == 0
    assert (
        "was begun by a version that on a CPU kept what lies between the layers in bfloat16, too: "
        in capsys.readouterr().err
    )


@pytest.mark.thorough
@pytest.mark.slow(seconds=30)
def test_digits_are_learned_as_well_as_in_float32(tmp_path, units):
    network = "conv(16, 3) | relu | max_pool(2) | conv(16, 3, padding='same') | relu | flatten | dense(classes)"
    found = {"float32": [], "bfloat16": []}
    for dtype, results in found.items():
        for seed in (0, 1):
            workdir = tmp_path / f"{dtype}-{seed}"
            changes = f"model.layers={network}", "train.epochs=8", f"train.compute_dtype={dtype}", f"seed={seed}"
            assert runs.train(workdir, *changes) == 0
            results.append(runs.saved(workdir, "result.json"))
    assert len({result["fingerprint"] for results in found.values() for result in results}) == 4
    exact, narrow = (np.array([result["test"]["accuracy"] for result in results]) for results in found.values())
    assert exact.min() > 0.93
    # 359 pictures, of which six in a hundred are wrong: one deviation of a mean of two is 0.009.
    assert abs(narrow.mean() - exact.mean()) < 0.02
