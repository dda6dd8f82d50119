"""A run that is killed, at whatever moment, ends with the same bytes as one that nothing interrupts."""

import contextlib
import subprocess

import pytest

import processes
import runs
from processes import Running, can, flags, outcome, start

pytestmark = pytest.mark.slow(seconds=9)
NEEDS_STRACE = pytest.mark.skipif(not can("strace", "-qq", "-f", "true"), reason="strace cannot trace here")
KILLED = -9


@pytest.fixture(scope="module")
def same(tmp_path_factory):
    return processes.straight(tmp_path_factory.mktemp("kill"), *flags())


def finish(workdir, same, *arguments):
    """Runs the command again, to the end, and compares."""
    done = start(*(arguments or flags()), f"--workdir={workdir}")
    assert done.code == 0, done.err
    assert "Traceback" not in done.err
    assert outcome(workdir) == same
    assert processes.steps(workdir)[1] == [], "what the killed process left is gone"
    assert not (workdir / "checkpoints" / "_trash").exists()


def killed(workdir, fault, *arguments):
    done = start(*(arguments or flags()), f"--workdir={workdir}", fault=fault)
    assert done.code == KILLED, (fault, done)
    assert not (workdir / "result.json").exists()


@pytest.mark.thorough(1)
@pytest.mark.parametrize(
    "faults",
    [
        # Before the first checkpoint: each begins from nothing.
        ("load:kill:1", "opened:kill:1", "step:kill:2", "before_save:kill:1"),
        # Each continues where the one before it had saved.
        ("evaluate:kill:1", "after_commit:kill:1", "step:kill:9", "before_save:kill:1"),
        # The last of them with all steps made, in the final evaluations and just before their result is written.
        ("step:kill:17", "after_commit:kill:4", "after_last_step:kill:1", "evaluate:kill:2", "before_result:kill:1"),
    ],
)
def test_killed_at_named_points(same, tmp_path, faults, record_property):
    record_property("kills", len(faults))
    for fault in faults:
        killed(tmp_path / "run", fault)
    finish(tmp_path / "run", same)


def test_tensorboard_holds_what_was_saved_and_in_the_end_what_metrics_hold(tmp_path):
    def steps():
        return {step for *_, step in runs.scalars(tmp_path / "run")[0]}

    killed(tmp_path / "run", "step:kill:13")
    assert max(processes.steps(tmp_path / "run")[0]) == 12
    assert steps() >= {4, 8, 12}
    killed(tmp_path / "run", "step:kill:9")
    assert start(*flags(), f"--workdir={tmp_path / 'run'}").code == 0
    found = runs.scalars(tmp_path / "run")[0]
    assert all(len(values) == 1 for values in found.values())
    assert {step for *_, step in found} == {record["step"] for record in runs.records(tmp_path / "run")}


def kill_in_save(workdir, nth_save, call, nth_call):
    """Kills a run at the n-th system call of that name that one of its threads makes from the n-th save on."""
    with Running(*flags(), f"--workdir={workdir}", fault=f"before_save:stop:{nth_save}") as running:
        running.wait_until_stopped()
        inject = f"inject={call}:signal=SIGKILL:when={nth_call}"
        command = ["strace", "-f", "-p", str(running.pid), "-o", "/dev/null", "-e", f"trace={call}", "-e", inject]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr
            said = tracer.stderr.readline()
            if "attached" not in said:
                pytest.skip(f"strace may not attach here: {said}")
            running.go_on()
            done = running.wait()
            tracer.communicate()
    return done


@pytest.mark.thorough(1)
@NEEDS_STRACE
@pytest.mark.parametrize(
    "places",
    [
        ((1, "openat", 3), (1, "rename", 4), (2, "mkdir", 5)),
        ((3, "rename", 1), (1, "fsync", 2), (1, "write", 2)),
        ((2, "unlink", 1), (1, "fsync", 9), (2, "rename", 6)),
        # In later saves than the second, a step that is no longer wanted is removed with these.
        ((4, "unlinkat", 1), (2, "unlinkat", 20), (2, "rmdir", 1)),
    ],
)
def test_killed_in_the_middle_of_saves(same, tmp_path, places, record_property):
    workdir = tmp_path / "run"
    record_property("kills", len(places))
    for place in places:
        done = kill_in_save(workdir, *place)
        assert done.code == KILLED, (place, done)
    finish(workdir, same)


@pytest.mark.thorough
def test_killed_while_compiling(tmp_path, record_property):
    slow = flags(model__layers="conv(4, 3) | batch_norm | relu | conv(4, 3) | flatten | dense(classes)")
    reference = processes.straight(tmp_path, *slow)
    workdir = tmp_path / "run"
    waits = (0.05, 0.4)
    record_property("kills", len(waits))
    for wait in waits:
        with Running(*slow, f"--workdir={workdir}", fault="opened:stop:1", **processes.COLD) as running:
            running.wait_until_stopped()
            running.go_on()
            with contextlib.suppress(subprocess.TimeoutExpired):
                running.process.wait(wait)
            running.process.kill()
            assert running.wait().code == KILLED
        assert (workdir / "metrics.jsonl").read_bytes() == b"", "it was still compiling"
    assert str(workdir) in (workdir / ".lock").read_text(), "which the killed process left"
    finish(workdir, reference, *slow)
