"""The layer records: shapes, formulas, parameters, MACs, receptive fields, and every refusal. No JAX."""

import itertools
import re

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from cnn.expression import ExpressionError
from cnn.layers.activation import Relu, Softmax
from cnn.layers.base import LayerError, Reach, written
from cnn.layers.combine import Dropout, Residual
from cnn.layers.convolution import Conv
from cnn.layers.dense import Dense, Flatten
from cnn.layers.normalisation import BatchNorm, GroupNorm
from cnn.layers.pooling import GlobalAvgPool, MaxPool
from cnn.model import summary
from cnn.model.summary import Field
from cnn.registry import LAYERS
from tests import networks, oracles

SHAPES = {
    # expression: (input, output, formula)
    "conv(5, 3)": ((28, 28, 1), (26, 26, 5), "28-3+1 = 26"),
    "conv(5, (3, 1))": ((9, 7, 2), (7, 7, 5), "9-3+1 = 7, 7-1+1 = 7"),
    "conv(5, 3, strides=2)": ((9, 8, 1), (4, 3, 5), "floor((9-3)/2)+1 = 4, floor((8-3)/2)+1 = 3"),
    "conv(5, 2, strides=2)": ((9, 8, 1), (4, 4, 5), "floor(9/2) = 4, 8/2 = 4"),
    "conv(5, 3, strides=2, padding='same')": ((9, 8, 1), (5, 4, 5), "ceil(9/2) = 5, ceil(8/2) = 4"),
    "conv(5, 3, dilation=2)": ((9, 9, 1), (5, 5, 5), "9-5+1 = 5; kernel (3-1)*2+1 = 5"),
    "conv(5, 3, dilation=(1, 3), padding='same')": (
        (9, 9, 1), (9, 9, 5), "ceil(9/1) = 9; kernel (3-1)*1+1 = 3, (3-1)*3+1 = 7",
    ),
    "conv(5, 3, padding=1)": ((28, 28, 1), (28, 28, 5), "28+2*1-3+1 = 28"),
    "conv(5, 7, strides=2, padding=3)": ((224, 224, 3), (112, 112, 5), "floor((224+2*3-7)/2)+1 = 112"),
    "conv(5, 2, padding=((0, 1), (0, 1)))": ((9, 8, 1), (9, 8, 5), "9+0+1-2+1 = 9, 8+0+1-2+1 = 8"),
    "conv(5, (3, 1), padding=(1, 0))": ((9, 8, 1), (9, 8, 5), "9+2*1-3+1 = 9, 8-1+1 = 8"),
    "max_pool(3, 2, padding=1)": ((112, 112, 4), (56, 56, 4), "floor((112+2*1-3)/2)+1 = 56"),
    "depthwise(3, padding='same')": ((9, 8, 5), (9, 8, 5), "ceil(9/1) = 9, ceil(8/1) = 8"),
    "depthwise(3, 2, strides=2, dilation=2)": ((9, 9, 5), (3, 3, 10), "floor((9-5)/2)+1 = 3; kernel (3-1)*2+1 = 5"),
    "upsample(2)": ((5, 4, 7), (10, 8, 7), "5*2 = 10, 4*2 = 8"),
    "upsample((1, 3), 'bilinear')": ((5, 4, 7), (5, 12, 7), "5*1 = 5, 4*3 = 12"),
    "max_pool(2)": ((11, 10, 4), (5, 5, 4), "floor(11/2) = 5, 10/2 = 5"),
    "max_pool(3, 2)": ((11, 11, 4), (5, 5, 4), "floor((11-3)/2)+1 = 5"),
    "avg_pool((1, 2), padding='same')": ((5, 5, 4), (5, 3, 4), "ceil(5/1) = 5, ceil(5/2) = 3"),
    "avg_pool(2, strides=3)": ((8, 8, 4), (3, 3, 4), "floor((8-2)/3)+1 = 3"),
    "adaptive_avg_pool((2, 7))": ((5, 7, 4), (2, 7, 4), "5 -> 2, 7 -> 7"),
    "adaptive_avg_pool(7)": ((2, 2, 4), (7, 7, 4), "2 -> 7"),
    "global_avg_pool": ((5, 4, 7), (7,), "5x4 -> 1"),
    "global_max_pool": ((5, 4, 7), (7,), "5x4 -> 1"),
    "flatten": ((5, 4, 7), (140,), "5*4*7 = 140"),
    "dense(9)": ((7,), (9,), ""),
    "residual(conv(7, 3, padding='same'))": ((5, 4, 7), (5, 4, 7), "body + input"),
    "residual(conv(3, 3), shortcut=conv(3, 3))": ((5, 4, 7), (3, 2, 3), "body + shortcut"),
    "concat(conv(3, 1), identity, conv(2, 3, padding=1))": ((5, 4, 7), (5, 4, 12), "3+7+2 = 12 channels"),
    "multiply(identity, global_avg_pool)": ((5, 4, 7), (5, 4, 7), "5x4x7 * 7"),
    "multiply(conv(1, 1), max_pool((5, 4)) | conv(1, 1))": ((5, 4, 7), (5, 4, 1), "5x4x1 * 1x1x1"),
    **dict.fromkeys(("relu", "gelu", "silu", "tanh", "sigmoid", "batch_norm"), ((5, 4, 6), (5, 4, 6), "")),
    **dict.fromkeys(("relu6", "leaky_relu(0.1)", "elu", "hard_sigmoid", "hard_swish"), ((5, 4, 6), (5, 4, 6), "")),
    **dict.fromkeys(("layer_norm", "local_response_norm", "scale", "identity"), ((5, 4, 6), (5, 4, 6), "")),
    "drop_path(0.5)": ((5, 4, 6), (5, 4, 6), ""),
    "group_norm(3)": ((5, 4, 6), (5, 4, 6), ""),
    "dropout(0.5)": ((5, 4, 6), (5, 4, 6), ""),
    "softmax": ((10,), (10,), ""),
}  # fmt: skip
COSTS = {
    # expression: (input, arrays with their shapes, MACs)
    "conv(6, 5)": ((32, 32, 1), {"kernel": (5, 5, 1, 6), "bias": (6,)}, 28 * 28 * 6 * 25),
    "conv(64, 3, use_bias=False)": ((28, 28, 1), {"kernel": (3, 3, 1, 64)}, 26 * 26 * 64 * 9),
    "conv(6, (3, 2), groups=2)": ((5, 5, 4), {"kernel": (3, 2, 2, 6), "bias": (6,)}, 3 * 4 * 6 * 6 * 2),
    "conv(4, 3, groups=4, padding='same')": ((5, 5, 4), {"kernel": (3, 3, 1, 4), "bias": (4,)}, 25 * 4 * 9),
    "dense(128)": ((1600,), {"kernel": (1600, 128), "bias": (128,)}, 204_800),
    "dense(128, use_bias=False)": ((1600,), {"kernel": (1600, 128)}, 204_800),
    "batch_norm": ((5, 5, 3), {"scale": (3,), "bias": (3,), "mean": (3,), "var": (3,)}, 0),
    "group_norm(1)": ((7,), {"scale": (7,), "bias": (7,)}, 0),
    "depthwise(3, 2, padding=1)": ((5, 5, 4), {"kernel": (3, 3, 1, 8), "bias": (8,)}, 25 * 8 * 9),
    "depthwise(3, use_bias=False)": ((5, 5, 4), {"kernel": (3, 3, 1, 4)}, 9 * 4 * 9),
    "layer_norm": ((5, 5, 3), {"scale": (3,), "bias": (3,)}, 0),
    "scale(0.1)": ((5, 5, 3), {"scale": (3,)}, 0),
    "max_pool(2)": ((5, 5, 3), {}, 0),
    "relu": ((5, 5, 3), {}, 0),
}
MISFITS = {
    # expression: (place of the caret, message); the image is 8x8x3, the classes are 10
    "conv(4, 9) | flatten | dense(10)": (
        "conv(4, 9)",
        "conv(4, 9) at position 1 does not fit the 8x8 map: its window is 9x9. Use a smaller window, "
        'padding="same", or fewer layers that shrink the map before it (after the image, 8x8x3)',
    ),
    "conv(4, 3, dilation=4) | flatten | dense(10)": (
        "conv(4, 3, dilation=4)",
        "conv(4, 3, dilation=4) at position 1 does not fit the 8x8 map: its window is 9x9. Use a smaller window",
    ),
    "3 * max_pool(2) | max_pool(2)": (
        "max_pool(2)",
        "max_pool(2) at position 4 does not fit the 1x1 map: its window is 2x2. Use a smaller window, "
        'padding="same", or fewer layers that shrink the map before it (after max_pool(2) at position 3, 1x1x3)',
    ),
    "flatten | conv(4, 3)": (
        "conv(4, 3)",
        "conv(4, 3) at position 2 needs a map (height x width x channels), got 192. Place it before flatten "
        "(after flatten at position 1, 192)",
    ),
    "flatten | avg_pool(2)": (
        "avg_pool(2)",
        "avg_pool(2) at position 2 needs a map (height x width x channels), got 192",
    ),
    "flatten | global_max_pool": (
        "global_max_pool",
        "global_max_pool at position 2 needs a map (height x width x chan",
    ),
    "dense(10)": (
        "dense(10)",
        "dense(10) at position 1 needs a vector, got 8x8x3. Place flatten or global_avg_pool before it",
    ),
    "softmax": (
        "softmax",
        "softmax at position 1 needs a vector of logits. Place flatten and dense(classes) before it",
    ),
    "flatten | dense(10) | softmax | relu": (
        "softmax",
        "softmax at position 3 may only stand last: training reads the logits before it (after dense(10)",
    ),
    "flatten | residual(dense(192) | softmax) | dense(10)": (
        "softmax",
        "softmax at position 2 of residual1 may only stand last: training reads the logits before it",
    ),
    "conv(4, 3, groups=2)": (
        "conv(4, 3, groups=2)",
        "conv(4, 3, groups=2) at position 1 groups=2 must divide its 3 input channels and its 4 features",
    ),
    "conv(4, 3, groups=3)": ("conv(4, 3, groups=3)", "groups=3 must divide its 3 input channels and its 4 features"),
    "group_norm": (
        "group_norm",
        "group_norm at position 1 groups=32 must divide its 3 channels (after the image, 8x8x3)",
    ),
    "relu | residual(relu | conv(3, 3))": (
        "residual(relu | conv(3, 3))",
        "residual at position 2 its body makes 6x6x3 and its shortcut 8x8x3, which cannot be added. Give a shortcut "
        "that "
        "makes 6x6x3, such as shortcut=conv(3, 1, strides=...) (after relu at position 1, 8x8x3)",
    ),
    "relu | residual(relu, shortcut=relu | residual(conv(3, 9)))": (
        "conv(3, 9)",
        "conv(3, 9) at position 1 of residual1/shortcut/residual1 does not fit the 8x8 map",
    ),
    "relu | residual(relu | 2 * (tanh | max_pool(3)))": (
        "max_pool(3)",
        "max_pool(3) at position 5 of residual1 does not fit the 2x2 map",
    ),
    "conv(4, 11, padding=((0, 1), (1, 1)))": (
        "conv(4, 11, padding=((0, 1), (1, 1)))",
        "does not fit the 8x8 map, with its padding 9x10: its window is 11x11. Use a smaller window",
    ),
    "max_pool(2, padding=2)": (
        "max_pool(2, padding=2)",
        "max_pool(2, padding=2) at position 1 has windows of nothing but padding, which must be less than the window's "
        "2x2 pixels (after the image, 8x8x3)",
    ),
    "flatten | depthwise(3)": ("depthwise(3)", "depthwise(3) at position 2 needs a map (height x width x channels)"),
    "flatten | upsample(2)": ("upsample(2)", "upsample(2) at position 2 needs a map (height x width x channels)"),
    "concat(relu)": ("concat(relu)", "concat at position 1 joins at least two chains, got 1. Write concat(a, b)"),
    "concat": ("concat", "concat at position 1 joins at least two chains, got 0. Write concat(a, b)"),
    "concat(identity, conv(4, 3))": (
        "concat(identity, conv(4, 3))",
        "concat at position 1 its chains make 8x8x3 and 6x6x4, which cannot be joined along the channels. Give them "
        "the same height and width, by strides and padding (after the image, 8x8x3)",
    ),
    "concat(identity, relu | conv(4, 9))": (
        "conv(4, 9)",
        "conv(4, 9) at position 2 of concat1/branch2 does not fit the 8x8 map",
    ),
    "multiply(relu)": ("multiply(relu)", "multiply at position 1 joins at least two chains, got 1. Write multiply(a"),
    "multiply(identity, global_avg_pool | dense(4))": (
        "multiply(identity, global_avg_pool | dense(4))",
        "multiply at position 1 its chains make 8x8x3 and 4, which cannot be multiplied. Give each the shape 8x8x3, or "
        "one number for each of its 3 channels (after the image, 8x8x3)",
    ),
    "local_response_norm(4)": (
        "local_response_norm(4)",
        "local_response_norm(size=4) at position 1 size=4 must be odd: as many channels before as behind",
    ),
    "flatten | dense(9)": ("dense(9)", "ends in 9, expected 10 logits. End with dense(classes)"),
    "relu | pool": ("pool", "ends in 4x4x3, expected 10 logits. End with dense(classes)"),
    "pool | pool | pool | pool": ("pool", "max_pool(2) at position 4 does not fit the 1x1 map"),
    'residual(conv(3, 3, padding="same") | pool)': (
        'residual(conv(3, 3, padding="same") | pool)',
        "residual at position 1 its body makes 4x4x3 and its shortcut 8x8x3, which cannot be added",
    ),
}


def one(text):
    (layer,) = summary.parse(text, {}).items
    return layer


@pytest.mark.parametrize("text", SHAPES)
def test_shapes_and_formulas_of(text):
    before, after, formula = SHAPES[text]
    assert one(text).output(before) == after
    assert one(text).formula(before) == formula
    assert networks.network_output((one(text),), before) == after


@pytest.mark.parametrize("text", COSTS)
def test_parameters_and_macs_of(text):
    shape, arrays, macs = COSTS[text]
    assert {parameter.name: parameter.shape for parameter in one(text).parameters(shape)} == arrays
    assert one(text).macs(shape) == macs


def test_every_kind_is_covered_by_a_shape():
    assert {type(one(text)) for text in SHAPES} == set(LAYERS.values())
    assert all(name == kind.kind for name, kind in LAYERS.items())


def test_defaults_are_keras():
    assert one("conv(4, 3)") == Conv(4, (3, 3), (1, 1), "valid", (1, 1), 1, True)
    assert one("max_pool(2)") == MaxPool((2, 2), (2, 2), "valid")
    assert one("max_pool((3, 2))").strides == (3, 2)
    assert (one("batch_norm").momentum, one("batch_norm").epsilon) == (0.99, 1e-3)
    assert one("dense(3)").use_bias is True


def test_only_functions_that_never_decrease_commute_with_a_maximum():
    assert {name for name, kind in LAYERS.items() if kind.monotone} == {
        *("relu", "relu6", "leaky_relu", "elu", "tanh", "sigmoid", "hard_sigmoid"),
    }


@pytest.mark.parametrize("text", MISFITS)
def test_refuses_with_a_caret(text):
    place, message = MISFITS[text]
    built = summary.parse(text, {"pool": "max_pool(2)"})
    with pytest.raises(ExpressionError, match=re.escape(message)) as caught:
        summary.fit(built, text, (8, 8, 3), 10)
    *_, line, carets = str(caught.value).split("\n")
    assert line[carets.index("^") : len(carets)] == place


def test_an_empty_network_is_refused():
    with pytest.raises(ExpressionError, match=re.escape("is empty. Write at least flatten | dense(classes)")):
        summary.fit(summary.parse("", {}), "", (8, 8, 3), 10)


def test_padding_is_a_number_a_pair_or_two_and_none_of_it_is_valid():
    written_as = {
        "0": "valid",
        "1": ((1, 1), (1, 1)),
        "(1, 2)": ((1, 1), (2, 2)),
        "((0, 1), (2, 3))": ((0, 1), (2, 3)),
        "((0, 0), (0, 0))": "valid",
    }
    assert {text: one(f"conv(4, 3, padding={text})").padding for text in written_as} == written_as
    for text in ("-1", "1.5", "True", "(1, 2, 3)", "((1, 2), 3, 4)", "'full'"):
        with pytest.raises(ExpressionError, match=r"conv: padding must be 'valid', 'same', a number of pixels"):
            one(f"conv(4, 3, padding={text})")


def test_chains_that_are_joined_have_no_names():
    with pytest.raises(ExpressionError, match=r"concat takes chains without names, got a. Write concat\(a, b\)"):
        one("concat(relu, a=tanh)")
    with pytest.raises(ExpressionError, match=r"expected calls joined by '\|', got 3"):
        one("concat(relu, 3)")


@pytest.mark.parametrize("layer", [Conv(4, (3, 3)), MaxPool((2, 2)), GlobalAvgPool()], ids=written)
def test_a_picture_without_its_channel_axis_is_refused(layer):
    message = r"needs a map \(height x width x channels\), got 28x28\. Place it before flatten"
    with pytest.raises(LayerError, match=message):
        layer.output((28, 28))


def test_names_count_each_kind_and_paths_follow_the_nesting():
    text = (
        "conv(4, 1) | relu | conv(4, 1) | residual(conv(4, 1) | relu, shortcut=conv(4, 1)) | relu | flatten | dense(2)"
    )
    rows = summary.trace(summary.parse(text, {}).items, (4, 4, 1))
    paths = [
        *("conv1", "relu1", "conv2"),
        *("residual1/conv1", "residual1/relu1", "residual1/shortcut/conv1", "residual1"),
        *("relu2", "flatten1", "dense1"),
    ]
    assert [row.path for row in rows] == paths
    assert [row.depth for row in rows] == [0, 0, 0, 1, 1, 2, 0, 0, 0, 0]
    assert summary.count_parameters(rows) == 8 + 20 + 20 + 20 + 64 * 2 + 2
    assert sum(row.macs for row in rows) == 16 * (4 + 16 + 16 + 16) + 128


def test_batch_statistics_are_counted_apart():
    rows = summary.trace(summary.parse("batch_norm | flatten | batch_norm", {}).items, (2, 2, 3))
    assert summary.count_parameters(rows) == 2 * 3 + 2 * 12
    assert summary.count_parameters(rows, "batch_stats") == 2 * 3 + 2 * 12


def test_an_image_through_no_layers_is_itself():
    assert networks.network_output((), (4, 4, 1)) == (4, 4, 1)
    assert summary.trace((), (4, 4, 1)) == ()


def test_activations_are_counted_in_bytes_of_float32():
    assert summary.activation_bytes((26, 26, 64)) == 173_056


def test_what_reads_everything_sees_the_whole_image():
    text = "conv(2, 3) | global_avg_pool | dense(3) | relu"
    assert [row.field for row in summary.trace(summary.parse(text, {}).items, (9, 9, 1))] == [
        Field((3, 3), (1, 1)), *[Field(None, None)] * 3,
    ]  # fmt: skip
    assert Dense(3).reach((4,)) is None
    assert Relu().reach((4,)) == Reach((1, 1), (1, 1))


def test_a_residual_sees_what_the_wider_of_its_sides_sees():
    def field(text):
        return summary.trace(summary.parse(text, {}).items, (32, 32, 2))[-1].field

    same = 'padding="same"'
    assert field(f"residual(conv(2, 3, {same}) | conv(2, 3, {same}))") == Field((5, 5), start=(-2, -2))
    assert field(f"residual(conv(2, 1), shortcut=conv(2, 7, {same}))") == Field((7, 7), start=(-3, -3))
    text = f"conv(2, 3) | residual(conv(2, 3, {same}, strides=2), shortcut=conv(2, 1, strides=2)) | conv(2, 3)"
    assert field(text) == Field((9, 9), (2, 2))
    # One reaches a pixel further up, the other a pixel further down.
    apart = "concat(conv(4, 2, padding=((1, 0), (1, 0))), conv(4, 2, padding=((0, 1), (0, 1))))"
    assert field(apart) == Field((3, 3), start=(-1, -1))
    assert field(f"residual(conv(2, (3, 1), {same}), shortcut=conv(2, (1, 3), {same}))") == Field(
        (3, 3), start=(-1, -1)
    )


def test_joined_chains_see_what_the_widest_of_them_sees_and_have_paths_by_their_number():
    text = "conv(2, 3) | concat(identity, conv(2, 5, padding=2) | relu) | multiply(identity, global_avg_pool)"
    rows = {row.path: row for row in summary.trace(summary.parse(text, {}).items, (32, 32, 2))}
    assert list(rows) == [
        *("conv1", "concat1/branch1/identity1", "concat1/branch2/conv1", "concat1/branch2/relu1", "concat1"),
        *("multiply1/branch1/identity1", "multiply1/branch2/global_avg_pool1", "multiply1"),
    ]
    assert (rows["concat1"].field, rows["multiply1"].field.sees) == (Field((7, 7), start=(-2, -2)), "all")


def test_behind_an_upsampling_the_receptive_field_is_not_known():
    rows = summary.trace(summary.parse("conv(2, 3) | upsample(2) | conv(2, 3)", {}).items, (8, 8, 1))
    assert [row.field.sees for row in rows] == ["3x3", "?", "?"]


def test_windows_of_equal_size_have_a_receptive_field_and_others_have_none_that_is_known():
    for size, sees in ((6, "3x3"), (3, "4x4"), (4, "?")):
        rows = summary.trace(summary.parse(f"conv(2, 3) | adaptive_avg_pool({size})", {}).items, (8, 8, 1))
        assert rows[-1].field.sees == sees


@st.composite
def windows(draw):
    numbers = st.integers(1, 4)
    return draw(numbers), draw(numbers), draw(numbers)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.lists(windows(), min_size=1, max_size=4), st.sampled_from(["valid", "same"]))
def test_outputs_and_receptive_fields_are_those_of_windows_followed_one_by_one(size, chain, padding):
    shape, field, reads = (size, 1, 1), Field(), [{pixel} for pixel in range(size)]
    for kernel, stride, dilation in chain:
        layer = Conv(1, (kernel, 1), (stride, 1), padding, (dilation, 1))
        assume(padding == "same" or (kernel - 1) * dilation + 1 <= shape[0])
        field, shape = field.through(layer, shape), layer.output(shape)
        taps = oracles.taps(len(reads), kernel, stride, padding, dilation)
        reads = [set().union(*(reads[pixel] for _, pixel in read)) for read in taps]
        assert len(reads) == shape[0]
    if padding == "valid":
        seen = {max(read) - min(read) + 1 for read in reads}
        assert seen == {field.size[0]}
        assert {min(later) - min(read) for read, later in itertools.pairwise(reads)} <= {field.jump[0]}


PAIRS = st.tuples(st.integers(1, 9), st.integers(1, 9))
PADS = st.sampled_from(["valid", "same", *(((1, 1), (1, 1)), ((1, 2), (1, 2)), ((1, 1), (2, 2)), ((0, 1), (2, 0)))])
WRITABLE = st.one_of(
    st.builds(
        Conv,
        st.integers(1, 99),
        PAIRS,
        PAIRS,
        PADS,
        PAIRS,
        st.integers(1, 4),
        st.booleans(),
    ),
    st.builds(MaxPool, PAIRS, PAIRS, st.sampled_from(["valid", "same"])),
    st.builds(Dense, st.integers(1, 99), st.booleans()),
    st.builds(GroupNorm, st.integers(1, 9)),
    st.builds(Dropout, st.sampled_from([0.0, 0.25, 0.5, 1 / 8])),
    st.sampled_from([Relu(), Softmax(), Flatten(), BatchNorm(), BatchNorm(0.9), MaxPool((2, 3))]),
)


@settings(max_examples=60, deadline=None)
@given(WRITABLE)
def test_a_layer_written_out_reads_back(layer):
    assert one(written(layer)) == layer


def test_layers_are_written_without_their_defaults():
    shown = [written(layer) for layer in summary.parse("conv(64, (3, 3)) | max_pool(2, 2) | group_norm(32)", {}).items]
    assert shown == ["conv(64, 3)", "max_pool(2)", "group_norm"]
    assert written(Residual((Relu(),))) == "residual"
    assert written(one('conv(4, (3, 1), padding="same", use_bias=False)')) == (
        'conv(4, (3, 1), padding="same", use_bias=False)'
    )
