"""Starts `main.py` in a fork of a process that has imported what it imports; `processes.py` starts and asks this one.

Imports are half of what a short run costs. A fork goes on with them where an interpreter would begin, so all that is
read on importing is the server's: its environment must not differ there from the one a run is asked for with.
"""

import contextlib
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import sys
import warnings
from pathlib import Path

MAIN = Path(__file__).resolve().parents[1] / "main.py"
LIBRARIES = (
    "PIL.JpegImagePlugin",
    "alembic.command",
    "flax.linen",
    "flax.nnx",
    "jaxlib.mlir.dialects.builtin",
    "jaxlib.mlir.dialects.mhlo",
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "optax",
    "optuna.storages",
    "orbax.checkpoint",
    "rich.progress",
    "safetensors.numpy",
    "scipy.stats",
    "sqlalchemy.dialects.sqlite",
    "sqlalchemy.orm",
    "tensorboardX",
)
"""What most runs import of others' when they need it; of the package, all is imported."""
LONGEST = 2**20
"""So many bytes a request may have."""


def serve(connection):
    """Forks for each request until the other side is gone; returns a request in its fork, and None in the server."""
    while True:
        message, descriptors, *_ = socket.recv_fds(connection, LONGEST, 2)
        if not message:
            return None
        if fork():
            connection.sendall(str(os.getpid()).encode())
            connection.close()
            settle(json.loads(message), descriptors)
            return json.loads(message)
        for descriptor in descriptors:
            os.close(descriptor)


def fork():
    """Tells whether this is the fork, whose parent is then whoever asked for it, if that process is a subreaper."""
    read, write = os.pipe()
    middle = os.fork()
    if middle == 0:
        os.close(write)
        if os.fork():
            os._exit(0)
        os.read(read, 1)  # until the process between is gone
        os.close(read)
        return True
    os.close(read)
    os.waitpid(middle, 0)
    os.close(write)
    return False


def settle(request, descriptors):
    """Makes this fork what an interpreter would be that was started so."""
    for number, descriptor in enumerate(descriptors, 1):
        os.dup2(descriptor, number)
        os.close(descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = [str(MAIN), *request["arguments"]]
    sys.orig_argv = [sys.executable, *sys.argv]
    # Each start has chances of its own; `random` sees to that by itself.
    sys.modules["numpy"].random.seed()
    sys.modules["jax"].config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])


def prepare():
    """Imports, and makes sure that forking is safe and cheap."""
    sys.path[0] = str(MAIN.parent)
    importlib.import_module("main")
    for module in pkgutil.walk_packages([str(MAIN.parent / "cnn")], "cnn."):
        if not module.name.startswith("cnn.export"):  # ONNX starts a thread
            importlib.import_module(module.name)
    for name in LIBRARIES:
        importlib.import_module(name)
    # The other side is asked to end by a signal, and closes the connection when it does.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # JAX warns of threads that it may have started; here are none.
    warnings.filterwarnings("ignore", r"os\.fork\(\) was called", RuntimeWarning)
    threads = [Path(f"/proc/self/task/{task}/comm").read_text() for task in os.listdir("/proc/self/task")]
    assert len(threads) == 1, threads
    gc.collect()
    gc.freeze()


if __name__ == "__main__":
    prepare()
    with contextlib.closing(socket.socket(fileno=int(sys.argv[1]))) as asked:
        run = serve(asked)
    if run is not None:
        runpy.run_path(str(MAIN), run_name="__main__")
