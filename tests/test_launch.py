"""Command lines from what was typed to the exit code; no mistake ends in a traceback."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import runs
from cnn.cli import launch, parser
from cnn.config import files


@pytest.fixture
def copied(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "run"))


def summary(path):
    return launch.launch(parser.parse(["summary", f"--config={path}"]))


def refused(capsys, code=2):
    """Returns what was said on stderr; nothing of it is a traceback."""
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert said
    return said


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x = 1", "config.py: defines no get_config(). Mend it or use another file"),
        ("def get_config(:\n  pass", "config.py line 1: SyntaxError: invalid syntax. Mend it"),
        ("import nosuch", "config.py line 1: ModuleNotFoundError: No module named 'nosuch'. Mend"),
        ("def get_config():\n  raise RuntimeError('a\\nb')", "config.py line 2: RuntimeError: a b. Mend"),
        ("def get_config():\n  return 1 + 'a'", "config.py line 2: TypeError: unsupported operand type(s) for +"),
        ("def get_config():\n  raise ValueError", "config.py line 2: ValueError. Mend"),
        ("def get_config():\n  raise SystemExit(5)", "config.py line 2: SystemExit: 5. Mend"),
        ("def get_config():\n  open('/no/such')", "No such file or directory: '/no/such'. Mend"),
        ("def get_config():\n  pass", "config.py: get_config() must return a ConfigDict, got None"),
        ("def get_config():\n  return 3", "config.py: get_config() must return a ConfigDict, got 3"),
        ("\0", "config.py: SyntaxError: source code string cannot contain null bytes"),
    ],
)
def test_a_config_file_that_fails_is_one_line(tmp_path, capsys, content, message):
    path = tmp_path / "config.py"
    path.write_text(content)
    assert summary(path) == 2
    said = refused(capsys)
    assert said.startswith(f"--config: {tmp_path}")
    assert message in said
    assert said.count("\n") == 1


def test_a_config_file_takes_an_argument_after_a_colon(tmp_path, capsys):
    path = tmp_path / "config.py"
    path.write_text(
        "from ml_collections import ConfigDict\n"
        f"def get_config(layers):\n  return ConfigDict({{**{runs.SECTIONS!r}, 'model': {{'layers': layers}}}})"
    )
    assert summary(f"{path}:flatten | dense(classes)") == 0
    assert "dense1" in capsys.readouterr().out
    assert summary(path) == 2
    assert "TypeError: get_config() missing 1 required positional argument" in refused(capsys)


def test_the_folder_of_a_config_file_may_have_a_colon_in_its_name(tmp_path, capsys):
    folder = tmp_path / "a:b"
    folder.mkdir()
    path, argued = folder / "f.py", folder / "g:h.py"
    path.write_text(f"def get_config():\n  return {runs.SECTIONS!r}")
    argued.write_text(f"def get_config(layers):\n  return {{**{runs.SECTIONS!r}, 'model': {{'layers': layers}}}}")
    assert summary(path) == 0
    assert summary(f"{argued}:flatten | dense(classes)") == 0
    assert capsys.readouterr().out.count("dense1") == 2
    assert files.resolved(path).json == files.resolved(runs.SECTIONS).json
    assert files.file_of(f"{path}:x:y") == path
    assert summary(folder / "no.py") == 2
    assert refused(capsys).startswith(f"--config: no such file, got {folder}/no.py. ")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("nosuch.py", "--config: no such file, got nosuch.py. Known: cifar10, "),
        ("nosuch/lenet5.py", "--config: no such file, got nosuch/lenet5.py. Did you mean 'lenet5'? Known: "),
        ("lenet", "--config: no such file, got lenet. Did you mean 'lenet5'? Known: "),
        ("five_con", "--config: no such file, got five_con. Did you mean 'fashion/five_conv'? Known: "),
        ("tests", "--config: no such file, got tests. "),
    ],
)
def test_a_missing_config_file_is_named(capsys, path, message):
    assert summary(path) == 2
    assert refused(capsys).startswith(message)


def test_problems_of_the_command_line_and_of_the_config_come_together(capsys):
    code = runs.start("train", "stray", "--wrkdir=a", "--config.seed=x", "--config.train.epochs=0", "--config.a.b=1")
    assert code == 2
    starts = [line.partition(" ")[0] for line in refused(capsys).splitlines()]
    assert starts == ["'stray':", "--wrkdir:", "config.a.b:", "config.seed:", "config.train.epochs:"]


def test_summary_prints_the_table_and_the_totals(capsys):
    assert runs.start("summary") == 0
    said = capsys.readouterr()
    assert "64*10 + 10" in said.out
    assert "650 parameters = 2,600 bytes of float32" in said.out
    assert said.err == ""


def test_a_finished_run_is_only_reported(finished, capsys):
    before = {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()}
    assert runs.train(finished) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"{finished} is finished. Its result:\ntest accuracy 0.")
    assert "36 steps, 3 epochs" in said
    assert {path: path.read_bytes() for path in finished.rglob("*") if path.is_file()} == before


def test_another_config_is_refused_with_both_values_and_a_free_directory(finished, capsys):
    Path(f"{finished}-2").mkdir(exist_ok=True)
    # What may be another for the same run is not named as if it had to be restored.
    assert runs.train(finished, "seed=1", "optimizer.learning_rate=0.5", "checkpoint.every=epochs(2)") == 2
    assert refused(capsys).splitlines() == [
        f"--workdir: {finished} holds a run of another config. Use --workdir={finished}-3",
        "    config.optimizer.learning_rate: 0.01 there, 0.5 here",
        "    config.seed: 0 there, 1 here",
    ]


def test_a_directory_that_is_no_run_is_left_alone(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    for workdir in (tmp_path, tmp_path / "file"):
        assert runs.train(workdir) == 2
        assert refused(capsys) == f"--workdir: {workdir} exists and holds no run. Use --workdir={workdir}-2\n"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_directory_that_cannot_be_made_is_an_input_output_error(tmp_path, capsys):
    (tmp_path / "file").write_text("x")
    assert runs.train(tmp_path / "file" / "run") == 74
    assert refused(capsys).endswith(f"--workdir: {tmp_path / 'file' / 'run'}: Not a directory\n")


@pytest.mark.parametrize("content", ["garbage", "[]", "\xff"])
@pytest.mark.parametrize("name", ["config.json", "result.json"])
def test_a_broken_file_of_a_run_is_named(copied, capsys, content, name):
    (copied / name).write_text(content, "latin-1")
    assert runs.train(copied) == 2
    assert refused(capsys).startswith(f"{copied / name}: ")
    if name == "config.json":
        assert runs.start("eval", f"--workdir={copied}") == 2
        assert refused(capsys).startswith(f"{copied / name}: ")


def test_a_config_json_that_is_no_config_is_refused_line_by_line(copied, capsys):
    (copied / "config.json").write_text('{"seed": "x", "extra": 1}')
    assert runs.start("eval", f"--workdir={copied}") == 2
    lines = refused(capsys).splitlines()
    assert f"{copied / 'config.json'}: config.seed: must be an integer in [0, 4294967295], got 'x'." in lines
    assert len(lines) > 4


def test_a_finished_run_without_its_evaluation_says_how_to_get_it_back(copied, capsys):
    (copied / "evaluation-test.json").unlink()
    assert runs.train(copied) == 0
    assert f"python main.py eval --workdir={copied} --split=test" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--workdir: eval needs a run's directory. Write --workdir=runs/NAME"),
        (("--workdir=nosuch",), "--workdir: nosuch does not exist. Name a run's directory, or train one there first"),
        (("--workdir=main.py",), "--workdir: main.py is a file. Name a run's directory"),
    ],
)
def test_eval_without_a_run_is_refused(capsys, arguments, message):
    assert runs.start("eval", *arguments) == 2
    assert refused(capsys).startswith(message)


def test_a_folder_that_is_no_run_names_the_run_that_may_be_meant(tmp_path, capsys):
    def said():
        assert runs.start("eval", f"--workdir={tmp_path}") == 2
        return refused(capsys)

    assert said() == f"--workdir: {tmp_path} holds no run (no config.json). Name a run's directory\n"
    run = tmp_path / "trials" / "0000"
    run.mkdir(parents=True)
    (run / "config.json").write_text("{}")
    assert said().endswith(f"Name a run's directory, such as {run}\n")
    (tmp_path / "declaration.json").write_text("{}")
    assert said() == f"--workdir: no trial of the sweep in {tmp_path} has finished. Start its command again\n"
    assert runs.start("diff", str(tmp_path), str(run)) == 2
    assert refused(capsys) == (
        f"diff: {tmp_path} is a sweep's directory, not a run's. Name one of its trials, such as {run}\n"
    )


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.batch_size=1294"], "config.train.batch_size: must be at most the 1,293 training examples, got 1,294."),
        (
            ["schedule.warmup_steps=30", "schedule.cooldown_steps=7"],
            "config.schedule.warmup_steps: warmup and cooldown are longer than the run's 36 steps, got 30 + 7. Use sh",
        ),
        (["data.classes=9"], "config.data.classes: digits has 10 classes, got 9. Set it to 10."),
        (["data.image_shape=(9,9,1)"], "config.data.image_shape: digits is 8x8x1, got (9, 9, 1). Set it to (8, 8, 1)"),
        (["data.name=digist"], "config.data.name: unknown name, got 'digist'. "),
        (["data.name=folder"], "config.data.data_dir: must name the folder of the pictures, got ''. Put pictures"),
        (["data.name=folder", "data.data_dir=/no/such"], "config.data.data_dir: cannot read the folder, got '/no/"),
    ],
)
def test_what_only_the_data_can_tell_is_refused_before_anything_is_written(tmp_path, capsys, overrides, message):
    assert runs.train(tmp_path / "run", *overrides) == 2
    assert refused(capsys).startswith(message)
    assert not (tmp_path / "run").exists()


def test_an_interruption_outside_training_is_no_traceback(tmp_path, capsys):
    path = tmp_path / "config.py"
    path.write_text("raise KeyboardInterrupt")
    assert launch.launch(parser.parse(["train", f"--config={path}"])) == 75
    assert refused(capsys) == "interrupted. The same command starts it again, from what is saved\n"


HOSTILE = ("\x1b[31mred\x1b]0;title\x07", "a\nb", "[red]bold", ":smile:", "\u202etxt")


@pytest.mark.slow
def test_hostile_class_names_are_harmless_on_the_terminal(tmp_path, capsys):
    for row, name in enumerate(HOSTILE):
        for part in ("train", "test"):
            (tmp_path / part / name).mkdir(parents=True)
            picture = np.zeros((5, 5), np.uint8)
            picture[row] = 255
            for n in range(4):
                Image.fromarray(picture).save(tmp_path / part / name / f"{n}.png")
    sections = {**runs.SECTIONS, "data": {"name": "folder", "image_shape": (5, 5, 1), "classes": 5}}
    overrides = [f"data.data_dir={tmp_path}", "train.batch_size=5", "data.valid_fraction=0"]
    assert runs.train(tmp_path / "run", *overrides, sections=sections) == 0
    said = capsys.readouterr()
    assert all(letter == "\n" or letter.isprintable() for letter in said.out + said.err)
    for shown in ("?[31mred?]0;title?", "a?b", "[red]bold", ":smile:", "?txt"):
        assert f"\n{shown} " in said.out
    assert sorted(runs.saved(tmp_path / "run", "run.json")["data"]["classes"]) == sorted(HOSTILE)

    (tmp_path / "test" / "\x1b[2Junknown").mkdir()
    assert runs.train(tmp_path / "other", *overrides, sections=sections) == 2
    assert all(letter == "\n" or letter.isprintable() for letter in refused(capsys))


def test_a_directory_that_cannot_be_made_is_named_with_its_flag(capsys):
    for words in ((), ("sweep", "--grid=seed=0")):
        assert runs.start(*words, "--workdir=/proc/x") == launch.IO_ERROR
        assert refused(capsys).splitlines()[-1] == "--workdir: /proc/x: No such file or directory"
    assert launch._said(OSError(28, "No space left on device", "/w/run/metrics.jsonl"), "/w/run") == (
        "/w/run/metrics.jsonl: No space left on device"
    )
    assert launch._said(OSError("broken"), "/w/run") == "broken"
