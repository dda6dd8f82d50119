"""The hand convolution: the table of filters, one's own numbers, the map, the pooling, the arithmetic of a pixel."""

import numpy as np
import pytest

from cnn.report import hand_convolution

FILTER = hand_convolution.FILTERS["lesson"].kernel
DIRECTIONS = ("vertical", "horizontal", "diagonal", "antidiagonal")


def named(name):
    return hand_convolution.FILTERS[name].kernel


def by_loop(picture, kernel):
    rows, columns = len(kernel), len(kernel[0])
    return [
        [
            sum(picture[r + i][c + j] * kernel[i][j] for i in range(rows) for j in range(columns))
            for c in range(len(picture[0]) - columns + 1)
        ]
        for r in range(len(picture) - rows + 1)
    ]


def test_the_lessons_window_gives_577_neither_flipped_nor_transposed():
    assert hand_convolution.convolve(np.array(hand_convolution.WINDOW), FILTER).tolist() == [[577]]
    assert hand_convolution.convolve(np.array(hand_convolution.WINDOW), FILTER[::-1]).tolist() != [[577]]
    turned = tuple(row[::-1] for row in FILTER[::-1])
    assert hand_convolution.convolve(np.array(hand_convolution.WINDOW), turned).tolist() == [[732]]
    assert hand_convolution.convolve(np.array(hand_convolution.WINDOW), tuple(zip(*FILTER, strict=True))).tolist() == [
        [249]
    ]


def test_the_arithmetic_of_the_lessons_pixel_is_written_as_the_lesson_writes_it():
    pixel = hand_convolution.explain(np.array(hand_convolution.WINDOW), FILTER, 0, 0)
    assert np.ravel(pixel.products).tolist() == [0, 0, -256, 24, 864, -216, 213, 452, -504]
    assert hand_convolution.formula(pixel) == (
        "(-1 * 0) + (0 * 64) + (-2 * 128) + (0.5 * 48) + (4.5 * 192) + (-1.5 * 144) + (1.5 * 142) + (2 * 226) + "
        "(-3 * 168) = 577"
    )


@pytest.mark.parametrize("name", hand_convolution.FILTERS)
def test_the_numbers_of_every_named_filter_add_up_to_0_or_1_and_it_agrees_with_a_loop(name):
    assert float(np.sum(named(name))) in (0, 1)
    assert hand_convolution.weighted(named(name)) == named(name)
    assert hand_convolution.parse(name) == named(name)
    picture = np.random.default_rng(0).integers(0, 256, (7, 9))
    assert np.allclose(
        hand_convolution.convolve(picture, named(name)), by_loop(picture.tolist(), named(name)), rtol=0, atol=1e-9
    )


def lines(direction):
    """Returns a picture of parallel lines, each constant along its direction."""
    row, column = np.mgrid[0:12, 0:12]
    across = {"vertical": column, "horizontal": row, "diagonal": column - row, "antidiagonal": column + row}[direction]
    return np.random.default_rng(1).integers(0, 256, 40)[across + 12]


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_line_filter_is_blind_to_lines_across_its_own_and_sees_those_along_it(direction):
    across = dict(zip(DIRECTIONS, ("horizontal", "vertical", "antidiagonal", "diagonal"), strict=True))[direction]
    assert not hand_convolution.convolve(lines(across), named(direction)).any()
    assert np.abs(hand_convolution.convolve(lines(direction), named(direction))).max() > 255


def test_identity_leaves_all_but_the_border_and_blur_keeps_a_constant_picture():
    picture = np.random.default_rng(2).integers(0, 256, (6, 8))
    assert (hand_convolution.convolve(picture, named("identity")) == picture[1:-1, 1:-1]).all()
    assert (hand_convolution.convolve(np.full((5, 5), 77), named("blur")) == 77).all()
    assert not hand_convolution.convolve(np.full((5, 5), 77), named("outline")).any()


@pytest.mark.parametrize(
    "text", ["[[-1, 0, .5], [2, -3, 4]]", "((-1,0,.5),(2,-3,4))", "-1 0 .5; 2 -3 4", " -1,0,0.5 ; 2, -3 ,4e0 "]
)
def test_own_numbers_may_be_written_in_brackets_or_as_rows(text):
    assert hand_convolution.parse(text) == ((-1, 0, 0.5), (2, -3, 4))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vertcal", r"unknown name .vertcal.\. Did you mean .vertical.\? Known: vertical, .*\. Or give numbers of"),
        ("", "must be rows of numbers"),
        ("[]", "must be rows of numbers"),
        ("[1, 2]", "must be rows of numbers"),
        ("[[1, 2], [3]]", "every row must hold as many numbers, got rows of 2, 1"),
        ("1 2; 3", "every row must hold as many numbers, got rows of 2, 1"),
        ("[[], []]", "every row must hold as many numbers, got rows of 0, 0"),
        ("[[1, True]]", "must hold numbers from -1e.06 to 1e.06, got True"),
        ("[[1, 'a']]", "must hold numbers .* got 'a'"),
        ("1 nan", "must hold numbers .* got nan"),
        ("[[1e999]]", "must hold numbers .* got inf"),
        ("[[2000000]]", "must hold numbers .* got 2000000"),
        ("[[__import__('os')]]", "must be rows of numbers"),
        ("[" * 9000, "must be rows of numbers"),
        ("1 " * 31 + "1", "must be at most 31x31, got 1x32"),
    ],
)
def test_a_filter_that_is_none_is_refused(text, message):
    with pytest.raises(hand_convolution.FilterError, match=message):
        hand_convolution.parse(text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("1 2 1", [[0.25, 0.5, 0.25]]),
        ("-1 -1", [[0.5, 0.5]]),
        ("0.1 0.2 -0.3", [[0.1, 0.2, -0.3]]),
        ("0.1 0.2 0.7", [[0.1, 0.2, 0.7]]),
        ("0 0", [[0, 0]]),
        ("3", [[1]]),
    ],
)
def test_numbers_that_do_not_add_up_to_0_or_1_are_weighted_so_that_they_do(text, expected):
    assert np.asarray(hand_convolution.weighted(hand_convolution.parse(text))).tolist() == expected


def test_pooling_takes_the_largest_or_the_mean_of_each_block_and_leaves_the_rest_unread():
    values = np.array([[1, 2, 9], [3, 4, 9], [9, 9, 9]], float)
    assert hand_convolution.pool(values, "max").tolist() == [[4]]
    assert hand_convolution.pool(values, "average").tolist() == [[2.5]]
    assert hand_convolution.pool(values, "none") is values
    assert hand_convolution.pool(values, "max", 3).tolist() == [[9]]
    assert hand_convolution.pool(np.zeros((11, 26)), "max").shape == (5, 13)
    with pytest.raises(hand_convolution.FilterError, match="a 1x3 map has no block of 2x2 to pool"):
        hand_convolution.pool(values[:1], "max")
    with pytest.raises(hand_convolution.FilterError, match="must be one of max, average, none, got 'min'"):
        hand_convolution.pool(values, "min")


def test_every_pixels_explanation_adds_up_to_the_map():
    picture = np.random.default_rng(3).integers(0, 256, (6, 5))
    kernel = hand_convolution.parse("1 2.5; -3 .25; 0 7")
    found = hand_convolution.convolve(picture, kernel)
    assert found.shape == (4, 4)
    for (row, column), value in np.ndenumerate(found):
        pixel = hand_convolution.explain(picture, kernel, row, column)
        assert pixel.total == pytest.approx(value, abs=1e-9)
        assert pixel.window[0][0] == picture[row, column]


def test_a_place_outside_of_the_map_and_a_picture_too_small_are_refused():
    with pytest.raises(hand_convolution.FilterError, match=r"rows 0\.\.0 and columns 0\.\.0 of the map, got 1,0"):
        hand_convolution.explain(np.array(hand_convolution.WINDOW), FILTER, 1, 0)
    with pytest.raises(hand_convolution.FilterError, match="a 2x9 picture has no window for a filter of 3x3"):
        hand_convolution.convolve(np.zeros((2, 9)), FILTER)
