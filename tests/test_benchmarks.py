"""The benchmark of accelerators, rehearsed: every section runs, a bad one is told, and the report is whole."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]


def accelerator(*arguments):
    command = [sys.executable, REPOSITORY / "benchmarks" / "accelerator.py", *arguments]
    return subprocess.run(command, capture_output=True, text=True)


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
    assert {name.split()[0] for name in rows} == {"lesson", "cifar10", "resnet18", "lenet5"}
    assert all(row["images_per_second"]["ours"] for row in rows.values())
    assert sections["kills"]["figures"]["same"] is True
    assert sections["kills"]["figures"]["kills"] == 1


@pytest.mark.slow
def test_the_report_of_a_rehearsal_says_what_it_is_and_where_it_was_made(rehearsed):
    text = (rehearsed / "ACCELERATOR.md").read_text()
    assert "A rehearsal on tiny sizes: no number here means anything." in text
    assert "python benchmarks/accelerator.py --rehearse" in text
    assert "| lesson | 8 | 2 | bfloat16 | " in text
    assert "the same bytes" in text
    assert "failed" not in text.replace("0 failed", "")


@pytest.mark.slow(seconds=5)
def test_a_section_that_fails_or_has_no_time_is_told_and_the_next_one_runs(tmp_path):
    # The section of CIFAR-10 needs no device; in the total there is no time for it.
    done = accelerator("--only=cifar10", "--total=1", f"--out={tmp_path}")
    assert done.returncode == 1
    assert "**This section was not run: no time was left**." in (tmp_path / "ACCELERATOR.md").read_text()


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
