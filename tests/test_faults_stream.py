"""Streamed runs that are killed and stopped, on real data too, and how much memory a stream takes."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import processes
from processes import Running, events, flags, outcome, start

pytestmark = pytest.mark.slow(seconds=4)
NEEDS_DATA = pytest.mark.skipif("TFDS_DATA_DIR" not in os.environ, reason="TFDS_DATA_DIR names no prepared data")
KILLED, INTERRUPTED = -9, 75
FASHION = {
    "data__name": "fashion_mnist",
    "data__image_shape": "(28,28,1)",
    "data__augment": "shift(2)",
    "train__batch_size": "500",
    "train__epochs": "1",
    "train__log_every_steps": "20",
    "checkpoint__every": "steps(30)",
}
"""108 steps."""


def streamed(workers, **changes):
    return flags(**changes, data__loading="stream", data__workers=workers)


def test_a_killed_and_stopped_stream_ends_with_the_bytes_of_a_run_in_memory(tmp_path, record_property):
    same = processes.straight(tmp_path, *flags())
    record_property("kills", 2)
    workdir = tmp_path / "run"
    for workers, fault, code in (
        (4, "step:kill:9", KILLED),
        (1, "step:term:4", INTERRUPTED),
        (4, "step:kill:6", KILLED),
    ):
        assert start(*streamed(workers), f"--workdir={workdir}", fault=fault).code == code
    assert start(*streamed(0), f"--workdir={workdir}").code == 0
    assert outcome(workdir) == same
    assert events(workdir) == ["start", "resume", "preempted", "resume", "resume", "end"]


def test_a_stream_has_no_processes_of_its_own_that_could_be_left_behind(tmp_path):
    with Running(*streamed(4), f"--workdir={tmp_path / 'run'}", fault="step:stop:5") as running:
        running.wait_until_stopped()
        tasks = list(Path(f"/proc/{running.pid}/task").iterdir())
        assert not any((task / "children").read_text() for task in tasks)
        running.process.send_signal(signal.SIGTERM)
        running.go_on()
        assert running.wait().code == INTERRUPTED


@NEEDS_DATA
def test_fashion_mnist_streams_with_the_bytes_of_memory(tmp_path, record_property):
    same = processes.straight(tmp_path, *flags(**FASHION))
    record_property("kills", 1)
    workdir = tmp_path / "run"
    assert start(*streamed(1, **FASHION), f"--workdir={workdir}", fault="step:kill:50").code == KILLED
    done = start(*streamed(4, **FASHION), f"--workdir={workdir}")
    assert done.code == 0, done.err
    assert outcome(workdir) == same
    evaluations = [folder / "evaluation-test.json" for folder in (workdir, tmp_path / "straight")]
    assert evaluations[0].read_bytes() == evaluations[1].read_bytes()


# The peak of a process that only streams, without JAX's own memory.
STREAM = """
import resource, sys
import numpy as np
from cnn.data.datasets import load
from cnn.data.loader import Prefetcher
from cnn.data.types import DataSpec
fields = dict(name="folder", data_dir=sys.argv[1], manual_dir="", image_shape=(128, 128, 3), classes=1, resize="exact",
              valid_fraction=0.0, train_on="train")
split = load(DataSpec(**fields, loading="stream")).train
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
read = lambda step: split.images[np.arange(50 * step, 50 * step + 50)]
peaks = []
for number, images in enumerate(Prefetcher(read, len(split) // 50, workers=4)):
    assert images.shape == (50, 128, 128, 3)
    if number in (19, 79):
        peaks.append(peak())
print(*peaks, len(split) * 128 * 128 * 3 // 1024)
"""


def test_memory_stays_flat_over_an_epoch(tmp_path):
    for part, count in (("train", 4000), ("test", 1)):
        folder = tmp_path / part / "noise"
        folder.mkdir(parents=True)
        header = b"BM" + (54 + 128 * 128 * 3).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
        header += (40).to_bytes(4, "little") + (128).to_bytes(4, "little") * 2 + b"\x01\x00\x18\x00" + bytes(24)
        (folder / "0.bmp").write_bytes(header + bytes(range(256)) * (128 * 3 // 2))
        for number in range(1, count):
            os.link(folder / "0.bmp", folder / f"{number}.bmp")
    command = [sys.executable, "-c", STREAM, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=processes.MAIN.parent)
    first, last, whole = map(int, done.stdout.split())
    assert whole > 190_000, "kilobytes, if all were in memory"
    assert last - first < 30_000
