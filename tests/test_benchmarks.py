"""The benchmark of accelerators, rehearsed: every section runs, a bad one is told, and the report is whole."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def accelerator(*arguments, **variables):
    command = [sys.executable, REPOSITORY / "benchmarks" / "accelerator.py", *arguments]
    return subprocess.run(command, env={**os.environ, **variables}, capture_output=True, text=True)


@pytest.fixture(scope="module")
def rehearsed(tmp_path_factory):
    """The folder of a rehearsal's report."""
    folder = tmp_path_factory.mktemp("rehearsed")
    done = accelerator("--rehearse", f"--out={folder}")
    assert done.returncode == 0, done.stdout + done.stderr + (folder / "ACCELERATOR.md").read_text()
    return folder


@pytest.mark.slow(seconds=90)
def test_a_rehearsal_finishes_every_section(rehearsed):
    found = json.loads((rehearsed / "accelerator.json").read_text())
    sections = found["sections"]
    assert list(sections) == ["device", "tests", "speed", "dispatch", "seeds", "kills", "profile", "cifar10"]
    assert {section["ended"] for section in sections.values()} == {"finished"}
    assert found["about"]["rehearsal"] and found["about"]["versions"]["jax"]
    assert not found["about"]["lacking"]
    assert sections["tests"]["figures"]["passed"] == 1
    rows = sections["speed"]["figures"]["rows"]
    assert list(rows) == ["cifar10 float32", "resnet18 bfloat16"]
    assert all(row["images_per_second"]["ours"] for row in rows.values())
    assert sections["kills"]["figures"]["same"] is True
    assert sections["kills"]["figures"]["kills"] == 1


@pytest.mark.slow
def test_the_report_of_a_rehearsal_says_what_it_is_and_where_it_was_made(rehearsed):
    text = (rehearsed / "ACCELERATOR.md").read_text()
    assert "A rehearsal on tiny sizes: no number here means anything." in text
    assert "python benchmarks/accelerator.py --rehearse" in text
    assert "| resnet18 | 8 | 2 | bfloat16 | " in text
    assert "the same bytes" in text
    assert "failed" not in text.replace("0 failed", "")


@pytest.mark.slow(seconds=5)
def test_a_section_that_fails_is_told_and_the_next_one_runs(tmp_path):
    done = accelerator("--rehearse", "--only=dispatch,cifar10", f"--out={tmp_path}", XLA_FLAGS="--xla_no_such_flag=1")
    assert done.returncode == 1
    sections = json.loads((tmp_path / "accelerator.json").read_text())["sections"]
    assert sections["dispatch"]["ended"].startswith("failed with exit code")
    assert sections["cifar10"]["ended"] == "finished"
    text = (tmp_path / "ACCELERATOR.md").read_text()
    assert "**This section failed with exit code" in text
    assert "xla_no_such_flag" in text


def test_a_section_without_time_is_told(tmp_path):
    done = accelerator("--only=cifar10", "--total=1", f"--out={tmp_path}")
    assert done.returncode == 1
    assert "**This section was not run: no time was left**." in (tmp_path / "ACCELERATOR.md").read_text()


def test_every_network_of_the_benchmark_is_described_for_its_competitors(monkeypatch):
    for folder in ("benchmarks", "benchmarks/peers"):
        monkeypatch.syspath_prepend(str(REPOSITORY / folder))
    import accelerator
    import train_speed

    for name in train_speed.CONFIGS:
        batch = accelerator.BATCHES.get(name, 16)
        spec, operations = train_speed.describe(name, batch, 1)
        assert spec["optimizer"] in ("adam", "nesterov", "momentum")
        assert spec["examples"] >= 2 * batch
        assert spec["batch_size"] == batch
        assert json.loads(json.dumps(spec["layers"]))
        assert operations > 1e6
    assert {name for wave in accelerator.WAVES for name, _ in wave} == set(accelerator.BATCHES)


def test_the_best_of_ours_is_compared_with_the_best_of_the_peers_in_either_type(monkeypatch):
    for folder in ("benchmarks", "benchmarks/peers"):
        monkeypatch.syspath_prepend(str(REPOSITORY / folder))
    import train_speed

    speeds = {"ours": [10, 12], "PyTorch": [5, 4], "plain Flax": [2, 2]}
    line = "ours/best peer 2.50  ours/plain Flax 5.50  share of peak 0.11"
    assert train_speed.summary(speeds, 1e9, 100) == line
    speeds |= {"ours bfloat16": [20, 20], "PyTorch autocast": [10, 8]}
    both = f"{line}\nbest against best 2.25: ours bfloat16 / PyTorch autocast"
    assert train_speed.summary(speeds, 1e9, 100) == both


@pytest.mark.slow(seconds=2)
@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--only=gpu", "--only: unknown section 'gpu'. Known: device, tests,"),
        ("--budget=speed", "--budget: must be SECTION=SECONDS, sections are device, tests,"),
        ("--budget=speed=x", "got 'speed=x'"),
    ],
)
def test_a_wrong_flag_of_the_benchmark_is_one_line(flag, said):
    done = accelerator(flag)
    assert done.returncode == 2
    assert said in done.stderr
