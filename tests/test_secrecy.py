"""Passwords in URLs are recorded and shown nowhere."""

import sys

import pytest

from cnn import lock, provenance, secrecy
from cnn.report import reproduce


@pytest.mark.parametrize("password", ["secret", "sec%40ret", "sec@ret", "", "sec ret'"])
def test_a_password_is_in_no_record_of_the_command_line(tmp_path, monkeypatch, password):
    typed = ["main.py", "sweep", f"--storage=postgresql+psycopg://user:{password}@host/db?password=secret&x=1"]
    kept = "--storage=postgresql+psycopg://user:***@host/db?password=***&x=1"
    monkeypatch.setattr(sys, "argv", typed)
    assert secrecy.words(typed)[2] == kept
    assert provenance.describe()["argv"][2] == kept
    with lock.hold(tmp_path):
        assert kept in (tmp_path / lock.NAME).read_text()
    assert kept in reproduce.command(typed)


def test_a_text_loses_its_passwords_only():
    assert secrecy.hide('+a = "x://u:p@h/d"\n+b = "http://h:80/x"') == '+a = "x://u:***@h/d"\n+b = "http://h:80/x"'
    assert secrecy.hide("postgresql://user@host/db") == "postgresql://user@host/db"
