"""`--smoke`: every stage of a run in seconds, the first that fails named, and nothing left behind."""

import itertools
import tempfile

import jax.numpy as jnp
import numpy as np
import pytest

import cnn
import runs
from cnn.cli import parser
from cnn.config.config import ConfigError
from cnn.system import compile_times

NUMBERS = itertools.count()
STAGES = ["data", "train", "resume", "evaluate", "report", "stablehlo", "onnx"]


class NeverFinite(cnn.Layer):
    def apply(self, x, arrays, layout):
        return x / 0.0


class NoOnnx(cnn.Layer):
    def apply(self, x, arrays, layout):
        return jnp.abs(x)


def drawn_anew(logits, labels):
    return next(NUMBERS)


@pytest.fixture(autouse=True, scope="module")
def _entered():
    """Enters what is written here, until the file's last test."""
    cnn.layer(NeverFinite)
    cnn.layer(NoOnnx)
    cnn.metric(drawn_anew)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Where temporary files go, to see that none stays."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


def smoked(*overrides, sections=runs.SECTIONS):
    return runs.start("train", "--smoke", *(f"--config.{text}" for text in overrides), sections=sections)


def files(folder):
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.mark.slow(seconds=4)
def test_every_stage_has_a_line_and_nothing_stays(folder, capsys):
    assert smoked() == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:-1]] == STAGES
    assert lines[0].endswith("24 of 1,293 train, 16 of 145 valid, 16 of 359 test")
    assert "650 parameters, 3 steps of 8, loss " in lines[1]
    assert lines[2].endswith("saved after step 2, the same bits from there")
    assert lines[-1].startswith("all 7 stages pass in ") and lines[-1].endswith("; nothing is kept")
    assert files(folder) == []
    assert not compile_times.is_quick()


@pytest.mark.thorough(2)
@pytest.mark.slow(seconds=6)
@pytest.mark.parametrize(
    "overrides",
    [
        ("train.average=ema(0.9)", "eval.weights=ema", "train.accumulate_steps=2", "data.balance=classes"),
        ("eval.weights=best", "eval.every_epochs=2", "schedule.warmup_steps=20", "data.loading=stream"),
        ("data.train_on=train+valid", "train.class_weights=balanced", "train.watch=layers(2)"),
        ("model.layers=conv(2, 3) | batch_norm(0.5) | relu | flatten | dense(classes)", "train.renew_statistics=True"),
    ],
    ids=["averaged", "best", "watched", "renewed"],
)
def test_any_config_passes_as_its_run_does(folder, overrides):
    assert smoked(*overrides) == 0
    assert files(folder) == []


@pytest.mark.slow(seconds=3)
def test_the_first_stage_that_fails_is_named_with_the_exit_code_of_a_run(folder, capsys):
    assert smoked("model.layers=flatten | never_finite | dense(classes)") == 3
    out, err = capsys.readouterr()
    assert [line.split()[0] for line in out.splitlines()] == ["data", "train"]
    assert out.splitlines()[-1].endswith("s  fails")
    assert (
        err == "step 0: the first number that is not finite is what never_finite1 makes; before it: flatten1 0 to 1\n"
    )
    assert files(folder) == []


def test_data_that_are_missing_fail_at_once(folder, capsys):
    missing = ("data.name=folder", "data.data_dir=nowhere")
    assert smoked(*missing) == 2
    out, err = capsys.readouterr()
    assert out.splitlines()[-1].endswith("fails")
    assert "nowhere" in err and len(err.splitlines()) == 1
    assert files(folder) == []


@pytest.mark.slow(seconds=4)
def test_what_has_no_operators_of_onnx_is_said_and_no_failure(folder):
    passed = cnn.smoke(runs_config("flatten | no_onnx | dense(classes)"))
    assert [stage.name for stage in passed] == STAGES
    assert passed[-1].said.startswith("left out: onnx has no operators yet for the layer no_onnx")
    assert all(stage.seconds >= 0 for stage in passed)


def runs_config(layers):
    return cnn.configure(runs.SECTIONS, **{"model.layers": layers})


@pytest.mark.slow(seconds=3)
def test_a_run_that_does_not_continue_to_the_same_bits_fails(folder):
    config = cnn.configure(runs.SECTIONS, **{"eval.metrics": "drawn_anew"})
    with pytest.raises(ConfigError, match=r"^--smoke: metrics\.jsonl of a run that continues from step 2 must be "):
        cnn.smoke(config)


def test_a_smoke_test_is_done_alone():
    assert parser.parse(["train", "--smoke", "--tracker=mlflow"]).problems == [
        "--smoke: records nothing, got --tracker as well. Leave one of them out"
    ]
    assert parser.parse(["train", "--smoke", "--distributed=127.0.0.1:29500,2,0"]).problems == [
        "--smoke: tests one process, got --distributed as well. Leave one of them out"
    ]
    assert parser.parse(["train", "--smoke", "--profile=3"]).problems == [
        "--profile: is done alone, got --smoke as well. Leave one of them out"
    ]
    assert parser.parse(["train", "--smoke=1"]).problems == ["--smoke: takes no value, got '1'. Write --smoke"]


@pytest.mark.parametrize("count", [1, 3, 7, 50])
def test_few_pictures_are_of_as_many_classes_as_there_may_be(count):
    from cnn.data.types import Split

    labels = np.array([0] * 10 + [1] * 3 + [2] * 5, np.int32)
    split = Split(np.zeros((18, 1, 1, 1), np.uint8), labels)
    few = split.few(count)
    assert len(few) == min(count, 18)
    counts = np.bincount(few.labels, minlength=3)
    assert {1: [1, 0, 0], 3: [1, 1, 1], 7: [3, 2, 2], 50: [10, 3, 5]}[count] == counts.tolist()
