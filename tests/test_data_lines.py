"""Pictures of lines, and the filter that a network of one filter learns from them."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from cnn.config import resolve
from cnn.config.config import Override
from cnn.data import sources
from cnn.data.sources import synthetic_lines
from cnn.data.types import DataError, DataSpec, Split
from cnn.report import hand_convolution
from cnn.train import checkpointer, experiment

CONFIG = Path(__file__).parents[1] / "configs" / "one_filter.py"


def resolved(*overrides):
    spec = importlib.util.spec_from_file_location("one_filter", CONFIG)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    given = [Override(*text.split("=", 1)) for text in overrides]
    return resolve.resolve(module.get_config().to_dict(), given)


def read(name, image_shape):
    return sources.read(DataSpec(name=name, image_shape=image_shape, classes=2))


def split_of(part):
    return Split(*part.read(np.arange(len(part)), 1)[:2])


@pytest.mark.parametrize("direction", synthetic_lines.DIRECTIONS)
def test_the_filter_of_a_direction_answers_to_its_pictures_and_to_no_others(direction):
    split = split_of(read(f"lines/{direction}", (16, 16, 1)).test)
    kernel = hand_convolution.FILTERS[direction].kernel
    strongest = np.array([np.abs(hand_convolution.convolve(image[..., 0], kernel)).max() for image in split.images])
    with_lines, without = strongest[split.labels == 1], strongest[split.labels == 0]
    assert np.median(with_lines) > 3 * np.median(without)
    best = max(np.mean((strongest > level) == split.labels) for level in range(0, 600, 10))
    assert best > 0.9


def test_pictures_are_the_same_every_time_and_the_splits_differ():
    first, again = (read("lines", (9, 12, 3)) for _ in range(2))
    assert first.fingerprint == again.fingerprint
    assert first.class_names == ("no vertical line", "vertical line")
    train, test = split_of(first.train), split_of(first.test)
    assert (train.images == split_of(again.train).images).all()
    assert train.images.shape == (2000, 9, 12, 3) and train.images.dtype == np.uint8
    assert (train.images == train.images[..., :1]).all()
    rows = {image.tobytes() for image in train.images}
    assert not any(image.tobytes() in rows for image in test.images)
    assert first.fingerprint != read("lines/horizontal", (9, 12, 3)).fingerprint
    for split in (train, test):
        assert np.bincount(split.labels).tolist() == [len(split) // 2] * 2


def test_neither_brightness_nor_contrast_alone_tells_the_classes_apart():
    split = split_of(read("lines", (16, 16, 1)).train)
    light = split.images.reshape(len(split), -1).mean(axis=1)
    assert abs(light[split.labels == 1].mean() - light[split.labels == 0].mean()) < 8
    assert max(np.mean((light > level) == split.labels) for level in range(256)) < 0.6


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        (
            "lines/vertcal",
            (16, 16, 1),
            r"config\.data\.name: lines have no such .*'lines/vertcal'\. Did you mean 'vert",
        ),
        ("lines", (7, 16, 1), r"config\.data\.image_shape: lines need 8x8 pixels or more, got \(7, 16, 1\)"),
    ],
)
def test_lines_that_cannot_be_drawn_are_refused(name, shape, message):
    with pytest.raises(DataError, match=message):
        read(name, shape)


@pytest.mark.thorough(1)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("direction", "seed"), [*(("vertical", seed) for seed in range(5)), ("horizontal", 0), ("diagonal", 0)]
)
def test_a_network_of_one_filter_finds_the_oriented_edge_filter_by_itself(tmp_path, direction, seed):
    values = resolved(f"data.name=lines/{direction}", f"seed={seed}")
    result = experiment.run(values, tmp_path / "run").result
    _, classifier = checkpointer.restore_classifier(values, tmp_path / "run", "last")
    kernel = np.asarray(classifier.params["conv1"]["kernel"])[:, :, 0, 0]

    def likeness(name):
        named = np.array(hand_convolution.FILTERS[name].kernel)
        return abs(float((kernel * named).sum() / np.linalg.norm(kernel) / np.linalg.norm(named)))

    assert result["test"]["accuracy"] > 0.9
    assert likeness(direction) >= 0.8
    assert likeness(direction) == max(likeness(name) for name in synthetic_lines.DIRECTIONS)
    across = {"vertical": "horizontal", "horizontal": "vertical", "diagonal": "antidiagonal"}[direction]
    assert likeness(across) < 0.3
