"""The one restart with huge pages: when, with what, and that it is recorded."""

import json
import os
import sys

import pytest

import processes
from cnn.system import huge_pages


@pytest.fixture
def system(monkeypatch, tmp_path):
    """Stands for a system that gives huge pages to those who ask; collects the restarts."""
    enabled = tmp_path / "enabled"
    enabled.write_text("always [madvise] never\n")
    monkeypatch.setattr(huge_pages, "ENABLED", enabled)
    monkeypatch.delenv("GLIBC_TUNABLES", raising=False)
    monkeypatch.setattr(os, "confstr", lambda name: "glibc 2.36", raising=False)
    monkeypatch.setattr(sys, "gettrace", lambda: None)
    monkeypatch.setattr(sys, "orig_argv", ["python", "-X", "dev", "main.py", "train"])
    restarts = []
    monkeypatch.setattr(os, "execve", lambda *arguments: restarts.append(arguments))
    return monkeypatch, enabled, restarts


def test_the_same_command_starts_again_with_the_setting(system):
    huge_pages.restart(["train"])
    ((program, command, environment),) = system[2]
    assert (program, command) == (sys.executable, [sys.executable, "-X", "dev", "main.py", "train"])
    assert environment == {**os.environ, "GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


def test_other_settings_of_the_person_stay(system):
    monkeypatch, _, restarts = system
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.tcache_count=9")
    huge_pages.restart([])
    assert restarts[0][2]["GLIBC_TUNABLES"] == "glibc.malloc.tcache_count=9:glibc.malloc.hugetlb=1"


@pytest.mark.parametrize("arguments", [["--huge_pages=off"], ["train", "--huge_pages", "off", "--workdir=a"]])
def test_it_can_be_switched_off(system, arguments):
    huge_pages.restart(arguments)
    assert not system[2]


@pytest.mark.parametrize("given", ["glibc.malloc.hugetlb=0", "glibc.malloc.check=1:glibc.malloc.hugetlb=1"])
def test_a_setting_of_the_person_wins_and_there_is_no_second_restart(system, given):
    monkeypatch, _, restarts = system
    monkeypatch.setenv("GLIBC_TUNABLES", given)
    huge_pages.restart([])
    assert not restarts
    assert huge_pages.huge() is given.endswith("=1")


@pytest.mark.parametrize("mode", ["[always] madvise never", "always madvise [never]", ""])
def test_a_system_that_does_not_ask_is_left_alone(system, mode):
    _, enabled, restarts = system
    enabled.write_text(mode)
    huge_pages.restart([])
    assert not restarts
    assert huge_pages.huge() is mode.startswith("[always]")


@pytest.mark.parametrize("library", ["glibc 2.34", "glibc", "musl 1.2", None, ValueError, OSError])
def test_an_older_or_another_library_is_left_alone(system, library):
    monkeypatch, _, restarts = system

    def confstr(name):
        if isinstance(library, type):
            raise library
        return library

    monkeypatch.setattr(os, "confstr", confstr)
    huge_pages.restart([])
    monkeypatch.delattr(os, "confstr")
    huge_pages.restart([])
    assert not restarts


def test_a_system_without_huge_pages_and_a_debugger_are_left_alone(system):
    monkeypatch, enabled, restarts = system
    monkeypatch.setattr(sys, "gettrace", lambda: print)
    huge_pages.restart([])
    monkeypatch.setattr(sys, "gettrace", lambda: None)
    enabled.unlink()
    huge_pages.restart([])
    assert not restarts
    assert not huge_pages.huge()


@pytest.mark.slow
@pytest.mark.parametrize("how", ["on", "off"])
def test_a_run_tells_whether_it_had_them(tmp_path, how):
    expected = huge_pages._mode() == "always" or (how == "on" and huge_pages._offered())
    arguments = processes.flags(train__epochs="1")
    done = processes.start(*arguments, f"--workdir={tmp_path}", f"--huge_pages={how}", GLIBC_TUNABLES="")
    assert done.code == 0, done.err
    assert json.loads((tmp_path / "run.json").read_text())["huge_pages"] is expected
    assert json.loads((tmp_path / "run.json").read_text())["argv"][1:3] == arguments[:2]


def test_another_word_is_a_line():
    done = processes.start("--huge_pages=maybe")
    assert (done.code, done.err) == (2, "--huge_pages: must be one of on, off, got 'maybe'\n")
