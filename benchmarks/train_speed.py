"""Trains the same network with this project and with what people would pick instead, in turns, and prints the ratios.

    python benchmarks/train_speed.py --quick          the lesson's network, batch 128, under 4 minutes
    python benchmarks/train_speed.py                  all networks and batch sizes, about half an hour

Same network, data, batch, optimizer and number of threads for everyone; each competitor is a process of its own that
waits while another one runs. The peers live in virtual environments of their own, `.peers/` by default, which are made
on first use. Ratios are taken round by round, and their spread is that over the rounds: absolute numbers drift with the
machine. "As they come" leaves the allocator as it is, but that ours has huge pages where `main.py` would start itself
with them; "huge pages" gives every process the settings that help the peers most.

Where the CPU has units for bfloat16 (AMX or AVX512-BF16), all that can compute in it do so as well, each as its guide
says: ours with `train.compute_dtype=bfloat16`, Keras with the policy `mixed_bfloat16`, PyTorch under `autocast`. "Best
against best" is ours in whichever type is faster for us over the fastest peer in whichever is faster for it.
"""

import argparse
import json
import math
import os
import re
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks" / "peers")]

import peer_networks

from cnn.config import resolve
from cnn.config.config import Override
from cnn.system import environment
from cnn.system import huge_pages as pages
from cnn.train import memory_estimate

CONFIGS = {
    "lesson": "fashion_mnist",
    "lenet5": "lenet5",
    "cifar10": "cifar10",
    "resnet18": "resnet18",
    "mobilenet": "mobilenet",
}
EXAMPLES = 2**28
"""The most bytes of the random images; of pictures of 28x28 there are 10,000."""
PACKAGES = {"keras": ["tensorflow-cpu", "keras"], "torch": ["torch==2.13.0", "numpy"]}
HUGE_PAGES = "glibc.malloc.hugetlb=1:glibc.malloc.mmap_threshold=8589934592:glibc.malloc.trim_threshold=8589934592"
COMPETITORS = {
    # name: script, environment, more of the description
    "ours": ("ours.py", None, {}),
    "plain Flax": ("plain_flax.py", None, {}),
    "Keras on TensorFlow": ("keras_tensorflow.py", "keras", {}),
    "PyTorch": ("pytorch.py", "torch", {}),
    "PyTorch compiled": ("pytorch.py", "torch", {"compile": True}),
    "ours bfloat16": ("ours.py", None, {"dtype": "bfloat16"}),
    "Keras mixed_bfloat16": ("keras_tensorflow.py", "keras", {"dtype": "bfloat16"}),
    "PyTorch autocast": ("pytorch.py", "torch", {"dtype": "bfloat16"}),
}
OURS, PLAIN = "ours", "plain Flax"
NARROW = [name for name, (_, _, more) in COMPETITORS.items() if "dtype" in more]


class Competitor:
    """A process that makes steps when asked to."""

    def __init__(self, name, pythons, spec, *, huge_pages=False, wait=True):
        script, environment, more = COMPETITORS[name]
        self.name = name
        spec = {**spec, **more, "started": time.time()}
        variables = {**os.environ, "NPROC": str(spec["threads"]), "OMP_NUM_THREADS": str(spec["threads"])}
        if huge_pages:
            variables["GLIBC_TUNABLES"] = HUGE_PAGES
        elif name.startswith(OURS) and spec["large"]:
            variables = pages.asking(variables) or variables
        # A pipe that nobody reads would stop whoever fills it.
        self.errors = tempfile.TemporaryFile("w+")  # noqa: SIM115
        self.process = subprocess.Popen(
            [pythons[environment], str(ROOT / "benchmarks" / "peers" / script), json.dumps(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env=variables,
        )
        if wait:
            self.started()

    def started(self):
        """Waits for the first step."""
        answer = self._answer()
        self.first_step, self.packages = answer["first_step"], answer["packages"]

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            self.errors.seek(0)
            raise RuntimeError(f"{self.name} ended: {self.errors.read()[-2000:]}")
        return json.loads(line)

    def seconds(self, kind, count):
        print(kind, count, file=self.process.stdin, flush=True)
        return self._answer()["seconds"]

    def end(self):
        print("end", file=self.process.stdin, flush=True)
        megabytes = self._answer()["megabytes"]
        self.process.communicate()
        return megabytes


def prepare(folder, wanted):
    """Returns the interpreters of the competitors, making the peers' environments where they are missing."""
    pythons = {None: sys.executable}
    for name in wanted:
        python = folder / name / "bin" / "python"
        if not python.exists():
            print(f"making {folder / name} with {' '.join(PACKAGES[name])} ...", file=sys.stderr)
            subprocess.run([sys.executable, "-m", "venv", folder / name], check=True)
            subprocess.run([python, "-m", "pip", "install", "--quiet", *PACKAGES[name]], check=True)
        pythons[name] = str(python)
    return pythons


def describe(name, batch_size, threads, more=()):
    """Returns what every competitor is told, and the floating point operations of training on one image."""
    path = str(ROOT / "configs" / f"{CONFIGS[name]}.py")
    plain = {"train.batch_size": str(batch_size), "data.augment": "", "data.stored_size": "()"}
    overrides = [*(Override(*each) for each in plain.items()), *more]
    sections = peer_networks.sections(path)
    values = resolve.resolve(sections, overrides)
    macs = [row.macs for row in values.rows if row.macs]
    # The gradient by the images themselves is needed by nobody.
    operations = 2 * (3 * sum(macs) - macs[0])
    spec = {
        "config": path,
        "overrides": overrides,
        "layers": peer_networks.described(values.layers),
        "image_shape": values.data.image_shape,
        "classes": values.data.classes,
        "batch_size": batch_size,
        "optimizer": sections["optimizer"]["name"],
        "threads": threads,
        "large": memory_estimate.gains_by_huge_pages(values),
        "examples": max(2 * batch_size, min(10_000, EXAMPLES // math.prod(values.data.image_shape))),
    }
    return spec, operations


def race(competitors, kind, batch_size, *, rounds, seconds):
    """Returns each competitor's images/s, a list of one number a round; all take turns in every round."""
    counts = {}
    for one in competitors:
        one.seconds(kind, 2)
        pace = one.seconds(kind, 3) / 3
        counts[one.name] = max(2, round(seconds / pace))
        one.seconds(kind, counts[one.name])  # what only so many batches compile, such as a shorter last pass
    speeds = {one.name: [] for one in competitors}
    for number in range(rounds):
        for one in competitors if number % 2 == 0 else reversed(competitors):
            speeds[one.name].append(counts[one.name] * batch_size / one.seconds(kind, counts[one.name]))
    return speeds


def ratios(speeds, other, one=OURS):
    return [ours / theirs for ours, theirs in zip(speeds[one], speeds[other], strict=True)]


def measure(network, batch_size, options, pythons, *, huge_pages):
    """Runs one table and prints it; returns the median ratios to the best peer and to plain Flax, share of peak."""
    spec, operations = describe(network, batch_size, options.threads)
    names = [name for name in COMPETITORS if name in options.competitors]
    competitors = [Competitor(name, pythons, spec, huge_pages=huge_pages) for name in names]
    kinds = {"train": options.rounds, **({} if options.quick else {"evaluate": max(3, options.rounds // 2)})}
    results = {
        kind: race(competitors, kind, batch_size, rounds=rounds, seconds=options.seconds)
        for kind, rounds in kinds.items()
    }
    ours = competitors[0]
    ours.seconds("peak", 5)
    peaks = [20 * 2 * 1536**3 / ours.seconds("peak", 20) / 1e9 for _ in range(5)]
    memory = {one.name: one.end() for one in competitors}
    if options.save is not None:
        asked = [word for word in sys.argv[1:] if not word.startswith("--save=")]
        record = {
            "network": network,
            "batch_size": batch_size,
            "huge_pages": huge_pages,
            "cpu": cpu(),
            "threads": options.threads,
            "units": environment.bfloat16_units(),
            "packages": dict(sorted({each for one in competitors for each in one.packages.items()})),
            "command": shlex.join(["python", "benchmarks/train_speed.py", *asked]),
            "peak": round(statistics.median(peaks), 1),
            **{
                kind: {name: [round(one, 1) for one in found] for name, found in results[kind].items()}
                for kind in kinds
            },
        }
        save(options.save, record)
    title = f"{network}, batch {batch_size}" + (", everyone with huge pages" if huge_pages else ", as they come")
    print(f"\n{title}; {options.threads} threads; matrix product {statistics.median(peaks):.0f} GFLOP/s")
    for kind, speeds in results.items():
        print(f"  {kind:24} images/s   ours/it (lowest to highest)   first step   memory")
        for one in competitors:
            against = ratios(speeds, one.name)
            spread = f"{statistics.median(against):5.2f} ({min(against):.2f} to {max(against):.2f})"
            print(
                f"  {one.name:24} {statistics.median(speeds[one.name]):8,.0f}   {spread:27}   "
                f"{one.first_step:8.1f} s   {memory[one.name]:,.0f} MB"
            )
    return summary(results["train"], operations, statistics.median(peaks))


def summary(speeds, operations, peak):
    """Returns the medians in float32: ours over the fastest peer and over plain Flax, the share of the matrix product.

    Where some computed in bfloat16, a second line says the best of ours over the best of the peers, in either type.
    """

    def fastest(names):
        return max(names, key=lambda name: statistics.median(speeds[name]), default=None)

    mine = [name for name in speeds if name.startswith(OURS)]
    peers = [name for name in speeds if name not in (*mine, PLAIN)]
    best = fastest([name for name in peers if name not in NARROW])
    share = statistics.median(speeds[OURS]) * operations / (peak * 1e9)
    to_best = statistics.median(ratios(speeds, best)) if best else float("nan")
    to_plain = statistics.median(ratios(speeds, PLAIN)) if PLAIN in speeds else float("nan")
    line = f"ours/best peer {to_best:.2f}  ours/plain Flax {to_plain:.2f}  share of peak {share:.2f}"
    if peers and not set(speeds).isdisjoint(NARROW):
        one, other = fastest(mine), fastest(peers)
        line += f"\nbest against best {statistics.median(ratios(speeds, other, one)):.2f}: {one} / {other}"
    return line


def cpu():
    """Returns the processor's name, with the family and the model that on x86 tell its generation."""
    text = environment.CPUINFO.read_text() if environment.CPUINFO.exists() else ""
    generation = re.search(r"^cpu family\s*: (\d+)\nmodel\s*: (\d+)$", text, re.MULTILINE)
    name = environment.processor()
    return f"{name}, family {generation[1]} model {generation[2]}" if generation else name


def save(path, record):
    """Adds a table to those of a file, for `benchmarks/results.py`."""
    tables = json.loads(path.read_text()) if path.exists() else []
    path.write_text(json.dumps([*tables, record]) + "\n")


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="the lesson's network, batch 128, training only")
    parser.add_argument("--networks", default="lesson,lenet5,cifar10", help=f"some of {', '.join(CONFIGS)}")
    parser.add_argument("--batches", default="32,128,512", help="batch sizes")
    parser.add_argument("--only", default=",".join(COMPETITORS), help="some of: %(default)s")
    parser.add_argument("--bfloat16", choices=["auto", "yes", "no"], default="auto", help="auto: if the CPU has units")
    parser.add_argument("--rounds", type=int, default=7, help="alternating rounds")
    parser.add_argument("--seconds", type=float, default=1.5, help="what a competitor runs in a round")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--huge-pages", choices=["no", "yes", "both"], default="both", help="allocator settings")
    parser.add_argument("--peers", type=Path, default=ROOT / ".peers", help="their virtual environments")
    parser.add_argument("--save", type=Path, metavar="FILE", help="adds the tables to this JSON, for results.py")
    options = parser.parse_args()
    options.competitors = [OURS, *(name for name in options.only.split(",") if name != OURS)]
    if options.quick:
        options.networks, options.batches, options.huge_pages = "lesson", "128", "no"
    unknown = [n for n in options.competitors if n not in COMPETITORS]
    unknown += [n for n in options.networks.split(",") if n not in CONFIGS]
    if unknown:
        parser.error(f"unknown: {', '.join(unknown)}")
    units = environment.bfloat16_units()
    if options.bfloat16 == "no" or (options.bfloat16 == "auto" and not units):
        options.competitors = [name for name in options.competitors if name not in NARROW]
    if options.bfloat16 != "no":
        has = f"has units for bfloat16: {units}" if units else "has no units for bfloat16 (AMX or AVX512-BF16)"
        also = "" if units or options.bfloat16 == "yes" else "; all compute in float32 alone, --bfloat16=yes in both"
        print(f"this CPU {has}{also}", flush=True)
    return options


def main():
    options = parse()
    wanted = {COMPETITORS[name][1] for name in options.competitors} - {None}
    pythons = prepare(options.peers, sorted(wanted))
    for network in options.networks.split(","):
        for batch_size in map(int, options.batches.split(",")):
            for huge_pages in {"no": [False], "yes": [True], "both": [False, True]}[options.huge_pages]:
                line = measure(network, batch_size, options, pythons, huge_pages=huge_pages)
                print(line, flush=True)


if __name__ == "__main__":
    main()
