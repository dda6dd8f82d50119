"""One process holds a run, and whoever else wants it is told which."""

import json
import os

import pytest

import runs
from cnn.cli import launch
from cnn.runs import lock


def test_who_else_wants_a_held_run_is_told_who_has_it(tmp_path):
    with lock.hold(tmp_path / "run"):
        for _ in range(2):
            with (
                pytest.raises(lock.Held, match=rf"^--workdir: .*/run is held by another process: {os.getpid()} on \S+"),
                lock.hold(tmp_path / "run"),
            ):
                pass
        with pytest.raises(lock.Held, match="is held by another process"):
            lock.probe(tmp_path / "run")
    with lock.hold(tmp_path / "run"):
        pass


def test_the_file_names_its_holder(tmp_path):
    with lock.hold(tmp_path):
        holder = json.loads((tmp_path / lock.NAME).read_text())
    assert holder["pid"] == os.getpid()
    assert set(holder) == {"host", "pid", "started", "argv"}


@pytest.mark.parametrize(
    "content", ["", "garbage", "[]", "{}", '{"pid": 1}', '{"pid": 1, "host": "a", "started": "b"}']
)
def test_what_a_dead_process_left_does_not_hold_the_run(tmp_path, content):
    (tmp_path / lock.NAME).write_text(content)
    lock.probe(tmp_path)
    with lock.hold(tmp_path):
        assert json.loads((tmp_path / lock.NAME).read_text())["pid"] == os.getpid()
        # Also where the holder could not write its name.
        (tmp_path / lock.NAME).write_text(content)
        with pytest.raises(lock.Held, match="is held by another process"), lock.hold(tmp_path):
            pass


def test_it_is_free_after_an_error(tmp_path):
    with pytest.raises(KeyError), lock.hold(tmp_path):
        raise KeyError
    with lock.hold(tmp_path):
        pass


def test_a_probe_leaves_nothing_behind(tmp_path):
    lock.probe(tmp_path / "run")
    assert not (tmp_path / "run").exists()
    lock.probe(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_command_on_a_held_run_exits_73_and_changes_nothing(tmp_path, capsys):
    with lock.hold(tmp_path / "run"):
        before = (tmp_path / "run" / lock.NAME).read_bytes()
        assert runs.train(tmp_path / "run") == launch.HELD
        assert [path.name for path in (tmp_path / "run").iterdir()] == [lock.NAME]
        assert (tmp_path / "run" / lock.NAME).read_bytes() == before
    said = capsys.readouterr().err
    assert said.startswith(f"--workdir: {tmp_path / 'run'} is held by another process: {os.getpid()} on ")
    assert said.count("\n") == 1
