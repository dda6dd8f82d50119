"""Hostile pictures, shards and names, given to the program as a person would: one clear line, never a traceback."""

import os
import shutil
import sys
import tempfile
import zlib

import numpy as np
import pytest
from PIL import Image

import processes
from cnn.data.sources import tfds_catalog
from processes import flags
from test_data_records import edit_info

pytestmark = pytest.mark.slow(seconds=5)
WRONG = 2
MEGABYTES = 1500
# A process inherits the peak of the one that forked it, so a small one stands between it and the tests.
MEASURE = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""


def start(*arguments, **options):
    """Returns how `python main.py` ends with these arguments, in a bounded memory."""
    with tempfile.NamedTemporaryFile("w+") as memory:
        done = processes.start(*arguments, before=(sys.executable, "-c", MEASURE, memory.name), **options)
        assert int(memory.read()) / 1024 < MEGABYTES
    return done


def picture(path, *, mode="L", size=(8, 8), **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(len(path.name)).integers(0, 256, (*size, len(Image.new(mode, (1, 1)).getbands())))
    array = values.astype(np.uint8).squeeze(-1) if values.shape[-1] == 1 else values.astype(np.uint8)
    Image.fromarray(array, mode if mode == "CMYK" else None).save(path, **options)


def pictures(root):
    """Makes a folder of two classes that can be trained on."""
    for part, count in (("train", 10), ("test", 3)):
        for name in ("a", "b"):
            for number in range(count):
                picture(root / part / name / f"{name}{number:02}.png")
    return root / "train" / "a"


def bomb(path):
    """Writes a PNG of a few hundred bytes that says it has 30,000 x 30,000 pixels."""

    def chunk(kind, body):
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    header = (30_000).to_bytes(4, "big") * 2 + bytes([8, 0, 0, 0, 0])
    data = zlib.compress(bytes(100_000))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))


def on_pictures(root, workdir, **changes):
    fields = {"data__name": "folder", "data__data_dir": root, "data__classes": "2", "train__batch_size": "4"}
    return start(*flags(**{**fields, "train__epochs": "1", **changes}), f"--workdir={workdir}")


def refused(done, *texts):
    """Checks for one line that holds the texts."""
    assert (done.code, len(done.err.splitlines())) == (WRONG, 1), done.err
    for text in texts:
        assert text in done.err


def test_every_broken_picture_is_named_in_one_line(tmp_path):
    folder = pictures(tmp_path / "pictures")
    bomb(folder / "bomb.png")
    picture(folder / "short.png", size=(64, 64))
    (folder / "short.png").write_bytes((folder / "short.png").read_bytes()[:2000])
    (folder / "empty.png").touch()
    (folder / "text.jpg").write_text("<script>alert(1)</script>")
    (folder / "drawing.png").write_text('<svg xmlns="http://www.w3.org/2000/svg"><rect width="8" height="8"/></svg>')
    Image.new("L", (8, 8)).save(folder / "tiff.png", format="TIFF")
    (folder / "gone.png").symlink_to(tmp_path / "nowhere")
    (folder / "device.png").symlink_to("/dev/zero")
    (folder / "esc\x1b[2J\n.png").write_text("no picture")
    os.mkfifo(folder / "pipe.png")
    broken = ("bomb", "short", "empty", "text", "drawing", "tiff", "gone", "device", "pipe")
    done = on_pictures(tmp_path / "pictures", tmp_path / "run")
    refused(done, "10 of 30 pictures cannot be read", "900000000 pixels", *(f"/{name}." for name in broken[:1]))
    for name in broken:
        assert f"/{name}." in done.err
    assert "\x1b" not in done.err
    assert not (tmp_path / "run").exists()


def test_drawings_and_animations_of_other_formats_are_not_passed_over(tmp_path):
    folder = pictures(tmp_path / "pictures")
    (folder / "drawing.svg").write_text("<svg/>")
    refused(on_pictures(tmp_path / "pictures", tmp_path / "run"), "pictures in .svg (1) are not read", "drawing.svg")


def test_unusual_pictures_are_read(tmp_path):
    """CMYK, 16 bits, an animation, another size, and one that lies elsewhere; a folder named like a picture is none."""
    folder = pictures(tmp_path / "pictures")
    picture(folder / "cmyk.jpg", mode="CMYK")
    Image.fromarray(np.full((8, 8), 40_000, np.uint16)).save(folder / "deep.png")
    picture(folder / "single.png", size=(1, 1))
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (0, 99)]
    frames[0].save(folder / "moving.webp", save_all=True, append_images=frames[1:])
    picture(tmp_path / "elsewhere.png")
    (folder / "link.png").symlink_to(tmp_path / "elsewhere.png")
    (folder / "folder.png").mkdir()
    done = on_pictures(tmp_path / "pictures", tmp_path / "run", data__resize="nearest", data__valid_fraction="0")
    assert done.code == 0, done.err
    assert '"train": 25' in (tmp_path / "run" / "run.json").read_text()


def test_other_pictures_between_two_starts_are_refused(tmp_path):
    folder = pictures(tmp_path / "pictures")
    arguments = {"data__resize": "nearest", "train__epochs": "3"}
    field = {"data__name": "folder", "data__data_dir": tmp_path / "pictures", "data__classes": "2"}
    line = flags(**{**field, "train__batch_size": "4", **arguments})
    assert processes.start(*line, f"--workdir={tmp_path / 'run'}", fault="step:kill:7").code == -9
    before = (tmp_path / "run" / "run.json").read_bytes()
    first = (folder / "a00.png").read_bytes()
    picture(folder / "a00.png", size=(9, 9))
    refused(start(*line, f"--workdir={tmp_path / 'run'}"), "config.data: the data are not those", str(tmp_path / "run"))
    assert (tmp_path / "run" / "run.json").read_bytes() == before
    (folder / "a00.png").write_bytes(first)
    assert start(*line, f"--workdir={tmp_path / 'run'}").code == 0


def flip(path):
    content = bytearray(path.read_bytes())
    content[content.index(b"IDAT") + 50] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda shard: shard.unlink(), "no such file"),
        (lambda shard: os.truncate(shard, shard.stat().st_size - 1000), "Corrupted"),
        (flip, "hash mismatch"),
        (
            lambda shard: edit_info(shard.parent, lambda info: info["splits"][1].update(shardLengths=["21"])),
            "20 records where dataset_info.json says 21",
        ),
    ],
)
def test_a_damaged_dataset_is_named(prepared, tmp_path, damage, reason):
    shutil.copytree(prepared, tmp_path / "root")
    shard = tmp_path / "root/mnist/3.0.1/mnist-test.array_record-00000-of-00001"
    damage(shard)
    done = on_mnist(tmp_path / "root", tmp_path / "run")
    refused(done, shard.name, reason, str(tmp_path / "root"))
    assert not (tmp_path / "run").exists()


def on_mnist(root, workdir, **changes):
    fields = {"data__name": "mnist", "data__data_dir": root, "data__image_shape": "(28,28,1)"}
    return start(*flags(**{**fields, "train__batch_size": "10", **changes}), f"--workdir={workdir}")


def test_labels_out_of_range_are_refused(prepared, tmp_path):
    folder = tmp_path / "root" / "blobs" / "1.0.0"
    shutil.copytree(prepared / "mnist/3.0.1", folder)
    for shard in folder.glob("mnist-*"):
        shard.rename(folder / shard.name.replace("mnist", "blobs"))
    features = folder / "features.json"
    features.write_text(features.read_text().replace('"numClasses": "10"', '"numClasses": "5"'))
    edit_info(folder, lambda info: info.update(name="blobs", version="1.0.0"))
    done = on_mnist(tmp_path / "root", tmp_path / "run", data__name="blobs", data__classes="5")
    refused(done, "labels of blobs must lie in 0..4, got ", "(20 such rows)")


def test_a_description_that_cannot_be_parsed_is_refused(prepared, tmp_path):
    shutil.copytree(prepared, tmp_path / "root")
    (tmp_path / "root/mnist/3.0.1" / tfds_catalog.INFO_FILE).write_text("{")
    refused(on_mnist(tmp_path / "root", tmp_path / "run"), "dataset_info.json of mnist cannot be parsed")


@pytest.mark.thorough
def test_a_hostile_name_of_a_run_is_harmless(tmp_path):
    """A line of its own, what clears the screen, what turns the direction of writing, markup, quotes."""
    name = "new\nline \x1b[2J \u202e <script>alert('1') \"$(id)"
    workdir = tmp_path / "runs" / name
    first = start(*flags(train__epochs="1"), f"--workdir={workdir}", fault="step:term:8")
    second = start(*flags(train__epochs="1"), f"--workdir={workdir}")
    again = start(*flags(train__epochs="1"), f"--workdir={workdir}")
    evaluated = start("eval", f"--workdir={workdir}")
    refused = start(*flags(train__epochs="2"), f"--workdir={workdir}")
    every = (first, second, again, evaluated, refused)
    assert [done.code for done in every] == [75, 0, 0, 0, WRONG]
    said = "".join(done.out + done.err for done in every)
    assert "Traceback" not in said
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [name]


def test_a_run_beside_the_folder_that_is_named_goes_where_the_path_leads(tmp_path):
    (tmp_path / "runs").mkdir()
    done = start(*flags(train__epochs="1"), "--workdir=runs/../run", cwd=tmp_path)
    assert done.code == 0, done.err
    assert processes.events(tmp_path / "run") == ["start", "end"]
