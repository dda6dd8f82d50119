"""The engine `vmap`: trials of one program train together, their states stacked.

Each trial keeps its own seed, data order, schedule, stopping rule and NaN gate, and writes its own run directory. One
that ends early is computed on, unread, until half of its companions have ended too: then the survivors are gathered
into a program of half the size. Trials that continue from different steps train together as well.
"""

import time
from collections import Counter
from typing import Any

import jax
import numpy as np

from cnn.sweep import group_size, programs, stacked
from cnn.sweep.group_size import equal_parts
from cnn.sweep.lane import Lane
from cnn.sweep.queue import Claimed
from cnn.sweep.session import Session
from cnn.sweep.solo import POLL_SECONDS
from cnn.system import fault_injection
from cnn.train.loop import Made

FULL = "RESOURCE_EXHAUSTED"
"""In the message of an error that less memory would avoid."""


def run(session: Session) -> None:
    """Runs trials, groups of them together, until none is left.

    Raises:
      Preempted: a signal asked to stop; the trials under way are saved and wait again.
      OSError: the database was away for too long.
    """
    counts = Counter(programs.key(trial) for trial in session.plan.trials)
    devices = jax.local_device_count()
    most = session.about["lanes"] = group_size.most(session, counts)

    def places(program: str) -> int:
        # Of what the plan holds, not of what is left: who continues must not compute another program.
        return equal_parts(counts.get(program, most), most, devices)

    while (claimed := session.claim(places)) is not None:
        if not claimed:
            session.wait(POLL_SECONDS)
            continue
        session.interruption.defer(True)
        group = Group(session, claimed, places(programs.key(claimed[0].trial)))
        try:
            group.train()
        except jax.errors.JaxRuntimeError as error:
            group.fail(error)
            if FULL in str(error) and group.can_halve():
                most = max(1, group.size // 2)
                session.screen.line(f"out of memory: {most} trials together from here on")
        session.interruption.defer(False)


class Group:
    """Trials that train together."""

    def __init__(self, session: Session, claimed: list[Claimed], size: int) -> None:
        self.session, self.devices = session, stacked.mesh()
        scan = " scan" if jax.default_backend() != "cpu" else ""
        lanes = [Lane(session, one, f"vmap {size}{scan}") for one in claimed]
        self.lanes = [lane for lane in lanes if lane.open()]
        """Those that are open, and then those that go on, in the order of their places."""
        self.size = size

    def train(self) -> None:
        """Trains all of them to their ends, or to where a signal asks to stop.

        Raises:
          Preempted: a signal asked to stop; all are saved.
        """
        seeds = [lane.run.config.order_seed for lane in self.lanes]
        # Not asked of the rows alone: of a last trial left over they are all equal, and another program.
        self.shared = len(seeds) > 1 and len(set(seeds)) == 1
        self.lanes = [lane for lane in self.lanes if lane.begin()]
        if self.lanes:
            run = self.lanes[0].run
            self.program, self.scan = run.step_config, run.dispatch.mode == "scan"
            self.split = programs.images(run.dataset)
            self.places = list(range(len(self.lanes)))
            # Idle places compute the first trial again, unread: equal sizes are one program.
            states = [lane.asked.state for lane in self.lanes]
            self.state = stacked.stack([*states, *[states[0]] * (self.size - len(states))], self.devices)
        while self.lanes and not self.session.interruption.requested:
            self._shrink()
            self._advance()
        for lane in self.lanes:
            lane.send(None)
        self.session.interruption.check()

    def can_halve(self) -> bool:
        """Tells whether half of the trials could be spread over the devices."""
        least = 1 if self.devices is None else self.devices.size
        return self.size % 2 == 0 and (self.size // 2) % least == 0

    def fail(self, error: Exception) -> None:
        """Lets the trials wait again where smaller groups may do, and otherwise stores that they failed."""
        for lane in self.lanes:
            lane.fail(error, again=FULL in str(error) and self.can_halve())

    def _keep(self, going: list[bool]) -> None:
        kept = [(lane, place) for lane, place, goes in zip(self.lanes, self.places, going, strict=True) if goes]
        self.lanes, self.places = [lane for lane, _ in kept], [place for _, place in kept]

    def _shrink(self) -> None:
        """Gathers the survivors where half of the places would do."""
        least = 1 if self.devices is None else self.devices.size
        size = self.size
        while size % 2 == 0 and size // 2 >= len(self.lanes) and (size // 2) % least == 0:
            size //= 2
        if size < self.size:
            places = [*self.places, *[self.places[0]] * (size - len(self.places))]
            self.state = stacked.gather(self.state, places, self.devices)
            self.places, self.size = list(range(len(self.lanes))), size

    def _advance(self) -> None:
        """Makes the steps up to the next boundary of any of the trials."""
        started = time.monotonic()
        own = [lane.rows() for lane in self.lanes]
        count = min(len(rows) for rows in own)
        rows = np.stack([rows[:count] for rows in own])
        shared = self.shared and all(np.array_equal(rows[0], other) for other in rows[1:])
        metrics = self._dispatch(rows, shared)
        seconds = (time.monotonic() - started) / len(self.lanes)
        going = []
        for index, (lane, place) in enumerate(zip(self.lanes, self.places, strict=True)):
            state = stacked.take(self.state, place, self.devices)
            own_metrics = {name: values[index] for name, values in metrics.items()}
            going.append(lane.send(Made(state, own_metrics, seconds)))
        self._keep(going)

    def _dispatch(self, rows: np.ndarray, shared: bool) -> dict[str, np.ndarray]:
        """Runs the steps; returns their metrics, (trials, steps), of those that are read.

        Args:
          rows: (trials, steps, batch) of those that are read.
          shared: whether they are equal.
        """
        placed = rows[0]
        if not shared:
            of_place = dict(zip(self.places, range(len(rows)), strict=True))
            placed = np.stack([rows[of_place.get(place, 0)] for place in range(self.size)], axis=1)
        static: dict[str, Any] = {"program": self.program, "devices": self.devices, "shared": shared}
        if self.scan:
            self.state, metrics = stacked.run_scan(self.state, self.split, placed, **static)
            self._show(len(placed))
            return {name: values[np.array(self.places)] for name, values in jax.device_get(metrics).items()}
        collected = []
        for batch in placed:
            self.state, of_step = stacked.run_step(self.state, self.split, batch, **static)
            collected.append(of_step)
            self._show(1)
            fault_injection.point("step")
            if self.session.interruption.requested:
                break
        steps = jax.tree.map(lambda *values: np.stack(values, axis=1), *jax.device_get(collected))
        return {name: values[np.array(self.places)] for name, values in steps.items()}

    def _show(self, steps: int) -> None:
        for lane in self.lanes:
            lane.run.progress_bar.advance(steps)
