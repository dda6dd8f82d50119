"""Passwords in URLs are recorded and shown nowhere."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import runs
import sweep_files
import sweeps
from cnn.cli import printing
from cnn.config.config import ConfigError
from cnn.report import reproduce
from cnn.report.sweep import again
from cnn.runs import lock, provenance
from cnn.sweep import outcome, study
from cnn.system import redaction

URL = "postgresql+psycopg://user:secret@host/db"


@pytest.mark.parametrize("password", ["secret", "sec%40ret", "sec@ret", "", "sec ret'"])
def test_a_password_is_in_no_record_of_the_command_line(tmp_path, monkeypatch, password):
    typed = ["main.py", "sweep", f"--storage=postgresql+psycopg://user:{password}@host/db?password=secret&x=1"]
    kept = "--storage=postgresql+psycopg://user:***@host/db?password=***&x=1"
    monkeypatch.setattr(sys, "argv", typed)
    assert redaction.words(typed)[2] == kept
    assert provenance.describe()["argv"][2] == kept
    with lock.hold(tmp_path):
        assert kept in (tmp_path / lock.NAME).read_text()
    assert kept in reproduce.command(typed)


def test_a_text_loses_its_passwords_only():
    assert redaction.hide('+a = "x://u:p@h/d"\n+b = "http://h:80/x"') == '+a = "x://u:***@h/d"\n+b = "http://h:80/x"'
    assert redaction.hide("postgresql://user@host/db") == "postgresql://user@host/db"


def test_a_password_in_the_url_of_a_database_is_warned_of_without_showing_it(capsys):
    study._check("postgresql+psycopg://user@host/db")
    assert capsys.readouterr().err == ""
    study._check(URL)
    said = capsys.readouterr().err
    assert said.startswith("--storage: the URL holds a password") and "PGPASSWORD or ~/.pgpass" in said
    assert "secret" not in said


def test_an_at_sign_in_a_password_is_asked_for_as_percent_forty(tmp_path, capsys):
    typed = "storage=postgresql+psycopg://user:sec@ret@host/db"
    assert sweeps.sweep(tmp_path / "s", "seed=0", typed) == 2
    said = capsys.readouterr()
    assert "--storage: an @ in the user or the password ends it. Write %40 for it" in said.err
    assert "sec@ret" not in said.err + said.out and "ret@host" not in said.err + said.out
    with pytest.raises(ConfigError, match="Write %40"):
        study._check(typed.partition("=")[2])


def test_the_recorded_changes_of_the_code_hide_passwords(tmp_path):
    def git(*words):
        identity = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.com")
        subprocess.run(["git", "-C", str(tmp_path), *identity, *words], check=True, capture_output=True)

    git("init")
    (tmp_path / "settings.py").write_text("URL = ''\n")
    git("add", ".")
    git("commit", "-m", "Begin")
    (tmp_path / "settings.py").write_text(f"URL = '{URL}'\n")
    found = provenance._git(tmp_path)
    assert found["dirty"] and "+URL = 'postgresql+psycopg://user:***@host/db'" in found["diff"]


def test_what_a_trial_said_and_was_made_with_hides_passwords():
    assert outcome.of_error(OSError(f"no answer from {URL}")).error == f"OSError: no answer from {redaction.hide(URL)}"
    assert again.hidden(f"python main.py --config.data.data_dir={URL}").endswith("//user:***@host/db'")
    assert again.hidden(f"python 'main.py --config.data.data_dir={URL}").endswith("//user:***@host/db")


@pytest.mark.slow
def test_the_page_of_an_older_sweep_hides_the_passwords_in_its_record(tmp_path, capsys):
    sweep_files.make(tmp_path, configurations=3, states=("failed",))
    about = json.loads((tmp_path / "sweep.json").read_text())
    about["trials"][0] |= {"error": f"OSError: no answer from {URL}", "command": f"python main.py --a={URL}"}
    about["space"] = {"data.data_dir": [URL]}
    about["options"]["sampler"] = URL
    about["trials"][1]["fields"]["data.data_dir"] = URL
    about["best"]["command"] = f"python main.py '--config.data.data_dir={URL}'"
    about["best"]["diff"] = [{"path": "data.data_dir", "base": "", "best": URL}]
    (tmp_path / "sweep.json").write_text(json.dumps(about))
    assert runs.start("report", f"--workdir={tmp_path}") == 0
    page = (tmp_path / "report.html").read_text()
    assert "secret" not in page and page.count("user:***@host") >= 5
    capsys.readouterr()
    about["engine"], about["seconds"] = {}, 1.0
    printing.ranking(about, Path("somewhere"))
    assert "user:***@host" in (said := capsys.readouterr().out) and "secret" not in said
