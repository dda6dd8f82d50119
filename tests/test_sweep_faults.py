"""Sweeps whose workers, drivers and databases are killed: every trial is finished exactly once."""

import contextlib
import json
import random
import secrets
import subprocess
import time

import pytest

import postgres
import processes
import sweeps

SPACE = "--grid=optimizer.learning_rate=0.003,0.03;seed=0,1,2"
FLAGS = [flag for flag in processes.flags() if "seed" not in flag]
KILLED = -9
PASSWORD = secrets.token_hex(8)
"""Of a server that trusts everybody; a run records how the code differs from its commit, so it stands nowhere."""
PATIENCE = 200

needs_postgres = pytest.mark.skipif(bool(postgres.missing()), reason=postgres.missing())


def command(folder, engine, *more):
    return ("sweep", *FLAGS, SPACE, f"--sweep.engine={engine}", "--sweep.lanes=3", f"--workdir={folder}", *more)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Returns the tables of sweeps that nothing interrupted, by engine; each is run when asked for."""
    known = {}

    def table(engine):
        if engine not in known:
            folder = tmp_path_factory.mktemp("undisturbed") / engine
            done = processes.start(*command(folder, engine))
            assert done.code == 0, done.err
            known[engine] = sweeps.table(folder), sweeps.outcomes(folder)
        return known[engine]

    return table


def assert_nowhere(text, folder):
    """Checks that no file below a folder holds a text, nor has it in its name."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    written = {"sweep.json", "declaration.json", "run.json", "events.jsonl", "report.html"}
    assert written <= {path.name for path in files}
    found = [path for path in files if text.encode() in path.read_bytes() or text in str(path.relative_to(folder))]
    assert not found


def run_to_the_end(folder, engine, faults, *more):
    """Starts the sweep with one fault after another, then without; returns how often it was killed."""
    killed = 0
    for fault in faults:
        done = processes.start(*command(folder, engine, *more), fault=fault)
        if done.code == 0:
            return killed
        assert done.code in (KILLED, 75), done.err
        assert "Traceback" not in done.err
        killed += done.code == KILLED
    done = processes.start(*command(folder, engine, *more))
    assert done.code == 0, done.err
    return killed


@pytest.mark.thorough
@pytest.mark.slow(seconds=40)
@pytest.mark.parametrize("engine", ["map", "vmap"])
def test_a_sweep_stopped_and_killed_at_random_moments_ends_with_the_same_table(
    tmp_path, undisturbed, engine, record_property
):
    rng = random.Random(f"kills {engine}")
    points = {
        "step": 60 if engine == "map" else 30,
        "before_save": 8,
        "after_commit": 8,
        "before_result": 2,
        "claimed": 2,
        "taken": 4,
        "settled": 2,
    }
    # Asked to stop, every trial is saved; the same command continues, and is killed.
    faults = ["step:term:20"]
    for _ in range(5):
        name = rng.choice(sorted(points))
        faults.append(f"{name}:kill:{rng.randint(1, points[name])}")
    killed = run_to_the_end(tmp_path / "s", engine, faults)
    record_property("kills", killed)
    assert killed == 5
    assert sweeps.table(tmp_path / "s") == undisturbed(engine)[0]
    assert sweeps.outcomes(tmp_path / "s") == undisturbed(engine)[1]
    assert sweeps.finishes(tmp_path / "s") == dict.fromkeys(range(6), 1)
    events = [processes.events(folder) for folder in (tmp_path / "s" / "trials").iterdir()]
    assert any("preempted" in found and "resume" in found for found in events)


@pytest.mark.slow(seconds=15)
@needs_postgres
def test_two_workers_on_postgresql_and_one_killed_finish_every_trial_once(tmp_path, undisturbed):
    folder = tmp_path / "s"
    with postgres.Server() as server:
        arguments = command(folder, "map", f"--storage={server.url.replace('sweeper@', f'sweeper:{PASSWORD}@')}")
        with (
            processes.Running(*arguments, fault="step:kill:50") as one,
            processes.Running(*arguments) as two,
        ):
            assert one.wait().code == KILLED
            done = two.wait()
            assert done.code == 0, done.err
            assert PASSWORD not in "".join([*one.read(), *two.read()])
            assert "the URL holds a password" in done.err
        assert processes.start("report", f"--workdir={folder}").code == 0
        assert_nowhere(PASSWORD, folder)
        name = json.loads((folder / "sweep.json").read_text())["study"]
        assert sweeps.finishes(server.url, name) == dict.fromkeys(range(6), 1)
        assert sweeps.outcomes(folder) == undisturbed("map")[1]
        elsewhere = processes.start(*command(tmp_path / "elsewhere" / "s", "map", f"--storage={server.url}"))
        assert elsewhere.code == 2
        assert "Workers must share one folder" in elsewhere.err


@pytest.mark.slow(seconds=15)
@needs_postgres
def test_a_database_that_stops_and_starts_loses_nothing(tmp_path, undisturbed):
    folder = tmp_path / "s"
    with postgres.Server() as server:
        with processes.Running(*command(folder, "map", f"--storage={server.url}"), fault="step:stop:40") as worker:
            worker.wait_until_stopped()
            server.stop()
            worker.go_on()
            deadline = time.monotonic() + PATIENCE
            while "the database does not answer" not in worker.read()[1]:
                assert time.monotonic() < deadline and worker.process.poll() is None
                with contextlib.suppress(subprocess.TimeoutExpired):
                    worker.process.wait(0.1)
            server.start()
            done = worker.wait()
            assert done.code == 0, done.err
            assert "the database answers again" in done.err
        name = json.loads((folder / "sweep.json").read_text())["study"]
        assert sweeps.finishes(server.url, name) == dict.fromkeys(range(6), 1)
        assert sweeps.outcomes(folder) == undisturbed("map")[1]
