"""Times a run from the start of its process to its first finished step, with a cold and a warm compile cache.

    python benchmarks/startup.py --rounds=5

Cold is `python main.py` as it comes. For the warm rows JAX keeps compiled programs in a folder
(`JAX_COMPILATION_CACHE_DIR`), which the row before the last has filled. The first finished step is the first line of
`metrics.jsonl`. Flags for `main.py` follow after `--`.
"""

import argparse
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MAIN = Path(__file__).resolve().parents[1] / "main.py"


def first_step(arguments, environment):
    """Returns the seconds from the process's start to its first record, and ends the process."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(MAIN), "--config.train.log_every_steps=1", f"--workdir={folder}/run", *arguments]
        started = time.perf_counter()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)
        metrics = Path(folder) / "run" / "metrics.jsonl"
        while not (metrics.exists() and metrics.stat().st_size):
            if process.poll() is not None:
                raise SystemExit(process.stderr.read().decode())
            time.sleep(0.005)
        seconds = time.perf_counter() - started
        process.send_signal(signal.SIGKILL)
        process.communicate()
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("arguments", nargs="*", help="flags for main.py, after --")
    options = parser.parse_args()
    cold = {name: value for name, value in os.environ.items() if name != "JAX_COMPILATION_CACHE_DIR"}
    with tempfile.TemporaryDirectory() as cache:
        warm = {**cold, "JAX_COMPILATION_CACHE_DIR": cache, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
        filling = first_step(options.arguments, warm)
        seconds = {"cold": [], "warm cache": []}
        for _ in range(options.rounds):
            seconds["cold"].append(first_step(options.arguments, cold))
            seconds["warm cache"].append(first_step(options.arguments, warm))
    print(f"filling the cache {filling:6.1f} s")
    for name, values in seconds.items():
        print(f"{name:17} {statistics.median(values):6.1f} s   ({min(values):.1f} to {max(values):.1f})")


if __name__ == "__main__":
    main()
