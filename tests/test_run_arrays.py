"""Runs and sweeps on arrays in Python's hands, and what other programs make of them by the file that is written."""

import gzip
import json
import struct

import numpy as np
import pytest

import cnn
import runs
from cnn.config import files
from cnn.data import datasets

SHAPE = (6, 6, 1)
SECTIONS = {
    "seed": 0,
    "model": {"layers": "conv(3, 3) | relu | flatten | dense(classes) | softmax"},
    "data": {"name": "digits", "image_shape": SHAPE, "classes": 3, "class_names": ("a", "b", "c")},
    "optimizer": {"name": "adam", "learning_rate": 0.01},
    "train": {"epochs": 2, "batch_size": 8, "log_every_steps": 2},
    "checkpoint": {"every": "steps(2)"},
    "report": {"page": "never"},
}


def split(n, seed):
    labels = np.arange(n) % 3
    noise = np.random.default_rng(seed).integers(0, 60, (n, *SHAPE[:2]))
    return (60 * labels[:, None, None] + noise).astype(np.uint8), labels.astype(np.uint8)


def arrays(seed=0, **further):
    return cnn.Arrays(train=split(60, seed), test=split(15, seed + 1), **further)


def sections(**data):
    return {**SECTIONS, "data": {**SECTIONS["data"], **data}}


def from_shell(command, workdir, *flags, **data):
    return runs.start(command, f"--workdir={workdir}", *flags, sections=sections(**data))


def write_idx(folder):
    folder.mkdir()
    for word, (images, labels) in (("train", split(60, 0)), ("t10k", split(15, 1))):
        for kind, array in (("images", images), ("labels", labels)):
            header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            (folder / f"{word}-{kind}-idx{array.ndim}-ubyte.gz").write_bytes(gzip.compress(header + array.tobytes()))
    return str(folder)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run on arrays, and the file that it wrote of them."""
    folder = tmp_path_factory.mktemp("arrays")
    run = cnn.run(sections(), folder / "run", data=arrays())
    return run, run.save_data(folder / "data.npz")


# In the process that has them.


@pytest.mark.slow(seconds=6)
def test_a_run_on_arrays_trains_is_read_again_evaluates_predicts_and_draws_its_page(trained):
    run, _ = trained
    assert run.config.data.name == "arrays" and run.classes == ("a", "b", "c")
    assert runs.saved(run.workdir, "run.json")["data"]["examples"] == {"train": 54, "valid": 6, "test": 15}
    before = (run.workdir / "evaluation-test.json").read_bytes()
    assert run.evaluate().accuracy == run.evaluations["test"].accuracy
    assert (run.workdir / "evaluation-test.json").read_bytes() == before
    assert len(run.predict(run.data.test.images[:3])) == 3 and run.journey(run.data.test.images[0]).checked
    assert run.write_page().is_file()
    again = cnn.run(sections(), run.workdir, data=arrays())
    assert again.result == run.result
    opened = cnn.load(run.workdir, data=arrays())
    assert opened.evaluate("valid").record["count"] == 6


@pytest.mark.slow(seconds=2)
def test_another_process_is_told_how_the_data_are_handed_over(trained, capsys):
    run, _ = trained
    said = "config.data.name: these data live in Python, got 'arrays'. Hand them over by cnn.run"
    for command, flags in (("eval", ()), ("explain", ("--images=1",))):
        assert from_shell(command, run.workdir, *flags) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
        assert line.startswith(said) and line.endswith("after eval and explain --data_file=data.npz")
    assert from_shell("train", run.workdir.with_name("new"), name="arrays") == 2
    assert said in capsys.readouterr().err
    with pytest.raises(cnn.DataError, match="live in Python"):
        cnn.load(run.workdir).evaluate()


@pytest.mark.slow
def test_other_arrays_are_refused_by_their_identity(trained):
    run, path = trained
    with pytest.raises(
        cnn.DataError, match=r"config.data: the data are not those that .* was trained with, got \w{12}"
    ):
        cnn.run(sections(), run.workdir, data=arrays(seed=5))
    with pytest.raises(cnn.DataError, match=r"the data are not those that"):
        cnn.run(sections(valid_fraction=0.1, class_names=("a", "b", "d")), run.workdir, data=arrays())
    with np.load(path) as file:
        np.testing.assert_array_equal(file["x_train"][..., 0], split(60, 0)[0])
        assert file["class_names"].tolist() == ["a", "b", "c"]


def test_of_a_config_without_data_the_arrays_say_shape_and_classes():
    config = {name: section for name, section in SECTIONS.items() if name != "data"}
    values = files.resolved(config, arrays())
    assert (values.data.image_shape, values.data.classes) == (SHAPE, 3)
    assert cnn.load_data(config, arrays()).class_names == ("0", "1", "2")
    named = cnn.Arrays(train=(split(60, 0)[0], np.array(["x", "y"] * 30)))
    assert files.resolved(config, named).data.classes == 2
    with pytest.raises(cnn.DataError, match=r"data: train of cnn.Arrays must be \(images, labels\), got int"):
        files.resolved(config, cnn.Arrays(train=3))


@pytest.mark.slow
@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("config", "data", "message"),
    [
        (sections(), split(9, 0), r"data: must be cnn.Arrays\(train=\(images, labels\), ...\), got tuple"),
        (
            sections(classes=4, class_names=()),
            arrays(),
            r"config.data.classes: arrays has 3 classes, got 4. Set it to 3",
        ),
        (
            sections(image_shape=(8, 8, 1)),
            arrays(),
            r"config.data.image_shape: train of cnn.Arrays is 6x6x1, got \(8, 8",
        ),
        (sections(classes=4), arrays(), r"config.data.class_names: names 3 classes, got config.data.classes=4"),
        (
            sections(class_names=("a", "b")),
            arrays(),
            r"data: labels of train of cnn.Arrays must lie in 0..1, a number for each of 2 class names, got 2",
        ),
        (
            sections(),
            cnn.Arrays(train=(split(9, 0)[0], np.full(9, np.nan)), test=split(9, 0)),
            r"data: train of cnn.Arrays: labels must be whole numbers or names, got float64, NaN in row 0",
        ),
    ],
)
def test_what_does_not_fit_is_one_line(config, data, message, tmp_path):
    with pytest.raises(cnn.DataError, match=message):
        cnn.run(config, tmp_path / "run", data=data)
    assert not list(tmp_path.iterdir())
    with pytest.raises(cnn.DataError, match=message):
        cnn.run_sweep(config, "seed=0,1", tmp_path / "sweep", data=data)


# The same data in a file.


@pytest.mark.slow(seconds=10)
def test_arrays_npz_and_idx_give_the_same_run_in_memory_and_streamed(trained, tmp_path):
    run, path = trained
    folder = write_idx(tmp_path / "idx")
    ways = [{"name": "npz", "file": str(path)}, {"name": "idx", "file": folder}]
    ways += [{**way, "loading": "stream"} for way in ways]
    for number, way in enumerate(ways):
        assert from_shell("train", tmp_path / str(number), **way) == 0
        assert runs.outcome(tmp_path / str(number)) == runs.outcome(run.workdir)
        identities = [
            runs.saved(each, "run.json")["data"]["identity"] for each in (tmp_path / str(number), run.workdir)
        ]
        assert identities[0] == identities[1]
    streamed = cnn.run(sections(loading="stream"), tmp_path / "streamed", data=arrays())
    assert runs.outcome(streamed.workdir) == runs.outcome(run.workdir)


@pytest.mark.slow(seconds=6)
def test_a_run_begun_in_python_goes_on_there_and_in_the_shell_to_the_bit(trained, tmp_path, fault):
    run, path = trained
    for name, go_on in {
        "python": lambda workdir: cnn.run(sections(), workdir, data=arrays()),
        "shell": lambda workdir: from_shell("train", workdir, name="npz", file=str(path)),
        "streamed": lambda workdir: from_shell("train", workdir, name="npz", file=str(path), loading="stream"),
    }.items():
        fault("step:int:7")
        with pytest.raises(KeyboardInterrupt):
            cnn.run(sections(), tmp_path / name, data=arrays())
        fault("")
        with pytest.raises(cnn.DataError, match="the data are not those that"):
            cnn.run(sections(), tmp_path / name, data=arrays(seed=5))
        with pytest.raises(cnn.DataError, match="live in Python"):
            cnn.run(sections(name="arrays"), tmp_path / name)
        go_on(tmp_path / name)
        assert runs.outcome(tmp_path / name) == runs.outcome(run.workdir)
    changed = [json.loads(line) for line in (tmp_path / "shell" / "config_history.jsonl").read_text().splitlines()]
    assert {"field": "config.data.name", "before": "arrays", "now": "npz"} in changed
    assert runs.saved(tmp_path / "shell", "config.json")["data"]["name"] == "npz"


@pytest.mark.slow(seconds=5)
def test_the_shell_evaluates_and_explains_a_run_of_python_by_the_file(trained, tmp_path, capsys):
    run, path = trained
    before = (run.workdir / "evaluation-test.json").read_bytes()
    assert from_shell("eval", run.workdir, f"--data_file={path}") == 0
    assert "other data" not in capsys.readouterr().out
    assert (run.workdir / "evaluation-test.json").read_bytes() == before
    assert from_shell("explain", run.workdir, f"--data_file={path}", "--images=1") == 0
    assert run.evaluate(data_file=str(path)).accuracy == run.evaluate().accuracy
    x, y = split(30, 9)
    np.savez(tmp_path / "other.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    assert from_shell("eval", run.workdir, f"--data_file={tmp_path / 'other.npz'}") == 0
    assert "these are other data than the run was trained with" in capsys.readouterr().out
    assert (run.workdir / "evaluation-test.json").read_bytes() == before
    assert from_shell("eval", run.workdir, f"--data_file={tmp_path / 'no.npz'}") == 2
    assert "config.data.file: no such file, got " in capsys.readouterr().err
    assert from_shell("eval", run.workdir, f"--data_file={path}", f"--data_dir={tmp_path}") == 2
    assert "--data_dir: is not read by npz, but by csv, folder, idx, TFDS, got " in capsys.readouterr().err
    assert from_shell("explain", run.workdir, str(tmp_path), f"--data_file={path}") == 2
    assert "--data_file: is given with pictures of your own" in capsys.readouterr().err


@pytest.mark.slow(seconds=3)
def test_a_finished_run_is_read_by_the_file_and_other_data_are_refused(trained, tmp_path, capsys):
    run, path = trained
    assert from_shell("train", run.workdir, name="npz", file=str(path)) == 0
    assert "is finished" in capsys.readouterr().out
    x, y = split(30, 9)
    np.savez(tmp_path / "other.npz", x_train=x, y_train=y, x_test=x, y_test=y)
    assert from_shell("train", run.workdir, name="npz", file=str(tmp_path / "other.npz")) == 2
    assert "config.data: the data are not those that" in capsys.readouterr().err
    assert from_shell("train", run.workdir, name="digits") == 2
    assert "config.data.name: 'arrays' there, 'digits' here" in capsys.readouterr().err


def test_the_data_of_other_sources_are_written_too(finished, tmp_path):
    run = cnn.load(finished)
    run.save_data(tmp_path / "digits.npz")
    section = {**runs.SECTIONS["data"], "name": "npz", "file": str(tmp_path / "digits.npz")}
    again = datasets.load(files.resolved({**runs.SECTIONS, "data": section}).data)
    np.testing.assert_array_equal(again.train.images, run.data.train.images)
    assert again.identity != run.data.identity


# Sweeps.


@pytest.mark.slow(seconds=10)
@pytest.mark.parametrize("engine", ["map", "vmap"])
def test_a_sweep_over_arrays_ranks_its_trials_and_goes_on_with_the_same_arrays_only(trained, tmp_path, engine):
    run, _ = trained
    space = {"optimizer.learning_rate": [0.01, 0.02], "seed": [0]}
    swept = cnn.run_sweep(sections(), space, tmp_path / "sweep", data=arrays(), engine=engine)
    assert swept.record["counts"] == {"finished": 2}
    same = next(swept.trial(n) for n in range(2) if swept.trial(n).config.optimizer.learning_rate == 0.01)
    if engine == "map":
        assert runs.outcome(same.workdir) == runs.outcome(run.workdir)
    assert swept.best.evaluate("test").record["count"] == 15
    again = cnn.run_sweep(sections(), space, tmp_path / "sweep", data=arrays(), engine=engine)
    assert again.record["groups"] == swept.record["groups"]
    with pytest.raises(cnn.ConfigError, match=r"holds another sweep(.|\n)*data: '\w{64}' there, '\w{64}' here"):
        cnn.run_sweep(sections(), space, tmp_path / "sweep", data=arrays(seed=5), engine=engine)
    with pytest.raises(cnn.ConfigError, match=r"holds another sweep(.|\n)*data: '\w{64}' there, '\(not set\)' here"):
        cnn.run_sweep(sections(name="arrays"), space, tmp_path / "sweep", engine=engine)


@pytest.mark.slow(seconds=4)
def test_a_sampler_draws_its_trials_on_the_arrays(tmp_path):
    space = {"optimizer.learning_rate": {"log": [0.001, 0.1]}}
    swept = cnn.run_sweep(
        sections(), space, tmp_path / "sweep", data=arrays(), sampler="random", trials=2, engine="map"
    )
    assert swept.record["counts"] == {"finished": 2}
