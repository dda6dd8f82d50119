"""A person's own pictures: how they are made fit, what is said of it, and that the logits are those of evaluation."""

import csv
import io
import json

import numpy as np
import pytest
from PIL import Image

import runs
from cnn.cli import printing
from cnn.data import decode, user_images
from cnn.data.user_images import ImageSpec, UnreadableImage
from cnn.train import checkpointer, preflight
from test_terminal import ESCAPES, screen  # noqa: F401

GREY, COLOUR = ImageSpec((8, 8, 1), "exact"), ImageSpec((8, 8, 3), "exact")
RNG = np.random.default_rng(0)
SMALL = RNG.integers(0, 256, (8, 8), dtype=np.uint8)


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """The test split of the tiny run, a file for each picture, in order."""
    folder = tmp_path_factory.mktemp("digits")
    split = preflight.load_data(runs.tiny().data).test
    for row, image in enumerate(split.images):
        Image.fromarray(image[..., 0]).save(folder / f"{row:03}.png")
    return folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save(path, array, mode=None):
    Image.fromarray(array, mode).save(path)
    return path


def prepared(path, wanted):
    with decode.bombs_are_errors():
        return user_images.prepare(path, wanted)


def predict(finished, *arguments):
    return runs.start("predict", f"--workdir={finished}", *arguments)


def records(capsys):
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.slow
def test_the_logits_are_those_of_evaluation(finished, digits, capsys):
    assert predict(finished, digits, "--json", "--top=10") == 0
    said = records(capsys)
    evaluated = np.load(finished / "predictions-test.npz")
    assert len(said) == len(evaluated["label"])
    logits = np.empty((len(said), 10))
    for row, record in enumerate(said):
        assert record["picture"] == str(digits / f"{row:03}.png")
        assert record["notes"] == []
        for entry in record["best"]:
            logits[row, entry["index"]] = entry["logit"]
    np.testing.assert_allclose(logits, evaluated["logits"], rtol=1e-5, atol=1e-5)
    exponentials = np.exp(logits)
    for record, row in zip(said, exponentials / exponentials.sum(axis=1, keepdims=True), strict=True):
        assert [entry["probability"] for entry in record["best"]] == pytest.approx(sorted(row, reverse=True))
        assert (record["class"], record["probability"]) == (str(row.argmax()), pytest.approx(row.max()))


def test_many_pictures_and_broken_ones_go_through_in_order_chunk_by_chunk(finished, digits, here, capsys):
    (here / "broken.png").write_bytes(b"\x89PNG")
    values = runs.tiny("eval.batch_size=3")
    _, classifier = checkpointer.restore_classifier(values, finished, "last")
    from cnn import evaluate

    names = [str(digits / f"{row:03}.png") for row in range(8)]
    files = [names[0], "broken.png", *names[1:], UnreadableImage("x.gif", "no")]
    found = list(evaluate.predict(values, classifier, files, GREY))
    assert [outcome.path for outcome in found] == [names[0], "broken.png", *names[1:], "x.gif"]
    assert [isinstance(outcome, UnreadableImage) for outcome in found] == [False, True, *[False] * 7, True]
    alone = [next(evaluate.predict(values, classifier, [name], GREY)).logits for name in names]
    together = [outcome.logits for outcome in found if not isinstance(outcome, UnreadableImage)]
    np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("wanted", "mode"), [(GREY, "L"), (GREY, "RGB"), (GREY, "P"), (COLOUR, "L"), (COLOUR, "RGB")])
@pytest.mark.parametrize("background", [None, 0, 255])
def test_a_picture_of_the_exact_size_goes_in_as_evaluation_reads_it(here, wanted, mode, background):
    Image.fromarray(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)).convert(mode).save("a.png")
    image = prepared("a.png", wanted._replace(background=background)).image
    assert (image == decode.open_picture("a.png", image_shape=wanted.image_shape, resize="exact")).all()


def test_sixteen_bits_are_read_as_evaluation_reads_them(here):
    save("deep.png", (RNG.integers(0, 65536, (8, 8))).astype(np.uint16))
    assert (
        prepared("deep.png", GREY).image == decode.open_picture("deep.png", image_shape=(8, 8, 1), resize="exact")
    ).all()


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
@pytest.mark.parametrize("wanted", [GREY, COLOUR])
def test_what_is_transparent_is_read_as_evaluation_reads_it(here, wanted, mode):
    image = Image.fromarray(RNG.integers(0, 256, (8, 8, 3), dtype=np.uint8)).convert(mode)
    image.putalpha(Image.fromarray(SMALL))
    image.save("a.png")
    expected = decode.open_picture("a.png", image_shape=wanted.image_shape, resize="exact")
    assert (prepared("a.png", wanted).image == expected).all()


@pytest.mark.parametrize(
    ("resize", "shape", "note"),
    [
        ("bilinear", (20, 30), "20x30 (height x width) resized to 8x8 as in training"),
        ("cover", (20, 30), "20x30 (height x width) cropped and resized to 8x8 as in training"),
        ("nearest", (4, 4), "4x4 (height x width) resized to 8x8 as in training"),
        ("pad", (6, 5), "6x5 (height x width) padded to 8x8 as in training"),
    ],
)
def test_another_size_is_made_to_fit_as_in_training(here, resize, shape, note):
    save("a.png", RNG.integers(0, 256, shape, dtype=np.uint8))
    found = prepared("a.png", ImageSpec((8, 8, 1), resize))
    assert found.notes == (note,)
    assert (found.image == decode.open_picture("a.png", image_shape=(8, 8, 1), resize=resize)).all()


@pytest.mark.parametrize(
    ("resize", "shape", "note", "rows"),
    [
        ("exact", (40, 20), "40x20 (height x width) resized to 8x4 and padded to 8x8", slice(0, 8)),
        ("pad", (10, 40), "10x40 (height x width) resized to 2x8 and padded to 8x8", slice(3, 5)),
        ("exact", (4, 4), "4x4 (height x width) resized to 8x8", slice(0, 8)),
        ("exact", (1, 500), "1x500 (height x width) resized to 1x8 and padded to 8x8", slice(3, 4)),
    ],
)
def test_where_training_knows_no_way_the_picture_keeps_its_proportions(here, resize, shape, note, rows):
    save("a.png", np.full(shape, 77, np.uint8))
    found = prepared("a.png", ImageSpec((8, 8, 1), resize))
    assert found.notes == (note,)
    assert (found.image == 77).all(), "it is padded with the shade of its border"
    drawing = np.full(shape, 77, np.uint8)
    drawing[shape[0] // 2, shape[1] // 2] = 255
    image = prepared(save("b.png", drawing), ImageSpec((8, 8, 1), resize)).image
    changed = np.flatnonzero((image != 77).any(axis=(1, 2)))
    assert set(changed) <= set(range(8)[rows])


def dark_on_light():
    drawing = np.full((40, 40), 250, np.uint8)
    drawing[10:30, 18:22] = 5
    return drawing


def test_an_inverted_background_is_noticed_said_and_turned_around(here):
    save("a.png", dark_on_light())
    dark = ImageSpec((8, 8, 1), "bilinear", background=0)
    found = prepared("a.png", dark)
    assert found.notes[0] == "light around, where the run's pictures are dark: turned around"
    assert found.image[0, 0, 0] == 5 and found.image[4, 4, 0] > 100
    for wanted in (
        dark._replace(invert="no"),
        dark._replace(background=255),
        dark._replace(background=128),
        dark._replace(background=None),
    ):
        assert prepared("a.png", wanted).image[0, 0, 0] == 250
        assert len(prepared("a.png", wanted).notes) == 1
    save("b.png", 255 - dark_on_light())
    other = prepared("b.png", dark._replace(background=240))
    assert other.notes[0] == "dark around, where the run's pictures are light: turned around"
    assert prepared("b.png", dark._replace(invert="yes")).notes[0] == "turned light for dark"


def test_an_inverted_picture_of_the_exact_size_is_said_and_left(here):
    save("a.png", dark_on_light())
    exact = ImageSpec((40, 40, 1), "exact", background=0)
    left = prepared("a.png", exact)
    assert (left.image[..., 0] == dark_on_light()).all()
    assert left.notes == (
        "light around, where the run's pictures are dark, left as it is; --invert=yes turns it around",
    )
    assert (prepared("a.png", exact._replace(invert="yes")).image[..., 0] == 255 - dark_on_light()).all()


def test_colours_and_transparency_are_said(here):
    Image.new("RGB", (8, 8), (250, 0, 0)).save("red.png")
    assert prepared("red.png", GREY).notes == ("colours made grey",)
    assert prepared("red.png", COLOUR).notes == ()
    ink = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    ink.putpixel((4, 4), (0, 0, 0, 255))
    ink.save("ink.png")
    found = prepared("ink.png", GREY)
    assert found.notes == ("transparent, shown on black as in training",)
    assert not found.image.any()
    chalk = Image.new("RGBA", (8, 8), (255, 255, 255, 0))
    chalk.putpixel((4, 4), (255, 255, 255, 255))
    chalk.save("chalk.png")
    assert prepared("chalk.png", GREY).notes == ("transparent, shown on black as in training",)
    assert prepared("chalk.png", GREY).image[0, 0, 0] == 0


def test_the_background_of_a_data_set_is_known_from_its_borders(finished):
    split = preflight.load_data(runs.tiny().data).train
    assert user_images.background_shade(split.images) == 0
    assert runs.saved(finished, "run.json")["data"]["background"] == 0
    assert user_images.background_shade(255 - split.images) == 255
    assert user_images.background_shade(RNG.integers(0, 256, (50, 8, 8, 3), dtype=np.uint8)) is None
    shades = np.repeat(np.arange(0, 256, 5, dtype=np.uint8), 64).reshape(-1, 8, 8, 1)
    assert user_images.background_shade(shades) is None, "each is uniform, but they are not alike"
    turned = np.mean([user_images.is_inverted(255 - image, 0) for image in split.images])
    assert turned > 0.9
    assert not any(user_images.is_inverted(image, 0) for image in split.images)


def test_a_folder_is_read_in_order_with_its_folders_and_without_what_is_no_picture(here):
    for name in ("b/2.PNG", "b/1.jpg", "a.webp", ".hidden/x.png", ".x.png", "notes.txt", "b/old.gif", "z/d/e.bmp"):
        (here / name).parent.mkdir(exist_ok=True, parents=True)
        (here / name).touch()
    (here / "empty").mkdir()
    assert list(user_images.find_images([".", "empty", "no", "a.webp"])) == [
        "./a.webp",
        "./b/1.jpg",
        "./b/2.PNG",
        UnreadableImage("./b/old.gif", ".gif pictures are not read. Convert it to .png"),
        "./z/d/e.bmp",
        UnreadableImage(
            "empty", "the folder holds no pictures (.png, .apng, .jpg, .jpeg, .jpe, .jfif, .bmp, .dib, .webp)"
        ),
        "no",
        "a.webp",
    ]


def test_one_bad_file_stops_no_other(finished, here, capsys):
    save("good.png", SMALL)
    (here / "broken.png").write_bytes(b"\x89PNG")
    assert predict(finished, "broken.png", "good.png", "nosuch.png") == 2
    said = capsys.readouterr()
    assert said.out.startswith("good.png\n")
    assert len(said.out.splitlines()) == 6
    assert said.err.splitlines() == [
        "picture 'broken.png': cannot be read, got: not a picture in PNG, JPEG, BMP, WEBP. "
        "Name a PNG, JPEG, BMP or WebP file",
        "picture 'nosuch.png': cannot be read, got: No such file or directory. Name a PNG, JPEG, BMP or WebP file",
    ]
    assert predict(finished, "broken.png", "good.png", "--json") == 2
    first, second = records(capsys)
    assert first == {
        "picture": "broken.png",
        "error": "cannot be read, got: not a picture in PNG, JPEG, BMP, WEBP. Name a PNG, JPEG, BMP or WebP file",
    }
    assert second["picture"] == "good.png" and len(second["best"]) == 5
    assert len(second["logits"]) == 10
    assert all(second["logits"][entry["index"]] == entry["logit"] for entry in second["best"])


def test_a_table_holds_a_line_for_each_picture_and_no_formula(finished, here, capsys):
    save("=a,b.png", dark_on_light())
    save("c.png", SMALL)
    assert predict(finished, "=a,b.png", "nosuch", "c.png", "--csv", "--top=2") == 2
    header, first, missing, second = csv.reader(io.StringIO(capsys.readouterr().out))
    assert header == ["picture", "class1", "probability1", "class2", "probability2", "notes", "error"]
    assert first[0] == "'=a,b.png"
    assert first[5].startswith(
        "light around, where the run's pictures are dark: turned around; 40x40 (height x width) resized to 8x8"
    )
    assert missing[:6] == ["nosuch", "", "", "", "", ""] and missing[6].startswith("cannot be read")
    assert second[0] == "c.png" and second[5:] == ["", ""]
    assert 1 >= float(second[2]) >= float(second[4]) >= 0


HOSTILE = ["\x1b]0;t\x07[red]:x:.png", "a\nb\r\x7f.png", "\u202egnp.\x9b31m", "=cmd().png", "\udcff.png"]


@pytest.mark.parametrize("form", ["", "--json", "--csv"])
def test_hostile_names_put_no_control_character_on_the_terminal(finished, here, capsys, form):
    for name in HOSTILE[::2]:
        save("plain.png", SMALL)
        (here / "plain.png").rename(here / name)
    assert predict(finished, *HOSTILE, *([form] if form else [])) == 2
    said = capsys.readouterr()
    assert all(letter == "\n" or letter.isprintable() for letter in said.out + said.err)
    assert len(said.err.splitlines()) == 2
    if form == "--json":
        assert [json.loads(line)["picture"] for line in said.out.splitlines()] == HOSTILE


@pytest.mark.parametrize(
    ("arguments", "messages"),
    [
        ((), ["predict: names no picture. Write python main.py predict --workdir=DIR PICTURE_OR_FOLDER..."]),
        (("a", "--top=0"), ["--top: must be a whole number from 1, got '0'"]),
        (("a", "--json", "--csv", "--top=x"), ["--csv: is given with --json. Keep one", "--top: must be a whole num"]),
        (("a", "--invert=maybe"), ["--invert: must be one of auto, yes, no, got 'maybe'"]),
        (("a", "--weights=ema"), ['--weights: "ema" but the run kept no average.']),
    ],
)
def test_a_wrong_command_line_is_refused(finished, capsys, arguments, messages):
    assert predict(finished, *arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    for line, message in zip(said.err.splitlines(), messages, strict=True):
        assert line.startswith(message)


def test_without_a_run_there_is_nothing_to_predict_with(here, capsys):
    assert runs.start("predict", "a.png") == 2
    assert capsys.readouterr().err.startswith("--workdir: predict needs a run's directory.")


BEST = [("Ankle boot", 0.7654), ("a class with quite a long name of more than forty letters", 0.2), ("x", 0.0346)]


@pytest.mark.parametrize("columns", [24, 40, 60, 80, 120])
@pytest.mark.parametrize("colour", [True, False])
def test_a_prediction_fits_a_terminal_of_any_width(screen, monkeypatch, columns, colour):  # noqa: F811
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    if not colour:
        monkeypatch.setenv("NO_COLOR", "1")
    image = np.zeros((28, 28, 1), np.uint8)
    lines, text = screen(columns, printing.prediction, "a.png", image, ["28x28 it was"], BEST)
    assert max(map(len, lines)) <= columns
    shown = "\n".join(lines)
    assert all(word in shown for word in ("0.7654", "0.2000", "0.0346", "Ankle boot", "..."))
    assert ("▀" * 28 in shown) == (colour and columns >= 32)
    if not colour:
        assert not [code for code in ESCAPES.findall(text) if code not in ("\x1b[0m", "\x1b[1m")]


def test_a_pipe_gets_bars_and_no_picture(capsys):
    printing.prediction("a.png", np.zeros((28, 28, 1), np.uint8), [], BEST[::2])
    assert capsys.readouterr().out == ("a.png\n  Ankle boot  0.7654  ██████████████████▍\n  x           0.0346  ▉\n")


def test_a_linked_folder_is_looked_into_once(tmp_path):
    for name in ("here/a.png", "there/b", "there/deep/c.jfif"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(SMALL).save(tmp_path / name, "JPEG" if name.endswith("jfif") else "PNG")
    (tmp_path / "here/linked").symlink_to(tmp_path / "there")
    (tmp_path / "there/back").symlink_to(tmp_path / "here")
    found = list(user_images.find_images([str(tmp_path / "here")]))
    assert [str(path)[len(str(tmp_path)) + 1 :] for path in found] == [
        *("here/a.png", "here/linked/b", "here/linked/deep/c.jfif"),
    ]
