"""Every kind of PNG picture is read the same alone and among others, in memory and streamed."""

import itertools
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from cnn.data import encoded, load

SIZE = (5, 4)
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
TURNED = 6  # EXIF: to be turned clockwise by a quarter
CASES = [
    (kind, depth, clear, turned, interlaced)
    for kind, depths in DEPTHS.items()
    for depth, clear, turned, interlaced in itertools.product(depths, (False, True), (False, True), (False, True))
    if not (clear and kind in (4, 6))
]


def chunk(name, content):
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def packed(values, depth):
    """Returns the filtered bytes of rows [height, width, samples]."""
    rows = []
    for row in values.reshape(len(values), -1):
        bits = "".join(f"{value:0{depth}b}" for value in row)
        rows.append(b"\0" + int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big"))
    return b"".join(rows)


def written(values, kind, depth, *, palette=None, clear=None, turned=False, interlaced=False):
    """Returns a PNG file of samples [height, width, samples]."""
    height, width = values.shape[:2]
    if interlaced:
        parts = [values[top::down, left::right] for top, left, down, right in PASSES]
        body = b"".join(packed(part, depth) for part in parts if part.size)
    else:
        body = packed(values, depth)
    chunks = [chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, int(interlaced)))]
    if palette is not None:
        chunks.append(chunk(b"PLTE", palette.astype(np.uint8).tobytes()))
    if clear is not None:
        chunks.append(chunk(b"tRNS", clear))
    if turned:
        exif = Image.Exif()
        exif[0x0112] = TURNED
        chunks.append(chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")))
    chunks += [chunk(b"IDAT", zlib.compress(body)), chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def made(kind, depth, clear, turned, interlaced):
    """Returns a file, its colours of 8 bits [height, width, 3], and how opaque they are, 0..255."""
    rng = np.random.default_rng([kind, depth])
    most = 2**depth - 1
    values = rng.integers(0, most + 1, (*SIZE, SAMPLES[kind]))
    how = {"turned": turned, "interlaced": interlaced}
    opaque = np.full(SIZE, 255)
    if kind == 3:
        palette = rng.integers(0, 256, (most + 1, 3))
        shares = rng.integers(0, 256, most + 1)
        how |= {"palette": palette} | ({"clear": shares.astype(np.uint8).tobytes()} if clear else {})
        return written(values, kind, depth, **how), palette[values[..., 0]], shares[values[..., 0]] if clear else opaque
    if kind in (4, 6):
        opaque = eight(values[..., -1], depth, kind)
    elif clear:
        shade = values[2, 1]
        how["clear"] = struct.pack(f">{len(shade)}H", *shade)
        opaque = np.where((values == shade).all(axis=-1), 0, 255)
    shades = eight(values[..., : 3 if kind in (2, 6) else 1], depth, kind)
    return written(values, kind, depth, **how), np.broadcast_to(shades, (*SIZE, 3)), opaque


def eight(values, depth, kind):
    """Returns samples in 8 bits: grey ones of 16 are scaled, of others Pillow keeps the upper half."""
    if depth == 16 and kind != 0:
        return values >> 8
    return (values * 255 + (2**depth - 1) // 2) // (2**depth - 1)


def expected(case, channels):
    """Returns what the reader should give: on black, upright, in grey or in colour."""
    _, colours, opaque = made(*case)
    image = Image.fromarray(np.dstack([colours, opaque]).astype(np.uint8), "RGBA")
    plain = Image.alpha_composite(Image.new("RGBA", image.size, "black"), image).convert("RGB")
    if case[3]:
        plain = plain.transpose(Image.Transpose.ROTATE_270)
    array = np.asarray(plain.convert("L" if channels == 1 else "RGB"))
    return array.reshape(*array.shape[:2], channels)


def decoded(files, channels, *, size=(None, None), fit="exact", image_shape=None):
    images, errors = encoded.decode_all(
        files, shape=(*size, channels), image_shape=image_shape or (*SIZE, channels), fit=fit, what="matrix"
    )
    assert not errors
    return images


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("turned", [False, True])
def test_a_picture_is_read_as_arithmetic_says_whatever_lies_beside_it(channels, turned):
    shape = (*(SIZE[::-1] if turned else SIZE), channels)
    cases = [case for case in CASES if case[3] == turned]
    files = [made(*case)[0] for case in cases]
    right = np.stack([expected(case, channels) for case in cases])
    alone = [decoded([file], channels, size=shape[:2], image_shape=shape)[0] for file in files]
    for case, found, wanted in zip(cases, alone, right, strict=True):
        np.testing.assert_array_equal(found, wanted, err_msg=str(case))
    np.testing.assert_array_equal(decoded(files, channels, size=shape[:2], image_shape=shape), right)
    np.testing.assert_array_equal(decoded(files, channels, image_shape=shape), right)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("loading", ["memory", "stream"])
def test_a_folder_of_every_kind_is_read_so_in_memory_and_streamed(tmp_path, channels, loading):
    cases = [case for case in CASES if not case[3]]
    for part, label in itertools.product(("train", "test"), ("a", "b")):
        (tmp_path / part / label).mkdir(parents=True)
        for n, case in enumerate(cases):
            (tmp_path / part / label / f"{n:03}.png").write_bytes(made(*case)[0])
    data = load(
        name="folder",
        data_dir=str(tmp_path),
        manual_dir="",
        image_shape=(*SIZE, channels),
        classes=2,
        fit="exact",
        valid_fraction=0.0,
        train_on="train",
        loading=loading,
    )
    right = np.stack([expected(case, channels) for case in cases])
    np.testing.assert_array_equal(data.train.images[np.arange(len(data.train))], np.concatenate([right, right]))


@pytest.mark.parametrize("name", [b"IDAT", b"IHDR", b"IEND"])
def test_a_wrong_checksum_has_the_same_outcome_alone_and_among_others(name):
    good, _, _ = made(0, 8, False, False, False)
    at = good.index(name)
    length = struct.unpack(">I", good[at - 4 : at])[0]
    end = at + 4 + length
    bad = good[:end] + bytes([good[end] ^ 1]) + good[end + 1 :]
    outcomes = []
    for files in ([bad], [good, bad, good], [made(3, 8, True, False, False)[0], bad]):
        images, errors = encoded.decode_all(files, shape=(*SIZE, 1), image_shape=(*SIZE, 1), fit="exact", what="matrix")
        place = files.index(bad)
        outcomes.append((images[place].tobytes(), place in errors))
    assert len(set(outcomes)) == 1
