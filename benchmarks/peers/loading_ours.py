"""Reads a folder of pictures batch by batch, as a run that streams does."""

import numpy as np
import worker

from cnn.data.datasets import load
from cnn.data.loader import Prefetcher
from cnn.data.types import DataSpec


def build(spec):
    size, threads = spec["size"], spec["threads"]
    how = {"image_shape": (size, size, 3), "classes": 1, "valid_fraction": 0.0, "loading": "stream"}
    how |= {"resize": "bilinear", "decode": spec["decode"]}
    images = load(DataSpec(name="folder", data_dir=spec["folder"], **how)).train.images
    batches = np.array_split(np.arange(len(images)), -(-len(images) // spec["batch_size"]))

    def once():
        reader = Prefetcher(lambda number: images[batches[number]], len(batches), workers=threads)
        read = sum(len(batch) for batch in reader)
        reader.close()
        assert read == len(images)

    return {"train": lambda count: [once() for _ in range(count)]}


if __name__ == "__main__":
    worker.serve(build)
