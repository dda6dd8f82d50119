"""Whole runs in their directories: what is written, stopping, continuing to the bit."""

import json
import os
import shutil
import signal
import threading
from pathlib import Path

import jax
import pytest
from PIL import Image

import runs
from cnn.cli import launch
from cnn.config import resolve
from cnn.runs import run_dir
from cnn.system import preemption
from cnn.train import experiment, multi_step


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("experiment") / "run"
    assert experiment.run(runs.tiny(), workdir).fresh
    return workdir


@pytest.fixture
def copied(reference, tmp_path):
    return Path(shutil.copytree(reference, tmp_path / "copy"))


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours runs after it but what cleans up this process."""


@pytest.fixture
def before_step(monkeypatch):
    """Makes something happen before the call that makes the nth step of this test, counted from 0 over all its runs."""

    def arrange(happenings):
        run_loop, done = multi_step.run_loop, 0

        def loop(state, split, rows, count, **kwargs):
            nonlocal done
            steps, done = range(done, done + count), done + count
            for step in [step for step in steps if step in happenings][:1]:
                happenings[step]()
            return run_loop(state, split, rows, count, **kwargs)

        monkeypatch.setattr(multi_step, "run_loop", loop)

    return arrange


def terminate():
    os.kill(os.getpid(), signal.SIGTERM)


def kill():
    raise Killed


def run_to_the_end(values, workdir):
    """Starts the run until it ends; returns how often it was interrupted."""
    for interruptions in range(100):
        try:
            experiment.run(values, workdir)
        except (preemption.Preempted, Killed):
            continue
        return interruptions
    raise AssertionError("never ended")


def test_the_directory_holds_what_the_design_says(reference):
    assert {path.name for path in reference.iterdir()} == {
        *("config.json", "run.json", "metrics.jsonl", "events.jsonl", "checkpoints", "tensorboard", "result.json"),
        ".lock",
        *(f"evaluation-{split}.json" for split in ("valid", "test")),
        *(f"predictions-{split}.npz" for split in ("valid", "test")),
        *(f"confused-{split}.npz" for split in ("valid", "test")),
    }
    written = max(reference.iterdir(), key=lambda path: path.stat().st_mtime_ns)
    assert written.name == "result.json"


def test_config_json_is_the_whole_config(reference):
    assert resolve.resolve(runs.saved(reference, "config.json")) == runs.tiny()


def test_run_json_says_what_made_the_run(reference):
    made = runs.saved(reference, "run.json")
    assert made["packages"]["jax"]
    assert made["devices"]
    assert made["argv"]
    assert made["cpu_threads"] >= 1
    assert len(made["git"]["commit"]) == 40
    assert isinstance(made["git"]["dirty"], bool)
    assert made["numerics"] == {"optimizer": 2, "reader": 2}
    assert made["data"]["examples"] == runs.EXAMPLES
    assert made["data"]["classes"] == [str(digit) for digit in range(10)]


def test_metrics_hold_every_record_in_order_and_no_clock(reference):
    records = runs.records(reference)
    assert [record["step"] for record in records if record["kind"] == "train"] == [5, 10, 15, 20, 25, 30, 35]
    assert [record["step"] for record in records if record["kind"] == "epoch"] == [12, 24, 36]
    assert [record["step"] for record in records] == sorted(record["step"] for record in records)
    assert set(records[0]) == {"kind", "step", "epoch", "loss", "accuracy", "grad_norm", "learning_rate"}
    assert records[0]["learning_rate"] == pytest.approx(0.01)
    assert set(records[2]) == {"kind", "step", "epoch", "train", "valid"}
    assert set(records[2]["valid"]) == {"loss", "accuracy"}
    assert [record["epoch"] for record in runs.records(reference, "train")] == [1, 1, 2, 2, 3, 3, 3]


def test_the_means_of_an_epoch_count_each_example_once(reference):
    windows, epochs = runs.records(reference, "train"), runs.records(reference, "epoch")
    counted = epochs[0]["train"]["accuracy"] * 1200
    assert counted == pytest.approx(round(counted), abs=1e-6)
    # The windows up to step 10 and those of the whole epoch share ten of their twelve steps.
    share = (windows[0]["loss"] + windows[1]["loss"]) * 500 / (epochs[0]["train"]["loss"] * 1200)
    assert 10 / 12 < share < 1


@pytest.mark.slow
def test_the_same_config_writes_the_same_bytes(reference, tmp_path):
    experiment.run(runs.tiny(), tmp_path / "again")
    assert runs.final(runs.tiny(), tmp_path / "again") == runs.final(runs.tiny(), reference)
    for split in ("valid", "test"):
        name = run_dir.evaluation(split)
        assert (tmp_path / "again" / name).read_bytes() == (reference / name).read_bytes()


@pytest.mark.slow
def test_another_seed_is_another_run(reference, tmp_path):
    experiment.run(runs.tiny("seed=1"), tmp_path / "other")
    assert runs.final(runs.tiny("seed=1"), tmp_path / "other")[1:] != runs.final(runs.tiny(), reference)[1:]


def test_tensorboard_holds_the_records(reference):
    scalars, purged = runs.scalars(reference)
    assert purged == {"train": [1], "valid": [1], ".": [1]}
    for record in runs.records(reference, "epoch"):
        assert scalars["valid", "accuracy", record["step"]] == [pytest.approx(record["valid"]["accuracy"])]
        assert scalars["train", "loss", record["step"]] == [pytest.approx(record["train"]["loss"])]
    for record in runs.records(reference, "train"):
        assert scalars["train", "train/loss", record["step"]] == [pytest.approx(record["loss"])]
        assert scalars["train", "train/learning_rate", record["step"]] == [pytest.approx(record["learning_rate"])]


def test_tensorboard_has_what_the_splits_have_of_one_kind_in_one_chart(reference):
    tags = {(run, tag) for run, tag, _ in runs.scalars(reference)[0]}
    assert {(run, tag) for run, tag in tags if run != "." and not tag.startswith("train/")} == {
        *((split, kind) for kind in ("accuracy", "loss") for split in ("train", "valid")),
        ("train", "grad_norm"),
    }


def test_events_tell_the_times(reference):
    events = [json.loads(line) for line in (reference / "events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["start", "end"]
    assert all(event["time"].endswith("+00:00") for event in events)


def test_the_result_agrees_with_the_evaluations(reference):
    result = runs.saved(reference, "result.json")
    assert (result["status"], result["step"], result["epochs"], result["stopped"]) == ("finished", 36, 3, None)
    assert result["parameters"] == 650
    for split in ("valid", "test"):
        evaluation = runs.saved(reference, f"evaluation-{split}.json")
        assert result[split]["correct"] == evaluation["correct"]
        assert result[split]["count"] == evaluation["count"] == runs.EXAMPLES[split]
        assert (evaluation["split"], evaluation["weights"], evaluation["step"]) == (split, "last", 36)
    assert result["valid"]["accuracy"] == runs.records(reference, "epoch")[-1]["valid"]["accuracy"]
    assert result["test"]["accuracy"] > 0.7


def test_a_finished_run_is_not_run_again(copied):
    before = (copied / "metrics.jsonl").read_bytes()
    finished = experiment.run(runs.tiny(), copied)
    assert not finished.fresh
    assert finished.result == runs.saved(copied, "result.json")
    assert (copied / "metrics.jsonl").read_bytes() == before


@pytest.mark.few(1)
@pytest.mark.parametrize("kept", [[], [24], [24, 36]])
def test_a_run_without_result_continues_from_what_is_saved(reference, copied, kept):
    (copied / "result.json").unlink()
    for step in set(runs.steps(copied)) - set(kept):
        shutil.rmtree(copied / "checkpoints" / f"{step:08}")
    assert experiment.run(runs.tiny(), copied).fresh
    assert runs.final(runs.tiny(), copied) == runs.final(runs.tiny(), reference)
    assert runs.saved(copied, "result.json")["test"] == runs.saved(reference, "result.json")["test"]


@pytest.mark.parametrize(
    "happenings",
    [
        {0: terminate},
        {7: terminate, 13: terminate, 14: terminate, 30: terminate},
        {11: terminate, 12: terminate, 36: terminate},
        {2: kill, 20: kill},
        {8: terminate, 14: kill, 15: kill, 29: terminate},
    ],
)
@pytest.mark.slow(seconds=1)
def test_an_interrupted_run_ends_with_the_same_bytes(reference, tmp_path, before_step, happenings):
    before_step(happenings)
    assert run_to_the_end(runs.tiny(), tmp_path / "run") > 0
    assert runs.final(runs.tiny(), tmp_path / "run") == runs.final(runs.tiny(), reference)
    assert runs.saved(tmp_path / "run", "result.json")["train"] == runs.saved(reference, "result.json")["train"]


@pytest.mark.slow
def test_an_interruption_saves_at_once_and_exits_75(tmp_path, before_step, capsys):
    before_step({7: terminate})
    assert runs.train(tmp_path / "run") == launch.PREEMPTED
    assert runs.steps(tmp_path / "run") == [10]  # those of the call under way
    assert not (tmp_path / "run" / "result.json").exists()
    assert capsys.readouterr().err.endswith("interrupted. The same command continues from what is saved\n")
    assert runs.train(tmp_path / "run") == 0
    events = [json.loads(line)["event"] for line in (tmp_path / "run" / "events.jsonl").read_text().splitlines()]
    assert events == ["start", "preempted", "resume", "end"]


@pytest.mark.thorough
@pytest.mark.slow
def test_another_core_compiles_the_evaluations_while_the_first_steps_are_compiled(reference, tmp_path, monkeypatch):
    monkeypatch.setenv("NPROC", "2")
    compiled = []

    def listen(event, seconds, **about):
        if "backend_compile" in event and "_forward" in about.get("fun_name", ""):
            compiled.append(threading.current_thread() is threading.main_thread())

    jax.clear_caches()
    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        experiment.run(runs.tiny(), tmp_path / "run")
    finally:
        jax.monitoring.unregister_event_duration_listener(listen)
    assert compiled == [False, False]  # of valid and of test, and neither again where it is called
    assert runs.outcome(tmp_path / "run") == runs.outcome(reference)


@pytest.mark.slow
def test_tensorboard_shows_a_continued_run_once(reference, tmp_path, before_step):
    before_step({20: kill})
    run_to_the_end(runs.tiny(), tmp_path / "run")
    scalars, purged = runs.scalars(tmp_path / "run")
    assert purged == {"train": [1, 13], "valid": [1, 13], ".": [1]}
    assert set(scalars) == set(runs.scalars(reference)[0])


def test_metrics_that_were_lost_are_not_made_up(copied):
    (copied / "result.json").unlink()
    (copied / "metrics.jsonl").write_text("")
    with pytest.raises(
        run_dir.BrokenFile, match=r"metrics\.jsonl: lost records, \d+ bytes expected\. Restore it or ch"
    ):
        experiment.run(runs.tiny(), copied)


def test_a_target_stops_after_the_first_epoch_above_it(reference, tmp_path):
    epochs = runs.records(reference, "epoch")
    target = epochs[1]["train"]["accuracy"] - 1e-9
    finished = experiment.run(runs.tiny(f"train.stop=target({target})"), tmp_path / "run")
    assert (finished.result["step"], finished.result["epochs"]) == (24, 2)
    assert finished.result["stopped"].startswith("train accuracy ")
    assert runs.records(tmp_path / "run") == [record for record in runs.records(reference) if record["step"] <= 24]
    assert not experiment.run(runs.tiny(f"train.stop=target({target})"), tmp_path / "run").fresh


def test_a_target_on_valid_reads_valid(reference, tmp_path):
    target = runs.records(reference, "epoch")[0]["valid"]["accuracy"] - 1e-9
    finished = experiment.run(runs.tiny(f"train.stop=target({target}, 'valid')"), tmp_path / "run")
    assert finished.result["step"] == 12
    assert finished.result["stopped"].startswith("valid accuracy ")


PATIENT = ("train.stop=patience(2)", "optimizer.learning_rate=1e-12", "train.epochs=9")
"""Nothing is ever learned: the first evaluation stays the best, and the third is the second without a better one."""


@pytest.mark.slow
def test_patience_stops_after_evaluations_without_a_better_one(tmp_path):
    finished = experiment.run(runs.tiny(*PATIENT), tmp_path / "run")
    assert finished.result["step"] == 36
    assert finished.result["stopped"] == "no better validation accuracy in 2 evaluations"
    assert finished.result["best"]["step"] == 12
    assert runs.steps(tmp_path / "run") == [12, 24, 36]


@pytest.mark.slow
@pytest.mark.parametrize("step", [13, 25, 30])
def test_patience_survives_an_interruption(tmp_path, before_step, step):
    before_step({step: terminate})
    assert run_to_the_end(runs.tiny(*PATIENT), tmp_path / "run") == 1
    result = runs.saved(tmp_path / "run", "result.json")
    assert (result["step"], result["best"]["step"]) == (36, 12)


@pytest.mark.slow(seconds=3)
def test_the_latest_two_and_the_best_are_kept_and_nothing_else_lies_about(tmp_path):
    experiment.run(runs.tiny(*PATIENT, "train.stop=never"), tmp_path / "run")
    assert {path.name for path in (tmp_path / "run" / "checkpoints").iterdir()} == {"00000012", "00000096", "00000108"}


@pytest.mark.slow
def test_checkpoints_come_as_often_as_asked_and_for_the_best(tmp_path, before_step):
    before_step({70: kill})
    with pytest.raises(Killed):
        experiment.run(runs.tiny(*PATIENT, "train.stop=never", "checkpoint.every=epochs(4)"), tmp_path / "run")
    assert runs.steps(tmp_path / "run") == [12, 48]


@pytest.mark.slow
def test_without_test_the_test_split_is_not_evaluated(tmp_path, capsys):
    assert runs.train(tmp_path / "run", "eval.test=False") == 0
    assert not (tmp_path / "run" / "evaluation-test.json").exists()
    assert "test" not in runs.saved(tmp_path / "run", "result.json")
    said = capsys.readouterr().out
    assert "\nvalid accuracy 0." in said
    assert "test accuracy" not in said


@pytest.mark.slow
def test_training_on_valid_too_uses_every_training_example(tmp_path):
    experiment.run(runs.tiny("data.train_on=train+valid", "train.epochs=1"), tmp_path / "run")
    assert runs.saved(tmp_path / "run", "result.json")["step"] == 1438 // 100
    assert set(runs.records(tmp_path / "run", "epoch")[0]) == {"kind", "step", "epoch", "train"}
    assert not (tmp_path / "run" / "evaluation-valid.json").exists()


@pytest.mark.slow
@pytest.mark.parametrize("valid_fraction", [0.1, 0])
def test_a_run_whose_last_update_spoils_the_logits_has_diverged(tmp_path, capsys, valid_fraction):
    overrides = ("optimizer.learning_rate=1e38", "train.epochs=1", "train.batch_size=1200")
    assert runs.train(tmp_path / "run", *overrides, f"data.valid_fraction={valid_fraction}") == launch.DIVERGED
    assert runs.saved(tmp_path / "run", "result.json")["bad_step"] == 1
    assert runs.start("eval", f"--workdir={tmp_path / 'run'}") == launch.DIVERGED
    assert capsys.readouterr().err.endswith("The run has diverged; evaluate another.\n")


@pytest.mark.slow
def test_a_scan_trains_as_single_steps_do_within_rounding(reference, tmp_path):
    experiment.run(runs.tiny("train.dispatch=scan"), tmp_path / "run")
    for scanned, stepped in zip(runs.records(tmp_path / "run"), runs.records(reference), strict=True):
        assert {name: value for name, value in scanned.items() if name in ("kind", "step", "epoch")} == {
            name: value for name, value in stepped.items() if name in ("kind", "step", "epoch")
        }
        if scanned["kind"] == "train":
            assert scanned["loss"] == pytest.approx(stepped["loss"], rel=1e-4)
    assert runs.saved(tmp_path / "run", "result.json")["test"]["accuracy"] == pytest.approx(
        runs.saved(reference, "result.json")["test"]["accuracy"], abs=0.01
    )


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3])
def test_a_folder_of_pictures_is_trained_on_end_to_end(tmp_path, channels):
    root = tmp_path / "pictures"
    for part, count in (("train", 30), ("test", 10)):
        for name, shade in (("dark", 0), ("light", 200)):
            (root / part / name).mkdir(parents=True)
            for n in range(count):
                colour = (shade + n, shade, shade) if n % 2 else shade + n
                Image.new("RGB" if n % 2 else "L", (6, 7), colour).save(root / part / name / f"{n}.png")
    # Adam would make a walk at random of a bias before batch_norm, whose gradient is rounding alone.
    layers = "conv(2, 3, use_bias=False) | batch_norm(momentum=0.5) | relu | global_avg_pool | dense(classes) | softmax"
    sections = {
        "model": {"layers": layers},
        "data": {"name": "folder", "data_dir": str(root), "image_shape": (7, 6, channels), "classes": 2},
        "optimizer": {"name": "adam", "learning_rate": 0.1},
        "train": {"batch_size": 9, "epochs": 4},
    }
    assert runs.train(tmp_path / "run", sections=sections) == 0
    result = runs.saved(tmp_path / "run", "result.json")
    assert result["test"]["count"] == 20
    assert result["test"]["accuracy"] == 1
    assert result["test"]["top5_accuracy"] is None
    assert runs.start("eval", f"--workdir={tmp_path / 'run'}", "--split=train") == 0
