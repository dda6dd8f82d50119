"""Runs and sweeps that an earlier version wrote still open, as `tests/old_runs/make.sh` made them."""

import tarfile
from pathlib import Path

import pytest

import runs

pytestmark = pytest.mark.compiled

STORED = Path(__file__).parent / "old_runs" / "runs.tar.gz"


@pytest.fixture
def old(tmp_path):
    with tarfile.open(STORED) as stored:
        stored.extractall(tmp_path, filter="data")
    return tmp_path / "old"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["finished", "finished-muon"])
def test_a_finished_run_is_evaluated_as_it_was(old, name, capsys):
    was = runs.saved(old / name, "evaluation-test.json")
    assert runs.start("eval", f"--workdir={old / name}") == 0
    now = runs.saved(old / name, "evaluation-test.json")
    assert now["loss"] == pytest.approx(was["loss"], rel=1e-5)
    assert now["confusion"] == was["confusion"]
    assert runs.start("train", f"--workdir={old / name}", sections=runs.saved(old / name, "config.json")) == 0
    assert runs.start("report", f"--workdir={old / name}") == 0
    assert (old / name / "report.html").stat().st_size > 100_000
    assert runs.start("diff", str(old / "finished"), str(old / "finished-muon")) in (0, 1)


@pytest.mark.thorough(2)
@pytest.mark.slow
@pytest.mark.parametrize("name", ["unfinished-momentum", "unfinished-adam"])
def test_an_unfinished_run_goes_on(old, name):
    workdir = old / name
    records = (workdir / "metrics.jsonl").read_text()
    assert runs.start("train", f"--workdir={workdir}", sections=runs.saved(workdir, "config.json")) == 0
    result = runs.saved(workdir, "result.json")
    assert (result["status"], result["step"]) == ("finished", 20)
    assert (workdir / "metrics.jsonl").read_text().startswith(records)
    # TensorBoard showed all numbers in one folder; of these it shows none now, and every one of the splits.
    shown = {(run, tag.partition("/")[0], step) for run, tag, step in runs.scalars(workdir)[0]}
    epochs = [record["step"] for record in runs.records(workdir, "epoch")]
    assert {step for run, tag, step in shown if (run, tag) == ("valid", "loss")} == {*epochs}
    assert {tag for run, tag, _ in shown if run == "."} == {"final"}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sweep", "sweep-copies", "sweep-process"])
def test_a_sweep_is_reported_and_its_trials_evaluated(old, name, capsys):
    assert runs.start("report", f"--workdir={old / name}") == 0
    assert (old / name / "report.html").stat().st_size > 10_000
    assert runs.start("eval", f"--workdir={old / name / 'trials/0001'}") == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["sweep", "sweep-process"])
def test_a_sweep_goes_on_whose_engine_was_measured_or_is_no_more(old, name):
    before, declared = runs.saved(old / name, "sweep.json"), runs.saved(old / name, "declaration.json")["sweep"]
    assert "measured" in before["engine"] or before["engine"]["engine"] == "process"
    typed = [f"--config.{path}={value}" for path, value in declared["overrides"]]
    grid = "--grid=optimizer.learning_rate=1e-3,1e-2;seed=0,1"
    assert runs.start("sweep", grid, *typed, f"--workdir={old / name}", sections=declared["base"]) == 0
    after = runs.saved(old / name, "sweep.json")
    assert after["counts"] == {"finished": 4}
    assert after["engine"]["engine"] == "map"
    done = [row["value"] for row in before["trials"] if row["status"] == "finished"]
    assert [row["value"] for row in after["trials"]][: len(done)] == done


@pytest.mark.slow(seconds=3)
def test_copies_of_a_trial_count_once_in_the_report_of_an_earlier_sweep(old):
    folder = old / "sweep-copies"
    before = runs.saved(folder, "sweep.json")
    assert sorted(group["n"] for group in before["groups"]) == [2, 4]
    assert runs.start("report", f"--workdir={folder}") == 0
    after = runs.saved(folder, "sweep.json")
    assert [group["n"] for group in after["groups"]] == [1, 1]
    assert "one seed each nobody can tell" in after["winner"]["text"]
    assert after["trials"] == before["trials"]
    assert "one seed each nobody can tell" in (folder / "report.html").read_text()


@pytest.mark.parametrize("name", ["nadam", "muon"])
def test_an_unfinished_run_of_an_optimizer_that_computes_otherwise_now_is_refused(old, name, capsys):
    workdir = old / f"unfinished-{name}"
    before = (workdir / "run.json").read_bytes()
    assert runs.start("train", f"--workdir={workdir}", sections=runs.saved(workdir, "config.json")) == 2
    said = capsys.readouterr().err
    assert f"whose {name} computes otherwise. Check out commit ea51c636318d896f11657f7259b679190df3d142" in said
    assert (workdir / "run.json").read_bytes() == before
