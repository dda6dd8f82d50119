"""Tests and measures a GPU or TPU in under eight minutes, and writes benchmarks/ACCELERATOR.md by itself.

    python benchmarks/accelerator.py                     # on the day that one is there
    python benchmarks/accelerator.py --out=DIR           # where the report and accelerator.json go
    python benchmarks/accelerator.py --only=device,speed --budget=speed=300
    python benchmarks/accelerator.py --rehearse          # on a CPU: every section, tiny, its report in a new folder

Each section is a process of its own with a time of its own, in the order of importance: one that fails or runs out of
time is said in the report, with what it had found by then, and the others go on. The report is written again after
each. What a Python lacks of requirements.txt is said, too. PyTorch takes part where this Python has it.
"""

import argparse
import contextlib
import dataclasses
import functools
import importlib.metadata
import importlib.util
import json
import os
import platform
import random
import re
import shlex
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks"), str(ROOT / "benchmarks" / "peers")]

TOTAL = 470
"""Seconds of the whole, so that it ends within eight minutes."""
SLOW = 600
NUMERIC = tuple(f"tests/test_{name}.py" for name in ("layers", "losses", "optim", "evaluate"))
TESTS = (("tests/test_accelerator.py",), (*NUMERIC, "-m", "not slow"))
"""What holds on any device, and what checks numbers against closed forms and NumPy."""
REHEARSED_TESTS = ("tests/test_accelerator.py::test_the_same_seed_gives_the_same_bits_twice",)
EXACT = "--xla_gpu_deterministic_ops=true --xla_gpu_autotune_level=0"
"""What makes a GPU compute the same bits again: sums in a fixed order, and no algorithm chosen by a race of them."""
BATCHES = {"lesson": 1024, "cifar10": 1024, "resnet18": 256, "lenet5": 1024}
"""The networks, the ones that matter most first."""
TINY = "conv(4, 3) | relu | max_pool(2) | flatten | dense(classes)"
REHEARSED_RECIPE = (
    "model.layers=conv(4, 2, init=whiten(50)) | gelu | max_pool(15) | batch_norm(0.6, 1e-12) | flatten | "
    "dense(classes) | scale(0.1111111)",
    "train.steps=2",
    "train.batch_size=32",
    "data.limit=200",
    "report.page=never",
)
"""What of the recipe for 94 % a rehearsal trains: two steps, of what its patterns name."""
SHORT = """conv(2, 7, strides=2, padding="same", use_bias=False) | batch_norm(0.9, 1e-5) | relu |
    max_pool(3, 2, padding="same") | residual(conv(2, 3, padding="same")) | global_avg_pool | dense(classes)"""
"""What a rehearsal trains in their place: what compiles in no time."""
DTYPES = ("float32", "bfloat16")
WAVES = [[(one, dtype) for one in pair for dtype in DTYPES] for pair in (("lesson", "cifar10"), ("resnet18", "lenet5"))]
"""What compiles at the same time, and is then measured one after another."""
KILLS = 5
ROUNDS = 5
COMPILED, EAGER = "PyTorch compiled", "PyTorch"
PYTHONS = {None: sys.executable, "torch": sys.executable}
BACKEND, PEAKS = "ACCELERATOR_BACKEND", "ACCELERATOR_PEAKS"
"""Variables in which later sections find what the first one measured."""


class Section(NamedTuple):
    title: str
    seconds: int
    """At most; what it leaves is for the later ones."""


SECTIONS = {
    "device": Section("What the device can do", 45),
    "tests": Section("Tests", 80),
    "speed": Section("Training, images/s", 200),
    "dispatch": Section("One dispatch an epoch", 50),
    "seeds": Section("Many seeds as one program", 60),
    "kills": Section("Killed and resumed", 130),
    "profile": Section("Where a step's time goes", 60),
    "cifar10": Section("Time to 94 % on CIFAR-10", 120),
}


class Report:
    """What a section found so far: lines of Markdown, and figures; each `say` hands all of it over."""

    def __init__(self):
        self.lines, self.figures = [], {}

    def say(self, *lines, **figures):
        self.lines += lines
        self.figures |= figures
        print(json.dumps({"lines": self.lines, "figures": self.figures}), flush=True)


def median_seconds(function, rounds):
    """Returns the median of the seconds that a function takes; it waits for the device itself."""
    times = []
    for _ in range(rounds):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def device(report, tiny):
    """Measures a large matrix product in every type, and a copy.

    As every section it is the main program of a process: `report` takes what it finds, `tiny` says that it rehearses.
    """
    import jax
    import jax.numpy as jnp

    found = jax.devices()
    memory = (found[0].memory_stats() or {}).get("bytes_limit")
    said = f", {memory / 2**30:.0f} GiB for JAX" if memory else ""
    report.say(
        f"{len(found)} x {found[0].device_kind} ({jax.default_backend()}{said})",
        "",
        kind=found[0].device_kind,
        backend=jax.default_backend(),
    )
    report.say("| what | measured |", "|---|---|")
    size, repeats = (256, 2) if tiny else (8192, 20)
    ways = {
        "float32": ("float32, as JAX computes it by default", jnp.float32, None),
        "bfloat16": ("bfloat16", jnp.bfloat16, None),
        "highest": ("float32, precision `highest`", jnp.float32, "highest"),
    }
    # Of random numbers that stay as large as they are: of zeros, devices that spare power are faster.
    scale = size**-0.5
    keys = jax.random.split(jax.random.key(0))
    for name, (words, dtype, precision) in ways.items():
        a, b = (jax.random.normal(key, (size, size), dtype) for key in keys)

        @functools.partial(jax.jit, static_argnames="precision")
        def products(a, b, precision):
            return jax.lax.fori_loop(0, repeats, lambda _, b: jnp.matmul(a, b, precision=precision) * scale, b)

        run = functools.partial(products, a, b, precision)
        jax.block_until_ready(run())
        seconds = median_seconds(lambda run=run: jax.block_until_ready(run()), 3)
        flops = repeats * 2 * size**3 / seconds
        report.say(f"| matrix product {size} x {size}, {words} | {flops / 1e12:,.1f} TFLOP/s |", **{name: flops})
    numbers = jnp.ones(2**16 if tiny else 2**29)
    copy = jax.jit(lambda numbers: jax.lax.fori_loop(0, repeats, lambda _, x: x + 1, numbers))
    jax.block_until_ready(copy(numbers))
    seconds = median_seconds(lambda: jax.block_until_ready(copy(numbers)), 3)
    moved = repeats * 2 * numbers.nbytes / seconds
    report.say(f"| memory, read and written | {moved / 1e12:,.3f} TB/s |", bandwidth=moved)


def tests(report, tiny):
    """Runs the tests that hold on any device, at the highest precision of products."""
    report.say("With `JAX_DEFAULT_MATMUL_PRECISION=highest`:", "", passed=0, failed=[], skipped=0)
    for chosen in (REHEARSED_TESTS,) if tiny else TESTS:
        passed, bad, skipped = outcomes(chosen, several=not tiny)
        report.figures["failed"] += bad
        report.say(
            f"* `pytest {shlex.join(chosen)}`: {passed} passed, {len(bad)} failed, {skipped} skipped",
            *(f"    * `{name}`: {said}" for name, said in bad.items()),
            passed=report.figures["passed"] + passed,
            skipped=report.figures["skipped"] + skipped,
        )


def outcomes(chosen, several):
    """Runs pytest; returns how many tests passed, the first line of each that failed, and how many were skipped."""
    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder) / "results.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--junitxml={results}", *chosen]
        several = several and importlib.util.find_spec("xdist") is not None
        command += ["-n", "6"] if several else ["-p", "no:xdist", "-o", "addopts=--strict-markers"]
        environment = {**os.environ, "JAX_DEFAULT_MATMUL_PRECISION": "highest", "NPROC": "2"}
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
        if not results.exists():
            raise RuntimeError(f"pytest wrote no results: {(done.stdout + done.stderr)[-1500:]}")
        cases = list(xml.etree.ElementTree.parse(results).getroot().iter("testcase"))
    bad = {
        f"{case.get('classname')}::{case.get('name')}": one_line(entry.get("message", ""))[:200]
        for case in cases
        for entry in case
        if entry.tag in ("failure", "error")
    }
    skipped = sum(entry.tag == "skipped" for case in cases for entry in case)
    return len(cases) - len(bad) - skipped, bad, skipped


def speed(report, tiny):
    """Trains every network in both types, in turns with PyTorch."""
    report.say(
        "Random images that lie on the device, no augmentation. Ours makes an epoch of so many steps in one dispatch. "
        f"In turns, {ROUNDS} rounds: the median (lowest to highest). Share of peak: the multiply-accumulates of "
        "`main.py summary`, two operations each, twice more for the gradients (but for the first layer's images), over "
        "the matrix product of the same type above. float32 is computed by the matrix units, TF32, by both.",
        "",
        "| network | batch | steps | type | ours | of peak | PyTorch, compiled | ours / PyTorch | first epoch, s |",
        "|---|---|---|---|---|---|---|---|---|",
        rows={},
    )
    backend = os.environ.get(BACKEND, "cpu")
    # What compiles at the same time must not disturb what is measured; and a TPU is one process's at a time.
    waves = [[(one, dtype)] for one in BATCHES for dtype in DTYPES] if backend == "tpu" else WAVES
    waves = [[("cifar10", "float32"), ("resnet18", "bfloat16")]] if tiny else waves
    for wave in waves:
        started = [Race(network, dtype, backend, tiny) for network, dtype in wave]
        for race in started:
            race.wait()
        for race in started:
            race.run()
            report.figures["rows"][f"{race.network} {race.dtype}"] = race.figures
            failures = (f"| {race.network} | | | {race.dtype} | {said} | | | | |" for said in race.failed)
            report.say(race.row(), *failures)
    if importlib.util.find_spec("torch") is None:
        report.say("", "PyTorch is not installed in this Python.")


class Race:
    """A network in one type: ours and, where PyTorch is installed and the device is its, PyTorch."""

    def __init__(self, network, dtype, backend, tiny):
        """Starts the competitors, which compile while others are started."""
        import train_speed

        from cnn.config.config import Override

        self.network, self.dtype, self.tiny, self.failed = network, dtype, tiny, []
        batch, steps = 8 if tiny else BATCHES[network], 2 if tiny else 8 if network == "resnet18" else 50
        given = [Override("train.compute_dtype", dtype)]
        if tiny:
            given += [Override("model.layers", SHORT), Override("data.image_shape", "(16,16,3)")]
        self.spec, operations = train_speed.describe(network, batch, max(1, (os.cpu_count() or 1) // 4), given)
        self.spec |= {"examples": steps * batch, "first": steps, "dtype": dtype}
        self.spec |= {"device": "cuda" if backend == "gpu" else "cpu"}
        self.figures = {"batch": batch, "steps": steps, "operations": operations}
        self.start = lambda name: train_speed.Competitor(name, PYTHONS, self.spec, wait=False)
        self.racing = {"ours": self.start("ours")}
        if importlib.util.find_spec("torch") is not None and (tiny or backend == "gpu"):
            name = EAGER if tiny else COMPILED
            self.racing[name] = self.start(name)

    def wait(self):
        """Waits until all have trained an epoch; PyTorch that cannot compile races as it is."""
        for name, competitor in list(self.racing.items()):
            try:
                competitor.started()
            except RuntimeError as error:
                self.failed.append(one_line(error))
                del self.racing[name]
                if name == COMPILED:
                    self.racing[EAGER] = self.start(EAGER)
        if EAGER in self.racing and not self.tiny:
            try:
                self.racing[EAGER].started()
            except RuntimeError as error:
                self.failed.append(one_line(error))
                del self.racing[EAGER]

    def run(self):
        """Has all take turns, and ends them."""
        steps, batch = self.figures["steps"], self.figures["batch"]
        self.figures["images_per_second"] = take_turns(self.racing, steps, batch, self.tiny)
        self.figures["first"] = {name: one.first_step for name, one in self.racing.items()}
        for one in self.racing.values():
            one.end()

    def row(self):
        """Returns a line of the table."""
        peak = json.loads(os.environ.get(PEAKS, "{}")).get(self.dtype)
        figures, speeds = self.figures, self.figures["images_per_second"]

        def shown(values, digits):
            low, high = min(values), max(values)
            return f"{statistics.median(values):,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"

        ours, theirs = speeds.get("ours"), speeds.get(COMPILED, speeds.get(EAGER))
        cells = [
            self.network,
            figures["batch"],
            figures["steps"],
            self.dtype,
            shown(ours, 0) if ours else "",
            f"{100 * statistics.median(ours) * figures['operations'] / peak:.1f} %" if ours and peak else "",
            f"{shown(theirs, 0)}{' not compiled' if EAGER in speeds else ''}" if theirs else "",
            shown([a / b for a, b in zip(ours, theirs, strict=True)], 2) if ours and theirs else "",
            ", ".join(f"{seconds:.0f}" for seconds in figures["first"].values()),
        ]
        return f"| {' | '.join(map(str, cells))} |"


def take_turns(racing, steps, batch, tiny):
    """Returns each competitor's images/s, a list of one number a round."""
    rounds, seconds = (2, 0.1) if tiny else (ROUNDS, 0.5)
    speeds, counts = {name: [] for name in racing}, {}
    for name, one in racing.items():
        one.seconds("train", steps)
        counts[name] = steps * max(1, round(seconds / max(1e-9, one.seconds("train", steps))))
    for number in range(rounds):
        for name, one in list(racing.items())[:: 1 if number % 2 == 0 else -1]:
            speeds[name].append(counts[name] * batch / one.seconds("train", counts[name]))
    return speeds


def problem(name, *overrides):
    """Returns a config's values, with random pictures of its shape in place of its data."""
    import peer_networks

    from cnn.config import resolve
    from cnn.config.config import Override

    given = [Override(*text.split("=", 1)) for text in ("data.augment=", *overrides)]
    return resolve.resolve(peer_networks.sections(str(ROOT / "configs" / f"{name}.py")), given)


def random_split(values, examples):
    import jax.numpy as jnp
    import numpy as np

    from cnn.data.loader import Examples

    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (examples, *values.data.image_shape), dtype=np.uint8)
    labels = rng.integers(0, values.data.classes, examples, dtype=np.int32)
    return Examples(jnp.asarray(images), jnp.asarray(labels))


def small(tiny, channels=1):
    """Returns the overrides of a rehearsal."""
    return (f"model.layers={TINY}", f"data.image_shape=(8,8,{channels})") if tiny else ()


def dispatch(report, tiny):
    """Trains an epoch in one call, with every transfer refused, and step by step."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from cnn.train import multi_step
    from cnn.train.state import create_train_state, make_step_config

    batch, steps = (8, 3) if tiny else (128, 400)
    values = problem("fashion_mnist", f"train.batch_size={batch}", *small(tiny))
    step_config = make_step_config(values, 100_000, steps)
    split = random_split(values, batch * steps)
    order = np.random.default_rng(1).permutation(batch * steps).reshape(steps, batch).astype(np.int32)
    rows = jnp.asarray(order)
    states = [create_train_state(values) for _ in range(2)]
    state, _ = multi_step.run_scan(states[0], split, rows, step_config=step_config)
    jax.block_until_ready(state)
    times = []
    for _ in range(2 if tiny else 5):
        started = time.perf_counter()
        with jax.transfer_guard("disallow"):
            state, metrics = multi_step.run_scan(state, split, rows, step_config=step_config)
            jax.block_until_ready((state, metrics))
        times.append(time.perf_counter() - started)
    whole = statistics.median(times)
    assert int(state.step) == steps * (1 + len(times))
    of_steps = list(rows)
    state, _ = multi_step.run_step(states[1], split, of_steps[0], step_config=step_config)
    jax.block_until_ready(state)
    started = time.perf_counter()
    for one in of_steps:
        state, metrics = multi_step.run_step(state, split, one, step_config=step_config)
    jax.block_until_ready((state, metrics))
    single = time.perf_counter() - started
    report.say(
        f"The lesson's network, batch {batch}: an epoch of {steps} steps in one call of a compiled program, under "
        '`jax.transfer_guard("disallow")`: nothing moved between host and device.',
        "",
        "| steps | ms a step | images/s |",
        "|---|---|---|",
        f"| {steps} in one dispatch | {1e3 * whole / steps:.3f} | {batch * steps / whole:,.0f} |",
        f"| a dispatch each | {1e3 * single / steps:.3f} | {batch * steps / single:,.0f} |",
        seconds_an_epoch=whole,
        seconds_step_by_step=single,
        steps=steps,
        batch=batch,
    )


def seeds(report, tiny):
    """Trains many seeds as one vmapped program, and one alone."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from cnn.sweep import vmapped
    from cnn.train import multi_step
    from cnn.train.state import create_train_state, make_step_config

    count, batch, steps = (3, 8, 2) if tiny else (64, 32, 200)
    values = problem("fashion_mnist", f"train.batch_size={batch}", *small(tiny))
    step_config = make_step_config(values, 100_000, steps)
    split = random_split(values, batch * steps)
    rng = np.random.default_rng(1)
    orders = [rng.permutation(batch * steps).reshape(steps, batch).astype(np.int32) for _ in range(count)]
    rows = jnp.asarray(np.stack(orders, axis=1))

    def fresh():
        return [create_train_state(dataclasses.replace(values, seed=seed)) for seed in range(count)]

    def together():
        state = vmapped.stack(fresh(), None)
        started = time.perf_counter()
        after = vmapped.run_scan(state, split, rows, step_config=step_config, devices=None, shared=False)
        jax.block_until_ready(after)
        return time.perf_counter() - started, after[1]["loss"]

    def alone(seed):
        state = create_train_state(dataclasses.replace(values, seed=seed))
        started = time.perf_counter()
        after = multi_step.run_scan(state, split, jnp.asarray(orders[seed]), step_config=step_config)
        jax.block_until_ready(after)
        return time.perf_counter() - started, after[1]["loss"]

    together(), alone(0)
    many = [together() for _ in range(2)]
    ones = [alone(seed) for seed in (0, count - 1)]
    difference = max(float(abs(many[0][1][seed][0] - one[0])) for seed, (_, one) in zip((0, -1), ones, strict=True))
    all_seconds, one_seconds = min(took for took, _ in many), min(took for took, _ in ones)
    report.say(
        f"The lesson's network, batch {batch}, {steps} steps, {count} seeds each with an order of its own.",
        "",
        "| what | seconds | trials x images/s |",
        "|---|---|---|",
        f"| {count} seeds as one program | {all_seconds:.3f} | {count * batch * steps / all_seconds:,.0f} |",
        f"| one run | {one_seconds:.3f} | {batch * steps / one_seconds:,.0f} |",
        "",
        f"{count} runs one after another would take {count * one_seconds / all_seconds:.1f} times as long. The losses "
        f"of the first step differ by at most {difference:.1e} from those of the run alone.",
        seconds_together=all_seconds,
        seconds_alone=one_seconds,
        seeds=count,
        difference=difference,
    )


def kills(report, tiny):
    """Kills a run at random moments of its training, and compares the bytes; then what determinism costs."""
    import kill_at_random

    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {EXACT}".strip()
    epochs = f"--config.train.epochs={2 if tiny else 20}"
    arguments = [text for text in kill_at_random.SMALL if "epochs" not in text]
    arguments += [epochs, "--config.report.page=never", "--config.eval.test=False"]
    rng = random.Random(0)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        # Equal programs are compiled once; a process that begins again would else compile most of the time.
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", f"{folder}/compiled")
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
        workdirs = [folder / name / "run" for name in ("straight", "killed")]
        for workdir in workdirs:
            workdir.parent.mkdir()
        if kill_at_random.run(workdirs[0], arguments) != 0:
            raise RuntimeError((workdirs[0].parent / "output.txt").read_text()[-1500:])
        last = json.loads((workdirs[0] / "result.json").read_text())["step"]
        killed = 0
        for step in sorted(rng.sample(range(1, last - 3), 1 if tiny else KILLS)):
            killed += kill_after(kill_at_random, workdirs[1], arguments, step, rng.uniform(0, 0.05))
        code = kill_at_random.run(workdirs[1], arguments)
        if code != 0:
            raise RuntimeError(f"exit code {code}: {(workdirs[1].parent / 'output.txt').read_text()[-1500:]}")
        same = kill_at_random.outcome(workdirs[0]) == kill_at_random.outcome(workdirs[1])
    verdict = "**the same bytes** of parameters and metrics" if same else "**other bytes**"
    report.say(
        f"A run of {last} steps, killed by SIGKILL {killed} times at random steps and begun again, ended with "
        f'{verdict} as one that nothing interrupted. `XLA_FLAGS="{EXACT}"`, and `JAX_COMPILATION_CACHE_DIR`.',
        kills=killed,
        same=same,
        flags=EXACT,
    )
    prices = {flags: epoch_speed(flags, tiny) for flags in ("", EXACT)}
    free, exact = prices.values()
    report.say(
        "",
        "| configs/cifar10, float32 | images/s |",
        "|---|---|",
        f"| without these options | {free:,.0f} |",
        f"| with them | {exact:,.0f} ({exact / free:.2f} times) |",
        images_per_second=prices,
    )


def kill_after(kill_at_random, workdir, arguments, step, delay):
    """Starts a run and kills it so many seconds after it has saved a step; returns whether it was killed."""
    command = [sys.executable, str(kill_at_random.MAIN), *arguments, f"--workdir={workdir}"]
    with (workdir.parent / "output.txt").open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output)
        while process.poll() is None and newest(workdir) < step:
            time.sleep(0.002)
        time.sleep(delay)
        process.kill()
        return process.wait() == kill_at_random.KILLED


def newest(workdir):
    try:
        return max((int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit()), default=0)
    except FileNotFoundError:
        return 0


def epoch_speed(flags, tiny):
    """Returns the images/s of configs/cifar10 in a process with these options of XLA."""
    environment = {**os.environ, "XLA_FLAGS": flags}
    environment.pop("JAX_COMPILATION_CACHE_DIR", None)
    command = [sys.executable, __file__, "--section=price", *(["--rehearse"] if tiny else [])]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-1500:])
    return json.loads(done.stdout.splitlines()[-1])["figures"]["images_per_second"]


def price(report, tiny):
    """Measures epochs of configs/cifar10 under the options of XLA that this process was given."""
    import jax
    import jax.numpy as jnp

    from cnn.train import multi_step
    from cnn.train.state import create_train_state, make_step_config

    batch, steps = (8, 2) if tiny else (1024, 20)
    values = problem("cifar10", f"train.batch_size={batch}", *small(tiny, 3))
    step_config = make_step_config(values, 100_000, steps)
    split = random_split(values, batch * steps)
    rows = jnp.arange(batch * steps, dtype=jnp.int32).reshape(steps, batch)
    state = create_train_state(values)

    def epoch():
        nonlocal state
        state, _ = multi_step.run_scan(state, split, rows, step_config=step_config)
        jax.block_until_ready(state)

    epoch()
    report.say(images_per_second=batch * steps / median_seconds(epoch, 5))


def profile(report, tiny):
    """Has `main.py --profile` say where a step of the digits goes."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(ROOT / "main.py"), f"--profile={3 if tiny else 20}", f"--workdir={folder}/run"]
        command += [f"--config.{text}" for text in (*small(tiny), *(["data.resize=exact"] if tiny else []))]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-1500:])
    report.say("`python main.py --profile=20`, the lesson's network on the digits, batch 32:", "")
    report.say("```", *done.stdout.rstrip().splitlines()[:-1], "```", text=done.stdout)


def cifar10(report, tiny):
    """Trains the fastest config for 94 % on CIFAR-10, where it and the data are there."""
    config = next(iter(sorted((ROOT / "configs").rglob("*cifar10*94*.py"))), None)
    if config is None:
        report.say("Skipped: there is no config for it (`configs/*cifar10*94*.py`).", skipped="no config")
        return
    import time_to_accuracy

    environment = dict(os.environ)
    for seed in range(1 if tiny else 3):
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = time_to_accuracy.ours(config, seed, Path(folder), environment, REHEARSED_RECIPE if tiny else ())
            except SystemExit as error:
                report.say(f"Skipped: {one_line(error)}", skipped=str(error))
                return
        report.say(
            f"* `{config.relative_to(ROOT)}`, seed {seed}: test accuracy {found['accuracy']:.4f}, "
            f"{found['training']:.1f} s of training, {found['compilation']:.1f} s of compiling, "
            f"{found['total']:.1f} s in all",
            **{f"seed {seed}": found},
        )


def one_line(error):
    words = " ".join(str(error).split())
    return (words if len(words) < 300 else f"... {words[-300:]}").replace("|", "/")


def run_section(name, seconds, options, environment):
    """Runs a section in a process group of its own; returns what it found and how it ended."""
    command = [sys.executable, __file__, f"--section={name}", *(["--rehearse"] if options.rehearse else [])]
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        process = subprocess.Popen(command, stdout=output, stderr=errors, env=environment, start_new_session=True)
        code, ended = None, f"was stopped after {seconds:.0f} s, all that it had"
        try:
            code = process.wait(seconds)
            ended = f"failed with exit code {code}" if code else "finished"
        except subprocess.TimeoutExpired:
            pass
        finally:
            # What a section leaves running would disturb the next one.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        errors.seek(0)
        said, complaint = output.read(), errors.read()
    found = last_json(said)
    if code:
        found["error"] = complaint[-3000:]
    return {**found, "ended": ended, "seconds": round(time.monotonic() - started, 1)}


def last_json(text):
    """Returns the last whole line that a section handed over."""
    for line in reversed(text.splitlines()):
        if line.startswith('{"lines"'):
            try:
                return json.loads(line)
            except ValueError:
                continue
    return {"lines": [], "figures": {}}


def versions():
    """Returns this Python and what of the requirements it has, and what it lacks or has in another version."""
    names = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "torch")
    have = {}
    for name in (*names, "jax-cuda12-plugin", "jax-cuda13-plugin", "libtpu", "triton"):
        try:
            have[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    lacking = []
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        requirement = line.partition("#")[0].strip()
        if not requirement:
            continue
        name = re.split(r"[<>=!~\[ ]", requirement)[0]
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            lacking.append(f"{requirement} (none)")
            continue
        try:
            from packaging.requirements import Requirement
        except ImportError:
            continue
        if not Requirement(requirement).specifier.contains(version, prereleases=True):
            lacking.append(f"{requirement} ({version})")
    return {"python": platform.python_version(), **have}, lacking


def driver():
    """Returns the name and the driver of NVIDIA's devices, as their own tool says."""
    if shutil.which("nvidia-smi") is None:
        return ""
    query = ["nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
    done = subprocess.run(query, capture_output=True, text=True)
    return done.stdout.strip().replace("\n", "; ")


def commit():
    if shutil.which("git") is None:
        return ""
    done = subprocess.run(["git", "rev-parse", "--short=12", "HEAD"], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.strip()


def write(folder, about, results):
    """Writes the report, and the same as JSON."""
    lines = ["# An accelerator, measured", ""]
    lines += [f"Written by `{about['command']}`" + (f" at commit {about['commit']}" if about["commit"] else "") + "."]
    lines += [f"{', '.join(f'{name} {version}' for name, version in about['versions'].items())}."]
    lines += [f"Device: {about['driver']}."] if about["driver"] else []
    if about["rehearsal"]:
        lines += ["", "**A rehearsal on tiny sizes: no number here means anything.**"]
    if about["lacking"]:
        lines += ["", f"Not as requirements.txt asks: {', '.join(about['lacking'])}."]
    for name, found in results.items():
        lines += ["", f"## {SECTIONS[name].title}", "", *found["lines"]]
        if found["ended"] != "finished":
            lines += ["", f"**This section {found['ended']}**."]
        if found.get("error"):
            lines += ["", "```", *found["error"].strip().splitlines()[-12:], "```"]
        if found["seconds"]:
            lines += ["", f"({found['seconds']:.0f} s)"]
    (folder / "ACCELERATOR.md").write_text("\n".join(lines) + "\n")
    (folder / "accelerator.json").write_text(json.dumps({"about": about, "sections": results}, indent=1) + "\n")


def parse():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rehearse", action="store_true", help="every section with tiny sizes, for a CPU")
    parser.add_argument("--only", default=",".join(SECTIONS), help="some of %(default)s")
    parser.add_argument("--budget", default="", help="seconds of sections, as speed=300,tests=60")
    parser.add_argument("--total", type=float, default=TOTAL, help="seconds of the whole (default %(default)s)")
    parser.add_argument("--out", type=Path, help="folder of the report (default benchmarks/; rehearsing, a new one)")
    parser.add_argument("--section", choices=[*SECTIONS, "price"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.only = options.only.split(",")
    options.seconds = {name: section.seconds for name, section in SECTIONS.items()}
    for text in filter(None, options.budget.split(",")):
        name, _, value = text.partition("=")
        if name not in SECTIONS or not value.isdecimal() or not int(value):
            parser.error(f"--budget: must be SECTION=SECONDS, sections are {', '.join(SECTIONS)}, got {text!r}")
        options.seconds[name] = int(value)
    if unknown := [name for name in options.only if name not in SECTIONS]:
        parser.error(f"--only: unknown section {unknown[0]!r}. Known: {', '.join(SECTIONS)}")
    return options


def main():
    options = parse()
    if options.section:
        from cnn.system import environment

        environment.prepare()
        globals()[options.section](Report(), options.rehearse)
        return 0
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # ends the section under way, too
    started = time.monotonic()
    folder = options.out or (Path(tempfile.mkdtemp(prefix="accelerator-")) if options.rehearse else ROOT / "benchmarks")
    folder.mkdir(parents=True, exist_ok=True)
    have, lacking = versions()
    about = {
        "command": shlex.join(["python", "benchmarks/accelerator.py", *sys.argv[1:]]),
        "commit": commit(),
        "versions": have,
        "lacking": lacking,
        "driver": driver(),
        "rehearsal": options.rehearse,
    }
    # Sections, and competitors in one, share the device's memory.
    environment = {**os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false"}
    if options.rehearse:
        environment["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"  # compiles in a fraction of the time
    results = {}
    for name in [name for name in SECTIONS if name in options.only]:
        left = options.total - (time.monotonic() - started)
        # A rehearsal is of what is done, not of how long it takes, which on a busy CPU may be anything.
        seconds = SLOW if options.rehearse else min(options.seconds[name], left)
        if seconds < 5:
            results[name] = {"lines": [], "figures": {}, "ended": "was not run: no time was left", "seconds": 0}
        else:
            print(f"{name}: up to {seconds:.0f} s ...", flush=True)
            results[name] = run_section(name, seconds, options, environment)
        figures = results[name]["figures"]
        if name == "device":
            environment[BACKEND] = figures.get("backend", "cpu")
            environment[PEAKS] = json.dumps({dtype: figures[dtype] for dtype in DTYPES if dtype in figures})
        print(f"{name}: {results[name]['ended']} in {results[name]['seconds']} s", flush=True)
        write(folder, about, results)
    print(f"everything is in {folder / 'ACCELERATOR.md'}, after {time.monotonic() - started:.0f} s")
    return int(any(found["ended"] != "finished" for found in results.values()))


if __name__ == "__main__":
    sys.exit(main())
