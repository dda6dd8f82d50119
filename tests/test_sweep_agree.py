"""The first fifty steps of a small convolutional network on the digits: every engine agrees with the solo run."""

import json

import pytest

import sweeps
from cnn import config, experiment

LAYERS = """
    conv(8, 3) | relu | max_pool(2) | conv(8, 3) | relu | max_pool(2) |
    flatten | dense(32) | relu | dense(classes) | softmax
"""

SECTIONS = {
    "seed": 0,
    "model": {"layers": LAYERS},
    "data": {"name": "digits", "image_shape": (28, 28, 1), "classes": 10, "fit": "bilinear", "augment": "shift(2)"},
    "optimizer": {"name": "adam", "learning_rate": 1e-3},
    "schedule": {"name": "cosine"},
    "train": {"batch_size": 25, "epochs": 1, "log_every_steps": 1},
    "eval": {"test": False},
}
SPACE = "optimizer.learning_rate=0.0003,0.003;seed=0,1"


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["map", "vmap", "process"])
def test_a_trial_agrees_with_the_solo_run_over_fifty_steps(tmp_path, engine):
    base = tmp_path / "base.py"
    base.write_text(
        "from ml_collections import ConfigDict\n\n\ndef get_config() -> ConfigDict:\n"
        f"    return ConfigDict({json.loads(json.dumps(SECTIONS))!r})\n"
    )
    typed = (f"config={base}", f"sweep.engine={engine}", "sweep.lanes=4")
    assert sweeps.sweep(tmp_path / "s", SPACE, *typed, sections=SECTIONS) == 0
    for row in sweeps.record(tmp_path / "s")["trials"][1::2]:
        given = [config.Override(path, repr(value)) for path, value in row["fields"].items()]
        solo = tmp_path / f"solo-{row['number']}"
        experiment.run(config.resolve(SECTIONS, given), solo)
        expected, found = sweeps.losses(solo), sweeps.losses(tmp_path / "s" / row["folder"])
        assert len(expected) == 51
        # Another order of the sums changes the seventh digit of a step, and each step passes on what came before.
        assert found == pytest.approx(expected, rel=2e-3)
        assert found[:5] == pytest.approx(expected[:5], rel=1e-5)
