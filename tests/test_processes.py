"""The forks in which tests start most runs: they are what `python main.py` is."""

import signal

import pytest

import processes
import runs
from processes import Running, flags, outcome, start

pytestmark = pytest.mark.slow(seconds=3)


@pytest.mark.slow(seconds=12)
def test_a_fork_writes_the_bytes_of_a_start_of_its_own(tmp_path):
    found = []
    for name, more in {"cold": {"real": True, **processes.COLD}, "real": {"real": True}, "fork": {}, "two": {}}.items():
        with Running(*flags(), f"--workdir={tmp_path / name}", **more) as running:
            assert running.is_fork is not bool(more)
            done = running.wait()
        assert done.code == 0, done.err
        evaluation = (tmp_path / name / "evaluation-test.json").read_bytes()
        found.append((*outcome(tmp_path / name), evaluation, len(done.out.splitlines()), len(done.err.splitlines())))
    assert len({*found}) == 1
    arguments = [runs.saved(tmp_path / name, "run.json")["argv"] for name in ("real", "fork")]
    assert [argv[-1] for argv in arguments] == [f"--workdir={tmp_path / name}" for name in ("real", "fork")]
    assert arguments[0][:-1] == arguments[1][:-1]
    assert [argv[0] for argv in arguments] == [str(processes.MAIN)] * 2


def test_how_a_fork_ends_is_how_a_start_of_its_own_does(tmp_path):
    for arguments in (["--version"], ["train", "--wrkdir=a", "--config.train.epoch=1"], ["eval", "--workdir=nosuch"]):
        assert start(*arguments, cwd=tmp_path) == start(*arguments, cwd=tmp_path, real=True)
    assert start("--nosuch").code == 2


@pytest.mark.parametrize(("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 75), (signal.SIGINT, 75)])
def test_a_fork_can_be_stopped_and_is_ended_by_signals(tmp_path, number, code):
    with Running(*flags(), f"--workdir={tmp_path / 'run'}", fault="step:stop:2") as running:
        assert running.is_fork
        running.wait_until_stopped()
        assert running.process.poll() is None
        running.process.send_signal(number)
        running.go_on()
        assert running.wait().code == code


def test_what_is_read_on_importing_needs_a_start_of_its_own():
    for more in ({"NPROC": "2"}, {"JAX_ENABLE_X64": "1"}, processes.devices(2), {"before": ("env",)}, {"real": True}):
        with Running("--version", **more) as running:
            assert not running.is_fork
            assert running.wait().code == 0
