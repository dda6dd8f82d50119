"""How the suite runs JAX: one thread for each worker, and quick compiles except where a test is about full ones."""

import collections
import gc
import os
import sys

import pytest

from processes import QUICK

FAST, QUICKLY = "not slow", ("not slow", "not compiled")
"""What `-m` says where the fast tests alone are run, and where programs are compiled quickly."""
PASSED = "cnn/passed"
"""Where pytest keeps which fast tests passed, for `--rest`."""


def pytest_addoption(parser):
    parser.addoption(
        "--rest",
        action="store_true",
        help=f"all tests but those that passed the last time with -m '{FAST}' and are not marked as compiled, and but "
        "those that are marked as thorough",
    )
    parser.addoption("--thorough", action="store_true", help="with --rest, also the tests that are marked as thorough")


def pytest_configure(config):
    # Before anything imports JAX; commands that tests start inherit all of it.
    names = QUICK if config.option.markexpr in QUICKLY else ["NPROC"]
    for name in names:
        os.environ.setdefault(name, QUICK[name])
    # As the program does: Python would look through all that is imported, collected and traced for garbage.
    gc.set_threshold(100_000, 10, 10)
    if config.option.rest and config.cache.get(PASSED, None) is None:
        raise pytest.UsageError(f"--rest: no fast test passed yet. Run pytest -m '{FAST}' before")


def pytest_collection_finish(session):
    gc.freeze()
    if session.config.option.markexpr != FAST and not session.config.option.collectonly:
        # Many slow tests compile what others did, or a process that they start does.
        import jax

        import processes

        jax.config.update("jax_compilation_cache_dir", str(processes.compiled()))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)
        jax.config.update("jax_persistent_cache_enable_xla_caches", "none")


def pytest_collection_modifyitems(config, items):
    """Puts the files that take longest first, so that at the end no worker is alone with one."""
    for case in _all_but_few("few", [item for item in items if not item.get_closest_marker("slow")]):
        case.add_marker(pytest.mark.slow(seconds=0.3))
    if config.option.rest:
        passed = {*config.cache.get(PASSED, [])}
        left_out = {item for item in items if item.nodeid in passed and not item.get_closest_marker("compiled")}
        if not config.option.thorough:
            left_out.update(_all_but_few("thorough", items))
        config.hook.pytest_deselected(items=[item for item in items if item in left_out])
        items[:] = [item for item in items if item not in left_out]
    seconds = collections.Counter()
    for item in items:
        slow = item.get_closest_marker("slow")
        if not slow:
            seconds[item.path] += 0.05
        elif config.option.markexpr != FAST:
            seconds[item.path] += slow.kwargs.get("seconds", 1)
    items.sort(key=lambda item: -seconds[item.path])


def _all_but_few(mark, items):
    """Returns the cases of the tests with that mark, but for as many of each, evenly taken, as the mark says."""
    alike = collections.defaultdict(list)
    for item in items:
        marker = item.get_closest_marker(mark)
        if marker:
            alike[item.nodeid.partition("[")[0], *marker.args].append(item)
    others = []
    for (_, *count), cases in alike.items():
        number = min(sum(count), len(cases))
        taken = {len(cases) * place // number for place in range(number)}
        others += [case for place, case in enumerate(cases) if place not in taken]
    return others


def pytest_terminal_summary(terminalreporter, config):
    """Prints what passed before, and how many of the killed runs ended with the bytes of one never interrupted."""
    passed = {report.nodeid for report in terminalreporter.getreports("passed") if report.when == "call"}
    if config.option.markexpr == FAST and not config.option.collectonly:
        config.cache.set(PASSED, sorted(passed))
    if config.option.rest:
        before = {*config.cache.get(PASSED, [])}
        terminalreporter.write_line(
            f"{len(before)} tests had passed with quick compiles; {len(before & passed)} of them passed here once more"
        )
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
    if "cnn.registry" in sys.modules:
        for table in sys.modules["cnn.registry"].TABLES.values():
            table.forget("")
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
