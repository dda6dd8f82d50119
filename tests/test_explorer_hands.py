"""The journey under fingers, keys, a screen reader and a printer, and what it says of pooling: a small network."""

import base64
import re

import numpy as np
import pytest

import oracles
from browser import needs_driver
from cnn.report.journey import journey_file
from explorers import atlas, bench, drawn, opening, paged, pointed, pressed
from test_journey import section

pytestmark = [pytest.mark.slow, needs_driver]

LAYERS = """
    conv(6, 3) | relu | max_pool(2) | conv(4, 3, padding="same") | relu | avg_pool(2) |
    flatten | dense(6) | relu | dense(4) | softmax
"""
MOVE = "explorer.go({k: 1 + n % 10, f: n, r: n % 7, c: n % 5})"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    values = section(LAYERS, (13, 11, 1), 4)
    return paged(tmp_path_factory.mktemp("hands") / "run", values, drawn((13, 11, 1), 3))


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with opening(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


def maps(page, name, number=0):
    """Returns what a pooling was given: the stored numbers of the convolution before, after their ReLU."""
    found = journey_file.read(page.parent / journey_file.JOURNEY)
    outputs = found.pictures[number].outputs
    first, second = (np.maximum(outputs[conv], 0) for conv in ("conv1", "conv2"))
    return {"max_pool1": first, "avg_pool1": second}[name]


def words(driver, selector):
    return driver.find_element("css selector", f"#journey-explorer {selector}").text


def waited(driver, condition):
    from selenium.webdriver.support.ui import WebDriverWait

    return WebDriverWait(driver, 20).until(condition)


def tool(driver, text):
    buttons = driver.find_elements("css selector", "#journey-explorer .tools button")
    return next(button for button in buttons if button.text.startswith(text))


@pytest.mark.thorough
def test_a_thousand_moves_leave_no_memory_and_no_elements_behind(page, browser):
    browser.opened(page, "#j=img:0;layer:conv1;f:0;r:0;c:0;pin")
    browser.execute_script(f"for (let n = 0; n < 200; n++) {MOVE};")

    def used():
        browser.execute_cdp_cmd("HeapProfiler.collectGarbage", {})
        nodes = browser.execute_script("return document.querySelectorAll('*').length")
        return browser.execute_cdp_cmd("Runtime.getHeapUsage", {})["usedSize"], nodes

    before, elements = used()
    browser.execute_script(f"for (let n = 0; n < 1000; n++) {MOVE};")
    after, left = used()
    assert after - before < 5e6 and abs(left - elements) <= 60, "tables grow and shrink, and no more than that"
    assert left <= 1500


def test_a_tap_pins_and_a_drag_scrolls_the_strip(page, browser):
    size = {"width": 360, "height": 800, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": True})
    try:
        browser.opened(page)
        _, canvas = atlas(browser, "conv1")
        browser.execute_script("arguments[0].scrollIntoView({block: 'center', inline: 'center'})", canvas)
        script = "const b = arguments[0].getBoundingClientRect(); return [b.left, b.top, b.width]"
        left, top, width = browser.execute_script(script, canvas)
        columns = browser.execute_script("return journey.atlases[1].columns")
        zoom = width / columns
        finger = {"x": left + 4.5 * zoom, "y": top + 3.5 * zoom}

        def touch(kind, *points):
            browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": list(points)})

        touch("touchStart", finger)
        touch("touchEnd")
        waited(browser, lambda d: bench(d)[:4] == ("conv1", 0, 3, 4))
        assert words(browser, ".tools .muted") == "pinned"
        before = browser.execute_script("return document.querySelector('.strip').scrollLeft")
        touch("touchStart", finger)
        for step in range(1, 16):
            touch("touchMove", {**finger, "x": finger["x"] - 10 * step})
        touch("touchEnd")
        waited(browser, lambda d: d.execute_script("return document.querySelector('.strip').scrollLeft") > before + 50)
        assert bench(browser)[:4] == ("conv1", 0, 3, 4), "a drag points at nothing"
        assert browser.execute_script("return document.documentElement.scrollWidth") <= 360
    finally:
        browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": False})
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


OVERLAPS = """const over = [];
    const boxes = 'nav, nav > div, main :is(.tools, .sum-row, .picker, .verdict, .bench, .strip)';
    for (const box of document.querySelectorAll(boxes)) {
        const shown = [...box.children].filter((e) => e.checkVisibility()).map((e) => [e, e.getBoundingClientRect()]);
        for (const [a, p] of shown) for (const [b, q] of shown)
            if (a !== b && p.left < q.right - 1 && q.left < p.right - 1 && p.top < q.bottom - 1 && q.top < p.bottom - 1)
                over.push(`${a.textContent} over ${b.textContent}`);
    }
    return over"""


@pytest.mark.parametrize("width", [360, 800])
def test_nothing_overlaps_and_the_contents_scroll_at_any_width(page, browser, width):
    size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        for place in ("max_pool1;f:2;r:1;c:1", "conv2;f:1;r:2;c:2", "dense1;f:3"):
            browser.opened(page, f"#j=img:0;layer:{place};pin")
            assert browser.execute_script(OVERLAPS) == []
            assert browser.execute_script("return document.documentElement.scrollWidth") <= width
        last = "return document.querySelector('nav > div > :last-child').getBoundingClientRect().right"
        browser.execute_script("document.querySelector('nav > div').scrollLeft = 1e4")
        assert browser.execute_script(last) <= browser.execute_script(
            "return document.getElementById('theme').getBoundingClientRect().left"
        )
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def tree(driver):
    """Returns role, name and properties of everything that a screen reader is told of."""
    nodes = driver.execute_cdp_cmd("Accessibility.getFullAXTree", {})["nodes"]
    read = [node for node in nodes if not node["ignored"]]
    return [
        (
            node["role"]["value"],
            node.get("name", {}).get("value", ""),
            {each["name"]: each["value"].get("value") for each in node.get("properties", [])},
        )
        for node in read
    ]


def test_a_screen_reader_is_told_what_is_looked_at(page, browser):
    browser.opened(page, "#j=img:1;layer:conv2;f:2;r:0;c:3;pin")
    told = tree(browser)
    named = {(role, name) for role, name, _ in told}
    assert {
        ("radiogroup", "images"),
        ("application", "conv2, 5 x 4 x 4"),
        ("application", "softmax1, 4"),
        ("listbox", "contributions, largest first"),
        ("slider", "milliseconds a pixel"),
        ("combobox", "why this class"),
        ("combobox", "and not that"),
        ("button", "copy as formula"),
        ("table", "× kernel"),
    } <= named
    assert [bool(each["checked"] == "true") for role, _, each in told if role == "radio"] == [False, True, False]
    chosen = [name for role, name, each in told if role == "option" and each.get("selected")]
    assert any(re.match(r"channel \d [+-]", name) for name in chosen)
    live = "return document.querySelector('#journey-explorer [aria-live=polite]').textContent"
    said = waited(browser, lambda d: d.execute_script(live))
    largest = re.fullmatch(
        r"conv2, filter 2, row 0, column 3: (-?[\d.e-]+) = bias ([+-][\d.]+) \+ 6 channels ([+-][\d.]+); "
        r"largest, channel \d, [+-][\d.]+\. Agrees with JAX\.",
        said,
    )
    assert largest, said
    number, bias, channels = map(float, largest.groups())
    assert abs(number - bias - channels) < 1e-3 * max(1, abs(number))


ON_PAPER = """const style = getComputedStyle(document.body);
    const shown = (e) => e.checkVisibility() && (e.textContent.trim() || e.tagName === 'IMG');
    return [[style.backgroundColor, style.color],
            [...document.querySelectorAll('img.dark')].filter((e) => e.checkVisibility()).length,
            [...document.querySelectorAll('section')].filter((e) => ![...e.children].slice(1).some(shown)).length]"""


def test_it_prints_as_a_story_with_nothing_cut(page, browser):
    browser.opened(page)
    paper = browser.execute_cdp_cmd("Page.printToPDF", {"printBackground": True})
    assert 1 <= base64.b64decode(paper["data"]).count(b"/Type /Page\n") <= 10
    dark = [{"name": "prefers-color-scheme", "value": "dark"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": dark})
    size = {"width": 700, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        script = """const shown = [...document.querySelectorAll('#journey *')].filter((e) => e.checkVisibility());
            return [shown.map((e) => e.getBoundingClientRect().right).reduce((a, b) => Math.max(a, b)),
                    shown.filter((e) => e.tagName === 'IMG').length, shown.filter((e) => e.tagName === 'BUTTON').length,
                    shown.filter((e) => e.tagName === 'TABLE').length]"""
        right, pictures, buttons, tables = browser.execute_script(script)
        assert right <= 700 and buttons == 0
        assert pictures >= 5 and tables == 3, "the image, the maps; the window, the kernel, the products"
        assert "add up to" in browser.find_element("id", "journey-story").text
        assert browser.execute_script(ON_PAPER) == [["rgb(255, 255, 255)", "rgb(26, 26, 26)"], 0, 0]
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


FOCUSED = """const e = document.activeElement, style = getComputedStyle(e);
    return [e.getAttribute('aria-label') || e.textContent.trim().slice(0, 30), e.className,
            style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2]"""


def tabbed(driver, wanted):
    """Presses Tab until what has the focus is called so; everything on the way shows that it has it."""
    from selenium.webdriver.common.keys import Keys

    for _ in range(60):
        pressed(driver, Keys.TAB)
        name, classes, ringed = driver.execute_script(FOCUSED)
        assert ringed, f"{name} does not show its focus"
        if name.startswith(wanted):
            return classes
    raise AssertionError(f"no Tab leads to {wanted}")


def test_keys_alone_reach_everything(page, browser):
    from selenium.webdriver.common.keys import Keys

    browser.opened(page)
    browser.execute_script(
        "document.getElementById('journey').tabIndex = -1; document.getElementById('journey').focus()"
    )
    tabbed(browser, "class 0")
    pressed(browser, Keys.ARROW_RIGHT)
    waited(browser, lambda d: d.find_elements("css selector", ".picker [aria-checked=true]:nth-child(2)"))
    assert tabbed(browser, "conv1, 11 x 9 x 6") == "stage here"
    pressed(browser, "]", "]", Keys.HOME)
    assert bench(browser)[0] == "max_pool1"
    tabbed(browser, "with the average")
    pressed(browser, Keys.ENTER)
    assert "not what this run did" in words(browser, ".line")
    pressed(browser, Keys.ENTER)
    assert "not what this run did" not in words(browser, ".line")
    tabbed(browser, "keys ?")
    pressed(browser, Keys.ENTER)
    assert words(browser, "dialog[open]").startswith("arrows")
    pressed(browser, Keys.ESCAPE)
    browser.execute_script(
        "document.getElementById('network').tabIndex = -1; document.getElementById('network').focus()"
    )
    tabbed(browser, "image")
    pressed(browser, Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ENTER)
    waited(browser, lambda d: bench(d)[0] == "relu1")
    browser.opened(page, "#j=img:0;layer:conv2;f:1;r:2;c:2;pin")
    browser.execute_script("document.querySelector('.stage.here').focus()")
    tabbed(browser, "contributions, largest first")
    first = words(browser, "[role=option][aria-selected=true]")
    pressed(browser, Keys.ARROW_DOWN)
    second = words(browser, "[role=option][aria-selected=true]")
    assert second != first and second.split()[1] in words(browser, "table caption")
    pressed(browser, Keys.ENTER)
    assert bench(browser)[:2] == ("max_pool1", int(second.split()[1])), "Enter follows what is selected"
    tabbed(browser, "and not that")
    pressed(browser, Keys.HOME)
    before = words(browser, ".bench ~ .bench .line")
    pressed(browser, Keys.END)
    assert words(browser, ".bench ~ .bench .line") != before
    tabbed(browser, "filter, row 1, column 1")
    tabbed(browser, "the map")
    line = browser.find_element("css selector", "#filter-bench .line")
    assert line.text.startswith("row 0, column 0")
    browser.execute_script("bench.choose('a ring')")
    pressed(browser, Keys.ARROW_RIGHT, Keys.ARROW_DOWN)
    assert line.text.startswith("row 1, column 1")
    stops = """return [...document.querySelectorAll('a, button, select, input, summary, [tabindex]')]
        .filter((element) => element.tabIndex >= 0 && element.checkVisibility()).length"""
    assert browser.execute_script(stops) <= 40


def colours(driver, figure):
    """Returns the colours of a figure of the bench, row by row."""
    script = """const canvas = document.querySelectorAll('#journey-explorer .sum-row figure')[arguments[0]]
        .querySelector('canvas');
        const {width, height} = canvas;
        return [width, height, [...canvas.getContext('2d').getImageData(0, 0, width, height).data]]"""
    width, height, numbers = driver.execute_script(script, figure)
    return np.reshape(numbers, (height, width, 4))[..., :3]


def painted(maps, limit):
    from cnn.report import colormap

    table = colormap.table("light")
    return table[colormap.STEPS + np.round(colormap.STEPS * np.clip(maps / limit, -1, 1)).astype(int)]


def test_a_largest_is_framed_its_losers_dimmed_and_the_average_shown_on_request(page, browser):
    browser.opened(page, "#theme=light&j=img:0;layer:max_pool1;f:2;r:1;c:1;pin")
    read = maps(page, "max_pool1")
    window = read[2:4, 2:4, 2]
    cells = browser.find_elements("css selector", "#journey-explorer td")
    classes = [cell.get_attribute("class") for cell in cells if cell.is_displayed()]
    assert sorted(classes) == ["loses"] * 3 + ["wins"] and classes.index("wins") == window.argmax()
    opacity = [float(cell.value_of_css_property("opacity")) for cell in cells if cell.is_displayed()]
    assert [each < 1 for each in opacity] == [name == "loses" for name in classes]
    assert bench(browser)[4] == window.max()
    made, mean = oracles.max_pool(read[None], (2, 2), (2, 2))[0], read[:10, :8].reshape(5, 2, 4, 2, 6).mean((1, 3))
    near = {"atol": 2}
    np.testing.assert_allclose(colours(browser, 1), painted(made[..., 2], made.max()), **near)
    assert "average" not in words(browser, ".line")
    tool(browser, "with the average").click()
    said = words(browser, ".line")
    total = float(re.search(r"\) = (\S+); (\S+) / 4 = ", said)[1])
    assert said.endswith("not what this run did.") and abs(total - window.astype(float).sum()) < 1e-6
    np.testing.assert_allclose(colours(browser, 1), painted(mean[..., 2], made.max()), **near)
    assert bench(browser)[4] == window.max(), "the run's own number stays"
    assert "hatched: no window reads it" in words(browser, "figcaption")


def test_an_average_is_a_sum_divided_by_its_area_and_the_largest_shown_on_request(page, browser):
    browser.opened(page, "#theme=light&j=img:0;layer:avg_pool1;f:1;r:1;c:0;pin")
    read = maps(page, "avg_pool1")
    window = read[2:4, 0:2, 1].astype(float)
    said = words(browser, ".line")
    total, again, mean = map(float, re.search(r"\) = (\S+); (\S+) / 4 = (\S+)\.$", said).groups())
    assert total == again and abs(total - window.sum()) < 1e-6 and abs(mean - window.mean()) < 1e-6
    assert abs(bench(browser)[4] - window.mean()) < 1e-12
    tool(browser, "with the largest").click()
    assert f"{window.max():.4f}"[:5] in words(browser, ".line").split("would have been")[1] or window.max() == 0
    made = oracles.max_pool(read[None], (2, 2), (2, 2))[0]
    found = journey_file.read(page.parent / journey_file.JOURNEY).pictures[0].outputs["avg_pool1"]
    np.testing.assert_allclose(colours(browser, 1), painted(made[..., 1], np.abs(found).max()), atol=2)


def sheet(driver, name):
    """Returns the canvas and the colours of a sheet of activation maps, map by map."""
    canvas = driver.find_element("css selector", f'#activations figure[data-stage="{name}"] canvas')
    script = """const {width, height} = arguments[0];
        return [width, height, [...arguments[0].getContext('2d').getImageData(0, 0, width, height).data]]"""
    width, height, numbers = driver.execute_script(script, canvas)
    return canvas, np.reshape(numbers, (height, width, 4))[..., :3]


def parts(colours, maps):
    """Returns the maps' own pixels of a sheet, those in between left out."""
    height, width, channels = maps.shape
    across = (colours.shape[1] + 1) // (width + 1)
    places = [((f // across) * (height + 1), (f % across) * (width + 1)) for f in range(channels)]
    return np.stack([colours[top : top + height, left : left + width] for top, left in places], axis=2)


def test_activation_maps_follow_the_image_and_take_their_range_from_map_layer_or_network(page, browser):
    browser.opened(page, "#theme=light")
    found = journey_file.read(page.parent / journey_file.JOURNEY)
    section = browser.find_element("id", "activations")
    assert not section.find_element("css selector", "img.sheet").is_displayed()
    for number in (0, 1):
        browser.find_elements("css selector", ".picker button")[number].click()
        read = waited(browser, lambda d, n=number: d.execute_script("return journey.image().number") == n)
        conv = found.pictures[number].outputs["conv2"]
        assert read and f"test/{number} (mistaken)" in section.text
        layer = np.abs(conv).max()
        own = np.abs(conv).max((0, 1))
        script = "return Math.max(...journey.image().outs.slice(1).map((o) => Math.max(...[...o].map(Math.abs))))"
        network = browser.execute_script(script)
        assert network >= layer
        canvas, _ = sheet(browser, "conv2")
        pointed(browser, canvas, 2, 2)
        for limit, said in ((layer, f"+{layer:.3g}"), (own, "+ its largest"), (network, f"+{network:.3g}")):
            _, seen = sheet(browser, "conv2")
            np.testing.assert_allclose(parts(seen, conv), painted(conv, limit), atol=2)
            ends = browser.find_elements("css selector", '[data-stage="conv2"] .legend > span:not(.muted)')
            assert float(ends[1].text) == float(said) if said[1:2].isdigit() else ends[1].text == said
            pressed(browser, "c")
    canvas, _ = sheet(browser, "conv2")
    zoom = canvas.size["width"] / browser.execute_script("return arguments[0].width", canvas)
    pointed(browser, canvas, 2.5 * zoom, 1.5 * zoom)
    reading = browser.find_element("css selector", ".reading")
    number = float(reading.text.rsplit(" ", 1)[1])
    row, column = map(int, re.search(r"map 0 .*: row (\d+), column (\d+) is", reading.text).groups())
    assert number == pytest.approx(conv[row, column, 0], rel=1e-6) and (row, column) == (1, 2)
    pointed(browser, canvas, 2.5 * zoom, 1.5 * zoom, click=True)
    assert bench(browser)[:4] == ("conv2", 0, 1, 2) and words(browser, ".tools .muted") == "pinned"


def test_a_deeper_filter_is_shown_whole_and_a_click_on_a_kernel_chooses_its_channel(page, browser):
    browser.opened(page, "#theme=light&j=img:0;layer:conv2;f:3;r:2;c:2;pin")
    kernel = journey_file.read(page.parent / journey_file.JOURNEY).arrays["conv2/kernel"]
    figure = browser.find_elements("css selector", "#journey-explorer .sum-row figure")[2]
    assert figure.find_element("css selector", "figcaption").text.startswith(
        "filter 3: a kernel for each of 6 channels"
    )
    seen = parts(colours(browser, 2), kernel[..., 3])
    np.testing.assert_allclose(seen, painted(kernel[..., 3], np.abs(kernel).max()), atol=2)
    canvas = figure.find_element("css selector", "canvas")
    zoom = canvas.size["width"] / browser.execute_script("return arguments[0].width", canvas)
    across = browser.execute_script("return explorer.kernels.l.across")
    for channel in (4, 0):
        pointed(browser, canvas, (channel % across * 4 + 1.5) * zoom, (channel // across * 4 + 1.5) * zoom, click=True)
        assert words(browser, "table caption") == f"window of channel {channel}"
    browser.opened(page, "#j=img:0;layer:conv1;f:3;r:2;c:2;pin")
    assert not browser.find_elements("css selector", "#journey-explorer .sum-row figure")[2].is_displayed()


def test_places_that_are_never_a_centre_or_never_read_are_hatched(page, browser):
    script = """const canvas = document.querySelector('#journey-explorer .sum-row figure canvas + canvas');
        const l = explorer.source.l, ratio = devicePixelRatio, context = canvas.getContext('2d'), found = [];
        for (let r = 0; r < l.height; r++) for (let c = 0; c < l.width; c++) {
            const side = Math.floor(l.zoom * ratio), edge = Math.ceil(l.zoom * ratio * 0.2);
            const box = [c * side + edge, r * side + edge, side - 2 * edge, side - 2 * edge];
            found.push(context.getImageData(...box).data.some((v, i) => i % 4 === 3 && v > 0));
        }
        return [l.height, l.width, found]"""

    def hatched(address):
        browser.opened(page, address)
        height, width, found = browser.execute_script(script)
        return np.reshape(found, (height, width))

    rim = hatched("#j=img:0;layer:conv1;f:0;r:5;c:4;pin")
    assert rim.shape == (13, 11) and rim[[0, -1]].all() and rim[:, [0, -1]].all() and not rim[1:5, 1:-1].any()
    unread = hatched("#j=img:0;layer:max_pool1;f:0;r:2;c:1;pin")
    assert unread.shape == (11, 9) and unread[-1].all() and unread[:, -1].all() and not unread[6:-1, :-1].any()


def test_a_copied_formula_is_what_a_calculator_makes_of_it(page, browser):
    for place in ("conv1;f:1;r:0;c:0", "conv2;f:3;r:0;c:0", "dense1;f:2", "dense2;f:1", "avg_pool1;f:0;r:1;c:1"):
        browser.opened(page, f"#j=img:1;layer:{place};pin")
        left, right = browser.execute_script("return explorer.formula()").split(" = ")
        assert set(left) <= set("()+-*. e0123456789")
        assert abs(eval(left) - float(right)) <= 1e-12 * max(1, abs(float(right)))
    assert "0 (padding)" not in words(browser, ".sum-row")
    browser.opened(page, "#j=img:1;layer:conv2;f:3;r:0;c:0;pin")
    assert words(browser, ".sum-row").count("0 (padding)") == 2 * 5
    assert "→ relu → " in browser.find_elements("css selector", "#journey-explorer .line")[1].text


def test_pointing_at_what_is_read_shows_who_reads_it_and_flat_numbers_show_their_place(page, browser):
    browser.opened(page, "#j=img:0;layer:conv2;f:0;r:2;c:2;pin")
    over = "#journey-explorer .sum-row figure:nth-of-type(2) canvas + canvas"
    source = browser.find_element("css selector", "#journey-explorer .sum-row figure canvas")
    drawn_on = f"""const c = document.querySelector('{over}'),
        {{data}} = c.getContext('2d').getImageData(0, 0, c.width, c.height);
        return data.filter((v, i) => i % 4 === 3 && v).length"""
    before = browser.execute_script(drawn_on)
    pointed(browser, source, source.size["width"] / 2, source.size["height"] / 2)
    assert browser.execute_script(drawn_on) > 2 * before, "nine pixels are outlined beside the one"
    browser.opened(page, "#j=img:0;layer:flatten1;f:13;pin")
    assert "row 1, column 1, channel 1" in words(browser, ".line")
    assert "avg_pool1, channel 1" in words(browser, "figcaption")
    sees = browser.find_elements("css selector", "#journey-explorer .bench p.muted")[0].text
    assert sees == "It sees 10 x 8 pixels of the image: rows 2 to 11, columns 2 to 9.", "and not the whole image"


def test_only_another_stage_fades_and_not_for_who_wants_no_motion(page, browser):
    moving = """explorer.go({{k: {}}}); explorer.go({{r: {}}});
        return document.getAnimations().map((a) => a.effect.getTiming().duration)"""
    browser.opened(page, "#j=img:0;layer:conv1;f:0;r:2;c:2;pin")
    waited(browser, lambda d: not d.execute_script("return document.getAnimations().length"))
    assert browser.execute_script(moving.format(1, 3)) == []
    assert browser.execute_script(moving.format(2, 4)) == [150]
    still = [{"name": "prefers-reduced-motion", "value": "reduce"}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": still})
    waited(browser, lambda d: not d.execute_script("return document.getAnimations().length"))
    assert browser.execute_script(moving.format(3, 1)) == []
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_the_filter_bench_pools_by_the_largest_or_the_average(page, browser):
    from selenium.webdriver.support.ui import Select

    browser.opened(page)
    host = browser.find_element("id", "filter-bench")
    picture, pooling = (
        Select(host.find_element("css selector", f"select[aria-label={n}]")) for n in ("picture", "pooling")
    )
    picture.select_by_visible_text("image 1 of the journey")
    browser.execute_script("bench.point(4, 4)")
    image = journey_file.read(page.parent / journey_file.JOURNEY).pictures[0].pixels[..., 0].astype(float)
    kernel = browser.execute_script("return bench.s.kernel")
    made = oracles.conv2d(image[None, ..., None], np.reshape(kernel, (3, 3, 1, 1)), np.zeros(1))[0, ..., 0]
    four = made[4:6, 4:6]
    said = host.find_element("id", "bench-pooled")
    assert f" is {four.max():g}. The average would be {four.mean():g}." in said.text
    pooling.select_by_visible_text("average")
    assert f"{four.sum():g} / 4 = {four.mean():g}. The largest would be {four.max():g}." in said.text


SHAPED = """
    conv(5, 3) | layer_norm | leaky_relu(0.2) | scale(0.5) | elu(0.7) | local_response_norm(3, alpha=0.1) |
    upsample(2, "bilinear") | upsample((1, 2)) | flatten | dense(4) | softmax
"""


def test_numbers_of_shaped_and_normalised_places_are_taken_apart_as_by_hand(tmp_path, browser):
    path = paged(tmp_path / "run", section(SHAPED, (7, 8, 1), 4), drawn((7, 8, 1), 1))
    found = journey_file.read(path.parent / journey_file.JOURNEY)
    arrays = {name: np.asarray(array, np.float64) for name, array in found.arrays.items()}
    outputs = {name: np.asarray(array, np.float64) for name, array in found.pictures[0].outputs.items()}
    row, column, channel = 2, 3, 1

    def shown(stage, r=row, c=column, f=channel):
        browser.opened(path, f"#j=img:0;layer:{stage};f:{f};r:{r};c:{c};pin")
        name, *place, value = bench(browser)
        assert (name, place) == (stage, [f, r, c]) and "agree" in words(browser, ".verdict")
        return value, words(browser, ".bench")

    place = outputs["conv1"][row, column]
    own, scale = place[channel] - place.mean(), arrays["layer_norm1/scale"][channel]
    value, said = shown("layer_norm1")
    normal = own / np.sqrt(place.var() + np.float32(1e-6)) * scale + arrays["layer_norm1/bias"][channel]
    assert value == pytest.approx(normal, rel=1e-9) and "(bias) =" in said

    normed = outputs["layer_norm1"]
    below = tuple(np.argwhere(normed < 0)[0])
    value, said = shown("leaky_relu1", *below)
    assert value == pytest.approx(np.float32(0.2) * normed[below], rel=1e-9) and "0.2 × -" in said

    value, said = shown("scale1")
    before = outputs["leaky_relu1"][row, column, channel]
    assert value == pytest.approx(before * arrays["scale1/scale"][channel], rel=1e-9) and " × " in said

    scaled = outputs["scale1"]
    below = tuple(np.argwhere(scaled < 0)[0])
    value, said = shown("elu1", *below)
    assert value == pytest.approx(np.float32(0.7) * np.expm1(scaled[below]), rel=1e-9) and "0.7 × (exp(-" in said

    place = outputs["elu1"][row, column]
    total = np.square(place[:3]).sum()
    value, said = shown("local_response_norm1")
    divisor = (2 + np.float64(np.float32(0.1)) * total) ** 0.75
    assert value == pytest.approx(place[channel] / divisor, rel=1e-9)
    assert "is the sum of the squares of channels 0 to 2 here." in said

    maps = outputs["local_response_norm1"][..., channel]
    value, said = shown("upsample1", 5, 4)
    rows, columns = (0.75 * maps[2] + 0.25 * maps[3]), (0.25, 0.75)
    assert value == pytest.approx(columns[0] * rows[1] + columns[1] * rows[2], rel=1e-9)
    assert "4 neighbours" in said and "row 2, column 2 × 0.5625" in said
    value, said = shown("upsample2", 5, 9)
    assert value == outputs["upsample1"][5, 4, channel] and "Row 5, column 9 repeats row 5, column 4." in said
