"""Streams a generated data set that is larger than what a run may take, and prints its memory and how long it waited.

    python benchmarks/streaming.py                      4 GB of ArrayRecord, 28x28x1, the lesson's network, 90 s
    python benchmarks/streaming.py --gigabytes=0.3 --seconds=20 --workers=0,4

The pictures are noise, so that nothing can be compressed, stored as TFDS stores MNIST: a PNG and a class a record.
Memory is the resident set of the process and of any it started, read ten times a second: "start" is the first reading
after training began (data listed, labels read, network compiled), "peak" the largest after it. Waiting is what the run
itself records in `events.jsonl`. For comparison a data set of a hundredth of the size is trained from memory.
"""

import argparse
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from array_record.python.array_record_module import ArrayRecordWriter
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
SHARD_RECORDS = 200_000
POOL = 2_000
"""So many different pictures, over and over, each time in a record of its own."""


def records(shape):
    """Returns serialised examples of different noise."""
    from tensorflow_datasets.proto import tf_example_pb2 as protos

    random = np.random.default_rng(0)
    made = []
    for number in range(POOL):
        noise = random.integers(0, 256, shape, dtype=np.uint8)
        Image.fromarray(noise[..., 0] if shape[2] == 1 else noise).save(buffer := io.BytesIO(), format="PNG")
        example = protos.Example()
        example.features.feature["image"].bytes_list.value.append(buffer.getvalue())
        example.features.feature["label"].int64_list.value.append(number % 10)
        made.append(example.SerializeToString())
    return made


def generate(folder, gigabytes, shape):
    """Writes a data set as TFDS lays it out; returns the number of training pictures."""
    made = records(shape)
    size = sum(map(len, made)) / len(made)
    counts = {"train": max(20_000, int(gigabytes * 1e9 / size)), "test": 1_000}
    home = folder / "noise" / "1.0.0"
    home.mkdir(parents=True)
    splits = []
    for part, count in counts.items():
        lengths = [min(SHARD_RECORDS, count - start) for start in range(0, count, SHARD_RECORDS)]
        for shard, length in enumerate(lengths):
            path = home / f"noise-{part}.array_record-{shard:05}-of-{len(lengths):05}"
            writer = ArrayRecordWriter(str(path), "group_size:1")
            for number in range(length):
                writer.write(made[(number * 7919 + shard) % POOL])
            writer.close()
        template = "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}"
        splits.append({"name": part, "shardLengths": [str(n) for n in lengths], "filepathTemplate": template})
    write_info(home, splits, shape)
    return counts["train"]


def write_info(home, splits, shape):
    info = {
        "fileFormat": "array_record",
        "moduleName": "noise",
        "name": "noise",
        "releaseNotes": {},
        "splits": splits,
        "supervisedKeys": {"tuple": {"items": [{"featureKey": "image"}, {"featureKey": "label"}]}},
        "version": "1.0.0",
    }
    (home / "dataset_info.json").write_text(json.dumps(info))
    package = "tensorflow_datasets.core.features"
    image = {"shape": {"dimensions": [str(n) for n in shape]}, "dtype": "uint8", "encodingFormat": "png"}
    features = {
        "pythonClassName": f"{package}.features_dict.FeaturesDict",
        "featuresDict": {
            "features": {
                "image": {"pythonClassName": f"{package}.image_feature.Image", "image": image},
                "label": {
                    "pythonClassName": f"{package}.class_label_feature.ClassLabel",
                    "classLabel": {"numClasses": "10"},
                },
            }
        },
    }
    (home / "features.json").write_text(json.dumps(features))


def resident(pid):
    """Returns the megabytes of a process and all that it started."""
    total = 0
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # a thread or a process may end meanwhile
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                total += int(line.split()[1]) / 1024
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                total += sum(resident(child) for child in (task / "children").read_text().split())
    return total


def measure(folder, shape, *flags, seconds):
    """Trains for so long; returns seconds to the start, memory then and at most, images/s, the share of waiting."""
    workdir = Path(tempfile.mkdtemp(dir=folder)) / "run"
    command = [
        *(sys.executable, str(ROOT / "main.py"), f"--config={ROOT / 'configs/fashion_mnist.py'}"),
        *(f"--workdir={workdir}", "--config.data.name=noise", f"--config.data.data_dir={folder}"),
        *(f"--config.data.image_shape={shape}", "--config.train.epochs=1000", "--config.train.batch_size=128"),
        *flags,
    ]
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    metrics, started, memory = workdir / "metrics.jsonl", None, []
    try:
        while process.poll() is None and (started is None or time.monotonic() - started < seconds):
            if started is None and metrics.exists() and metrics.stat().st_size:
                started = time.monotonic()
            if started is not None:
                memory.append(resident(process.pid))
            time.sleep(0.1)
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate()
    if not memory:
        raise SystemExit(said)
    events = [json.loads(line) for line in (workdir / "events.jsonl").read_text().splitlines()]
    speed = 128 * (events[-1]["step"] - 100) / (time.monotonic() - started)
    return started - began, memory[0], max(memory), speed, events[-1]["waiting"]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--gigabytes", type=float, default=4, help="of records")
    parser.add_argument("--shape", default="28,28,1", help="height, width, channels of the pictures")
    parser.add_argument("--seconds", type=float, default=90, help="how long each run trains")
    parser.add_argument("--workers", default="4", help="numbers of threads, each a run")
    parser.add_argument("--folder", help="where the data go; a folder for temporary files by default")
    options = parser.parse_args()
    shape = tuple(map(int, options.shape.split(",")))
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        folder = Path(scratch)
        (folder / "small").mkdir()
        generate(folder / "small", options.gigabytes / 100, shape)
        began = time.monotonic()
        count = generate(folder, options.gigabytes, shape)
        stored = sum(path.stat().st_size for path in (folder / "noise").rglob("*") if path.is_file())
        took = time.monotonic() - began
        print(f"{count:,} pictures, {stored / 1e9:.2f} GB, written in {took:.0f} s; {os.cpu_count()} cores")
        print("                     first record   start   peak   beyond   images/s   waiting")
        runs = [("memory, a hundredth", folder / "small", ["--config.data.loading=memory"])]
        for workers in options.workers.split(","):
            flags = ["--config.data.loading=stream", f"--config.data.workers={workers}"]
            runs.append((f"stream, {workers} workers", folder, flags))
        for name, where, flags in runs:
            first, start, peak, speed, waiting = measure(where, shape, *flags, seconds=options.seconds)
            numbers = (
                f"{first:10.0f} s {start:5,.0f} MB {peak:4,.0f} MB {peak - start:5,.0f} MB {speed:8,.0f} {waiting:9.2%}"
            )
            print(f"{name:21}{numbers}", flush=True)


if __name__ == "__main__":
    main()
