"""Times training to an accuracy on Fashion-MNIST: a fast config over many seeds, and Keras as the course trains it.

    python benchmarks/time_to_accuracy.py --seeds=10 --keras=3
    python benchmarks/time_to_accuracy.py --config=configs/fashion_mnist_fast_93.py --target=0.93 --keras=0

Every run is a process of its own, `python main.py` with a cold compile cache; the test split is read once, at its end.
Runs of Keras stand between ours, evenly. Reported are the seconds of the training steps without compiling them, those
of compiling them, and the whole process, from its start to its end. Keras has the course's network and settings: Adam,
batch 32, 5 epochs, `fit` on NumPy arrays; its time is that of `fit`, its whole process beside. The ratio counts what
helps us least: Keras' `fit` over our training and compilation together.
"""

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

import train_speed


def timed(command, environment):
    """Runs a command; returns its output and its seconds."""
    started = time.perf_counter()
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    return done.stdout, seconds


def ours(path, seed, runs, environment, overrides=()):
    """Trains one seed of a config, in a directory of its own among the runs; returns its figures."""
    workdir = runs / f"{path.stem}-{seed}"
    command = [sys.executable, str(ROOT / "main.py"), f"--config={path}", f"--config.seed={seed}"]
    command += [f"--config.{text}" for text in overrides]
    _, total = timed([*command, "--config.data.train_on=train+valid", f"--workdir={workdir}"], environment)
    result = json.loads((workdir / "result.json").read_text())
    return {
        "accuracy": result["test"]["accuracy"],
        "training": result["train_seconds"] - result["compile_seconds"],
        "compilation": result["compile_seconds"],
        "total": total,
    }


def keras(python, data, seed, environment):
    """Trains the course's network with Keras; returns the same figures."""
    script = ROOT / "benchmarks" / "peers" / "keras_course.py"
    output, total = timed([python, str(script), data, str(seed)], environment)
    return {**json.loads(output.splitlines()[-1]), "total": total}


def spread(values, digits):
    low, high = min(values), max(values)
    return f"{statistics.mean(values):.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def show(name, runs, target):
    accuracies = [run["accuracy"] for run in runs]
    deviation = statistics.stdev(accuracies) if len(runs) > 1 else float("nan")
    reached = sum(accuracy >= target for accuracy in accuracies)
    print(f"{name}: {len(runs)} seeds")
    print(f"  test accuracy     {spread(accuracies, 4)}, deviation {deviation:.4f}")
    print(f"  {reached} of {len(runs)} reach {target}")
    for kind in ("training", "compilation", "total"):
        if kind in runs[0]:
            print(f"  {kind:15} s {spread([run[kind] for run in runs], 1)}")


def save_data(path):
    """Writes Fashion-MNIST for a process that cannot read it as we do."""
    import numpy as np
    from peer_networks import sections

    from cnn.config import resolve
    from cnn.data import datasets

    values = resolve.resolve(sections(str(ROOT / "configs" / "fashion_mnist.py")), [])
    dataset = datasets.load(dataclasses.replace(values.data, train_on="train+valid", loading="memory"))
    arrays = {
        f"{name}_{part}": getattr(getattr(dataset, name), part)
        for name in ("train", "test")
        for part in ("images", "labels")
    }
    np.savez(path, **arrays)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--config", type=Path, default=ROOT / "configs" / "fashion_mnist_fast.py")
    parser.add_argument("--target", type=float, default=0.9089)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--keras", type=int, default=3, help="runs of Keras; 0 for none")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--keep", type=Path, help="where our runs stay, for benchmarks/results.py (default: nowhere)")
    parser.add_argument("--peers", type=Path, default=ROOT / ".peers", help="Keras' virtual environment is in here")
    options = parser.parse_args()
    if options.keep and options.keep.exists():
        parser.error(f"--keep={options.keep}: is there already; give a new directory, or its runs would be continued")
    return options


def main():
    options = parse()
    environment = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    environment |= {"NPROC": str(options.threads), "OMP_NUM_THREADS": str(options.threads)}
    runs = {"ours": [], "Keras": []}
    with tempfile.TemporaryDirectory() as folder:
        data = f"{folder}/fashion_mnist.npz"
        if options.keras:
            python = train_speed.prepare(options.peers, ["keras"])["keras"]
            save_data(data)
        for seed in range(max(options.seeds, options.keras)):
            if seed < options.seeds:
                runs["ours"].append(ours(options.config, seed, options.keep or Path(folder), environment))
            if len(runs["Keras"]) < options.keras * (seed + 1) / options.seeds:
                runs["Keras"].append(keras(python, data, len(runs["Keras"]), environment))
            print(seed, *(f"{name} {each[-1]}" for name, each in runs.items() if each), file=sys.stderr, flush=True)
    for name, each in runs.items():
        if each:
            show(name, each, options.target)
    if options.keras:
        fit = statistics.mean(run["training"] for run in runs["Keras"])
        whole = statistics.mean(run["training"] + run["compilation"] for run in runs["ours"])
        print(f"Keras' fit / our training and compilation {fit / whole:.2f}")


if __name__ == "__main__":
    main()
