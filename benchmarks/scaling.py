"""Models the time of a training step over many devices; prints benchmarks/SCALING.md.

python benchmarks/scaling.py > benchmarks/SCALING.md

What is measured here: one CPU's time of a step by its share of the batch, and the bytes that the compiled step of eight
virtual devices sums over them. What is assumed stands in `MACHINES`, and is said in the output.
"""

import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

NETWORKS = ("fashion_mnist", "cifar10")
SHARES = (16, 64, 128)
DEVICES = tuple(2**n for n in range(11))
BATCHES = (128, 1024, 8192, 65536)
WORTH = 1.5
"""Twice the devices are worth it while they make a step so many times as fast."""


class Machine(NamedTuple):
    """A kind of device and the links between them. Seconds and bytes; all but a measured CPU's speed is assumed."""

    name: str
    flops: float | None
    """Useful floating-point operations a second; `None`: the measured times of this CPU."""
    overhead: float
    """Seconds of a step that no smaller share shortens."""
    near: int
    """How many devices the fast link joins."""
    near_bytes: float
    far_bytes: float
    latency: float


MACHINES = (
    Machine("this CPU, one a host, 10 Gb/s Ethernet", None, 0.0, 1, 1.25e9, 1.25e9, 50e-6),
    Machine("an accelerator of 300 TFLOP/s at work, 8 a host", 300e12, 0.5e-3, 8, 300e9, 40e9, 10e-6),
)


def measure(name):
    """Returns what is known of a network: seconds of a step by share, parameters, operations of one image."""
    import jax
    import numpy as np

    from cnn.config import config, resolve
    from cnn.data import loader
    from cnn.model.summary import count_parameters
    from cnn.train import multi_step
    from cnn.train.state import create_train_state, make_step_config

    scope = {}
    exec((REPOSITORY / "configs" / f"{name}.py").read_text(), scope)
    seconds = {}
    for share in SHARES:
        override = [config.Override("train.batch_size", str(share))]
        values = resolve.resolve(scope["get_config"]().to_dict(), override)
        step_config = make_step_config(values, 10_000, 1000)
        state = create_train_state(values)
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (share, *values.data.image_shape), dtype=np.uint8)
        split = loader.Examples(
            jax.numpy.asarray(images), jax.numpy.asarray(rng.integers(0, 10, share, dtype=np.int32))
        )
        times = []
        for _ in range(8):
            started = time.perf_counter()
            state, metrics = multi_step.run_step(
                state, split, np.arange(share, dtype=np.int32), step_config=step_config
            )
            jax.block_until_ready((state, metrics))
            times.append(time.perf_counter() - started)
        seconds[share] = statistics.median(times[2:])
    operations = 6 * sum(row.macs for row in values.rows)
    return {"seconds": seconds, "parameters": count_parameters(values.rows), "operations": operations}


def summed(name):
    """Returns the bytes of each all-reduce in the compiled step of eight devices, and the other collectives."""
    import jax
    import numpy as np

    from cnn.config import config, resolve
    from cnn.data import loader
    from cnn.system import sharding
    from cnn.train import multi_step
    from cnn.train.state import create_train_state, make_step_config

    scope = {}
    exec((REPOSITORY / "configs" / f"{name}.py").read_text(), scope)
    values = resolve.resolve(scope["get_config"]().to_dict(), [config.Override("train.batch_size", "64")])
    step_config = make_step_config(values, 10_000, 1000, 8)
    state = create_train_state(values, 8)
    split = (np.zeros((64, *values.data.image_shape), np.uint8), np.zeros(64, np.int32))
    split = loader.Examples(*sharding.replicate(split, 8))
    lowered = multi_step.run_step.lower(state, split, jax.numpy.arange(64), step_config=step_config)
    text = lowered.compile({"xla_backend_optimization_level": 0}).as_text()
    sizes, others = [], []
    for line in text.splitlines():
        called = re.search(r"= (.*) (all-reduce|all-gather|all-to-all|collective-permute)(-start)?\(", line)
        if called:
            shapes = re.findall(r"\[([\d,]*)\]", called[1])
            count = sum(int(np.prod([int(n) for n in shape.split(",") if n])) for shape in shapes)
            (sizes if called[2] == "all-reduce" else others).append(4 * count)
    return {"sums": sizes, "others": others}


def apart(what, name, **environment):
    """Returns what a function of this file finds in a process of its own."""
    command = [sys.executable, __file__, what, name]
    done = subprocess.run(command, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def line(seconds):
    """Returns seconds a step and seconds an image that fit the measured times best."""
    shares = [float(share) for share in seconds]
    slope, start = statistics.linear_regression(shares, list(seconds.values()))
    return max(0.0, start), slope


def all_reduce(count, size, machine):
    """Returns the seconds of one sum over devices: a ring within hosts, and one between them."""
    near = min(count, machine.near)
    far = -(-count // machine.near)
    seconds = 0.0
    for members, speed in ((near, machine.near_bytes), (far, machine.far_bytes)):
        if members > 1:
            # A tree's latency: rings of many devices would wait longer for each other than for the bytes.
            seconds += 2 * (members - 1) / members * size / speed + 2 * (members - 1).bit_length() * machine.latency
    return seconds


def step(network, machine, batch, count):
    """Returns the seconds of a step, and how many of them are spent in sums; `None` where a device has no image."""
    share = batch / count
    if share < 1:
        return None
    start, each = line({int(k): v for k, v in network["seconds"].items()})
    if machine.flops:
        start, each = machine.overhead, network["operations"] / machine.flops
    sums = sum(all_reduce(count, size, machine) for size in network["sums"]) if count > 1 else 0.0
    return start + each * share + sums, sums


def end(network, machine, batch):
    """Returns the number of devices after which twice as many are not worth it."""
    for count, twice in itertools.pairwise(DEVICES):
        times = step(network, machine, batch, count), step(network, machine, batch, twice)
        if times[1] is None or times[0][0] / times[1][0] < WORTH:
            return count
    return DEVICES[-1]


def table(network, machine):
    """Prints images a second by batch and devices, and where it ends."""
    print(f"| batch | {' | '.join(map(str, DEVICES))} | worth it up to |")
    print("|---" * (len(DEVICES) + 2) + "|")
    for batch in BATCHES:
        cells = []
        for count in DEVICES:
            found = step(network, machine, batch, count)
            cells.append("-" if found is None else f"{1e3 * found[0]:.3g} ({100 * found[1] / found[0]:.0f} %)")
        print(f"| {batch:,} | {' | '.join(cells)} | **{end(network, machine, batch)}** |")
    print()


def main():
    networks = {
        name: {
            **apart("measure", name),
            **apart("summed", name, XLA_FLAGS="--xla_force_host_platform_device_count=8"),
        }
        for name in NETWORKS
    }
    print(INTRODUCTION)
    print("| network | parameters | bytes summed a step | in so many sums | one CPU's step at", end="")
    print(f" {', '.join(map(str, SHARES))} images (ms) | that is, ms a step + ms an image |")
    print("|---|---|---|---|---|---|")
    for name, network in networks.items():
        start, each = line({int(k): v for k, v in network["seconds"].items()})
        times = ", ".join(f"{1e3 * seconds:.1f}" for seconds in network["seconds"].values())
        print(
            f"| `configs/{name}.py` | {network['parameters']:,} | {sum(network['sums']):,} | {len(network['sums'])} |",
            end="",
        )
        print(f" {times} | {1e3 * start:.2f} + {1e3 * each:.3f} |")
    print("\n## Modelled: milliseconds a step (share of it spent in sums) by devices\n")
    for machine in MACHINES:
        for name, network in networks.items():
            print(f"### `configs/{name}.py` on {machine.name}\n")
            table(network, machine)
    print(CLOSING)


INTRODUCTION = f"""# How far training scales, on paper

Written by `python benchmarks/scaling.py`. **No accelerator and no network between hosts was used: nothing here but the
first table was measured.** Tests show that eight virtual devices, and two processes of four, compute what one does;
they share two cores, so their speed says nothing.

The model: `step = start + share x each + sums`. A device computes its share of the batch; then every array that the
compiled step sums over devices (the gradient in one sum, each batch normalisation's statistics forward and backward)
goes around a ring, `2 (n - 1) / n x bytes / bandwidth`, plus `2 log2(n)` latencies; where the fast link joins fewer
than all, there is such a sum within hosts and one between them. Nothing overlaps, which is pessimistic; nobody waits
for a slower neighbour, which is optimistic. Twice the devices are called worth it while a step gets {WORTH} times as
fast.

## Measured
"""

CPU, FAST = MACHINES
CLOSING = f"""## Assumed, and not measured

* This CPU on many hosts: {CPU.far_bytes / 1e9:.3g} GB/s and {1e6 * CPU.latency:.0f} us a message, as 10 Gb/s Ethernet
  gives at its best. Its times are those of the machine that wrote this, shared with other work.
* The accelerator: {FAST.flops / 1e12:.0f} TFLOP/s of useful work (about a third of what a current one's data sheet says
  for bfloat16, and far more than small images reach), {1e3 * FAST.overhead:.1f} ms a step that no smaller share
  shortens, {FAST.near_bytes / 1e9:.0f} GB/s within a host, {FAST.far_bytes / 1e9:.0f} GB/s between hosts,
  {1e6 * FAST.latency:.0f} us a message. Put a measured step into `MACHINES` before believing the table.
* Not modelled: reading data, evaluation, saving (process 0 alone), the compiler's overlap of sums with the backward
  pass, memory, and what so large a batch does to accuracy; that needs its own learning rate (`lamb`, warmup) and its
  own runs.
"""

if __name__ == "__main__":
    if len(sys.argv) == 3:
        print(json.dumps({"measure": measure, "summed": summed}[sys.argv[1]](sys.argv[2])))
    else:
        main()
