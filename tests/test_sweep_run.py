"""Sweeps that run: every trial an ordinary run, under every engine, ranked, and nothing done twice."""

import contextlib
import fcntl
import json
import re
import shlex
import sqlite3
import threading
import time

import numpy as np
import pytest

import picture_files
import runs
import sweeps
from cnn.cli import launch
from cnn.config import config
from cnn.sweep import declaration, options, plan, programs, ranking, study
from cnn.sweep import run as sweep_run
from cnn.sweep import vmapped as vmapped_module
from cnn.sweep.samplers import SAMPLERS, Random
from cnn.train import experiment, preflight

pytestmark = pytest.mark.slow  # they train runs

SPACE = f"{sweeps.RATES};seed=0,1"


@pytest.fixture(scope="module")
def mapped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep") / "map"
    assert sweeps.sweep(folder, SPACE, "sweep.engine=map") == 0
    return folder


@pytest.fixture(scope="module")
def vmapped(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sweep") / "vmap"
    assert sweeps.sweep(folder, SPACE, "sweep.engine=vmap", "sweep.lanes=4") == 0
    return folder


def test_the_folder_holds_a_run_for_each_trial_and_the_ranking(mapped):
    assert {path.name for path in (mapped / "trials").iterdir()} == {"0000", "0001", "0002", "0003"}
    assert {"sweep.json", "sweep.csv", "study.db", "declaration.json"} <= {path.name for path in mapped.iterdir()}
    found = sweeps.record(mapped)
    assert found["counts"] == {"finished": 4}
    assert found["varying"] == ["optimizer.learning_rate", "seed"]
    assert [group["n"] for group in found["groups"]] == [2, 2]
    assert found["groups"][0]["mean"] >= found["groups"][1]["mean"]
    for row in found["trials"]:
        result = runs.saved(mapped / row["folder"], "result.json")
        assert row["value"] == result["valid"]["accuracy"]
        assert row["curves"]["valid.accuracy"][-1] == [36, row["value"]]
    lines = (mapped / "sweep.csv").read_text().splitlines()
    assert len(lines) == 5
    assert lines[0].endswith("error,optimizer.learning_rate,seed")


def test_a_trial_of_a_loop_is_the_solo_run_to_the_bit(mapped, tmp_path):
    values = runs.tiny("optimizer.learning_rate=0.03", "seed=1")
    experiment.run(values, tmp_path / "solo")
    assert runs.outcome(mapped / "trials" / "0003") == runs.outcome(tmp_path / "solo")


@pytest.mark.slow
def test_a_trial_of_many_is_the_solo_run_within_rounding(mapped, vmapped):
    for number in range(4):
        alone, together = (folder / "trials" / f"{number:04}" for folder in (mapped, vmapped))
        assert (alone / "config.json").read_bytes() == (together / "config.json").read_bytes()
        assert sweeps.losses(together) == pytest.approx(sweeps.losses(alone), rel=1e-4)
        assert [r["learning_rate"] for r in runs.records(together, "train")] == pytest.approx(
            [r["learning_rate"] for r in runs.records(alone, "train")]
        )


@pytest.mark.slow
def test_trials_evaluate_like_any_run(vmapped, capsys):
    assert runs.start("eval", f"--workdir={vmapped / 'trials' / '0002'}", "--split=valid") == 0
    shown = capsys.readouterr().out
    assert f"accuracy {sweeps.record(vmapped)['trials'][2]['value']:.4f}" in shown


def test_the_same_command_again_only_reports(mapped, capsys):
    before = sweeps.outcomes(mapped)
    times = {path: path.stat().st_mtime_ns for path in mapped.glob("trials/*/result.json")}
    assert sweeps.sweep(mapped, SPACE, "sweep.engine=map") == 0
    assert {path: path.stat().st_mtime_ns for path in times} == times
    assert sweeps.outcomes(mapped) == before
    shown = capsys.readouterr().out
    assert "4 trials: 4 finished" in shown
    assert "this command took" not in shown
    assert f"the last command that trained took {sweeps.record(mapped)['engine']['time']['seconds']:.1f} s" in shown
    assert "is the winner real?" in shown
    assert "best configuration:" in shown


def test_another_sweep_in_the_folder_is_refused_with_what_differs(mapped, capsys, tmp_path):
    assert sweeps.sweep(mapped, "seed=0,1,2") == launch.WRONG
    told = capsys.readouterr().err
    assert "holds another sweep. Use --workdir=" in told
    assert "space.optimizer.learning_rate" in told
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").touch()
    assert sweeps.sweep(tmp_path / "other", "seed=0") == launch.WRONG
    assert "exists and holds no sweep" in capsys.readouterr().err


@pytest.mark.slow
def test_a_diverged_lane_hurts_no_other(tmp_path):
    for name, rate in (("finite", "0.03"), ("diverged", "1e37")):
        space = f"optimizer.learning_rate=0.003,{rate};seed=0,1"
        assert sweeps.sweep(tmp_path / name, space, "sweep.engine=vmap", "sweep.lanes=4") == 0
    finite, diverged = (sweeps.outcomes(tmp_path / name) for name in ("finite", "diverged"))
    assert [diverged[number] == finite[number] for number in range(4)] == [True, True, False, False]
    found = sweeps.record(tmp_path / "diverged")
    assert found["counts"] == {"finished": 2, "diverged": 2}
    assert [group["diverged"] for group in found["groups"]] == [0, 2]
    assert found["groups"][1]["mean"] is None
    assert "not finite at step" in found["trials"][2]["error"]


@pytest.mark.thorough(1)
@pytest.mark.slow
@pytest.mark.parametrize("engine", ["map", "vmap"])
def test_trials_that_differ_in_traced_values_are_one_program_and_structures_one_each(tmp_path, engine):
    layers = ",".join(f"flatten | dense({width}) | relu | dense(classes)" for width in range(1, 4))
    space = f"seed=0,1;model.layers={layers};{sweeps.RATES}"
    before = sweep_run.compilations()
    short = ("config.train.epochs=1", "config.eval.test=False")
    assert sweeps.sweep(tmp_path / "s", space, f"sweep.engine={engine}", "sweep.lanes=4", *short) == 0
    after = sweep_run.compilations()
    assert {name: after[name] - before[name] for name in after} == {"map": 0, "vmap": 0} | {engine: 3}
    assert sweeps.record(tmp_path / "s")["counts"] == {"finished": 12}


@pytest.mark.slow
def test_a_shared_order_gives_all_lanes_the_same_batches(tmp_path):
    assert sweeps.sweep(tmp_path / "s", SPACE, "sweep.engine=vmap", "sweep.lanes=4", "config.data.order=shared(7)") == 0
    experiment.run(runs.tiny("optimizer.learning_rate=0.03", "seed=1", "data.order=shared(7)"), tmp_path / "solo")
    assert sweeps.losses(tmp_path / "s" / "trials" / "0003") == pytest.approx(
        sweeps.losses(tmp_path / "solo"), rel=1e-4
    )
    own = experiment.run(runs.tiny("optimizer.learning_rate=0.03", "seed=1"), tmp_path / "own").result
    assert own["fingerprint"] != runs.saved(tmp_path / "solo", "result.json")["fingerprint"]


RATES_OF_EIGHT = "optimizer.learning_rate=0.0001,0.003,0.03,0.00001;seed=0,1"


@pytest.mark.thorough(2)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("engine", "pruner"),
    [("map", "halving(reduction=2)"), ("vmap", "halving(reduction=2)"), ("map", "hyperband(1, 2)")],
)
def test_a_pruned_trial_is_a_whole_run_and_changes_no_other(tmp_path, mapped, engine, pruner):
    typed = (f"sweep.engine={engine}", "sweep.lanes=8")
    assert sweeps.sweep(tmp_path / "s", RATES_OF_EIGHT, f"sweep.pruner={pruner}", *typed) == 0
    found = sweeps.record(tmp_path / "s")
    assert found["counts"]["pruned"] >= 1
    assert found["counts"]["finished"] >= 1
    pruned = [row for row in found["trials"] if row["status"] == "pruned"]
    assert all(row["epochs"] < 3 and row["value"] is not None for row in pruned)
    assert runs.saved(tmp_path / "s" / pruned[0]["folder"], "result.json")["stopped"].startswith("pruned by the sweep")
    assert (tmp_path / "s" / pruned[0]["folder"] / "evaluation-test.json").exists()
    survivors = [row for row in found["trials"] if row["status"] == "finished"]
    if engine == "map":
        alone = {tuple(row["fields"].values()): row["folder"] for row in sweeps.record(mapped)["trials"]}
        for row in survivors:
            if (other := alone.get(tuple(row["fields"].values()))) is not None:
                assert runs.outcome(tmp_path / "s" / row["folder"]) == runs.outcome(mapped / other)
        return
    assert sweeps.sweep(tmp_path / "all", RATES_OF_EIGHT, *typed) == 0
    left = [sum(row["step"] > 12 * epoch for row in found["trials"]) for epoch in range(4)]
    # Eight places as long as more than four trials are left, then half as many.
    same = 12 * sum(count > 4 for count in left)
    assert left[1] < 8
    assert same > 12
    for row in survivors:
        ours, others = (runs.records(tmp_path / name / row["folder"], "train") for name in ("s", "all"))
        assert [one for one in ours if one["step"] <= same] == [one for one in others if one["step"] <= same]
        assert [one["loss"] for one in ours] == pytest.approx([one["loss"] for one in others], rel=1e-4)


@pytest.mark.thorough(2)
@pytest.mark.slow
@pytest.mark.parametrize("sampler", [name for name in SAMPLERS if name != "grid"])
def test_every_sampler_draws_configurations_and_runs_each_with_all_seeds(tmp_path, sampler):
    rates, smoothing = {"log": [1e-3, 1e-1]}, {"linear": [0, 0.2]}
    space = {"optimizer.learning_rate": rates, "train.label_smoothing": smoothing, "seed": [3, 4]}
    file = tmp_path / "space.json"
    file.write_text(json.dumps({"space": space}))
    typed = (
        f"--sweep={file}",
        f"--sweep.sampler={sampler}",
        "--sweep.trials=3",
        "--sweep.engine=vmap",
        "--sweep.lanes=2",
    )
    assert runs.start("sweep", *typed, f"--workdir={tmp_path / 's'}", "--config.train.epochs=1") == 0
    found = sweeps.record(tmp_path / "s")
    assert found["counts"] == {"finished": 6}
    assert sorted(row["fields"]["seed"] for row in found["trials"]) == [3, 3, 3, 4, 4, 4]
    assert len(found["groups"]) == 3
    assert all(1e-3 <= row["fields"]["optimizer.learning_rate"] <= 1e-1 for row in found["trials"])
    assert sweeps.finishes(tmp_path / "s") == dict.fromkeys(range(6), 1)
    assert runs.start("sweep", *typed, f"--workdir={tmp_path / 's'}", "--config.train.epochs=1") == 0
    assert sweeps.record(tmp_path / "s")["trials"] == found["trials"]


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["map", "vmap"])
def test_a_trial_that_always_fails_is_tried_so_often_and_the_others_go_on(tmp_path, engine):
    folder = tmp_path / "s"
    asked = plan.ask("", [config.Override("train.epochs", "1")], {"grid": "seed=0,1,2"})
    declaration.declare(plan.make(runs.SECTIONS, asked), folder)
    typed = ("config.train.epochs=1", f"sweep.engine={engine}", "sweep.tries=2", "sweep.lanes=3")
    with blocked(folder / "trials" / "0001"):
        assert sweeps.sweep(folder, "seed=0,1,2", *typed) == 1
    found = sweeps.record(folder)
    assert found["counts"] == {"finished": 2, "failed": 1}
    assert found["trials"][1]["attempts"] == 2
    assert "is held by another process" in found["trials"][1]["error"]


@pytest.mark.slow
def test_what_only_the_data_can_refuse_fails_at_once(tmp_path):
    assert sweeps.sweep(tmp_path / "s", "train.batch_size=100,5000", "sweep.engine=map") == 1
    found = sweeps.record(tmp_path / "s")
    assert (found["trials"][1]["status"], found["trials"][1]["attempts"]) == ("failed", 1)
    assert "must be at most the 1,293 training examples" in found["trials"][1]["error"]


def blocked(workdir):
    """Holds a run's lock, as another process would."""
    workdir.mkdir(parents=True)
    file = (workdir / ".lock").open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    return file


def test_the_engine_is_vmap_on_accelerators_and_map_on_a_cpu_unless_one_is_asked_for(tmp_path):
    auto, mapped, vmapped = (options.Options(engine=engine) for engine in ("auto", "map", "vmap"))
    for platform in ("cpu", "gpu", "tpu"):
        assert sweep_run.choose(auto, platform, streams=False) == ("map" if platform == "cpu" else "vmap")
        assert sweep_run.choose(auto, platform, streams=True) == "map"
        assert [sweep_run.choose(asked, platform, streams=False) for asked in (mapped, vmapped)] == ["map", "vmap"]
        with pytest.raises(config.ConfigError, match=r"--sweep.engine: vmap needs data in memory, got .*\. Use map"):
            sweep_run.choose(vmapped, platform, streams=True)
    assert sweep_run.choose(options.Options(workers=2), "cpu", streams=False) == "map"
    with pytest.raises(config.ConfigError, match=r"--sweep.workers: is for CPUs, got 2 on gpu, .* Leave it out"):
        sweep_run.choose(options.Options(workers=2), "gpu", streams=False)
    assert sweeps.sweep(tmp_path / "s", "seed=0", "config.train.epochs=1") == 0
    assert sweeps.record(tmp_path / "s")["engine"]["engine"] == "map"


def test_a_group_fits_the_memory_in_equal_parts_and_a_multiple_of_the_devices(monkeypatch):
    monkeypatch.setattr(vmapped_module, "memory_limit", lambda: 1e9)
    assert vmapped_module.trials_together(1e6, 32, 1) == vmapped_module.MOST_TOGETHER_CPU
    assert vmapped_module.trials_together(1e6, 6, 1) == 6
    assert vmapped_module.trials_together(1e6, 9, 1) == 5
    assert vmapped_module.trials_together(2e8, 32, 1) == 3
    assert vmapped_module.trials_together(1e12, 32, 1) == 1
    assert vmapped_module.trials_together(1e6, 30, 4) % 4 == 0


@pytest.mark.slow
def test_a_database_that_stays_away_ends_the_sweep_with_what_is_kept_and_how_to_go_on(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(study, "LONGEST_SECONDS", 0.5)
    folder = tmp_path / "s"

    def take_away():
        while not list(folder.glob("trials/*/result.json")):
            time.sleep(0.01)
        with contextlib.closing(sqlite3.connect(folder / "study.db", timeout=60)) as database:
            database.execute("ALTER TABLE trials RENAME TO away")

    thread = threading.Thread(target=take_away)
    thread.start()
    assert sweeps.sweep(folder, "seed=int(0,60)", "sweep.engine=map", "config.train.epochs=1") == launch.IO_ERROR
    thread.join()
    said = capsys.readouterr().err.splitlines()[-1]
    kept = re.fullmatch(
        r"--storage: the database did not answer for .* minutes: .*\. Kept in .*: (\d+) of 61 trials with their "
        r"results, the others as last saved\. When the database answers again, start the same command: .*",
        said,
    )
    assert kept, said
    assert 1 <= int(kept[1]) == len(list(folder.glob("trials/*/result.json"))) < 61


def test_a_wrong_database_is_one_line(tmp_path, capsys):
    assert sweeps.sweep(tmp_path / "s", "seed=0", "storage=nonsense") == launch.WRONG
    assert "--storage: is no database URL. Write postgresql+psycopg://" in capsys.readouterr().err
    assert (
        sweeps.sweep(tmp_path / "s", "seed=0", "storage=postgresql+psycopg://nobody@127.0.0.1:9/x") == launch.IO_ERROR
    )
    assert "--storage: the database does not answer: " in capsys.readouterr().err


@pytest.mark.slow(seconds=1)
def test_a_sampler_trains_no_configuration_twice_and_says_where_a_space_has_no_more(tmp_path, capsys):
    typed = ("--sweep.sampler=random(seed=0)", "--sweep.trials=6", "--sweep.engine=map", "--config.train.epochs=1")
    assert sweeps.sweep(tmp_path / "sweep", "train.label_smoothing=0.0,0.1", *typed) == 0
    record = sweeps.record(tmp_path / "sweep")
    assert sorted(trial["fields"]["train.label_smoothing"] for trial in record["trials"]) == [0.0, 0.1]
    assert record["size"] == 2
    assert "the space has only 2 different configurations, got 6" in capsys.readouterr().err
    assert [group["n"] for group in record["groups"]] == [1, 1]
    assert "real" not in record["winner"]


def test_what_is_drawn_anew_is_drawn_from_a_stream_of_its_own(tmp_path, monkeypatch):
    streams, make = [], Random.make_sampler

    def noted(self, stream):
        streams.append(stream)
        return make(self, stream)

    monkeypatch.setattr(Random, "make_sampler", noted)
    typed = ("--sweep.sampler=random(seed=0)", "--sweep.trials=6", "--sweep.engine=map", "--config.train.steps=1")
    assert sweeps.sweep(tmp_path / "sweep", "train.label_smoothing=0.0,0.1,0.2,0.3,0.4,0.5", *typed) == 0
    assert len({group["fields"]["train.label_smoothing"] for group in sweeps.record(tmp_path / "sweep")["groups"]}) == 6
    assert len(set(streams)) == len(streams) > 6


def test_a_sweep_keeps_no_more_data_than_pictures_may_take(monkeypatch):
    known = programs.Datasets()
    first, second = (runs.tiny("data.limit=200", f"data.fold={fold}/2") for fold in (1, 2))
    kept = [known.of(each) for each in (first, second, first)]
    assert kept[0] is kept[2] is not kept[1]
    monkeypatch.setattr(preflight, "memory_budget", lambda section: 64 * 300)
    folds = {id(known.of(each)): known.of(each) for each in (first, second)}
    assert id(known.of(second)) in folds, "the newest stays"
    assert id(known.of(first)) not in folds, "the other was read anew"


@pytest.mark.slow(seconds=3)
@pytest.mark.parametrize("sampler", ["random(seed=7)", "tpe(seed=3, startup=2)"])
def test_what_is_drawn_follows_from_the_seed_whatever_was_interrupted_and_however_many_seeds_there_are(
    tmp_path, fault, sampler
):
    def drawn(folder):
        rows = sweeps.record(folder)["trials"]
        return list(dict.fromkeys(row["fields"]["optimizer.learning_rate"] for row in rows))

    space = "optimizer.learning_rate=log(1e-4,1e-1)"
    typed = (f"--sweep.sampler={sampler}", "--sweep.trials=4", "--sweep.engine=map", "--config.train.steps=2")
    assert sweeps.sweep(tmp_path / "whole", space, *typed) == 0
    if "random" in sampler:  # what a TPE draws depends on all seeds that it saw
        assert sweeps.sweep(tmp_path / "twice", space, *typed, "--sweep.seeds=2") == 0
        assert drawn(tmp_path / "twice") == drawn(tmp_path / "whole")
    fault("taken:term:3")
    assert sweeps.sweep(tmp_path / "broken", space, *typed) == 75
    fault("")
    assert sweeps.sweep(tmp_path / "broken", space, *typed) == 0
    assert drawn(tmp_path / "broken") == drawn(tmp_path / "whole")


def test_copies_of_a_trial_are_no_further_seeds():
    rows = [
        {"number": number, "status": "finished", "value": value, "fields": {"train.label_smoothing": smoothing}}
        for number, (smoothing, value) in enumerate([(0.0, 0.8), (0.0, 0.8), (0.1, 0.9), (0.1, 0.9)])
    ]
    groups = ranking.groups(rows, "maximize")
    assert [(group["n"], group["of"], group["sd"], group["trials"]) for group in groups] == [
        (1, 1, None, [2, 3]),
        (1, 1, None, [0, 1]),
    ]
    assert "one seed each nobody can tell" in ranking.winner(groups)["text"]


def test_a_sweep_said_in_other_words_is_the_same(tmp_path):
    space, said = {"seed": [0, 1]}, {"init_from": "", "train": {**runs.SECTIONS["train"], "epochs": 1}}
    short = plan.make(runs.SECTIONS, plan.SweepRequest("", [config.Override("train.epochs", "1")], space, {}, []))
    full = plan.make({**runs.SECTIONS, **said}, plan.SweepRequest("", [], space, {}, []))
    assert declaration.declare(short, tmp_path / "sweep") == declaration.declare(full, tmp_path / "sweep")
    other = plan.make(runs.SECTIONS, plan.SweepRequest("", [config.Override("train.epochs", "2")], space, {}, []))
    with pytest.raises(config.ConfigError, match=r"config.train.epochs: 1 there, 2 here"):
        declaration.declare(other, tmp_path / "sweep")


@pytest.mark.slow
def test_the_command_of_the_best_configuration_runs_as_printed_and_reads_the_test_split(tmp_path, capsys):
    folder = tmp_path / "chosen"
    assert sweeps.sweep(folder, sweeps.RATES, "config.eval.test=False", "config.train.epochs=1") == 0
    shown = capsys.readouterr().out.splitlines()
    best = sweeps.record(folder)["best"]
    trial = f"trials/{best['trial']:04}"
    assert f"best configuration: its best trial is {folder / trial}" in shown
    assert (folder / trial / "result.json").is_file()
    assert best["command"] == shown[-2].strip()
    assert runs.start(*shlex.split(best["command"])[2:]) == 0
    result = runs.saved(tmp_path / "chosen-best", "result.json")
    assert result["fingerprint"] == runs.saved(folder / trial, "result.json")["fingerprint"]
    assert result["test"]["count"] == runs.EXAMPLES["test"]
    assert runs.start("report", f"--workdir={folder}") == 0
    page = (folder / "report.html").read_text()
    assert f"in <code>{trial}</code>" in page
    assert f"{folder}-best" in page


@pytest.mark.slow(seconds=3)
def test_where_there_is_no_test_split_the_command_for_the_best_asks_for_none(tmp_path, capsys):
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "p.npz", x_train=rng.integers(0, 256, (40, 8, 8), dtype=np.uint8), y_train=np.arange(40) % 2)
    data = ("name=npz", f"file={tmp_path / 'p.npz'}", "classes=2", "valid_fraction=0.5")
    typed = [*(f"config.data.{each}" for each in data), "config.train.batch_size=5", "config.train.epochs=1"]
    network = "config.model.layers=flatten | dense(classes)"
    assert sweeps.sweep(tmp_path / "s", "seed=0,1", *typed, network, "config.eval.test=False", "sweep.engine=map") == 0
    command = sweeps.record(tmp_path / "s")["best"]["command"]
    assert "eval.test" in command and "eval.test=True" not in command
    assert "\nto train it anew:\n" in capsys.readouterr().out
    assert runs.start(*shlex.split(command)[2:]) == 0


@pytest.mark.parametrize("flag", ["data.valid_fraction=0", "data.train_on=train+valid"])
def test_trials_that_nothing_ranks_are_refused_before_any_trains(flag, tmp_path, capsys):
    assert runs.start("sweep", f"--workdir={tmp_path / 's'}", "--grid=seed=0,1", f"--config.{flag}") == 2
    said = capsys.readouterr().err
    assert said.startswith("config.data: a sweep ranks its trials by the validation split, and data.")
    assert not (tmp_path / "s").exists()


def test_data_without_a_validation_split_are_refused_before_any_trial_trains(tmp_path, capsys):
    picture_files.write_folder(tmp_path / "pets", picture_files.made({"train": 8, "test": 3}))
    data = ("data.name=folder", f"data.data_dir={tmp_path / 'pets'}", "data.classes=3", "data.valid_fraction=0")
    flags = [f"--config.{field}" for field in (*data, "train.batch_size=8")]
    assert runs.start("sweep", f"--workdir={tmp_path / 's'}", "--grid=seed=0,1", *flags) == 2
    assert "and data.valid_fraction is 0. Set data.valid_fraction above 0" in capsys.readouterr().err
    assert not list((tmp_path / "s" / "trials").glob("*/metrics.jsonl"))
