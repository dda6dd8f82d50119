"""How the suite runs JAX: one thread for each worker, and quick compiles where only the fast tests are asked for."""

import os


def pytest_configure(config):
    # Before anything imports JAX; commands that tests start inherit both.
    os.environ.setdefault("NPROC", "1")
    if config.option.markexpr == "not slow":
        os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
