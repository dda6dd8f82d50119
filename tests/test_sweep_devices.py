"""Trials spread over eight devices: no collectives in the program, the same numbers as on one."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import runs
import sweeps

pytestmark = pytest.mark.compiled

REPOSITORY = Path(__file__).resolve().parents[1]
COLLECTIVES = ("all-reduce", "all-gather", "all-to-all", "collective-permute", "reduce-scatter", "collective-broadcast")
SCRIPT = """
import json, sys
import numpy as np
sys.path[:0] = ["tests", "."]
import runs, sweeps
from cnn.train.state import create_train_state, make_step_config
from cnn.sweep import programs, vmapped

values = runs.tiny("model.layers=conv(2, 3) | relu | max_pool(2) | flatten | dense(classes)")
images = programs.images(programs.Datasets().of(values), values)
step_config, devices = make_step_config(values, 36, 12), vmapped.mesh()
states = vmapped.stack([create_train_state(values)] * 16, devices)
rows = np.zeros((16, 100), np.int32)
step = {"step_config": step_config, "devices": devices, "shared": False}
texts = [
    vmapped.run_step.lower(states, images, rows, **step).compile().as_text(),
    vmapped.run_scan.lower(states, images, np.zeros((3, 16, 100), np.int32), **step).compile().as_text(),
]
assert sweeps.sweep(sys.argv[1], sys.argv[2], "sweep.engine=vmap", "config.train.epochs=1") == 0
print(json.dumps({"devices": devices.devices.size, "texts": texts}))
"""


@pytest.mark.thorough
@pytest.mark.slow
def test_the_trial_axis_is_spread_over_the_devices_without_a_collective(tmp_path):
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=8", "NPROC": "2"}
    space = f"{sweeps.RATES};seed=0,1,2,3"
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "eight"), space],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["devices"] == 8
    for text in found["texts"]:
        assert "num_partitions=8" in text
        assert not [name for name in COLLECTIVES if name in text]
    record = sweeps.record(tmp_path / "eight")
    assert record["engine"]["lanes"] == 8
    assert record["counts"] == {"finished": 8}
    assert sweeps.sweep(tmp_path / "one", space, "sweep.engine=map", "config.train.epochs=1") == 0
    for row in record["trials"]:
        losses = sweeps.losses(tmp_path / "one" / row["folder"])
        assert sweeps.losses(tmp_path / "eight" / row["folder"]) == pytest.approx(losses, rel=1e-4)
    assert runs.start("eval", f"--workdir={tmp_path / 'eight' / 'trials' / '0005'}") == 0
