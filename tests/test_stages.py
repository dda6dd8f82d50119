"""The stages of a network, what their numbers must be, and the file that keeps them."""

import dataclasses
from typing import ClassVar

import numpy as np
import pytest

import networks
import oracles
from cnn.layers.base import Layer, Reach
from cnn.model import summary
from cnn.report.journey import graph, journey_file, reference
from cnn.runs import run_dir

SIDE = (9, 8, 4)


def one(text, shape=SIDE, seed=0):
    """Returns the only stage of a network, its input and its arrays, in float32."""
    rng = np.random.default_rng(seed)
    network = networks.chain(text)
    variables = networks.variables(network, shape, seed)
    stage = graph.build(network, shape)[1]
    found = {**variables["params"].get(stage.name, {}), **variables["batch_stats"].get(stage.name, {})}
    arrays = {name: np.asarray(found[name]) for name in stage.arrays}
    return stage, rng.normal(size=shape).astype(np.float32), arrays


CONVS = [
    {},
    {"strides": (2, 1)},
    {"padding": "same"},
    {"padding": "same", "strides": (2, 3)},
    {"dilation": (2, 1)},
    {"padding": "same", "dilation": (2, 2), "groups": 2},
]


@pytest.mark.parametrize("options", CONVS, ids=str)
def test_a_convolution_is_what_one_computes_by_hand(options):
    written = "".join(f", {name}={value!r}" for name, value in options.items())
    stage, x, arrays = one(f"conv(6, (3, 2){written})")
    right, allowed = reference.expected(stage, [x], arrays)
    by_hand = oracles.conv2d(x[None], arrays["kernel"], arrays["bias"], **options)[0]
    np.testing.assert_allclose(right, by_hand, rtol=0, atol=1e-12)
    assert (allowed > 0).all() and allowed.max() < 1e-4


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize("strides", [(2, 2), (1, 3)])
def test_pooling_is_what_one_computes_by_hand(padding, strides):
    options = f'(3, 2), strides={strides}, padding="{padding}"'
    for kind, oracle in (("max_pool", oracles.max_pool), ("avg_pool", oracles.avg_pool)):
        stage, x, _ = one(f"{kind}({options})")
        right, _ = reference.expected(stage, [x], {})
        np.testing.assert_allclose(right, oracle(x[None], (3, 2), strides, padding)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("text", ["conv(5, 3)", "avg_pool(2)", "batch_norm", "group_norm(2)", "global_avg_pool"])
def test_one_wrong_number_is_found_and_named(text):
    stage, x, arrays = one(text)
    right, _ = reference.expected(stage, [x], arrays)
    output = right.astype(np.float32)
    reference.verify(stage, [x], output, arrays)
    output.ravel()[3] += 0.01
    with pytest.raises(
        reference.Disagreement, match=rf"{stage.name}: 1 of {output.size} numbers do not follow .* got "
    ):
        reference.verify(stage, [x], output, arrays)


def test_a_window_shifted_by_one_is_found():
    stage, x, arrays = one("conv(5, 3)")
    right, _ = reference.expected(stage, [x], arrays)
    with pytest.raises(reference.Disagreement):
        reference.verify(stage, [np.roll(x, 1, axis=1)], right.astype(np.float32), arrays)


def test_a_kind_that_nobody_taught_the_oracle_is_left_alone():
    stage = graph.Stage("hard_tanh1", "hard_tanh", (0,), SIDE, SIDE)
    assert reference.expected(stage, [np.zeros(SIDE)], {}) is None
    assert reference.verify(stage, [np.zeros(SIDE)], np.ones(SIDE), {}) == (0, 0.0)


def test_stages_say_what_they_read():
    network = networks.chain(
        'conv(4, 3, padding="same") | residual(conv(8, 3, strides=2, padding="same") | relu | '
        "residual(batch_norm), shortcut=conv(8, 1, strides=2)) | relu | global_avg_pool | dense(3) | softmax"
    )
    built = graph.build(network, SIDE)
    names = [stage.name for stage in built]
    by_name = dict(zip(names, built, strict=True))
    assert names == ["input", *(row.path for row in summary.trace(network, SIDE))]
    ends = [names[source] for source in by_name["residual1"].sources]
    assert ends == ["residual1/residual1", "residual1/shortcut/conv1"]
    inner = [names[source] for source in by_name["residual1/residual1"].sources]
    assert inner == ["residual1/residual1/batch_norm1", "residual1/relu1"]
    assert names[by_name["residual1/shortcut/conv1"].sources[0]] == "conv1"
    assert by_name["residual1/conv1"].pads == ((1, 1), (0, 1)), "the odd row of zeros stands at the end"
    assert tuple(graph.Stage.from_json(stage.to_json()) for stage in built) == built


def test_the_lessons_fields_are_three_four_eight_ten():
    text = "conv(2, 3) | relu | max_pool(2) | conv(2, 3) | relu | max_pool(2) | flatten | dense(3)"
    built = graph.build(networks.chain(text), (28, 28, 1))
    sizes = []
    for number in (1, 3, 4, 6):
        (top, bottom), (left, right) = graph.reach_back(built, number, 2, 1)[0]
        assert bottom - top == right - left
        sizes.append(bottom - top)
    assert sizes == [3, 4, 8, 10]
    assert graph.reach_back(built, 6, 4, 0)[5] == ((8, 10), (0, 2))
    seen = graph.reach_back(built, 8, 0, 0)[0]
    assert seen == ((0, 26), (0, 26)), (
        "the second pooling leaves a row and a column unread, and with them two of pixels"
    )


@dataclasses.dataclass(frozen=True)
class Own(Layer):
    """A layer that nobody taught the page."""

    kind: ClassVar[str] = "own"

    window: tuple[int, int] | None

    def output(self, shape):
        return shape if self.window is None else (shape[0] - 2, shape[1] - 2, shape[2])

    def reach(self, shape):
        return self.window and Reach(self.window, (1, 1))


@pytest.mark.parametrize(("window", "seen"), [((3, 3), ((4, 7), (2, 5))), (None, ((0, 9), (0, 8)))])
def test_a_layer_of_ones_own_sees_what_it_says_it_reads(window, seen):
    built = graph.build([Own(window)], SIDE)
    assert graph.reach_back(built, 1, 4, 2)[0] == seen
    assert not built[1].exact, "so its numbers are stored"


@pytest.mark.parametrize(
    "text",
    [
        'conv(3, 3, strides=2, padding="same", dilation=2) | relu | max_pool(3, strides=2)',
        'residual(conv(2, 3, padding="same") | tanh | conv(2, 3, padding="same")) | avg_pool(2)',
    ],
)
def test_a_field_is_exactly_where_a_change_can_matter(text):
    shape, rng = (13, 12, 2), np.random.default_rng(0)
    network = networks.chain(text)
    variables = networks.variables(network, shape)
    built = graph.build(network, shape)
    arrays = [
        {name: abs(np.asarray(_at(variables["params"], stage.name)[name])) for name in stage.arrays} for stage in built
    ]

    def last(x):
        outputs = [x]
        for stage, own in zip(built[1:], arrays[1:], strict=True):
            outputs.append(reference.expected(stage, [outputs[source] for source in stage.sources], own)[0])
        return outputs[-1]

    x = rng.uniform(0.1, 0.2, shape)
    before = last(x)
    for _ in range(20):
        row, column = (int(rng.integers(side)) for side in before.shape[:2])
        (top, bottom), (left, right) = graph.reach_back(built, len(built) - 1, row, column)[0]
        outside = np.ones(shape, bool)
        outside[top:bottom, left:right] = False
        assert (last(x + 5.0 * outside)[row, column] == before[row, column]).all()
        for corner in ((top, left), (bottom - 1, right - 1)):
            changed = x.copy()
            changed[corner] += 1000.0
            if text.startswith("residual"):
                assert (last(changed)[row, column] != before[row, column]).any()


def _at(tree, path):
    for part in path.split("/"):
        tree = tree.get(part, {})
    return tree


def journey_of(seed=0):
    rng = np.random.default_rng(seed)
    built = graph.build(networks.chain("conv(2, 3, use_bias=False) | relu | flatten"), (5, 5, 1))
    picture = journey_file.Picture(
        name="test/1",
        why="mistaken",
        pixels=rng.integers(0, 255, (5, 5, 1), dtype=np.uint8),
        label=1,
        recorded=None,
        outputs={"conv1": rng.normal(size=(3, 3, 2)).astype(np.float32)},
        digests={"relu1": 7},
    )
    arrays = {"conv1/kernel": rng.normal(size=(3, 3, 1, 2)).astype(np.float32)}
    table = np.linspace(0, 1, 256, dtype=np.float32)[None]
    return journey_file.Journey(built, arrays, table, (picture,), ("<a>", "b"), {"step": 3})


def test_a_journey_reads_back_and_its_file_is_the_same_bytes_each_time(tmp_path):
    path, journey = tmp_path / "journey.npz", journey_of()
    journey_file.write(path, journey)
    first = path.read_bytes()
    journey_file.write(path, journey)
    assert path.read_bytes() == first
    back = journey_file.read(path)
    assert (back.stages, back.classes, back.about) == (journey.stages, journey.classes, journey.about)
    np.testing.assert_array_equal(back.arrays["conv1/kernel"], journey.arrays["conv1/kernel"])
    given, found = dataclasses.asdict(journey.pictures[0]), dataclasses.asdict(back.pictures[0])
    np.testing.assert_array_equal(found.pop("outputs")["conv1"], given.pop("outputs")["conv1"])
    np.testing.assert_array_equal(found.pop("pixels"), given.pop("pixels"))
    assert found == given


def test_what_is_no_journey_is_refused_by_name(tmp_path):
    path = tmp_path / "journey.npz"
    assert journey_file.read(path) is None
    journey_file.write(path, journey_of())
    whole = path.read_bytes()
    for content in (b"", b"nonsense", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(run_dir.BrokenFile, match=r"journey\.npz: is not a journey .* Write it again with explain"):
            journey_file.read(path)
