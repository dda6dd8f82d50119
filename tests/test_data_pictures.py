"""Pictures that anybody may have made, the hostile ones too."""

import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from cnn.data.decode import MAX_PIXELS, open_picture
from cnn.data.types import DataError

RAMP = np.arange(0, 240, 20, dtype=np.uint8).reshape(3, 4)


def save(path, image, **options):
    image.save(path, **options)
    return path


def png_header(width, height):
    """Returns a PNG that announces a size and holds next to nothing."""

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def grey(path):
    return open_picture(path, image_shape=(3, 4, 1), resize="exact")[..., 0]


def colour(path):
    return open_picture(path, image_shape=(3, 4, 3), resize="exact")


@pytest.mark.parametrize("suffix", ["png", "bmp", "webp"])
def test_grey_and_colour_become_what_is_asked_for(tmp_path, suffix):
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(RAMP), lossless=True)
    assert np.array_equal(grey(path), RAMP)
    assert np.array_equal(colour(path), np.stack([RAMP] * 3, axis=-1))
    red = save(tmp_path / f"b.{suffix}", Image.new("RGB", (4, 3), (255, 0, 0)), lossless=True)
    assert np.all(grey(red) == 76)
    assert np.all(colour(red) == (255, 0, 0))


def test_jpeg_is_read_within_its_own_loss(tmp_path):
    path = save(tmp_path / "a.jpg", Image.fromarray(RAMP), quality=95)
    assert np.abs(grey(path).astype(int) - RAMP).max() < 10


def test_sixteen_bits_are_scaled_to_eight(tmp_path):
    deep = RAMP.astype(np.uint16) * 257
    assert np.array_equal(grey(save(tmp_path / "a.png", Image.fromarray(deep))), RAMP)
    assert np.array_equal(colour(tmp_path / "a.png")[..., 2], RAMP)


def test_one_bit_and_palettes_are_read(tmp_path):
    bits = RAMP > 100
    assert np.array_equal(grey(save(tmp_path / "a.png", Image.fromarray(bits))), bits * np.uint8(255))
    palette = Image.new("RGB", (4, 3), (10, 200, 30)).quantize(4)
    assert np.all(colour(save(tmp_path / "b.png", palette)) == (10, 200, 30))


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_what_is_transparent_is_black(tmp_path, mode):
    image = Image.fromarray(RAMP).convert(mode)
    alpha = np.full((3, 4), 255, np.uint8)
    alpha[0] = 0
    image.putalpha(Image.fromarray(alpha))
    expected = np.where(alpha > 0, RAMP, 0)
    path = save(tmp_path / "a.png", image)
    assert np.array_equal(grey(path), expected)
    assert np.array_equal(colour(path)[..., 0], expected)


def test_a_transparent_palette_colour_is_black(tmp_path):
    image = Image.new("P", (4, 3), 1)
    image.putpalette([0, 0, 0, 250, 250, 250])
    image.putpixel((0, 0), 0)
    path = save(tmp_path / "a.png", image, transparency=1)
    assert np.all(colour(path) == 0)


def test_print_colours_are_read(tmp_path):
    path = save(tmp_path / "a.jpg", Image.new("CMYK", (4, 3), (0, 255, 255, 0)), quality=100)
    assert np.abs(colour(path).astype(int) - (255, 0, 0)).max() < 6


def test_a_camera_held_sideways_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path / "a.png", Image.fromarray(RAMP), exif=exif)
    upright = open_picture(path, image_shape=(4, 3, 1), resize="exact")[..., 0]
    assert np.array_equal(upright, np.rot90(RAMP, -1))


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_the_first_frame_of_an_animation_is_read(tmp_path, suffix):
    frames = [Image.fromarray(RAMP).convert("RGB"), Image.new("RGB", (4, 3), (255, 255, 255))]
    path = save(tmp_path / f"a.{suffix}", frames[0], save_all=True, append_images=frames[1:], lossless=True)
    assert np.array_equal(colour(path)[..., 0], RAMP)


def test_the_smallest_picture_is_read_and_fitted(tmp_path):
    path = save(tmp_path / "a.png", Image.new("L", (1, 1), 9))
    assert np.all(open_picture(path, image_shape=(3, 4, 1), resize="bicubic") == 9)
    assert open_picture(path, image_shape=(3, 3, 1), resize="pad").ravel().tolist() == [0, 0, 0, 0, 9, 0, 0, 0, 0]


def test_another_size_is_refused_by_the_picture_s_name(tmp_path):
    path = save(tmp_path / "tall.png", Image.new("L", (4, 9)))
    with pytest.raises(DataError, match=r"config\.data\.image_shape: picture .*tall\.png' is 9x4x1, got \(3, 4, 1\)"):
        grey(path)


def truncated():
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8))
    noise.save(buffer := io.BytesIO(), format="PNG")
    return buffer.getvalue()[:-2000]


def tiff():
    Image.fromarray(RAMP).save(buffer := io.BytesIO(), format="TIFF")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a picture in PNG, JPEG, BMP, WEBP"),
        (b"\x89PNG\r\n\x1a\n", "not a picture|broken|Truncated"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture in PNG, JPEG, BMP, WEBP"),
        (tiff(), "not a picture in PNG, JPEG, BMP, WEBP"),
        (truncated(), "truncated"),
        (png_header(10_000, 5_001), rf"10000x5001 pixels, more than {MAX_PIXELS}"),
        (png_header(10_000, 9_999), "exceeds limit of .* decompression bomb"),
        (png_header(60_000, 60_000), "exceeds limit of .* decompression bomb"),
        (png_header(4, 3), "truncated|broken|not enough"),
    ],
)
def test_hostile_files_are_refused_by_name(tmp_path, content, reason):
    path = tmp_path / "a.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=rf"picture .*a\.png': cannot be read, got: .*({reason})"):
        grey(path)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"picture .*none\.png': cannot be read, got: No such file"):
        grey(tmp_path / "none.png")
    with pytest.raises(DataError, match=r"picture .*: cannot be read, got: not a regular file"):
        grey(tmp_path)
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(DataError, match=r"picture .*pipe\.png': cannot be read, got: not a regular file"):
        grey(tmp_path / "pipe.png")


def test_control_characters_of_a_name_do_not_reach_the_terminal(tmp_path):
    with pytest.raises(DataError) as caught:
        grey(tmp_path / "a\n\x1b[31m.png")
    assert "\n" not in str(caught.value) and "\x1b" not in str(caught.value)


def transparent_png(path, depth, kind, rows, shade):
    """Writes a PNG of 4x3 pixels with the packed bytes of its rows and its transparent shade."""

    def chunk(name, body):
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", 4, 3, depth, kind, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", header), (b"tRNS", struct.pack(f">{len(shade)}H", *shade)), (b"IDAT", body), (b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts))
    return path


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_a_transparent_shade_is_black_at_every_depth(tmp_path, depth):
    most = 2**depth - 1
    values = np.array([[most, 0, most, 0]] * 3)
    bits = "".join(f"{value:0{depth}b}" for value in values[0])
    row = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    assert not grey(transparent_png(tmp_path / "a.png", depth, 0, [row] * 3, [most])).any()
    assert np.array_equal(grey(transparent_png(tmp_path / "b.png", depth, 0, [row] * 3, [0])), values * 255 // most)


def test_a_transparent_colour_of_sixteen_bits_is_black(tmp_path):
    row = struct.pack(">12H", *([0x1234, 0x5678, 0x9ABC] * 4))
    path = transparent_png(tmp_path / "a.png", 16, 2, [row] * 3, [0x1234, 0x5678, 0x9ABC])
    assert not colour(path).any()
