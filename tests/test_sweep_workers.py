"""`--sweep.workers`: copies of a command that share a sweep, a terminal and their end."""

import contextlib
import json
import os
import signal
import time
from pathlib import Path

import pytest

import processes
import sweeps

GRID = "--grid=optimizer.learning_rate=0.003,0.03;seed=0,1,2"
FLAGS = [*processes.flags(train__epochs="2", checkpoint__every="epochs(1)"), GRID]
ONE = [*FLAGS, "--sweep.pruner=halving(min_epochs=50)"]
"""It ends none, but with a pruner one trial at a time is under way, so that none is claimed where a step stops."""
STOPPED = "T"


@contextlib.contextmanager
def two(folder, fault, flags=ONE, **environment):
    """Yields a sweep of two workers, whose workers a fault point has stopped, and these workers."""
    command = ("sweep", *flags, "--sweep.workers=2", f"--workdir={folder}")
    # They would write what they compile into one folder.
    with processes.Running(*command, fault=fault, **processes.READING, **environment) as sweep:
        found = []
        try:
            wait(lambda: len(names(folder)) == 2, sweep)
            found += [int(name.split("-")[-2]) for name in names(folder)]
            wait(lambda: [state(worker) for worker in found] == [STOPPED, STOPPED], sweep)
            yield sweep, found
        finally:
            for worker in found:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(worker, signal.SIGKILL)


def names(folder):
    return [path.name for path in Path(folder, "workers").glob("*")]


def state(worker):
    """Returns the letter by which the system knows what a process does, empty for none or for one that has ended."""
    try:
        letter = Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return ""
    return "" if letter == "Z" else letter


def wait(happened, sweep):
    deadline = time.monotonic() + processes.PATIENCE
    while not happened():
        assert time.monotonic() < deadline, sweep.read()
        time.sleep(0.05)


def go_on(workers):
    for worker in workers:
        os.kill(worker, signal.SIGCONT)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Returns the outcomes of the sweep of one worker."""
    folder = tmp_path_factory.mktemp("alone") / "s"
    done = processes.start("sweep", *FLAGS, f"--workdir={folder}")
    assert done.code == 0, done.err
    return sweeps.outcomes(folder)


def assert_whole(folder, alone):
    assert sweeps.outcomes(folder) == alone
    assert sweeps.finishes(folder) == dict.fromkeys(range(6), 1)


@pytest.mark.slow(seconds=13)
def test_two_workers_share_the_trials_the_cores_and_the_terminal(tmp_path, alone):
    with two(tmp_path / "s", "claimed:stop:1", FLAGS, NPROC="3") as (sweep, workers):
        go_on(workers)
        done = sweep.wait()
    assert done.code == 0, done.err
    assert_whole(tmp_path / "s", alone)
    by = {row["worker"] for row in sweeps.record(tmp_path / "s")["trials"]}
    assert sorted(int(name.split("-")[-2]) for name in by) == sorted(workers)
    assert {json.loads(path.read_text())["cpu_threads"] for path in tmp_path.glob("s/trials/*/run.json")} == {1}
    assert done.err.count("6 of 6 trials to run") == 1
    ended = [line.split()[0] for line in done.err.splitlines() if line.startswith("[")]
    assert sorted(ended) == [f"[{number}/6]" for number in range(1, 7)]
    assert done.out.count("6 trials: 6 finished") == 1
    assert "more than there are cores" not in done.err


@pytest.mark.slow(seconds=13)
def test_a_worker_that_is_killed_is_told_and_its_trials_are_taken_over(tmp_path, alone):
    with two(tmp_path / "s", "step:stop:3") as (sweep, workers):
        os.kill(workers[0], signal.SIGKILL)
        go_on(workers[1:])
        done = sweep.wait()
    assert done.code == 128 + signal.SIGKILL
    assert "a worker died of signal 9; others, or the same command again, take over its trials" in done.err
    assert "--sweep.workers: 2 are more than there are cores, 1: they take turns" in done.err
    assert "6 trials: 6 finished" in done.out
    assert_whole(tmp_path / "s", alone)


@pytest.mark.thorough(1)
@pytest.mark.slow(seconds=13)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_the_trials_of_all_workers_and_the_same_command_continues(tmp_path, alone, number):
    with two(tmp_path / "s", "step:stop:3") as (sweep, workers):
        os.kill(sweep.pid, number)
        go_on(workers)
        done = sweep.wait()
        assert [state(worker) for worker in workers] == ["", ""]
    assert done.code == 75
    assert done.err.count("interrupted. The same command continues from what is saved") == 1
    assert "died" not in done.err and "Traceback" not in done.err
    done = processes.start("sweep", *ONE, f"--workdir={tmp_path / 's'}")
    assert done.code == 0, done.err
    assert_whole(tmp_path / "s", alone)


@pytest.mark.slow(seconds=13)
def test_a_second_signal_ends_all_workers_at_once(tmp_path):
    with two(tmp_path / "s", "step:stop:3,before_save:stop:1") as (sweep, workers):
        os.kill(sweep.pid, signal.SIGTERM)
        go_on(workers)
        wait(lambda: [state(worker) for worker in workers] == [STOPPED, STOPPED], sweep)
        os.kill(sweep.pid, signal.SIGTERM)
        go_on(workers)
        done = sweep.wait()
        assert [state(worker) for worker in workers] == ["", ""]
    assert done.code == 143


@pytest.mark.thorough
@pytest.mark.slow(seconds=13)
def test_no_worker_outlives_the_command_that_is_killed(tmp_path, alone):
    with two(tmp_path / "s", "step:stop:3") as (sweep, workers):
        sweep.process.kill()
        sweep.wait()
        go_on(workers)
        wait(lambda: [state(worker) for worker in workers] == ["", ""], sweep)
    done = processes.start("sweep", *ONE, f"--workdir={tmp_path / 's'}")
    assert done.code == 0, done.err
    assert_whole(tmp_path / "s", alone)
