"""Following images through a network: every number captured, checked, and as the network computes it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import networks
import runs
from cnn.config import resolve
from cnn.data import types
from cnn.explain import journey
from cnn.model import network
from cnn.report.journey import journey_file

KINDS = """
    conv(8, 3, padding="same", strides=2) | batch_norm | relu |
    residual(conv(8, 3, padding="same", dilation=2, groups=2) | group_norm(4) | gelu | conv(8, 1)) |
    max_pool(2, strides=1, padding="same") | residual(silu | conv(4, 1), shortcut=tanh | conv(4, 1)) | sigmoid |
    concat(identity, depthwise(3, padding=1) | relu6 | layer_norm | elu) |
    multiply(scale(0.5) | hard_swish | leaky_relu(0.2), global_avg_pool | dense(8) | hard_sigmoid) |
    local_response_norm(3) | upsample(2, "bilinear") | drop_path(0.1) | adaptive_avg_pool((7, 5)) |
    avg_pool(3, strides=2, padding="same") | flatten | dropout(0.5) | dense(6) | batch_norm | dense(3) | softmax
"""


def section(layers, shape=(12, 11, 3), classes=3):
    data = {"name": "folder", "data_dir": "x", "image_shape": shape, "classes": classes, "mean": (0.4,), "std": (0.3,)}
    values = {"model": {"layers": layers}, "data": data, "optimizer": {"name": "adam", "learning_rate": 0.01}}
    return resolve.resolve(values)


def pictures(shape, count=2, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, *shape), dtype=np.uint8)


def followed(values, seed=0, count=2, variables=None):
    variables = variables or networks.variables(values.layers, values.data.image_shape, seed)
    images = pictures(values.data.image_shape, count, seed)
    chosen = [journey.Chosen(f"test/{n}", "mistaken", image, n, n) for n, image in enumerate(images)]
    classes = [f"class {n}" for n in range(values.data.classes)]
    return journey.capture(
        values, networks.make_classifier(values, variables), chosen, classes, {"step": 1, "weights": "last"}
    )


@pytest.mark.slow
def test_every_number_of_every_kind_of_layer_is_captured_and_agrees():
    found = followed(section(KINDS))
    names = {stage.op for stage in found.stages}
    assert {
        "conv",
        "batch_norm",
        "group_norm",
        "gelu",
        "silu",
        "tanh",
        "sigmoid",
        "add",
        "avg_pool",
        "dropout",
    } <= names
    for picture in found.pictures:
        kept = {stage.name: stage.output for stage in found.stages[1:] if not stage.exact}
        assert {name: output.shape for name, output in picture.outputs.items()} == kept
        assert set(picture.digests) == {stage.name for stage in found.stages[1:] if stage.exact}
    counted = sum(np.prod(stage.output) for stage in found.stages[1:] if not stage.exact and stage.op != "softmax")
    assert found.about["numbers"] == counted
    assert 0 < found.about["worst"] <= 1


@pytest.mark.slow(seconds=3)
def test_what_is_captured_is_what_the_network_answers():
    values = section("conv(4, 3) | relu | max_pool(2) | flatten | dense(3) | softmax")
    variables = networks.variables(values.layers, values.data.image_shape)
    found = followed(values, variables=variables)
    images = (pictures(values.data.image_shape).astype(np.float32) / 255 - np.float32(0.4)) / np.float32(0.3)
    logits = network.apply(values.layers, variables, jnp.asarray(images))
    for picture, expected in zip(found.pictures, logits, strict=True):
        np.testing.assert_allclose(picture.outputs["dense1"], expected, rtol=0, atol=1e-4)
        np.testing.assert_allclose(picture.outputs["softmax1"].sum(), 1, atol=1e-6)


@pytest.mark.slow
def test_a_network_that_diverged_is_named():
    values = section("flatten | dense(3)")
    variables = networks.variables(values.layers, values.data.image_shape)
    spoilt = jax.tree.map(lambda array: array.at[0].set(jnp.inf), variables)
    with pytest.raises(FloatingPointError, match=r"dense1: not finite for image test/0\. The run has diverged"):
        followed(values, variables=spoilt)


LOGITS = np.array([[5.0, 0, 0], [0, 5, 0], [0, 4, 0], [0, 0, 1], [9, 0, 0]])
LABELS = np.array([0, 1, 0, 2, 2], np.int32)


def test_the_most_confused_come_first():
    split = types.Split(pictures((4, 4, 1), 5), LABELS)
    chosen = journey.choose("confused", "test", split, LOGITS, 3)
    assert [each.name for each in chosen] == ["test/4", "test/2", "test/3"]
    assert [each.why for each in chosen] == ["mistaken", "mistaken", "right, not sure"]
    assert [(each.label, each.recorded) for each in chosen] == [(2, 0), (0, 1), (2, 2)]
    np.testing.assert_array_equal(chosen[0].pixels, split.images[4])


def test_one_of_each_class_is_the_surest():
    split = types.Split(pictures((4, 4, 1), 5), LABELS)
    chosen = journey.choose("classes", "valid", split, LOGITS, 8)
    assert [each.name for each in chosen] == ["valid/0", "valid/1", "valid/3"]
    assert {each.why for each in chosen} == {"the surest of its class"}
    assert len(journey.choose("classes", "valid", split, LOGITS, 2)) == 2


@pytest.mark.slow
def test_explain_follows_what_it_is_asked_to(tmp_path, capsys):
    layers = "config.model.layers"
    text = "conv(4, 3) | relu | max_pool(2) | flatten | dense(classes) | softmax"
    page = "--config.report.page=end"
    assert runs.start("train", f"--workdir={tmp_path}/a", f"--{layers}={text}", page) == 0
    found = journey_file.read(tmp_path / "a" / "journey.npz")
    assert len(found.pictures) == 8 and found.pictures[0].why == "mistaken", "training ends with a journey"
    assert runs.start("explain", f"--workdir={tmp_path}/a", "--images=3", "--choose=classes", "--split=valid") == 0
    found = journey_file.read(tmp_path / "a" / "journey.npz")
    assert [picture.label for picture in found.pictures] == [0, 1, 2]
    assert all(picture.recorded is not None for picture in found.pictures)
    out = capsys.readouterr().out
    count = f"{found.about['numbers']:,}"
    assert f"{count} of {count} numbers of each image agree with the float64 sums, within what rounding may" in out
    assert "the journeys are in" in out and "report.html" in out
    assert (tmp_path / "a" / "report.html").read_text().count("journey-image-") >= 3

    from PIL import Image

    Image.fromarray(pictures((20, 30, 3), 1)[0]).save(tmp_path / "mine.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    words = (tmp_path / "broken.png", tmp_path / "mine.png")
    assert runs.start("explain", f"--workdir={tmp_path}/a", *words) == 0
    found = journey_file.read(tmp_path / "a" / "journey.npz")
    assert [(picture.name, picture.label) for picture in found.pictures] == [("mine.png", None)]
    assert "broken.png': cannot be read" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--images=0"], "--images: must be a whole number from 1 to 64, got '0'"),
        (["--max_mb=nan"], "--max_mb: must be a number of megabytes from 1 to 12, got 'nan'"),
        (["--choose=best"], "--choose: must be one of confused, classes, got 'best'"),
        (["--split=valid", "a.png"], "--split: is given with pictures of your own. Leave one or the other out"),
    ],
)
def test_what_is_asked_wrongly_is_said(tmp_path, capsys, flags, message):
    (tmp_path / "config.json").write_text(runs.tiny().json)
    assert runs.start("explain", f"--workdir={tmp_path}", *flags) == 2
    assert capsys.readouterr().err.strip() == message
