"""Signals as requests: at once where nothing needs saving, at the next boundary where something does."""

import contextlib
import os
import signal
import subprocess
import sys
import threading

import pytest

from cnn.system.preemption import BUSY, FORCED, Preempted, Preemption

SIGNALS = [signal.SIGTERM, signal.SIGINT]


def send(number):
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_an_exception_at_once(number):
    with Preemption() as interruption:
        with pytest.raises(Preempted):
            send(number)
        assert interruption.requested


@pytest.mark.parametrize("number", SIGNALS)
def test_a_deferred_signal_waits_until_it_is_asked_for(number):
    with Preemption() as interruption:
        interruption.defer(True)
        interruption.check()
        send(number)
        assert interruption.requested
        with pytest.raises(Preempted):
            interruption.check()
        with pytest.raises(Preempted):
            interruption.defer(False)


def test_nobody_takes_it_for_an_error():
    # A library that catches every Exception would hide it, or report it as damage.
    assert not issubclass(Preempted, Exception)


def test_the_handlers_of_before_come_back():
    before = [signal.getsignal(number) for number in SIGNALS]
    with contextlib.suppress(KeyError), Preemption():
        assert all(signal.getsignal(number) not in before for number in SIGNALS)
        raise KeyError
    assert [signal.getsignal(number) for number in SIGNALS] == before


def test_outside_the_main_thread_nothing_is_handled():
    found = []

    def enter():
        with Preemption() as interruption:
            interruption.check()
            found.append([signal.getsignal(number) for number in SIGNALS])

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert found == [[signal.getsignal(number) for number in SIGNALS]]


SECOND = """
import os, signal, sys
from cnn.system.preemption import Preemption
with Preemption() as interruption:
    interruption.defer(True)
    os.kill(os.getpid(), signal.{0})
    print("still here", flush=True)
    try:
        os.kill(os.getpid(), signal.{1})
    except BaseException:
        print("caught")
    finally:
        print("finally", flush=True)
"""


@pytest.mark.parametrize(("first", "second"), [("SIGTERM", "SIGTERM"), ("SIGINT", "SIGTERM"), ("SIGTERM", "SIGINT")])
def test_the_second_signal_leaves_at_once(first, second):
    done = subprocess.run(
        [sys.executable, "-c", SECOND.format(first, second)],
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (FORCED, "still here\n", "")
    assert FORCED == 143


BLOCKED = """
import hashlib, os, signal, sys, threading
from cnn.system.preemption import Preemption

# A thread gets its turn only when the main one gives it away, which is in C: "ready" says that it is there.
sys.setswitchinterval(1000)
started = threading.Event()
threading.Thread(target=lambda: (started.wait(), print("ready", flush=True)), daemon=True).start()
with Preemption() as asked:
    asked.defer(True)
    if {handled}:
        os.kill(os.getpid(), signal.SIGINT)
    started.set()
    hashlib.pbkdf2_hmac("sha256", b"word", b"salt", {rounds})
    print("through", flush=True)
    asked.check()
"""


@contextlib.contextmanager
def blocked(rounds, handled=False):
    """Starts a process whose main thread computes in C, where Python handles no signal."""
    with subprocess.Popen(
        [sys.executable, "-c", BLOCKED.format(rounds=rounds, handled=handled)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as running:
        try:
            assert running.stdout.readline() == "ready\n"
            yield running
        finally:
            running.kill()


@pytest.mark.slow
def test_a_second_signal_ends_what_the_first_one_waits_for_and_both_are_heard():
    with blocked(10**9) as running:
        running.send_signal(2)
        assert running.stderr.readline() == f"{BUSY}\n"
        assert running.poll() is None
        running.send_signal(15)
        assert running.wait(60) == FORCED
        assert running.stdout.read() == ""


@pytest.mark.slow
def test_the_second_signal_is_heard_there_when_python_handled_the_first():
    with blocked(10**9, handled=True) as running:
        running.send_signal(2)
        assert running.wait(60) == FORCED


@pytest.mark.slow
def test_two_signals_at_once_end_it_too():
    with blocked(10**9) as running:
        running.send_signal(2)
        running.send_signal(15)
        assert running.wait(60) == FORCED


@pytest.mark.slow
def test_one_signal_stops_when_the_computation_is_through():
    with blocked(10**6) as running:
        running.send_signal(2)
        assert running.wait(300) == 1
        assert running.stdout.read() == "through\n"
        assert "preemption.Preempted" in running.stderr.read()
