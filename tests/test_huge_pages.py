"""The one start with huge pages: when, with what, and that it is the same process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from cnn.cli import launch, parser
from cnn.system import huge_pages

TUNABLES = huge_pages.VARIABLE
MAIN = Path(__file__).resolve().parents[1] / "main.py"
NO_DATA = ["--config.data.name=npz", "--config.data.file=no.npz"]
LARGE = ["--config.model.layers=conv(64, 3) | batch_norm | flatten | dense(classes)", "--config.train.batch_size=1000"]


@pytest.fixture
def starts(monkeypatch, tmp_path):
    """Stands for a system that gives huge pages to who asks; collects the starts."""
    enabled, found = tmp_path / "enabled", []
    enabled.write_text("always [madvise] never\n")
    monkeypatch.setattr(huge_pages, "ENABLED", enabled)
    monkeypatch.setattr(os, "confstr", lambda name: "glibc 2.36")
    monkeypatch.setattr(os, "execve", lambda *arguments: found.append(arguments))
    monkeypatch.delenv(TUNABLES, raising=False)
    return found


def test_the_same_command_starts_again_with_the_setting_beside_those_of_the_user(starts, monkeypatch):
    monkeypatch.setenv(TUNABLES, "glibc.malloc.tcache_count=9")
    huge_pages.restart()
    ((program, line, environment),) = starts
    assert (program, line) == (sys.executable, [sys.executable, *sys.orig_argv[1:]])
    assert environment == {**os.environ, TUNABLES: "glibc.malloc.tcache_count=9:glibc.malloc.hugetlb=1"}


@pytest.mark.parametrize("given", ["glibc.malloc.hugetlb=0", "glibc.malloc.check=1:glibc.malloc.hugetlb=1"])
def test_what_the_user_set_stays(given, starts, monkeypatch):
    monkeypatch.setenv(TUNABLES, given)
    huge_pages.restart()
    assert starts == []


@pytest.mark.parametrize("system", ["[always] madvise never", "always madvise [never]", None])
def test_nothing_starts_again_where_the_system_gives_them_to_all_or_to_none(system, starts):
    huge_pages.ENABLED.write_text(system) if system else huge_pages.ENABLED.unlink()
    huge_pages.restart()
    assert starts == []


@pytest.mark.parametrize("library", ["glibc 2.34", "musl 1.2", "", None])
def test_nothing_starts_again_without_a_glibc_that_knows_the_setting(library, starts, monkeypatch):
    monkeypatch.setattr(os, "confstr", lambda name: library)
    huge_pages.restart()
    assert starts == []


@pytest.mark.parametrize("hook", ["gettrace", "getprofile"])
def test_a_debugger_and_a_profiler_keep_the_program(hook, starts, monkeypatch):
    monkeypatch.setattr(sys, hook, lambda: print)
    huge_pages.restart()
    assert starts == []


class Restarted(Exception):
    """In place of another start."""


def restarted(*words):
    def start_again():
        raise Restarted

    try:
        launch.launch(parser.parse([*words]), start_again)
    except Restarted:
        return True
    return False


@pytest.mark.parametrize("command", [["train"], ["train", "--profile=2"], ["find-rate"]])
def test_training_with_much_memory_starts_again_before_anything_is_done(command, tmp_path):
    assert restarted(*command, *LARGE, f"--workdir={tmp_path / 'run'}")
    assert not (tmp_path / "run").exists()


def test_a_sweep_starts_again_where_one_of_its_trials_is_large(tmp_path):
    workdir, grid = f"--workdir={tmp_path / 'sweep'}", "--grid=train.batch_size={}; optimizer.learning_rate=0.1,0.01"
    assert restarted("sweep", LARGE[0], grid.format("10,1000"), workdir)
    assert not (tmp_path / "sweep").exists()


@pytest.mark.parametrize("words", [["summary", *LARGE], ["train", *NO_DATA], ["train", "--smoke", *LARGE, *NO_DATA]])
def test_what_computes_little_starts_once(words, tmp_path, capsys):
    workdir = [] if words[0] == "summary" else [f"--workdir={tmp_path / 'run'}"]
    assert not restarted(*words, *workdir)
    assert "no.npz" in capsys.readouterr().err or words[0] == "summary"


def test_it_is_the_same_process(tmp_path):
    if not huge_pages.offered():
        pytest.skip("this system gives huge pages to all or to none, or has no glibc that can ask")
    code, log = tmp_path / "mine.py", tmp_path / "log"
    code.write_text(
        "import os\nimport cnn\n"
        f"with open({str(log)!r}, 'a') as log:\n"
        f"    print(os.getpid(), os.environ.get({TUNABLES!r}), file=log)\n"
        "@cnn.loss\ndef mine(logits, labels):\n    return logits.sum(-1)\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != TUNABLES}
    line = [sys.executable, str(MAIN), *LARGE, *NO_DATA, f"--config.extensions={code}", f"--workdir={tmp_path / 'run'}"]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "no.npz" in done.stderr
    before, after = (line.split() for line in log.read_text().splitlines())
    assert before[0] == after[0]
    assert (before[1], after[1]) == ("None", f"{huge_pages.SETTING}=1")
