"""`filters`: any picture, any filter; the strip, the sum, and every mistake in one line."""

import io

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

import runs
from cnn.cli import pixels
from cnn.report import colormap, filter_strip, hand_convolution

WINDOW = "[[0,64,128],[48,192,144],[142,226,168]]"
SUM = (
    "(-1 * 0) + (0 * 64) + (-2 * 128) + (0.5 * 48) + (4.5 * 192) + (-1.5 * 144) + (1.5 * 142) + (2 * 226) + "
    "(-3 * 168) = 577"
)


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def picture(here):
    rows = np.random.default_rng(0).integers(0, 256, (12, 9), dtype=np.uint8)
    Image.fromarray(rows).save(here / "mine.png")
    return rows


def coloured(image, colour):
    return int((np.asarray(image) == np.array(colour)).all(axis=-1).sum())


def test_the_lessons_window_gives_its_577(here, capsys):
    assert runs.start("filters", WINDOW, "--filter=lesson") == 0
    said = capsys.readouterr()
    assert said.err == ""
    assert SUM in said.out.splitlines()
    assert "map 1x1, numbers from 577 to 577\n" in said.out
    assert Image.open("numbers-lesson.png").format == "PNG"


def test_without_a_picture_a_photograph_is_filtered(here, capsys):
    assert runs.start("filters") == 0
    said = capsys.readouterr().out
    assert "china.jpg: 427x640, grey made of its colours\n" in said
    assert "map 425x638, " in said
    assert "maximum of each 2x2: 212x319, one row unread\n" in said
    assert said.endswith("the strip is in china-vertical.png\n")


def test_a_persons_picture_filter_pooling_and_pixel(here, picture, capsys):
    kernel = "1 2; 0 -1"
    assert (
        runs.start("filters", "mine.png", f"--filter={kernel}", "--pixel=3,2", "--pool=average", "--output=o.png") == 0
    )
    said = capsys.readouterr().out
    found = hand_convolution.convolve(picture, hand_convolution.parse(kernel))
    assert f" = {found[3, 2]:.0f}\n" in said
    assert "mine.png: 12x9\nfilter own, 2x2: numbers of your own\n" in said
    assert f"numbers from {found.min():.0f} to {found.max():.0f}; mean of each 2x2: 5x4, one row unread\n" in said
    assert "row 3, column 2 of the map:\n" in said
    Image.open("o.png").verify()


def test_own_numbers_are_weighted_on_request(here, picture, capsys):
    assert runs.start("filters", "mine.png", "--filter=1 1; 1 1", "--weighted", "--pixel=0,0") == 0
    assert f" = {hand_convolution.shown(picture[:2, :2].mean())}\n" in capsys.readouterr().out


def test_a_huge_picture_is_reduced_and_it_is_said(here, capsys):
    Image.new("RGB", (3000, 40), (9, 9, 9)).save("wide.png")
    assert runs.start("filters", "wide.png") == 0
    assert "wide.png: 40x3000, reduced to 14x1024\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["mine.png", "other.png"], "'other.png': filters takes one picture. Leave the others out"),
        (["mine.png", "--filter=vertcal"], "--filter: unknown name 'vertcal'. Did you mean 'vertical'?"),
        (["mine.png", "--pixel=3"], "--pixel: must be a row and a column from 0, got '3'. Write --pixel=4,6"),
        (["mine.png", "--pixel=-1,0"], "--pixel: must be a row and a column from 0, got '-1,0'."),
        (["mine.png", "--pixel=10,0"], "--pixel: must lie in rows 0..9 and columns 0..6 of the map, got 10,0"),
        (["mine.png", "--output=o.jpg"], "--output: must end in .png, got 'o.jpg'."),
        (["mine.png", "--output=no/o.png"], "--output: no such folder, got 'no'. Make it, or write elsewhere"),
        (["mine.png", "--output=mine.png"], "--output: is the picture itself. Choose another file"),
        (["mine.png", "--filter=" + "1 " * 10], "--filter: a 12x9 picture has no window for a filter of 1x10."),
        (["nosuch.png"], "picture 'nosuch.png': cannot be read, got: No such file or directory."),
        (["."], "picture '.': cannot be read, got: not a regular file."),
        (["[[1, 2], [3]]"], "picture: every row must hold as many numbers, got rows of 2, 1"),
        (["[[1, 256]]"], "picture: must hold numbers from 0 to 255, got '[[1, 256]]'."),
    ],
)
def test_a_mistake_is_one_line_and_writes_nothing(here, picture, capsys, arguments, message):
    assert runs.start("filters", *arguments) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(message) and said.err.count("\n") == 1
    assert [path.name for path in here.iterdir()] == ["mine.png"]


def test_a_hostile_name_cannot_steer_the_terminal(here, picture, capsys):
    name = "\x1b]0;x\x07\u202e\x9b31m[red].png"
    (here / "mine.png").rename(here / name)
    assert runs.start("filters", name) == 0
    assert runs.start("filters", name + "\x1b") == 2
    said = capsys.readouterr()
    assert all(letter == "\n" or letter.isprintable() for letter in said.out + said.err)
    assert "?]0;x???31m[red].png: 12x9\n" in said.out


def test_the_signed_scale_is_paper_at_zero_blue_above_orange_below_and_equally_dark():
    assert tuple(colormap.signed(np.zeros(1), 3.0)[0]) == colormap.PAPER == (245, 245, 245)
    assert tuple(colormap.signed(np.zeros(1), 0.0)[0]) == colormap.PAPER
    for position, code in zip(np.linspace(-2, 2, 9), colormap.ANCHORS["light"], strict=True):
        assert tuple(colormap.signed(np.array([position]), 2.0)[0]) == colormap.rgb(code)
    shares = np.linspace(0, 1, 257)
    light = []
    for signs in (shares, -shares):
        linear = colormap.signed(signs, 1.0) / 255
        linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
        light.append(linear @ [0.2126, 0.7152, 0.0722])
    assert np.abs(light[0] - light[1]).max() <= 0.02
    assert (np.diff(light[0]) <= 0.005).all()


@pytest.mark.parametrize("shade", range(0, 256, 15))
def test_what_is_written_on_a_cell_can_be_read(shade):
    def light(part):
        return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4

    ink = colormap.ink_on((shade, shade, shade))[0]
    low, high = sorted((light(shade / 255), light(ink / 255)))
    assert (high + 0.05) / (low + 0.05) >= 4.5


@pytest.mark.slow
def test_the_strip_shows_every_pixel_as_a_square_of_the_legends_colours():
    picture = np.random.default_rng(1).integers(0, 256, (6, 7)).astype(float)
    made = filter_strip.make(picture, hand_convolution.parse("vertical"), "max", (0, 0))
    drawn = filter_strip.draw(made, title="x")
    bound = np.abs(made.map).max()
    zoom = filter_strip.PANEL // 7
    for value in made.map.ravel():
        colour = colormap.signed(np.array([value]), bound)[0]
        assert coloured(drawn, colour) >= zoom * zoom - 40 * zoom, "the mark may hide a little of it"
    assert coloured(drawn, colormap.rgb(colormap.ANCHORS["light"][0])) and coloured(
        drawn, colormap.rgb(colormap.ANCHORS["light"][-1])
    )


def test_a_filter_that_adds_up_to_one_gives_a_picture_with_its_excess_in_colour():
    values = np.array([[0.0, 100, 255, 256, -1]])
    painted = filter_strip.paint(values, hand_convolution.parse("lesson"), 256.0)[0]
    assert painted[:3].tolist() == [[0] * 3, [100] * 3, [255] * 3]
    assert tuple(painted[3]) == colormap.rgb(colormap.ANCHORS["light"][-1])
    assert painted[4][0] >= painted[4][2]
    signed = filter_strip.paint(values, hand_convolution.parse("vertical"), 256.0)[0]
    assert tuple(signed[0]) == colormap.PAPER


@pytest.mark.slow
@pytest.mark.parametrize(("pool", "kernel"), [("none", "identity"), ("average", " ".join("1" * 31))])
def test_any_sizes_can_be_drawn(pool, kernel):
    for shape in ((40, 33), (3, 300)):
        made = filter_strip.make(np.zeros(shape), hand_convolution.parse(kernel), pool if shape[0] > 3 else "none")
        drawn = filter_strip.draw(made, title="long " * 100)
        assert min(drawn.size) > 100


def console(width, **options):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=options.pop("encoding", "utf-8"))
    settings = {"force_terminal": True, "color_system": "truecolor", "legacy_windows": False, **options}
    return Console(file=stream, width=width, **settings)


def test_half_blocks_hold_two_pixels_each_and_only_on_a_terminal_with_colours():
    image = np.arange(5 * 3, dtype=np.uint8).reshape(5, 3, 1)
    lines = pixels.picture(image, console(80))
    assert [line.plain for line in lines] == ["▀▀▀"] * 3
    style = lines[1].spans[2].style
    assert (style.color.name, style.bgcolor.name) == ("#080808", "#0b0b0b")
    assert lines[2].spans[0].style.bgcolor is None
    assert len(pixels.picture(np.zeros((224, 112, 3), np.uint8), console(80))) == 16
    for other in (
        console(80, no_color=True),
        console(80, encoding="ascii"),
        console(20),
        console(80, color_system=None),
        console(80, force_terminal=False),
    ):
        assert pixels.picture(image, other) == []


def test_bars_are_as_long_as_their_share():
    wide, plain = console(80), console(80, encoding="ascii")
    assert [pixels.bar(share, 2, wide) for share in (0, 1 / 16, 0.5, 0.75, 1)] == ["", "▏", "█", "█▌", "██"]
    assert [pixels.bar(share, 4, plain) for share in (0, 0.5, 1)] == ["", "##", "####"]


@pytest.mark.parametrize("width", [30, 80])
@pytest.mark.parametrize("no_color", [False, True])
def test_a_sum_fits_the_terminal(width, no_color):
    pixel = hand_convolution.explain(np.array(hand_convolution.WINDOW), hand_convolution.parse("lesson"), 0, 0)
    shown = pixels.sum_of(pixel, console(width, no_color=no_color))
    assert max(line.cell_len for line in shown) <= width
    assert len(shown) == (3 if width == 80 else 9)
    text = "\n".join(line.plain for line in shown)
    assert all(f" {number} " in text.replace("\n", " ") + " " for number in (864, 4.5, -504, 226))
    assert no_color <= all(line.plain == line.plain.rstrip() for line in shown)
    assert any(str(span.style) for line in shown for span in line.spans) != no_color
