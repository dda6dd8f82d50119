"""Training in the page: what a run leaves for it, its gradients and steps against JAX's, and hands on its sliders."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import networks
import runs
from browser import needs_chromium, needs_driver, needs_node, passed_in_node, proof
from cnn import hyperparams
from cnn.data import types
from cnn.explain import practice
from cnn.model.classifier import flatten
from cnn.report import run_page
from cnn.report.first_layer import FILTERS
from cnn.report.journey import graph, practice_file
from cnn.report.journey import practice as practice_section
from cnn.report.run_files import RunFiles
from cnn.train import preflight
from cnn.train.state import create_state
from explorers import opening, paged, pressed
from test_configs import load

SMALL = "conv(8, 3) | relu | max_pool(2) | flatten | dense(classes) | softmax"
EVERY = [
    'conv(3, (3, 2), strides=(2, 1), padding="same") | relu | avg_pool(3, strides=2, padding="same") | '
    "conv(4, 3, dilation=2, padding=((2, 2), (2, 1)), use_bias=False) | relu | max_pool(2, strides=1) | "
    "flatten | dense(6) | relu | dense(4, use_bias=False) | softmax",
    "conv(5, 3) | relu | global_max_pool | dense(4)",
    "max_pool(3, 2, padding=1) | conv(4, 1) | relu | conv(4, 3) | global_avg_pool | softmax",
    "flatten | dense(4)",
]
SHAPE = (12, 11, 2)


def small():
    return runs.tiny(f"model.layers={SMALL}")


def by_path(tree):
    flat = flatten({"params": tree, "batch_stats": {}})
    return {path: np.asarray(array, np.float64).ravel().tolist() for path, array in flat.items()}


def gradient_fixture(text):
    layers, rng = networks.chain(text), np.random.default_rng(0)
    params = networks.variables(layers, SHAPE)["params"]
    images, labels = rng.normal(size=(4, *SHAPE)).astype(np.float32), rng.integers(0, 4, 4)
    with jax.default_matmul_precision("highest"):
        found = practice.gradients(params, jnp.asarray(images), jnp.asarray(labels), layers=layers)
    return {
        "name": text,
        "stages": [stage.to_json() for stage in graph.build(layers, SHAPE)],
        "arrays": by_path(params),
        "inputs": images.reshape(4, -1).tolist(),
        "labels": labels.tolist(),
        "found": by_path(found),
    }


def pictures_of(captured):
    shape = captured.images.shape
    return {
        "stages": [stage.to_json() for stage in captured.networks[captured.own]],
        "arrays": {name: array.ravel().tolist() for name, array in captured.arrays.items()},
        "table": captured.table.tolist(),
        "images": captured.images.ravel().tolist(),
        "labels": captured.labels.tolist(),
        "size": int(np.prod(shape[1:])),
        "train": captured.train,
    }


def hundred_steps(values, captured, rate=0.05, momentum=0.9):
    """Returns what JAX makes of a hundred batches, by Optax's descent."""
    rng = np.random.default_rng(0)
    batches = [rng.choice(captured.train, 32, replace=False) for _ in range(100)]
    params = {}
    for path, array in captured.arrays.items():
        layer, name = path.split("/")
        params.setdefault(layer, {})[name] = jnp.asarray(array)
    tx, losses = optax.sgd(rate, momentum), []
    state = tx.init(params)

    @jax.jit
    def step(params, state, images, labels):
        def loss(params):
            logits = practice.logits(values.layers, params, images)
            return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

        value, grads = jax.value_and_grad(loss)(params)
        updates, state = tx.update(grads, state)
        return optax.apply_updates(params, updates), state, value

    for rows in batches:
        images = captured.table[0][captured.images[rows]]
        params, state, value = step(params, state, images, captured.labels[rows])
        losses.append(float(value))
    return {
        **pictures_of(captured),
        "batches": [rows.tolist() for rows in batches],
        "rate": rate,
        "momentum": momentum,
        "after": by_path(params),
        "losses": losses,
        "tolerance": 1e-5,
    }


@needs_node
@pytest.mark.slow(seconds=30)
def test_the_pages_training_is_jaxs_and_learns_digits_and_a_line_by_itself(tmp_path):
    values, lines = small(), load("one_filter")
    digits = practice.capture(values, preflight.load_data(values.data))
    line = practice.capture(lines, preflight.load_data(lines.data))
    options = {"rate": 0.05, "momentum": 0.9, "count": 400}
    vertical = np.ravel(FILTERS["vertical"].kernel).tolist()
    fixtures = {
        "gradients": [gradient_fixture(text) for text in EVERY],
        "steps": hundred_steps(values, digits),
        "learning": [
            {"name": "digits", **pictures_of(digits), **options, "accuracy": 0.95},
            {"name": "a line", **pictures_of(line), **options, "accuracy": 0.92, "pattern": vertical, "cosine": 0.8},
        ],
    }
    passed_in_node("training.test.js", fixtures, tmp_path)


def test_a_large_network_is_trained_with_fewer_features_and_as_many_classes():
    values = load("digits")
    narrow = practice.narrowed(values.layers, values.data.image_shape)
    features = [layer.features for layer in narrow if hasattr(layer, "features")]
    assert features == [8, 8, 16, 10]
    assert [type(layer) for layer in narrow] == [type(layer) for layer in values.layers]
    few = small()
    assert practice.narrowed(few.layers, few.data.image_shape) == few.layers


@pytest.mark.parametrize(
    "text",
    [
        "conv(8, 3) | batch_norm | flatten | dense(10)",
        'residual(conv(1, 3, padding="same")) | flatten | dense(10)',
        "conv(2, 3) | conv(4, 3, groups=2) | flatten | dense(10)",
        "conv(4, 3, init=whiten(100)) | flatten | dense(10)",
        "conv(4, 3) | gelu | flatten | dense(10)",
    ],
)
def test_what_the_page_has_no_gradients_for_it_does_not_train(text):
    assert practice.narrowed(networks.chain(text), (8, 8, 1)) is None


def test_a_network_without_parameters_is_no_wider_than_it_is():
    layers = networks.chain("global_avg_pool")
    assert practice.narrowed(layers, (8, 8, 10)) == layers


def test_a_kernel_that_would_leave_another_number_of_logits_is_not_offered():
    offered = dict(practice._variants(networks.chain("conv(10, 8) | flatten"), (8, 8, 1)))
    assert list(offered) == ["8x8"]
    assert len(dict(practice._variants(networks.chain("conv(2, 3) | flatten | dense(10)"), (8, 8, 1)))) > 1


def test_a_network_that_is_large_with_one_feature_a_layer_is_not_trained():
    assert practice.narrowed(networks.chain("flatten | dense(10)"), (224, 224, 3)) is None


def dataset(count, valid, shape=(8, 8, 1), unusable=()):
    images = np.arange(count, dtype=np.uint8)[:, None, None, None] * np.ones(shape, np.uint8)
    marked = np.isin(np.arange(count), unusable)
    labels = np.arange(count, dtype=np.int32) * 10 // count
    train = types.Split(images, labels, marked)
    empty = np.zeros(0, int)
    return types.Dataset(train, train.take(np.arange(valid)), train.take(empty), tuple("abcdefghij"), identity="x")


def test_pictures_are_spread_over_the_split_and_those_held_out_are_not_trained_on():
    large = (60, 50, 1)  # a hundred have room
    images, labels, train = practice._pictures(dataset(200, 0, large), large)
    seen, others = images[:train, 0, 0, 0], images[train:, 0, 0, 0]
    assert (len(seen), len(others)) == (80, 20)
    assert not set(seen) & set(others) and set(labels[train:]) == set(range(10))
    assert set(np.diff(np.sort(images[:, 0, 0, 0].astype(int)))) == {2}, "every other picture"
    images, labels, train = practice._pictures(dataset(200, 10, large), large)
    assert (train, len(labels)) == (90, 100)


def test_pictures_that_cannot_be_used_are_left_out_and_large_ones_are_not_embedded():
    images, labels, train = practice._pictures(dataset(50, 20, unusable=(3, 30)), (8, 8, 1))
    assert (train, len(labels)) == (48, 67)
    assert not {3, 30} & set(images[:, 0, 0, 0].tolist())
    assert practice._pictures(dataset(1, 0, (64, 64, 1)), (64, 64, 1)) is None
    assert practice._pictures(dataset(0, 0), (8, 8, 1)) is None


@pytest.mark.parametrize(("mean", "std"), [((0.4,), (0.2,)), ((0.4, 0.5, 0.6), (0.2, 0.3, 0.1))], ids=["one", "each"])
def test_of_colours_each_channel_is_read_with_its_mean_or_that_of_all(mean, std):
    found = practice.read_for(mean, std, 3)
    intensities = np.arange(256) / 255
    expected = [(intensities - m) / s for m, s in zip(np.resize(mean, 3), np.resize(std, 3), strict=True)]
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.slow(seconds=3)
def test_what_is_captured_reads_back_and_begins_with_the_runs_own_weights(tmp_path):
    values = small()
    data = preflight.load_data(values.data)
    practice.write(values, tmp_path, data)
    first = (tmp_path / practice_file.PRACTICE).read_bytes()
    practice.write(values, tmp_path, data)
    assert (tmp_path / practice_file.PRACTICE).read_bytes() == first
    found = practice_file.parse(RunFiles(tmp_path, values).arrays(practice_file.PRACTICE))
    assert list(found.networks) == ["1x1", "3x3", "5x5", "7x7"] and found.own == "3x3"
    assert [stages[1].kernel for stages in found.networks.values()] == [(1, 1), (3, 3), (5, 5), (7, 7)]
    assert found.networks["3x3"] == graph.build(values.layers, (8, 8, 1)) and found.about == {"seed": 0, "of": 1293}
    state = create_state(hyperparams.from_values(values), (8, 8, 1), 0)
    for path, array in flatten({"params": state.params, "batch_stats": {}}).items():
        np.testing.assert_array_equal(found.arrays[path], array)
    np.testing.assert_array_equal(found.images[: found.train], data.train.images)
    np.testing.assert_array_equal(found.labels[found.train :], data.valid.labels)
    section = practice_section.build(RunFiles(tmp_path, values))
    assert "1,293 of the run's 1,293 training pictures" in " ".join(section.html.split())
    assert "fewer features" not in section.html
    (tmp_path / practice_file.PRACTICE).write_bytes(first[:1000])
    assert practice_section.build(RunFiles(tmp_path, values)) is None


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """Returns the pages of small networks that are trained on 8x8 digits, on lines, and on 28x28 digits."""
    found = {}
    for name, values in (("small", small()), ("one_filter", load("one_filter")), ("digits", load("digits"))):
        folder = tmp_path_factory.mktemp(name) / "run"
        data = preflight.load_data(values.data)
        paged(folder, values, data.test.images[:8])
        practice.write(values, folder, data)
        found[name] = run_page.write(folder)
    return found


@pytest.mark.thorough(1)
@needs_chromium
@pytest.mark.slow(seconds=20)
@pytest.mark.parametrize("name", ["small", "one_filter", "digits"])
def test_a_page_that_trains_proves_itself_and_is_no_larger_than_it_may_be(pages, name, tmp_path):
    assert pages[name].stat().st_size <= 3_000_000
    found = proof(pages[name], tmp_path / "profile")
    assert found["selftest"] == "ok", found
    assert ("fewer features" in pages[name].read_text()) == (name == "digits")


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with opening(tmp_path_factory.mktemp("profile")) as driver:
        yield driver


def shown(driver):
    host = driver.find_element("id", "trainer")
    return {name: float(host.get_attribute(f"data-{name}")) for name in ("step", "loss", "accuracy")}


def opened(driver, path):
    driver.opened(path)
    driver.execute_async_script("trainer.ready.then(arguments[0])")
    return driver.find_element("id", "trainer")


def small_batches(path):
    """Returns the whole batches of an epoch of the pictures that a page trains on."""
    found = re.search(r"trained on ([\d,]+) of", path.read_text())
    return int(found[1].replace(",", "")) // 32


def control(host, words):
    return next(each for each in host.find_elements("css selector", "button") if each.text == words)


@needs_driver
@pytest.mark.slow(seconds=20)
def test_a_class_watches_a_line_filter_being_learned(pages, browser):
    host = opened(browser, pages["one_filter"])
    filters = "return document.querySelectorAll('#trainer canvas')[0].toDataURL()"
    before, first = browser.execute_script(filters), shown(browser)
    control(host, "one step").click()
    assert shown(browser)["step"] == 1 and browser.execute_script(filters) != before
    browser.execute_script("trainer.run(399)")
    last = shown(browser)
    assert last["accuracy"] >= 0.92 > first["accuracy"] and "0 looks like vertical -0.8" in host.text
    control(host, "reset").click()
    assert shown(browser)["step"] == 0 and browser.execute_script(filters) == before


@needs_driver
@pytest.mark.slow(seconds=20)
def test_play_trains_until_pause_and_every_slider_acts_by_keys(pages, browser):
    from selenium.webdriver.common.keys import Keys
    from selenium.webdriver.support.ui import WebDriverWait

    host = opened(browser, pages["small"])
    control(host, "play").send_keys(Keys.ENTER)
    WebDriverWait(browser, 60).until(lambda d: shown(d)["step"] > 20)
    control(host, "pause").send_keys(Keys.ENTER)
    rest = shown(browser)["step"]
    browser.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
    assert shown(browser)["step"] == rest and control(host, "play")
    live = "return document.querySelector('#trainer [aria-live=polite]').textContent"
    batches = small_batches(pages["small"])
    assert browser.execute_script(live).startswith(f"Step {rest:.0f} (epoch {rest / batches:.1f}): ")
    assert "agree with JAX" in host.text
    control(host, "other weights").click()
    assert browser.execute_script(live).startswith("Step 0 (epoch 0.0): ")
    assert "agree with JAX" not in host.text and "compared with nothing" in host.text
    control(host, "reset").click()

    sliders = {each.get_attribute("aria-label"): each for each in host.find_elements("css selector", "input")}
    assert list(sliders) == ["learning rate", "momentum", "kernel size", "steps a second", "picture"]
    browser.execute_script("arguments[0].focus()", sliders["kernel size"])
    pressed(browser, Keys.ARROW_RIGHT)
    assert sliders["kernel size"].get_attribute("aria-valuetext") == "5x5"
    assert shown(browser)["step"] == 0 and "conv1 4x4x8" in host.text
    assert "agree with JAX" not in host.text
    assert browser.find_element("id", "practised").text.startswith("conv(8, 5) | relu | ")
    assert browser.execute_script("trainer.run(3); return trainer.s.loss") > 0
    browser.execute_script("arguments[0].focus()", sliders["learning rate"])
    pressed(browser, Keys.END)
    assert sliders["learning rate"].get_attribute("aria-valuetext") == "1"
    before = host.text
    browser.execute_script("arguments[0].focus()", sliders["picture"])
    pressed(browser, Keys.ARROW_RIGHT)
    assert host.text != before
    canvases = host.find_elements("css selector", "canvas, svg")
    assert all(each.get_attribute("role") == "img" and each.get_attribute("aria-label") for each in canvases)


@needs_driver
@pytest.mark.slow(seconds=20)
def test_a_loss_that_is_no_number_is_said_and_play_begins_anew(pages, browser):
    host = opened(browser, pages["small"])
    browser.execute_script("trainer.rate.input.max = 300; trainer.rate.input.value = 300; trainer.run(50)")
    assert "the learning rate is too high" in host.text
    browser.execute_script(
        "trainer.rate.input.max = 0; trainer.rate.input.value = -1; trainer.start(); trainer.pause()"
    )
    assert shown(browser)["step"] == 0 and "too high" not in host.text


@needs_driver
@pytest.mark.slow(seconds=20)
def test_a_page_that_trains_asks_nothing_of_anyone_and_fits_a_telephone(pages, browser):
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride", {"width": 380, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    )
    try:
        browser.get_log("performance"), browser.get_log("browser")
        for name, path in pages.items():
            opened(browser, path)
            browser.execute_script("trainer.run(2)")
            assert browser.execute_script("return document.documentElement.scrollWidth") <= 380, name
        messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
        asked = [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]
        assert {url for url in asked if not url.startswith("data:") and url != "about:blank"} == {
            path.as_uri() for path in pages.values()
        }
        assert browser.get_log("browser") == []
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
