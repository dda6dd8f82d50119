"""What a page of limited size holds of a journey."""

import base64
import dataclasses
import re

import numpy as np
import pytest

import runs
from cnn.report import escape, filter_bench, html
from cnn.report.journey import journey_file, packing, section
from cnn.report.journey.packing import HARD_STOP, Packer, PackingPlan, plan, said, shuffled
from cnn.report.run_files import RunFiles
from test_stages import journey_of


@pytest.mark.parametrize("length", [0, 1, 2, 3, 4, 5, 1001])
def test_digits_of_base_85_are_pythons_but_for_what_means_something_in_html(length):
    content = np.random.default_rng(length).bytes(length)
    expected = base64.b85encode(content).translate(bytes.maketrans(b"<>&", b".,:"))
    assert html._base85(content) == expected
    assert html.unpacked(html.packed(content)) == content


def costing(prices):
    return lambda chosen: prices.get(chosen, 10**9)


def test_images_are_left_out_first_then_dense_kernels_then_filters_then_digits():
    seen = []

    def cost(chosen):
        seen.append(chosen)
        return 10**9

    assert plan(3, cost, 10) is None
    in_order = [
        PackingPlan(3),
        PackingPlan(2),
        PackingPlan(1),
        PackingPlan(1, False),
        PackingPlan(1, False, 8),
        PackingPlan(1, False, 8, True),
    ]
    assert list(dict.fromkeys(seen)) == in_order


def test_the_first_plan_that_fits_is_taken():
    assert plan(8, costing({PackingPlan(8): 90, PackingPlan(7): 70}), 80) == PackingPlan(7)
    assert plan(8, costing({PackingPlan(8): 80}), 80) == PackingPlan(8)


def test_the_smallest_is_taken_up_to_the_hard_stop():
    smallest = PackingPlan(1, False, 8, True)
    assert plan(2, costing({smallest: HARD_STOP}), 80) == smallest
    assert plan(2, costing({smallest: HARD_STOP + 1}), 80) is None


def test_the_page_says_what_is_left_out():
    journey = journey_of()
    assert said(PackingPlan(1), journey, 3) == []
    few = said(PackingPlan(1, False, 1, True), journey, 3)
    assert few == [
        "of each convolution the kernels of the 1 most active filters are; "
        "maps without their arithmetic are kept to three digits: to stay within 3 MB (explain --max_mb)."
    ]


@pytest.mark.parametrize("chosen", [PackingPlan(1), PackingPlan(1, True, 1), PackingPlan(1, True, 1, True)], ids=str)
def test_what_is_packed_is_where_it_is_said_to_be(chosen):
    journey = journey_of()
    packer = Packer(journey)
    places, content = packer.weights(chosen)
    at = {name: (start, count) for name, start, count in places}
    start, count = at["conv1/kernel"]
    kernel = journey.arrays["conv1/kernel"]
    kept = packer.kept(journey.stages[1], chosen)
    assert kept is None if chosen.filters == 0 else len(kept) == 1
    wanted = kernel if kept is None else kernel[..., kept]
    np.testing.assert_array_equal(np.frombuffer(content, "<f4", count, start), wanted.ravel())
    assert content.endswith(journey.pictures[0].pixels.tobytes())
    ((name, start, count),), content = packer.image(0, chosen)
    kind = "<f2" if chosen.half else "<f4"
    found = np.frombuffer(content, kind, abs(count), start)
    assert (name, count < 0) == ("conv1", chosen.half)
    np.testing.assert_allclose(found, journey.pictures[0].outputs["conv1"].ravel(), rtol=2**-11 if chosen.half else 0)
    assert packer.cost(chosen) > 0


def test_the_filters_that_are_kept_are_the_most_active():
    journey = journey_of()
    maps = journey.pictures[0].outputs["conv1"]
    assert Packer(journey).kept(journey.stages[1], PackingPlan(1, True, 1)) == [int(np.abs(maps).mean((0, 1)).argmax())]


def test_bytes_are_shuffled_by_their_place_in_a_number():
    content = np.arange(3, dtype="<f4").tobytes() + b"rest"
    mixed = shuffled(content)
    whole = len(content) // 4
    back = bytes(mixed[byte * whole + number] for number in range(whole) for byte in range(4))
    assert back == content and shuffled(b"abc") == b"abc" and packing.MEGABYTE == 10**6


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 1000])
def test_bytes_come_back_from_a_page_and_mean_nothing_in_html(count):
    content = np.random.default_rng(count).bytes(count)
    written = html.packed(content)
    assert html.unpacked(written) == content
    assert not set(written) & set(b"<>&\"'\\\n")


def test_images_leave_room_for_the_other_sections(tmp_path):
    one = journey_of()
    classes, about = tuple(map(str, range(18))), {"max_mb": 1, "backend": "cpu", "precision": "highest", "jax": "0"}
    about |= {"weights": "last", "step": 3, "trained": "float32"}
    many = dataclasses.replace(one, pictures=one.pictures * 8, classes=classes, about=about)
    journey_file.write(tmp_path / journey_file.JOURNEY, many)
    run = RunFiles(tmp_path, runs.tiny())

    def images(others):
        part = section.build(run, lambda: others)
        assert part is not None
        return sum(name.startswith("journey-image-") for name in part.data), part

    whole, part = images(0)
    assert whole == 8
    shared = [
        escape.source(name) for name in filter_bench.SCRIPTS
    ]  # stand in the page once, and count among the others
    scripts = sum(len(html.compact_script(script)) for script in part.scripts if script not in shared)
    data = sum(len(html.packed(content)) for content in part.data.values() if isinstance(content, bytes))
    few, part = images(1_000_000 - scripts - len(part.html) - data - section.MARKUP)
    assert 1 <= few < 8 and f"{few} of 8 images are in this report" in part.html


def test_a_script_in_a_page_is_without_comments_and_with_every_name():
    source = 'const long_name = (x) => {\r\n  // says\r\n  return `a // ${x ? "b  c" : ""}  d` + " /* e */ ";\r\n};\r\n'
    script = html.compact_script(source)
    assert script.startswith("const long_name=(x)=>{return") and "says" not in script and "\r" not in script
    assert '`a // ${x ? "b  c" : ""}  d`' in script and '" /* e */ "' in script
    assert html.compact_style("a {\r\n  color: red; /* why */\n}\n") == "a{color:red}"


@pytest.mark.parametrize("path", sorted((escape.FOLDER / "templates").glob("*.js")), ids=lambda path: path.name)
def test_no_script_holds_what_compacting_would_spoil(path):
    nested = re.findall(r"`[^`]*\$\{[^}`]*`", path.read_text())
    assert not nested, "a template inside of a template: spaces of the inner one would be lost"
