"""PNG pictures of every kind the format allows, alone and beside others, against pixels worked out here."""

import io
import itertools
import struct
import zlib

import numpy as np
import pytest

from cnn.data import png
from cnn.data.datasets import load
from cnn.data.decode import BrokenPicture, decode_all, open_picture
from cnn.data.types import DataSpec

HEIGHT, WIDTH = 5, 4
DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# How an upright picture is stored under each orientation of EXIF, `None` where it says nothing.
STORED = {None: lambda upright: upright, 3: lambda upright: upright[::-1, ::-1], 6: lambda upright: np.rot90(upright)}
# The first row and column of each pass of Adam7, and its steps down and to the right.
PASSES = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
MATRIX = [
    (kind, depth, transparent, orientation, interlaced)
    for kind, depths in DEPTHS.items()
    for depth, transparent in itertools.product(depths, (False, True) if kind in (0, 2, 3) else (False,))
    for orientation, interlaced in itertools.product(STORED, (False, True))
]


def chunk(name, body):
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def rows(values, depth):
    """Returns rows of whole bytes, each with the filter that changes nothing; empty where there are no pixels."""
    if not values.size:
        return b""
    bits = (values.reshape(len(values), -1)[..., None] >> np.arange(depth)[::-1]) & 1
    packed = np.packbits(bits.reshape(len(values), -1).astype(np.uint8), axis=1)
    return b"".join(b"\0" + row.tobytes() for row in packed)


def encode(values, kind, depth, *, palette=b"", shade=b"", orientation=None, interlaced=False):
    """Returns a PNG file of values, height x width x channels, as they are stored."""
    passes = [values[top::down, left::right] for top, left, down, right in PASSES] if interlaced else [values]
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], depth, kind, 0, 0, interlaced)
    turned = struct.pack(">2sHIHHHIHHI", b"MM", 42, 8, 1, 0x0112, 3, 1, orientation or 1, 0, 0)
    body = zlib.compress(b"".join(rows(part, depth) for part in passes))
    parts = [(b"IHDR", header), (b"PLTE", palette), (b"tRNS", shade), (b"eXIf", turned if orientation else b"")]
    parts = [part for part in parts if part[1]] + [(b"IDAT", body), (b"IEND", b"")]
    return png.SIGNATURE + b"".join(chunk(*part) for part in parts)


def picture(kind, depth, transparent, orientation, interlaced):
    """Returns the bytes of a random picture, and what they are to be read as: in colour, and in grey."""
    random = np.random.default_rng([kind, depth])
    values = random.integers(0, 2**depth, (HEIGHT, WIDTH, CHANNELS[kind]))
    values[1, 2], values[3] = values[0, 0], values[0, 0]
    colours = random.integers(0, 256, (2**depth, 3)) if kind == 3 else None
    shares = random.integers(0, 256, 2**depth - (depth > 1)) if kind == 3 and transparent else np.empty(0, int)
    shade = values[0, 0] if transparent and kind != 3 else None
    stored = encode(
        STORED[orientation](values),
        kind,
        depth,
        palette=b"" if colours is None else colours.astype(np.uint8).tobytes(),
        shade=shares.astype(np.uint8).tobytes() if shade is None else shade.astype(">u2").tobytes(),
        orientation=orientation,
        interlaced=interlaced,
    )
    return stored, *plain(values, kind, depth, colours, shares, shade)


def plain(values, kind, depth, colours, shares, shade):
    """Works out the pixels of an upright picture: 8 bits, what is transparent on black.

    Grey of 16 bits is scaled and rounded; of colours, and of grey beside alpha, the upper 8 of 16 bits count.
    """
    if kind == 3:
        opacity = np.append(shares, np.full(2**depth - len(shares), 255))[values]
        shown = colours[values[..., 0]]
    else:
        deep = depth == 16 and kind != 0
        small = values >> 8 if deep else (values * 255 + (2**depth - 1) // 2) // (2**depth - 1)
        opacity = small[..., -1:] if kind in (4, 6) else np.full((HEIGHT, WIDTH, 1), 255)
        shown = np.broadcast_to(small[..., : 3 if kind in (2, 6) else 1], (HEIGHT, WIDTH, 3))
        if shade is not None:
            same = (values >> 8 == shade >> 8) if deep else values == shade
            opacity = np.where(same.all(axis=-1, keepdims=True), 0, opacity)
    colour = (2 * shown * opacity + 255) // 510
    grey = (colour @ [19595, 38470, 7471] + (1 << 15)) >> 16
    return colour.astype(np.uint8), grey[..., None].astype(np.uint8)


PLAIN, PALETTE = picture(0, 8, False, None, False), picture(3, 4, False, None, False)
COLOURFUL = picture(2, 8, False, None, False)
MANY = {case: picture(*case) for case in MATRIX}


def expected(found, channels):
    return found[1] if channels == 3 else found[2]


@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_is_read_alone_as_worked_out_here(tmp_path, channels):
    for case, found in MANY.items():
        for shape in ((HEIGHT, WIDTH), (None, None)):
            how = {
                "shape": (*shape, channels),
                "image_shape": (HEIGHT, WIDTH, channels),
                "resize": "exact",
                "what": "x",
            }
            images, errors = decode_all([found[0]], **how)
            assert not errors, case
            assert np.array_equal(images[0], expected(found, channels)), case
        (path := tmp_path / "a.png").write_bytes(found[0])
        opened = open_picture(path, image_shape=(HEIGHT, WIDTH, channels), resize="exact")
        assert np.array_equal(opened, expected(found, channels)), case


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
def test_every_kind_is_read_the_same_among_others(channels):
    how = {"image_shape": (HEIGHT, WIDTH, channels), "resize": "exact", "what": "x"}
    for case, found in MANY.items():
        for beside in ([PLAIN], [COLOURFUL], [PALETTE], [PLAIN, PALETTE, COLOURFUL]):
            among = [*beside, found, *beside]
            for shape in ((HEIGHT, WIDTH), (None, None)):
                images, errors = decode_all([each[0] for each in among], shape=(*shape, channels), **how)
                assert not errors, case
                assert np.array_equal(images, np.stack([expected(each, channels) for each in among])), case


@pytest.mark.few(1)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("loading", ["memory", "stream"])
def test_a_folder_of_every_kind_is_read_as_worked_out_here(tmp_path, channels, loading):
    for part, name in itertools.product(("train", "test"), ("a", "b")):
        (tmp_path / part / name).mkdir(parents=True)
        for number, found in enumerate((*MANY.values(), PLAIN, PALETTE, COLOURFUL)):
            (tmp_path / part / name / f"{number:03}.png").write_bytes(found[0])
    fields = {"name": "folder", "data_dir": str(tmp_path), "manual_dir": "", "classes": 2, "resize": "exact"}
    fields |= {"image_shape": (HEIGHT, WIDTH, channels), "valid_fraction": 0.0, "train_on": "train"}
    read = load(DataSpec(**fields, loading=loading)).test.images
    wanted = np.stack([expected(found, channels) for found in (*MANY.values(), PLAIN, PALETTE, COLOURFUL)])
    assert np.array_equal(read[np.arange(len(read))], np.concatenate([wanted, wanted]))


def spoilt(content, name):
    """Returns a file whose chunk of that name has a wrong checksum."""
    at = content.index(name)
    end = at + 4 + struct.unpack(">I", content[at - 4 : at])[0]
    return content[:end] + bytes(byte ^ 255 for byte in content[end : end + 4]) + content[end + 4 :]


@pytest.mark.parametrize("shape", [(HEIGHT, WIDTH, 1), (None, None, 1)])
def test_a_wrong_checksum_comes_to_the_same_alone_and_among_others(shape):
    how = {"shape": shape, "image_shape": (HEIGHT, WIDTH, 1), "resize": "exact", "what": "x"}
    timed = PLAIN[0].replace(chunk(b"IEND", b""), chunk(b"tIME", bytes(7)) + chunk(b"IEND", b""))
    body = PLAIN[0][PLAIN[0].index(b"IDAT") + 4 : -16]
    ended = PLAIN[0].replace(chunk(b"IDAT", body), chunk(b"IDAT", body[:-1] + bytes([body[-1] ^ 1])))
    cases = [spoilt(timed, name) for name in (b"IHDR", b"IDAT", b"tIME", b"IEND")] + [ended]
    for bad in cases:
        alone, errors = decode_all([bad], **how)
        for beside in ([PLAIN], [PALETTE], [PLAIN, PALETTE]):
            among, others = decode_all([*(each[0] for each in beside), bad, PLAIN[0]], **how)
            assert np.array_equal(among[len(beside)], alone[0])
            assert [str(error) for error in others.values()] == [str(error) for error in errors.values()]
            assert set(others) == ({len(beside)} if errors else set())
            assert np.array_equal(among[-1], PLAIN[2])
        assert all(isinstance(error, BrokenPicture) for error in errors.values())
    assert decode_all([cases[0]], **how)[1], "the size is not what was written"


def test_a_file_with_nothing_but_a_header_is_broken_in_both_ways():
    empty = io.BytesIO(PLAIN[0]).read(33)
    how = {"image_shape": (HEIGHT, WIDTH, 1), "resize": "exact", "what": "x"}
    for shape, beside in itertools.product(((HEIGHT, WIDTH, 1), (None, None, 1)), ([], [PLAIN[0]])):
        _, errors = decode_all([*beside, empty], shape=shape, **how)
        assert list(errors) == [len(beside)]
