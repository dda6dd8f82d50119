"""`predict` of a folder's test files gives the logits of `eval`, to the bit, where their size is exact."""

import json

import numpy as np
import pytest
from PIL import Image

import runs


def draw(rng, kind):
    """Returns an 8x8 picture of a kind, and what to save it with."""
    grey = rng.integers(0, 256, (8, 8), np.uint8)
    colour = rng.integers(0, 256, (8, 8, 3), np.uint8)
    alpha = rng.integers(0, 256, (8, 8), np.uint8)
    if kind == "grey":
        return Image.fromarray(grey), {}
    if kind == "shade":
        return Image.fromarray(grey), {"transparency": int(grey[0, 0])}
    if kind == "deep":
        return Image.fromarray(rng.integers(0, 65536, (8, 8), np.uint16)), {}
    if kind == "palette":
        return Image.fromarray(colour).quantize(16), {"transparency": 1}
    if kind == "clear":
        return Image.fromarray(np.dstack([grey, alpha]), "LA"), {}
    if kind == "glass":
        return Image.fromarray(np.dstack([colour, alpha]), "RGBA"), {}
    return Image.fromarray(colour), {}


KINDS = ("grey", "shade", "deep", "palette", "clear", "glass", "colour")


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("batch", [500, 5])
def test_the_logits_of_every_kind_of_picture_are_those_of_evaluation(tmp_path, capsys, channels, batch):
    rng = np.random.default_rng(0)
    for part, count in (("train", 2), ("test", 1)):
        for label in ("a", "b"):
            (tmp_path / part / label).mkdir(parents=True)
            for kind in KINDS:
                for n in range(count):
                    picture, saved = draw(rng, kind)
                    picture.save(tmp_path / part / label / f"{kind}{n}.png", **saved)
    sections = {
        **runs.SECTIONS,
        "model": {"layers": "conv(4, 3) | relu | max_pool(2) | flatten | dense(classes) | softmax"},
        "data": {"name": "folder", "data_dir": str(tmp_path), "image_shape": (8, 8, channels), "classes": 2},
        "train": {"epochs": 2, "batch_size": 4},
        "eval": {"batch_size": batch},
    }
    assert runs.train(tmp_path / "run", sections=sections) == 0
    capsys.readouterr()
    assert runs.start("predict", f"--workdir={tmp_path / 'run'}", "--json", tmp_path / "test") == 0
    said = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    evaluated = np.load(tmp_path / "run/predictions-test.npz")["logits"]
    assert [record["picture"] for record in said] == sorted(map(str, (tmp_path / "test").rglob("*.png")))
    found = np.zeros((len(said), 2), np.float32)
    for row, record in enumerate(said):
        for entry in record["best"]:
            found[row, entry["index"]] = entry["logit"]
    np.testing.assert_array_equal(found, evaluated)
