"""Measures what helps a rare class: three handwritten digits, one a tenth as frequent as each of the others.

    python benchmarks/imbalance.py --seeds=5

A network that knows seven of scikit-learn's digits learns the other three, 3, 8 and 9, from noisy pictures in a folder
with `train/`, `valid/` and `test/`: 100 of each in train, but of the 8, 10. Reported are, over the seeds, the recall of
that rare class and the balanced accuracy on the test split, where all three are equally frequent, for training as it
is, with `train.class_weights = "balanced"` and with `data.balance = "classes"`.
"""

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from cnn.config import resolve
from cnn.train import experiment

KNOWN, NEW, RARE = (0, 1, 2, 4, 5, 6, 7), (3, 8, 9), 8
COUNTS = {"train": 100, "valid": 20, "test": 50}
FEW = 10
NOISE = 60
"""The standard deviation of what is added to every pixel, of 255."""
WAYS = {
    "none": {},
    'train.class_weights = "balanced"': {"train": {"class_weights": "balanced"}},
    'data.balance = "classes"': {"data": {"balance": "classes"}},
}
LAYERS = "conv(16, 3) | relu | max_pool(2) | conv(32, 3) | relu | flatten | dense(classes)"


def write(folder, classes, few=()):
    """Writes noisy pictures of digits as train, valid and test; of `few` classes a tenth of train."""
    bunch, random = load_digits(), np.random.default_rng(0)
    for label in classes:
        images = iter(bunch.images[bunch.target == label] * 255 / 16)
        for part, count in COUNTS.items():
            path = folder / part / str(label)
            path.mkdir(parents=True)
            for number in range(FEW if label in few and part == "train" else count):
                noisy = next(images) + random.normal(0, NOISE, (8, 8))
                Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(path / f"{number:03}.png")
    return folder


def sections(folder, classes, epochs, **changes):
    """Returns the config of a run on a folder."""
    data = {"name": "folder", "data_dir": str(folder), "image_shape": (8, 8, 1), "classes": len(classes)}
    found = {
        "model": {"layers": LAYERS},
        "data": data,
        "optimizer": {"name": "adam", "learning_rate": 0.001},
        "train": {"epochs": epochs, "batch_size": 20},
        "eval": {"metrics": "balanced_accuracy"},
        "report": {"page": "never"},
    }
    return {
        **found,
        **{name: {**found.get(name, {}), **more} for name, more in changes.items() if isinstance(more, dict)},
    }


def measure(workdir, seeds, epochs):
    """Returns, by way and for each seed, the recall of the rare class and the balanced accuracy."""
    known = resolve.resolve(sections(write(workdir / "known", KNOWN), KNOWN, 5))
    experiment.run(known, workdir / "donor")
    folder, found = write(workdir / "new", NEW, few=(RARE,)), {way: [] for way in WAYS}
    for seed in range(seeds):
        for number, (way, changes) in enumerate(WAYS.items()):
            start = {"init_from": str(workdir / "donor"), "init_layers": "conv*", "seed": seed}
            values = resolve.resolve({**sections(folder, NEW, epochs, **changes), **start})
            run = workdir / f"{number}-{seed}"
            experiment.run(values, run)
            evaluation = json.loads((run / "evaluation-test.json").read_text())
            recall = next(entry["recall"] for entry in evaluation["classes"] if entry["name"] == str(RARE))
            found[way].append((recall, evaluation["metrics"]["balanced_accuracy"]))
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), options.seeds, options.epochs)
    print(f"| {'':32} | recall of the rare class | balanced accuracy |\n|---|---|---|")
    for way, pairs in found.items():
        cells = [f"{statistics.mean(each):.3f} +- {statistics.stdev(each):.3f}" for each in zip(*pairs, strict=True)]
        print(f"| {way:32} | {cells[0]:24} | {cells[1]:17} |")


if __name__ == "__main__":
    main()
