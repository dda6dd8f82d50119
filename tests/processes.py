"""Runs as a person starts them, in real processes that are killed, stopped and starved."""

import atexit
import contextlib
import ctypes
import functools
import json
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import fork_server
from fork_server import MAIN

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
FREE = {"CNN_FAULT", "JAX_COMPILATION_CACHE_DIR", "PYTEST_CURRENT_TEST", "TFDS_DATA_DIR"}
"""Of the environment, what nothing reads on importing: a fork of the server may have its own."""
COLD = {"JAX_ENABLE_COMPILATION_CACHE": "false"}
"""Changes the environment of a process that is to compile everything itself."""
KEEPING = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
READING = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1e9"}
"""Changes that of a process which shall keep what it compiles for others, and of one that shall not."""
PR_SET_CHILD_SUBREAPER = 36


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
    """Returns that of a process with quick compiles, which reads what was compiled before and keeps nothing there."""
    return {
        **os.environ,
        **QUICK,
        **READING,
        "JAX_COMPILATION_CACHE_DIR": str(compiled()),
        # Else JAX gives the compiler a folder there as an option, with which no program is found in another folder.
        "JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES": "none",
        "OPENBLAS_NUM_THREADS": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
        "CNN_FAULT": fault,
        **changes,
    }


@functools.cache
def compiled():
    """Returns the folder of what this process and those that it starts compiled, which is gone in the end."""
    folder = tempfile.TemporaryDirectory(prefix="compiled")
    atexit.register(folder.cleanup)
    return Path(folder.name)


def devices(count):
    """Returns what the environment says for so many devices of one CPU, still with quick compiles."""
    return {"XLA_FLAGS": f"{QUICK['XLA_FLAGS']} --xla_force_host_platform_device_count={count}"}


class Server:
    """A process that forks runs of `main.py`, with the environment of quick compiles; see `fork_server.py`."""

    def __init__(self):
        self.environment = environment(**KEEPING)
        self.asked, theirs = socket.socketpair()
        self.process = subprocess.Popen(
            [sys.executable, fork_server.__file__, str(theirs.fileno())],
            env=self.environment,
            pass_fds=[theirs.fileno()],
            stdout=subprocess.DEVNULL,
        )
        theirs.close()

    def close(self):
        self.asked.close()
        self.process.wait()

    def start(self, arguments, out, err, cwd, environment):
        """Returns a fork, or `None` where the environment says what is read on importing."""
        differing = {
            name for name in {*environment, *self.environment} if environment.get(name) != self.environment.get(name)
        }
        if not differing <= FREE:
            return None
        request = {"arguments": arguments, "cwd": cwd, "environment": environment}
        libc = ctypes.CDLL(None, use_errno=True)
        # The fork's parent ends at once, and this process becomes that: the fork is ours to wait for.
        assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
        try:
            socket.send_fds(self.asked, [json.dumps(request).encode()], [out.fileno(), err.fileno()])
            return Fork(int(self.asked.recv(32)))
        finally:
            libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


@functools.cache
def server():
    started = Server()
    atexit.register(started.close)
    return started


class Fork:
    """A child that another process has forked, with what `subprocess.Popen` has."""

    def __init__(self, pid):
        self.pid, self.returncode = pid, None
        self._descriptor = os.pidfd_open(pid)

    def poll(self):
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def wait(self, timeout=None):
        if self.returncode is None:
            ended = select.poll()
            ended.register(self._descriptor, select.POLLIN)
            if not ended.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired("fork", timeout)
            self.returncode = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            os.close(self._descriptor)
        return self.returncode

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self):
        self.send_signal(signal.SIGKILL)


class Running:
    """A process of `main.py`, or of what starts it, with its outputs in files.

    It is a fork of one that has imported everything, unless something starts it (`before`), its environment says what
    is read on importing, or `real` asks for a start of Python's own.
    """

    def __init__(self, *arguments, fault="", before=(), cwd="/", real=False, **changes):
        self.out, self.err = (tempfile.TemporaryFile("w+") for _ in range(2))
        # Of its own, as JAX writes in place: whoever is killed, or leaves at once, leaves half a program.
        self.compiled = tempfile.TemporaryDirectory(dir=compiled(), prefix=".", ignore_cleanup_errors=True)
        for path in compiled().glob("[!.]*"):
            os.link(path, Path(self.compiled.name, path.name))
        arguments = [*map(str, arguments)]
        changes = {**KEEPING, "JAX_COMPILATION_CACHE_DIR": self.compiled.name, **changes}
        environ = environment(fault, **changes)
        self.process = None
        if not before and not real:
            self.process = server().start(arguments, self.out, self.err, str(cwd), environ)
        self.is_fork = self.process is not None
        if self.process is None:
            self.process = subprocess.Popen(
                [*map(str, before), sys.executable, str(MAIN), *arguments],
                stdout=self.out,
                stderr=self.err,
                cwd=cwd,
                env=environ,
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
        if self.process.returncode == 0:
            for path in Path(self.compiled.name).iterdir():
                with contextlib.suppress(FileExistsError):
                    os.link(path, compiled() / path.name)
        self.compiled.cleanup()

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
