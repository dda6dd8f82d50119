"""Runs that were damaged, interrupted or refused: they end with the bytes of one that never was, or say why not."""

import itertools
import json
import math
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import cnn
import processes
import runs
from cnn.cli import launch
from cnn.config import config, resolve
from cnn.data import loader, order
from cnn.data.types import DataError
from cnn.registry import METRICS, STOPS
from cnn.runs import checkpoint_format, checkpoints, checksum, run_dir
from cnn.system.preemption import Preempted
from cnn.train import experiment, loop, multi_step, preflight, state
from cnn.train.state import create_train_state, make_step_config
from cnn.train.step import train_step
from tests import tiny

pytestmark = pytest.mark.slow  # they train runs


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("resume") / "run"
    experiment.run(runs.tiny(), workdir)
    return workdir


@pytest.fixture
def unfinished(reference, tmp_path):
    """A run that was killed after its last step: step 24 and step 36, the best, are saved."""
    workdir = Path(shutil.copytree(reference, tmp_path / "run"))
    (workdir / "result.json").unlink()
    return workdir


def events(workdir, what=None):
    records = [json.loads(line) for line in (workdir / "events.jsonl").read_text().splitlines()]
    return [record for record in records if what in (None, record["event"])]


def newest(workdir):
    return max((workdir / "checkpoints").glob("[0-9]*"))


def spoil(workdir, step):
    (workdir / "checkpoints" / f"{step:08}" / "meta" / "metadata").write_text("spoilt")


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 20))])
def test_a_run_whose_newest_step_has_a_flipped_bit_ends_with_the_same_bytes(reference, unfinished, seed, capsys):
    runs.flip(newest(unfinished), random.Random(seed))
    assert runs.train(unfinished) == 0
    assert runs.outcome(unfinished) == runs.outcome(reference)
    quarantined = events(unfinished, "step quarantined")
    assert [event["step"] for event in quarantined] == [36]
    assert capsys.readouterr().err.startswith("step quarantined: step 36, reason ")
    assert events(unfinished, "resume")[-1]["step"] == 24


def test_a_run_that_continues_and_whoever_opens_it_draw_no_parameters(reference, unfinished, monkeypatch):
    create = state._create_on_cpu

    def only_traced(hyper, key, *arguments, **keywords):
        assert isinstance(key, jax.core.Tracer), "parameters are drawn in place of those that are saved"
        return create(hyper, key, *arguments, **keywords)

    monkeypatch.setattr(state, "_create_on_cpu", only_traced)
    assert runs.train(unfinished) == 0
    assert runs.start("eval", f"--workdir={unfinished}") == 0
    assert runs.outcome(unfinished) == runs.outcome(reference)


def test_where_all_steps_are_damaged_the_run_exits_74_and_stays_as_it_is(unfinished, capsys):
    for step in runs.steps(unfinished):
        spoil(unfinished, step)
    saved = sorted(path.read_bytes() for path in (unfinished / "checkpoints").rglob("*") if path.is_file())
    metrics = (unfinished / "metrics.jsonl").read_bytes()
    for _ in range(2):
        assert runs.train(unfinished) == launch.IO_ERROR
        assert "steps were saved and none is whole; they are in _corrupt. Restore one" in capsys.readouterr().err
    assert (unfinished / "metrics.jsonl").read_bytes() == metrics
    assert not (unfinished / "result.json").exists()
    assert saved == sorted(path.read_bytes() for path in (unfinished / "checkpoints").rglob("*") if path.is_file())


@pytest.mark.parametrize(("weights", "code"), [("best", 74), ("last", 0)])
def test_eval_of_a_damaged_step(unfinished, capsys, weights, code):
    spoil(unfinished, 36)
    assert runs.start("eval", f"--workdir={unfinished}", f"--weights={weights}") == code
    said = capsys.readouterr()
    if code:
        assert said.err.endswith("/00000036: damaged: meta/metadata is not what was written. Use --weights=last\n")
    else:
        assert said.err.endswith("/00000036: passed over: meta/metadata is not what was written\n")
        assert said.out.startswith(f"{unfinished} at step 24, last weights\n")
    assert runs.steps(unfinished) == [24, 36]


@pytest.mark.slow
def test_a_checkpoint_of_another_network_exits_2_with_the_differing_arrays(unfinished, tmp_path, capsys):
    wide = {**runs.SECTIONS, "model": {"layers": "flatten | dense(5) | relu | dense(classes)"}}
    assert runs.train(tmp_path / "wide", "train.epochs=1", sections=wide) == 0
    shutil.rmtree(unfinished / "checkpoints")
    shutil.copytree(tmp_path / "wide" / "checkpoints", unfinished / "checkpoints")
    capsys.readouterr()
    for command in (lambda: runs.train(unfinished), lambda: runs.start("eval", f"--workdir={unfinished}")):
        assert command() == 2
        said = capsys.readouterr().err
        assert "/00000012: holds another network's state. Choose another --workdir\n" in said
        assert "    params/dense1/kernel: float32[64, 5] there, float32[64, 10] here\n" in said
    assert runs.steps(unfinished) == [12]


@pytest.mark.parametrize("schema", [2, pytest.param(0, marks=pytest.mark.slow)])
def test_a_checkpoint_of_another_version_exits_2(unfinished, capsys, schema):
    path = newest(unfinished) / "meta" / "metadata"
    content = {**json.loads(path.read_text())["content"], "schema": schema}
    path.write_text(json.dumps(checkpoint_format.seal(content)))
    checkpoint_format.write_sums(newest(unfinished))
    assert runs.train(unfinished) == 2
    assert f"/00000036: has schema {schema}, expected 1. Use the version that wrote it\n" in capsys.readouterr().err
    assert runs.steps(unfinished) == [24, 36]


@pytest.mark.parametrize(
    "torn",
    [
        b'{"kind": "train", "st',
        pytest.param(b"\x00\xff", marks=pytest.mark.slow),
        pytest.param(b'{"kind": "train", "step": 40}\n', marks=pytest.mark.slow),
    ],
)
def test_what_was_recorded_after_the_last_save_is_cut_off(reference, unfinished, torn):
    shutil.rmtree(newest(unfinished))
    with (unfinished / "metrics.jsonl").open("ab") as file:
        file.write(torn)
    experiment.run(runs.tiny(), unfinished)
    assert runs.outcome(unfinished) == runs.outcome(reference)


def shown(workdir):
    """Returns what TensorBoard shows, refusing what it shows twice."""
    found = runs.scalars(workdir)[0]
    assert all(len(values) == 1 for values in found.values())
    return found


@pytest.mark.parametrize("kept", [0.0, 0.3, 0.7, 0.99])
@pytest.mark.parametrize("newest_is_whole", [True, False])
@pytest.mark.parametrize("folder", ["train", "valid", "."])
def test_what_tensorboard_lost_is_written_again(reference, unfinished, kept, newest_is_whole, folder):
    (path,) = (unfinished / "tensorboard" / folder).glob("events.*")
    os.truncate(path, int(kept * path.stat().st_size))
    if not newest_is_whole:
        shutil.rmtree(newest(unfinished))
    experiment.run(runs.tiny(), unfinished)
    assert runs.outcome(unfinished) == runs.outcome(reference)
    assert shown(unfinished) == shown(reference)


def test_a_lost_folder_of_tensorboard_is_written_again(reference, unfinished):
    shutil.rmtree(unfinished / "tensorboard")
    experiment.run(runs.tiny(), unfinished)
    assert shown(unfinished) == shown(reference)


@pytest.mark.parametrize("folder", ["train", "valid"])
def test_a_lost_folder_of_a_split_is_written_again(reference, unfinished, folder):
    shutil.rmtree(unfinished / "tensorboard" / folder)
    experiment.run(runs.tiny(), unfinished)
    assert shown(unfinished) == shown(reference)


def test_starts_within_a_second_keep_what_each_other_wrote(reference, unfinished):
    for _ in range(3):
        (unfinished / "result.json").unlink(missing_ok=True)
        experiment.run(runs.tiny(), unfinished)
    for folder in ("train", "valid", "."):
        assert len(list((unfinished / "tensorboard" / folder).glob("events.*"))) == 4
    assert shown(unfinished) == shown(reference)


# What may change between two starts, and what may not.

HARMLESS = ("checkpoint.every=steps(5)", "data.data_dir=elsewhere", "data.manual_dir=there")


def test_changes_that_cannot_change_the_numbers_are_noted_and_allowed(reference, unfinished):
    shutil.rmtree(newest(unfinished))
    assert runs.train(unfinished, *HARMLESS) == 0
    assert runs.outcome(unfinished) == runs.outcome(reference)
    history = [json.loads(line) for line in (unfinished / "config_history.jsonl").read_text().splitlines()]
    assert {change["field"]: change["before"] for change in history} == {
        "config.checkpoint.every": "epochs(1)",
        "config.data.data_dir": "",
        "config.data.manual_dir": "",
    }
    assert resolve.resolve(runs.saved(unfinished, "config.json")) == runs.tiny(*HARMLESS)
    # What is noted is the config from then on: nothing changes at the next start.
    (unfinished / "result.json").unlink()
    assert runs.train(unfinished, *HARMLESS) == 0
    assert len((unfinished / "config_history.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("override", "before", "now"),
    [
        ("train.epochs=2", 3, 2),
        ("seed=1", 0, 1),
        ("optimizer.learning_rate=0.02", 0.01, 0.02),
        ("train.log_every_steps=6", 5, 6),
        ("eval.batch_size=7", None, 7),
    ],
)
def test_any_other_change_is_refused_with_both_values(unfinished, capsys, override, before, now):
    kept = {path: path.read_bytes() for path in unfinished.rglob("*") if path.is_file()}
    assert runs.train(unfinished, override, HARMLESS[0]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"--workdir: {unfinished} holds a run of another config. Use --workdir={unfinished}-2"
    (line,) = (line for line in lines[1:] if " there, " in line)  # what may change is not named with it
    assert line.split(":")[0] == f"    config.{override.partition('=')[0]}"
    assert before is None or line.endswith(f"{before} there, {now} here")
    assert {path: path.read_bytes() for path in unfinished.rglob("*") if path.is_file()} == kept


def of_a_version(workdir, optimizer, version, commit="c0ffee"):
    """Makes a run one of an optimizer and of a version of our arithmetic, 1 of which says nothing."""
    saved = runs.saved(workdir, "config.json")
    run_dir.write_json(workdir / "config.json", {**saved, "optimizer": {"name": optimizer, "learning_rate": 0.01}})
    made = {name: value for name, value in runs.saved(workdir, "run.json").items() if name != "numerics"}
    made["git"] = {**(made["git"] or {}), "commit": commit} if commit else None
    run_dir.write_json(workdir / "run.json", made if version == 1 else {**made, "numerics": {"optimizer": version}})


@pytest.mark.parametrize("name", ["nadam", "muon"])
@pytest.mark.parametrize(
    ("version", "commit", "relation", "remedy"),
    [
        (1, "c0ffee", "an earlier", "Check out commit c0ffee to continue it"),
        (1, None, "an earlier", "Use the version that began it, whose commit is not recorded, to continue it"),
        (3, "c0ffee", "a later", "Check out commit c0ffee to continue it"),
    ],
)
def test_an_unfinished_run_of_other_arithmetic_is_refused_in_one_line(
    unfinished, capsys, name, version, commit, relation, remedy
):
    of_a_version(unfinished, name, version, commit)
    before = {path: path.read_bytes() for path in unfinished.rglob("*") if path.is_file()}
    override, digits = f"optimizer.name={name}", preflight.load_data(runs.tiny().data)
    message = (
        f"--workdir: {unfinished} holds an unfinished run of {relation} version, whose {name} computes otherwise. "
        f"{remedy}, or start again with --workdir={unfinished}-2"
    )
    assert runs.train(unfinished, override) == 2
    said = capsys.readouterr()
    assert said.err == f"{message}\n"
    assert said.out == ""
    for go_on in (experiment.run, lambda values, workdir: experiment.prepare(values, workdir, digits)):
        with pytest.raises(config.ConfigError) as caught:
            go_on(runs.tiny(override), unfinished)
        assert str(caught.value) == message
    assert {path: path.read_bytes() for path in unfinished.rglob("*") if path.is_file()} == before


def test_a_finished_run_of_earlier_arithmetic_still_opens(reference, tmp_path, capsys):
    workdir = Path(shutil.copytree(reference, tmp_path / "run"))
    of_a_version(workdir, "nadam", 1)
    assert not experiment.run(runs.tiny("optimizer.name=nadam"), workdir).fresh
    assert runs.start("eval", f"--workdir={workdir}") == 0
    assert runs.train(workdir, "optimizer.name=nadam") == 0
    assert "is finished" in capsys.readouterr().out


def test_an_unfinished_run_whose_optimizer_is_as_it_was_goes_on(reference, unfinished):
    of_a_version(unfinished, "adam", 1)
    assert experiment.run(runs.tiny(), unfinished).fresh
    assert runs.saved(unfinished, "run.json")["numerics"] == {"optimizer": 2, "reader": 2}
    assert runs.final(runs.tiny(), unfinished) == runs.final(runs.tiny(), reference)


def test_other_threads_are_said_in_one_line_and_go_on(unfinished, monkeypatch, capsys):
    threads = int(os.environ["NPROC"])
    monkeypatch.setenv("NPROC", str(threads + 1))
    assert runs.train(unfinished) == 0
    reason = f"cpu_threads {threads} -> {threads + 1}"
    said = [line for line in capsys.readouterr().err.splitlines() if "not bit-identical" in line]
    assert said == [f"not bit-identical from here: step 36, reason {reason}"]
    assert [event["reason"] for event in events(unfinished, "not bit-identical from here")] == [reason]


@pytest.mark.slow
def test_other_versions_are_said_in_one_line_and_go_on(unfinished):
    path = newest(unfinished) / "meta" / "metadata"
    content = json.loads(path.read_text())["content"]
    content["numerics"] |= {"jax": "0.0.1", "device": "abacus"}
    path.write_text(json.dumps(checkpoint_format.seal(content)))
    checkpoint_format.write_sums(newest(unfinished))
    experiment.run(runs.tiny(), unfinished)
    (event,) = events(unfinished, "not bit-identical from here")
    assert event["reason"].startswith("jax 0.0.1 -> ")
    assert "; device abacus -> " in event["reason"]


@pytest.mark.slow
def test_other_data_are_refused_before_anything_is_written(tmp_path, fault):
    root = tmp_path / "pictures"
    for part in ("train", "test"):
        for shade, name in ((0, "dark"), (200, "light")):
            (root / part / name).mkdir(parents=True)
            for n in range(6):
                Image.new("L", (4, 4), shade + n).save(root / part / name / f"{n}.png")
    sections = {**runs.SECTIONS, "data": {"name": "folder", "image_shape": (4, 4, 1), "classes": 2}}
    sections["data"] |= {"data_dir": str(root), "valid_fraction": 0.2}
    sections["train"] = {"batch_size": 5, "epochs": 2}
    values, workdir = resolve.resolve(sections), tmp_path / "run"
    fault("step:term:2")
    with pytest.raises(Preempted):
        experiment.run(values, workdir)
    Image.new("L", (4, 4), 99).save(root / "train" / "dark" / "0.png")
    before = {path: path.read_bytes() for path in workdir.rglob("*") if path.is_file() and path.name != ".lock"}
    with pytest.raises(DataError, match=r"^config\.data: the data are not those that .*/run was trained with, got "):
        experiment.run(values, workdir)
    assert before == {path: path.read_bytes() for path in before}
    made = (workdir / "run.json").read_bytes()
    (workdir / "run.json").unlink()
    with pytest.raises(DataError, match=r"^config\.data: the data are not those of step 2 in .*\. Restore them, or ch"):
        experiment.run(values, workdir)
    (workdir / "run.json").write_bytes(made)
    Image.new("L", (4, 4), 0).save(root / "train" / "dark" / "0.png")
    assert experiment.run(values, workdir).fresh


# Signals.


@pytest.mark.parametrize(
    "where",
    [
        "evaluate:term:1",
        *(
            pytest.param(where, marks=pytest.mark.slow)
            for where in ("load:term:1", "opened:int:1", "step:term:12", "evaluate:int:3", "evaluate:term:4")
        ),
    ],
)
def test_a_signal_anywhere_ends_with_the_same_bytes(reference, tmp_path, fault, where, capsys):
    workdir = tmp_path / "run"
    fault(where)
    assert runs.train(workdir) == launch.PREEMPTED
    assert capsys.readouterr().err.endswith("interrupted. The same command continues from what is saved\n")
    assert runs.train(workdir) == 0
    assert runs.outcome(workdir) == runs.outcome(reference)


@pytest.mark.slow
def test_an_epoch_whose_evaluation_a_signal_prevented_is_saved_unended(reference, tmp_path, fault):
    fault("evaluate:term:1")
    with pytest.raises(Preempted):
        experiment.run(runs.tiny(), tmp_path / "run")
    content = json.loads((newest(tmp_path / "run") / "meta" / "metadata").read_text())["content"]
    assert content["progress"]["epoch"]["steps"] == runs.STEPS_PER_EPOCH
    assert content["progress"]["best_step"] is None
    assert runs.records(tmp_path / "run", "epoch") == []
    fault("step:term:1")
    with pytest.raises(Preempted):
        experiment.run(runs.tiny(), tmp_path / "run")
    content = json.loads((tmp_path / "run/checkpoints/00000012/meta/metadata").read_text())["content"]
    assert content["progress"]["best_step"] == 12
    assert content["score"] == runs.records(reference, "epoch")[0]["valid"]["accuracy"]


# Saving that fails.

UNJUDGED = ("data.valid_fraction=0",)


@pytest.mark.slow
def test_a_save_that_fails_is_tried_again_at_the_next_boundary(tmp_path, fault):
    fault("before_save:error:1")
    assert runs.train(tmp_path / "run", *UNJUDGED) == 0
    (failed,) = events(tmp_path / "run", "save failed")
    assert (failed["step"], failed["reason"]) == (14, "[Errno 28] No space left on device: 'before_save'")
    assert runs.steps(tmp_path / "run") == [28, 42]


def test_the_best_is_saved_at_once_or_the_run_ends(reference, tmp_path, fault):
    # Later it could not be: it is the weights of now.
    workdir = tmp_path / "run"
    fault("before_save:error:2,before_save:error:3")
    assert runs.train(workdir, "eval.weights=best") == 0
    assert [event["step"] for event in events(workdir, "save failed")] == [24, 24]
    assert runs.outcome(workdir) == runs.outcome(reference)
    assert runs.saved(workdir, "evaluation-test.json")["step"] == runs.saved(workdir, "result.json")["best"]["step"]


SELDOM = ("checkpoint.every=share(1e-6)",)
"""Nothing is saved before a run ends, or is asked to."""


def test_the_best_waits_for_the_next_save_where_saving_may_cost_little(reference, tmp_path, fault):
    workdir = tmp_path / "run"
    fault("step:term:30")
    assert runs.train(workdir, *SELDOM) == launch.PREEMPTED
    assert runs.steps(workdir) == [24, 30]
    best = checkpoints.read(workdir / "checkpoints", create_train_state(runs.tiny()), best=True)
    assert best.step == best.meta["progress"]["best_step"] == 24
    assert best.meta["score"] == runs.records(reference, "epoch")[1]["valid"]["accuracy"]
    assert runs.train(workdir, *SELDOM) == 0
    assert runs.outcome(workdir) == runs.outcome(reference)
    assert runs.saved(workdir, "result.json")["best"] == runs.saved(reference, "result.json")["best"]


def test_a_best_that_cannot_be_saved_waits_until_it_can(reference, tmp_path, fault):
    workdir = tmp_path / "run"
    # The first and the second save of the best, which waited until the third epoch was better still.
    fault("before_save:error:1,before_save:error:2")
    assert runs.train(workdir, *SELDOM, "eval.weights=best") == 0
    assert [event["step"] for event in events(workdir, "save failed")] == [36, 36]
    assert runs.outcome(workdir) == runs.outcome(reference)


def test_the_best_are_the_same_where_a_signal_prevented_the_evaluation_that_found_them(tmp_path, fault):
    seldom = ("train.epochs=2", "eval.weights=best")
    assert runs.train(tmp_path / "straight", *seldom) == 0
    expected = runs.saved(tmp_path / "straight", "result.json")
    assert expected["best"]["step"] == 24, "the last evaluation finds the best"
    fault("evaluate:term:2")
    assert runs.train(tmp_path / "run", *seldom) == launch.PREEMPTED
    fault("")
    assert runs.train(tmp_path / "run", *seldom) == 0
    found = runs.saved(tmp_path / "run", "result.json")
    assert (found["best"], found["test"]) == (expected["best"], expected["test"])
    assert runs.saved(tmp_path / "run", "evaluation-test.json")["step"] == 24


def test_an_evaluation_counts_once_where_the_rule_that_asks_for_it_failed_and_was_mended(tmp_path):
    asked = []

    class Mended:
        needs_valid = True

        def reason(self, train_accuracy, valid_accuracy, stale_evaluations, monitor):
            asked.append(stale_evaluations)
            return 1 / 0 if len(asked) == 2 else None  # the first time it is tried, before training

    try:
        cnn.stop(Mended)
        flags = (
            "train.stop=mended",
            "schedule.name=plateau",
            "optimizer.learning_rate=1e-9",
            "checkpoint.every=steps(5)",
        )
        assert [runs.train(tmp_path / name, *flags) for name in ("run", "run", "straight")] == [2, 0, 0]
    finally:
        STOPS.forget("")
    assert asked[2:5] == asked[5:] == [0, 1, 2]
    assert runs.outcome(tmp_path / "run") == runs.outcome(tmp_path / "straight")


def test_a_run_that_saved_nothing_yet_starts_again_with_the_same_bytes(reference, tmp_path, monkeypatch):
    workdir = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(loop, "_epoch", killed_at_the_third_epoch(loop._epoch))
        with pytest.raises(ZeroDivisionError):
            experiment.run(runs.tiny(*SELDOM), workdir)
    assert runs.steps(workdir) == []
    assert runs.train(workdir, *SELDOM) == 0
    assert runs.outcome(workdir) == runs.outcome(reference)


@pytest.mark.parametrize("what", ["metric", "stop"])
def test_a_metric_or_a_rule_of_ones_own_that_fails_late_loses_nothing_that_was_trained(tmp_path, capsys, what):
    asked = itertools.count()

    def late(logits, labels):
        return float("nan") if next(asked) > 2 else 0.5

    class Late:
        needs_valid = True

        def reason(self, train_accuracy, valid_accuracy, stale_evaluations, monitor):
            return None if next(asked) < 2 else 1 / 0

    try:
        (cnn.metric(late) if what == "metric" else cnn.stop(Late))
        field = "eval.metrics=late" if what == "metric" else "train.stop=late"
        assert runs.train(tmp_path / "run", field, *SELDOM) == 2
    finally:
        METRICS.forget("")
        STOPS.forget("")
    assert "late" in capsys.readouterr().err
    assert runs.steps(tmp_path / "run") == ([24, 36] if what == "metric" else [12, 24]), "the best one and the last"


def killed_at_the_third_epoch(epoch):
    def train(run, state, progress, step):
        assert step < 24 or 1 / 0
        return epoch(run, state, progress, step)

    return train


def test_the_third_failed_save_in_a_row_exits_74_and_loses_nothing(reference, tmp_path, fault, capsys):
    workdir = tmp_path / "run"
    fault("before_save:error:2,before_save:error:3,before_save:error:4")
    assert runs.train(workdir) == launch.IO_ERROR
    said = capsys.readouterr()
    assert "step 24 could not be saved, 3 times in a row: [Errno 28] No space left" in said.err
    assert not said.out.endswith("\n\n")
    assert [path.name for path in (workdir / "checkpoints").iterdir()] == ["00000012"]
    assert runs.train(workdir) == 0
    assert runs.outcome(workdir) == runs.outcome(reference)


WIDE = {
    **runs.SECTIONS,
    "model": {"layers": "flatten | dense(1000) | relu | dense(classes) | softmax"},
    "train": {"epochs": 1, "batch_size": 100},
}
"""A network whose arrays are larger than anything else that a run writes."""
LIMITED = """
import resource, sys
sys.path.insert(0, "tests")
from cnn.system import environment
environment.prepare()
import test_resume
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
sys.exit(test_resume.runs.train(sys.argv[1], sections=test_resume.WIDE))
"""


@pytest.mark.slow
def test_a_limit_on_the_size_of_files_exits_74_and_the_same_command_goes_on_without_it(tmp_path):
    reference, workdir = tmp_path / "reference", tmp_path / "run"
    assert runs.train(reference, sections=WIDE) == 0
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(workdir)],
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
    )
    assert done.returncode == launch.IO_ERROR, done.stderr
    assert "step 12 could not be saved, 3 times in a row: " in done.stderr
    assert [event["step"] for event in events(workdir, "save failed")] == [12, 12, 12]
    assert list((workdir / "checkpoints").iterdir()) == []
    assert not list(workdir.glob(".*.tmp"))
    assert runs.train(workdir, sections=WIDE) == 0
    assert runs.outcome(workdir) == runs.outcome(reference)


def test_the_time_spent_saving_is_told_and_grows_over_starts(unfinished, capsys):
    before = json.loads((newest(unfinished) / "meta" / "metadata").read_text())["content"]["progress"]["save_seconds"]
    assert before > 0
    assert runs.train(unfinished) == 0
    result = runs.saved(unfinished, "result.json")
    assert result["save_seconds"] >= round(before, 3)
    share = 100 * result["save_seconds"] / (result["train_seconds"] + result["save_seconds"])
    assert f" s of saving ({share:.1f} %); everything is in {unfinished}\n" in capsys.readouterr().out


def test_no_batch_is_written_to_again_once_it_was_handed_over(reference, tmp_path, monkeypatch):
    run_loop, handed, steps = multi_step.run_loop, [], 0

    def loop(state, split, rows, count, **kwargs):
        nonlocal steps
        handed.append((rows, rows.copy()))
        steps += count
        return run_loop(state, split, rows, count, **kwargs)

    monkeypatch.setattr(multi_step, "run_loop", loop)
    experiment.run(runs.tiny(), tmp_path / "run")
    assert runs.outcome(tmp_path / "run") == runs.outcome(reference)
    assert steps == 36
    assert len(handed) > 6
    assert all(np.array_equal(rows, before) for rows, before in handed)
    assert not any(np.shares_memory(a, b) for n, (a, _) in enumerate(handed) for b, _ in handed[:n])


# What is not finite.


def simulated(values, steps):
    """Returns the state after so many steps, made by calls of the training step alone."""
    dataset = preflight.load_data(values.data)
    split = loader.Examples(jnp.asarray(dataset.train.images), jnp.asarray(dataset.train.labels))
    per_epoch = len(split.labels) // values.train.batch_size
    step_config = make_step_config(values, per_epoch * values.train.epochs, per_epoch)
    state = create_train_state(values)
    for step in range(steps):
        epoch, position = divmod(step, per_epoch)
        rows = order.permutation(values.seed, epoch, len(split.labels)).astype(np.int32)
        batch = rows[position * values.train.batch_size :][: values.train.batch_size]
        state, _ = multi_step.run_step(state, split, batch, step_config=step_config)
    return state


@pytest.mark.parametrize("rate", ["1e38", pytest.param("1e37", marks=pytest.mark.slow)])
def test_a_diverged_run_names_the_step_and_keeps_the_state_before_it(tmp_path, capsys, rate):
    workdir, override = tmp_path / "run", f"optimizer.learning_rate={rate}"
    values = runs.tiny(override)
    said = []
    for _ in range(2):
        assert runs.train(workdir, override) == launch.DIVERGED
        said.append(capsys.readouterr().out)
    result = runs.saved(workdir, "result.json")
    bad = result["bad_step"]
    assert all(f"diverged: the loss, a gradient or the update of step {bad} is not finite; " in text for text in said)
    assert (result["status"], result["step"]) == ("diverged", bad)
    assert runs.steps(workdir)[-1] == bad
    before, after = simulated(values, bad), simulated(values, bad + 1)
    assert (int(before.bad_step), int(after.bad_step)) == (-1, bad)
    restored = checkpoints.read(workdir / "checkpoints", before)
    assert restored is not None
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.device_get(restored.state.params)))
    assert int(restored.state.bad_step) == bad
    assert checksum.fingerprint(restored.state._replace(bad_step=before.bad_step)) == checksum.fingerprint(before)
    (event,) = events(workdir, "diverged")
    assert event["step"] == bad
    assert all(record["step"] <= bad for record in runs.records(workdir))


@pytest.mark.slow
def test_a_diverged_run_that_was_killed_before_its_result_diverges_again(tmp_path, capsys):
    workdir, override = tmp_path / "run", "optimizer.learning_rate=1e38"
    assert runs.train(workdir, override) == launch.DIVERGED
    result = runs.saved(workdir, "result.json")
    (workdir / "result.json").unlink()
    assert runs.train(workdir, override) == launch.DIVERGED
    clock = dict.fromkeys(("save_seconds", "compile_seconds"), 0)
    assert {**runs.saved(workdir, "result.json"), **clock} == {**result, **clock}


@pytest.mark.slow
def test_steps_whose_update_overflowed_are_in_no_record(tmp_path):
    # Loss and gradient are finite; only their product with the learning rate is not.
    overrides = ("optimizer.name=sgd", "optimizer.learning_rate=3e38", "data.std=(0.01,)", "train.log_every_steps=1")
    sections = {**runs.SECTIONS, "model": {"layers": "flatten | dense(classes)"}}
    assert runs.train(tmp_path / "run", *overrides, sections=sections) == launch.DIVERGED
    assert runs.saved(tmp_path / "run", "result.json")["bad_step"] == 0
    assert runs.records(tmp_path / "run") == []
    content = json.loads((newest(tmp_path / "run") / "meta" / "metadata").read_text())["content"]
    assert content["progress"]["epoch"]["steps"] == content["progress"]["window"]["steps"] == 0


@pytest.mark.slow
@pytest.mark.parametrize(("pixel", "loss_is_finite"), [(math.inf, True), (math.nan, False)])
def test_a_gradient_that_is_not_finite_is_caught_also_where_the_loss_is(pixel, loss_is_finite):
    # The tangent hyperbolic makes 1 of infinity, and its derivative times infinity is not a number.
    state, step_config = tiny.start(tiny.resolve())
    images = tiny.split()
    pictures = images.images[:8].astype(jnp.float32)
    step = jax.jit(lambda state, pictures: train_step(state, loader.Examples(pictures, images.labels[:8]), step_config))
    state, _ = step(state, pictures)
    kept = checksum.fingerprint(state._replace(step=np.int32(0), bad_step=np.int32(0)))
    state, metrics = step(state, pictures.at[0, 3, 3, 0].set(pixel))
    assert bool(np.isfinite(metrics["loss"])) == loss_is_finite
    assert not np.isfinite(metrics["grad_norm"])
    assert int(state.bad_step) == 1
    assert checksum.fingerprint(state._replace(step=np.int32(0), bad_step=np.int32(0))) == kept


@pytest.mark.slow
def test_a_validation_that_is_not_finite_is_never_the_best(tmp_path, capsys):
    overrides = ("optimizer.learning_rate=1e38", "train.epochs=1", "train.batch_size=1200")
    assert runs.train(tmp_path / "run", *overrides) == launch.DIVERGED
    result = runs.saved(tmp_path / "run", "result.json")
    assert (result["bad_step"], result["best"]) == (
        1,
        {"step": None, "valid_accuracy": None},
    )
    assert runs.records(tmp_path / "run") == []  # and what is there would be JSON
    assert json.loads((newest(tmp_path / "run") / "metrics" / "metrics").read_text()) == {"score": None}
    capsys.readouterr()
    assert runs.start("eval", f"--workdir={tmp_path / 'run'}", "--weights=best") == launch.IO_ERROR
    assert "holds no step that was the best of an evaluation. Use --weights=last\n" in capsys.readouterr().err
    with pytest.raises(ValueError, match="not JSON compliant"):
        run_dir.append(tmp_path / "x.jsonl", {"loss": math.nan})
    assert not (tmp_path / "x.jsonl").exists()


@pytest.mark.slow(seconds=4)
def test_a_run_that_goes_on_finds_its_program_in_the_compilation_cache(tmp_path):
    arguments = [*processes.flags(), f"--workdir={tmp_path / 'run'}"]
    kept = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache")}

    def programs():
        return {path.name for path in (tmp_path / "cache").iterdir() if path.name.startswith("jit_run_loop")}

    assert processes.start(*arguments, fault="step:term:5", **kept).code == 75
    before = programs()
    assert len(before) == 1
    assert processes.start(*arguments, **kept).code == 0
    assert programs() == before
