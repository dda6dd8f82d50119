"""Runs that start from other networks' arrays: which, from where, and only once."""

import json
import re
import shutil

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import runs
import sweeps
from cnn import patterns
from cnn.config import config
from cnn.config.resolve import resolve as resolve_resolve
from cnn.model.classifier import flatten
from cnn.runs import run_dir
from cnn.runs.checksum import fingerprint
from cnn.train import checkpointer, experiment, init_from, load_init_from, multi_step
from cnn.train.state import create_train_state

pytestmark = pytest.mark.slow  # they train runs

LAYERS = "flatten | dense(6) | batch_norm | relu | dense(classes) | softmax"
SECTIONS = {**runs.SECTIONS, "model": {"layers": LAYERS}, "train": {**runs.SECTIONS["train"], "epochs": 1}}
NARROW = "flatten | dense(6) | batch_norm | relu | dense(4) | relu | dense(classes) | softmax"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("source") / "run"
    assert runs.train(workdir, sections=SECTIONS) == 0
    return workdir


def resolve(*overrides):
    return resolve_resolve(SECTIONS, [config.Override(*text.split("=", 1)) for text in overrides])


def arrays(workdir, step=None):
    """Returns every array of a run by its path: its weights as its config says, or of a step."""
    values = resolve_resolve(runs.saved(workdir, "config.json"))
    if step is None:
        return flatten(checkpointer.restore_classifier(values, workdir, "last")[1].variables)
    _, _, found = load_init_from._read(init_from.find(f"{workdir}@{step}"))
    return found


def same(one, other, paths):
    return [path for path in paths if np.asarray(one[path]).tobytes() == np.asarray(other[path]).tobytes()]


@pytest.mark.slow
def test_a_run_starts_from_all_arrays_of_another_and_keeps_the_frozen_ones(source, tmp_path, capsys):
    workdir = tmp_path / "new"
    code = runs.train(
        workdir, f"init_from={source}", "init_layers=dense1 batch_norm1", "train.freeze=dense1", sections=SECTIONS
    )
    assert code == 0
    begun, ended, given = arrays(workdir, 0), arrays(workdir), arrays(source)
    taken = ["dense1/kernel", "dense1/bias"] + [f"batch_norm1/{name}" for name in ("scale", "bias", "mean", "var")]
    assert same(begun, given, given) == [path for path in given if path in taken]
    assert same(ended, given, given) == [path for path in given if path in taken[:2]]
    about = runs.saved(workdir, "run.json")["init"]
    assert about["from"] == str(source)
    assert (about["step"], about["weights"]) == (12, "last")
    assert set(about["loaded"]) == set(taken)
    assert set(about["initialised"]) == {"dense2/kernel", "dense2/bias"}
    said = capsys.readouterr()
    line = f"starts from {source} (step 12, last weights): 6 of 8 arrays; initialised: dense2; not used of it: dense2"
    assert line in said.out + said.err
    assert f"{6 * 10 + 10 + 12} parameters are trained, {64 * 6 + 6} frozen: dense1" in said.out


@pytest.mark.slow
def test_a_run_that_continues_never_reads_the_source_again(source, tmp_path, monkeypatch):
    moved = tmp_path / "source"
    shutil.copytree(source, moved)
    values = resolve(f"init_from={moved}")
    experiment.run(values, tmp_path / "whole")

    class Killed(BaseException):
        """Ends the run as a kill before its first save would."""

    def killed(*args, **kwargs):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr(multi_step, "run_loop", killed)
        with pytest.raises(Killed):
            experiment.run(values, tmp_path / "resumed")
    assert runs.steps(tmp_path / "resumed") == [0]
    before = runs.saved(tmp_path / "resumed", "run.json")["init"]
    shutil.rmtree(moved)
    assert runs.train(tmp_path / "resumed", f"init_from={moved}", sections=SECTIONS) == 0
    assert runs.outcome(tmp_path / "resumed") == runs.outcome(tmp_path / "whole")
    assert runs.saved(tmp_path / "resumed", "run.json")["init"] == before


def test_every_array_that_does_not_fit_is_listed_with_the_pattern_that_does(source, tmp_path, capsys):
    code = runs.train(tmp_path / "new", f"init_from={source}", f"model.layers={NARROW}", sections=SECTIONS)
    assert code == 2
    assert not (tmp_path / "new").exists()
    assert capsys.readouterr().err == (
        f"config.init_from: {source} does not fit 4 of 10 arrays. "
        "Take what does: config.init_layers = 'dense1 batch_norm1'.\n"
        "    dense2/kernel: 6x10 there, 6x4 here\n"
        "    dense2/bias: 10 there, 4 here\n"
        "    dense3/kernel: nothing there, 4x10 here\n"
        "    dense3/bias: nothing there, 10 here\n"
    )
    patterned = resolve(f"init_from={source}", f"model.layers={NARROW}", "init_layers=!dense2 !dense3")
    assert len(init_from.fit(patterned, init_from.find(str(source))).loaded) == 6


@pytest.mark.slow(seconds=2)
def test_a_checkpoint_a_step_and_a_file_name_the_same_arrays(source, tmp_path):
    file = tmp_path / "weights.safetensors"
    save_file({path: np.asarray(array) for path, array in arrays(source).items()}, file)
    abouts = []
    for name in (source, f"{source}@12", source / "checkpoints" / "00000012", file):
        step, _, found = load_init_from._read(init_from.find(str(name)))
        assert same(found, load_file(file), found) == list(found)
        abouts.append((step, fingerprint(dict(found))))
    assert len({digits for _, digits in abouts}) == 1
    assert [step for step, _ in abouts] == [12, 12, 12, None]


@pytest.mark.slow
@pytest.mark.parametrize("weights", ["best", "ema"])
def test_a_run_gives_the_weights_that_its_config_chose_and_a_step_its_own(weights, tmp_path):
    given, averaged = tmp_path / "given", "train.average=ema(0.9)"
    # So slow that no picture changes sides: the first evaluation is the best.
    changes = ("optimizer.learning_rate=1e-6", averaged, f"eval.weights={weights}")
    assert runs.train(given, *changes) == 0
    steps = {"best": 12, "ema": 36}
    expected = {
        name: flatten(checkpointer.restore_classifier(runs.tiny(*changes), given, name)[1].variables)
        for name in ("last", weights)
    }
    assert not same(expected["last"], expected[weights], expected["last"])

    workdir = tmp_path / "new"
    assert runs.train(workdir, f"init_from={given}", averaged, "train.epochs=1") == 0
    about = runs.saved(workdir, "run.json")["init"]
    assert (about["step"], about["weights"]) == (steps[weights], weights)
    assert same(arrays(workdir, 0), expected[weights], expected["last"]) == list(expected["last"])
    values = runs.tiny(f"init_from={given}@36", averaged)
    state, about, _ = load_init_from.begin(values, create_train_state(values))
    assert (about["step"], about["weights"]) == (36, "last")
    for params in (state.params, state.average):
        found = flatten({"params": params, "batch_stats": {}})
        assert same(found, expected["last"], found) == list(expected["last"])


@pytest.mark.parametrize("name", ["nosuch", "nosuch.safetensors", "torn.safetensors", "half.safetensors"])
def test_what_is_no_source_is_one_clear_line(name, tmp_path, capsys):
    (tmp_path / "torn.safetensors").write_bytes(b"no such thing")
    save_file({"dense1/kernel": np.zeros((64, 10), np.float16)}, tmp_path / "half.safetensors")
    assert runs.train(tmp_path / "new", f"init_from={tmp_path / name}") == 2
    said = capsys.readouterr().err
    assert said.startswith("config.init_from: ")
    expected = {"torn": "cannot be read as safetensors", "half": "dense1/kernel: 64x10 of F16 there, 64x10 here"}
    assert expected.get(name.partition(".")[0], "is no run, checkpoint or .safetensors file, got") in said


def test_an_exported_file_gives_every_bit_back(source, tmp_path):
    file = tmp_path / "model.safetensors"
    assert runs.start("export", f"--workdir={source}", "--format=safetensors", f"--out={file}") == 0
    found, given = load_file(file), arrays(source)
    assert same(found, given, given) == list(given)
    with safe_open(file, "numpy") as opened:
        metadata = opened.metadata()
    assert json.loads(metadata["layers"])["layers"] == LAYERS
    assert json.loads(metadata["input_shape"]) == [8, 8, 1]
    assert json.loads(metadata["classes"]) == [str(digit) for digit in range(10)]


@pytest.mark.parametrize("of_python", [False, True])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("run@7", "run has no checkpoint of step 7; kept: 12, got '{place}'. Name one of these."),
        ("empty", "empty has no checkpoint yet. Train it first."),
        ("empty@12", "empty has no checkpoint yet. Train it first."),
    ],
)
def test_a_step_that_is_not_kept_is_refused_before_anything_is_written(
    name, message, of_python, source, tmp_path, capsys
):
    empty, workdir, place = source.with_name("empty"), tmp_path / "new", source.with_name(name)
    shutil.copytree(source, empty, ignore=shutil.ignore_patterns("checkpoints"), dirs_exist_ok=True)
    expected = rf"config\.init_from: .*{re.escape(message.format(place=place))}"
    if of_python:
        with pytest.raises(config.ConfigError, match=expected):
            experiment.run(resolve(f"init_from={place}"), workdir)
    else:
        assert runs.train(workdir, f"init_from={place}", sections=SECTIONS) == 2
        assert re.fullmatch(expected, capsys.readouterr().err.strip())
    assert not workdir.exists()


def test_a_damaged_step_is_refused(source, tmp_path):
    damaged = tmp_path / "damaged"
    shutil.copytree(source, damaged)
    (damaged / "checkpoints" / run_dir.step_name(12) / "commit_success.txt").unlink()
    with pytest.raises(config.ConfigError, match=r"config.init_from: .*missing"):
        load_init_from._read(init_from.find(f"{damaged}@12"))


def test_patterns_without_a_source_are_refused():
    with pytest.raises(config.ConfigError, match=r"config.init_layers: has no use without config.init_from"):
        resolve("init_layers=dense1")
    with pytest.raises(
        config.ConfigError, match=r"config.init_layers: matches nothing, got 'conv9'. Known: dense1/ker"
    ):
        resolve("init_from=a", "init_layers=conv9")


@pytest.mark.slow(seconds=4)
def test_a_run_older_than_the_fields_continues(tmp_path):
    workdir = tmp_path / "old"
    assert runs.train(workdir) == 0
    saved = runs.saved(workdir, "config.json")
    del saved["init_from"], saved["init_layers"], saved["train"]["freeze"]
    (workdir / "config.json").write_text(json.dumps(saved))
    assert run_dir.check_same_config(runs.tiny(), workdir) == []
    with pytest.raises(config.ConfigError, match="holds a run of another config"):
        run_dir.check_same_config(runs.tiny("train.freeze=dense1/bias"), workdir)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["map", "vmap"])
def test_trials_of_every_engine_start_from_what_each_names_and_freeze_what_each_says(engine, source, tmp_path):
    folder, frozen = tmp_path / "sweep", {0: ["dense1/bias", "dense1/kernel"], 2: []}
    rows = [f"({source},dense1)", "('','')", f"({source},'')"]
    space = f"(init_from,train.freeze)={','.join(rows)}"
    assert sweeps.sweep(folder, space, f"sweep.engine={engine}", "config.train.epochs=1", sections=SECTIONS) == 0
    given = arrays(source)
    for number in range(len(rows)):
        trial = folder / "trials" / f"{number:04}"
        if number in frozen:
            assert same(arrays(trial, 0), given, given) == list(given)
            assert same(arrays(trial), given, given) == frozen[number]
        else:
            assert "init" not in runs.saved(trial, "run.json")
            assert engine != "map" or runs.outcome(trial) == runs.outcome(source)


NARROWER = "flatten | dense(5) | relu | dense(classes)"
DRAWN = ("sweep.sampler=random", "sweep.trials=2")
FROM = "config.init_from={source}"


@pytest.mark.parametrize(
    ("space", "typed", "message"),
    [
        ("model.layers='{layers}','{narrower}'", (FROM,), "does not fit 3 of 4 arrays"),
        ("model.layers='{layers}','{narrower}'", (FROM, *DRAWN), "does not fit 3 of 4 arrays"),
        ("seed=int(0,9)", ("config.init_from=nosuch", *DRAWN), "or .safetensors file, got 'nosuch'"),
        ("init_from={source},nosuch;seed=int(0,9)", DRAWN, "or .safetensors file, got 'nosuch'"),
    ],
)
def test_a_sweep_whose_trials_cannot_start_is_refused_at_once(source, tmp_path, capsys, space, typed, message):
    space, *typed = (text.format(source=source, layers=LAYERS, narrower=NARROWER) for text in (space, *typed))
    assert sweeps.sweep(tmp_path / "sweep", space, *typed, sections=SECTIONS) == 2
    said = capsys.readouterr().err
    assert said.startswith("config.init_from: ")
    assert message in said
    assert not (tmp_path / "sweep").exists()


def test_patterns_name_what_they_should():
    paths = ["conv1/kernel", "conv1/bias", "residual1/conv1/kernel", "residual1/conv1/bias", "dense1/kernel"]
    assert patterns.matching("*/bias", paths) == ("conv1/bias", "residual1/conv1/bias")
    assert patterns.matching("residual1, conv1/k*", paths) == (paths[0], *paths[2:4])
    assert patterns.matching("!dense1", paths) == tuple(paths[:4])
    assert patterns.matching("", paths) == ()
    for chosen_paths in (paths[:1], paths[1:4], paths[:4], paths):
        assert list(patterns.matching(patterns.naming(chosen_paths, paths) or "*", paths)) == chosen_paths
