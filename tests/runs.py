"""A tiny experiment on real digits, and ways to start it, for the tests that run one."""

import json
import struct
from pathlib import Path

import jax
import numpy as np
from tensorboardX.proto.event_pb2 import Event

from cnn.cli import launch, parser
from cnn.config import config, resolve
from cnn.train import checkpointer

SECTIONS = {
    "seed": 0,
    "model": {"layers": "flatten | dense(classes) | softmax"},
    "data": {"name": "digits", "image_shape": (8, 8, 1), "classes": 10},
    "optimizer": {"name": "adam", "learning_rate": 0.01},
    "train": {"epochs": 3, "batch_size": 100, "log_every_steps": 5},
    "checkpoint": {"every": "epochs(1)"},
    "report": {"page": "never"},
}
STEPS_PER_EPOCH = 12
EXAMPLES = {"train": 1293, "valid": 145, "test": 359}


def tiny(*overrides):
    """Returns the checked values; an override is written as after `--config.`."""
    return resolve.resolve(SECTIONS, [config.Override(*text.split("=", 1)) for text in overrides])


def stopped_and_resumed(folder, fault, *overrides):
    """Returns a run that nothing interrupted, and one that was told to stop within an epoch and then went on."""
    straight, resumed = folder / "straight", folder / "resumed"
    assert train(straight, *overrides) == 0
    fault("step:term:17")
    assert train(resumed, *overrides) == launch.PREEMPTED
    fault("")
    assert train(resumed, *overrides) == 0
    return straight, resumed


def start(*arguments, sections=SECTIONS):
    """Returns the exit code of a command line, run in this process with the tiny config as its file."""
    invocation = parser.parse([str(argument) for argument in arguments])
    invocation.sections = sections
    return launch.launch(invocation)


def train(workdir, *overrides, sections=SECTIONS):
    return start("train", f"--workdir={workdir}", *(f"--config.{text}" for text in overrides), sections=sections)


def saved(workdir, name):
    return json.loads((Path(workdir) / name).read_text())


def records(workdir, kind=None):
    """Returns the records of `metrics.jsonl`, refusing what is no JSON, such as NaN."""

    def refuse(constant):
        raise ValueError(f"{constant} is no JSON")

    lines = (Path(workdir) / "metrics.jsonl").read_text().splitlines()
    parsed = [json.loads(line, parse_constant=refuse) for line in lines]
    return [record for record in parsed if kind in (None, record["kind"])]


def steps(workdir):
    return sorted(int(entry.name) for entry in (Path(workdir) / "checkpoints").iterdir() if entry.name.isdigit())


def final(values, workdir, weights="last"):
    """Returns what must be equal where two runs are: the metrics' bytes and those of every variable."""
    step, classifier = checkpointer.restore_classifier(values, Path(workdir), weights)
    arrays = [np.asarray(array).tobytes() for array in jax.tree.leaves(classifier.variables)]
    return step, (Path(workdir) / "metrics.jsonl").read_bytes(), arrays


def outcome(workdir):
    """Returns what must be equal where two finished runs are: the state's fingerprint and the metrics' bytes."""
    return saved(workdir, "result.json")["fingerprint"], (Path(workdir) / "metrics.jsonl").read_bytes()


def scalars(workdir):
    """Returns {(run, tag, step): [values]} and {run: purged steps} of what TensorBoard takes for runs, here folders."""
    found, purged = {}, {}
    for run, event in written(workdir):
        if event.HasField("session_log"):
            purged.setdefault(run, []).append(event.step)
            # As TensorBoard does: what was recorded from that step on is shown no more.
            found = {key: shown for key, shown in found.items() if key[0] != run or key[2] < event.step}
        for value in event.summary.value:
            if value.HasField("simple_value"):
                found.setdefault((run, value.tag, event.step), []).append(value.simple_value)
    return found, purged


def written(workdir):
    """Yields the folder, "." at the top, and the event of each that a run's TensorBoard files hold whole."""
    top = Path(workdir) / "tensorboard"
    for path in sorted(path for path in top.rglob("*") if path.is_file()):
        content = path.read_bytes()
        while len(content) >= 16:
            (length,) = struct.unpack("<Q", content[:8])
            if len(content) < 16 + length:  # not written whole by a process that was killed
                break
            yield str(path.parent.relative_to(top)), Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]


def flip(path, rng):
    """Flips one bit of a step's files, each of their bytes being as likely; returns how to undo it."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    offset = rng.randrange(sum(file.stat().st_size for file in files))
    for file in files:
        if offset < file.stat().st_size:
            break
        offset -= file.stat().st_size
    before = file.read_bytes()
    spoilt = bytearray(before)
    spoilt[offset] ^= 1 << rng.randrange(8)
    file.write_bytes(spoilt)
    return lambda: file.write_bytes(before)
