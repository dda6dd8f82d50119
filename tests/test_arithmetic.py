"""The page's arithmetic, run by Node.js on numbers that Python worked out."""

import zlib

import numpy as np
import pytest

import networks
import oracles
from browser import needs_node, passed_in_node
from cnn.report import colormap, hand_convolution
from cnn.report.journey import graph, reference, walkthrough
from test_stages import SIDE, one

KINDS = [
    "conv(6, (3, 2))",
    "conv(6, 3, strides=(2, 1))",
    'conv(4, 3, strides=2, padding="same", dilation=2)',
    'conv(6, (1, 3), padding="same", groups=2)',
    "conv(4, 3, use_bias=False)",
    "max_pool(2)",
    'max_pool((3, 2), strides=2, padding="same")',
    "avg_pool((2, 3))",
    'avg_pool(3, strides=2, padding="same")',
    "global_avg_pool",
    "global_max_pool",
    "flatten",
    "relu",
    "gelu",
    "silu",
    "tanh",
    "sigmoid",
    "batch_norm",
    "group_norm(2)",
    "dropout(0.5)",
    "drop_path(0.5)",
    "identity",
    "relu6",
    "hard_sigmoid",
    "hard_swish",
    "conv(4, 3, padding=((0, 1), (2, 1)), strides=2)",
    "max_pool(3, 2, padding=1)",
    "depthwise((3, 2), 2, padding=1)",
    "leaky_relu(0.2)",
    "elu(0.7)",
    "scale(0.3)",
    "layer_norm(0.01)",
    "local_response_norm(3, alpha=0.1)",
    "local_response_norm(7, 1.5, 0.2, 0.6)",
    "upsample((2, 3))",
    'upsample((3, 2), "bilinear")',
]
VECTORS = [
    *("dense(5)", "batch_norm", "group_norm(4)", "softmax", "dense(3, use_bias=False)"),
    *("layer_norm", "scale(2)", "elu", "leaky_relu", "local_response_norm"),
]
FIELDS = [
    'conv(2, 3, strides=2, padding="same") | relu | max_pool(2) | conv(2, (2, 1), dilation=2) | flatten | dense(2)',
    'residual(conv(1, 3, padding="same") | batch_norm, shortcut=conv(1, 1)) | relu | avg_pool(2)',
]


def stage_fixture(text, shape):
    stage, x, arrays = one(text, shape)
    right, allowed = reference.expected(stage, [x], arrays)
    return {
        "name": f"{text} on {shape}",
        "stage": stage.to_json(),
        "sources": [x.ravel().tolist()],
        "arrays": {name: array.ravel().tolist() for name, array in arrays.items()},
        "right": right.ravel().tolist(),
        "allowed": allowed.ravel().tolist(),
        "float32": right.astype(np.float32).ravel().tolist(),
    }


JOINED = {
    # what joins: (shapes of its sources, of what it makes, what float32 makes of two)
    "add": ((SIDE, SIDE), SIDE, np.add),
    "concat": ((SIDE, (9, 8, 3)), (9, 8, 7), lambda *parts: np.concatenate(parts, axis=-1)),
    "multiply": ((SIDE, (4,)), SIDE, np.multiply),
}


def joined(op):
    rng = np.random.default_rng(1)
    shapes, made, join = JOINED[op]
    stage = graph.Stage(f"{op}1", op, (0, 1), made, made)
    sources = [rng.normal(size=shape).astype(np.float32) for shape in shapes]
    right, allowed = reference.expected(stage, sources, {})
    float32 = join(*sources).ravel().tolist()
    flat = {"right": right.ravel().tolist(), "allowed": allowed.ravel().tolist(), "float32": float32}
    return {
        "name": op,
        "stage": stage.to_json(),
        "sources": [source.ravel().tolist() for source in sources],
        "arrays": {},
        **flat,
    }


def taps(text, shape):
    """Returns by the tests' own oracle which rows each output row reads, -1 where it is padding."""
    stage, _, _ = one(text, shape)
    size, window = shape[0], stage.kernel[0]
    padding = stage.pads[0]
    read = oracles.taps(size, window, stage.strides[0], padding, stage.dilation[0])
    return [[dict(row).get(tap, -1) for tap in range(window)] for row in read]


def field_fixtures():
    rng = np.random.default_rng(2)
    for text in FIELDS:
        built = graph.build(networks.chain(text), (15, 14, 1))
        for _ in range(10):
            number = int(rng.integers(1, len(built)))
            shape = built[number].output
            row, column = (int(rng.integers(side)) for side in (shape[:2] if len(shape) == 3 else (1, 1)))
            regions = [[k, region] for k, region in graph.reach_back(built, number, row, column).items()]
            record = [stage.to_json() for stage in built]
            yield {"stages": record, "number": number, "row": row, "column": column, "regions": regions}


def bench_fixtures():
    rng = np.random.default_rng(3)
    for width in (7, 8):
        picture, kernel = rng.integers(0, 256, (6, width)).astype(float), rng.normal(size=(3, 3))
        made = hand_convolution.convolve(picture, kernel.tolist())
        yield {
            "picture": picture.ravel().tolist(),
            "width": width,
            "kernel": kernel.ravel().tolist(),
            "map": made.ravel().tolist(),
            "max": hand_convolution.pool(made, "max").ravel().tolist(),
            "average": hand_convolution.pool(made, "average").ravel().tolist(),
            "weighted": np.ravel(hand_convolution.weighted(tuple(map(tuple, kernel.tolist())))).tolist(),
        }


def apportioned():
    rng = np.random.default_rng(4)
    for count in (1, 2, 13, 64):
        numbers = rng.normal(size=count).tolist()
        places = walkthrough.decimals(numbers)
        shown = [round(value * 10**places) for value in walkthrough.apportion(numbers, places)]
        assert sum(shown) == round(sum(numbers) * 10**places)
        yield {"numbers": numbers, "places": places, "shown": shown}


@pytest.mark.slow
@needs_node
def test_the_pages_arithmetic_is_pythons(tmp_path):
    kinds = [stage_fixture(text, SIDE) for text in KINDS] + [stage_fixture(text, (8,)) for text in VECTORS]
    numbers = np.array([1.5, -0.0, 3e-9, -7], np.float32)
    pool, _, _ = one("max_pool(2)", (11, 11, 1))
    conv, _, _ = one("conv(1, 3)", (28, 28, 1))
    fixtures = {
        "stages": [*kinds, *map(joined, JOINED)],
        "taps": {f"{text} on {SIDE}": taps(text, SIDE) for text in KINDS if text.startswith(("conv", "depthwise"))},
        "fields": list(field_fixtures()),
        "lesson": {
            "picture": np.ravel(hand_convolution.WINDOW).tolist(),
            "kernel": np.ravel(hand_convolution.FILTERS["lesson"].kernel).tolist(),
        },
        "bench": list(bench_fixtures()),
        "apportioned": list(apportioned()),
        "digest": {"numbers": numbers.tolist(), "crc": zlib.crc32((numbers + 0.0).tobytes())},
        "colours": {
            "anchors": colormap.ANCHORS["light"],
            "table": colormap.table("light").tolist(),
            "paper": colormap.table("light")[colormap.STEPS].tolist(),
        },
        "odd": {"pool": pool.to_json(), "conv": conv.to_json()},
    }
    passed_in_node("arithmetic.test.js", fixtures, tmp_path)
