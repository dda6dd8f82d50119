"""JPEG files are decoded to the pixels that Pillow gives, fast or not; to fewer where that is asked for."""

import io
import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps

import runs
from cnn.data import datasets, decode, jpeg
from cnn.data.decode import BrokenPicture, collect_errors, decode_all, read_picture
from cnn.data.encoded import EncodedPart
from cnn.data.resize import RESIZES, SCALING, fit_images, fit_picture
from cnn.data.types import DataError, DataSpec
from cnn.runs import checkpoint_format
from cnn.system.preemption import Preempted
from cnn.train import checkpointer, experiment
from test_resume import newest
from test_stream_folder import SECTIONS, sections

NEEDS_OPENCV = pytest.mark.skipif(not (jpeg.simplejpeg and jpeg.OPENCV), reason="OpenCV or simplejpeg is not installed")
NEEDS_SIMPLEJPEG = pytest.mark.skipif(jpeg.simplejpeg is None, reason="simplejpeg is not installed")
SIZES = ((1, 1), (1, 17), (7, 9), (8, 8), (33, 47), (64, 129))
SUBSAMPLINGS = ("4:4:4", "4:2:2", "4:2:0")
ORIENTATION = ExifTags.Base.Orientation


def noise(height, width, seed=0):
    """Returns coloured noise, fine and coarse."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (4, 4, 3), dtype=np.uint8)).resize((width, height))
    return (np.asarray(coarse) // 2 + random.integers(0, 128, (height, width, 3))).astype(np.uint8)


def saved(pixels, mode="RGB", form="JPEG", **options):
    Image.fromarray(pixels).convert(mode).save(buffer := io.BytesIO(), form, **options)
    return buffer.getvalue()


def turned(orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return exif


def by_pillow(encoded, channels):
    """Returns what Pillow makes of a file."""
    with Image.open(io.BytesIO(encoded)) as image:
        upright = ImageOps.exif_transpose(image).convert("RGB" if image.mode not in ("L", "RGB") else image.mode)
    return np.asarray(upright.convert("L" if channels == 1 else "RGB")).reshape(upright.height, upright.width, channels)


def read(encoded, channels=3, size=None, resize="exact", **options):
    """Reads at the size that Pillow says, or at another."""
    shape = (*(size or by_pillow(encoded, channels).shape[:2]), channels)
    return read_picture(encoded, shape, resize, what="x", **options)


def is_plain(encoded):
    with Image.open(io.BytesIO(encoded)) as opened:
        return jpeg.decode_plain(encoded, opened, None) is not None


def fast():
    """Yields files that need no Pillow, and what they are."""
    for size, mode, progressive in itertools.product(SIZES, ("RGB", "L"), (False, True)):
        for subsampling in SUBSAMPLINGS if mode == "RGB" else SUBSAMPLINGS[:1]:
            options = {"subsampling": subsampling, "progressive": progressive, "quality": 60 + size[0] % 8 * 5}
            yield f"{size} {mode} {options}", saved(noise(*size), mode, **options)
    for mode, orientation in itertools.product(("RGB", "L"), range(10)):
        yield f"orientation {orientation}", saved(noise(33, 47), mode, exif=turned(orientation))
    for blocks in (1, 3):
        yield "restart markers", saved(noise(33, 47), restart_marker_blocks=blocks)
        yield "restart markers", saved(noise(33, 47), restart_marker_rows=blocks, progressive=True)
    yield "stored as RGB", saved(noise(33, 47), keep_rgb=True)
    yield "a comment and a profile", saved(noise(33, 47), comment=b"hello", icc_profile=b"x" * 300, dpi=(72, 72))
    sideways = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    yield "turned by XMP", saved(noise(33, 47), xmp=sideways)
    others = [Image.fromarray(noise(20, 20))]
    yield "of several pictures", saved(noise(33, 47), form="MPO", save_all=True, append_images=others, exif=turned(6))
    yield "rubbish behind it", saved(noise(33, 47)) + b"rubbish"


@NEEDS_SIMPLEJPEG
def test_every_plain_kind_is_decoded_without_pillow_to_its_pixels():
    for what, encoded in fast():
        assert is_plain(encoded), what
        for channels in (1, 3):
            assert np.array_equal(read(encoded, channels), by_pillow(encoded, channels)), (what, channels)


@NEEDS_SIMPLEJPEG
@pytest.mark.parametrize("resize", SCALING)
@pytest.mark.parametrize("channels", [1, 3])
def test_large_pictures_become_the_same_without_a_copy(monkeypatch, channels, resize):
    for mode, orientation in itertools.product(("RGB", "L"), (1, 6)):
        encoded = saved(noise(61, 40), mode, exif=turned(orientation))
        shape = by_pillow(encoded, channels).shape
        for size in ((20, 31), shape[:2]):
            monkeypatch.setattr(jpeg, "LARGE", 1 << 22)
            expected = read(encoded, channels, size, resize)
            monkeypatch.setattr(jpeg, "LARGE", 1)
            assert np.array_equal(read(encoded, channels, size, resize), expected)


@NEEDS_SIMPLEJPEG
@pytest.mark.parametrize("mode", ["CMYK", "YCbCr"])
def test_other_colours_are_left_to_pillow_where_they_must_be(mode):
    encoded = saved(noise(33, 47), mode)
    assert is_plain(encoded) == (mode == "YCbCr")
    for channels in (1, 3):
        assert np.array_equal(read(encoded, channels), by_pillow(encoded, channels))


def outcome(encoded, channels):
    try:
        return read_picture(encoded, (40, 30, channels), "bilinear", what="x").tobytes()
    except DataError as error:
        return type(error), str(error)


def damaged():
    random = np.random.default_rng(0)
    kinds = [{"quality": 80}, {"quality": 80, "progressive": True}, {"mode": "L"}, {"restart_marker_blocks": 3}]
    for options in kinds:
        encoded = saved(noise(33, 47), **options)
        yield from (
            encoded[:length] for length in (*range(2, len(encoded), 97), *range(len(encoded) - 12, len(encoded)))
        )
        for _ in range(40):
            flipped = bytearray(encoded)
            flipped[random.integers(len(encoded))] = random.integers(256)
            yield bytes(flipped)
    yield saved(noise(33, 47), exif=b"Exif\0\0rubbish")


@NEEDS_SIMPLEJPEG
@pytest.mark.filterwarnings("ignore:Corrupt EXIF", "ignore:Truncated File", "ignore:Image appears")
def test_damaged_files_are_refused_or_read_as_by_pillow_alone(monkeypatch):
    cases = list(itertools.product(damaged(), (1, 3)))
    found = [outcome(*case) for case in cases]
    monkeypatch.setattr(jpeg, "simplejpeg", None)
    assert found == [outcome(*case) for case in cases]
    refusals = sum(isinstance(one, tuple) for one in found)
    assert 100 < refusals < len(cases) - 100


def test_without_simplejpeg_pillow_decodes(monkeypatch):
    encoded = saved(noise(33, 47), exif=turned(6))
    monkeypatch.setattr(jpeg, "simplejpeg", None)
    assert not is_plain(encoded)
    assert np.array_equal(read(encoded), by_pillow(encoded, 3))


lengths = st.integers(1, 5000)


@given(lengths, lengths, lengths, lengths)
def test_the_least_part_that_is_not_smaller_than_wanted_is_decoded(width, height, wide, high):
    found = jpeg.reduced((width, height), (wide, high))
    if wide > width or high > height:
        assert found == (width, height)
        return
    assert found[0] >= wide and found[1] >= high
    smaller = [eighths for eighths in jpeg.EIGHTHS if -(-width * eighths // 8) < found[0]]
    assert all(-(-width * n // 8) < wide or -(-height * n // 8) < high for n in smaller)
    assert jpeg.reduced((width, height), None) == (width, height)


@pytest.mark.few(2)
@pytest.mark.parametrize(
    "installed",
    [pytest.param("opencv", marks=NEEDS_OPENCV), pytest.param("simplejpeg", marks=NEEDS_SIMPLEJPEG), ""],
)
@pytest.mark.parametrize("resize", [name for name in SCALING if name != "nearest"])
def test_scaled_decoding_gives_nearly_the_same_picture_turned_or_not(monkeypatch, installed, resize):
    monkeypatch.setattr(jpeg, "OPENCV", installed == "opencv")
    if not installed:
        monkeypatch.setattr(jpeg, "simplejpeg", None)
    smooth = np.asarray(Image.fromarray(noise(8, 6)).resize((400, 640), Image.Resampling.BICUBIC))
    for orientation, channels in itertools.product((1, 3, 6, 8), (1, 3)):
        encoded = saved(smooth, exif=turned(orientation), quality=95)
        for size in ((60, 31), (31, 60), (100, 100)):
            full = read(encoded, channels, size, resize).astype(int)
            scaled = read(encoded, channels, size, resize, scaled=True)
            assert scaled.shape == full.shape
            assert np.abs(scaled - full).mean() < 2, (orientation, size)


@pytest.mark.parametrize("installed", [pytest.param(True, marks=NEEDS_SIMPLEJPEG), False])
def test_scaled_decoding_asks_for_no_less_than_is_wanted_and_where_it_can_for_less_than_all(monkeypatch, installed):
    if not installed:
        monkeypatch.setattr(jpeg, "simplejpeg", None)
    monkeypatch.setattr(jpeg, "OPENCV", False)
    sizes = []
    monkeypatch.setattr(decode, "fit_picture", lambda picture, **_: sizes.append(picture.size))
    # Width and height as the file stores them; with orientation 6 what is stored is turned by a quarter.
    for orientation, expected in (
        ((1, (200, 80)), (6, (80, 200))) if not installed else ((1, (150, 60)), (6, (60, 150)))
    ):
        encoded = saved(noise(160, 400), exif=turned(orientation))
        read(encoded, 3, expected[::-1], "bilinear", scaled=True)
        assert sizes.pop() == expected
        read(encoded, 3, (160, 160), "cover", scaled=True)
        assert sorted(sizes.pop()) == [160, 400]
    for resize in ("exact", "pad"):
        read(saved(noise(160, 400)), 3, (8, 8), resize, scaled=True)
        assert sizes.pop() == (400, 160)
    read(saved(noise(160, 400), form="PNG"), 3, (8, 8), "bilinear", scaled=True)
    assert sizes.pop() == (400, 160)


@NEEDS_SIMPLEJPEG
def test_halves_are_the_same_by_either_decoder(monkeypatch):
    encoded = saved(noise(160, 400))
    found = [read(encoded, 3, size, "bicubic", scaled=True) for size in ((20, 50), (40, 100), (80, 200))]
    monkeypatch.setattr(jpeg, "simplejpeg", None)
    again = [read(encoded, 3, size, "bicubic", scaled=True) for size in ((20, 50), (40, 100), (80, 200))]
    assert all(map(np.array_equal, found, again))


def interpolated(pixels, height, width):
    """Returns what lies between the four nearest pixels of each place, in float64; beyond the edge, the edge."""
    lines = pixels.astype(np.float64)
    for axis, length in ((0, height), (1, width)):
        place = (np.arange(length) + 0.5) * lines.shape[axis] / length - 0.5
        before = np.floor(place).astype(int)
        weight = (place - before).reshape((-1, 1, 1) if axis == 0 else (1, -1, 1))
        near, far = (np.clip(before + n, 0, lines.shape[axis] - 1) for n in (0, 1))
        lines = np.take(lines, near, axis) * (1 - weight) + np.take(lines, far, axis) * weight
    return lines


@NEEDS_OPENCV
@pytest.mark.parametrize(("channels", "mode"), [(3, "RGB"), (1, "L")])
def test_opencv_interpolates_between_the_four_nearest_pixels(channels, mode):
    encoded = saved(noise(90, 120), mode)
    whole = by_pillow(encoded, channels)
    found = read(encoded, channels, (61, 77), "bilinear", scaled=True)
    assert found.shape == (61, 77, channels)
    assert np.abs(found - interpolated(whole, 61, 77)).max() <= 1
    larger = read(encoded, channels, (100, 200), "bilinear", scaled=True)
    assert np.abs(larger - interpolated(whole, 100, 200)).max() <= 1
    middle = read(encoded, channels, (60, 60), "cover", scaled=True)
    assert np.abs(middle - interpolated(whole[:, 15:105], 60, 60)).max() <= 1
    assert np.array_equal(read(encoded, channels, (90, 90), "cover", scaled=True), whole[:, 15:105])


@NEEDS_OPENCV
def test_opencv_passes_no_pixel_over(monkeypatch):
    """A picture of stripes one pixel wide is grey wherever it is made much smaller."""
    stripes = np.zeros((64, 640, 3), np.uint8)
    stripes[:, ::2] = 255
    encoded = saved(stripes, quality=95, subsampling=0)
    for size in ((64, 290), (20, 290), (64, 200), (9, 33)):
        assert np.abs(read(encoded, 3, size, "bilinear", scaled=True).astype(int) - 127).max() < 70, size


@NEEDS_OPENCV
def test_what_opencv_does_not_read_is_read_or_refused_as_without_it(monkeypatch):
    given = [
        (saved(noise(80, 60), exif=turned(6)), 3),
        (saved(noise(80, 60)), 1),
        (saved(noise(80, 60), "L"), 3),
        (saved(noise(80, 60), form="PNG"), 3),
        (saved(noise(80, 60), "CMYK"), 3),
    ]
    found = [read(encoded, channels, (30, 30), "cover", scaled=True) for encoded, channels in given]
    with pytest.raises(BrokenPicture) as cut_short:
        read(saved(noise(80, 60))[:900], 3, (30, 30), "cover", scaled=True)
    monkeypatch.setattr(jpeg, "OPENCV", False)
    again = [read(encoded, channels, (30, 30), "cover", scaled=True) for encoded, channels in given]
    assert all(map(np.array_equal, found, again))
    with pytest.raises(BrokenPicture) as without:
        read(saved(noise(80, 60))[:900], 3, (30, 30), "cover", scaled=True)
    assert str(cut_short.value) == str(without.value)


def test_a_bomb_is_refused_before_it_is_decoded():
    encoded = bytearray(saved(noise(8, 8)))
    frame = encoded.index(b"\xff\xc0")
    encoded[frame + 5 : frame + 9] = (9000).to_bytes(2) + (9000).to_bytes(2)
    with pytest.raises(BrokenPicture, match=r"^9000x9000 pixels, more than 50000000$"):
        read_picture(bytes(encoded), (8, 8, 3), "bilinear", what="x", scaled=True)


@pytest.mark.parametrize("scaled", [False, True])
def test_pictures_of_a_dataset_must_have_the_size_that_it_names(scaled):
    pictures = [saved(noise(80, 40)), saved(noise(40, 80), exif=turned(6)), saved(noise(40, 80))]
    how = {"shape": (80, 40, 3), "resize": "bilinear", "what": "x", "scaled": scaled, "threads": 2}
    images, errors = decode_all(pictures, image_shape=(20, 10, 3), **how)
    assert {index: str(error) for index, error in errors.items()} == {2: "(40, 80, 3) in place of (80, 40, 3)"}
    assert np.array_equal(images[0], read(pictures[0], 3, (20, 10), "bilinear", scaled=scaled))
    assert images[1].any() and not images[2].any()
    with pytest.raises(DataError, match=r"^config\.data\.image_shape: x is 80x40x3, got \(20, 10, 1\)\. Set its last"):
        decode_all(pictures, image_shape=(20, 10, 1), **how)


def test_an_encoded_part_decodes_as_it_is_told():
    encoded = saved(noise(160, 400))
    for how in ("full", "scaled"):
        labels = np.zeros(1, np.int32)
        data = DataSpec("folder", (20, 50, 3), 2, resize="bilinear", decode=how)
        part = EncodedPart("train", labels, lambda _: encoded, str, data, field="config.data.data_dir")
        images, _, errors = part.read(np.array([0, 0]), 2)
        assert not errors
        assert np.array_equal(images[1], read(encoded, 3, (20, 50), "bilinear", scaled=how == "scaled"))


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_every_picture_is_read_once_and_errors_come_in_order(threads):
    done = []

    def read_one(index):
        done.append(index)
        if index % 7 == 3:
            raise DataError(f"picture {index}")

    errors = collect_errors(read_one, 40, threads)
    assert sorted(done) == list(range(40))
    assert [(index, str(error)) for index, error in errors.items()] == [(n, f"picture {n}") for n in range(3, 40, 7)]
    with pytest.raises(ZeroDivisionError):
        collect_errors(lambda index: 1 // index, 3, threads)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("resize", RESIZES)
def test_a_picture_of_pillow_s_is_fitted_as_an_array_is(resize, channels):
    array = noise(9, 12)[..., :channels]
    picture = Image.fromarray(array[..., 0] if channels == 1 else array)
    shapes = {"exact": (9, 12), "pad": (11, 15)}
    how = {"image_shape": (*shapes.get(resize, (5, 8)), channels), "resize": resize, "what": "x"}
    assert np.array_equal(fit_picture(picture, **how), fit_images(array[None], **how)[0])
    if resize in ("exact", "pad"):
        with pytest.raises(DataError, match=rf"x is 9x12x{channels}, got .*\(8, 8, {channels}\)\..* or cover\.$"):
            fit_picture(picture, **{**how, "image_shape": (8, 8, channels)})


def cover(array, height, width):
    return fit_images(array[None], image_shape=(height, width, array.shape[2]), resize="cover", what="x")[0]


def test_cover_keeps_the_proportions_and_cuts_out_the_middle():
    wide = noise(20, 60)
    whole = Image.fromarray(wide).resize((30, 10), Image.Resampling.BILINEAR)
    assert np.array_equal(cover(wide, 10, 10), np.asarray(whole)[:, 10:20])
    high = noise(60, 20)
    whole = Image.fromarray(high).resize((10, 30), Image.Resampling.BILINEAR)
    assert np.array_equal(cover(high, 10, 10), np.asarray(whole)[10:20])
    assert np.array_equal(
        cover(wide, 10, 30), np.asarray(Image.fromarray(wide).resize((30, 10), Image.Resampling.BILINEAR))
    )
    enlarged = Image.fromarray(wide).resize((120, 40), Image.Resampling.BILINEAR)
    assert np.array_equal(cover(wide, 40, 40), np.asarray(enlarged)[:, 40:80])


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40))
def test_cover_brings_any_size_to_any_other(height, width, high, wide):
    assert np.all(cover(np.full((height, width, 3), 99, np.uint8), high, wide) == 99)


def photographs(root, count=12):
    for part, label in itertools.product(("train", "test"), "ab"):
        (root / part / label).mkdir(parents=True)
        for n in range(count):
            (root / part / label / f"{n:02}.jpg").write_bytes(saved(noise(64, 80, seed=n) // (1 + (label == "b"))))
    return root


def test_decoding_is_a_part_of_the_identity_where_it_is_not_full(tmp_path):
    fields = {"name": "folder", "data_dir": str(photographs(tmp_path)), "image_shape": (8, 8, 3), "classes": 2}
    plain, full, scaled = (
        datasets.load(DataSpec(**fields, resize="cover", **more))
        for more in ({}, {"decode": "full"}, {"decode": "scaled"})
    )
    assert plain.identity == full.identity != scaled.identity
    assert np.array_equal(plain.train.images, full.train.images)
    assert not np.array_equal(full.train.images, scaled.train.images)
    assert np.abs(full.train.images.astype(int) - scaled.train.images).mean() < 8


@pytest.mark.slow(seconds=8)
def test_a_run_on_scaled_pictures_says_where_another_decoder_goes_on(tmp_path, fault, monkeypatch, capsys):
    root = photographs(tmp_path / "pictures")
    given = sections(root, image_shape=(8, 8, 3), resize="cover", decode="scaled", loading="stream")
    values = runs.resolve.resolve(given)
    fault("step:term:5")
    with pytest.raises(Preempted):
        experiment.run(values, tmp_path / "run")
    fault("")
    path = newest(tmp_path / "run") / "meta" / "metadata"
    content = json.loads(path.read_text())["content"]
    assert content["numerics"].pop("pillow") == Image.__version__  # as earlier versions did not record it
    path.write_text(json.dumps(checkpoint_format.seal(content)))
    checkpoint_format.write_sums(newest(tmp_path / "run"))
    monkeypatch.setattr(decode, "decoder", lambda: "another 1.0")
    experiment.run(values, tmp_path / "run")
    assert f"reason jpeg {jpeg.decoder()} -> another 1.0\n" in capsys.readouterr().err
    assert SECTIONS["train"]["epochs"] == runs.records(tmp_path / "run", "epoch")[-1]["epoch"]


def test_versions_name_the_decoder_of_jpeg_where_pixels_depend_on_it(monkeypatch):
    assert decode.versions("full") == {"pillow": Image.__version__}
    assert decode.versions("scaled") == {"pillow": Image.__version__, "jpeg": jpeg.decoder()}
    if jpeg.simplejpeg is not None:
        assert ("OpenCV" in jpeg.decoder()) is jpeg.OPENCV
    monkeypatch.setattr(jpeg, "simplejpeg", None)
    assert jpeg.decoder().startswith("libjpeg-turbo ") and jpeg.decoder().endswith(" of Pillow")
    assert checkpointer.versions is decode.versions
