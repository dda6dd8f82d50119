"""`predict` on the files of a run's own test split: the logits of evaluation, to the bit."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

import runs
from cnn import evaluate
from cnn.config import resolve
from test_data_png_matrix import HEIGHT, MANY, WIDTH

LAYERS = 'conv(4, 3, padding="same") | relu | flatten | dense(classes) | softmax'


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Pictures of one size: PNG files of every kind, and some of the other formats."""
    root = tmp_path_factory.mktemp("pictures")
    random = np.random.default_rng(0)
    for number, found in enumerate(MANY.values()):
        place = root / "test" / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:03}.png").write_bytes(found[0])
    for mode, suffix in (("L", "jpg"), ("RGB", "jpg"), ("RGB", "webp"), ("RGBA", "webp"), ("RGB", "bmp")):
        image = Image.fromarray(random.integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)).convert(mode)
        image.save(root / "test" / "a" / f"{mode}.{suffix}")
    shutil.copytree(root / "test", root / "train")
    return root


def sections(folder, channels, **data):
    section = {"name": "folder", "data_dir": str(folder), "image_shape": (HEIGHT, WIDTH, channels), "classes": 2}
    return {**runs.SECTIONS, "model": {"layers": LAYERS}, "data": {**section, "valid_fraction": 0.0, **data}}


def train(workdir, given, batch_size):
    changes = ("train.epochs=1", "train.batch_size=50", f"eval.batch_size={batch_size}")
    assert runs.train(workdir, *changes, sections=given) == 0


def predicted(workdir, capsys, *words):
    """Returns the exit code and the records that are printed."""
    capsys.readouterr()
    code = runs.start("predict", f"--workdir={workdir}", "--json", *words)
    return code, [json.loads(line) for line in capsys.readouterr().out.splitlines()]


@pytest.mark.parametrize(
    ("loading", "channels", "batch_size"),
    [("memory", 1, 48), ("memory", 3, 1000), ("stream", 1, 1000), ("stream", 3, 48)],
)
@pytest.mark.slow(seconds=4)
def test_the_logits_are_those_of_evaluation_to_the_bit(folder, tmp_path, capsys, loading, channels, batch_size):
    train(tmp_path / "run", sections(folder, channels, loading=loading), batch_size)
    code, records = predicted(tmp_path / "run", capsys, folder / "test")
    assert code == 0
    evaluated = np.load(tmp_path / "run/predictions-test.npz")["logits"]
    found = np.array([record["logits"] for record in records], np.float32)
    assert len(np.unique(found)) > len(MANY) / 4
    assert np.array_equal(found, evaluated)


@pytest.mark.slow(seconds=3)
def test_the_logits_are_those_of_evaluation_to_the_bit_beside_broken_pictures(folder, tmp_path, capsys, monkeypatch):
    shutil.copytree(folder, tmp_path / "pictures")
    for name in ("a/000.png", "b/001.png", "a/100.png"):
        (tmp_path / "pictures/test" / name).write_bytes(b"\x89PNG")
    given = sections(tmp_path / "pictures", 1, on_error="skip")
    assert resolve.resolve(given).data.on_error == "skip"
    sizes, compute = [], evaluate._forward

    def forward(classifier, images, rows, **how):
        sizes.append(len(rows))
        return compute(classifier, images, rows, **how)

    train(tmp_path / "run", given, 1000)
    monkeypatch.setattr(evaluate, "_forward", forward)
    code, records = predicted(tmp_path / "run", capsys, tmp_path / "pictures/test")
    assert code == 2
    assert sizes == [len(records)], "the last bits of larger networks depend on how many are computed together"
    evaluated = np.load(tmp_path / "run/predictions-test.npz")
    assert [row for row, record in enumerate(records) if "logits" in record] == evaluated["index"].tolist()
    found = np.array([record["logits"] for record in records if "logits" in record], np.float32)
    assert np.array_equal(found, evaluated["logits"])
