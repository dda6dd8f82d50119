"""Broken pictures: refused or listed, never dropped in silence; the same in memory and streamed."""

import json
import os
import re

import numpy as np
import pytest
from PIL import Image

import runs
import sweeps
from cnn.data import parts
from cnn.data.sources import hashing
from cnn.data.types import DataError
from cnn.system.preemption import Preempted
from cnn.train import experiment
from test_data_folder import load_folder, write

BAD = ("train/a/03.png", "train/b/07.png", "train/b/11.png", "test/a/01.png")
SECTIONS = {
    "model": {"layers": "flatten | dense(classes)"},
    "optimizer": {"name": "adam", "learning_rate": 0.01},
    "train": {"batch_size": 5, "epochs": 3, "log_every_steps": 2},
}


def pictures(root, bad=BAD, count=24):
    """Writes grey noise, brighter for class b, in which some files are no pictures."""
    for part, number in (("train", count), ("test", 6)):
        for label, name in enumerate("ab"):
            (root / part / name).mkdir(parents=True)
            for n in range(number):
                noise = np.random.default_rng([label, n, number]).integers(0, 128, (8, 8)) + 100 * label
                Image.fromarray(noise.astype(np.uint8)).save(root / part / name / f"{n:02}.png")
    for name in bad:
        (root / name).write_text(f"no picture: {name}")
    return root


def sections(root, **changes):
    fields = {"name": "folder", "data_dir": str(root), "image_shape": (8, 8, 1), "classes": 2, "valid_fraction": 0.25}
    return {**SECTIONS, "data": {**fields, **changes}}


def listed(workdir):
    saved = runs.saved(workdir, "bad-pictures.json")
    assert saved["count"] == len(saved["pictures"])
    return [entry["picture"] for entry in saved["pictures"]]


@pytest.fixture
def small_samples(monkeypatch):
    """Looks at no more than the first few pictures before a run, as with many of them."""
    monkeypatch.setattr(parts, "SAMPLE", 2)


@pytest.mark.slow(seconds=10)
def test_trials_of_a_sweep_leave_the_same_pictures_out_alone_and_together(tmp_path):
    given = sections(pictures(tmp_path / "pictures"), on_error="skip")
    for engine in ("map", "vmap"):
        typed = (f"sweep.engine={engine}", "config.train.epochs=1")
        assert sweeps.sweep(tmp_path / engine, sweeps.RATES, *typed, sections=given) == 0
    for trial in ("trials/0000", "trials/0001"):
        alone, together = (runs.records(tmp_path / engine / trial, "epoch") for engine in ("map", "vmap"))
        assert together[0]["train"] == pytest.approx(alone[0]["train"], rel=1e-5)
        assert listed(tmp_path / "map" / trial) == listed(tmp_path / "vmap" / trial) == sorted(BAD)


@pytest.mark.slow
def test_skipping_gives_the_same_bytes_in_memory_and_streamed(tmp_path, capsys):
    root = pictures(tmp_path / "pictures")
    for loading_ in ("memory", "stream"):
        workdir = tmp_path / loading_
        assert runs.train(workdir, sections=sections(root, on_error="skip", loading=loading_)) == 0
        said = capsys.readouterr()
        assert listed(workdir) == sorted(BAD)
        assert all(said.err.count(name) == 1 for name in BAD), "each is told once"
        result = runs.saved(workdir, "result.json")
        assert result["bad_pictures"] == 4
        assert (result["test"]["count"], result["test"]["skipped"]) == (11, 1)
        assert result["valid"]["count"] + result["valid"]["skipped"] == 12
        assert "1 picture could not be used and is not counted" in said.out
    assert runs.outcome(tmp_path / "stream") == runs.outcome(tmp_path / "memory")
    evaluations = [(tmp_path / loading_ / "evaluation-test.json").read_bytes() for loading_ in ("memory", "stream")]
    assert evaluations[0] == evaluations[1]
    with np.load(tmp_path / "stream" / "predictions-test.npz") as predictions:
        assert predictions["index"].tolist() == [0, *range(2, 12)]
    # The order is one over all files: the bad ones among them are a part of the epoch, and weigh nothing.
    trained = [record["train"] for record in runs.records(tmp_path / "memory", "epoch")]
    assert len({record["step"] for record in runs.records(tmp_path / "memory", "epoch")}) == len(trained) == 3
    assert runs.records(tmp_path / "memory", "epoch")[-1]["step"] == 3 * (36 // 5)


@pytest.mark.slow
def test_the_list_outlives_an_interruption(tmp_path, fault, capsys):
    root = pictures(tmp_path / "pictures")
    values = runs.resolve.resolve(sections(root, on_error="skip", loading="stream"))
    experiment.run(values, tmp_path / "straight")
    fault("step:term:9")
    with pytest.raises(Preempted):
        experiment.run(values, tmp_path / "run")
    before = listed(tmp_path / "run")
    capsys.readouterr()
    fault("")
    experiment.run(values, tmp_path / "run")
    assert before
    assert not any(name in capsys.readouterr().err for name in before), "they were told already"
    assert listed(tmp_path / "run") == listed(tmp_path / "straight") == sorted(BAD)
    assert runs.outcome(tmp_path / "run") == runs.outcome(tmp_path / "straight")


@pytest.mark.slow
def test_a_broken_picture_stops_a_streamed_run_where_it_is_met_and_skipping_goes_on(tmp_path, capsys, small_samples):
    root = pictures(tmp_path / "pictures", bad=BAD[1:2])
    workdir = tmp_path / "run"
    given = sections(root, loading="stream", workers=0)
    assert runs.train(workdir, sections=given) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("config.data.data_dir: 1 of 48 pictures cannot be read, got ")
    assert said.endswith(
        "/train/b/07.png' (not a picture in PNG, JPEG, BMP, WEBP). Mend them or take them away, "
        "or go on without them by config.data.on_error=skip."
    )
    assert not (workdir / "bad-pictures.json").exists()
    assert runs.train(workdir, "data.on_error=skip", sections=given) == 0
    assert re.search(r"^1 bad picture: \S+ \(", capsys.readouterr().err, re.MULTILINE)
    assert listed(workdir) == [BAD[1]]


def test_pictures_that_do_not_fit_are_skipped_too_unless_none_does(tmp_path):
    root = pictures(tmp_path / "pictures", bad=())
    Image.new("L", (9, 8)).save(root / "train/a/05.png")
    for loading_ in ("memory", "stream"):
        data = load_folder(root, loading=loading_, on_error="skip")
        assert not np.asarray(data.train.images[np.array([5])]).any()
        assert np.flatnonzero(data.train.marked() < 0).tolist() == [5]
        assert [reject.picture for reject in data.bad_examples.fresh(tmp_path)] == ["train/a/05.png"]
        for on_error in ("stop", "skip"):
            with pytest.raises(DataError, match=r"config\.data\.image_shape: picture .*png' is "):
                load_folder(root, loading=loading_, on_error=on_error, image_shape=(7, 7, 1))


def test_a_streamed_folder_decodes_no_more_than_a_sample_before_it_begins(tmp_path, small_samples):
    root = pictures(tmp_path / "pictures", bad=BAD[1:2])
    data = load_folder(root, loading="stream", valid_fraction=0.25)
    assert (len(data.train), len(data.valid), len(data.test)) == (36, 12, 12)
    assert data.train.labels.tolist() == [0] * 18 + [1] * 18
    with pytest.raises(DataError, match=r"1 of 48 pictures cannot be read"):
        (data.train.images[:], data.valid.images[:])
    memory = load_folder(pictures(tmp_path / "good", bad=()), valid_fraction=0.25)
    stored = load_folder(tmp_path / "good", loading="stream", valid_fraction=0.25)
    for name in ("train", "valid", "test"):
        held, kept = getattr(memory, name), getattr(stored, name)
        assert np.array_equal(held.images, kept.images[:])
        assert np.array_equal(held.labels, kept.labels)
    assert memory.identity == stored.identity


def test_the_identity_of_many_pictures_follows_their_names_and_sizes_and_a_sample(tmp_path, monkeypatch):
    monkeypatch.setattr(hashing, "HASHED_WHOLE", 3)
    monkeypatch.setattr(hashing, "SAMPLE", 1)
    root = write(tmp_path, [*(f"train/cat/{n}.bmp" for n in range(9)), "test/cat/a.bmp"])
    identity = load_folder(root, classes=1).identity
    os.utime(root / "train/cat/0.bmp", (0, 0))
    assert load_folder(root, classes=1).identity == identity, "a copy has other times"
    changed = 0
    for n in range(9):
        path = root / f"train/cat/{n}.bmp"
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        changed += load_folder(root, classes=1).identity != identity
        path.write_bytes(content)
    assert changed == 1, "of those that keep their size the sample is noticed"
    for change in (
        lambda path: path.rename(path.with_name("x.bmp")),
        lambda path: path.write_bytes(path.read_bytes()[:-1]),
    ):
        change(root / "train/cat/4.bmp")
        found = load_folder(root, classes=1, on_error="skip").identity
        assert found != identity
        identity = found
        if (root / "train/cat/x.bmp").exists():
            (root / "train/cat/x.bmp").rename(root / "train/cat/4.bmp")


@pytest.mark.slow
def test_the_list_is_valid_json_whatever_the_names(tmp_path):
    name = "train/a/\x1b[2J\n<script>.png"
    root = pictures(tmp_path / "pictures", bad=())
    (root / name).write_bytes(b"")
    assert runs.train(tmp_path / "run", sections=sections(root, on_error="skip", loading="stream")) == 0
    assert name in [
        entry["picture"] for entry in json.loads((tmp_path / "run/bad-pictures.json").read_text())["pictures"]
    ]
