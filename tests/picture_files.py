"""The same pictures, written as each source wants them."""

import csv
import gzip
import io
import json
import struct
import tarfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from cnn.data.datasets import load
from cnn.data.types import DataError, DataSpec

NAMES = ("cat", "dog", "owl")


def made(counts, seed=0, shape=(8, 8, 1)):
    """Returns noise and labels by split, so many pictures a class, one after another; later classes are brighter."""
    rng = np.random.default_rng(seed)
    splits = {}
    for split, count in counts.items():
        labels = np.repeat(np.arange(len(NAMES)), count)
        images = (rng.integers(0, 96, (len(labels), *shape)) + 70 * labels[:, None, None, None]).astype(np.uint8)
        splits[split] = images, labels
    return splits


def png(image):
    Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image).save(buffer := io.BytesIO(), "PNG")
    return buffer.getvalue()


def named(labels):
    return [(f"{row:04}", NAMES[label]) for row, label in enumerate(labels)]


def write_folder(root, splits):
    for split, (images, labels) in splits.items():
        for image, (key, name) in zip(images, named(labels), strict=True):
            (root / split / name).mkdir(parents=True, exist_ok=True)
            (root / split / name / f"{key}.png").write_bytes(png(image))


def write_table(path, rows, separator=","):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="") as file:
        csv.writer(file, delimiter=separator).writerows(rows)
    return path


def write_csv(root, splits):
    """Writes a list of picture files for each split."""
    for split, (images, labels) in splits.items():
        rows = [("image", "label")]
        for image, (key, name) in zip(images, named(labels), strict=True):
            (root / "pictures").mkdir(parents=True, exist_ok=True)
            (root / "pictures" / f"{split}-{key}.png").write_bytes(png(image))
            rows.append((f"pictures/{split}-{key}.png", name))
        write_table(root / f"{split}.csv", rows)


def write_pixels(root, splits):
    """Writes rows of pixels, as Kaggle's digit recognizer has them."""
    for split, (images, labels) in splits.items():
        flat = images.reshape(len(images), -1)
        header = ("label", *(f"pixel{n}" for n in range(flat.shape[1])))
        write_table(
            root / f"{split}.csv", [header, *([label, *row] for label, row in zip(labels, flat.tolist(), strict=True))]
        )


def table(pictures, labels, names=NAMES, paths=None):
    """Returns an Arrow table as Hugging Face writes it."""
    paths = [f"{row}.png" for row in range(len(labels))] if paths is None else paths
    image = [{"bytes": picture, "path": path} for picture, path in zip(pictures, paths, strict=True)]
    fields = pa.schema([("image", pa.struct([("bytes", pa.binary()), ("path", pa.string())])), ("label", pa.int64())])
    features = {"image": {"_type": "Image"}, "label": {"names": list(names), "_type": "ClassLabel"}}
    metadata = {"huggingface": json.dumps({"info": {"features": features}})} if names else None
    return pa.table({"image": image, "label": list(map(int, labels))}, schema=fields.with_metadata(metadata))


def write_parquet(root, splits, shards=2, group=4):
    root.mkdir(parents=True, exist_ok=True)
    for split, (images, labels) in splits.items():
        whole = table([png(image) for image in images], labels)
        ends = np.linspace(0, len(labels), shards + 1).astype(int)
        for shard in range(shards):
            name = {"valid": "validation"}.get(split, split)
            rows = whole.slice(ends[shard], ends[shard + 1] - ends[shard])
            pq.write_table(rows, root / f"{name}-{shard:05}-of-{shards:05}.parquet", row_group_size=group)


def write_members(path, members, mode="w"):
    """Writes a tar file of names and bytes, or of `TarInfo`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, content in members:
            if isinstance(name, tarfile.TarInfo):
                tar.addfile(name, io.BytesIO(content))
                continue
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def write_tar(root, splits, shards=2):
    for split, (images, labels) in splits.items():
        pairs = list(zip(map(png, images), named(labels), strict=True))
        for shard in range(shards):
            part = pairs[len(pairs) * shard // shards : len(pairs) * (shard + 1) // shards]
            members = [
                member
                for picture, (key, name) in part
                for member in ((f"{key}.png", picture), (f"{key}.cls", name.encode()))
            ]
            write_members(root / f"{split}-{shard:06}.tar", members)


def write_npz(root, splits):
    root.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for split, (images, labels) in splits.items():
        arrays |= {f"x_{split}": images, f"y_{split}": labels}
    np.savez(root / "data.npz", **arrays)


def write_idx(root, splits):
    root.mkdir(parents=True, exist_ok=True)
    for split, (images, labels) in splits.items():
        stem = {"train": "train", "test": "t10k"}[split]
        for kind, array in (("images-idx3", images[..., 0]), ("labels-idx1", labels.astype(np.uint8))):
            header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            (root / f"{stem}-{kind}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes()))


def read(name, file, **changes):
    """Loads what was written."""
    fields = {"image_shape": (8, 8, 1), "classes": len(NAMES), "valid_fraction": 0.0, "file": str(file), **changes}
    return load(DataSpec(name=name, **fields))


def shades(split):
    """Returns the first number of each picture."""
    return np.asarray(split.images[np.arange(len(split))])[:, 0, 0, 0].tolist()


def refusal(read, file, **changes):
    """Returns the one line by which a file is refused."""
    with pytest.raises(DataError) as caught:
        read(file, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)
