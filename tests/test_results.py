"""The results that the README and the configs report, as floors, for what trains within a minute or so."""

import importlib
import json
import os
import statistics

import pytest

import runs
from cnn.cli import launch, parser
from cnn.config import files, resolve
from cnn.config.config import Override

pytestmark = pytest.mark.compiled

NEEDS_DATA = pytest.mark.skipif("TFDS_DATA_DIR" not in os.environ, reason="TFDS_DATA_DIR names no prepared data")


def trained(workdir, config, *overrides):
    """Returns the result of a config's run, started as a person starts it."""
    arguments = [f"--config=configs/{config}.py", f"--workdir={workdir}", *(f"--config.{text}" for text in overrides)]
    assert launch.launch(parser.parse(arguments)) == 0
    return runs.saved(workdir, "result.json")


@pytest.fixture(autouse=True)
def in_the_repository(monkeypatch):
    monkeypatch.chdir(parser.REPOSITORY)


@pytest.mark.slow(seconds=10)
def test_digits_reach_about_the_accuracy_that_the_readme_reports(tmp_path):
    assert trained(tmp_path, "digits")["test"]["accuracy"] >= 0.975


@pytest.mark.thorough
@pytest.mark.slow(seconds=30)
def test_three_seeds_of_digits_reach_the_mean_accuracy_that_the_readme_reports(tmp_path):
    results = [trained(tmp_path / str(seed), "digits", f"seed={seed}") for seed in range(3)]
    assert statistics.fmean(result["test"]["accuracy"] for result in results) >= 0.98


@pytest.mark.thorough
@NEEDS_DATA
@pytest.mark.slow
def test_the_dense_baseline_reaches_what_the_course_printed(tmp_path):
    result = trained(tmp_path / "run", "dense_baseline", "data.train_on=train+valid")
    assert result["test"]["count"] == 10_000
    assert result["test"]["accuracy"] >= 0.8744


@pytest.mark.thorough
@NEEDS_DATA
@pytest.mark.slow
def test_one_convolution_stops_by_itself_above_its_target_and_says_so(tmp_path, capsys):
    # A lower target than the config's, which takes ten epochs; the rule is the same.
    result = trained(tmp_path / "run", "one_conv", "train.stop=target(0.95)", "train.epochs=4", "eval.test=False")
    assert result["train"]["accuracy"] > 0.95
    assert result["epochs"] < 4
    said = capsys.readouterr()
    assert "is above the target 0.95" in said.out
    assert f"stopped after {result['epochs']:g} epoch" in said.out


@pytest.fixture
def results(tmp_path, monkeypatch):
    """Returns `benchmarks/results.py`, which keeps and writes in a folder of the test's own."""
    monkeypatch.syspath_prepend(str(parser.REPOSITORY / "benchmarks"))
    module = importlib.import_module("results")
    places = {name: tmp_path / path.name for name, path in module.PLACES.items()}
    for path in places.values():
        path.write_text("before\n")
    for name, path in places.items():
        path.write_text(f"{path.read_text()}{module.BEGIN.format(name)}\nold\n{module.END.format(name)}\nafter\n")
    monkeypatch.setattr(module, "PLACES", places)
    monkeypatch.setattr(module, "KEPT", tmp_path / "results.json")
    return module


def called(results, monkeypatch, *arguments):
    monkeypatch.setattr("sys.argv", ["results.py", *map(str, arguments)])
    results.main()


def as_started(workdir, *overrides):
    """Trains a tiny run and gives it the command line of a person, which the tests' own start has not."""
    assert runs.train(workdir, *overrides) == 0
    said = runs.saved(workdir, "run.json")
    said["argv"] = ["main.py", "--config=configs/digits.py", *(f"--config.{text}" for text in overrides)]
    (workdir / "run.json").write_text(json.dumps(said))
    return workdir


@pytest.mark.slow
def test_runs_that_differ_in_their_seed_are_one_row_of_the_table(tmp_path, monkeypatch, results):
    folders = [as_started(tmp_path / f"r{seed}", f"seed={seed}", "train.epochs=1") for seed in range(3)]
    called(results, monkeypatch, *folders)
    accuracies = [runs.saved(folder, "result.json")["test"]["accuracy"] for folder in folders]
    whole, short = (results.PLACES[name] for name in ("results", "accuracies"))
    text = whole.read_text()
    assert f"**{statistics.fmean(accuracies):.4f} ± {statistics.stdev(accuracies):.4f}**" in text
    assert f"3: {min(accuracies):.4f} to {max(accuracies):.4f}" in text
    assert text.startswith("before\n") and text.endswith("after\n") and "old" not in text
    assert f"| `digits` | **{statistics.fmean(accuracies):.4f} ± " not in short.read_text(), (
        "one epoch is another experiment"
    )
    assert "`configs/fashion/residual.py` | shortcuts, random erasing: 0.947 | not yet measured |" in text
    called(results, monkeypatch, folders[1])
    assert whole.read_text() == text, "a seed given again replaces itself"
    with pytest.raises(SystemExit, match=r"^0$"):
        called(results, monkeypatch, "--check")
    whole.write_text(text.replace("±", "+"))
    with pytest.raises(SystemExit, match="older than"):
        called(results, monkeypatch, "--check")


@pytest.mark.slow(seconds=3)
def test_what_is_no_finished_run_is_one_line(tmp_path, monkeypatch, results):
    (tmp_path / "none").mkdir()
    with pytest.raises(SystemExit, match=r"run\.json: missing; give the directory of a finished run or sweep"):
        called(results, monkeypatch, tmp_path / "none")
    untested = as_started(tmp_path / "untested", "train.epochs=1", "eval.test=False")
    with pytest.raises(SystemExit, match="not finished, or never evaluated on test"):
        called(results, monkeypatch, untested)


@pytest.mark.slow(seconds=2)
def test_a_sweep_is_kept_as_its_ranking(tmp_path, monkeypatch, results):
    grid = "--grid=optimizer.learning_rate=1e-4,1e-2"
    assert (
        runs.start("sweep", grid, "--sweep.engine=map", f"--workdir={tmp_path / 's'}", "--config.train.epochs=1") == 0
    )
    record = runs.saved(tmp_path / "s", "sweep.json")
    for trial in record["trials"]:
        trial["command"] = trial["command"].replace("train", "train --config=configs/digits.py", 1)
    (tmp_path / "s" / "sweep.json").write_text(json.dumps(record))
    called(results, monkeypatch, tmp_path / "s")
    values = [trial["value"] for trial in record["trials"]]
    assert values[1] > values[0]
    row = f"`optimizer.learning_rate` | {values[1]:.4f} (0.01); {values[0]:.4f} (0.0001)"
    assert f"| `configs/digits.py --config.train.epochs=1` | {row} |" in results.PLACES["choices"].read_text()


def speeds(network, **train):
    return {
        "network": network,
        "batch_size": 128,
        "huge_pages": False,
        "cpu": "Some CPU",
        "threads": 2,
        "units": "AMX",
        "packages": {"jax": "1.2"},
        "command": "python benchmarks/train_speed.py",
        "peak": 400.0,
        "train": train,
        "evaluate": {},
    }


def test_tables_of_speed_have_medians_and_the_spread_of_the_ratios(tmp_path, monkeypatch, results):
    called(results, monkeypatch)
    readme, devices = (results.PLACES[name] for name in ("speed", "bfloat16"))
    assert "Not yet measured." in readme.read_text() and "Not yet measured." in devices.read_text()
    lesson = {"ours": [60, 100, 90], "plain Flax": [10, 10, 10], "PyTorch": [30, 25, 45]}
    narrow = {"ours bfloat16": [200, 210, 190], "PyTorch autocast": [100, 50, 95]}
    tables = [speeds("lesson", **lesson, **narrow), speeds("cifar10", ours=[3], PyTorch=[5], **{"ours bfloat16": [2]})]
    (tmp_path / "SPEED.json").write_text(json.dumps([*tables, {**tables[0], "huge_pages": True, "train": {}}]))
    called(results, monkeypatch, tmp_path / "SPEED.json")
    text = readme.read_text()
    assert "| this project | 90 |  |\n| PyTorch, channels last, fused Adam | 30 | 2.00 (2.00 to 4.00) |\n" in text
    assert "| Flax as its examples write it | 10 | 9.00 (6.00 to 10.00) |" in text and "autocast" not in text
    assert "Measured on 2 threads (Some CPU, AMX); jax 1.2; `python benchmarks/train_speed.py`." in text
    text = devices.read_text()
    assert "| `lesson` | 90 | 200 | 30 |  |  | 95 |  | 2.00 (2.00 to 4.20) |" in text
    assert "| `cifar10` | 3 | 2 | 5 |  |  |  |  | 0.60 (0.60 to 0.60) |" in text


def kept():
    return json.loads((parser.REPOSITORY / "benchmarks" / "results.json").read_text())


def test_the_readme_and_its_page_of_results_show_what_is_recorded(monkeypatch):
    monkeypatch.syspath_prepend(str(parser.REPOSITORY / "benchmarks"))
    with pytest.raises(SystemExit, match=r"^0$"):
        called(importlib.import_module("results"), monkeypatch, "--check")


@pytest.mark.parametrize("name", sorted({run["config"] for run in kept()["runs"]}))
def test_what_is_recorded_was_measured_with_the_configs_of_today(name):
    for run in kept()["runs"]:
        if run["config"] != name:
            continue
        overrides = [Override(*text.removeprefix("--config.").split("=", 1)) for text in run["overrides"]]
        now = json.loads(resolve.resolve(files.sections(name), overrides).json)
        for section, fields in run["settings"].items():
            assert {field: now[section][field] for field in fields} == fields, f"{name}, {section}: measure it again"
