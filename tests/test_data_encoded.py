"""Encoded pictures decoded by the thousand."""

import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from cnn.data import png
from cnn.data.decode import BrokenPicture, check_channels, decode_all
from cnn.data.png import decode_together
from cnn.data.types import DataError


def encoded(array, kind="PNG", **options):
    picture = Image.fromarray(array[..., 0] if array.shape[-1] == 1 else array)
    picture.save(buffer := io.BytesIO(), format=kind, **options)
    return buffer.getvalue()


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def encoded_with(image, filters):
    """Encodes as PNG with the filter named for each row, in two IDAT chunks."""
    pixels = image.astype(int)
    left = np.pad(pixels, ((0, 0), (1, 0), (0, 0)))[:, :-1]
    above = np.pad(pixels, ((1, 0), (0, 0), (0, 0)))[:-1]
    corner = np.pad(pixels, ((1, 0), (1, 0), (0, 0)))[:-1, :-1]
    nearest = np.abs(np.stack([above - corner, left - corner, left + above - 2 * corner])).argmin(axis=0)
    guesses = [np.zeros_like(left), left, above, (left + above) // 2, np.choose(nearest, [left, above, corner])]
    rows = [
        bytes([kind]) + ((pixels - guesses[kind])[row] % 256).astype(np.uint8).tobytes()
        for row, kind in enumerate(filters)
    ]
    body = zlib.compress(b"".join(rows))
    header = struct.pack(">IIBBBBB", image.shape[1], image.shape[0], 8, {1: 0, 3: 2}[image.shape[2]], 0, 0, 0)
    parts = [(b"IHDR", header), (b"tIME", bytes(7)), (b"IDAT", body[:9]), (b"IDAT", body[9:]), (b"IEND", b"")]
    return png.SIGNATURE + b"".join(chunk(kind, content) for kind, content in parts)


@given(
    st.integers(0, 2**32 - 1),
    st.tuples(st.integers(1, 12), st.integers(1, 12), st.sampled_from([1, 3])),
    st.integers(0, 7),
    st.sampled_from([1, 1000, 1 << 20]),
)
def test_the_pixels_are_those_that_were_encoded(seed, shape, count, tall_bytes):
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (count, *shape), dtype=np.uint8)
    pictures = [encoded_with(image, random.integers(0, 5, shape[0])) for image in images]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(png, "TALL_BYTES", tall_bytes)
        decoded = decode_together(pictures, shape)
    assert decoded is not None
    assert np.array_equal(decoded, images)
    for image, picture in zip(images, pictures, strict=True):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(picture))).reshape(shape), image)


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
    images, errors = decode_all(pictures, shape=(4, 9, 3), image_shape=(4, 9, 3), resize="exact", what="x")
    assert images[:, 0, 0, 0].tolist() == [0, 90]
    assert not errors


def test_pictures_of_many_sizes_are_fitted_one_by_one():
    arrays = [np.full((height, 9, 3), height, np.uint8) for height in (4, 9, 12)]
    pictures = [encoded(array) for array in arrays]
    images, errors = decode_all(pictures, shape=(None, None, 3), image_shape=(6, 6, 3), resize="bilinear", what="x")
    assert images[:, 0, 0, 0].tolist() == [4, 9, 12]
    assert not errors
    fields = {"shape": (None, None, 3), "image_shape": (4, 9, 3), "resize": "exact", "what": "x"}
    images, errors = decode_all(pictures, **fields, rows=[5, 7, 6], threads=2)
    assert images[:, 0, 0, 0].tolist() == [4, 0, 0]
    assert [str(errors[place]).partition(", got")[0] for place in (1, 2)] == [
        "config.data.image_shape: picture 7 of x is 9x9x3",
        "config.data.image_shape: picture 6 of x is 12x9x3",
    ]


@pytest.mark.parametrize("shape", [(4, 9, 3), (None, None, 3)])
def test_a_picture_that_cannot_be_decoded_is_told_and_left_black(shape):
    good = encoded(np.full((4, 9, 3), 7, np.uint8))
    fields = {"shape": shape, "image_shape": (4, 9, 3), "resize": "exact", "what": "x"}
    images, errors = decode_all([good, good[:-30]], **fields)
    assert (images[0] == 7).all() and not images[1].any()
    assert list(errors) == [1]
    assert isinstance(errors[1], BrokenPicture)


def test_a_picture_unlike_the_features_is_told():
    pictures = [encoded(np.zeros((9, 4, 3), np.uint8))]
    _, errors = decode_all(pictures, shape=(4, 9, 3), image_shape=(4, 9, 3), resize="exact", what="x")
    assert str(errors[0]) == "(9, 4, 3) in place of (4, 9, 3)"
    with pytest.raises(DataError, match=r"config\.data\.name: pictures must have 1 or 3 channels, x got 4"):
        check_channels(4, "x")


def with_chunk(kind, body):
    return GOOD[:33] + chunk(kind, body) + GOOD[33:]


@pytest.mark.parametrize(
    "other",
    [
        with_chunk(b"tRNS", bytes(6)),
        with_chunk(b"eXIf", b"II*\0" + bytes(10)),
        with_chunk(b"tEXt", b"Raw profile type exif\0x"),
        with_chunk(b"acTL", bytes(8)),
        GOOD[:29] + b"0000" + GOOD[33:],
    ],
)
def test_what_may_change_pixels_is_not_decoded_with_others(other):
    assert decode_together([GOOD, other], (4, 9, 3)) is None


def test_a_transparent_grey_is_black_whatever_lies_beside_it():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 1), dtype=np.uint8)
    pixels[0] = 7
    transparent = encoded(pixels, transparency=7)
    Image.fromarray(pixels[..., 0]).convert("P").save(palette := io.BytesIO(), format="PNG")
    fields = {"shape": (8, 8, 1), "image_shape": (8, 8, 1), "resize": "exact", "what": "x"}
    alone, _ = decode_all([transparent], **fields)
    among, _ = decode_all([transparent, palette.getvalue()], **fields)
    assert np.array_equal(alone[0], among[0])
    assert np.array_equal(alone[0], np.where(pixels == 7, 0, pixels))
