"""Tests of the matrices of Winograd's algorithms, and of how far float32 takes their sums from the exact ones."""

import numpy as np
import pytest

from cnn.ops import conv, layout, winograd
from tests import oracles

pytestmark = pytest.mark.compiled

each_form = pytest.mark.parametrize("form", [winograd.F2, winograd.F4], ids=["two", "four"])


def products(form, kernel):
    """Returns the matrix that a kernel of three numbers makes of the inputs of a block: (outputs, inputs)."""
    places = np.array(form.G) @ kernel
    return np.array(form.At) @ (places[:, None] * np.array(form.Bt))


@each_form
@pytest.mark.parametrize("tap", [0, 1, 2])
def test_a_block_is_what_sliding_the_kernel_makes(form, tap):
    slid = np.eye(form.step, form.step + 2, tap)
    assert products(form, np.eye(3)[tap]) == pytest.approx(slid, abs=1e-15)


@pytest.mark.parametrize(
    ("height", "width", "form"),
    [
        (32, 32, winograd.F4),
        (6, 6, winograd.F2),
        (7, 8, winograd.F4),
        (2, 2, winograd.F2),
        (1, 40, winograd.F2),
    ],
)
def test_the_algorithm_is_the_one_of_fewer_products(height, width, form):
    assert winograd.form_of(height, width) is form


@pytest.mark.slow
@pytest.mark.parametrize(("size", "most"), [(8, 2), (10, 5)], ids=["two", "four"])
def test_rounding_stays_near_that_of_the_plain_convolution(size, most):
    images, kernel = (np.random.default_rng(0).normal(size=shape) for shape in [(1, size, size, 64), (3, 3, 64, 8)])
    exact = oracles.conv2d(images, kernel)
    images, kernel = images.astype(np.float32), kernel.astype(np.float32)
    plain = conv.conv(images, kernel, conv.Window(), layout="NHWC")
    ours = layout.leave(winograd.conv(layout.enter(images, "CHWN"), kernel), "CHWN")
    error, expected = (np.sqrt(np.mean((np.asarray(each) - exact) ** 2)) for each in (ours, plain))
    assert error < most * expected
