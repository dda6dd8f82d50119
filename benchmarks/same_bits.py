"""Runs a few steps of many kinds and says whether checkouts of this project compute the same bits.

    python benchmarks/same_bits.py --save=base.json            # before a change
    python benchmarks/same_bits.py --against=base.json         # after it
    python benchmarks/same_bits.py ../old .                    # two checkouts beside each other

A change that only moves or renames code must leave every case `same`. Each case is one or more commands of `main.py`,
as a person types them; nothing is imported from the package, so that old and new layouts run alike. Of every run are
kept its fingerprint (parameters, statistics and optimizer), and the SHA-256 of its metrics, result, evaluations and
predictions; of a sweep also that of its ranking. Clocks, commands and folders are taken out before. What differs is
named, and the exit code is 1, as it is where a command fails. `--only=CASE`, as often as needed, picks cases,
`--keep=FOLDER` keeps what the runs wrote.

It runs on the CPU with two threads and needs no network; it takes four minutes of one core for the first checkout, less
for the next, as equal programs are compiled once. Bits also depend on the kind of processor and on versions: a file of
`--save` says from which it is, and `--against` what is not as it was there.
"""

import argparse
import csv
import hashlib
import importlib.metadata
import io
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

HERE = Path(__file__).resolve().parents[1]
PATIENCE, POLL = 300, 0.005
FAILED = "failed"
INTERRUPTED = 75
# Clocks, and what names a folder, a process or a run of the command rather than what was computed.
NOT_COMPUTED = re.compile(r"(.*_)?(seconds|time|date|started|ended)|command|worker|study|name|engine")
FILES = ("metrics.jsonl", "result.json", "evaluation*.json", "*.npz", "sweep.json", "sweep.csv")


class Command(NamedTuple):
    """One command of `main.py`; in its flags `{folder}` is the case's, `{pictures}` that of the made pictures."""

    flags: tuple[str, ...]
    workdir: str = "run"
    command: str = "train"
    devices: int = 1
    stop: bool = False
    """Sends SIGTERM after the first epoch, and expects that it saves and ends."""


def config(**fields):
    """Returns flags; `train__epochs=2` sets `config.train.epochs`."""
    return tuple(f"--config.{name.replace('__', '.')}={value}" for name, value in fields.items())


SHORT = {"train__epochs": 1, "train__batch_size": 256, "train__log_every_steps": 1, "report__page": "never"}
SMALL = {
    **SHORT,
    "data__image_shape": "(8,8,1)",
    "data__augment": "",
    "model__layers": "conv(4, 3) | relu | flatten | dense(classes)",
}
NORMED = {
    **SMALL,
    "data__augment": "random_crop(1) | flip | erase | rotate(10) | shift(1) | mixup(0.2) | cutmix(1.0)",
    "model__layers": "conv(4, 3) | batch_norm | relu | flatten | dropout(0.2) | dense(classes)",
    "train__average": "ema(0.9)",
    "train__label_smoothing": 0.1,
    "eval__weights": "ema",
}
PARTS = {
    **SMALL,
    "model__layers": "conv(4, 3) | batch_norm | relu | conv(4, 3) | relu | flatten | dropout(0.2) | dense(classes)",
    "train__accumulate_steps": 4,
    "train__remat": "layers",
    "train__clip": "global_norm(0.5)",
    "optimizer__name": "momentum",
}
STREAMED = {
    **SMALL,
    "data__name": "folder",
    "data__data_dir": "{pictures}",
    "data__image_shape": "(12,12,3)",
    "data__classes": 2,
    "data__loading": "stream",
    "data__augment": "flip",
    "train__batch_size": 8,
}
STOPPED = {
    **SMALL,
    "data__augment": "shift(1)",
    "model__layers": "conv(4, 3) | batch_norm | relu | flatten | dropout(0.2) | dense(classes)",
    "train__batch_size": 100,
    "train__epochs": 15,
}
TUNED = {
    **SMALL,
    "init_from": "{folder}/donor",
    "init_layers": "!dense*",
    "train__freeze": "conv*",
    "seed": 1,
}
TRIALS = ("--grid=(optimizer.learning_rate,seed)=(0.001,0),(0.003,1),(0.01,2)",)
ALL = "sgd,momentum,nesterov,rmsprop,adam,adamw,nadam,lamb,lion,muon"
OPTIMIZERS = {**SMALL, "train__batch_size": 400, "model__layers": "flatten | dense(8) | relu | dense(classes)"}

CASES = {
    "digits": (Command(config(**SHORT, model__width=8)),),
    "lenet5": (Command(("--config=lenet5", *config(**SHORT, data__name="digits"))),),
    "batch_norm": (Command(config(**NORMED)),),
    "accumulate": (Command(config(**PARTS)),),
    "streamed": (Command(config(**STREAMED)),),
    "resumed": (Command(config(**STOPPED), stop=True), Command(config(**STOPPED))),
    "map": (Command((*config(**SMALL), *TRIALS, "--sweep.engine=map"), "sweep", "sweep"),),
    "vmap": (Command((*config(**SMALL), *TRIALS, "--sweep.engine=vmap"), "sweep", "sweep"),),
    "frozen": (Command(config(**SMALL), "donor"), Command(config(**TUNED), "tuned")),
    "optimizers": (
        Command((*config(**OPTIMIZERS), f"--grid=optimizer.name={ALL}", "--sweep.engine=map"), "sweep", "sweep"),
    ),
    "two_devices": (Command(config(**NORMED), devices=2),),
}


def make_pictures(folder):
    """Writes 32 PNGs for training and 16 for the test, of two classes: bright and dark noise."""
    random = np.random.default_rng(0)
    for part, number in (("train", 16), ("test", 8)):
        for label, darkest in (("bright", 96), ("dark", 0)):
            place = folder / part / label
            place.mkdir(parents=True)
            for index in range(number):
                pixels = random.integers(darkest, darkest + 160, (12, 12, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(place / f"{index:02d}.png")


def environment(devices, cache):
    """Returns this process's environment without what would change bits; equal programs are compiled once."""
    left = {name: value for name, value in os.environ.items() if not name.startswith(("JAX_", "XLA_", "CNN_"))}
    if devices > 1:
        left["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    return {
        **left,
        "NPROC": "2",
        "JAX_PLATFORMS": "cpu",
        "JAX_COMPILATION_CACHE_DIR": str(cache),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def run(checkout, folder, command, places):
    """Runs a command; returns what went wrong, or nothing."""
    workdir = folder / command.workdir
    flags = [
        flag.replace("{folder}", str(folder)).replace("{pictures}", str(places / "pictures")) for flag in command.flags
    ]
    devices = [f"--devices={command.devices}"] if command.command == "train" else []
    line = [sys.executable, "main.py", command.command, *flags, *devices, f"--workdir={workdir}"]
    with (folder / "output.txt").open("w+") as output:
        environ = environment(command.devices, places / "cache")
        with subprocess.Popen(line, cwd=checkout, env=environ, stdout=output, stderr=output) as process:
            if command.stop:
                stop_after_an_epoch(process, workdir / "metrics.jsonl")
            try:
                code = process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
                return f"{command.command} took more than {PATIENCE} s"
        output.seek(0)
        said = [text.strip() for text in output if text.strip()]
    expected = INTERRUPTED if command.stop else 0
    return "" if code == expected else f"exit code {code}, not {expected}: {said[-1] if said else 'no output'}"


def stop_after_an_epoch(process, metrics):
    ends = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < ends:
        if metrics.exists() and '"valid"' in metrics.read_text():
            process.send_signal(signal.SIGTERM)
            return
        time.sleep(POLL)


def computed(value):
    """Returns a JSON value without the fields that no computation gives."""
    if isinstance(value, dict):
        return {name: computed(each) for name, each in value.items() if not NOT_COMPUTED.fullmatch(name)}
    return [computed(each) for each in value] if isinstance(value, list) else value


def content(path):
    """Returns the bytes to hash."""
    if path.suffix == ".npz":
        return path.read_bytes()
    text = path.read_text()
    if path.suffix == ".jsonl":
        return "\n".join(json.dumps(computed(json.loads(line))) for line in text.splitlines()).encode()
    if path.suffix == ".csv":
        return json.dumps(computed(list(csv.DictReader(io.StringIO(text))))).encode()
    return json.dumps(computed(json.loads(text))).encode()


def outcome(folder):
    """Returns what the runs and sweeps of a folder computed: names such as `run/metrics.jsonl`, and their hashes."""
    found = {}
    for path in sorted({path for pattern in FILES for path in folder.rglob(pattern)}):
        name = str(path.relative_to(folder))
        if "checkpoints" in path.parts:
            continue
        if path.name == "result.json":
            found[f"{path.parent.relative_to(folder)}/fingerprint"] = json.loads(path.read_text())["fingerprint"]
        found[name] = hashlib.sha256(content(path)).hexdigest()
    return found


def case(checkout, folder, commands, places):
    """Runs a case's commands one after another; returns its outcome, or under `failed` why there is none."""
    folder.mkdir(parents=True)
    for command in commands:
        if problem := run(checkout, folder, command, places):
            return {FAILED: problem}
    return outcome(folder)


def differences(a, b):
    """Returns the names of what two outcomes do not share."""
    return sorted(name for name in {*a, *b} if name == FAILED or a.get(name) != b.get(name))


def about():
    """Returns what bits depend on besides the code."""
    processor = platform.machine()
    if (cpus := Path("/proc/cpuinfo")).exists():
        processor = next(
            (line.split(":")[1].strip() for line in cpus.open() if line.startswith("model name")), processor
        )
    versions = {name: importlib.metadata.version(name) for name in ("jax", "jaxlib", "flax", "optax", "numpy")}
    return {"processor": processor, "python": platform.python_version(), **versions}


def show(name, found, seconds):
    print(
        f"{name}   {seconds:.0f} s", *(f"    {item:45} {value}" for item, value in found.items()), sep="\n", flush=True
    )


def judge(name, found, others):
    """Says how a case differs from the others; returns whether it does."""
    differs = FAILED in found
    for label, other in others.items():
        named = differences(other[name], found) if name in other else ["it is not there"]
        print(
            f"{name}: same as {label}" if not named else f"{name}: differs from {label}: {', '.join(named)}", flush=True
        )
        differs |= bool(named)
    return differs


def read(path):
    """Returns what `--save` wrote, after saying what is not as it was there."""
    kept = json.loads(Path(path).read_text())
    for name, value in about().items():
        if kept["about"].get(name) != value:
            print(f"{path} is from another {name}: {kept['about'].get(name)}, here {value}")
    return kept["cases"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkouts", nargs="*", type=Path, default=[HERE], help="folders with a main.py; this one")
    parser.add_argument("--only", action="append", choices=CASES, metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--save", type=Path, metavar="FILE", help="writes what the last checkout gave")
    parser.add_argument("--against", metavar="FILE", help="compares with what --save wrote")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="an empty folder, or a new one, for the runs")
    options = parser.parse_args()
    if options.keep and options.keep.exists() and any(options.keep.iterdir()):
        parser.error(f"--keep: {options.keep} is not empty")
    others = {options.against: read(options.against)} if options.against else {}
    places = options.keep.resolve() if options.keep else Path(tempfile.mkdtemp(prefix="same_bits-"))
    make_pictures(places / "pictures")
    differs, cases = False, {}
    try:
        for number, checkout in enumerate(options.checkouts):
            cases = {}
            print(f"\n{checkout}")
            for name in options.only or CASES:
                started = time.monotonic()
                cases[name] = case(checkout, places / str(number) / name, CASES[name], places)
                show(name, cases[name], time.monotonic() - started)
                differs |= judge(name, cases[name], others)
            others.setdefault(str(checkout), cases)
    finally:
        if not options.keep:
            shutil.rmtree(places)
    if options.save:
        options.save.write_text(json.dumps({"about": about(), "cases": cases}, indent=2) + "\n")
    sys.exit(differs)


if __name__ == "__main__":
    main()
