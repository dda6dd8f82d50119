"""The engine `process`: each trial in a process of its own, some at a time, by the command that a person would type."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from cnn.sweep import outcome
from cnn.sweep.outcome import Outcome
from cnn.sweep.queue import Claimed
from cnn.sweep.session import Session
from cnn.sweep.storage import Away
from cnn.system import environment, redaction
from cnn.system.preemption import Preempted

MAIN = Path(__file__).resolve().parents[2] / "main.py"
LOG = "process.log"
"""What a trial's process printed, beside its run directory."""
POLL_SECONDS, ASK_SECONDS = 0.1, 1.0
WRONG, HELD, PREEMPTED, FORCED = 2, 73, 75, 143


class Job(NamedTuple):
    """A trial and its process."""

    claimed: Claimed
    process: subprocess.Popen[bytes]
    log: Path


def jobs(asked: int) -> int:
    """Returns how many processes run at a time: as asked, or two where there are processors for them."""
    return asked or min(2, environment.available())


def run(session: Session, limit: int) -> None:
    """Runs trials, `limit` at a time, until none is left.

    Raises:
      Preempted: a signal asked to stop; it was passed on, and the trials under way are saved and wait again.
      OSError: the database was away for too long.
    """
    working: list[Job] = []
    session.interruption.defer(True)
    try:
        left, asked = True, 0.0
        while (left or working) and not session.interruption.requested:
            if left and len(working) < limit and time.monotonic() > asked:
                claimed = session.claim()
                left = claimed is not None
                # What others are at may come back, but not in a moment.
                asked = time.monotonic() + (0 if claimed else ASK_SECONDS)
                working += [_start(session, one, limit) for one in claimed or []]
            working = _settled(session, working)
            time.sleep(POLL_SECONDS)
    finally:
        for job in working:
            job.process.send_signal(signal.SIGTERM)
        with contextlib.suppress(Away):
            while working := _settled(session, working):
                time.sleep(POLL_SECONDS)
    session.interruption.defer(False)
    if session.interruption.requested:
        raise Preempted


def _start(session: Session, claimed: Claimed, limit: int) -> Job:
    log = claimed.workdir.parent / f".{claimed.workdir.name}.{LOG}"
    log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(MAIN), *session.plan.flags(claimed.trial.fields), f"--workdir={claimed.workdir}"]
    threads = max(1, environment.threads() // limit)
    with log.open("wb") as file:
        # Its own group: a Ctrl-C at the terminal is passed on once, not heard twice.
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            env={**os.environ, "NPROC": str(threads)},
            start_new_session=True,
        )
    return Job(claimed, process, log)


def _settled(session: Session, working: list[Job]) -> list[Job]:
    """Stores the ends of the processes that ended; returns those that still work."""
    for job in working:
        if job.process.poll() is not None:
            session.settle(job.claimed, _ended(session, job))
    return [job for job in working if job.process.returncode is None]


def _ended(session: Session, job: Job) -> Outcome:
    ended = outcome.of_folder(job.claimed.workdir, session.plan.options.objective)
    if ended is not None:
        job.log.unlink(missing_ok=True)
        return ended
    code = job.process.returncode
    # Held: by what a killed driver left running, which ends the trial in its own time.
    if code in (PREEMPTED, FORCED, HELD):
        return Outcome(outcome.PREEMPTED, final=False)
    lines = job.log.read_text(errors="replace").strip().splitlines()
    said = redaction.hide(lines[-1])[:400] if lines else "it said nothing"
    if code < 0:
        return Outcome(outcome.DIED, error=f"its process died of signal {-code}; {said}", final=False)
    return Outcome(outcome.FAILED, error=f"exit code {code}: {said}", final=code == WRONG)
