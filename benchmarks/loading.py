"""Reads folders of JPEG photographs with this project and with PyTorch's DataLoader, in turns, and prints the ratios.

    python benchmarks/loading.py                                  1,500 of 500x375 and 40 of 4000x3000, a few minutes
    python benchmarks/loading.py --quick                          a tenth of them, three rounds
    python benchmarks/loading.py --python=torch/bin/python        of PyTorch and Pillow; without them, ours alone

Everyone turns the same files into batches of 224x224 with a bilinear filter, with as many threads (ours) or processes
(PyTorch's) as there are cores, and waits while another one reads. Ratios are taken round by round: absolute numbers
drift with the machine. The pictures are noise of many octaves, of which fine ones are fainter, as in photographs.
Memory is the resident set of a process and of those it started, read ten times a second while it reads; CPU is the
time that processors computed for them, which another program on the machine disturbs less.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
PEERS = ROOT / "benchmarks" / "peers"
SETS = {
    # name: width, height, pictures, of a batch, how much fainter each finer octave is
    "500x375": (500, 375, 1_500, 50, 0.8),
    "12 megapixels": (4000, 3000, 40, 4, 0.75),
}
SIZE = 224
FIELDS = 3
"""So many large pictures are made; what is written are parts of them, turned over."""
COMPETITORS = {
    # name: script, decode
    "ours, scaled": ("loading_ours.py", "scaled"),
    "ours, full": ("loading_ours.py", "full"),
    "PyTorch": ("loading_pytorch.py", ""),
}


def field(width, height, persistence, seed):
    """Returns a picture of smooth noise, every octave with twice the frequency of the one before."""
    random = np.random.default_rng(seed)
    total = np.zeros((height, width, 3), np.float32)
    octaves = int(np.log2(width / 2))
    for octave in range(1, octaves + 1):
        wide, high = 2**octave, max(2, 2**octave * height // width)
        noise = random.normal(size=(high, wide, 3)).astype(np.float32)
        noise = 0.75 * noise[..., :1] + 0.25 * noise  # shades vary more than colours do
        for channel in range(3):
            smooth = Image.fromarray(noise[..., channel]).resize((width, height), Image.Resampling.BICUBIC)
            total[..., channel] += np.asarray(smooth) * persistence**octave
    return np.clip((total - total.mean()) / total.std() * 50 + 120, 0, 255).astype(np.uint8)


def write(folder, width, height, pictures, persistence):
    """Writes a folder of JPEG files of quality 90; returns their mean size in kilobytes."""
    random = np.random.default_rng(0)
    room = 1 if width > 2000 else 3
    fields = [field(room * width, room * height, persistence, seed) for seed in range(FIELDS)]
    for part in ("train", "test"):
        (folder / part / "noise").mkdir(parents=True)
    for number in range(pictures):
        large = fields[number % FIELDS]
        top, left = (int(random.integers(0, (room - 1) * length + 1)) for length in (height, width))
        crop = large[top : top + height, left : left + width][:: random.choice([-1, 1]), :: random.choice([-1, 1])]
        crop = np.roll(crop, int(random.integers(0, width)), axis=1)
        Image.fromarray(crop).save(folder / "train" / "noise" / f"{number:05}.jpg", quality=90)
    Image.fromarray(crop).save(folder / "test" / "noise" / "0.jpg", quality=90)
    return sum(path.stat().st_size for path in folder.rglob("*.jpg")) / 1000 / (pictures + 1)


def used(pid):
    """Returns the megabytes of a process and all that it started, and the seconds that these computed."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
        tasks = [path / "children" for path in Path(f"/proc/{pid}/task").iterdir()]
        children = [int(child) for path in tasks for child in path.read_text().split()]
    except (FileNotFoundError, ProcessLookupError):  # a thread or a process may end meanwhile
        return np.zeros(2)
    own = pages * os.sysconf("SC_PAGE_SIZE") / 1e6, sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
    return sum(map(used, children), np.array(own))


class Competitor:
    """A process that reads the whole folder when asked to."""

    def __init__(self, name, python, spec):
        script, decode = COMPETITORS[name]
        self.name, self.memory, self.computed = name, [], []
        spec = {**spec, "decode": decode, "started": time.time()}
        self.process = subprocess.Popen(
            [python, str(PEERS / script), json.dumps(spec)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": str(ROOT) if "ours" in script else ""},
        )
        self._answer()

    def _answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name} ended: {self.process.stderr.read()[-2000:]}")
        return json.loads(line)

    def seconds(self):
        """Reads once; notes the most memory that this took, and how long processors computed for it."""
        over, seen = threading.Event(), [used(self.process.pid)]

        def watch():
            while not over.wait(0.1):
                seen.append(used(self.process.pid))

        watching = threading.Thread(target=watch)
        watching.start()
        print("train", 1, file=self.process.stdin, flush=True)
        seconds = self._answer()["seconds"]
        over.set()
        watching.join()
        seen.append(used(self.process.pid))
        self.memory.append(max(memory for memory, _ in seen))
        self.computed.append(seen[-1][1] - seen[0][1])
        return seconds

    def end(self):
        print("end", file=self.process.stdin, flush=True)
        self._answer()
        self.process.communicate()


def race(competitors, rounds):
    """Returns the seconds of each competitor, one a round; all take turns in every round."""
    seconds = {one.name: [] for one in competitors}
    for number in range(rounds):
        for one in competitors if number % 2 == 0 else reversed(competitors):
            seconds[one.name].append(one.seconds())
    return seconds


def table(competitors, seconds, pictures):
    """Prints how fast each was, how much faster than the last of them, and its memory over the rounds."""
    last = competitors[-1]
    print(f"  {'':14} pictures/s   times {last.name} (lowest to highest)   CPU, ms each   memory, first to last round")
    for one in competitors:
        speed = pictures / statistics.median(seconds[one.name])
        against = [theirs / ours for ours, theirs in zip(seconds[one.name], seconds[last.name], strict=True)]
        spread = f"{statistics.median(against):.2f} ({min(against):.2f} to {max(against):.2f})"
        computed = 1000 * statistics.median(one.computed) / pictures
        memory = " ".join(f"{megabytes:,.0f}" for megabytes in one.memory)
        print(f"  {one.name:14} {speed:10,.0f}   {spread:36} {computed:12.1f}   {memory} MB", flush=True)


def has_peer(python):
    """Tells whether an interpreter is there and has what PyTorch's side needs."""
    found = Path(python).exists()
    return (
        found and subprocess.run([python, "-c", "import torch, PIL"], capture_output=True, check=False).returncode == 0
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--python", default=str(ROOT / ".peers/torch/bin/python"), help="that has PyTorch and Pillow")
    parser.add_argument("--rounds", type=int, default=7, help="alternating rounds")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="or processes, that decode")
    parser.add_argument("--quick", action="store_true", help="a tenth of the pictures, three rounds")
    parser.add_argument("--only", default=",".join(SETS), help="some of: %(default)s")
    options = parser.parse_args()
    pythons = {"loading_ours.py": sys.executable}
    if has_peer(options.python):
        pythons["loading_pytorch.py"] = options.python
    else:
        print(f"PyTorch is left out: {options.python} does not have it, or not Pillow; see --python", file=sys.stderr)
    for name in options.only.split(","):
        width, height, pictures, batch_size, persistence = SETS[name]
        pictures, rounds = (pictures // 10, 3) if options.quick else (pictures, options.rounds)
        with tempfile.TemporaryDirectory() as folder:
            kilobytes = write(Path(folder), width, height, pictures, persistence)
            spec = {"folder": folder, "size": SIZE, "batch_size": batch_size, "threads": options.threads}
            competitors = [
                Competitor(each, pythons[script], spec)
                for each, (script, _) in COMPETITORS.items()
                if script in pythons
            ]
            seconds = race(competitors, rounds)
            print(f"\n{pictures:,} of {name}, {kilobytes:,.0f} kB each, to {SIZE}x{SIZE}; {options.threads} threads")
            table(competitors, seconds, pictures)
            for one in competitors:
                one.end()


if __name__ == "__main__":
    main()
