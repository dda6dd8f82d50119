"""Runs as a person starts them, in real processes that are killed, stopped and starved."""

import functools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

MAIN = Path(__file__).resolve().parents[1] / "main.py"
NETWORK = {
    "config.data.image_shape": "(8,8,1)",
    "config.data.resize": "exact",
    "config.data.augment": "",
    "config.model.layers": "flatten | dropout(0.1) | dense(classes)",
    "config.train.batch_size": "100",
    "config.train.epochs": "3",
    "config.train.log_every_steps": "4",
    "config.train.average": "ema(0.9)",
    "config.checkpoint.every": "steps(5)",
    "config.report.page": "never",
}
"""36 steps in 3 epochs; saved after 5, 10, 12 (the first evaluation), 15, 20, ..."""
QUICK = {
    "NPROC": "1",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
    # What computes several operations in one loop is compiled in less than half the time without MLIR.
    "XLA_FLAGS": "--xla_cpu_use_fusion_emitters=false",
}
"""The environment of quick compiles: what is computed is the same within rounding."""
PATIENCE = 240


class Done(NamedTuple):
    """How a process ended."""

    code: int
    out: str
    err: str


def flags(**changes):
    """Returns the tiny run's flags; `train__epochs="2"` changes `config.train.epochs`."""
    changed = {f"config.{name.replace('__', '.')}": value for name, value in changes.items()}
    return [f"--{name}={value}" for name, value in {**NETWORK, **changed}.items()]


def environment(fault="", **changes):
    return {**os.environ, **QUICK, "PYTHONDONTWRITEBYTECODE": "1", "CNN_FAULT": fault, **changes}


def devices(count):
    """Returns what the environment says for so many devices of one CPU, still with quick compiles."""
    return {"XLA_FLAGS": f"{QUICK['XLA_FLAGS']} --xla_force_host_platform_device_count={count}"}


class Running:
    """A process of `main.py`, or of what starts it, with its outputs in files."""

    def __init__(self, *arguments, fault="", before=(), cwd="/", **changes):
        self.out, self.err = (tempfile.TemporaryFile("w+") for _ in range(2))
        command = [*map(str, before), sys.executable, str(MAIN), *map(str, arguments)]
        self.process = subprocess.Popen(
            command,
            stdout=self.out,
            stderr=self.err,
            cwd=cwd,
            env=environment(fault, **changes),
            # Whoever starts the tests in the background may have had SIGINT ignored, which children inherit.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        self.pid = self.process.pid

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.returncode is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
            self.process.wait()
        self.out.close()
        self.err.close()

    def wait_until_stopped(self):
        """Waits for a fault point to stop the process, without which this fails."""
        assert os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT).si_code == os.CLD_STOPPED, (
            self.wait()
        )

    def go_on(self):
        self.process.send_signal(signal.SIGCONT)

    def wait(self):
        """Returns how the process ended, which it must within `PATIENCE` seconds."""
        self.process.wait(PATIENCE)
        return Done(self.process.returncode, *self.read())

    def read(self):
        texts = []
        for file in (self.out, self.err):
            file.seek(0)
            texts.append(file.read())
        return texts


def start(*arguments, **options):
    """Returns how `python main.py` ends with these arguments."""
    with Running(*arguments, **options) as running:
        return running.wait()


def outcome(workdir):
    """Returns what must be the same however often a run was interrupted: the fingerprint and the metrics' bytes."""
    return json.loads((workdir / "result.json").read_text())["fingerprint"], (workdir / "metrics.jsonl").read_bytes()


def events(workdir):
    return [json.loads(line)["event"] for line in (workdir / "events.jsonl").read_text().splitlines()]


def steps(workdir):
    """Returns the saved steps, and whatever else lies beside them."""
    names = sorted(path.name for path in (workdir / "checkpoints").iterdir())
    return [int(name) for name in names if name.isdigit()], [name for name in names if not name.isdigit()]


def straight(folder, *arguments, **options):
    """Returns the outcome of a run that nothing interrupts."""
    done = start(*arguments, f"--workdir={folder / 'straight'}", **options)
    assert done.code == 0, done.err
    return outcome(folder / "straight")


@functools.cache
def can(*command):
    """Tells whether a command works on this machine."""
    return shutil.which(command[0]) is not None and subprocess.run(command, capture_output=True).returncode == 0
