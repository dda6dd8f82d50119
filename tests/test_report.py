"""The page of a run: what its sections say, from files alone."""

import base64
import io
import json
import re
import subprocess
import sys
import threading
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

import runs
from browser import driven, needs_chromium, needs_driver, proof
from cnn.config import config
from cnn.data import datasets
from cnn.data.types import DataSpec
from cnn.model import summary
from cnn.report import (
    charts,
    colormap,
    confusion,
    curves,
    escape,
    first_layer,
    hand_convolution,
    headline,
    mistakes,
    network,
    page_writer,
    run_files,
    run_page,
)
from cnn.report.html import PageSection, assemble
from cnn.runs import run_dir
from report_files import HOSTILE, make


class Tree(HTMLParser):
    """A page as its elements with their attributes' names, and as its text."""

    def __init__(self, content):
        super().__init__()
        self.elements, self.texts, self.attributes = [], [], []
        self.feed(content)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, tuple(name for name, _ in attrs)))
        self.attributes += [(tag, name, value) for name, value in attrs]

    def handle_endtag(self, tag):
        self.elements.append(("/", tag))

    def handle_data(self, data):
        self.texts.append(data)


def written(folder, **settings):
    """Returns the page of a made run."""
    return run_page.write(make(folder, **settings)).read_text()


def visible(content):
    return " ".join(" ".join(Tree(content).texts).split())


@pytest.mark.slow
def test_two_writes_of_a_run_are_the_same_bytes(tmp_path):
    folder = make(tmp_path / "run")
    first = run_page.write(folder).read_bytes()
    figures = {path.name: path.read_bytes() for path in (folder / "figures").iterdir()}
    run_page.write(folder)
    assert run_page.write(folder).read_bytes() == first
    assert {path.name: path.read_bytes() for path in (folder / "figures").iterdir()} == figures
    assert {"curves.svg", "curves.png", "network.svg", "confusion.png", "filters.svg"} <= set(figures)


@pytest.mark.slow
def test_a_figure_is_drawn_again_only_where_its_drawing_changed(tmp_path):
    folder = make(tmp_path / "run")
    run_page.write(folder)
    png, svg = folder / "figures" / "curves.png", folder / "figures" / "curves.svg"
    png.write_bytes(b"kept")
    run_page.write(folder)
    assert png.read_bytes() == b"kept"
    svg.write_text("another")  # as if the process had been killed between the two
    run_page.write(folder)
    assert png.read_bytes().startswith(b"\x89PNG") and svg.read_text() != "another"
    png.unlink()
    run_page.write(folder)
    assert png.is_file()


@pytest.mark.slow(seconds=2)
def test_a_drawing_in_other_colours_is_that_of_the_other_ink(tmp_path):
    recorded = curves.read(run_files.read(make(tmp_path / "run", epochs=2, result="diverged", bad_step=20)))
    light, dark = (
        charts._paint("x", curves.SIZE, lambda figure, ink: curves._paint(figure, ink, recorded), charts.INKS[theme])[0]
        for theme in ("light", "dark")
    )
    marks = re.compile(rb"[mhp][0-9a-f]{10}")  # matplotlib names markers after a hash of what they look like
    again = charts.recoloured(light, charts.INKS["light"], charts.INKS["dark"])
    assert marks.sub(b"", again) == marks.sub(b"", dark) != marks.sub(b"", light)
    named = b'<text style="fill: #1a1a1a">#1a1a1a stroke</text>'
    assert charts.recoloured(named, charts.INKS["light"], charts.INKS["dark"]).endswith(b'">#1a1a1a stroke</text>')


def test_classes_that_get_mixed_up_can_stand_side_by_side():
    counts = np.diag([9, 9, 9, 9, 9, 9])
    counts[0, 5] = counts[5, 0] = 4
    counts[5, 2] = 3
    counts[2, 4] = 1
    order = confusion.grouped(counts)
    assert order in ([0, 5, 2, 4, 1, 3], [4, 2, 5, 0, 1, 3])
    assert confusion.grouped(np.eye(3, dtype=int)) == [0, 1, 2] and confusion.grouped(np.ones((1, 1), int)) == [0]
    rng = np.random.default_rng(0)
    assert sorted(confusion.grouped(rng.integers(0, 9, (30, 30)))) == list(range(30))


def test_seconds_and_epochs_follow_from_the_steps(tmp_path):
    run = run_files.read(make(tmp_path / "run"))
    assert curves.redrawn(curves.read(run), run)["pace"] == {"epoch": 0.1, "seconds": pytest.approx(7.25 / 30)}
    part = make(tmp_path / "part", epochs=2)  # of twenty steps each, had training not ended within the second
    run_dir.write_json(part / run_dir.RESULT, {**run_dir.read_json(part / run_dir.RESULT), "step": 30, "epochs": 1.5})
    assert curves.read(run_files.read(part)).steps_per_epoch == 20
    run = run_files.read(make(tmp_path / "none", epochs=0, examples=0, result=None))
    assert curves.redrawn(curves.read(run), run)["pace"] == {"epoch": None, "seconds": None}


@pytest.mark.slow(seconds=2)
def test_the_head_says_how_good_how_large_how_long_and_on_what(tmp_path):
    said = visible(written(tmp_path / "run", wrong=0, examples=2000))
    assert "100.0 % of 2,000 test images right (95 % interval 99.8 to 100.0 %)" in said
    assert "7.2 s of training on cpu" in said and "finished" in said


@pytest.mark.slow
@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"epochs": 0, "examples": 0, "result": None}, ["No evaluation yet", "stopped", "before the first record"]),
        (
            {"epochs": 0, "examples": 0, "result": "diverged", "bad_step": 0},
            ["diverged", "at step 0"],
        ),
        ({"epochs": 2, "examples": 0, "result": "diverged", "bad_step": 20}, ["loss is not finite from step 20"]),
        ({"epochs": 1, "examples": 1}, ["of 1 test images"]),
        ({"names": ["only"], "wrong": 0}, ["1 class."]),
        ({"names": ["yes", "no"]}, ["2 classes"]),
        ({"names": ["", "", ""]}, ["(no name)"]),
        ({"shape": (9, 7, 3)}, ["red", "9x7x3"]),
        ({"layers": "flatten | dense(classes)"}, ["flatten1"]),
        ({"wrong": 0}, ["least sure"]),
    ],
)
def test_survives_what_a_run_may_leave(tmp_path, settings, words):
    content = written(tmp_path / "run", **settings)
    said = visible(content) + content
    for word in words:
        assert word.lower() in said.lower(), word


@pytest.mark.slow
@pytest.mark.parametrize("count", [31, 1000])
def test_survives_many_classes(tmp_path, count):
    content = written(tmp_path / "run", names=[f"class {index}" for index in range(count)], examples=300)
    assert "The most frequent confusions" in content
    assert len(content) < 1_500_000
    assert ('class="pixels matrix' in content) == (count == 31)


@pytest.mark.slow
def test_a_page_of_curves_alone_is_small(tmp_path):
    folder = make(tmp_path / "run", examples=0, epochs=100)
    assert run_page.write(folder).stat().st_size <= 250_000


@pytest.mark.slow
def test_a_page_is_never_seen_half_written(tmp_path):
    path, contents, seen = tmp_path / "report.html", [letter * 300_000 for letter in (b"a", b"b")], set()
    run_dir.write(path, contents[0])
    writer = threading.Thread(target=lambda: [run_dir.write(path, contents[n % 2]) for n in range(200)])
    writer.start()
    while writer.is_alive():
        seen.add(path.read_bytes())
    assert seen <= set(contents)


@pytest.mark.slow(seconds=2)
def test_survives_files_that_a_killed_process_left(tmp_path):
    folder = make(tmp_path / "run")
    with (folder / run_dir.METRICS).open("a") as file:
        file.write('{"kind": "train", "st')
    (folder / run_dir.confused("test")).write_bytes(b"PK\x03\x04 cut")
    (folder / run_dir.RESULT).unlink()
    (folder / run_dir.EVENTS).unlink()
    said = visible(run_page.write(folder, running=True).read_text())
    assert "running" in said and "The most confused images" not in said


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(config.ConfigError, match=r"holds no run \(no config.json\)"):
        run_page.write(tmp_path)


@pytest.mark.slow
def test_hostile_names_leave_the_element_tree_unchanged(tmp_path):
    benign = [f"class {index}" for index in range(len(HOSTILE))]
    pages = {}
    for kind, names in (("benign", benign), ("hostile", HOSTILE)):
        folder = make(tmp_path / kind / "run", names=names, examples=300)
        pages[kind] = Tree(run_page.write(folder).read_text())
    assert pages["benign"].elements == pages["hostile"].elements
    said = "".join(pages["hostile"].texts)
    assert "</script><script>alert(1)</s" in said and "\\u202egnp.exe" in said and "\\x1b]0;x\\x07" in said
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u202a-\u202e\ud800-\udfff]", said)


@pytest.mark.slow
def test_the_policy_names_every_script_and_style_and_the_page_has_no_handler(tmp_path):
    tree = Tree(written(tmp_path / "run"))
    forbidden = [(tag, name) for tag, name, _ in tree.attributes if name.startswith("on") or name == "style"]
    assert forbidden == []
    addresses = [value for _, name, value in tree.attributes if name in ("src", "href")]
    assert addresses and all(value.startswith(("data:", "#")) for value in addresses)
    policy = next(value for _, name, value in tree.attributes if name == "content" and "default-src" in value)
    assert policy.startswith("default-src 'none'; script-src 'sha256-") and "unsafe" not in policy


def test_a_script_that_would_end_its_element_is_refused():
    bad = PageSection("x", "X", escape.Markup("<p>x</p>"), scripts=("'</script>'",))
    with pytest.raises(ValueError, match="would end its element"):
        assemble("x", escape.Markup(""), [bad], kind="run")
    twice = [PageSection("x", "X", escape.Markup("")), PageSection("x", "Y", escape.Markup(""))]
    with pytest.raises(ValueError, match="ids must be unique"):
        assemble("x", escape.Markup(""), twice, kind="run")


def test_json_in_a_page_can_neither_end_nor_hide_anything():
    island = escape.island({"a": "</script><!--&", "b": [1.0, float("nan")], "__proto__": float("inf")})
    assert not set("<>&") & set(island)
    assert json.loads(island) == {
        "a": "</script><!--&",
        "b": [1.0, None],
        "__proto__": None,
        "nonfinite": ["b.1", "__proto__"],
    }


def test_only_our_own_markup_is_unescaped():
    for path in (escape.FOLDER / "templates").glob("*.j2"):
        assert not re.search(r"\|\s*safe|autoescape\s+false", path.read_text()), path.name


@pytest.mark.slow(seconds=2)
def test_every_vertex_of_a_curve_is_a_recorded_number(tmp_path):
    folder = make(tmp_path / "run", epochs=7)
    run = run_files.read(folder)
    recorded = curves.read(run)
    svg = ElementTree.fromstring(run_page.write(folder) and (folder / "figures" / "curves.svg").read_bytes())
    space = "{http://www.w3.org/2000/svg}"
    group = next(each for each in svg.iter(f"{space}g") if each.get("id") == "accuracy-valid")
    path = group.find(f".//{space}path").get("d")
    points = np.array([[float(n) for n in pair] for pair in re.findall(r"[ML] (-?[\d.]+) (-?[\d.]+)", path)])
    data = np.array(recorded.accuracy["valid"])
    assert len(points) == len(data)
    # A straight line takes data to the page; a vertex off it by half a pixel would be another number.
    for axis in (0, 1):
        slope, offset = np.polyfit(data[:, axis], points[:, axis], 1)
        assert np.abs(slope * data[:, axis] + offset - points[:, axis]).max() < 0.5 * 0.75
    width = float(svg.get("viewBox").split()[2])
    low, high = curves.limits(recorded)
    places = curves.LEFT + (data[:, 0] - low) / (high - low) * (curves.RIGHT - curves.LEFT)
    assert np.abs(places * width - points[:, 0]).max() < 0.5 * 0.75


def test_the_crosshair_reads_exactly_what_was_recorded(tmp_path):
    folder = make(tmp_path / "run", epochs=4)
    read = curves.pointed(curves.read(run_files.read(folder)))
    records = [json.loads(line) for line in (folder / run_dir.METRICS).read_text().splitlines()]
    for record in records:
        row = next(row for row in read["rows"] if row[0] == record["step"])
        numbers = dict(zip(read["names"], row, strict=True))
        if record["kind"] == "train":
            assert numbers["train loss"] == record["loss"] and numbers["learning rate"] == record["learning_rate"]
        else:
            assert numbers["valid accuracy"] == record["valid"]["accuracy"]


def test_the_best_evaluation_is_the_earliest_of_the_greatest(tmp_path):
    folder = make(tmp_path / "run", epochs=0)
    accuracies = [0.5, 0.75, 0.75, 0.5]
    means = [{"loss": 1, "accuracy": accuracy} for accuracy in accuracies]
    lines = [{"kind": "epoch", "step": 10 * n, "epoch": n, "train": m, "valid": m} for n, m in enumerate(means, 1)]
    (folder / run_dir.METRICS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert curves.read(run_files.read(folder)).best == (20, 0.75)


def test_a_long_line_keeps_its_extremes():
    rng = np.random.default_rng(0)
    points = [(step, float(value)) for step, value in enumerate(rng.normal(size=50_000))]
    drawn = curves.thinned(points)
    assert len(drawn) <= curves.MOST_POINTS + 1 and drawn[0] == points[0] and drawn[-1] == points[-1]
    assert {max(points, key=lambda p: p[1]), min(points, key=lambda p: p[1])} <= set(drawn) <= set(points)


@pytest.mark.slow
def test_a_loss_that_is_not_finite_is_a_band_with_words(tmp_path):
    folder = make(tmp_path / "run", epochs=3, result="diverged", bad_step=30)
    run_page.write(folder)
    drawing = (folder / "figures" / "curves.svg").read_text()
    assert "loss not finite from step 30" in drawing and "<pattern" in drawing


LESSON = "2 * (conv(64, 3) | relu | max_pool(2)) | flatten | dense(128) | relu | dense(classes)"
LENET = "conv(6, 5) | tanh | avg_pool(2) | conv(16, 5) | tanh | avg_pool(2) | flatten | dense(classes)"


def test_the_network_table_has_the_lessons_numbers(tmp_path):
    folder = make(tmp_path / "run", names="0123456789", shape=(28, 28, 1), layers=LESSON)
    said = visible(network.build(run_files.read(folder)).html)
    for words in (
        "3*3*1*64 + 64 = 640",
        "3*3*64*64 + 64 = 36,928",
        "1600*128 + 128 = 204,928",
        "128*10 + 10 = 1,290",
        "243,786 parameters = 975,144 bytes",
        "28-3+1 = 26",
        "26/2 = 13",
        "floor(11/2) = 5; 1 row and column unread",
        "5*5*64 = 1600",
        "5,056,000",
        "10x10",
        "relu1",
        "max_pool2",
    ):
        assert words in said, words
    folder = make(tmp_path / "lenet", names="0123456789", shape=(32, 32, 1), layers=LENET)
    assert "28x28x6" in visible(network.build(run_files.read(folder)).html)


def test_a_residual_network_is_drawn_with_its_inner_layers_in_the_table(tmp_path):
    body = "residual(conv(3, 3, padding='same') | batch_norm | relu)".replace("'", '"')
    folder = make(tmp_path / "run", shape=(8, 6, 3), layers=f"{body} | global_avg_pool | dense(classes)")
    run = run_files.read(folder)
    said = visible(network.build(run).html)
    assert "residual1/conv1" in said and "body + input" in said and "batch statistics" in said
    assert [names for names, _ in network.volumes(run.config.rows, (8, 6, 3))][1] == ("residual1",)
    assert sum(row.count() for row in run.config.rows) == summary.count_parameters(run.config.rows)


def test_every_layer_of_the_table_has_its_place_in_the_drawing(tmp_path):
    body = 'residual(conv(3, 3, padding="same") | relu)'
    run = run_files.read(make(tmp_path / "run", shape=(8, 6, 3), layers=f"{body} | flatten | dense(classes)"))
    boxes = network.build(run).data["network-data"]
    named = {name for names, _, _ in boxes for name in names}
    assert named == {"image", *(row.path for row in run.config.rows if not row.depth)}
    ends = [share for _, left, width in boxes for share in (left, left + width)]
    assert ends == sorted(ends) and ends[0] > 0 and ends[-1] < 1


def test_the_confusion_matrix_counts_every_image_once(tmp_path):
    folder = make(tmp_path / "run", names="abcd", examples=500)
    run = run_files.read(folder)
    counts = np.asarray(run.evaluations["test"]["confusion"])
    part = confusion.build(run)
    pattern = r'<td class="(\w+)" data-true="(\d)" data-seen="(\d)">([^<]*)(?:<small>([\d,]+)</small>)?'
    cells = re.findall(pattern, part.html)
    assert len(cells) == 16
    for shade, true, seen, share, count in cells:
        number = counts[int(true), int(seen)]
        if true == "3":
            assert (share, count) == ("-", "")  # this class does not occur
        elif number:
            assert int(count.replace(",", "")) == number and share.endswith(" %") and shade != "none"
    assert counts.sum() == 500 and np.trace(counts) / 500 == run.evaluations["test"]["accuracy"]


def oklab(rgb):
    linear = np.asarray(rgb, float) / 255
    linear = np.where(linear <= 0.04045, linear / 12.92, ((linear + 0.055) / 1.055) ** 2.4)
    lms = np.cbrt(linear @ np.array([[0.4122, 0.2119, 0.0883], [0.5363, 0.6807, 0.2817], [0.0514, 0.1074, 0.63]]))
    return 100 * lms @ np.array([[0.2105, 1.978, 0.0259], [0.7936, -2.4286, 0.7828], [-0.0041, 0.4506, -0.8087]])


@pytest.mark.parametrize("theme", colormap.THEMES)
def test_an_error_of_half_a_percent_is_visible_and_its_text_legible(theme):
    sheet = confusion.sheet()
    column = colormap.THEMES.index(theme)
    rules = dict(re.findall(r"\.(e\d+) \{.*?background: light-dark\((.*?)\)", sheet))
    shades = {name: rgb(pair.split(", ")[column]) for name, pair in rules.items()}
    inks = dict(re.findall(r"\.(e\d+) \{.*?; color: light-dark\((.*?)\)", sheet))
    paper = colormap.table(theme)[colormap.STEPS]
    assert np.linalg.norm(oklab(shades[confusion.shade(0.005)]) - oklab(paper)) >= 2
    for name, shade in shades.items():
        assert contrast(shade, rgb(inks[name].split(", ")[column])) >= 4.5, name


def rgb(written):
    return np.array([int(written[i : i + 2], 16) for i in (1, 3, 5)])


def contrast(first, second):
    low, high = sorted(colormap.luminance(each) for each in (first, second))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("theme", colormap.THEMES)
def test_the_scale_is_paper_at_zero_and_as_dark_on_one_side_as_on_the_other(theme):
    table = colormap.table(theme)
    assert "#{:02x}{:02x}{:02x}".format(*table[255]) == {"light": "#f5f5f5", "dark": "#1f1f1f"}[theme]
    luminance = [colormap.luminance(row) for row in table]
    assert max(abs(luminance[255 + i] - luminance[255 - i]) for i in range(256)) <= 0.021
    scale = colormap.Scale(2.0)
    assert (scale.colours(np.array([0.0, np.nan, 5.0]), theme) == table[[255, 255, 510]]).all()
    assert "+2" in scale.legend() and "-2" in scale.legend()


@pytest.mark.parametrize("theme", colormap.THEMES)
def test_text_and_lines_have_contrast(theme):
    sheet = escape.source("page.css")
    column = colormap.THEMES.index(theme)
    colours = {
        name: rgb(pair.split(", ")[column]) for name, pair in re.findall(r"--(\w+): light-dark\((#\w+, #\w+)\)", sheet)
    }
    for ground in ("paper", "card"):
        for name in ("text", "muted", "link", "bad", "good", "orange"):
            assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
    ink = charts.INKS[theme]
    for line in (ink.blue, ink.orange, ink.muted):
        assert contrast(rgb(line), colours["paper"]) >= 3


def test_the_most_confused_images_stand_in_order_of_their_loss(tmp_path):
    folder = make(tmp_path / "run", examples=200, shape=(5, 4, 1))
    run = run_files.read(folder)
    predictions, kept = run.arrays(run_dir.predictions("test")), run.arrays(run_dir.confused("test"))
    logits = predictions["logits"].astype(np.float64)
    losses = np.log(np.exp(logits).sum(1)) - logits[np.arange(200), predictions["label"]]
    expected = np.argsort(-losses, kind="stable")[:96]
    assert [mistake.index for mistake in mistakes.ranked(predictions, kept, run.class_names)] == expected.tolist()
    assert mistakes.build(run).html.count("<li ") == 96


def test_pictures_are_the_very_pixels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (28, 28, 1), dtype=np.uint8)
    shown = mistakes.thumbnail(pixels, "x")
    address = re.search(r'src="data:image/png;base64,([^"]+)"', shown)[1]
    assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(address)))) == pixels[..., 0]).all()
    assert 'class="pixels"' in shown and 'width="84" height="84"' in shown
    large = mistakes.thumbnail(np.zeros((300, 200, 3), np.uint8), "x")
    assert 'width="64" height="96"' in large


def test_a_filter_has_a_name_only_where_it_resembles_one():
    vertical = np.array(hand_convolution.FILTERS["vertical"].kernel, float)[..., None]
    assert first_layer.looks_like(-2 * vertical) == ("vertical", pytest.approx(-1))
    rng = np.random.default_rng(0)
    for kernel in rng.normal(size=(200, 3, 3, 3)):
        named = first_layer.looks_like(kernel)
        patterns = {name: np.repeat(hand_convolution.FILTERS[name].kernel, 3) for name in first_layer.NAMED}
        unit = kernel.ravel() / np.linalg.norm(kernel)
        cosines = {said: float(unit @ pattern / np.linalg.norm(pattern)) for said, pattern in patterns.items()}
        best = max(cosines, key=lambda said: abs(cosines[said]))
        assert named == ((best, pytest.approx(cosines[best])) if abs(cosines[best]) >= 0.8 else None)
    assert first_layer.looks_like(rng.normal(size=(5, 5, 1))) is None
    assert first_layer.looks_like(np.zeros((3, 3, 1))) is None


def test_unused_filters_are_counted_and_hatched(tmp_path):
    html = first_layer.build(run_files.read(make(tmp_path / "run"))).html
    assert "2 of 4 filters are unused" in visible(html) and html.count('class="dead"') == 2
    assert "vertical 1.00" in visible(html)


def test_secrets_are_hidden_and_the_command_can_be_pasted(tmp_path):
    from cnn.report import reproduce

    said = reproduce.command(["main.py", "--config.model.api_key=abc", "--workdir=runs/a b"])
    assert said == "python main.py '--config.model.api_key=(hidden)' '--workdir=runs/a b'"
    assert reproduce.masked({"model": {"token": 1, "width": 2}}) == {"model": {"token": "(hidden)", "width": 2}}
    run = run_files.read(make(tmp_path / "run"))
    assert ("config.optimizer.learning_rate", "none", "0.01") in reproduce.differences(run)


@pytest.mark.slow
def test_a_page_that_fails_leaves_the_run_finished_and_says_so(tmp_path, capsys):
    folder = tmp_path / "run"
    (folder / "report.html").mkdir(parents=True)  # in the place of the page: it cannot be written
    run_dir.write(folder / run_dir.CONFIG, runs.tiny("report.page=end", "train.epochs=1").json.encode())
    assert runs.train(folder, "report.page=end", "train.epochs=1") == 0
    assert runs.saved(folder, "result.json")["status"] == "finished"
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("report.html: not written")]
    assert len(lines) == 1 and f"python main.py report --workdir={folder}" in lines[0]


@pytest.mark.slow
def test_the_page_follows_evaluations_but_takes_a_twentieth_of_the_time_at_most(tmp_path, monkeypatch):
    folder, said, looked = make(tmp_path / "run", result=None), [], []
    monkeypatch.setattr(page_writer, "SECONDS", 0)
    writer = page_writer.Pages(folder, "evaluations", said.append)
    writer.evaluated({"valid": {}})
    first = (folder / run_page.PAGE).read_text()
    assert "running" in visible(first)
    (folder / run_page.PAGE).unlink()
    writer.evaluated({"valid": {}})
    assert not (folder / run_page.PAGE).exists()
    writer.ended(lambda: looked.append(True))
    assert looked == [True] and (folder / run_page.PAGE).is_file() and said == []
    (folder / run_page.PAGE).unlink()
    page_writer.Pages(folder, "never", said.append).ended(lambda: looked.append(True))
    assert looked == [True] and not (folder / run_page.PAGE).exists()


@pytest.mark.slow
def test_a_run_measures_its_first_layer_as_numpy_does(tmp_path):
    network = "model.layers=conv(5, 3) | relu | flatten | dense(classes)"
    assert runs.train(tmp_path / "run", "report.page=end", "train.epochs=1", network) == 0
    run = run_files.read(tmp_path / "run")
    stored = run.arrays(run_dir.FIRST_LAYER)
    digits = datasets.load(DataSpec(name="digits", image_shape=(8, 8, 1), classes=10))
    images = digits.test.images[: int(stored["images"])] / 255.0
    windows = np.lib.stride_tricks.sliding_window_view(images[..., 0], (3, 3), axis=(1, 2))
    maps = np.einsum("nrcij,ijf->nrcf", windows, stored["kernel"][:, :, 0].astype(np.float64)) + stored["bias"]
    assert np.abs((maps <= 0).mean((0, 1, 2)) - stored["zero_share"]).max() < 1e-3
    assert "What the filters look like" in visible((tmp_path / "run" / run_page.PAGE).read_text())


@pytest.mark.slow
def test_writing_a_page_again_loads_no_jax(tmp_path):
    folder = make(tmp_path / "run")
    code = (
        "import main, sys\n"
        f"assert main.main(main.parse_flags(['main.py', 'report', '--workdir={folder}'])) == 0\n"
        "assert not {'jax', 'flax', 'optax', 'orbax', 'tensorflow'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=escape.FOLDER.parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(folder / "report.html") and (folder / "report.html").is_file()


@pytest.mark.slow
@needs_chromium
@pytest.mark.parametrize("names", [list("abc"), HOSTILE, ["only"]], ids=["plain", "hostile", "one class"])
def test_the_page_proves_itself_in_a_browser(tmp_path, names):
    path = run_page.write(make(tmp_path / "run", names=names, examples=300, wrong=0.2 if len(names) > 1 else 0))
    said = proof(path, tmp_path / "chromium")
    assert said["selftest"] == "ok" and said["errors"] == "0", said


@pytest.mark.slow
@needs_driver
def test_a_person_points_filters_narrows_and_prints(tmp_path):
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    path = run_page.write(make(tmp_path / "run", names="abcd", examples=300, epochs=5))
    with driven(tmp_path / "chromium") as browser:
        browser.get(path.as_uri())
        crosshair = browser.find_element(By.ID, "crosshair")
        crosshair.send_keys(Keys.HOME, Keys.ARROW_RIGHT)
        first = json.loads((path.parent / run_dir.METRICS).read_text().splitlines()[1])
        shown = [
            entry.get_attribute("data-value") for entry in browser.find_elements(By.CSS_SELECTOR, "#crosshair-read dd")
        ]
        assert float(shown[0]) == first["step"] and float(shown[1]) == first["loss"]
        _pinned(browser, crosshair)
        _switches(browser, path)
        cells = browser.find_elements(By.CSS_SELECTOR, "#confusion-matrix td[data-true]")
        cells[0].click()
        cells[0].send_keys(Keys.ESCAPE, Keys.ARROW_RIGHT)
        browser.switch_to.active_element.send_keys(Keys.ENTER)
        items = [item for item in browser.find_elements(By.CSS_SELECTOR, ".gallery > li") if item.is_displayed()]
        places = {(item.get_attribute("data-true"), item.get_attribute("data-seen")) for item in items}
        count = run_files.read(path.parent).evaluations["test"]["confusion"][0][1]
        assert places == {("0", "1")} and len(items) == count
        size = {"width": 360, "height": 800, "deviceScaleFactor": 1, "mobile": True}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        _without_script(browser, path)
        printed = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
        assert base64.b64decode(printed["data"]).count(b"/Type /Page\n") <= 10
        logged = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
        asked = [
            entry["params"]["request"]["url"] for entry in logged if entry["method"] == "Network.requestWillBeSent"
        ]
        assert {url for url in asked if url.startswith(("file:", "http", "ws"))} == {path.as_uri()}
        assert browser.get_log("browser") == []


SHOWN = """const [places, ...parts] = arguments;
    const shown = (place) => (part) => [...place.querySelectorAll(part)].some((each) => each.checkVisibility());
    return [...document.querySelectorAll(places)].map((place) => [place.id, ...parts.map(shown(place))])"""


def _without_script(browser, path):
    """Checks that every section says all it has to say where no script runs."""
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.get(path.as_uri())
        sections = browser.execute_script(SHOWN, "main > section", "h2", "table, figure img.light, img.pixels, pre")
        named = [
            "curves",
            "network",
            "confusion",
            "mistakes",
            "calibration",
            "classes",
            "filters",
            "bench",
            "reproduce",
        ]
        assert sections == [[name, True, True] for name in named]
        (controls,) = browser.execute_script(SHOWN, "body", "h1", ".needs-script, button, select, input")
        assert controls[1:] == [True, False]
        assert "577" in browser.find_element("id", "bench").text
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})


def _pinned(browser, crosshair):
    """Checks that Enter and a click hold the step that is read, and Esc and another click let it go."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.keys import Keys

    def at(share, *, click=False):
        chain = ActionChains(browser, duration=0)
        chain.move_to_element_with_offset(crosshair, round((share - 0.5) * crosshair.size["width"]), 0)
        (chain.click() if click else chain).perform()
        return int(crosshair.get_attribute("aria-valuenow"))

    first, last = (int(crosshair.get_attribute(f"aria-value{end}")) for end in ("min", "max"))
    crosshair.send_keys(Keys.END, Keys.ENTER)
    assert at(0.1) == last, "pinned by Enter"
    crosshair.send_keys(Keys.ESCAPE)
    assert at(0.1) == first and at(0.9) == last
    assert at(0.1, click=True) == first and at(0.9) == first, "pinned by a click"
    crosshair.send_keys(Keys.ARROW_RIGHT)
    assert first < int(crosshair.get_attribute("aria-valuenow")) < last, "keys move the pin"
    assert at(0.1, click=True) > first and at(0.9) == last


def _ranges(browser, run):
    """Checks the filters' colours over the range of each, and that the legend says so."""
    from selenium.webdriver.support.ui import Select, WebDriverWait

    kernel = run.arrays(run_dir.FIRST_LAYER)["kernel"]
    css = "css selector"
    ends = browser.find_elements(css, "#filters .legend > span:not(.muted)")
    together = [end.text for end in ends]
    assert together == [f"{sign * np.abs(kernel).max():{form}}" for sign, form in ((-1, ".3g"), (1, "+.3g"))]
    choice = Select(browser.find_element("id", "filters-range"))
    choice.select_by_value("filter")
    WebDriverWait(browser, 10).until(lambda d: d.find_elements(css, ".filters canvas"))
    assert [end.text for end in ends] == ["- its largest", "+ its largest"]
    script = """return [...document.querySelectorAll('.filters canvas')].map((canvas) =>
        [...canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data])"""
    seen = np.reshape(browser.execute_script(script), (kernel.shape[3], *kernel.shape[:2], 4))[..., :3]
    for number, colours in enumerate(seen):
        own = kernel[..., 0, number]
        assert np.abs(colours - colormap.Scale.over(own).colours(own, "light").astype(int)).max() <= 2
        note = browser.find_elements(css, ".filters li")[number].text
        assert f"up to {np.abs(own).max():.3g}" in note
    choice.select_by_value("layer")
    assert [end.text for end in ends] == together
    assert not browser.find_element(css, ".filters canvas").is_displayed()


def _switches(browser, path):
    """Checks that the curves and the matrix show what their switches say, and come back as they were."""
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import Select

    run = run_files.read(path.parent)
    across = Select(browser.find_element(By.ID, "curves-x"))
    drawn = browser.find_element(By.ID, "curves-drawn")
    for unit, per_step in (("epoch", 0.1), ("seconds", 7.25 / 50)):
        across.select_by_value(unit)
        assert drawn.is_displayed() and not browser.find_element(By.CSS_SELECTOR, "#crosshair img").is_displayed()
        ticks = drawn.find_elements(By.CLASS_NAME, "x-tick")
        assert len(ticks) > 2
        for tick in ticks:
            assert float(tick.text) == pytest.approx(float(tick.get_attribute("data-step")) * per_step)
    browser.find_element(By.ID, "curves-log").click()
    line = drawn.find_element(By.CSS_SELECTOR, '[data-curve="train loss"]').get_attribute("d")
    heights = [float(y) for y in re.findall(r"[ML][\d.]+ ([\d.]+)", line)]
    losses = np.log([loss for _, loss in curves.read(run).loss["train"]])
    slope, offset = np.polyfit(losses, heights, 1)
    assert slope < 0 and np.abs(slope * losses + offset - heights).max() < 0.5
    browser.find_element(By.ID, "curves-log").click()
    across.select_by_value("step")
    assert not drawn.is_displayed()

    def shown(true, seen):
        cell = browser.find_element(By.CSS_SELECTOR, f'#confusion-matrix td[data-true="{true}"][data-seen="{seen}"]')
        return cell.text.split("\n")

    _ranges(browser, run)
    order = Select(browser.find_element(By.ID, "filters-order"))
    for key, right in (("likeness", [0]), ("strength", None), ("index", [0, 1, 2, 3])):
        order.select_by_value(key)
        items = browser.find_elements(By.CSS_SELECTOR, "ul.filters > li")
        numbers = [float(item.get_attribute(f"data-{key}")) for item in items]
        assert numbers == sorted(numbers, reverse=key != "index")
        assert right is None or [int(item.get_attribute("data-index")) for item in items][: len(right)] == right
    counts = np.asarray(run.evaluations["test"]["confusion"])
    first = shown(0, 1)
    of, order = (Select(browser.find_element(By.ID, f"confusion-{name}")) for name in ("of", "order"))
    of.select_by_value("count")
    assert shown(0, 1) == [str(counts[0, 1]), first[0]]
    of.select_by_value("column")
    assert float(shown(0, 1)[0].removesuffix(" %")) == pytest.approx(100 * counts[0, 1] / counts[:, 1].sum(), abs=0.051)
    order.select_by_value("grouped")
    heads = browser.find_elements(By.CSS_SELECTOR, "#confusion-matrix thead th:not(.score)")
    assert [head.text for head in heads] == ["abcd"[label] for label in confusion.grouped(counts)]
    of.select_by_value("row")
    order.select_by_value("given")
    assert shown(0, 1) == first


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0.0 s"), (0.0312, "0.031 s"), (0.96, "1.0 s"), (7.31, "7.3 s"), (130, "2 min 10 s"), (11100, "3 h 5 min")],
)
def test_a_short_time_is_not_said_to_be_none(seconds, said):
    assert headline.duration(seconds) == said
