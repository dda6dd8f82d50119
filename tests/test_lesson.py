"""Every number that the lesson teaches, from our layers, our network and `python main.py summary`."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import networks
from cnn import hyperparams
from cnn.config import resolve
from cnn.config.config import ConfigError
from cnn.data import loader
from cnn.layers.base import show, written
from cnn.layers.convolution import Conv
from cnn.layers.pooling import MaxPool
from cnn.model import network, summary
from cnn.train import multi_step
from cnn.train.state import StepConfig, create_state

REPOSITORY = Path(__file__).parents[1]
CONFIGS = sorted(path.stem for path in (REPOSITORY / "configs").glob("*.py"))

WINDOW = np.array([[0, 64, 128], [48, 192, 144], [142, 226, 168]])
FILTER = np.array([[-1, 0, -2], [0.5, 4.5, -1.5], [1.5, 2, -3]])
VERTICAL = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
HORIZONTAL = VERTICAL.T


def through(text, pictures, **arrays):
    """Returns what a chain of layers makes of pictures without batch and channel; `conv1` etc. give kernel and bias."""
    chain = summary.parse(text, {}).items
    params = {name: {"kernel": jnp.asarray(kernel, jnp.float32)[:, :, None, None]} for name, kernel in arrays.items()}
    pictures = jnp.asarray(pictures, jnp.float32)[None, :, :, None]
    return np.asarray(network.apply(chain, {"params": params}, pictures))[0, ..., 0]


def filtered(picture, kernel):
    return through("conv(1, 3, use_bias=False)", picture, conv1=kernel)


@pytest.mark.slow
def test_the_new_pixel_is_577_through_our_layer_a_loop_and_lax():
    products = [[WINDOW[row, column] * FILTER[row, column] for column in range(3)] for row in range(3)]
    assert np.ravel(products).tolist() == [0, 0, -256, 24, 864, -216, 213, 452, -504]
    assert sum(np.ravel(products)) == 577
    assert filtered(WINDOW, FILTER).tolist() == [[577]]
    picture, kernel = (
        jnp.asarray(WINDOW[None, :, :, None], jnp.float32),
        jnp.asarray(FILTER[:, :, None, None], jnp.float32),
    )
    by_lax = jax.lax.conv_general_dilated(picture, kernel, (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    assert by_lax.ravel().tolist() == [577]


def test_the_filter_is_neither_flipped_nor_transposed():
    assert filtered(WINDOW, FILTER[::-1, ::-1]).tolist() == [[732]]
    assert filtered(WINDOW, FILTER.T).tolist() == [[249]]


def test_the_lessons_filter_sums_to_one_and_leaves_a_constant_picture_unchanged():
    assert FILTER.sum() == 1
    assert (filtered(np.full((7, 6), 100), FILTER) == 100).all()


def test_a_vertical_filter_answers_to_a_vertical_edge_and_not_at_all_to_horizontal_lines():
    edge = np.zeros((6, 6))
    edge[:, 3:] = 255
    assert filtered(edge, VERTICAL).tolist() == [[0, 4 * 255, 4 * 255, 0]] * 4
    stripes = np.repeat([[0], [255], [30], [255], [0], [7], [90]], 6, axis=1)
    assert (filtered(stripes, VERTICAL) == 0).all()
    assert (filtered(stripes.T, HORIZONTAL) == 0).all()
    assert np.abs(filtered(stripes.T, VERTICAL)).max() > 255


def test_a_horizontal_filter_on_one_bright_row_gives_plus_four_zero_minus_four():
    assert HORIZONTAL.tolist() == [[-1, -2, -1], [0, 0, 0], [1, 2, 1]]
    value, row = 50.0, 4
    picture = np.zeros((9, 5))
    picture[row] = value
    found = filtered(picture, HORIZONTAL)
    assert found[row - 2 : row + 1].tolist() == [[4 * value] * 3, [0] * 3, [-4 * value] * 3]
    assert np.count_nonzero(found) == 6


def test_shifting_the_picture_shifts_the_map():
    picture = np.zeros((12, 12))
    picture[3:6, 2:5] = np.arange(9).reshape(3, 3)
    shifted = np.roll(picture, (2, 4), axis=(0, 1))
    assert (filtered(shifted, FILTER) == np.roll(filtered(picture, FILTER), (2, 4), axis=(0, 1))).all()


def test_pooling_keeps_the_largest_of_each_block_and_quarters_the_area():
    picture = np.array([[0, 64, 128, 128], [48, 192, 144, 144], [142, 226, 168, 0], [255, 0, 0, 64]])
    assert through("max_pool(2)", picture).tolist() == [[192, 144], [255, 168]]
    assert through("max_pool(2)", [[1, 2], [3, 4]]).tolist() == [[4]]
    assert through("avg_pool(2)", [[1, 2], [3, 4]]).tolist() == [[2.5]]
    pool = MaxPool((2, 2))
    assert pool.output((26, 26, 64)) == (13, 13, 64)
    assert pool.parameters((26, 26, 64)) == ()


def test_pooling_an_odd_size_leaves_its_last_row_and_column_unread():
    picture = np.zeros((11, 11))
    picture[10, :] = picture[:, 10] = 255
    assert through("max_pool(2)", picture).shape == (5, 5)
    assert not through("max_pool(2)", picture).any()


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        ("conv(1, 3)", (28, 28, 1), (26, 26, 1)),
        ("conv(1, 5)", (28, 28, 1), (24, 24, 1)),
        ("conv(6, 5)", (32, 32, 1), (28, 28, 6)),
        ("conv(1, 3, strides=2)", (28, 28, 1), (13, 13, 1)),
        ("conv(1, 3, padding='same')", (28, 28, 1), (28, 28, 1)),
        ("conv(1, 3, padding='same', strides=3)", (28, 28, 1), (10, 10, 1)),
        ("conv(1, 3, dilation=2)", (28, 28, 1), (24, 24, 1)),
        ("conv(1, 3)", (30, 20, 3), (28, 18, 1)),
        ("max_pool(2)", (11, 11, 64), (5, 5, 64)),
    ],
)
def test_shapes_declared_and_computed(text, before, after):
    chain = summary.parse(text, {}).items
    assert networks.network_output(chain, before) == after
    traced = jax.eval_shape(
        lambda key: network.apply(chain, network.init(chain, before, key), jnp.zeros((2, *before))), jax.random.key(0)
    )
    assert traced.shape == (2, *after)


def resolved(name):
    scope = {}
    exec((REPOSITORY / "configs" / f"{name}.py").read_text(), scope)
    return resolve.resolve(scope["get_config"]().to_dict())


def test_the_journey_of_the_lessons_network():
    rows = {row.path: row for row in resolved("fashion_mnist").rows}
    assert [(row.output, row.count()) for row in rows.values()] == [
        ((26, 26, 64), 640), ((26, 26, 64), 0), ((13, 13, 64), 0),
        ((11, 11, 64), 36_928), ((11, 11, 64), 0), ((5, 5, 64), 0),
        ((1600,), 0), ((128,), 204_928), ((128,), 0), ((10,), 1_290), ((10,), 0),
    ]  # fmt: skip
    assert summary.count_parameters(rows.values()) == 243_786
    assert [row.macs for row in rows.values() if row.macs] == [389_376, 4_460_544, 204_800, 1_280]
    assert sum(row.macs for row in rows.values()) == 5_056_000
    spatial = [rows[name].field for name in ("conv1", "max_pool1", "conv2", "max_pool2")]
    assert [field.size for field in spatial] == [(3, 3), (4, 4), (8, 8), (10, 10)]
    assert [field.jump for field in spatial] == [(1, 1), (2, 2), (2, 2), (4, 4)]


@pytest.mark.parametrize(
    ("name", "total"), [("fashion_mnist", 243_786), ("lenet5", 61_706), ("dense_baseline", 101_770)]
)
def test_the_networks_own_the_parameters_that_the_lesson_counts(name, total):
    values = resolved(name)
    variables = jax.eval_shape(lambda key: network.init(values.layers, values.data.image_shape, key), jax.random.key(0))
    assert sum(array.size for array in jax.tree.leaves(variables)) == total


def test_the_first_convolution_without_its_bias_owns_576():
    assert sum(p.size for p in Conv(64, (3, 3), use_bias=False).parameters((28, 28, 1))) == 576


def test_lenet5_shapes_and_parameters():
    rows = [row for row in resolved("lenet5").rows if row.layer.kind in ("conv", "max_pool", "dense")]
    assert [row.output for row in rows] == [(28, 28, 6), (14, 14, 6), (10, 10, 16), (5, 5, 16), (120,), (84,), (10,)]
    assert [row.count() for row in rows] == [156, 0, 2_416, 0, 48_120, 10_164, 850]


@pytest.mark.parametrize("shape", [(28, 28), (2, 28, 28)])
def test_a_picture_without_its_channel_axis_is_a_clear_error(shape):
    values = resolved("fashion_mnist")
    size = "x".join(map(str, shape))
    message = (
        rf"images: must be batch x height x width x channels, got {size}\. .* channel axis: images\[\.\.\., None\]"
    )
    with pytest.raises(ValueError, match=message):
        network.apply(values.layers, {}, jnp.zeros(shape))
    with pytest.raises(ValueError, match=message):
        network.capture(values.layers, {}, jnp.zeros(shape))
    with pytest.raises(ValueError, match=message):
        network.apply_train(values.layers, {}, jnp.zeros(shape), jax.random.key(0))
    with pytest.raises(ValueError, match="images: must be batch x height x width x channels, got 1x28x28"):
        network.init(values.layers, (28, 28), jax.random.key(0))


def test_an_image_shape_without_its_channel_axis_is_a_clear_config_error():
    raw = {
        "model": {"layers": "flatten | dense(classes)"},
        "data": {"name": "mnist", "image_shape": (28, 28), "classes": 10},
        "optimizer": {"name": "adam", "learning_rate": 1e-3},
    }
    message = re.escape("config.data.image_shape: must be 3 integers in [1, 16384], got (28, 28).")
    with pytest.raises(ConfigError, match=message):
        resolve.resolve(raw)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [3, 4])
def test_one_filter_trained_on_lines_of_one_direction_finds_an_oriented_edge_filter(seed):
    rng = np.random.default_rng(seed)
    images, labels = np.zeros((256, 10, 10, 1), np.uint8), rng.integers(0, 2, 256)
    for image, label in zip(images, labels, strict=True):
        place = rng.integers(1, 9)
        line = image[:, place] if label else image[place]
        line[:] = rng.integers(100, 256)
    raw = {
        "model": {"layers": "conv(1, 3) | global_max_pool | dense(classes)"},
        "data": {"name": "lines", "image_shape": (10, 10, 1), "classes": 2},
        "optimizer": {"name": "adam", "learning_rate": 0.1},
    }
    step_config = StepConfig(classes=2, total_steps=150, steps_per_epoch=4, accumulate_steps=1, compute_dtype="float32")
    state = create_state(hyperparams.from_values(resolve.resolve(raw)), (10, 10, 1), seed)
    split = loader.Examples(jnp.asarray(images), jnp.asarray(labels))
    for _ in range(150):
        state, metrics = multi_step.run_step(
            state, split, jnp.asarray(rng.integers(0, 256, 64)), step_config=step_config
        )
    assert float(metrics["correct"] / metrics["count"]) > 0.9
    kernel = np.asarray(state.params["conv1"]["kernel"])[:, :, 0, 0]
    along_rows, along_columns = np.ptp(kernel.mean(axis=1)), np.ptp(kernel.mean(axis=0))
    assert max(along_rows, along_columns) > 5 * min(along_rows, along_columns)


@pytest.fixture(scope="module")
def summaries():
    """Returns what `python main.py summary` prints for each config; one process makes them all."""
    code = (
        "import contextlib, io, json, main\n"
        f"for name in {CONFIGS}:\n"
        "    with contextlib.redirect_stdout(io.StringIO()) as printed:\n"
        "        command = main.parse_flags(['main.py', 'summary', f'--config=configs/{name}.py'])\n"
        "        assert main.main(command) == 0\n"
        "    print(json.dumps([name, printed.getvalue()]))\n"
    )
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1"}
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return dict(json.loads(line) for line in done.stdout.splitlines())


def table(printed):
    """Returns the cells of each printed row by the row's first word."""
    lines = (re.split(r" {2,}", line.strip()) for line in printed.splitlines())
    return {cells[0]: cells[1:] for cells in lines if len(cells) > 1}


@pytest.mark.parametrize("name", CONFIGS)
def test_summary_prints_the_journey_of(name, summaries):
    printed, rows = summaries[name], resolved(name).rows
    cells = table(printed)
    for row in rows:
        for expected in (written(row.layer), show(row.output), f"{row.count():,}", f"{row.macs:,}"):
            assert expected in cells[row.path]
    total = summary.count_parameters(rows)
    assert f"{total:,} parameters = {4 * total:,} bytes of float32" in printed
    assert f"{sum(row.macs for row in rows):,} multiply-accumulates an image" in printed


LESSON_ROWS = {
    "conv1": ["26x26x64", "28-3+1 = 26", "3*3*1*64 + 64", "640", "389,376", "3x3", "1"],
    "max_pool1": ["13x13x64", "26/2 = 13", "0", "4x4", "2"],
    "conv2": ["11x11x64", "13-3+1 = 11", "3*3*64*64 + 64", "36,928", "4,460,544", "8x8", "2"],
    "max_pool2": ["5x5x64", "floor(11/2) = 5", "0", "10x10", "4"],
    "flatten1": ["1600", "5*5*64 = 1600", "0"],
    "dense1": ["128", "1600*128 + 128", "204,928", "204,800"],
    "dense2": ["10", "128*10 + 10", "1,290", "1,280"],
    "softmax1": ["10"],
    "input": ["28x28x1", "784 values"],
}


@pytest.mark.parametrize("name", ["fashion_mnist", "mnist", "digits"])
def test_summary_prints_every_number_of_the_lessons_table(name, summaries):
    cells = table(summaries[name])
    for path, expected in LESSON_ROWS.items():
        assert set(expected) <= set(cells[path]), path
    assert "243,786 parameters = 975,144 bytes of float32" in summaries[name]
    assert "5,056,000 multiply-accumulates an image" in summaries[name]


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("lenet5", ["28x28x6", "14x14x6", "10x10x16", "5x5x16", "156", "2,416", "48,120", "10,164", "850", "61,706"]),
        ("dense_baseline", ["784", "100,480", "1,290", "101,770"]),
        ("one_conv", ["26x26x32", "13x13x32", "5408", "320", "692,352", "1,290", "693,962"]),
    ],
)
def test_summary_prints_the_numbers_of(name, numbers, summaries):
    words = set(summaries[name].split())
    assert set(numbers) <= words
