"""The files of a run that nobody trained, for the tests of its page."""

import io
import json

import numpy as np

from cnn import metrics
from cnn.config import resolve
from cnn.metrics import most_confused
from cnn.runs import run_dir

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    '"><svg/onload=alert(1)>',
    "' onmouseover=alert(1) x='",
    "{{7*7}}",
    "${1}",
    "javascript:alert(1)",
    "__proto__",
    "constructor",
    "a\u2028b",
    "\u202egnp.exe",
    "a\0b",
    "\x1b]0;x\x07",
    "[red]x[/]",
    "\ud800",
    "",
    "a\nb",
    "x" * 10_000,
    "👩‍👩‍👧",
    "שלום",
    "=cmd()",
    "twice",
    "twice",
]
NETWORK = "conv(4, 3) | relu | max_pool(2) | flatten | dense(classes) | softmax"


def make(
    folder,
    *,
    names="abc",
    shape=(8, 8, 1),
    layers=NETWORK,
    epochs=3,
    examples=40,
    wrong=0.2,
    result="finished",
    bad_step=None,
    seed=0,
):
    """Writes a run's files into the folder and returns it; `epochs=0` leaves no record, `examples=0` no evaluation."""
    rng = np.random.default_rng(seed)
    sections = {
        "model": {"layers": layers},
        "data": {"name": "digits", "image_shape": shape, "classes": len(names)},
        "optimizer": {"name": "adam", "learning_rate": 0.01},
        "train": {"epochs": max(1, epochs)},
    }
    values = resolve.resolve(sections)
    folder.mkdir(parents=True, exist_ok=True)
    run_dir.write(folder / run_dir.CONFIG, values.json.encode())
    data = {"identity": "0" * 64, "classes": list(names), "examples": {"train": 50, "valid": 10, "test": examples}}
    about = {"argv": ["main.py", "--config.seed=0"], "devices": ["cpu"], "backend": "cpu", "data": data}
    run_dir.write_json(folder / run_dir.RUN, about)
    steps = _records(folder, epochs, rng)
    if examples:
        _evaluation(folder, names, shape, examples, wrong, rng)
        _first_layer(folder, shape[2], rng)
    if result:
        record = {"status": result, "step": steps, "stopped": None, "train_seconds": 7.25, "fingerprint": "f" * 32}
        run_dir.write_json(folder / run_dir.RESULT, record | ({"bad_step": bad_step} if result == "diverged" else {}))
    return folder


def _records(folder, epochs, rng):
    lines = []
    for epoch in range(1, epochs + 1):
        step = 10 * epoch
        for at in (step - 5, step):
            numbers = {"loss": 2 / at + rng.random() / 10, "accuracy": 1 - 1 / at, "grad_norm": 1.0}
            lines.append({"kind": "train", "step": at, "epoch": epoch, **numbers, "learning_rate": 0.01 / epoch})
        means = {"loss": 2 / step, "accuracy": 1 - 1 / step}
        lines.append({"kind": "epoch", "step": step, "epoch": epoch, "train": means, "valid": means})
    (folder / run_dir.METRICS).write_text("".join(json.dumps(line) + "\n" for line in lines))
    event = {"time": "2026-01-01T00:00:00.000+00:00", "event": "end", "step": 10 * epochs, "images_per_second": 100.5}
    (folder / run_dir.EVENTS).write_text(json.dumps(event) + "\n")
    return 10 * epochs


def _evaluation(folder, names, shape, examples, wrong, rng):
    labels = rng.integers(0, max(1, len(names) - (len(names) > 2)), examples)  # the last class never occurs
    logits = rng.normal(size=(examples, len(names))).astype(np.float32)
    seen = np.where(rng.random(examples) < wrong, (labels + 1) % len(names), labels)
    logits[np.arange(examples), seen] += 6
    images = rng.integers(0, 256, (examples, *shape), dtype=np.uint8)
    evaluation = metrics.evaluate(logits, labels, class_names=list(names)).to_json()
    run_dir.write_json(
        folder / run_dir.evaluation("test"), {"split": "test", "weights": "last", "step": 1, **evaluation}
    )
    rows = most_confused(logits, labels)
    _arrays(folder / run_dir.predictions("test"), index=np.arange(examples), label=labels, logits=logits)
    _arrays(folder / run_dir.confused("test"), index=rows, images=images[rows])


def _first_layer(folder, channels, rng):
    kernel = rng.normal(size=(3, 3, channels, 4)).astype(np.float32)
    kernel[..., 0] = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])[..., None]  # a vertical line
    share = np.array([0.5, 0.9989, 0.999, 1.0])
    arrays = {"kernel": kernel, "bias": np.zeros(4, np.float32), "zero_share": share, "images": 40}
    _arrays(folder / run_dir.FIRST_LAYER, **arrays, names=["conv1", "relu1"])


def _arrays(path, **arrays):
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)
    path.write_bytes(stream.getvalue())
