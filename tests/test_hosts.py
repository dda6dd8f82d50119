"""Two processes of four devices each train one run: the same states, signals, one killed, one missing."""

import json
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest

import processes
from cnn.system import multihost
from cnn.train import init_from, load_init_from
from processes import Running, events, flags, outcome, steps

pytestmark = pytest.mark.slow(seconds=9)
FOUR = processes.devices(4)
RUN = flags(train__batch_size="96")
INTERRUPTED, LOST, WRONG = 75, 74, 2


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def pair(*arguments, faults=("", ""), each=((), ())):
    """Returns how two processes of `main.py` end that train one run, and how many seconds the first outlived the other.

    Args:
      arguments: of both.
      faults: one for each.
      each: arguments of one alone.
    """
    port = free_port()
    with ExitStack() as stack:
        both = [
            stack.enter_context(
                Running(*arguments, *each[number], f"--distributed=127.0.0.1:{port},2,{number},60", fault=fault, **FOUR)
            )
            for number, fault in enumerate(faults)
        ]
        second = both[1].wait()
        ended = time.monotonic()
        return [both[0].wait(), second], time.monotonic() - ended


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The folder of a run of two processes that nothing interrupts."""
    workdir = tmp_path_factory.mktemp("hosts") / "run"
    done, _ = pair(*RUN, f"--workdir={workdir}")
    assert [one.code for one in done] == [0, 0], done
    return workdir


@pytest.mark.thorough
def test_two_processes_start_from_another_run_and_end_with_the_same_state(straight, tmp_path):
    port, folder = free_port(), Path(__file__).parent
    started = [
        subprocess.Popen(
            [
                *(sys.executable, folder / "one_of_many.py", f"127.0.0.1:{port},2,{number},60", tmp_path / "run"),
                *("train.batch_size=96", "train.epochs=1", f"init_from={straight}", "train.freeze=dense1/kernel"),
            ],
            env=processes.environment(PYTHONPATH=f"{folder.parent}:{folder}", **FOUR),
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(2)
    ]
    texts = [process.communicate(timeout=processes.PATIENCE)[0] for process in started]
    found = [line for text in texts for line in text.splitlines() if line.startswith("FINGERPRINT")]
    assert found == [f"FINGERPRINT {outcome(tmp_path / 'run')[0]}"] * 2
    given, begun, ended = (
        load_init_from._read(init_from.find(name))[2]
        for name in (f"{straight}@39", f"{tmp_path}/run@0", f"{tmp_path}/run@13")
    )
    kept = {path: [np.array_equal(given[path], other[path]) for other in (begun, ended)] for path in given}
    assert kept == {"dense1/kernel": [True, True], "dense1/bias": [True, False]}


def test_two_processes_record_what_one_device_does_within_rounding_and_only_the_first_speaks(straight, tmp_path):
    processes.straight(tmp_path, *RUN)
    both = [
        [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
        for folder in (straight, tmp_path / "straight")
    ]
    assert len(both[0]) == len(both[1]) == 12
    for one, other in zip(*both, strict=True):
        assert (one["kind"], one["step"]) == (other["kind"], other["step"])
        for mean in [(one, other)] if one["kind"] == "train" else [(one[s], other[s]) for s in ("train", "valid")]:
            names = [name for name in mean[0] if name in ("loss", "accuracy", "grad_norm")]
            np.testing.assert_allclose(*([record[name] for name in names] for record in mean), rtol=1e-4)
    results = [json.loads((folder / "result.json").read_text()) for folder in (straight, tmp_path / "straight")]
    assert results[0]["test"]["count"] == results[1]["test"]["count"] == 359
    assert results[0]["test"]["correct"] == results[1]["test"]["correct"]
    assert json.loads((straight / "run.json").read_text())["devices"] == ["cpu"] * 8
    assert events(straight) == ["start", "end"]


@pytest.mark.thorough
def test_sigterm_to_one_saves_for_both_and_the_next_start_goes_on(tmp_path):
    # JAX looks for the signal about once a second, so the run has to last for some.
    epochs, workdir = 15, tmp_path / "run"
    arguments = flags(train__batch_size="96", train__epochs=str(epochs))
    undisturbed, _ = pair(*arguments, f"--workdir={tmp_path / 'straight'}")
    assert [one.code for one in undisturbed] == [0, 0], undisturbed
    stopped, _ = pair(*arguments, f"--workdir={workdir}", faults=("", "step:term:7"))
    for one in stopped:
        assert one.code == INTERRUPTED, one
        assert "interrupted. The same command continues from what is saved" in one.err
    assert events(workdir) == ["start", "preempted"]
    assert steps(workdir)[0][-1] >= 7
    done, _ = pair(*arguments, f"--workdir={workdir}")
    assert [one.code for one in done] == [0, 0], done
    assert outcome(workdir) == outcome(tmp_path / "straight")
    told = [line.split()[1] for one in (*stopped, *done) for line in one.err.splitlines() if line.startswith("epoch")]
    assert told == [f"{number}/{epochs}" for number in range(1, epochs + 1)]


@pytest.mark.thorough
def test_one_killed_ends_the_other_with_a_line_and_one_cpu_goes_on(straight, tmp_path):
    workdir = tmp_path / "run"
    done, seconds = pair(*RUN, f"--workdir={workdir}", faults=("", "step:kill:8"))
    assert done[1].code == -9
    assert done[0].code == LOST
    assert seconds < 30
    assert done[0].err.splitlines()[-1].startswith("another process of this run is gone, or process 0 at 127.0.0.1:")
    assert "Start all of them again: the run continues from what is saved" in done[0].err
    assert steps(workdir)[0][-1] == 5
    alone = processes.start(*RUN, f"--workdir={workdir}")
    assert alone.code == 0, alone.err
    assert "not bit-identical from here: step 5, reason devices 8 -> 1; processes 2 -> 1" in alone.err
    ends = [json.loads((folder / "result.json").read_text()) for folder in (workdir, straight)]
    assert ends[0]["step"] == ends[1]["step"]
    np.testing.assert_allclose(ends[0]["test"]["loss"], ends[1]["test"]["loss"], rtol=1e-4)


@pytest.mark.thorough
def test_the_first_one_killed_ends_the_other_and_a_run_of_one_cpu_opens_on_two_processes(straight, tmp_path):
    workdir = tmp_path / "run"
    assert processes.start(*RUN, f"--workdir={workdir}", fault="step:term:7").code == INTERRUPTED
    done, _ = pair(*RUN, f"--workdir={workdir}", faults=("step:kill:6", ""))
    assert done[0].code == -9
    assert done[1].code == LOST
    assert done[1].err.splitlines()[-1].startswith("another process of this run is gone, or process 0 at 127.0.0.1:")
    assert "not bit-identical from here: step 8, reason devices 1 -> 8; processes 1 -> 2" in done[0].err


def test_a_missing_first_process_is_an_error_that_names_its_address(tmp_path):
    port = free_port()
    done = processes.start(*RUN, f"--workdir={tmp_path / 'run'}", f"--distributed=127.0.0.1:{port},2,1,1")
    assert done.code == LOST
    assert f"--distributed: process 0 does not answer at 127.0.0.1:{port} within 1 s" in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "run").exists()


def test_a_missing_second_process_is_an_error_that_names_the_address_of_the_first(tmp_path):
    port = free_port()
    done = processes.start(*RUN, f"--workdir={tmp_path / 'run'}", f"--distributed=127.0.0.1:{port},2,0,2")
    assert done.code == LOST
    last = done.err.splitlines()[-1]
    assert last.startswith(f"--distributed: not all 2 processes came to 127.0.0.1:{port} within 2 s.")
    assert not (tmp_path / "run").exists()


def test_a_port_in_use_is_named(tmp_path):
    with socket.socket(socket.AF_INET6) as taken:
        taken.bind(("::", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = processes.start(*RUN, f"--workdir={tmp_path / 'run'}", f"--distributed=127.0.0.1:{port},2,0,2")
    assert done.code == LOST
    assert f"--distributed: port {port} cannot be used: Address already in use. Use another" in done.err


def test_processes_with_different_configs_are_refused_by_both(tmp_path):
    done, _ = pair(*RUN, f"--workdir={tmp_path / 'run'}", each=((), ("--config.seed=1",)))
    for one in done:
        assert one.code == WRONG, one
        assert "--distributed: the configs of process 1 (" in one.err
        assert "are not those of process 0. Start all processes with the same command, on the same data" in one.err
    assert not (tmp_path / "run").exists()


def test_what_ends_the_first_process_ends_the_others_with_its_reason(straight):
    done, _ = pair(*RUN, "--config.seed=1", f"--workdir={straight}")
    assert done[0].code == WRONG
    assert f"--workdir: {straight} holds a run of another config" in done[0].err
    assert done[1].code == LOST
    assert f"process 0 cannot go on: --workdir: {straight} holds a run of another config" in done[1].err


def test_a_flag_is_read_as_the_processes_of_a_run():
    assert multihost.parse("off") is None
    assert multihost.parse("auto") == multihost.Members()
    assert multihost.parse("[::1]:1234,4,3,9") == multihost.Members("[::1]:1234", 4, 3, 9)
