"""The program as a person starts it: real processes."""

import json
import os
import pty
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import runs
from cnn.api import reading

MAIN = Path(__file__).resolve().parents[1] / "main.py"
TINY = (
    "--config.data.image_shape=(8,8,1)",
    "--config.data.resize=exact",
    "--config.data.augment=",
    "--config.model.layers=flatten | dense(classes) | softmax",
    "--config.train.batch_size=100",
)


def start(*arguments, **environment):
    """Returns the exit code and both outputs of `python main.py`, started from another folder."""
    done = subprocess.run(
        [sys.executable, str(MAIN), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
        cwd="/",
        env={**os.environ, **environment},
    )
    return done.returncode, done.stdout, done.stderr


WRONG = [
    ["train", "stray", "--wrkdir=a", "--config.train.epoch=1", "--config.seed=x", "--config.optimizer.name=adma"],
    ["--config.train.stop=patience(0", "--config.a.b.c=1", "--config.train.epochs=", "--config.model.layers=a"],
    ["--config=nosuch.py", "--config=configs/digits.py"],
    ["eval", "--workdir=nosuch", "--split=x"],
    ["--workdir=/dev/null"],
    ["--workdir=/"],
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("trained") / "run"
    assert runs.train(workdir, "train.epochs=1") == 0
    return workdir


@pytest.mark.slow(seconds=10)
@pytest.mark.parametrize("buffered", ["", "1"])
@pytest.mark.parametrize("command", [["eval"], ["eval", "--split=none"], ["summary"]])
def test_whoever_reads_the_output_may_leave(command, buffered, trained):
    read, write = os.pipe()
    os.close(read)
    flags = [f"--workdir={trained}"] if command[0] == "eval" else []
    environment = {**os.environ, "PYTHONUNBUFFERED": buffered}
    line = [sys.executable, str(MAIN), *command, *flags]
    both = len(command) > 1  # what is wrong is said on stderr
    done = subprocess.run(line, stdout=write, stderr=write if both else subprocess.PIPE, env=environment, timeout=300)
    os.close(write)
    assert done.returncode == -signal.SIGPIPE
    assert not done.stderr


@pytest.mark.slow(seconds=5)
@pytest.mark.parametrize("command", ["--help", "train --help", "fields", "eval"])
@pytest.mark.parametrize("buffered", ["", "1"])
def test_an_output_that_is_full_is_named(command, buffered, trained):
    line = [sys.executable, str(MAIN), *command.split(), *([f"--workdir={trained}"] if command == "eval" else [])]
    environment = {**os.environ, "PYTHONUNBUFFERED": buffered}
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, env=environment, timeout=300, text=True)
    assert (done.returncode, done.stderr) == (74, "standard output: No space left on device\n")


@pytest.mark.slow
def test_what_is_wrong_is_said_on_stderr_without_jax_and_without_a_traceback():
    code = (
        "import io, json, sys, contextlib\n"
        f"sys.path.insert(0, {str(MAIN.parent)!r})\n"
        "import main\n"
        "for line in json.load(sys.stdin):\n"
        "    out, err = io.StringIO(), io.StringIO()\n"
        "    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):\n"
        "        code = main.main(main.parse_flags(['main.py', *line]))\n"
        "    print(json.dumps([code, out.getvalue(), err.getvalue(), 'jax' in sys.modules]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=json.dumps(WRONG), capture_output=True, text=True, timeout=120, check=True
    )
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == len(WRONG)
    for line, (exit_code, out, err, jax) in zip(WRONG, results, strict=True):
        assert (exit_code, out, jax) == (2, "", False), line
        assert err
        assert "Traceback" not in err
    assert len(results[0][2].splitlines()) == 5
    assert len(results[1][2].splitlines()) == 8, "two of the four problems have two more lines, with a caret"


def test_one_wrong_line_exits_2():
    assert start("summary", "--config.train.epohcs=3") == (
        2,
        "",
        "config.train.epohcs: unknown field. Did you mean 'epochs'? Known: batch_size, epochs, steps, loss, "
        "class_weights, label_smoothing, clip, gradient, groups, average, renew_statistics, freeze, accumulate_steps, "
        "remat, compute_dtype, monitor, stop, dispatch, "
        "log_every_steps, watch.\n",
    )


def test_help_is_on_stdout():
    code, out, err = start("--help")
    assert (code, err) == (0, "")
    assert out.startswith("python main.py [COMMAND]")
    assert len(out.splitlines()) <= 24


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "typed", ["--version", "--config.optimizer.help", "--config.help", "fields", "fields layers losses adam sweep"]
)
def test_versions_and_fields_are_on_stdout_without_jax(typed):
    code = f"import sys; sys.argv = ['main.py', *{typed.split()!r}]\nimport main\n"
    code += "try:\n    assert main.main(main.parse_flags(sys.argv)) == 0\n"
    code += "except SystemExit as end:\n    assert end.code == 0\nassert 'jax' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=MAIN.parent, check=True)
    assert (len(done.stdout.splitlines()) >= 4, done.stderr) == (True, "")


@pytest.mark.slow
def test_summary_of_the_default_config_works_from_any_folder():
    code, out, err = start("summary")
    assert (code, err) == (0, "")
    assert "243,786 parameters = 975,144 bytes of float32" in out
    assert "floor(11/2) = 5" in out


@pytest.mark.slow
def test_a_whole_life_of_a_run_without_tensorflow(tmp_path):
    """Trains, reports, evaluates and refuses, where TensorFlow seems installed and importing it would raise."""
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.machinery, sys\n"
        "class Refuse:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] == 'tensorflow':\n"
        "            return importlib.machinery.ModuleSpec(name, self)\n"
        "    def create_module(self, spec):\n"
        f"        open({str(tmp_path / 'imported')!r}, 'a').write(spec.name)\n"
        "        raise RuntimeError(f'{spec.name} was imported')\n"
        "    def exec_module(self, module):\n"
        "        pass\n"
        "sys.meta_path.insert(0, Refuse())\n"
    )
    workdir = tmp_path / "run"
    command = (*TINY, "--config.train.epochs=2", f"--workdir={workdir}")
    code, out, err = start(*command, PYTHONPATH=str(tmp_path))
    assert code == 0, err
    assert "650 parameters" in out
    assert "test accuracy 0." in out
    lines = err.splitlines()
    assert len(lines) == 3, "what an epoch leaves out, one plain line for each evaluation, and nothing else"
    assert "each epoch leaves out 93 of 1,293 training pictures (7.2 %)" in lines.pop(0)
    assert all(re.match(r"epoch \d/2  train loss [\d.]+ accuracy [\d.]+  valid loss [\d.]+", line) for line in lines)
    assert "\x1b" not in out + err
    metrics = (workdir / "metrics.jsonl").read_bytes()

    code, out, err = start(*command, PYTHONPATH=str(tmp_path))
    assert (code, err) == (0, "")
    assert out.startswith(f"{workdir} is finished. Its result:\ntest accuracy 0.")
    assert (workdir / "metrics.jsonl").read_bytes() == metrics
    made = runs.saved(workdir, "run.json")
    assert made["argv"][1:] == list(command)

    code, out, err = start("eval", f"--workdir={workdir}", "--split=valid", PYTHONPATH=str(tmp_path))
    assert (code, err) == (0, "")
    assert "valid accuracy 0." in out

    code, out, err = start(*command, "--config.seed=1", PYTHONPATH=str(tmp_path))
    assert (code, out) == (2, "")
    assert f"Use --workdir={workdir}-2\n    config.seed: 0 there, 1 here\n" in err
    assert not (tmp_path / "imported").exists()


LONG = (*TINY, "--config.train.epochs=60", "--config.checkpoint.every=epochs(7)")


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("main") / "straight"
    assert start(*LONG, f"--workdir={workdir}")[0] == 0
    return workdir


def wait_for(process, condition):
    """Reads the process's lines until one fulfils the condition."""
    for line in process.stderr:
        if condition(line):
            return
    raise AssertionError("ended before")


@pytest.mark.thorough(1)
@pytest.mark.slow
@pytest.mark.parametrize(("number", "expected"), [(signal.SIGTERM, 75), (signal.SIGINT, 75), (signal.SIGKILL, -9)])
def test_a_run_that_was_stopped_continues_to_the_same_bytes(straight, tmp_path, number, expected):
    workdir = tmp_path / "stopped"
    command = [sys.executable, str(MAIN), *LONG, f"--workdir={workdir}"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        wait_for(process, lambda line: line.startswith("epoch 9/"))
        process.send_signal(number)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == expected
    if expected == 75:
        assert said.endswith("interrupted. The same command continues from what is saved\n")
    assert not (workdir / "result.json").exists()
    assert start(*LONG, f"--workdir={workdir}")[0] == 0
    values = reading.read_run(straight)
    assert runs.final(values, workdir) == runs.final(values, straight)
    events = [json.loads(line)["event"] for line in (workdir / "events.jsonl").read_text().splitlines()]
    assert events == (["start", "preempted", "resume", "end"] if expected == 75 else ["start", "resume", "end"])


@pytest.mark.slow
def test_a_terminal_sees_a_bar_and_whole_tables(tmp_path):
    screen, slave = pty.openpty()
    command = [sys.executable, str(MAIN), *TINY, "--config.train.epochs=1", f"--workdir={tmp_path / 'run'}"]
    environment = {**os.environ, "COLUMNS": "40", "TERM": "xterm"}
    shown = b""
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment) as process:
        os.close(slave)
        try:
            while part := os.read(screen, 65_536):
                shown += part
        except OSError:  # how Linux says that the other side has closed
            os.close(screen)
    assert process.returncode == 0
    text = shown.decode()
    assert "…" not in text
    assert "12/12" in text
    assert "\x1b[2K" in text
    for cell in ("flatten1", "8*8*1 = 64", "64*10 + 10", "precision 0."):
        assert cell in text
