"""Kills a run at random moments, as often as there is time for, and counts how often it ends with the same bytes.

    python benchmarks/kill_at_random.py --minutes=10 --seed=0

One round: a run of its own is killed by SIGKILL after a random time, begun again and killed again, up to three times;
then it may finish. Its fingerprint and the bytes of its `metrics.jsonl` are compared with those of a run that nothing
interrupted. Flags for `main.py`, another network for instance, follow after `--`. Exits with 1 where any differed.
"""

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MAIN = Path(__file__).resolve().parents[1] / "main.py"
SMALL = (
    "--config.data.image_shape=(8,8,1)",
    "--config.data.resize=exact",
    "--config.model.layers=conv(4, 3) | batch_norm | relu | flatten | dropout(0.1) | dense(classes)",
    "--config.train.batch_size=100",
    "--config.train.epochs=8",
    "--config.train.log_every_steps=5",
    "--config.checkpoint.every=steps(3)",
)
MOST_KILLS, KILLED = 3, -9


def run(workdir, arguments, seconds=None):
    """Runs the command; returns its exit code, or -9 if it was killed after so many seconds."""
    command = [sys.executable, str(MAIN), *arguments, f"--workdir={workdir}"]
    with (
        (workdir.parent / "output.txt").open("w") as output,
        subprocess.Popen(command, stdout=output, stderr=output) as process,
    ):
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def outcome(workdir):
    return json.loads((workdir / "result.json").read_text())["fingerprint"], (workdir / "metrics.jsonl").read_bytes()


def one_round(folder, arguments, rng, length):
    """Kills a run a few times and lets it finish; returns how often it was killed, and its outcome, `None` for none."""
    workdir, kills = folder / "run", 0
    for _ in range(rng.randint(1, MOST_KILLS)):
        code = run(workdir, arguments, rng.uniform(0.2, length))
        if code not in (0, KILLED):
            return kills, None
        kills += code == KILLED
    return kills, outcome(workdir) if run(workdir, arguments) == 0 else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("arguments", nargs="*", default=SMALL, help="flags for main.py")
    options = parser.parse_args()
    ends = time.monotonic() + 60 * options.minutes
    rng = random.Random(options.seed)
    kills = same = rounds = 0
    folder = Path(tempfile.mkdtemp(prefix="kill_at_random-"))
    started = time.monotonic()
    if run(folder / "straight", options.arguments) != 0:
        sys.exit((folder / "output.txt").read_text())
    # Less than it took: what was computed before a kill need not be computed again.
    length = 0.7 * (time.monotonic() - started)
    expected = outcome(folder / "straight")
    while time.monotonic() < ends:
        place = folder / str(rounds)
        place.mkdir()
        killed, found = one_round(place, options.arguments, rng, length)
        rounds, kills = rounds + 1, kills + killed
        if found == expected:
            same += 1
            shutil.rmtree(place)
        else:
            print(f"\nround {rounds} ended otherwise; it is kept in {place}")
        print(f"\r{same} of {rounds} the same, after {kills} kills", end="", flush=True)
    print()
    if same == rounds:
        shutil.rmtree(folder)
    sys.exit(same != rounds)


if __name__ == "__main__":
    main()
