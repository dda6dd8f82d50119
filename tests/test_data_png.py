"""Many PNG pictures decoded at once."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cnn.data import png
from cnn.data.encoded import decode_all
from cnn.data.png import decode_together


def encoded(array, kind="PNG", **options):
    picture = Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
    picture.save(buffer := io.BytesIO(), format=kind, **options)
    return buffer.getvalue()


def smooth(random, count, shape):
    """Returns pictures on which an encoder makes use of every filter."""
    steps = random.integers(-9, 10, (count, *shape)) * random.integers(0, 2, (count, shape[0], 1, 1))
    return (steps.cumsum(axis=1).cumsum(axis=2) % 256).astype(np.uint8)


@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3])),
    st.integers(0, 7),
    st.sampled_from([1, 100, 1 << 20]),
)
def test_the_pixels_are_those_that_were_encoded(seed, shape, count, tall_bytes):
    images = smooth(np.random.default_rng(seed), count, shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(png, "TALL_BYTES", tall_bytes)
        decoded = decode_together([encoded(image) for image in images], shape)
    assert decoded is not None
    assert np.array_equal(decoded, images)


def test_every_filter_is_among_those_tested():
    images = smooth(np.random.default_rng(0), 40, (12, 12, 3))
    rows = b"".join(png._rows(encoded(image), 12 * 37) or b"" for image in images)
    assert set(rows[::37]) == {0, 1, 2, 3, 4}


GOOD = encoded(np.zeros((4, 9, 3), np.uint8))


@pytest.mark.parametrize(
    "other",
    [
        b"",
        GOOD[:20],
        GOOD[:-30],
        GOOD[:-12],
        GOOD.replace(b"IDAT", b"XDAT"),
        GOOD[:45] + b"\xff\xff" + GOOD[47:],
        encoded(np.zeros((9, 4, 3), np.uint8)),
        encoded(np.zeros((4, 9, 1), np.uint8)),
        encoded(np.zeros((4, 9, 4), np.uint8)),
        encoded(np.zeros((4, 9, 3), np.uint8), "JPEG"),
    ],
)
def test_anything_else_is_left_to_others(other):
    assert decode_together([GOOD, other], (4, 9, 3)) is None
    assert decode_together([GOOD, GOOD], (4, 9, 3)) is not None


def test_other_formats_among_them_are_read_all_the_same():
    pictures = [GOOD, encoded(np.full((4, 9, 3), 90, np.uint8), "JPEG")]
    images = decode_all(pictures, shape=(4, 9, 3), image_shape=(4, 9, 3), fit="exact", what="x")
    assert images[:, 0, 0, 0].tolist() == [0, 90]
