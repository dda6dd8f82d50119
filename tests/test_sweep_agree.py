"""The first fifty steps of a small convolutional network on the digits: every engine agrees with the single run."""

import json

import numpy as np
import pytest
from PIL import Image

import runs
import sweeps
from cnn.config import config, resolve
from cnn.train import experiment

pytestmark = pytest.mark.compiled

LAYERS = """
    conv(8, 3) | relu | max_pool(2) | conv(8, 3) | relu | max_pool(2) |
    flatten | dense(32) | relu | dense(classes) | softmax
"""

SECTIONS = {
    "seed": 0,
    "model": {"layers": LAYERS},
    "data": {"name": "digits", "image_shape": (28, 28, 1), "classes": 10, "resize": "bilinear", "augment": "shift(2)"},
    "optimizer": {"name": "adam", "learning_rate": 1e-3},
    "schedule": {"name": "cosine"},
    "train": {"batch_size": 25, "epochs": 1, "log_every_steps": 1},
    "eval": {"test": False},
}
SPACE = "(optimizer.learning_rate,seed)=(0.0003,0),(0.003,1)"


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """The losses and the result of each trial, run alone."""
    found = []
    for number, typed in enumerate(({"learning_rate": "0.0003", "seed": "0"}, {"learning_rate": "0.003", "seed": "1"})):
        folder = tmp_path_factory.mktemp("single") / str(number)
        rate = config.Override("optimizer.learning_rate", typed["learning_rate"])
        experiment.run(resolve.resolve(SECTIONS, [rate, config.Override("seed", typed["seed"])]), folder)
        found.append((sweeps.losses(folder), runs.saved(folder, "result.json")))
    return found


@pytest.mark.thorough(1)
@pytest.mark.slow(seconds=60)
@pytest.mark.parametrize("engine", ["map", "vmap"])
def test_a_trial_agrees_with_the_single_run_over_fifty_steps_and_every_command_works_on_it(tmp_path, single, engine):
    base = tmp_path / "base.py"
    base.write_text(
        "from ml_collections import ConfigDict\n\n\ndef get_config() -> ConfigDict:\n"
        f"    return ConfigDict({json.loads(json.dumps(SECTIONS))!r})\n"
    )
    typed = (f"config={base}", f"sweep.engine={engine}", "sweep.lanes=2")
    assert sweeps.sweep(tmp_path / "s", SPACE, *typed, sections=SECTIONS) == 0
    about = sweeps.record(tmp_path / "s")["engine"]["time"]
    assert 0 < about["steps"] < about["seconds"]
    assert about["other"] == pytest.approx(1 - about["steps"] / about["seconds"])
    for row, (expected, result) in zip(sweeps.record(tmp_path / "s")["trials"], single, strict=True):
        found = sweeps.losses(tmp_path / "s" / row["folder"])
        assert len(expected) == 51
        assert (found == expected) or engine != "map"
        # A picture more or less of 145 may lie on the edge.
        assert row["value"] == pytest.approx(result["valid"]["accuracy"], abs=1.5 / 145)
        # Another order of the sums changes the seventh digit of a step, and each step passes on what came before.
        assert found == pytest.approx(expected, rel=2e-3)
        assert found[:5] == pytest.approx(expected[:5], rel=1e-5)
    workdir = tmp_path / "s" / "trials" / "0001"
    assert runs.start("eval", f"--workdir={workdir}", "--split=test") == 0
    if engine == "vmap":
        _every_command_works(workdir, tmp_path / "picture.png")


def _every_command_works(workdir, picture):
    pixels = np.random.default_rng(0).integers(0, 255, (28, 28), np.uint8)
    Image.fromarray(pixels).save(picture)
    assert runs.start("predict", f"--workdir={workdir}", str(picture)) == 0
    assert runs.start("explain", f"--workdir={workdir}", "--images=1", "--choose=classes", "--split=valid") == 0
    assert runs.start("report", f"--workdir={workdir}") == 0
    assert {"evaluation-test.json", "journey.npz", "report.html"} <= {path.name for path in workdir.iterdir()}
