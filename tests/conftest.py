"""How the suite runs JAX: one thread for each worker, and quick compiles where only the fast tests are asked for."""

import collections
import gc
import os
import sys

import pytest

from processes import QUICK


def pytest_configure(config):
    # Before anything imports JAX; commands that tests start inherit all of it.
    names = QUICK if config.option.markexpr == "not slow" else ["NPROC"]
    for name in names:
        os.environ.setdefault(name, QUICK[name])
    # As the program does: Python would look through all that is imported, collected and traced for garbage.
    gc.set_threshold(100_000, 10, 10)


def pytest_collection_finish():
    gc.freeze()


def pytest_collection_modifyitems(items):
    """Puts the files that take longest first, so that at the end no worker is alone with one."""
    seconds = collections.Counter()
    for item in items:
        seconds[item.path] += sum(mark.kwargs.get("seconds", 1) for mark in item.iter_markers("slow"))
    items.sort(key=lambda item: -seconds[item.path])


def pytest_terminal_summary(terminalreporter):
    """Prints how many of the killed runs ended with the same bytes as one that nothing interrupted."""
    kills = {
        outcome: sum(
            number
            for report in terminalreporter.getreports(outcome)
            for name, number in report.user_properties
            if name == "kills" and report.when == "call"
        )
        for outcome in ("passed", "failed")
    }
    if any(kills.values()):
        terminalreporter.write_line(f"SIGKILL: {kills['passed']} of {sum(kills.values())} the same")


@pytest.fixture(autouse=True, scope="module")
def _no_extension_stays():
    """Leaves no user's code in the tables for the next file, as each config does that names none."""
    yield
    if "cnn.config.extensions" in sys.modules:
        sys.modules["cnn.config.extensions"].use([])


@pytest.fixture
def fault(monkeypatch):
    """Arranges the faults of the variable `CNN_FAULT`, counted from now."""
    from cnn.system import fault_injection

    def arrange(text):
        fault_injection._passed.clear()
        monkeypatch.setenv("CNN_FAULT", text)

    return arrange


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A finished run of the tiny experiment, for tests that only read it."""
    import runs

    workdir = tmp_path_factory.mktemp("finished") / "run"
    assert runs.train(workdir) == 0
    return workdir


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder with MNIST as TFDS prepares it, from small files of ours."""
    from data_files import prepare_from, write_mnist

    root = tmp_path_factory.mktemp("prepared")
    write_mnist(root / "files")
    prepare_from(root / "files", root / "root")
    return root / "root"
