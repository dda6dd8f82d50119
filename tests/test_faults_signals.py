"""Signals, a second process, full and read-only disks: each ends with its exit code, and the next start goes on."""

import json
import os
import resource
import shlex
import signal
import subprocess
import time

import numpy as np
import pytest
from PIL import Image

import processes
from processes import Running, can, events, flags, outcome, start, steps

pytestmark = pytest.mark.slow(seconds=5)
INTERRUPTED, FORCED, HELD, IO_ERROR, WRONG = 75, 143, 73, 74, 2
NEEDS_MOUNT = pytest.mark.skipif(
    not can("unshare", "-Urm", "mount", "-t", "tmpfs", "none", "/mnt"), reason="no tmpfs can be mounted here"
)


@pytest.fixture(scope="module")
def same(tmp_path_factory):
    return processes.straight(tmp_path_factory.mktemp("signals"), *flags())


def finish(workdir, same, *arguments):
    done = start(*(arguments or flags()), f"--workdir={workdir}")
    assert done.code == 0, done.err
    assert outcome(workdir) == same


@pytest.mark.thorough(1)
@pytest.mark.parametrize(
    "signals",
    [
        # The step that is saved then, the last of the call under way; none while the data are read: no run yet.
        [("load:term:1", None), ("opened:int:1", 0), ("step:term:8", 8), ("evaluate:term:1", 12)],
        # The last comes in the test split, after training.
        [("before_save:term:2", 10), ("step:int:7", 20), ("evaluate:int:4", 36)],
    ],
)
def test_a_signal_saves_and_exits_with_75(same, tmp_path, signals):
    workdir = tmp_path / "run"
    for fault, saved in signals:
        done = start(*flags(), f"--workdir={workdir}", fault=fault)
        assert (done.code, "Traceback" in done.err) == (INTERRUPTED, False), (fault, done)
        assert "interrupted. The same command continues from what is saved" in done.err
        if saved is None:
            assert not workdir.exists()
        else:
            assert steps(workdir)[0][-1] == saved, fault
    finish(workdir, same)


def test_a_signal_while_compiling_exits_with_75(same, tmp_path):
    workdir = tmp_path / "run"
    with Running(*flags(), f"--workdir={workdir}", fault="opened:stop:1", **processes.COLD) as running:
        running.wait_until_stopped()
        running.go_on()
        time.sleep(0.1)
        running.process.send_signal(signal.SIGTERM)
        assert running.wait().code == INTERRUPTED
    assert events(workdir) == ["start", "preempted"]
    finish(workdir, same)


def test_a_signal_while_many_pictures_are_read_exits_at_once(tmp_path):
    picture = np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), dtype=np.uint8)
    Image.fromarray(picture).save(tmp_path / "noise.png")
    for number in range(1000):
        folder = tmp_path / "pictures" / ("train", "test")[number % 2] / "class"
        folder.mkdir(parents=True, exist_ok=True)
        os.link(tmp_path / "noise.png", folder / f"{number}.png")
    arguments = flags(
        data__name="folder", data__data_dir=tmp_path / "pictures", data__classes="1", data__resize="nearest"
    )
    with Running(*arguments, f"--workdir={tmp_path / 'run'}", fault="load:stop:1") as running:
        running.wait_until_stopped()
        running.go_on()
        time.sleep(0.5)
        running.process.send_signal(signal.SIGTERM)
        assert running.wait().code == INTERRUPTED
    assert not (tmp_path / "run").exists(), "the data were not read to their end"


def test_a_second_signal_leaves_at_once(same, tmp_path):
    workdir = tmp_path / "run"
    done = start(*flags(), f"--workdir={workdir}", fault="step:term:17,before_save:term:5")
    assert done.code == FORCED
    assert steps(workdir)[0][-1] == 15, "the last periodic save"
    finish(workdir, same)


def test_a_stopped_process_goes_on(same, tmp_path):
    workdir = tmp_path / "run"
    with Running(*flags(), f"--workdir={workdir}", fault="step:stop:17") as running:
        running.wait_until_stopped()
        time.sleep(1)
        running.go_on()
        assert running.wait().code == 0
    assert outcome(workdir) == same


def test_a_second_process_is_refused_and_the_first_unaffected(same, tmp_path):
    workdir = tmp_path / "run"
    with Running(*flags(), f"--workdir={workdir}", fault="step:stop:8") as running:
        running.wait_until_stopped()
        before = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()}
        second = start(*flags(), f"--workdir={workdir}")
        assert second.code == HELD
        assert f"{workdir} is held by another process: {running.pid} on " in second.err
        assert len(second.err.splitlines()) == 1
        assert {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file()} == before
        running.go_on()
        assert running.wait().code == 0
    assert outcome(workdir) == same


def test_eval_under_a_signal_leaves_whole_files(tmp_path):
    workdir = tmp_path / "run"
    processes.straight(tmp_path, *flags(train__epochs="1"))
    (tmp_path / "straight").rename(workdir)
    names = ("evaluation-test.json", "predictions-test.npz")
    before = [(workdir / name).read_bytes() for name in names]
    done = start("eval", f"--workdir={workdir}", fault="evaluate:term:1")
    assert (done.code, "Traceback" in done.err) == (INTERRUPTED, False), done.err
    assert [(workdir / name).read_bytes() for name in names] == before
    assert start("eval", f"--workdir={workdir}").code == 0
    assert (workdir / names[0]).read_bytes() == before[0]


def test_eval_beside_a_training_run_reads_one_whole_step(tmp_path):
    workdir, evaluation = tmp_path / "run", tmp_path / "run" / "evaluation-test.json"
    arguments = flags(train__epochs="400", checkpoint__every="steps(1)")
    found = []
    with Running(*arguments, f"--workdir={workdir}", fault="step:stop:3") as running:
        running.wait_until_stopped()
        running.go_on()
        for _ in range(2):
            done = start("eval", f"--workdir={workdir}")
            assert (done.code, done.err) == (0, ""), done
            found.append(json.loads(evaluation.read_text()))
        assert running.process.poll() is None, "the run lasts longer than the evaluations"
    assert found[0]["step"] < found[-1]["step"]
    last = found[-1]
    again = tmp_path / "again"
    assert start(*arguments, f"--workdir={again}", fault=f"step:term:{last['step']}").code == INTERRUPTED
    assert start("eval", f"--workdir={again}").code == 0
    assert json.loads((again / evaluation.name).read_text()) == last


@NEEDS_MOUNT
def test_a_full_disk_keeps_the_finished_steps(same, tmp_path):
    """On a tmpfs of its own, copied off before it goes: the run ends with 74, and goes on where there is room."""
    disk, copy = tmp_path / "disk", tmp_path / "copy"
    disk.mkdir()
    command = shlex.join([processes.sys.executable, str(processes.MAIN), *flags(), f"--workdir={disk}/run"])
    script = (
        f"mount -t tmpfs -o size=260k none {disk} && {{ {command}; code=$?; cp -a {disk}/run {copy}; exit $code; }}"
    )
    done = subprocess.run(
        ["unshare", "-Urm", "bash", "-c", script], env=processes.environment(), capture_output=True, text=True
    )
    assert done.returncode == IO_ERROR, done
    found, beside = steps(copy)
    assert beside == [], "no half-written step is left"
    assert found
    assert not list(copy.glob(".*.tmp"))
    finish(copy, same)


def test_no_room_for_the_metrics_ends_the_run_and_loses_nothing(tmp_path):
    arguments = flags(train__log_every_steps="1", checkpoint__every="epochs(1)")
    reference = processes.straight(tmp_path, *arguments)
    workdir = tmp_path / "run"
    with Running(*arguments, f"--workdir={workdir}", fault="step:stop:17") as running:
        running.wait_until_stopped()
        room = (workdir / "metrics.jsonl").stat().st_size + 100
        resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (room, room))
        running.go_on()
        done = running.wait()
    assert done.code == IO_ERROR
    assert done.err.splitlines()[-1] == f"{workdir / 'metrics.jsonl'}: File too large"
    assert (workdir / "metrics.jsonl").read_text().endswith("}\n"), "no half record"
    finish(workdir, reference, *arguments)


def test_a_failed_save_is_made_up_for(same, tmp_path):
    done = start(*flags(), f"--workdir={tmp_path / 'run'}", fault="before_save:error:2,after_commit:error:4")
    assert done.code == 0, done.err
    assert events(tmp_path / "run").count("save failed") == 2
    assert "save failed: step 10, reason [Errno 28] No space left on device" in done.err
    assert outcome(tmp_path / "run") == same


@pytest.mark.skipif(not can("strace", "-qq", "-f", "true"), reason="strace cannot trace here")
def test_saves_that_the_system_refuses_end_the_run(same, tmp_path):
    workdir = tmp_path / "run"
    with Running(*flags(), f"--workdir={workdir}", fault="before_save:stop:3") as running:
        running.wait_until_stopped()
        refuse = "inject=fsync,fdatasync:error=ENOSPC"
        command = [
            "strace",
            "-f",
            "-p",
            str(running.pid),
            "-o",
            "/dev/null",
            "-e",
            "trace=fsync,fdatasync",
            "-e",
            refuse,
        ]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
            assert tracer.stderr
            if "attached" not in tracer.stderr.readline():
                pytest.skip("strace may not attach here")
            running.go_on()
            done = running.wait()
            tracer.communicate()
    assert done.code == IO_ERROR
    assert "No space left" in done.err.splitlines()[-1]
    assert steps(workdir) == ([5, 10], []), "the finished steps, and nothing else"
    finish(workdir, same)


def test_a_folder_that_may_not_be_written_is_refused_before_compiling(tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o555)
    plain = ("setpriv", "--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")
    before = plain if os.geteuid() == 0 else ()
    if before and not can(*plain, "true"):
        pytest.skip("root writes everywhere, and setpriv cannot take that away")
    done = start("train", *flags(), f"--workdir={folder / 'run'}", before=before, fault="opened:kill:1")
    assert done.code == IO_ERROR
    assert done.err.endswith(f"--workdir: {folder / 'run'}: Permission denied\n")
    assert list(folder.iterdir()) == []


def test_neither_a_home_nor_the_current_folder_need_be_writable(tmp_path):
    workdir = tmp_path / "run"
    done = start(*flags(train__epochs="1"), f"--workdir={workdir}", HOME="/nonexistent", cwd="/proc")
    assert (done.code, "Traceback" in done.err) == (0, False), done.err


@pytest.mark.parametrize("given", ["abc", "0", "-1", "1000000"])
def test_a_number_of_threads_that_is_none_is_refused(tmp_path, given):
    done = start(*flags(), f"--workdir={tmp_path / 'run'}", NPROC=given)
    expected = f"NPROC: must be the number of CPU threads, 1 to 1024, got '{given}'. Unset it to use all\n"
    assert (done.code, done.out, done.err) == (WRONG, "", expected)
