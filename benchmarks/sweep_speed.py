"""Times whole sweeps under each engine, in turns.

    python benchmarks/sweep_speed.py --rounds=3
    python benchmarks/sweep_speed.py --rounds=3 -- --config.train.epochs=20 --config.train.batch_size=32

Eight learning rates x four seeds on the digits: 32 trials of 51 steps, unless flags after `--` say otherwise. A sweep
is timed from the start of its process to its end: imports, compilations, checkpoints, evaluations, ranking, pages.
`steps` is what the sweep reports as its training steps' time: the wall clock from handing a step over to having its
metrics, the compilation of the step included (and nothing else that is compiled). `other` is the share of the rest.
Python may keep the bytecode of this software, as it does where nothing forbids it.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MAIN = Path(__file__).resolve().parents[1] / "main.py"
GRID = "--grid=optimizer.learning_rate=log(1e-4,1e-2,8);seed=0,1,2,3"
SHORT = ("--config.train.batch_size=25", "--config.train.epochs=1", "--config.eval.test=False")


def sweep(engine, folder, grid, arguments):
    """Returns the seconds of a whole sweep, and its record."""
    flags = [f"--sweep.engine={engine}", f"--workdir={folder}", *arguments]
    started = time.perf_counter()
    command = [sys.executable, str(MAIN), "sweep", grid, *flags]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    seconds = time.perf_counter() - started
    if done.returncode:
        raise SystemExit(done.stderr)
    return seconds, json.loads((Path(folder) / "sweep.json").read_text())


def row(engine, seconds, record):
    training = record["engine"]["time"]["steps"]
    other = 1 - training / seconds
    return {"seconds": seconds, "steps": training, "other": other, "compilations": record["engine"]["compilations"]}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--grid", default=GRID.removeprefix("--grid="))
    parser.add_argument("--engines", default="map,vmap")
    parser.add_argument("arguments", nargs="*", default=SHORT, help="flags for main.py, after --")
    options = parser.parse_args()
    rows = {engine: [] for engine in options.engines.split(",")}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(options.rounds):
            for engine in rows:
                place = f"{folder}/{engine}-{turn}"
                seconds, record = sweep(engine, place, f"--grid={options.grid}", options.arguments)
                rows[engine].append(row(engine, seconds, record))
                print(f"round {turn + 1}: {engine} {seconds:.1f} s", file=sys.stderr, flush=True)
    print(f"{record['size']} trials of {record['trials'][0]['step']} steps")
    best = min(statistics.median(one["seconds"] for one in found) for found in rows.values())
    for engine, found in rows.items():
        seconds, training = [one["seconds"] for one in found], [one["steps"] for one in found]
        median, other = statistics.median(seconds), statistics.median(one["other"] for one in found)
        print(
            f"{engine:8} {median:7.1f} s ({min(seconds):.1f} to {max(seconds):.1f})  {median / best:5.2f} x the best  "
            f"steps {statistics.median(training):6.1f} s  other {other:4.0%}  "
            f"compilations {found[-1]['compilations']}"
        )


if __name__ == "__main__":
    main()
