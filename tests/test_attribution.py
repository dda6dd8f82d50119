"""Where a network looked: Grad-CAM against a plain computation, integrated gradients against the logits."""

import dataclasses

import flax.linen as nn
import jax
import numpy as np
import pytest

import networks
import runs
from cnn.explain import attribution, journey
from cnn.layers.module import module_layer
from cnn.model import summary
from cnn.registry import LAYERS
from cnn.report.journey import attribution as on_page
from cnn.report.journey import journey_file
from cnn.report.journey import section as journey_section
from cnn.report.run_files import RunFiles
from test_journey import followed, pictures, section

CHAIN = 'conv(6, 3) | relu | conv(4, 3, strides=2, padding="same") | relu | max_pool(2) | flatten | dense(3) | softmax'
SHAPE = (12, 11, 3)


def captured(layers=CHAIN, **options):
    values = section(layers, SHAPE)
    variables = networks.variables(values.layers, SHAPE)
    return values, variables, followed(values, variables=variables, **options)


@pytest.mark.slow(seconds=5)
def test_grad_cam_is_a_plain_computation_over_the_last_maps():
    _, variables, found = captured()
    windows = {"start": (0, -1), "size": (7, 7), "jump": (4, 4)}
    assert found.about["looked"] == {"maps": "max_pool1", "tolerance": 0.01, "windows": windows}
    kernel = np.asarray(variables["params"]["dense1"]["kernel"], np.float64)
    for picture in found.pictures:
        maps = np.maximum(picture.outputs["conv2"].astype(np.float64), 0)
        height, width, channels = maps.shape
        pooled = maps[: height // 2 * 2, : width // 2 * 2].reshape(height // 2, 2, width // 2, 2, channels).max((1, 3))
        assert {each.label for each in picture.attributions} == {int(picture.outputs["dense1"].argmax()), picture.label}
        for each in picture.attributions:
            weights = kernel[:, each.label].reshape(pooled.shape).mean((0, 1))
            np.testing.assert_allclose(each.cam, np.maximum(pooled @ weights, 0), rtol=0, atol=1e-5)


@pytest.mark.slow(seconds=5)
def test_integrated_gradients_add_up_to_the_difference_of_the_logits():
    _, _, found = captured()
    for picture in found.pictures:
        for each in picture.attributions:
            assert abs(each.total - each.difference) <= 0.01 * abs(each.difference) or 2 * each.steps > 512
            assert abs(each.parts.sum() - each.total) <= 1e-4
            # A logit of black: what is left when everything that was added is taken away.
            assert abs(picture.outputs["dense1"][each.label] - each.difference - black(found, each.label)) < 1e-4


def black(found, label):
    values = section(CHAIN, SHAPE)
    variables = networks.variables(values.layers, SHAPE)
    chosen = [journey.Chosen("black", "", np.zeros(SHAPE, np.uint8))]
    classifier = networks.make_classifier(values, variables)
    about = {"step": 1, "weights": "last"}
    return (
        journey.capture(values, classifier, chosen, list("abc"), about, attributes=False)
        .pictures[0]
        .outputs["dense1"][label]
    )


@pytest.mark.slow(seconds=5)
def test_of_a_linear_network_the_parts_are_its_own_products():
    _, variables, found = captured("flatten | dense(3)")
    assert found.about["looked"]["maps"] is None
    kernel = np.asarray(variables["params"]["dense1"]["kernel"], np.float64)
    x = np.stack([found.table[k][found.pictures[0].pixels[..., k]] for k in range(3)], -1).astype(np.float64)
    for each in found.pictures[0].attributions:
        own = (x - found.table[:, 0]) * kernel[:, each.label].reshape(SHAPE)
        np.testing.assert_allclose(each.parts, own.sum(-1), rtol=0, atol=1e-5)
        assert each.steps == attribution.POINTS and each.cam is None


@pytest.mark.slow(seconds=5)
def test_layers_behind_the_last_maps_keep_their_arrays_whatever_stands_before():
    text = """conv(4, 3) | batch_norm | relu | residual(conv(4, 3, padding="same") | gelu) | global_avg_pool |
        dense(5) | batch_norm | relu | dense(3)"""
    values, _, found = captured(text)
    assert found.about["looked"]["maps"] == "residual1"
    picture = found.pictures[0]
    classifier = networks.make_classifier(values, networks.variables(values.layers, SHAPE))
    behind = attribution._behind(classifier, attribution.last_maps(values.rows))
    maps = picture.outputs["residual1"][None]
    logits, _ = attribution._slopes(behind, maps, 1)
    np.testing.assert_allclose(logits[0], picture.outputs["dense2"][1], rtol=1e-4)


@pytest.mark.slow(seconds=5)
def test_numbers_that_are_not_finite_are_said_and_more_steps_are_not_taken_without_end():
    values, variables, _ = captured("flatten | dense(3)")
    classifier = networks.make_classifier(values, variables)
    with pytest.raises(attribution.NoGradient, match="its gradient is not finite"):
        attribution.integrated_gradients(classifier, np.full(SHAPE, np.float32(np.inf)), np.zeros(SHAPE), 0)
    curved = captured("conv(4, 3) | tanh | flatten | dense(3) | silu")
    again = networks.make_classifier(curved[0], curved[1])
    _, total, difference, steps = attribution.integrated_gradients(
        again, pictures(SHAPE)[0].astype(np.float32), np.zeros(SHAPE, np.float32), 0, most=16
    )
    assert steps == 16 and np.isfinite([total, difference]).all()


class Maps(nn.Module):
    """Makes maps."""

    @nn.compact
    def __call__(self, x):
        return nn.relu(nn.Conv(4, (3, 3), strides=2)(x))


class Logits(nn.Module):
    """Makes logits of a picture at once."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(3)(nn.relu(nn.Conv(4, (3, 3))(x)).mean((1, 2)))


class Loop(nn.Module):
    """Doubles its input in a loop that JAX cannot run backwards."""

    @nn.compact
    def __call__(self, x):
        return jax.lax.while_loop(lambda pair: pair[0] < 1, lambda pair: (pair[0] + 1, 2 * pair[1]), (0, x))[1]


@pytest.mark.slow(seconds=8)
def test_a_module_gives_maps_or_it_is_said_that_it_gives_none(monkeypatch):
    for name, module in (("makes_maps", Maps), ("makes_logits", Logits), ("loops", Loop)):
        monkeypatch.setitem(LAYERS, name, module_layer(module, name))
    _, _, maps = captured("makes_maps | flatten | dense(3)")
    assert maps.about["looked"]["maps"] == "makes_maps1"
    assert all(each.cam.shape == (6, 6) for picture in maps.pictures for each in picture.attributions)
    _, _, logits = captured("makes_logits")
    assert logits.about["looked"]["maps"] is None
    assert all(each.parts.any() for picture in logits.pictures for each in picture.attributions)
    assert "No layer of" in on_page.tell(logits)
    _, _, loop = captured("loops | flatten | dense(3)")
    assert "JAX cannot differentiate it: Reverse-mode differentiation does not work" in loop.about["looked"]["why"]
    assert all(picture.attributions == () for picture in loop.pictures)


@pytest.mark.slow(seconds=5)
def test_the_page_shows_them_and_says_what_it_cannot(tmp_path):
    _, _, found = captured()
    journey_file.write(tmp_path / journey_file.JOURNEY, found)
    back = journey_file.read(tmp_path / journey_file.JOURNEY)
    for one, other in zip(found.pictures, back.pictures, strict=True):
        for each, again in zip(one.attributions, other.attributions, strict=True):
            np.testing.assert_array_equal(each.cam, again.cam)
            np.testing.assert_array_equal(each.parts, again.parts)
            assert (each.label, each.total, each.steps) == (again.label, again.total, again.steps)
    html = str(on_page.tell(back))
    count = sum(len(picture.attributions) for picture in found.pictures)
    assert html.count("Grad-CAM for") == 2 * count and html.count('alt="integrated gradients for') == count
    assert "off by more" not in html
    assert html in journey_section.build(RunFiles(tmp_path, runs.tiny())).html

    def told(about, **changes):
        first = found.pictures[0]
        one = dataclasses.replace(
            first, attributions=tuple(dataclasses.replace(each, **changes) for each in first.attributions)
        )
        return str(on_page.tell(dataclasses.replace(found, pictures=(one,), about={"looked": about})))

    known = found.about["looked"]
    assert "off by more than 1 %, after 32 steps" in " ".join(told(known, total=2.0, difference=1.0, steps=32).split())
    assert "nothing speaks for it" in told(known, cam=np.zeros((3, 3), np.float32))
    without = told({**known, "maps": None}, cam=None)
    assert "No layer of" in without and "Grad-CAM for" not in without
    assert "This is not known: its gradient is not finite." in told({"why": "its gradient is not finite"})
    assert on_page.tell(dataclasses.replace(found, about={})) == "", "a journey of an earlier version"


def test_each_number_of_a_map_is_laid_where_the_middle_of_its_window_is_and_nothing_where_none_reads():
    rows = summary.trace(networks.chain("conv(8, 3) | relu | max_pool(9) | flatten | dense(2)"), (28, 28, 1))
    windows = attribution._windows(rows, "max_pool1")
    assert windows == {"start": (0, 0), "size": (11, 11), "jump": (9, 9)}
    spread = on_page.laid(np.array([[1.0, 2.0], [3.0, 4.0]]), (28, 28), windows)
    columns = [1.0] * 10 + [2.0] * 10 + [0.0] * 8  # windows 0..10 and 9..19; the middles are 5 and 14
    assert spread[0].tolist() == columns and spread[:, 0].tolist() == [1.0] * 10 + [3.0] * 10 + [0.0] * 8
    rows = summary.trace(networks.chain("conv(4, 3, strides=2, padding='same') | relu | flatten | dense(2)"), (7, 7, 1))
    windows = attribution._windows(rows, "conv1")
    assert windows == {"start": (-1, -1), "size": (3, 3), "jump": (2, 2)}
    assert on_page.laid(np.arange(4.0)[None], (1, 7), {**windows, "start": (0, -1)})[0].tolist() == [
        0,
        0,
        1,
        1,
        2,
        2,
        3,
    ]
    assert on_page.laid(np.array([[1.0, 2.0]]), (4, 6), None)[0].tolist() == [1, 1, 1, 2, 2, 2]


def test_an_overlay_is_the_pale_picture_where_there_is_nothing_and_blue_or_orange_where_there_is_most():
    pixels = np.full((4, 6, 1), 255, np.uint8)
    made = on_page.overlay(pixels, np.repeat([[0.0, 2.0, -2.0], [0.0, 0.0, 0.0]], 2, 0).repeat(2, 1))
    assert made.shape == (4, 6, 3) and len({tuple(each) for each in made.reshape(-1, 3)}) == 3
    assert (made[0, 0] == 249).all() and (made[2:] == 249).all()
    assert made[0, 2, 2] > made[0, 2, 0] and made[1, 5, 0] > made[1, 5, 2]
