"""What the Tab key completes, in the shells themselves."""

import contextlib
import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import time

import pytest

from cnn import registry
from cnn.cli import completion, parser
from cnn.cli.commands import CHOICES, COMMANDS, FLAGS, SWITCHES
from cnn.config import files

SHELLS = {"bash": ["bash", "--norc", "--noprofile", "-i"], "zsh": ["zsh", "-f", "-i"]}
LINES = {
    "python main.py swe": "python main.py sweep",
    "python main.py --config.optimizer.lea": "python main.py --config.optimizer.learning_rate=",
    "python main.py --config.optimizer.name=nest": "python main.py --config.optimizer.name=nesterov",
    "python main.py --config.train.loss=foc": "python main.py --config.train.loss=focal",
    "python main.py --config.eval.test=f": "python main.py --config.eval.test=false",
    "python main.py --config.seed=3 eval --work": "python main.py --config.seed=3 eval --workdir=",
    "python main.py eval --split=te": "python main.py eval --split=test",
    "python main.py --config=fashion/two_conv_f": "python main.py --config=fashion/two_conv_flips",
    "python main.py --config=own_conf": "python main.py --config=own_config.py",
    "python main.py sweep --sweep.engine=vm": "python main.py sweep --sweep.engine=vmap",
    "python main.py sweep --sweep=own_sp": "python main.py sweep --sweep=own_space.py",
    "python main.py fields train.mon": "python main.py fields train.monitor",
    "python main.py predict own_pict": "python main.py predict own_picture.png",
    "python own_conf": "python own_config.py",
    "python -m cnn exp": "python -m cnn exp",
    "python -m cnn expor": "python -m cnn export",
    "cnn eva": "cnn eval",
    "cnn data --config.data.resize=bic": "cnn data --config.data.resize=bicubic",
    "cnn swap": "cnn swap",
}
"""What is typed, and what stands there after Tab."""


class Terminal:
    """A shell that believes a person types."""

    def __init__(self, shell, folder):
        self.end, theirs = pty.openpty()
        environment = os.environ | {"TERM": "xterm", "HOME": str(folder), "ZDOTDIR": str(folder), "HISTFILE": ""}
        self.process = subprocess.Popen(
            SHELLS[shell],
            cwd=folder,
            env=environment,
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)

    def type(self, keys, mark):
        """Returns what the pattern `mark` finds in what the terminal shows after these keys."""
        os.write(self.end, keys.encode())
        shown, end = b"", time.monotonic() + 60
        while (found := re.search(mark, shown)) is None:
            assert select.select([self.end], [], [], max(0, end - time.monotonic()))[0], shown
            shown += os.read(self.end, 65536)
        return found

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.end)


@pytest.mark.slow(seconds=1)
@pytest.mark.parametrize("shell", SHELLS)
def test_tab_completes_commands_flags_fields_names_and_files(shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell}")
    (tmp_path / "script").write_text(completion.text(shell))
    for name in ("own_config.py", "own_space.py", "own_picture.png"):
        (tmp_path / name).touch()
    terminal = Terminal(shell, tmp_path)
    with contextlib.closing(terminal):
        terminal.type("source ./script; echo rea''dy\r", rb"ready")
        for line, completed in LINES.items():
            # Behind the Tab the line becomes what printf is given.
            found = terminal.type(f"{line}\t\x05'\x01printf 'GO''T<%s>' '\r", rb"GOT<([^>]*)>")
            assert found[1].decode().strip() == completed, line


def offered(line):
    """Returns what bash offers where the cursor stands at the end of a line."""
    script = completion.text() + (
        f"COMP_LINE={shlex.quote(line)}; COMP_POINT=${{#COMP_LINE}}; compopt() {{ :; }}\n"
        f'_cnn_complete python {shlex.quote(line.rpartition(" ")[2])} main.py; printf "%s\\n" "${{COMPREPLY[@]}}"\n'
    )
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    return done.stdout.split()


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash")
@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("python main.py swe", ["sweep"]),
        ("python main.py train --config.see", ["--config.seed="]),
        ("python main.py predict --j", ["--json"]),
        ("python main.py predict --config", []),
        ("python main.py --ver", ["--version"]),
        ("python other.py swe", []),
        ("python main.py fields loss", ["loss", "losses"]),
        ("python main.py sweep --sweep.t", ["--sweep.trials=", "--sweep.tries="]),
        (
            "python main.py --config.optimizer.name=ada",
            ["--config.optimizer.name=adam", "--config.optimizer.name=adamw"],
        ),
        ("python main.py --config.train.epochs=", []),
    ],
)
def test_only_what_may_follow_is_offered(line, words):
    assert offered(line) == words


@pytest.mark.parametrize("shell", SHELLS)
def test_every_name_of_a_table_every_flag_and_every_config_can_be_completed(shell):
    script = completion.text(shell)
    words = set(re.findall(r"[^\s\"]+", script))
    assert {*COMMANDS, *files.names(), *(name for names in CHOICES.values() for name in names)} <= words
    assert {f"--{flag}=" for flag in FLAGS} | {f"--{flag}" for flag in SWITCHES} <= words
    behind = dict(re.findall(r'(?m)^ +(--\S+)\) offered="(.*)" ;;$', script))
    for table in registry.TABLES.values():
        assert any(set(table) <= set(names.split()) for names in behind.values()), table.what


@pytest.mark.parametrize(
    ("typed", "shell"),
    [
        (["--completion"], "bash"),
        (["--completion=bash"], "bash"),
        (["--completion=zsh"], "zsh"),
        (["--completion", "zsh"], "zsh"),
    ],
)
def test_the_script_is_printed_as_it_stands(typed, shell):
    invocation = parser.parse(typed)
    assert (parser.answer(invocation), invocation.problems) == (completion.text(shell), [])
