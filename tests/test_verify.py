"""A run that is made again: the same, or what differs first."""

import functools
import json
import os
import random
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cnn
import runs
from cnn.cli import launch
from cnn.config.config import ConfigError
from cnn.runs import receipt
from cnn.system import environment
from cnn.train import experiment, verify

pytestmark = pytest.mark.slow(seconds=3)  # they train runs


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Three epochs of twelve steps; steps 24 and 36, the best, are saved."""
    workdir = tmp_path_factory.mktemp("verify") / "run"
    experiment.run(runs.tiny(), workdir)
    return workdir


@pytest.fixture
def copied(reference, tmp_path):
    return Path(shutil.copytree(reference, tmp_path / "copy"))


def verified(workdir, *flags):
    return runs.start("verify", f"--workdir={workdir}", *flags)


def test_an_untouched_run_is_the_same_and_has_a_receipt(reference, capsys):
    before = {path: path.read_bytes() for path in reference.rglob("*") if path.is_file()}
    assert verified(reference) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{reference}: the same, bit for bit, in all 36 steps and its evaluations"
    assert said[1:] == [str(receipt.of_run(reference))]
    assert {path: path.read_bytes() for path in reference.rglob("*") if path.is_file()} == before
    assert verified(reference, f"--receipt={said[1]}") == 0


def test_some_steps_are_made_again_from_the_start_and_from_a_checkpoint(reference, capsys):
    assert verified(reference, "--steps=7") == 0
    assert capsys.readouterr().out == f"{reference}: the same, bit for bit, in steps 1 to 7\n"
    assert verified(reference, "--from=24") == 0
    assert capsys.readouterr().out == f"{reference}: the same, bit for bit, in steps 25 to 36\n"


@pytest.mark.parametrize(
    "overrides",
    [
        (
            "model.layers=conv(4, 3) | batch_norm | relu | flatten | dropout(0.2) | dense(classes)",
            "data.augment=shift(1)",
        ),
        ("data.loading=stream",),
        ("train.average=ema(0.9)", "eval.weights=ema"),
        ("train.stop=target(0.5)", "eval.weights=best"),
    ],
    ids=["batch norm", "streamed", "averaged", "stopped early"],
)
def test_any_run_is_the_same(tmp_path, overrides):
    workdir = tmp_path / "run"
    experiment.run(runs.tiny(*overrides), workdir)
    found = cnn.load(workdir).verify()
    assert (found.difference, found.whole) == (None, True)


HALVED = (
    "--config.model.layers=conv(4, 3) | batch_norm | relu | max_pool(2) | flatten | dense(classes)",
    "--config.train.epochs=1",
    "--config.report.page=never",
)


@pytest.mark.skipif(environment.threads() < 2, reason="one thread is not halved")
def test_a_run_whose_cpu_was_halved_is_the_same_also_for_whoever_starts_anew(tmp_path):
    workdir = tmp_path / "run"
    made = {name: value for name, value in os.environ.items() if name not in ("XLA_FLAGS", "JAX_NUM_CPU_DEVICES")}
    python = functools.partial(
        subprocess.run, cwd=Path(cnn.__file__).parents[1], env=made, capture_output=True, text=True
    )
    assert python([sys.executable, "main.py", *HALVED, f"--workdir={workdir}"]).returncode == 0
    done = python([sys.executable, "main.py", "verify", f"--workdir={workdir}"])
    assert (done.returncode, done.stderr.partition(":")[0]) == (0, "")
    assert ": the same, bit for bit, in all " in done.stdout
    asked = f"import cnn; found = cnn.load({str(workdir)!r}).verify(); print(found.difference, found.comparable)"
    assert python([sys.executable, "-c", asked]).stdout == "None True\n"


def flip(path, rng, *, within=None):
    """Flips one bit of a file; of JSON, the lowest of a digit, so that it stays JSON."""
    content = bytearray(path.read_bytes())
    places = [place for place, byte in enumerate(content) if within is None or chr(byte) in within]
    content[rng.choice(places)] ^= 1 if within else 1 << rng.randrange(8)
    path.write_bytes(content)


@pytest.mark.parametrize("seed", range(5))
def test_a_flipped_bit_of_the_metrics_is_named(copied, capsys, seed):
    flip(copied / "metrics.jsonl", random.Random(seed), within="0123456789")
    assert verified(copied) == 1
    assert re.search(
        r"not the same: metrics\.jsonl: line \d+: [\w.]+ \S+ recorded, \S+ repeated$", capsys.readouterr().out
    )


def test_a_last_digit_that_is_read_as_the_same_number_is_named(copied, capsys):
    metrics = copied / "metrics.jsonl"
    written = re.search(r'"loss": ([\d.]+)', metrics.read_text())
    digits = written[1] + "0"
    metrics.write_text(metrics.read_text().replace(written[1], digits, 1))
    assert verified(copied) == 1
    assert f"line 1: loss {digits} recorded, {written[1]} repeated\n" in capsys.readouterr().out


@pytest.mark.parametrize("seed", range(5))
def test_a_flipped_bit_of_the_weights_is_named(copied, capsys, seed):
    rng = random.Random(seed)
    files = sorted((copied / "checkpoints").rglob("d/*"))
    assert files
    flip(rng.choice(files), rng)
    assert verified(copied) == 1
    assert re.search(r"not the same: checkpoints/000000(24|36): damaged: ", capsys.readouterr().out)


@pytest.mark.parametrize("seed", range(5))
def test_a_flipped_bit_of_the_config_is_named(copied, capsys, seed):
    flip(copied / "config.json", random.Random(seed), within="0123456789")
    assert verified(copied) in (1, 2)  # 2 where it is no config any more
    assert "config.json: " in "".join(capsys.readouterr())


@pytest.mark.parametrize("seed", range(5))
def test_a_flipped_bit_of_the_data_is_named(tmp_path, capsys, seed):
    rng = random.Random(seed)
    folder = write_folder(tmp_path / "pictures")
    workdir = tmp_path / "run"
    overrides = (
        "data.name=folder",
        f"data.data_dir={folder}",
        "data.classes=2",
        "train.batch_size=4",
        "train.epochs=1",
    )
    experiment.run(runs.tiny(*overrides), workdir)
    spoil_pixel(rng.choice(sorted(folder.rglob("*.png"))), rng)
    assert verified(workdir) == 1
    assert re.search(r"not the same: the data: identity \w{12} recorded, \w{12} now", capsys.readouterr().out)


def write_folder(folder):
    from PIL import Image

    for split, count in (("train", 12), ("test", 4)):
        for label in ("a", "b"):
            (folder / split / label).mkdir(parents=True)
            for number in range(count):
                shade = (number * 7 + (label == "b") * 128) % 256
                Image.new("L", (8, 8), shade).save(folder / split / label / f"{number}.png")
    return folder


def spoil_pixel(path, rng):
    from PIL import Image

    image = Image.open(path).copy()
    place = (rng.randrange(8), rng.randrange(8))
    image.putpixel(place, image.getpixel(place) ^ 1)
    image.save(path)


def test_other_results_than_the_repetitions_are_named(copied, capsys):
    path = copied / "result.json"
    result = json.loads(path.read_text())
    path.write_text(json.dumps({**result, "test": {**result["test"], "accuracy": 0.5}}))
    assert verified(copied) == 1
    assert "not the same: result.json: test.accuracy 0.5 recorded, 0.8" in capsys.readouterr().out
    path.write_text(json.dumps({**result, "fingerprint": "0" * 32}))
    assert verified(copied) == 1
    assert f"not the same: result.json: fingerprint {'0' * 32} recorded, " in capsys.readouterr().out


def test_metrics_that_were_lost_or_added_are_named(copied, capsys):
    path = copied / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))
    assert verified(copied) == 1
    assert f"metrics.jsonl: line {len(lines)} is missing, of step 36" in capsys.readouterr().out
    path.write_bytes(b"".join([*lines, lines[-1]]))
    assert verified(copied) == 1
    assert f"metrics.jsonl: line {len(lines) + 1} is one that the repetition does not write" in capsys.readouterr().out


def test_other_versions_are_told_and_not_compared(reference, capsys, monkeypatch):
    monkeypatch.setenv("NPROC", "3")
    assert verified(reference) == 2
    said = capsys.readouterr().err
    assert re.search(r"not comparable: .*cpu_threads \d+ then, 3 now", said)


def test_a_receipt_names_the_part_that_differs(reference, copied):
    stated = receipt.of_run(reference)
    assert receipt.parse(str(stated)) == stated
    assert receipt.differing(stated, stated._replace(data="0" * 16)) == ["data"]
    result = json.loads((copied / "result.json").read_text())
    (copied / "result.json").write_text(json.dumps({**result, "test": {**result["test"], "loss": 1.0}}))
    assert receipt.differing(stated, receipt.of_run(copied)) == ["results"]
    (copied / "result.json").write_text(json.dumps({**result, "train_seconds": 1.0}))
    assert receipt.of_run(copied) == stated
    found = cnn.load(reference).verify(receipt=str(stated._replace(code="0" * 16)))
    assert found.difference == "the receipt states other code"
    with pytest.raises(ConfigError, match="--receipt: must be a line that verify printed"):
        receipt.parse("cnn-receipt-1 config=12")


def test_what_cannot_be_verified_is_said_in_a_line(reference, copied, tmp_path, capsys, fault):
    assert verified(reference, "--from=7") == 2
    assert capsys.readouterr().err == "--from: must be 0 or a step that is kept, 24, 36, got 7\n"
    assert verified(reference, "--steps=0", "--from=x") == 2
    assert capsys.readouterr().err.splitlines() == [
        "--from: must be a number of steps, at least 0, got 'x'",
        "--steps: must be a number of steps, at least 1, got '0'",
    ]
    (copied / "result.json").unlink()
    with pytest.raises(ConfigError, match="has not finished, so it has no receipt"):
        receipt.of_run(copied)
    assert verified(copied) == 0
    assert capsys.readouterr().out == f"{copied}: the same, bit for bit, in steps 1 to 36\n"
    shutil.rmtree(copied / "checkpoints")
    assert verified(copied) == 2
    assert "has no checkpoint yet. Train it first" in capsys.readouterr().err


def test_nothing_is_called_the_same_where_nothing_is_compared_or_read(copied, tmp_path, capsys):
    last = runs.steps(copied)[-1]
    assert runs.start("verify", f"--workdir={copied}", f"--from={last}") == 2
    said = f"--from: must be a step before the last that is kept, {last}, got {last}\n"
    assert capsys.readouterr().err.endswith(said)
    assert runs.start("verify", f"--workdir={copied}", f"--data_dir={tmp_path}") == 2
    assert "--data_dir: is not read by digits, but by " in capsys.readouterr().err


def test_a_run_on_arrays_is_verified_on_the_file_that_they_were_saved_in(tmp_path, capsys):
    images = np.random.default_rng(0).integers(0, 256, (60, 8, 8, 1), dtype=np.uint8)
    data = cnn.Arrays((images, np.arange(60) % 3), (images[:9], np.arange(9) % 3))
    section = {"name": "digits", "image_shape": (8, 8, 1), "classes": 3}
    config = {**runs.SECTIONS, "data": section, "train": {"epochs": 1, "batch_size": 9}}
    cnn.run(config, tmp_path / "run", data=data).save_data(tmp_path / "data.npz")
    assert runs.start("verify", f"--workdir={tmp_path / 'run'}", f"--data_file={tmp_path / 'data.npz'}") == 0
    assert "the same, bit for bit, in all " in capsys.readouterr().out


def test_a_signal_ends_it_and_leaves_nothing(reference, fault, capsys):
    fault("step:term:5")
    assert verified(reference) == launch.PREEMPTED


def test_a_trial_of_a_sweep_is_the_same(tmp_path):
    assert runs.start("sweep", f"--workdir={tmp_path}/sweep", "--grid=optimizer.learning_rate=1e-3,1e-2") == 0
    trial = next((tmp_path / "sweep" / "trials").iterdir())
    assert cnn.load(trial).verify().difference is None


def test_the_first_difference_of_two_records_is_found_wherever_it_is():
    assert verify._difference({"a": {"b": 1.0}}, {"a": {"b": 1.0}}) is None
    assert verify._difference({"a": {"b": 1.0}}, {"a": {"b": 2.0}}) == "a.b 1.0 recorded, 2.0 repeated"
    assert verify._difference({"a": 1}, {"a": 1, "b": None}) is None
    assert verify._difference({"a": 1}, {"b": 2, "a": 1}) == "b None recorded, 2 repeated"


def test_a_run_that_was_made_longer_is_the_same_also_where_it_renewed_its_statistics_at_its_first_end(tmp_path):
    flags = (
        "train.renew_statistics=True",
        "checkpoint.every=epochs(1)",
        "model.layers=flatten | dense(8) | batch_norm(0.5) | dense(classes)",
    )
    for steps in (18, 42):
        assert runs.train(tmp_path / "run", *flags, "train.epochs=None", f"train.steps={steps}") == 0
    assert verified(tmp_path / "run") == 0
