"""Reads a folder of pictures batch by batch by PyTorch's DataLoader and Pillow, as people write it."""

from pathlib import Path

import numpy as np
import torch
import worker
from PIL import Image
from torch.utils.data import DataLoader, Dataset


class Pictures(Dataset):
    def __init__(self, paths, size):
        self.paths, self.size = paths, size

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        with Image.open(self.paths[index]) as image:
            resized = image.convert("RGB").resize((self.size, self.size), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.array(resized))


def build(spec):
    pictures = Pictures(sorted(Path(spec["folder"], "train").rglob("*.jpg")), spec["size"])
    workers = spec["threads"]
    loader = DataLoader(pictures, spec["batch_size"], num_workers=workers, persistent_workers=True)

    def once():
        assert sum(len(batch) for batch in loader) == len(pictures)

    return {"train": lambda count: [once() for _ in range(count)]}


if __name__ == "__main__":
    worker.serve(build)
